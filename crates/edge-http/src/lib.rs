//! Client and server of the IEP API, and the front end that redirects.

pub mod front_end;
