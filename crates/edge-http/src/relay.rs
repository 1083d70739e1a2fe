//! Reaching providers behind NAT: they keep a connection to a relay that has a public address.
//!
//! A relay is no open proxy. It listens at ports that its owner has given to an account, and carries what comes there to the
//! holder of that account's key and nowhere else; the provider's end connects to its own services and nowhere else. Nothing
//! is looked up, and no address comes from a client. Where a provider is reached is where it is measured to be: at the
//! relay, since that is where its clients' packets go.
//!
//! For each client the provider opens a connection of its own to the relay. Why not many streams in one: the kernel then does
//! flow control and fairness, and one slow client holds up no other; the price is a round trip between provider and relay.
//!
//! Nothing is encrypted here. A relay would be the other end of such encryption and read all that it carries; what must not be
//! changed on the way is signed by those who talk, and what must not be read they encrypt themselves: it is octets here.

mod agent;
mod lines;
mod server;

pub use agent::{RelayAgent, RelayError};
pub use server::{Admission, Relay, RelayLimits};
