//! Paths to many targets: a paced, parallel Paris traceroute.
//!
//! [`Prober`] sends UDP probes with small TTLs and reads the ICMP errors about them. All probes to one target have
//! the same addresses, ports and length, so that routers which balance load per flow send them the same way. Targets whose
//! paths run together share what they find ([`Sharing`]), so that the routers near us, which limit how many errors
//! they send, are asked once and not once per target. Replies count only if they prove to be about a probe of this
//! process, and every trace passes an address policy, an opt-out list and nested budgets first.

#![expect(clippy::doc_markdown, reason = "ICMPv6 is a name, not an identifier")]

mod admission;
mod config;
mod engine;
mod pacer;
mod probe;
mod prober;
mod report;
mod socket;
mod tag;

pub use config::{Budget, ProberConfig, Sharing};
pub use engine::ProbeCounters;
pub use prober::Prober;
pub use report::TraceReport;
pub use socket::StartError;
