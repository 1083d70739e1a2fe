//! DNS lookups for discovery.
//!
//! [`Resolver`] asks configured servers over UDP, and over TCP where an answer is truncated or doubtful. It is a stub:
//! it does not walk the delegation tree or validate signatures, but can be told to believe the word of a validating
//! resolver. [`drive`] runs the machine of `edge-discovery` over any `NameLookup`.
//!
//! Wire format by `hickory-proto`; which packet goes when, and which reply counts, is decided here.

mod drive;
mod exchange;
#[doc(hidden)]
pub mod fuzzing;
mod resolver;
mod wire;

pub use drive::{drive, drive_stream};
pub use resolver::{RandomnessError, Resolver, ResolverConfig, ResolverError, random_label};
