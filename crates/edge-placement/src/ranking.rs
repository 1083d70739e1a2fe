//! Sites in an order that looks at each alone: the paper's schemes, and one better.

use std::cmp::Reverse;

use crate::algorithm::Algorithm;
use crate::centrality::{between_clients, between_nodes};
use crate::problem::Problem;

/// Sites, the first first. Algorithms that do not rank leave them in the order of the problem.
pub fn rank(problem: &Problem, algorithm: Algorithm) -> Vec<usize> {
    let sites = problem.sites();
    let mut ranking: Vec<usize> = (0..sites.len()).collect();
    match algorithm {
        Algorithm::Random { seed } => shuffle(&mut ranking, seed),
        Algorithm::MostClients => {
            let clients = clients_at(problem);
            ranking.sort_by_key(|site| {
                let what = &sites[*site];
                (Reverse(clients[what.node]), what.access, what.price, *site)
            });
        }
        Algorithm::Freeman => {
            let values = between_nodes(problem.network());
            ranking.sort_by_key(|site| (Reverse(values[sites[*site].node]), *site));
        }
        Algorithm::Betweenness => {
            let values = between_clients(problem);
            let depths = problem.network().depths();
            ranking.sort_by_key(|site| {
                let what = &sites[*site];
                let (value, depth) = (values[what.node], depths[what.node]);
                let (way, price) = (what.access, what.price);
                (Reverse(value), Reverse(depth), way, price, *site)
            });
        }
        Algorithm::Through => {
            let behind = demand_behind(problem);
            let round_trips = problem.network().round_trips();
            ranking.sort_by_cached_key(|site| {
                let what = &sites[*site];
                let cloud = round_trips[what.node];
                let saved = if problem.uses(cloud, what.access) && cloud != u64::MAX {
                    cloud - what.access
                } else {
                    0
                };
                let value = u128::from(behind[what.node]) * u128::from(saved);
                (Reverse(value), what.price, *site)
            });
        }
        _ => {}
    }
    ranking
}

/// Takes sites in this order, each that the limits have room for, whether it is of use or not, as the paper does.
pub fn take(problem: &Problem, ranking: &[usize]) -> Vec<usize> {
    let limits = problem.limits();
    let mut left = limits.budget;
    let mut chosen = Vec::new();
    for site in ranking {
        let price = problem.sites()[*site].price;
        if chosen.len() < limits.sites && price <= left {
            left -= price;
            chosen.push(*site);
        }
    }
    chosen
}

/// Demand at each node, and at the nodes right behind it where nothing follows and no site is: the clients of a router that is a
/// site are usually nodes of their own.
fn clients_at(problem: &Problem) -> Vec<u64> {
    let network = problem.network();
    let mut is_taken = vec![false; network.len()];
    for site in problem.sites() {
        is_taken[site.node] = true;
    }
    let mut is_inner = vec![false; network.len()];
    for node in 0..network.len() {
        if let Some(parent) = network.parent(node) {
            is_inner[parent] = true;
        }
    }
    let mut clients = problem.demand().to_vec();
    for node in 0..network.len() {
        if let Some(parent) = network.parent(node)
            && !is_taken[node]
            && !is_inner[node]
        {
            clients[parent] += problem.demand()[node];
        }
    }
    clients
}

/// Demand at and behind each node on the ways from the cloud.
pub(crate) fn demand_behind(problem: &Problem) -> Vec<u64> {
    let network = problem.network();
    let mut behind = problem.demand().to_vec();
    for node in network.order().iter().rev() {
        if let Some(parent) = network.parent(*node as usize) {
            behind[parent] += behind[*node as usize];
        }
    }
    behind
}

/// Fisher and Yates's shuffle with the `SplitMix64` generator.
fn shuffle(list: &mut [usize], seed: u64) {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    for last in (1..list.len()).rev() {
        // The high half of the product is uniform up to 1 in 2^64 / len.
        let drawn = (u128::from(next()) * (last as u128 + 1)) >> 64;
        list.swap(last, usize::try_from(drawn).unwrap_or(last));
    }
}
