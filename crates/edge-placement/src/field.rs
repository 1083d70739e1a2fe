//! What can be chosen from, and what is chosen so far.

use edge_types::{Amount, IpNet, Rtt};

use crate::input::{Candidate, PlanInput};
use crate::plan::Reason;

/// A client prefix in numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) prefix: IpNet,
    /// Thousandths of a request per second.
    pub(crate) demand: u64,
    /// Round trip to the cloud in microseconds.
    pub(crate) cloud: u64,
}

/// A candidate that beats the cloud for somebody.
#[derive(Clone, Debug)]
pub(crate) struct SiteOption<'a> {
    pub(crate) candidate: &'a Candidate,
    /// What choosing it costs, in units of the budget's asset.
    pub(crate) cost: u128,
    /// Clients for which it beats the cloud by the margin, with the round trip in microseconds.
    reach: Vec<(usize, u64)>,
}

/// Clients and usable candidates in numbers.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) clients: Vec<Client>,
    /// In order of site and offer, whatever the order of the input, so that a smaller position is a smaller site.
    pub(crate) options: Vec<SiteOption<'a>>,
    pub(crate) unusable: Vec<(&'a Candidate, Reason)>,
    pub(crate) max_sites: usize,
    budget: Amount,
}

/// Whole microseconds, at most 71 minutes so that sums over all clients stay exact.
fn micros(rtt: Rtt) -> u64 {
    u64::from(u32::try_from(rtt.0.as_micros()).unwrap_or(u32::MAX))
}

impl<'a> Field<'a> {
    pub(crate) fn new(input: &PlanInput<'a>) -> Self {
        let leaves: Vec<_> = input.tree.clients().collect();
        let clients: Vec<Client> = leaves
            .iter()
            .map(|(_, node, leaf)| Client {
                prefix: leaf.prefix,
                demand: leaf.demand,
                cloud: micros(node.rtt.rtt),
            })
            .collect();
        let margin = micros(input.policy.min_saving).max(1);

        let mut sorted: Vec<&Candidate> = input.candidates.iter().collect();
        sorted.sort_by_key(|candidate| {
            // The rest only orders different candidates under one name.
            let at = &candidate.attachment;
            let what = (&candidate.site, candidate.offer);
            let price = candidate.price_per_second;
            let slot = (candidate.slot.start, candidate.slot.end);
            let place = (at.generation, at.node, at.rtt, at.beyond, at.reached);
            let cost = (candidate.already_running, price.asset, price.units);
            (what, cost, slot, place)
        });

        let (mut options, mut unusable) = (Vec::new(), Vec::new());
        let mut before: Option<&Candidate> = None;
        for candidate in sorted {
            let twice = before.is_some_and(|other| {
                (&other.site, other.offer) == (&candidate.site, candidate.offer)
            });
            before = Some(candidate);
            let option = cost(input, candidate, twice).and_then(|cost| {
                let mut reach = Vec::new();
                let mut lacking: Option<u64> = None;
                let distances = input.tree.distances(&candidate.attachment);
                let distances = distances.unwrap_or_default(); // never: the attachment is of this tree
                for (position, (index, _, _)) in leaves.iter().enumerate() {
                    let Some(distance) = distances.get(index.0) else {
                        continue;
                    };
                    let distance = micros(*distance);
                    let needed = distance + margin;
                    if needed <= clients[position].cloud {
                        reach.push((position, distance));
                    } else {
                        let short = needed - clients[position].cloud;
                        lacking = Some(lacking.map_or(short, |least| least.min(short)));
                    }
                }
                if reach.is_empty() {
                    let lacking = std::time::Duration::from_micros(lacking.unwrap_or(0));
                    return Err(Reason::SlowerThanCloud { lacking });
                }
                Ok(SiteOption {
                    candidate,
                    cost,
                    reach,
                })
            });
            match option {
                Ok(option) => options.push(option),
                Err(reason) => unusable.push((candidate, reason)),
            }
        }
        let share = input.sites_found as u128 * u128::from(input.policy.max_share_percent) / 100;
        Self {
            clients,
            options,
            unusable,
            max_sites: input
                .policy
                .max_sites
                .min(usize::try_from(share).unwrap_or(usize::MAX)),
            budget: input.policy.budget,
        }
    }
}

/// What a candidate costs, if it can be used at all.
fn cost(input: &PlanInput<'_>, candidate: &Candidate, twice: bool) -> Result<u128, Reason> {
    let attached = candidate.attachment.generation;
    let planned = input.tree.generation();
    if input.excluded.contains(&candidate.site) {
        return Err(Reason::Excluded);
    }
    if attached != planned || input.tree.node(candidate.attachment.node).is_none() {
        return Err(Reason::OtherTopology { attached, planned });
    }
    if !candidate.attachment.reached {
        return Err(Reason::Unreached);
    }
    if candidate.slot.seconds() == 0 {
        return Err(Reason::EmptySlot);
    }
    if candidate.price_per_second.asset != input.policy.budget.asset {
        return Err(Reason::OtherAsset);
    }
    let price = candidate
        .price_per_second
        .times(candidate.slot.seconds())
        .map_err(|_| Reason::PriceOutOfRange)?;
    if twice {
        return Err(Reason::Duplicate);
    }
    Ok(if candidate.already_running {
        0
    } else {
        price.units
    })
}

/// Who serves a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) micros: u64,
    /// `None` for the cloud.
    pub(crate) option: Option<usize>,
}

/// A set of chosen options that always serves every client by the nearest, the smaller site on a tie.
#[derive(Clone, Debug)]
pub(crate) struct Selection<'f> {
    field: &'f Field<'f>,
    services: Vec<Service>,
    /// Clients served, per option; 0 for those not chosen.
    served: Vec<usize>,
    sites: usize,
    spent: u128,
}

impl<'f> Selection<'f> {
    pub(crate) fn new(field: &'f Field<'f>) -> Self {
        let services = field.clients.iter().map(|client| Service {
            micros: client.cloud,
            option: None,
        });
        Self {
            field,
            services: services.collect(),
            served: vec![0; field.options.len()],
            sites: 0,
            spent: 0,
        }
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = Service> {
        self.services.iter().copied()
    }

    pub(crate) fn has(&self, option: usize) -> bool {
        self.served[option] > 0
    }

    pub(crate) const fn spent(&self) -> u128 {
        self.spent
    }

    /// Client time that adding the option would save; it only shrinks as others are added.
    pub(crate) fn gain(&self, option: usize) -> u128 {
        self.field.options[option]
            .reach
            .iter()
            .map(|(client, micros)| {
                let faster = self.services[*client].micros.saturating_sub(*micros);
                u128::from(faster) * u128::from(self.field.clients[*client].demand)
            })
            .sum()
    }

    /// Client time saved against the cloud alone.
    pub(crate) fn saved(&self) -> u128 {
        self.field
            .clients
            .iter()
            .zip(&self.services)
            .map(|(client, service)| {
                u128::from(client.cloud - service.micros) * u128::from(client.demand)
            })
            .sum()
    }

    /// Would the option keep within the limits?
    pub(crate) fn fits(&self, option: usize) -> bool {
        !self.site_is_chosen(option)
            && self.sites < self.field.max_sites
            && self.field.options[option].cost <= self.left()
    }

    /// Adds an option, and drops those that serve nobody any more: they would be paid for nothing.
    pub(crate) fn add(&mut self, option: usize) {
        let mut dropped = Vec::new();
        for (client, micros) in &self.field.options[option].reach {
            let now = &mut self.services[*client];
            let nearer = match now.option {
                None => *micros < now.micros,
                Some(other) => (*micros, option) < (now.micros, other),
            };
            if !nearer {
                continue;
            }
            if let Some(other) = now.option {
                self.served[other] -= 1;
                if self.served[other] == 0 {
                    dropped.push(other);
                }
            }
            *now = Service {
                micros: *micros,
                option: Some(option),
            };
            self.served[option] += 1;
        }
        self.sites += 1;
        self.spent += self.field.options[option].cost;
        for other in dropped {
            self.sites -= 1;
            self.spent -= self.field.options[other].cost;
        }
    }

    /// Why an option that is not chosen is not, once nothing more can be added.
    pub(crate) fn reason_against(&self, option: usize) -> Reason {
        if self.site_is_chosen(option) {
            Reason::OtherOfferChosen
        } else if self.gain(option) == 0 {
            Reason::NothingToAdd
        } else if self.sites >= self.field.max_sites {
            Reason::TooManySites {
                limit: self.field.max_sites,
            }
        } else {
            let amount = |units| Amount {
                units,
                ..self.field.budget
            };
            Reason::OverBudget {
                cost: amount(self.field.options[option].cost),
                left: amount(self.left()),
            }
        }
    }

    const fn left(&self) -> u128 {
        self.field.budget.units.saturating_sub(self.spent)
    }

    /// Is this or another offer of its site chosen? Offers of one site stand together.
    fn site_is_chosen(&self, option: usize) -> bool {
        let site = &self.field.options[option].candidate.site;
        let same = |other: &usize| self.field.options[*other].candidate.site == *site;
        (0..=option)
            .rev()
            .take_while(same)
            .chain((option + 1..self.served.len()).take_while(same))
            .any(|other| self.has(other))
    }
}
