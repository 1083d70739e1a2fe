//! The plan and how it is made.

use std::collections::BTreeMap;
use std::time::Duration;

use edge_types::{Amount, Generation, IepId, IpNet, OfferId, Rtt, Slot};

use crate::algorithm::Algorithm;
use crate::field::{Field, Selection};
use crate::input::{Candidate, PlanInput};
use crate::{betweenness, saving};

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
    /// The rule used.
    pub algorithm: Algorithm,
    /// Sites to use, in order of site. Each serves at least one client prefix.
    pub chosen: Vec<Assignment>,
    /// Every other candidate and why not, in order of site and offer.
    pub rejected: Vec<Rejected>,
    /// Who serves each client prefix of the tree.
    pub clients: BTreeMap<IpNet, ClientService>,
    /// What the plan promises.
    pub prediction: Prediction,
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
    /// Demand-weighted betweenness of its node, see [`crate::betweenness()`].
    pub betweenness: u128,
    /// Client prefixes it serves.
    pub clients: usize,
    /// Their demand, in thousandths of a request per second.
    pub demand: u64,
    /// What it saves them against the cloud, in microseconds × thousandths of a request per second.
    pub saving: u128,
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
}

/// Why a candidate was not chosen; the first that applies, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// It is out of question for now ([`PlanInput::excluded`]).
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
    /// Another offer of the same site was chosen.
    #[error("another offer of the site was chosen")]
    OtherOfferChosen,
    /// It is nearer to nobody than the chosen sites are, or only to prefixes without demand.
    #[error("serves nobody better than the chosen sites")]
    NothingToAdd,
    /// As many sites are chosen as the policy allows.
    #[error("{limit} sites are chosen, no more are allowed")]
    TooManySites {
        /// The limit.
        limit: usize,
    },
    /// It costs more than is left.
    #[error("costs {cost}, {left} are left")]
    OverBudget {
        /// What it costs.
        cost: Amount,
        /// What is left of the budget.
        left: Amount,
    },
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
    /// Estimated round trip to whoever serves it, in whole microseconds.
    pub predicted: Rtt,
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

    fn mean(&self, sum: u128) -> Rtt {
        let micros = sum.checked_div(self.demand.into()).unwrap_or(0);
        Rtt(Duration::from_micros(
            u64::try_from(micros).unwrap_or(u64::MAX),
        ))
    }
}

/// Makes a plan. It always exists: at worst the cloud serves all.
pub fn plan(input: &PlanInput<'_>) -> Plan {
    let field = Field::new(input);
    let centrality = betweenness(input.tree);
    let (selection, ranking) = match input.algorithm {
        Algorithm::Betweenness => {
            let ranking = betweenness::ranking(&field, &centrality, input.tree);
            (betweenness::choose(&field, &ranking), ranking)
        }
        _ => (saving::choose(&field), saving::ranking(&field)),
    };

    let mut clients = BTreeMap::new();
    let mut prediction = Prediction::default();
    let mut totals: BTreeMap<usize, (usize, u64, u128)> = BTreeMap::new();
    for (client, service) in field.clients.iter().zip(selection.services()) {
        let demand = u128::from(client.demand);
        prediction.demand = prediction.demand.saturating_add(client.demand);
        prediction.cloud_only += demand * u128::from(client.cloud);
        prediction.planned += demand * u128::from(service.micros);
        if let Some(option) = service.option {
            let (count, served, saved) = totals.entry(option).or_default();
            *count += 1;
            *served = served.saturating_add(client.demand);
            *saved += demand * u128::from(client.cloud - service.micros);
        }
        clients.insert(
            client.prefix,
            ClientService {
                demand: client.demand,
                cloud: Rtt(Duration::from_micros(client.cloud)),
                served_by: match service.option {
                    Some(option) => ServedBy::Site(field.options[option].candidate.site.clone()),
                    None => ServedBy::Cloud,
                },
                predicted: Rtt(Duration::from_micros(service.micros)),
            },
        );
    }

    let amount = |units| Amount {
        asset: input.policy.budget.asset,
        units,
    };
    let chosen = totals.into_iter().map(|(option, (count, demand, saved))| {
        let option = &field.options[option];
        Assignment {
            site: option.candidate.site.clone(),
            offer: option.candidate.offer,
            slot: option.candidate.slot,
            already_running: option.candidate.already_running,
            cost: amount(option.cost),
            betweenness: centrality[option.candidate.attachment.node.0],
            clients: count,
            demand,
            saving: saved,
        }
    });
    Plan {
        generation: input.generation,
        topology: input.tree.generation(),
        algorithm: input.algorithm,
        chosen: chosen.collect(),
        rejected: rejections(&field, &selection),
        clients,
        prediction,
        cost: amount(selection.spent()),
        runner_ups: ranking
            .into_iter()
            .filter(|option| !selection.has(*option))
            .map(|option| name(field.options[option].candidate))
            .collect(),
    }
}

fn name(candidate: &Candidate) -> SiteOffer {
    SiteOffer {
        site: candidate.site.clone(),
        offer: candidate.offer,
    }
}

fn rejections(field: &Field<'_>, selection: &Selection<'_>) -> Vec<Rejected> {
    let lost = (0..field.options.len())
        .filter(|option| !selection.has(*option))
        .map(|option| {
            (
                field.options[option].candidate,
                selection.reason_against(option),
            )
        });
    let mut rejected: Vec<Rejected> = field
        .unusable
        .iter()
        .copied()
        .chain(lost)
        .map(|(candidate, reason)| Rejected {
            site: candidate.site.clone(),
            offer: candidate.offer,
            reason,
        })
        .collect();
    rejected.sort_by(|a, b| (&a.site, a.offer).cmp(&(&b.site, b.offer)));
    rejected
}
