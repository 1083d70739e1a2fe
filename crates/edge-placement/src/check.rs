//! Checks a plan by other means than it was made with.
//!
//! Shares nothing with the planner but the types: distances come from sets of ancestors, the service of each client from
//! trying every chosen site, sums from adding up again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edge_topology::{AggregateTree, NodeIndex};
use edge_types::{Amount, Generation, IepId, IpNet, Rtt};

use crate::input::{Candidate, PlanInput, Policy};
use crate::plan::{Assignment, Plan, ServedBy, SiteOffer};
use crate::problem::Service;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The plan may be carried out, but is not as good as it should be.
    Warning,
    /// The plan must not be carried out.
    Fatal,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub finding: Finding,
}

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// It is not the plan, or not on the tree, that was asked for.
    #[error("plan {plan} on topology {topology} was not asked for")]
    OtherInput {
        /// The plan's number.
        plan: Generation,
        /// Its tree.
        topology: Generation,
    },
    /// A chosen site is not among the usable candidates on these terms.
    #[error("{0} was not offered on these terms")]
    NotOffered(IepId),
    /// A site is chosen more than once.
    #[error("{0} is chosen twice")]
    ChosenTwice(IepId),
    /// More sites than allowed.
    #[error("{chosen} sites chosen, {limit} allowed")]
    TooManySites {
        /// How many are chosen.
        chosen: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// More money than allowed.
    #[error("the plan costs {cost}, {budget} allowed")]
    OverBudget {
        /// What it costs.
        cost: Amount,
        /// What is allowed.
        budget: Amount,
    },
    /// A number in the plan is not what it should be.
    #[error("{what} is given as {given}, but comes to {derived}")]
    WrongNumber {
        /// Which number.
        what: String,
        /// What the plan says.
        given: String,
        /// What it should say.
        derived: String,
    },
    /// A client prefix of the tree is not in the plan, or the other way round.
    #[error("client prefix {0} is in only one of tree and plan")]
    ClientMismatch(IpNet),
    /// A client prefix is served by a site that is not chosen, or does not beat the cloud for it.
    #[error("{site} must not serve {prefix}")]
    WrongSite {
        /// The client prefix.
        prefix: IpNet,
        /// The site.
        site: IepId,
    },
    /// A site serves more demand than it can.
    #[error("{site} serves {demand} thousandths of a request per second, it can serve {capacity}")]
    Overloaded {
        /// The site.
        site: IepId,
        /// What it serves.
        demand: u64,
        /// What it can.
        capacity: u64,
    },
    /// A site's clients would lose no more without it than it costs.
    #[error("{0} is not worth its price")]
    NotWorthIt(IepId),
    /// A bound that this very plan, or the cloud alone, shows to be false.
    #[error("no plan is said to come to less than {claimed}, but {shown} can be had")]
    FalseBound {
        /// The bound.
        claimed: u128,
        /// What shows it to be false.
        shown: u128,
    },
    /// A client prefix could be served better by a chosen site.
    #[error("{better} would serve {prefix} better")]
    BetterSite {
        /// The client prefix.
        prefix: IpNet,
        /// The site.
        better: IepId,
    },
    /// A chosen site serves nobody.
    #[error("{0} is chosen but serves nobody")]
    Idle(IepId),
    /// A candidate is neither chosen nor rejected, or both.
    #[error("{} is not accounted for once", .0.site)]
    Unaccounted(SiteOffer),
}

/// Everything that is wrong with `plan` as an answer to `input`; empty if it is right.
pub fn check_plan(input: &PlanInput<'_>, plan: &Plan) -> Vec<Note> {
    let mut checker = Checker {
        input,
        plan,
        notes: Vec::new(),
    };
    checker.check_identity();
    checker.check_choice();
    checker.check_clients();
    checker.check_accounts();
    checker.notes
}

struct Checker<'a> {
    input: &'a PlanInput<'a>,
    plan: &'a Plan,
    notes: Vec<Note>,
}

impl Checker<'_> {
    fn fatal(&mut self, finding: Finding) {
        self.notes.push(Note {
            severity: Severity::Fatal,
            finding,
        });
    }

    fn warn(&mut self, finding: Finding) {
        self.notes.push(Note {
            severity: Severity::Warning,
            finding,
        });
    }

    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, given: &T, derived: &T) {
        if given != derived {
            self.fatal(Finding::WrongNumber {
                what: what.to_owned(),
                given: format!("{given:?}"),
                derived: format!("{derived:?}"),
            });
        }
    }

    fn check_identity(&mut self) {
        let asked = (self.input.generation, self.input.tree.generation());
        if (self.plan.generation, self.plan.topology) != asked
            || self.plan.algorithm != self.input.algorithm
        {
            self.fatal(Finding::OtherInput {
                plan: self.plan.generation,
                topology: self.plan.topology,
            });
        }
    }

    fn check_choice(&mut self) {
        let policy = &self.input.policy;
        let mut seen = BTreeSet::new();
        let mut cost = Some(0u128);
        for chosen in &self.plan.chosen {
            if !seen.insert(&chosen.site) {
                self.fatal(Finding::ChosenTwice(chosen.site.clone()));
            }
            let price = |candidate: &Candidate| {
                if candidate.already_running {
                    return Some(0);
                }
                let seconds = candidate.slot.end.0.checked_sub(candidate.slot.start.0)?;
                candidate
                    .price_per_second
                    .units
                    .checked_mul(u128::from(seconds))
            };
            let offered = self.input.candidates.iter().any(|candidate| {
                candidate.site == chosen.site
                    && candidate.offer == chosen.offer
                    && candidate.slot == chosen.slot
                    && candidate.already_running == chosen.already_running
                    && candidate.slot.start < candidate.slot.end
                    && candidate.attachment.reached
                    && may_be_used(policy, candidate)
                    && candidate.attachment.generation == self.input.tree.generation()
                    && (candidate.already_running
                        || candidate.price_per_second.asset == policy.budget.asset)
                    && chosen.cost.asset == policy.budget.asset
                    && price(candidate) == Some(chosen.cost.units)
            });
            if !offered || self.input.excluded.contains(&chosen.site) {
                self.fatal(Finding::NotOffered(chosen.site.clone()));
            }
            cost = cost.and_then(|sum| sum.checked_add(chosen.cost.units));
        }

        let cost = Amount {
            units: cost.unwrap_or(u128::MAX),
            ..policy.budget
        };
        self.compare("the cost", &self.plan.cost, &cost);
        if cost.units > policy.budget.units {
            self.fatal(Finding::OverBudget {
                cost,
                budget: policy.budget,
            });
        }
        let of_found = self
            .input
            .sites_found
            .saturating_mul(policy.max_share_percent.into())
            / 100;
        let limit = if of_found < policy.max_sites {
            of_found
        } else {
            policy.max_sites
        };
        if self.plan.chosen.len() > limit {
            self.fatal(Finding::TooManySites {
                chosen: self.plan.chosen.len(),
                limit,
            });
        }
    }

    fn check_clients(&mut self) {
        let (tree, plan) = (self.input.tree, self.plan);
        let in_tree: BTreeSet<IpNet> = tree
            .nodes()
            .iter()
            .filter_map(|node| node.client.map(|leaf| leaf.prefix))
            .collect();
        let in_plan: BTreeSet<IpNet> = plan.clients.keys().copied().collect();
        for prefix in in_tree.symmetric_difference(&in_plan) {
            self.fatal(Finding::ClientMismatch(*prefix));
        }

        let places: Vec<&Candidate> = plan
            .chosen
            .iter()
            .filter_map(|chosen| self.candidate(chosen))
            .collect();
        let is_bounded = places.iter().any(|place| place.capacity.is_some());
        let margin = whole_micros(self.input.policy.min_saving).max(1);
        let mut sums: BTreeMap<&IepId, (usize, u64, u128)> = BTreeMap::new();
        let (mut demand, mut cloud_only, mut planned, mut error) = (0u64, 0u128, 0u128, 0u128);
        let mut lost: BTreeMap<&IepId, u128> = BTreeMap::new();
        for (at, node) in tree.nodes().iter().enumerate() {
            let Some(leaf) = node.client else { continue };
            let Some(service) = plan.clients.get(&leaf.prefix) else {
                continue;
            };
            let cloud = whole_micros(node.rtt.rtt);
            let ways: Vec<(u64, &IepId)> = places
                .iter()
                .filter_map(|place| {
                    Some((self.time(NodeIndex(at), leaf.prefix, place)?, &place.site))
                })
                .filter(|(micros, _)| micros.saturating_add(margin) <= cloud)
                .collect();
            let used = match &service.served_by {
                ServedBy::Cloud => Some(cloud),
                ServedBy::Site(site) => ways
                    .iter()
                    .find(|(_, other)| *other == site)
                    .map(|(micros, _)| *micros),
            };
            let Some(used) = used else {
                if let ServedBy::Site(site) = &service.served_by {
                    self.fatal(Finding::WrongSite {
                        prefix: leaf.prefix,
                        site: site.clone(),
                    });
                }
                continue;
            };
            let better = ways.iter().filter(|(micros, _)| *micros < used).min();
            if let Some((_, better)) = better.filter(|_| !is_bounded) {
                self.fatal(Finding::BetterSite {
                    prefix: leaf.prefix,
                    better: (*better).clone(),
                });
            }
            let what = format!("the service of {}", leaf.prefix);
            let given = (
                service.demand,
                service.cloud,
                service.predicted,
                service.error,
            );
            let micros = |micros| Rtt(Duration::from_micros(micros));
            let may_err = self.error_of(NodeIndex(at), leaf.prefix, &service.served_by, &places);
            let derived = (leaf.demand, micros(cloud), micros(used), may_err);
            self.compare(&what, &given, &derived);
            error += u128::from(leaf.demand) * u128::from(whole_micros(Rtt(may_err)));

            demand = demand.saturating_add(leaf.demand);
            cloud_only += u128::from(leaf.demand) * u128::from(cloud);
            planned += u128::from(leaf.demand) * u128::from(used);
            if let ServedBy::Site(site) = &service.served_by {
                let sum = sums.entry(site).or_default();
                sum.0 += 1;
                sum.1 = sum.1.saturating_add(leaf.demand);
                sum.2 += u128::from(leaf.demand) * u128::from(cloud.saturating_sub(used));
                let others = ways.iter().filter(|(_, other)| *other != site);
                let next = others.map(|(micros, _)| *micros).min().unwrap_or(cloud);
                *lost.entry(site).or_default() +=
                    u128::from(leaf.demand) * u128::from(next.saturating_sub(used));
            }
        }

        let given = &plan.prediction;
        self.compare("the total demand", &given.demand, &demand);
        self.compare("the cloud-only latency", &given.cloud_only, &cloud_only);
        self.compare("the planned latency", &given.planned, &planned);
        self.compare("the error", &given.error, &error);
        self.check_bound(planned, cloud_only);
        for chosen in &plan.chosen {
            let derived = sums.get(&chosen.site).copied().unwrap_or_default();
            if derived.0 == 0 {
                self.warn(Finding::Idle(chosen.site.clone()));
            }
            let capacity = self.candidate(chosen).and_then(|place| place.capacity);
            if let Some(capacity) = capacity.filter(|capacity| derived.1 > *capacity) {
                self.fatal(Finding::Overloaded {
                    site: chosen.site.clone(),
                    demand: derived.1,
                    capacity,
                });
            }
            let lost = lost.get(&chosen.site).copied().unwrap_or_default();
            if !is_bounded {
                let what = format!("what is lost without {}", chosen.site);
                self.compare(&what, &chosen.marginal, &lost);
            }
            if !self.is_worth_it(chosen) {
                self.fatal(Finding::NotWorthIt(chosen.site.clone()));
            }
            let what = format!("what {} serves", chosen.site);
            let given = (chosen.clients, chosen.demand, chosen.saving);
            self.compare(&what, &given, &derived);
        }
    }

    fn check_accounts(&mut self) {
        let named = |site: &IepId, offer| SiteOffer {
            site: site.clone(),
            offer,
        };
        let mut open: BTreeMap<SiteOffer, i64> = BTreeMap::new();
        for candidate in self.input.candidates {
            *open
                .entry(named(&candidate.site, candidate.offer))
                .or_default() += 1;
        }
        let chosen = self.plan.chosen.iter().map(|c| named(&c.site, c.offer));
        let rejected = self.plan.rejected.iter().map(|r| named(&r.site, r.offer));
        for name in chosen.chain(rejected) {
            *open.entry(name).or_default() -= 1;
        }
        for (name, count) in open {
            if count != 0 {
                self.warn(Finding::Unaccounted(name));
            }
        }
    }
}

impl<'a> Checker<'a> {
    /// The candidate that an assignment takes up.
    fn candidate(&self, chosen: &Assignment) -> Option<&'a Candidate> {
        let mut candidates = self.input.candidates.iter();
        candidates
            .find(|candidate| candidate.site == chosen.site && candidate.offer == chosen.offer)
    }

    /// Does what is lost without the site, by the plan, exceed its price?
    fn is_worth_it(&self, chosen: &Assignment) -> bool {
        let (Some(value), Some(candidate)) =
            (self.input.policy.value_per_second, self.candidate(chosen))
        else {
            return true;
        };
        if candidate.already_running || candidate.price_per_second.units == 0 {
            return true;
        }
        // Per second: microseconds × thousandths of a request, worth `value` for each 10^9, at the outlook in percent.
        let outlook = u128::from(candidate.outlook_percent.clamp(1, 10_000));
        let price = candidate.price_per_second.units;
        match (
            chosen.marginal.checked_mul(value.saturating_mul(outlook)),
            price.checked_mul(100_000_000_000),
        ) {
            (Some(worth), Some(price)) => worth > price,
            (None, _) => true,
            (_, None) => false,
        }
    }

    /// Time of a request between a client and a site in microseconds, with its calls back to the cloud; `None` if the site may
    /// not serve the client.
    fn time(&self, client: NodeIndex, prefix: IpNet, place: &Candidate) -> Option<u64> {
        let calls = u128::from(whole_micros(place.attachment.rtt))
            * u128::from(self.input.application.calls_per_thousand)
            / 1000;
        let calls = u64::try_from(calls)
            .map_or(u64::from(u32::MAX), |calls| calls.min(u64::from(u32::MAX)));
        let measured = self.input.measured.get(&(place.site.clone(), prefix));
        if let Some(measured) = measured {
            let limit = u64::from(u32::MAX);
            return Some(whole_micros(*measured).saturating_add(calls).min(limit));
        }
        let tree = self.input.tree;
        if self.input.application.service == Service::OnPath
            && !tree
                .chain(client)
                .any(|(node, _)| node == place.attachment.node)
        {
            return None;
        }
        let beyond = whole_micros(place.attachment.beyond)
            .saturating_add(calls)
            .min(u64::from(u32::MAX));
        Some(distance(tree, client, place.attachment.node).saturating_add(beyond))
    }

    /// How far off the estimate of who serves a client may well be.
    fn error_of(
        &self,
        client: NodeIndex,
        prefix: IpNet,
        served_by: &ServedBy,
        places: &[&Candidate],
    ) -> Duration {
        let tree = self.input.tree;
        let ServedBy::Site(site) = served_by else {
            return tree
                .node(client)
                .map_or(Duration::ZERO, |node| node.rtt.error);
        };
        let is_measured = self.input.measured.contains_key(&(site.clone(), prefix));
        let place = places.iter().find(|place| place.site == *site);
        let Some(place) = place else {
            return Duration::ZERO;
        };
        let back = tree.node(place.attachment.node);
        let of_calls = back
            .map_or(Duration::ZERO, |node| node.rtt.error)
            .saturating_mul(self.input.application.calls_per_thousand)
            / 1000;
        let of_way = tree
            .distance(client, &place.attachment)
            .filter(|_| !is_measured)
            .map_or(Duration::ZERO, |estimate| estimate.error);
        of_way + of_calls
    }

    /// The plan's own cost is what it says, and neither it nor the cloud alone is better than every plan is said to be.
    fn check_bound(&mut self, planned: u128, cloud_only: u128) {
        let rents = self.plan.chosen.iter().filter_map(|chosen| {
            let candidate = self.candidate(chosen)?;
            let value = self.input.policy.value_per_second?;
            if candidate.already_running || candidate.price_per_second.units == 0 {
                return None;
            }
            let price = candidate
                .price_per_second
                .units
                .checked_mul(100_000_000_000)?;
            let outlook = u128::from(candidate.outlook_percent.clamp(1, 10_000));
            price.checked_div(value.saturating_mul(outlook))
        });
        let cost = rents.fold(planned, u128::saturating_add);
        self.compare(
            "the cost of latency and rents",
            &self.plan.certificate.cost,
            &cost,
        );
        let shown = cost.min(cloud_only);
        let claimed = self.plan.certificate.at_least;
        if claimed > shown {
            self.fatal(Finding::FalseBound { claimed, shown });
        }
    }
}

/// Is it trusted enough, and where the policy wants it?
fn may_be_used(policy: &Policy, candidate: &Candidate) -> bool {
    let place = candidate.whereabouts;
    let country = match (&policy.countries, place.country) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(allowed), Some(country)) => allowed.contains(&country),
    };
    let asn = match (&policy.asns, place.asn) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(allowed), Some(asn)) => allowed.contains(&asn),
    };
    (candidate.already_running || country && asn) && candidate.trust >= policy.min_trust
}

/// Round trip between two nodes in microseconds, by the ancestors that they do not share.
fn distance(tree: &AggregateTree, client: NodeIndex, site: NodeIndex) -> u64 {
    let ancestors = |from: NodeIndex| {
        let mut chain = Vec::new();
        let mut at = Some(from);
        while let Some(node) = at.and_then(|index| tree.nodes().get(index.0)) {
            chain.extend(at);
            at = node.parent;
        }
        chain
    };
    // The length of a node's own link, there and back.
    let link = |index: NodeIndex| {
        let node = &tree.nodes()[index.0];
        let before = node
            .parent
            .map_or(0, |parent| whole_micros(tree.nodes()[parent.0].rtt.rtt));
        whole_micros(node.rtt.rtt).saturating_sub(before)
    };
    let to_client: BTreeSet<NodeIndex> = ancestors(client).into_iter().collect();
    let to_site: BTreeSet<NodeIndex> = ancestors(site).into_iter().collect();
    let apart = to_client.symmetric_difference(&to_site);
    apart.map(|index| link(*index)).sum()
}

fn whole_micros(rtt: Rtt) -> u64 {
    let limit = u64::from(u32::MAX);
    u64::try_from(rtt.0.as_micros()).map_or(limit, |micros| micros.min(limit))
}
