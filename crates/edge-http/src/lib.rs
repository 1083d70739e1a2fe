//! Client and server of the IEP API, and the front end that redirects.

pub mod api;
pub mod client;
pub mod front_end;
mod passive;
pub mod server;
