//! Paths through the network.

use std::fmt;
use std::net::IpAddr;

use edge_types::{AddressRefusal, PathObservation};

use crate::BoxFuture;

/// Finds out which way packets take from here to an address (paper section 2.2, step 1).
pub trait PathSource: Send + Sync + fmt::Debug {
    /// Traces the path to `target`. Many calls may run at once; the source paces them together and shares what they
    /// have in common. A path that ends early is an observation, not an error.
    fn trace(
        &self,
        target: IpAddr,
        priority: TracePriority,
    ) -> BoxFuture<'_, Result<PathObservation, TraceError>>;
}

/// Which traces go first when the packet rate is the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TracePriority {
    /// A client prefix or an entry point that was never traced.
    New,
    /// A path that changed lately.
    Unstable,
    /// A routine refresh.
    Refresh,
}

/// What a budget is counted over (security rule 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BudgetScope {
    /// The target's /24 or /48.
    Prefix,
    /// The /16 or /32 around it.
    CoveringPrefix,
    /// What the autonomous system announces that the target belongs to.
    OriginAs,
    /// Everything.
    Global,
}

/// Why a target was not traced at all.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The address is not one that may be probed.
    #[error("not probing {}", .0.address)]
    NotAllowed(#[source] AddressRefusal),
    /// The owner of the prefix asked not to be probed.
    #[error("{0} has opted out of probes")]
    OptedOut(IpAddr),
    /// A probe budget is used up; transient.
    #[error("the {scope:?} probe budget for {target} is used up")]
    OverBudget {
        /// What was to be traced.
        target: IpAddr,
        /// Which budget.
        scope: BudgetScope,
    },
    /// So many wait that this one was left out by chance, so that no single asker fills the queue; transient.
    #[error("so many targets wait to be traced that {0} was left out; ask again later")]
    LeftOut(IpAddr),
    /// The prober has stopped.
    #[error("the prober has stopped")]
    Stopped,
    /// There is no route, or the socket refused.
    #[error("sending a probe to {target} failed")]
    Send {
        /// What was to be traced.
        target: IpAddr,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}
