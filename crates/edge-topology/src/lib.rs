//! From path observations to the aggregate tree and its latencies (paper sections 2.2 and 2.6).
//!
//! [`Observations`] holds what traceroutes saw: one normalised path per target, and round trips per interface; it is the
//! primary store, and can be saved and loaded ([`Observations::snapshot`], [`LogEntry`]). Everything else is a view of it.
//! [`Observations::graph`] puts interfaces together into nodes, by prefix or domain ([`Grouping`]), and gives the graph of
//! all paths ([`PathGraph`]), in which routers balance and groups may form cycles. Trees are views of the graph: each node hangs on
//! the predecessor through which most demand comes, or on its dominator ([`Parents`]). A tree is immutable and
//! numbered ([`AggregateTree`]); edge sites are hung on it ([`AggregateTree::attach`]), links and distances between clients and sites
//! are estimated with error bars ([`AggregateTree::link`], [`AggregateTree::distance`]). [`change`] compares two trees, for the
//! threshold of Algorithm 1.
//!
//! This crate does no probing, reads no clock and knows no names; a single vantage point is assumed, and half a round
//! trip is never called a one-way delay.
//!
//! ```
//! use std::collections::BTreeMap;
//! use edge_topology::{ClientDemand, Limits, Observations};
//! use edge_types::{Generation, Hop, HopReply, MonotonicTime, PathEnd, PathObservation, PrefixGrouping, Rtt};
//! use std::time::Duration;
//!
//! let reply = |address: &str, ms| {
//!     Hop::Reply(HopReply::new(address.parse().unwrap(), Rtt(Duration::from_millis(ms))))
//! };
//! let mut observations = Observations::new(Limits::default());
//! observations.insert(&PathObservation {
//!     target: "240.9.9.9".parse().unwrap(),
//!     observed_at: MonotonicTime::ZERO,
//!     hops: vec![reply("240.0.0.1", 3), reply("240.9.9.9", 10)],
//!     further: vec![],
//!     end: PathEnd::Reached,
//!     probes_sent: 2,
//! })?;
//! let prefix = "240.9.9.0/24".parse().unwrap();
//! let client = ClientDemand { target: "240.9.9.9".parse().unwrap(), milli_requests_per_second: 1000 };
//! let tree = observations.tree(Generation(1), PrefixGrouping::SITE, &BTreeMap::from([(prefix, client)]));
//! assert_eq!(tree.client(prefix).unwrap().rtt.rtt.as_ms(), 10.0);
//! # Ok::<(), edge_topology::InsertError>(())
//! ```

mod change;
#[doc(hidden)]
pub mod fuzzing;
mod graph;
mod grouping;
mod interfaces;
mod latency;
mod normalise;
mod observations;
mod rtt;
mod saved;
mod tree;

#[cfg(test)]
mod tests;

pub use change::change;
pub use graph::{GraphNode, Link, PathGraph};
pub use grouping::{Grouping, Place};
pub use latency::{RttBasis, RttEstimate};
pub use observations::{InsertError, Limits, Observations};
pub use saved::{LogEntry, ReadError, Replay};
pub use tree::{
    AggregateTree, Attachment, ClientDemand, ClientLeaf, Demand, LinkEstimate, MAX_CLIENT_DEMAND,
    NodeId, NodeIndex, Parents, TreeNode,
};
