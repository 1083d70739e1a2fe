//! How a plan is made.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use edge_types::{Amount, Rtt};

use crate::algorithm::{Algorithm, solve};
use crate::celf::useful;
use crate::centrality::tree_betweenness;
use crate::gains::gains;
use crate::input::{Candidate, PlanInput};
use crate::network::Network;
use crate::plan::usable::{Field, calls_error, worth};
use crate::plan::{
    Assignment, Certificate, ClientService, Plan, Prediction, Reason, Rejected, ServedBy, SiteOffer,
};
use crate::problem::Problem;
use crate::ranking::rank;
use crate::reach::Reach;
use crate::solution::{Bound, Proof, Solution, evaluate};

/// Makes a plan. It always exists: at worst the cloud serves all.
///
/// **Departure:** a site that would serve nobody better, or is not worth its price, is not rented, however central; the paper
/// takes the most central ones as they come.
pub fn plan(input: &PlanInput<'_>) -> Plan {
    let field = Field::new(input);
    let problem = &field.problem;
    let (made_by, chosen, bound) = choose(input, problem);
    let chosen = worthwhile(problem, chosen);
    let solution = evaluate(problem, &chosen);
    let reach = (!problem.is_plain()).then(|| Reach::new(problem));
    let mut beside = gains(problem, reach.as_ref());
    for site in &solution.chosen {
        beside.add(*site);
    }
    let would_save: Vec<u128> = (0..field.options.len())
        .map(|site| beside.gain(site))
        .collect();
    drop(beside);

    let (clients, prediction) = services(input, &field, &solution);
    Plan {
        generation: input.generation,
        topology: input.tree.generation(),
        algorithm: input.algorithm,
        made_by,
        chosen: assignments(input, &field, &solution),
        rejected: rejections(input, &field, &solution, &would_save),
        clients,
        prediction,
        certificate: Certificate {
            cost: solution.cost(),
            at_least: bound.map_or(0, |bound| bound.at_least),
            proof: bound.map_or(Proof::Submodular, |bound| bound.proof),
        },
        cost: Amount {
            units: solution.price,
            ..input.policy.budget
        },
        runner_ups: runner_ups(input, &field, &solution, reach.as_ref()),
    }
}

/// Sites by the rule that was asked for, or the nearest that can be done, and what is proven of the best ones.
fn choose(input: &PlanInput<'_>, problem: &Problem) -> (Algorithm, Vec<usize>, Option<Bound>) {
    match input.algorithm {
        Algorithm::Random { .. }
        | Algorithm::MostClients
        | Algorithm::Freeman
        | Algorithm::Betweenness
        | Algorithm::Through => {
            let chosen = take_useful(problem, &rank(problem, input.algorithm));
            let best = solve(problem, Algorithm::Auto, input.effort);
            let bound = best.ok().and_then(|best| best.bound);
            (input.algorithm, chosen, bound)
        }
        Algorithm::CloudOnly => {
            let best = solve(problem, Algorithm::Auto, input.effort);
            let bound = best.ok().and_then(|best| best.bound);
            (input.algorithm, Vec::new(), bound)
        }
        asked => {
            let solution = solve(problem, asked, input.effort)
                .or_else(|_| solve(problem, Algorithm::Auto, input.effort));
            match solution {
                Ok(solution) => (solution.algorithm, solution.chosen, solution.bound),
                Err(_) => (Algorithm::CloudOnly, Vec::new(), None),
            }
        }
    }
}

/// Takes sites in this order as long as the limits have room, each only if it serves somebody better than those before it; what
/// others have made useless is given back, and the round is repeated while anything is added.
fn take_useful(problem: &Problem, ranking: &[usize]) -> Vec<usize> {
    let reach = (!problem.is_plain()).then(|| Reach::new(problem));
    let limits = problem.limits();
    let mut chosen: Vec<usize> = Vec::new();
    loop {
        let mut state = gains(problem, reach.as_ref());
        let mut left = limits.budget;
        for site in &chosen {
            state.add(*site);
            left = left.saturating_sub(problem.sites()[*site].price);
        }
        let before = chosen.clone();
        for site in ranking {
            let price = problem.sites()[*site].price;
            if chosen.len() < limits.sites
                && price <= left
                && !chosen.contains(site)
                && state.gain(*site) > problem.sites()[*site].rent
            {
                state.add(*site);
                left -= price;
                chosen.push(*site);
            }
        }
        let added = chosen.len() > before.len();
        chosen = useful(problem, &chosen);
        if !added || chosen == before {
            return chosen;
        }
    }
}

/// Without those sites that serve nobody, and those whose clients would lose no more than the rent without them.
fn worthwhile(problem: &Problem, chosen: Vec<usize>) -> Vec<usize> {
    let mut chosen = useful(problem, &chosen);
    if problem.sites().iter().all(|site| site.rent == 0) {
        return chosen;
    }
    loop {
        let now = evaluate(problem, &chosen);
        let without = chosen.iter().copied().filter_map(|site| {
            let rent = problem.sites()[site].rent;
            let lost = marginal(problem, &now, site);
            (rent > 0 && lost <= rent).then(|| (Reverse(rent - lost), site))
        });
        let Some((_, worst)) = without.min() else {
            return chosen;
        };
        chosen.retain(|site| *site != worst);
        chosen = useful(problem, &chosen);
    }
}

/// What is lost without the site.
fn marginal(problem: &Problem, solution: &Solution, site: usize) -> u128 {
    let mut others = solution.chosen.clone();
    others.retain(|other| *other != site);
    let without = evaluate(problem, &others);
    without.latency.saturating_sub(solution.latency)
}

fn services(
    input: &PlanInput<'_>,
    field: &Field<'_>,
    solution: &Solution,
) -> (BTreeMap<edge_types::IpNet, ClientService>, Prediction) {
    let problem = &field.problem;
    let mut prediction = Prediction::default();
    let mut clients = BTreeMap::new();
    for (index, node, leaf) in input.tree.clients() {
        let cloud = problem.network().round_trips()[index.0];
        let serving = solution.serving[index.0];
        let (served_by, micros, error) = match serving {
            None => (ServedBy::Cloud, cloud, node.rtt.error),
            Some(site) => {
                let candidate = field.options[site].candidate;
                let micros = field.micros(site, index.0);
                let is_measured = problem.measured(site, index.0).is_some();
                let estimate = input.tree.distance(index, &candidate.attachment);
                let error = estimate
                    .filter(|_| !is_measured)
                    .map_or(Duration::ZERO, |estimate| estimate.error)
                    + calls_error(input, candidate);
                (ServedBy::Site(candidate.site.clone()), micros, error)
            }
        };
        let demand = u128::from(leaf.demand);
        prediction.demand = prediction.demand.saturating_add(leaf.demand);
        prediction.cloud_only += demand * u128::from(cloud);
        prediction.planned += demand * u128::from(micros);
        prediction.error += demand * error.as_micros().min(u128::from(u32::MAX));
        clients.insert(
            leaf.prefix,
            ClientService {
                demand: leaf.demand,
                cloud: Rtt(Duration::from_micros(cloud)),
                served_by,
                predicted: Rtt(Duration::from_micros(micros)),
                error,
            },
        );
    }
    (clients, prediction)
}

fn assignments(input: &PlanInput<'_>, field: &Field<'_>, solution: &Solution) -> Vec<Assignment> {
    let problem = &field.problem;
    let centrality = match problem.network() {
        Network::Tree(tree) => tree_betweenness(tree, problem.demand()),
        Network::Graph(_) => Vec::new(),
    };
    let mut totals: BTreeMap<usize, (usize, u64, u128)> = BTreeMap::new();
    for (index, _, leaf) in input.tree.clients() {
        if let Some(site) = solution.serving[index.0] {
            let saved = problem.network().round_trips()[index.0] - field.micros(site, index.0);
            let (count, served, saving) = totals.entry(site).or_default();
            *count += 1;
            *served = served.saturating_add(leaf.demand);
            *saving += u128::from(leaf.demand) * u128::from(saved);
        }
    }
    let amount = |units| Amount {
        units,
        ..input.policy.budget
    };
    solution
        .chosen
        .iter()
        .map(|site| {
            let option = &field.options[*site];
            let candidate = option.candidate;
            let (clients, demand, saving) = totals.get(site).copied().unwrap_or_default();
            let value = input.policy.value_per_second;
            Assignment {
                site: candidate.site.clone(),
                offer: candidate.offer,
                slot: candidate.slot,
                already_running: candidate.already_running,
                cost: amount(option.cost),
                worth: value.map(|value| amount(worth(saving, candidate, value))),
                betweenness: centrality
                    .get(candidate.attachment.node.0)
                    .copied()
                    .unwrap_or(0),
                clients,
                demand,
                saving,
                marginal: marginal(problem, solution, *site),
            }
        })
        .collect()
}

fn name(candidate: &Candidate) -> SiteOffer {
    SiteOffer {
        site: candidate.site.clone(),
        offer: candidate.offer,
    }
}

/// Sites that are not chosen, in the order in which the rule would take them.
fn runner_ups(
    input: &PlanInput<'_>,
    field: &Field<'_>,
    solution: &Solution,
    reach: Option<&Reach>,
) -> Vec<SiteOffer> {
    let problem = &field.problem;
    let mut ranking = rank(problem, input.algorithm);
    if matches!(
        input.algorithm,
        Algorithm::Auto | Algorithm::Celf | Algorithm::Exact | Algorithm::CloudOnly
    ) {
        let alone = gains(problem, reach).alone(field.options.len());
        ranking.sort_by_key(|site| {
            let rent = problem.sites()[*site].rent;
            let gain = alone[*site].saturating_sub(rent);
            (Reverse(gain), field.options[*site].cost, *site)
        });
    }
    ranking
        .into_iter()
        .filter(|site| !solution.chosen.contains(site))
        .map(|site| name(field.options[site].candidate))
        .collect()
}

fn rejections(
    input: &PlanInput<'_>,
    field: &Field<'_>,
    solution: &Solution,
    would_save: &[u128],
) -> Vec<Rejected> {
    let problem = &field.problem;
    let amount = |units| Amount {
        units,
        ..input.policy.budget
    };
    let left = problem.limits().budget.saturating_sub(solution.price);
    let mut rejected: Vec<Rejected> = field
        .unusable
        .iter()
        .map(|(candidate, reason, cost)| Rejected {
            site: candidate.site.clone(),
            offer: candidate.offer,
            reason: *reason,
            cost: *cost,
            would_save: 0,
        })
        .collect();
    for (site, option) in field.options.iter().enumerate() {
        if solution.chosen.contains(&site) {
            continue;
        }
        let (candidate, save) = (option.candidate, would_save[site]);
        let cost = amount(option.cost);
        let limit = problem.limits().sites;
        let reason = if save == 0 {
            Reason::NothingToAdd
        } else if save <= problem.sites()[site].rent {
            let value = input.policy.value_per_second.unwrap_or(0);
            let worth = amount(worth(save, candidate, value));
            Reason::NotWorthIt { cost, worth }
        } else if solution.chosen.len() >= limit {
            Reason::TooManySites { limit }
        } else if option.cost > left {
            Reason::OverBudget {
                cost,
                left: amount(left),
            }
        } else {
            Reason::NotPreferred
        };
        rejected.push(Rejected {
            site: candidate.site.clone(),
            offer: candidate.offer,
            reason,
            cost: Some(cost),
            would_save: save,
        });
    }
    rejected.sort_by(|a, b| (&a.site, a.offer).cmp(&(&b.site, b.offer)));
    rejected
}
