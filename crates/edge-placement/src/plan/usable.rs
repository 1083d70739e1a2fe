//! Which candidates can be used at all, and what they cost.

use std::collections::BTreeMap;
use std::time::Duration;

use edge_types::{Amount, IepId};

use crate::input::{Candidate, PlanInput};
use crate::network::{MAX_MICROS, Network, Tree, micros};
use crate::plan::Reason;
use crate::problem::{Limits, Problem, Site};

/// Microseconds × thousandths of a request, in one request-second.
const UNITS_PER_SECOND: u128 = 1_000_000_000;

/// A rent above this is above all that can ever be saved.
const MAX_RENT: u128 = 1 << 100;

/// Prices below this sum up to a number for four thousand million sites.
const MAX_PRICE: u128 = 1 << 96;

/// A candidate that beats the cloud for somebody, the best offer of its site.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offered<'a> {
    pub(super) candidate: &'a Candidate,
    /// What choosing it costs, in units of the budget's asset.
    pub(super) cost: u128,
}

/// A candidate that is out of question, why, and what it would cost.
pub(super) type Unusable<'a> = (&'a Candidate, Reason, Option<Amount>);

/// The problem that a plan's input comes to.
#[derive(Debug)]
pub(super) struct Field<'a> {
    /// Sites are `options`, in the same order.
    pub(super) problem: Problem,
    /// In order of site.
    pub(super) options: Vec<Offered<'a>>,
    pub(super) unusable: Vec<Unusable<'a>>,
}

/// What candidates of one site and offer are told apart by.
fn order(candidate: &Candidate) -> impl Ord + '_ {
    let at = &candidate.attachment;
    let price = candidate.price_per_second;
    (
        (&candidate.site, candidate.offer),
        (candidate.already_running, price.asset, price.units),
        (candidate.slot.start, candidate.slot.end),
        (at.generation, at.node, at.rtt, at.beyond, at.reached),
        (
            candidate.capacity,
            candidate.trust,
            candidate.whereabouts,
            candidate.outlook_percent,
        ),
    )
}

impl<'a> Field<'a> {
    pub(super) fn new(input: &PlanInput<'a>) -> Self {
        let tree = input.tree;
        let mut demand = vec![0; tree.nodes().len().max(1)];
        for (index, _, leaf) in tree.clients() {
            demand[index.0] = leaf.demand;
        }
        let network = Network::Tree(Tree::from(tree));
        let mut sorted: Vec<&Candidate> = input.candidates.iter().collect();
        sorted.sort_by(|a, b| order(a).cmp(&order(b)));

        let mut unusable: Vec<Unusable<'a>> = Vec::new();
        let mut usable: BTreeMap<&IepId, Vec<(Offered<'a>, Site)>> = BTreeMap::new();
        let mut before: Option<&Candidate> = None;
        for candidate in sorted {
            let twice = before.is_some_and(|other| {
                (&other.site, other.offer) == (&candidate.site, candidate.offer)
            });
            before = Some(candidate);
            let cost = cost(input, candidate);
            let shown = cost.ok().map(|units| Amount {
                units,
                ..input.policy.budget
            });
            match site(input, &network, candidate, cost, twice) {
                Ok((option, site)) => usable
                    .entry(&candidate.site)
                    .or_default()
                    .push((option, site)),
                Err(reason) => unusable.push((candidate, reason, shown)),
            }
        }
        let (mut options, mut sites) = (Vec::new(), Vec::new());
        for offers in usable.into_values() {
            // The one that is cheapest, then that serves most.
            let best = offers
                .iter()
                .enumerate()
                .min_by_key(|(position, (_, site))| {
                    let capacity = std::cmp::Reverse(site.capacity.unwrap_or(u64::MAX));
                    (site.rent, site.price, capacity, *position)
                });
            let best = best.map(|(position, _)| position);
            for (position, (option, site)) in offers.into_iter().enumerate() {
                if Some(position) == best {
                    options.push(option);
                    sites.push(site);
                } else {
                    let cost = Amount {
                        units: option.cost,
                        ..input.policy.budget
                    };
                    unusable.push((option.candidate, Reason::OtherOfferBetter, Some(cost)));
                }
            }
        }
        let share = input.sites_found as u128 * u128::from(input.policy.max_share_percent) / 100;
        let limits = Limits {
            sites: input
                .policy
                .max_sites
                .min(usize::try_from(share).unwrap_or(usize::MAX)),
            budget: input.policy.budget.units,
        };
        let measured = measured(input, &options);
        // The tree keeps demand and lengths in range, and sites and prices were looked at above.
        let problem = Problem::new(network, demand)
            .and_then(|problem| problem.with_sites(sites))
            .map(|problem| {
                problem
                    .with_limits(limits)
                    .with_margin(micros(input.policy.min_saving))
                    .with_service(input.application.service)
                    .with_measured(measured)
            });
        match problem {
            Ok(problem) => Self {
                problem,
                options,
                unusable,
            },
            Err(_) => {
                // Demand that is beyond all numbers together: nothing is bought.
                let options = options.into_iter();
                let without =
                    options.map(|option| (option.candidate, Reason::PriceOutOfRange, None));
                unusable.extend(without);
                Self {
                    problem: Problem::idle(Network::Tree(Tree::from(tree))),
                    options: Vec::new(),
                    unusable,
                }
            }
        }
    }

    /// What a request takes that this site serves, in microseconds.
    pub(super) fn micros(&self, site: usize, node: usize) -> u64 {
        let what = &self.problem.sites()[site];
        let Network::Tree(tree) = self.problem.network() else {
            return 0;
        };
        let on_tree = || tree.distance(what.node, node).saturating_add(what.access);
        self.problem.measured(site, node).unwrap_or_else(on_tree)
    }
}

/// What a request takes more at a site for its calls back to the cloud, in microseconds.
pub(super) fn calls(input: &PlanInput<'_>, candidate: &Candidate) -> u64 {
    let each = micros(candidate.attachment.rtt);
    let all = u128::from(each) * u128::from(input.application.calls_per_thousand) / 1000;
    u64::try_from(all).map_or(MAX_MICROS, |all| all.min(MAX_MICROS))
}

/// How far off that may well be.
pub(super) fn calls_error(input: &PlanInput<'_>, candidate: &Candidate) -> Duration {
    let node = input.tree.node(candidate.attachment.node);
    let each = node.map_or(Duration::ZERO, |node| node.rtt.error);
    let calls = input.application.calls_per_thousand;
    each.saturating_mul(calls) / 1000
}

/// What a candidate costs: nothing in any asset, if it runs already.
fn cost(input: &PlanInput<'_>, candidate: &Candidate) -> Result<u128, Reason> {
    let is_paid = candidate.already_running;
    if !is_paid && candidate.price_per_second.asset != input.policy.budget.asset {
        return Err(Reason::OtherAsset);
    }
    let price = candidate
        .price_per_second
        .times(candidate.slot.seconds())
        .ok()
        .filter(|price| price.units < MAX_PRICE)
        .ok_or(Reason::PriceOutOfRange)?;
    Ok(if is_paid { 0 } else { price.units })
}

fn site<'a>(
    input: &PlanInput<'a>,
    network: &Network,
    candidate: &'a Candidate,
    cost: Result<u128, Reason>,
    twice: bool,
) -> Result<(Offered<'a>, Site), Reason> {
    let (policy, at) = (&input.policy, &candidate.attachment);
    let (attached, planned) = (at.generation, input.tree.generation());
    if input.excluded.contains(&candidate.site) {
        return Err(Reason::Excluded);
    }
    if attached != planned || input.tree.node(at.node).is_none() {
        return Err(Reason::OtherTopology { attached, planned });
    }
    if !at.reached {
        return Err(Reason::Unreached);
    }
    if candidate.trust < policy.min_trust {
        return Err(Reason::TooLittleTrust {
            found: candidate.trust,
            required: policy.min_trust,
        });
    }
    // What runs was rented where that was allowed, or is the application provider's own.
    let is_new = !candidate.already_running;
    let place = candidate.whereabouts;
    let is_in = |allowed: &std::collections::BTreeSet<_>| {
        place
            .country
            .is_some_and(|country| allowed.contains(&country))
    };
    if is_new && !policy.countries.as_ref().is_none_or(is_in) {
        return Err(Reason::OtherCountry);
    }
    let is_of = |allowed: &std::collections::BTreeSet<_>| {
        place.asn.is_some_and(|asn| allowed.contains(&asn))
    };
    if is_new && !policy.asns.as_ref().is_none_or(is_of) {
        return Err(Reason::OtherAs);
    }
    if candidate.slot.seconds() == 0 {
        return Err(Reason::EmptySlot);
    }
    let cost = cost?;
    if twice {
        return Err(Reason::Duplicate);
    }
    let access = micros(at.beyond)
        .saturating_add(calls(input, candidate))
        .min(MAX_MICROS);
    if let Some(lacking) = lacking(input, network, candidate, access) {
        return Err(Reason::SlowerThanCloud {
            lacking: Duration::from_micros(lacking),
        });
    }
    let amount = |units| Amount {
        units,
        ..policy.budget
    };
    let rent = match policy.value_per_second {
        _ if candidate.already_running => Some(0),
        None => Some(0),
        Some(value) => rent(candidate, value),
    };
    let rent = rent.ok_or(Reason::NotWorthIt {
        cost: amount(cost),
        worth: amount(0),
    })?;
    let site = Site {
        node: at.node.0,
        access,
        price: cost,
        rent,
        capacity: candidate.capacity,
    };
    Ok((Offered { candidate, cost }, site))
}

/// What has to be saved now each second for the price to be worth it, and not less: `saving · value · outlook > price · 10^11` holds if
/// the saving, a whole number, is above this. `None` if nothing is worth it.
fn rent(candidate: &Candidate, value: u128) -> Option<u128> {
    let price = candidate.price_per_second.units;
    if price == 0 {
        return Some(0);
    }
    let rent = price
        .checked_mul(100 * UNITS_PER_SECOND)?
        .checked_div(value.saturating_mul(candidate.outlook()))?;
    (rent < MAX_RENT).then_some(rent)
}

/// What a saving now, in microseconds × thousandths of a request per second, is worth over the candidate's slot.
pub(super) fn worth(saving: u128, candidate: &Candidate, value: u128) -> u128 {
    let saving = saving.saturating_mul(candidate.outlook()) / 100;
    let all = saving.checked_mul(u128::from(candidate.slot.seconds()));
    let product = all.and_then(|all| all.checked_mul(value));
    product.map_or_else(
        || match all {
            Some(all) => (all / UNITS_PER_SECOND).saturating_mul(value),
            None => u128::MAX,
        },
        |product| product / UNITS_PER_SECOND,
    )
}

/// By how much, in microseconds, it misses to beat the cloud for the client where it does best; `None` if it does.
fn lacking(
    input: &PlanInput<'_>,
    network: &Network,
    candidate: &Candidate,
    access: u64,
) -> Option<u64> {
    let margin = micros(input.policy.min_saving).max(1);
    let distances = network.distances(candidate.attachment.node.0);
    let behind = (input.application.service == crate::problem::Service::OnPath)
        .then(|| crate::reach::Behind::new(network));
    let mut least: Option<u64> = None;
    for (index, _, leaf) in input.tree.clients() {
        let measured = input
            .measured
            .get(&(candidate.site.clone(), leaf.prefix))
            .map(|rtt| micros(*rtt).saturating_add(calls(input, candidate)));
        let may = behind
            .as_ref()
            .is_none_or(|behind| behind.is_on_the_way(candidate.attachment.node.0, index.0));
        if measured.is_none() && !may {
            continue;
        }
        let here = measured.unwrap_or_else(|| distances[index.0].saturating_add(access));
        let needed = here.saturating_add(margin);
        let cloud = network.round_trips()[index.0];
        if needed <= cloud {
            return None;
        }
        least = Some(least.map_or(needed - cloud, |least| least.min(needed - cloud)));
    }
    Some(least.unwrap_or(0))
}

fn measured(input: &PlanInput<'_>, options: &[Offered<'_>]) -> BTreeMap<(usize, usize), u64> {
    let mut measured = BTreeMap::new();
    if input.measured.is_empty() {
        return measured;
    }
    for (position, option) in options.iter().enumerate() {
        for (index, _, leaf) in input.tree.clients() {
            let key = (option.candidate.site.clone(), leaf.prefix);
            if let Some(rtt) = input.measured.get(&key) {
                let micros = micros(*rtt).saturating_add(calls(input, option.candidate));
                measured.insert((position, index.0), micros);
            }
        }
    }
    measured
}
