//! What a set of sites comes to, and how far from the best it can be.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::algorithm::Algorithm;
use crate::network::{Network, small};
use crate::problem::{Problem, Service};
use crate::reach::Reach;

/// Chosen sites, whom they serve, and what that costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solution {
    /// What made it; never [`Algorithm::Auto`], but what that came to.
    pub algorithm: Algorithm,
    /// Positions in [`Problem::sites`], ascending.
    pub chosen: Vec<usize>,
    /// By node, the position of the site that serves its clients; `None` for the cloud.
    pub serving: Vec<Option<usize>>,
    /// Demand of all nodes, in thousandths of a request per second.
    pub demand: u64,
    /// `Σ demand × round trip` if the cloud served all, in microseconds × thousandths of a request per second.
    pub cloud_only: u128,
    /// The same as the clients are served.
    pub latency: u128,
    /// Rents of the chosen sites, in the same unit.
    pub rent: u128,
    /// Prices of the chosen sites.
    pub price: u128,
    /// What no solution can be better than, where that is known.
    pub bound: Option<Bound>,
}

/// A proof that no solution within the limits has less [`Solution::cost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The cost that every solution has at least.
    pub at_least: u128,
    /// How that is known.
    pub proof: Proof,
}

/// How a bound is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// All solutions were taken into account: the bound is the optimum.
    Exact,
    /// Savings are submodular: no site adds more to a better set than to the one at hand (Leskovec et al. 2007).
    Submodular,
    /// Lagrangian dual of the facility location programme: multipliers that every solution pays at least.
    Dual,
}

impl Proof {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Submodular => "submodular",
            Self::Dual => "dual",
        }
    }
}

impl Solution {
    /// What was minimised: latency and rent.
    pub const fn cost(&self) -> u128 {
        self.latency.saturating_add(self.rent)
    }

    /// Mean round trip of a request in microseconds; 0 without demand.
    pub fn mean_micros(&self) -> f64 {
        mean(self.latency, self.demand)
    }

    /// Mean round trip of a request in microseconds if the cloud served all; 0 without demand.
    pub fn cloud_only_mean_micros(&self) -> f64 {
        mean(self.cloud_only, self.demand)
    }

    /// Is it proven to be the best?
    pub fn is_optimal(&self) -> bool {
        self.bound
            .is_some_and(|bound| bound.at_least >= self.cost())
    }

    /// By how much of the bound the cost may exceed the least possible, e.g. 0.01 for one percent; 0 if it is the best, infinite
    /// where all that is known is that nothing costs less than nothing.
    pub fn gap(&self) -> Option<f64> {
        let bound = self.bound?;
        let excess = self.cost().saturating_sub(bound.at_least);
        Some(match (excess, bound.at_least) {
            (0, _) => 0.0,
            (_, 0) => f64::INFINITY,
            (excess, least) => excess as f64 / least as f64,
        })
    }
}

fn mean(sum: u128, demand: u64) -> f64 {
    if demand == 0 {
        0.0
    } else {
        sum as f64 / demand as f64
    }
}

/// What these sites come to, whatever the limits; positions that are no site's, and repetitions, count for nothing. Every
/// client is served by the nearest of the cloud and the sites that may serve it, the first on a tie; sites with
/// capacities are filled by those who would lose most elsewhere.
pub fn evaluate(problem: &Problem, chosen: &[usize]) -> Solution {
    let mut chosen: Vec<usize> = chosen.to_vec();
    chosen.sort_unstable();
    chosen.dedup();
    chosen.retain(|site| *site < problem.sites().len());
    let serving = if problem.is_plain() {
        nearest(problem, &chosen)
    } else {
        let reach = Reach::of(problem, &chosen);
        let mut serving = vec![None; problem.demand().len()];
        let assigned = crate::assignment::assign(problem, &reach, &chosen);
        for (client, service) in reach.clients.iter().zip(assigned) {
            serving[client.node] = service;
        }
        let micros = reach.services(&serving);
        return total(problem, chosen, serving, &micros);
    };
    let round_trips = problem.network().round_trips();
    let (micros, serving): (Vec<u64>, Vec<Option<usize>>) = serving
        .into_iter()
        .zip(round_trips)
        .map(|((micros, site), cloud)| {
            if site != NOBODY && problem.uses(*cloud, micros) {
                (micros, Some(site as usize))
            } else {
                (*cloud, None)
            }
        })
        .unzip();
    total(problem, chosen, serving, &micros)
}

fn total(
    problem: &Problem,
    chosen: Vec<usize>,
    serving: Vec<Option<usize>>,
    micros: &[u64],
) -> Solution {
    let sites = problem.sites();
    let served = problem.demand().iter().zip(micros);
    Solution {
        algorithm: Algorithm::Given,
        serving,
        demand: problem.total_demand(),
        cloud_only: problem.cloud_only(),
        latency: served
            .filter(|(demand, _)| **demand > 0)
            .map(|(demand, micros)| u128::from(*demand) * u128::from(*micros))
            .sum(),
        rent: chosen.iter().map(|site| sites[*site].rent).sum(),
        price: chosen.iter().map(|site| sites[*site].price).sum(),
        chosen,
        bound: None,
    }
}

/// Stands for no site.
const NOBODY: u32 = u32::MAX;

/// Round trip to the nearest chosen site that may serve each node, and which it is, the first on a tie.
fn nearest(problem: &Problem, chosen: &[usize]) -> Vec<(u64, u32)> {
    let network = problem.network();
    let mut near = vec![(u64::MAX, NOBODY); network.len()];
    for position in chosen {
        let site = &problem.sites()[*position];
        let here = &mut near[site.node];
        *here = (*here).min((site.access, small(*position)));
    }
    let along = |near: &mut [(u64, u32)], from: usize, to: usize| {
        let link = network.round_trips()[from].abs_diff(network.round_trips()[to]);
        let (micros, site) = near[from];
        let by_there = (micros.saturating_add(link), site);
        near[to] = near[to].min(by_there);
    };
    match (network, problem.service()) {
        (Network::Graph(graph), Service::AnyNearest) => {
            let mut open: BinaryHeap<_> = near
                .iter()
                .enumerate()
                .filter(|(_, near)| near.1 != NOBODY)
                .map(|(node, near)| Reverse((*near, node)))
                .collect();
            while let Some(Reverse((known, node))) = open.pop() {
                if known > near[node] {
                    continue;
                }
                for (end, link) in graph.neighbours(node) {
                    let by_here = (known.0.saturating_add(*link), known.1);
                    if by_here < near[*end as usize] {
                        near[*end as usize] = by_here;
                        open.push(Reverse((by_here, *end as usize)));
                    }
                }
            }
        }
        (_, service) => {
            let order = network.order();
            if service == Service::AnyNearest {
                for node in order.iter().rev() {
                    if let Some(parent) = network.parent(*node as usize) {
                        along(&mut near, *node as usize, parent);
                    }
                }
            }
            for node in order {
                if let Some(parent) = network.parent(node as usize) {
                    along(&mut near, parent, node as usize);
                }
            }
        }
    }
    near
}
