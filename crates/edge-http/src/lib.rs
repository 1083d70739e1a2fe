//! Client and server of the IEP API, the front end that redirects, lists of entry points on the web, and the relay.

pub mod api;
mod capped;
pub mod challenge;
pub mod client;
pub mod entry_tls;
mod exchange;
pub mod fetch;
pub mod front_end;
pub mod passive;
pub mod relay;
pub mod server;
pub mod site_lists;
mod tasks;
