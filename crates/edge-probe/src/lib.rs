//! Paths to many targets: a paced, parallel Paris traceroute.
//!
//! [`Prober`] sends UDP, ICMP or TCP probes ([`ProbeMethod`]) with small TTLs and reads the replies. All probes to one
//! target have the same addresses, ports and length, so that routers which balance load per flow send them the same
//! way. Targets whose paths run together share what they find ([`Sharing`]), so that the routers near us, which limit how
//! many errors they send, are asked once and not once per target. Replies count only if they prove to be about a probe
//! of this process, and every trace passes an address policy, an opt-out list and nested budgets first.
//!
//! Raw sockets are used if permitted. Without privileges the kernel's error queues tell much the same ([`Backend`]);
//! [`Prober::backend`] says which sockets are open, and why.

#![expect(clippy::doc_markdown, reason = "ICMPv6 is a name, not an identifier")]

mod admission;
mod config;
mod engine;
#[doc(hidden)]
pub mod fuzzing;
mod imported;
mod origins;
mod pacer;
mod probe;
mod prober;
mod socket;
mod start;
mod stream;
mod tag;
pub mod virtual_time;

pub use config::{Backend, Budget, ProbeMethod, ProberConfig, Sharing};
pub use engine::{DistanceFrom, ProbeCounters, ProbeReason, Trail, TrailEvent};
pub use imported::{ImportedConfig, ImportedPaths, ImportedUse};
pub use origins::{OriginAs, OriginLineError, OriginTable};
pub use prober::Prober;
pub use start::{BackendInUse, BackendReason, StartError};
pub use stream::TraceStream;
