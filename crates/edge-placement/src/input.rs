//! What a plan is made from.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use edge_topology::{AggregateTree, Attachment};
use edge_types::{Amount, Generation, IepId, OfferId, Rtt, Slot};

/// Everything that decides a plan.
#[derive(Clone, Debug)]
pub struct PlanInput<'a> {
    /// The number that the plan shall have.
    pub generation: Generation,
    /// Client prefixes with their demand and their round trips to the cloud, and the way to them.
    pub tree: &'a AggregateTree,
    /// Number of distinct sites that discovery found, fair offers or not; [`Policy::max_share_percent`] is of these.
    pub sites_found: usize,
    /// Green-listed offers. A site may have several; at most one of them is chosen.
    pub candidates: &'a [Candidate],
    /// Sites that are out of question for now, e.g. because they rejected an agreement on the plan before.
    pub excluded: &'a BTreeSet<IepId>,
    /// The limits.
    pub policy: Policy,
    /// The rule by which sites are chosen.
    pub algorithm: Algorithm,
}

/// One offer of one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The site.
    pub site: IepId,
    /// The offer; `None` for a site that needs none, e.g. one's own.
    pub offer: Option<OfferId>,
    /// Where it hangs on [`PlanInput::tree`].
    pub attachment: Attachment,
    /// Price of one second of `slot`.
    pub price_per_second: Amount,
    /// The period that would be rented.
    pub slot: Slot,
    /// Is the service running there on a slot already paid? Then it costs nothing more.
    pub already_running: bool,
}

/// Limits of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Most sites at a time. At 0 the cloud serves all.
    pub max_sites: usize,
    /// Most sites as a share of those found, in percent, rounded down. The paper's Figure 5 uses half.
    pub max_share_percent: u8,
    /// Most to spend on newly rented slots, each at price × seconds.
    pub budget: Amount,
    /// A site serves a client prefix only if it is nearer than the cloud by at least this, and by a microsecond in any case.
    /// It should exceed the error of the estimates, and what a redirect costs spread over a visit.
    pub min_saving: Rtt,
}

/// How sites are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Sites at nodes through which most client paths pass (paper section 2.4).
    Betweenness,
    /// Sites that save most client time, alone or per price.
    Saving,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 2] = [Self::Betweenness, Self::Saving];

    /// Its name in options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Betweenness => "betweenness",
            Self::Saving => "saving",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No algorithm has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no placement algorithm is called {0:?}; there are betweenness and saving")]
pub struct UnknownAlgorithm(pub String);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| UnknownAlgorithm(name.to_owned()))
    }
}
