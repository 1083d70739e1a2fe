//! What a plan is made from.

use std::collections::{BTreeMap, BTreeSet};

use edge_topology::{AggregateTree, Attachment};
use edge_types::{Amount, Country, Generation, IepId, IpNet, OfferId, Rtt, Slot};

use crate::algorithm::{Algorithm, Effort};
use crate::problem::Service;

/// Everything that decides a plan.
#[derive(Clone, Debug)]
pub struct PlanInput<'a> {
    /// The number that the plan shall have.
    pub generation: Generation,
    /// Client prefixes with their demand and their round trips to the cloud, and the way to them.
    pub tree: &'a AggregateTree,
    /// Number of distinct sites that discovery found, fair offers or not; [`Policy::max_share_percent`] is of these.
    pub sites_found: usize,
    /// Green-listed offers and running leases. A site may have several; at most one of them is chosen.
    pub candidates: &'a [Candidate],
    /// Sites that are out of question for now, e.g. because they rejected an agreement on the plan before.
    pub excluded: &'a BTreeSet<IepId>,
    /// Round trips between sites and client prefixes that were measured; they replace what the tree says.
    pub measured: &'a BTreeMap<(IepId, IpNet), Rtt>,
    /// What the application does.
    pub application: Application,
    /// The limits.
    pub policy: Policy,
    /// The rule by which sites are chosen.
    pub algorithm: Algorithm,
    /// How much work the plan is worth.
    pub effort: Effort,
}

/// What the application's manifest says about requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Application {
    /// Which sites can serve a client.
    pub service: Service,
    /// Round trips from the edge service back to services in the cloud, in a thousand requests; charged against the saving.
    pub calls_per_thousand: u32,
}

/// How much is known of who is behind a site; a later one is more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trust {
    /// Only names from plain DNS.
    #[default]
    Named,
    /// Its key is bound to its zone by signatures.
    Bound,
    /// It has served under an agreement before.
    Proven,
    /// The application provider's own.
    Own,
}

/// Where a site is, as far as known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Whereabouts {
    /// The country.
    pub country: Option<Country>,
    /// Number of the autonomous system of its address.
    pub asn: Option<u32>,
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
    /// Most demand that it can serve, in thousandths of a request per second; `None` for any.
    pub capacity: Option<u64>,
    /// How much is known of who is behind it.
    pub trust: Trust,
    /// Where it is.
    pub whereabouts: Whereabouts,
    /// What it is expected to save over the slot, in percent of what it would save all the time if demand stayed as it is: above 100
    /// where a forecast sees more demand coming. 1 to 10,000; what is beyond counts as the nearest.
    pub outlook_percent: u32,
}

impl Candidate {
    /// [`Candidate::outlook_percent`], bounded.
    pub(crate) fn outlook(&self) -> u128 {
        self.outlook_percent.clamp(1, 10_000).into()
    }
}

/// Limits of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Most sites at a time. At 0 the cloud serves all.
    pub max_sites: usize,
    /// Most sites as a share of those found, in percent, rounded down. The paper's Figure 5 uses half.
    pub max_share_percent: u8,
    /// Most to spend on newly rented slots, each at price × seconds.
    pub budget: Amount,
    /// What it is worth, in units of the budget's asset, that clients together wait a second less, e.g. a thousand requests
    /// a millisecond each. A site is rented only if what it saves is worth more than its price. `None`: the
    /// budget may be spent on whatever it saves.
    pub value_per_second: Option<u128>,
    /// A site serves a client prefix only if it is nearer than the cloud by at least this, and by a microsecond in any case.
    /// It should exceed the error of the estimates, and what a redirect costs spread over a visit.
    pub min_saving: Rtt,
    /// The least that must be known of who is behind a site.
    pub min_trust: Trust,
    /// Countries where sites may be rented; `None` for any. What is nowhere known to be is in none of them.
    pub countries: Option<BTreeSet<Country>>,
    /// Autonomous systems where sites may be rented, in the same way.
    pub asns: Option<BTreeSet<u32>>,
}

impl Policy {
    /// Within this budget, and without any other limit.
    pub const fn within(budget: Amount) -> Self {
        Self {
            max_sites: usize::MAX,
            max_share_percent: 100,
            budget,
            value_per_second: None,
            min_saving: Rtt(std::time::Duration::ZERO),
            min_trust: Trust::Named,
            countries: None,
            asns: None,
        }
    }
}
