//! The plan: what was decided, and why.

mod make;
mod usable;

use std::collections::BTreeMap;
use std::time::Duration;

use edge_types::{Amount, Generation, IepId, IpNet, OfferId, Rtt, Slot};

use crate::algorithm::Algorithm;
use crate::input::Trust;
use crate::solution::Proof;

pub use make::plan;

/// One offer of one site, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SiteOffer {
    /// The site.
    pub site: IepId,
    /// The offer.
    pub offer: Option<OfferId>,
}

/// A numbered decision on where the service runs and whom each site serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its number.
    pub generation: Generation,
    /// The tree it was made for.
    pub topology: Generation,
    /// The rule that was asked for.
    pub algorithm: Algorithm,
    /// The rule that it came to.
    pub made_by: Algorithm,
    /// Sites to use, in order of site. Each serves at least one client prefix.
    pub chosen: Vec<Assignment>,
    /// Every other candidate and why not, in order of site and offer.
    pub rejected: Vec<Rejected>,
    /// Who serves each client prefix of the tree.
    pub clients: BTreeMap<IpNet, ClientService>,
    /// What the plan promises.
    pub prediction: Prediction,
    /// How good it is.
    pub certificate: Certificate,
    /// What the newly rented slots cost.
    pub cost: Amount,
    /// Candidates that beat the cloud but were not chosen, best first, for use when a chosen site rejects.
    pub runner_ups: Vec<SiteOffer>,
}

/// A chosen site, with the numbers behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The site.
    pub site: IepId,
    /// The offer to take up.
    pub offer: Option<OfferId>,
    /// The period.
    pub slot: Slot,
    /// Does the service run there already?
    pub already_running: bool,
    /// What it costs; zero if it runs already.
    pub cost: Amount,
    /// What it saves is worth over the slot, if a second has a value; beyond any number the largest.
    pub worth: Option<Amount>,
    /// Demand-weighted betweenness of its node, see [`crate::tree_betweenness`].
    pub betweenness: u128,
    /// Client prefixes it serves.
    pub clients: usize,
    /// Their demand, in thousandths of a request per second.
    pub demand: u64,
    /// What it saves them against the cloud, in microseconds × thousandths of a request per second.
    pub saving: u128,
    /// What would be lost without it, when its clients took the next best; in the same unit.
    pub marginal: u128,
}

/// A candidate that was not chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The site.
    pub site: IepId,
    /// The offer.
    pub offer: Option<OfferId>,
    /// Why not.
    pub reason: Reason,
    /// What it would cost; `None` where that is no number.
    pub cost: Option<Amount>,
    /// What it would save beside the chosen sites, in microseconds × thousandths of a request per second; 0 where it cannot be
    /// used.
    pub would_save: u128,
}

/// Why a candidate was not chosen; the first that applies, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// It is out of question for now ([`crate::PlanInput::excluded`]).
    #[error("excluded, e.g. after it rejected an agreement")]
    Excluded,
    /// It is attached to another tree than the plan's.
    #[error("attached to topology {attached}, planned on {planned}")]
    OtherTopology {
        /// The attachment's tree.
        attached: Generation,
        /// The plan's tree.
        planned: Generation,
    },
    /// It did not answer, so its round trip is unknown.
    #[error("did not answer probes, its distance is unknown")]
    Unreached,
    /// Too little is known of who is behind it.
    #[error("trusted as {found:?}, {required:?} is required")]
    TooLittleTrust {
        /// What is known.
        found: Trust,
        /// What the policy wants.
        required: Trust,
    },
    /// It is not known to be in a country that is allowed.
    #[error("not in an allowed country")]
    OtherCountry,
    /// It is not known to be in an autonomous system that is allowed.
    #[error("not in an allowed autonomous system")]
    OtherAs,
    /// The slot ends before it starts.
    #[error("the slot is empty")]
    EmptySlot,
    /// The price is in another asset than the budget.
    #[error("priced in another asset than the budget")]
    OtherAsset,
    /// The price of the slot does not fit a number.
    #[error("the price of the slot is out of range")]
    PriceOutOfRange,
    /// The same offer of the same site is there twice; the other counts.
    #[error("the same offer is there twice")]
    Duplicate,
    /// It beats the cloud for no client prefix by as much as the policy wants.
    #[error("beats the cloud for nobody, at the nearest it lacks {lacking:?}")]
    SlowerThanCloud {
        /// What it is short of for the client prefix where it does best; zero if there are no clients.
        lacking: Duration,
    },
    /// Another offer of the same site is cheaper, was chosen, or would have been.
    #[error("another offer of the site is better")]
    OtherOfferBetter,
    /// It is nearer to nobody than the chosen sites are, or only to prefixes without demand.
    #[error("serves nobody better than the chosen sites")]
    NothingToAdd,
    /// What it would save is not worth its price.
    #[error("costs {cost}, but what it would save is worth {worth}")]
    NotWorthIt {
        /// What it costs.
        cost: Amount,
        /// What the saving is worth over the slot, beside the chosen sites.
        worth: Amount,
    },
    /// It costs more than is left.
    #[error("costs {cost}, {left} are left")]
    OverBudget {
        /// What it costs.
        cost: Amount,
        /// What is left of the budget.
        left: Amount,
    },
    /// As many sites are chosen as the policy allows, and the chosen ones were preferred.
    #[error("{limit} sites are chosen, no more are allowed")]
    TooManySites {
        /// The limit.
        limit: usize,
    },
    /// There is room for it, but the algorithm takes others or none.
    #[error("the algorithm prefers others")]
    NotPreferred,
}

/// Who serves a client prefix, and how fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientService {
    /// Its demand, in thousandths of a request per second.
    pub demand: u64,
    /// Estimated round trip to the cloud, in whole microseconds.
    pub cloud: Rtt,
    /// Who serves it.
    pub served_by: ServedBy,
    /// Estimated time of a request, in whole microseconds: the round trip to whoever serves it, and a site's calls back to the cloud.
    pub predicted: Rtt,
    /// How far off the estimate may well be; zero if measured.
    pub error: Duration,
}

/// Who serves a client prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServedBy {
    /// The cloud.
    Cloud,
    /// This site.
    Site(IepId),
}

/// Latency over all clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prediction {
    /// All demand, in thousandths of a request per second.
    pub demand: u64,
    /// Sum of demand × round trip (microseconds) if the cloud served all.
    pub cloud_only: u128,
    /// The same under the plan.
    pub planned: u128,
    /// Sum of demand × error of the estimates under the plan: how far off `planned` is if all err in one direction.
    pub error: u128,
}

impl Prediction {
    /// Mean round trip of a request if the cloud served all, rounded down to microseconds; zero without demand.
    pub fn cloud_only_mean(&self) -> Rtt {
        self.mean(self.cloud_only)
    }

    /// Mean round trip of a request under the plan, rounded down to microseconds; zero without demand.
    pub fn planned_mean(&self) -> Rtt {
        self.mean(self.planned)
    }

    /// How far off the planned mean may well be, rounded down to microseconds; zero without demand.
    pub fn planned_error(&self) -> Duration {
        self.mean(self.error).0
    }

    fn mean(&self, sum: u128) -> Rtt {
        let micros = sum.checked_div(self.demand.into()).unwrap_or(0);
        Rtt(Duration::from_micros(
            u64::try_from(micros).unwrap_or(u64::MAX),
        ))
    }
}

/// What is proven of a plan's latency and rents: that no plan within the policy's limits comes to less than `at_least`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Latency and rents of the plan, in microseconds × thousandths of a request per second.
    pub cost: u128,
    /// What every plan has at least, in the same unit; zero where nothing is known.
    pub at_least: u128,
    /// How that is known.
    pub proof: Proof,
}

impl Certificate {
    /// By how much the plan may exceed the optimum, in millionths of the bound, rounded up; `None` where the bound is nothing.
    pub fn gap_ppm(&self) -> Option<u128> {
        let excess = self.cost.saturating_sub(self.at_least);
        if excess == 0 {
            return Some(0);
        }
        excess
            .checked_mul(1_000_000)?
            .checked_add(self.at_least)?
            .checked_sub(1)?
            .checked_div(self.at_least)
    }
}
