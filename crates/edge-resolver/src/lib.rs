//! DNS lookups for discovery.
//!
//! [`Resolver`] asks over UDP, and over TCP where an answer is truncated or doubtful: either recursive resolvers
//! ([`Mode::Recursive`]), or the servers of each zone, from the root down ([`Mode::Direct`]), which takes no resolver,
//! shares the way down between thousands of questions, and does not let a dead server cost its siblings' time. With a
//! [`TrustAnchor`] it proves answers itself; without, it can be told to believe the word of a validating resolver.
//! [`drive`] runs the machine of `edge-discovery` over any `NameLookup`.
//!
//! Wire format and signatures by `hickory`; which packet goes when, and which reply counts, is decided here.

mod delegation;
mod dice;
mod drive;
mod exchange;
#[doc(hidden)]
pub mod fuzzing;
mod owner;
mod ports;
mod race;
mod resolver;
mod servers;
mod validate;
mod vanguard;
mod walk;
mod wire;

pub use drive::{drive, drive_stream};
pub use owner::{HttpAnswer, HttpGet, Limited, PlainHttp, Registries};
pub use resolver::{
    DNS_PORT, Mode, ROOT_SERVERS, RandomnessError, Resolver, ResolverConfig, ResolverError,
    random_label,
};
pub use validate::{TrustAnchor, TrustAnchorError};
