//! How near to the optimum each algorithm comes, by share of nodes with a site.

use std::path::Path;

use edge_placement::{
    Algorithm, Effort, Network, Problem, Solution, evaluate, optimal_costs, rank, solve,
};

use crate::inputs::{self, Input};
use crate::tell;

/// Shares of nodes, in percent.
const SHARES: [usize; 7] = [1, 2, 5, 10, 20, 30, 50];

/// Seeds of random placement, of which the mean counts.
const DRAWS: u64 = 30;

/// All requests, in thousandths of a request per second.
const DEMAND: u64 = 1_000_000_000;

pub(crate) fn run(data: Option<&Path>) {
    let mut all = vec![inputs::shipped()];
    if let Some(data) = data {
        all.push(inputs::real_paths(data));
        all.push(inputs::router_map(data));
    }
    for input in all {
        tell(
            &format!("{}/nodes", input.name),
            &[input.network.len() as f64],
        );
        tell(
            &format!("{}/clients", input.name),
            &[input.clients.len() as f64],
        );
        tell(
            &format!("{}/left out", input.name),
            &[input.left_out as f64],
        );
        for (name, demand) in [("uniform", uniform(&input)), ("zipf", zipf(&input))] {
            let problem = Problem::new(input.network.clone(), demand).expect("a problem");
            compare(&format!("{}/{name}", input.name), &problem);
        }
    }
}

fn uniform(input: &Input) -> Vec<u64> {
    let mut demand = vec![0; input.network.len()];
    for client in &input.clients {
        demand[*client] = DEMAND / input.clients.len() as u64;
    }
    demand
}

/// The client drawn as the r-th asks 1/r as much as the first.
fn zipf(input: &Input) -> Vec<u64> {
    let mut order = input.clients.clone();
    order.sort_by_key(|client| inputs::drawn(*client as u64));
    let mut demand = vec![0; input.network.len()];
    for (before, client) in order.iter().enumerate() {
        demand[*client] = DEMAND / 8 / (before as u64 + 1);
    }
    demand
}

fn compare(name: &str, problem: &Problem) {
    let nodes = problem.network().len() - 1;
    tell(
        &format!("{name}/cloud-only mean ms"),
        &[evaluate(problem, &[]).mean_micros() / 1e3],
    );
    for share in if std::env::var("QUICK").is_ok() {
        &SHARES[..0]
    } else {
        &SHARES[..]
    } {
        let share = *share;
        let number = (nodes * share).div_ceil(100);
        let problem = problem.clone().at_most(number);
        let best = solved(&problem, Algorithm::Auto);
        let bound = best.bound.expect("proven").at_least;
        tell(
            &format!("{name}/{share}%/bound mean ms"),
            &[bound as f64 / best.demand as f64 / 1e3],
        );
        // Where the best is nothing, so is all that is as good.
        let ratio = |solution: &Solution| match (solution.cost(), bound) {
            (0, 0) => 1.0,
            (cost, bound) => cost as f64 / bound as f64,
        };
        tell(&format!("{name}/{share}%/auto"), &[ratio(&best)]);
        for algorithm in [
            Algorithm::CloudOnly,
            Algorithm::MostClients,
            Algorithm::Freeman,
            Algorithm::Betweenness,
            Algorithm::Through,
            Algorithm::Celf,
        ] {
            let solution = solved(&problem, algorithm);
            tell(&format!("{name}/{share}%/{algorithm}"), &[ratio(&solution)]);
        }
        let draws = (0..DRAWS).map(|seed| ratio(&solved(&problem, Algorithm::Random { seed })));
        let mean = draws.sum::<f64>() / DRAWS as f64;
        tell(&format!("{name}/{share}%/random"), &[mean]);
    }
    // Sites that bring the mean down by 70 %.
    let wanted = problem.cloud_only() * 3 / 10;
    let ours = match problem.network() {
        Network::Tree(_) => {
            let costs = optimal_costs(problem, nodes, Effort(u64::MAX)).expect("a tree");
            costs.iter().position(|cost| *cost <= wanted)
        }
        Network::Graph(_) => Some(fewest(1, nodes, |number| {
            let problem = problem.clone().at_most(number);
            solved(&problem, Algorithm::Auto).cost() <= wanted
        })),
    };
    tell(
        &format!("{name}/sites for 70 %/auto"),
        &[ours.map_or(f64::NAN, |number| number as f64)],
    );
    if matches!(problem.network(), Network::Graph(_)) {
        // With fewer than these no placement does, as the bounds prove.
        let needed = fewest(1, nodes, |number| {
            let best = solved(&problem.clone().at_most(number), Algorithm::Auto);
            best.bound.expect("proven").at_least <= wanted
        });
        tell(&format!("{name}/sites for 70 %/proven"), &[needed as f64]);
    }
    for algorithm in [
        Algorithm::Freeman,
        Algorithm::Betweenness,
        Algorithm::MostClients,
    ] {
        let ranking = rank(problem, algorithm);
        let number = fewest(1, nodes, |number| {
            evaluate(problem, &ranking[..number]).cost() <= wanted
        });
        tell(
            &format!("{name}/sites for 70 %/{algorithm}"),
            &[number as f64],
        );
    }
}

/// The smallest number from `low` to `high` that suffices, where more than enough suffices, too.
fn fewest(mut low: usize, mut high: usize, suffices: impl Fn(usize) -> bool) -> usize {
    while low < high {
        let middle = low.midpoint(high);
        if suffices(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

fn solved(problem: &Problem, algorithm: Algorithm) -> Solution {
    solve(problem, algorithm, Effort::default()).expect("no exact one asked for")
}
