//! What a plan is made from.

use std::collections::BTreeSet;

use edge_topology::{AggregateTree, Attachment};
use edge_types::{Amount, Generation, IepId, OfferId, Rtt, Slot};

use crate::algorithm::Algorithm;

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
