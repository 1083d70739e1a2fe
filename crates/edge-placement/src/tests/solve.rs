//! Algorithms against brute force and against each other on small problems.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::network::MAX_MICROS;
use crate::{
    Algorithm, Effort, Graph, Limits, Network, Problem, Proof, Running, Service, Site, Solution,
    Tree, Ways, graph_betweenness, optimal_costs, solve, tree_betweenness,
};

/// The least cost of any set of sites within the limits, by trying all, with distances from trying all ways.
fn brute_force(problem: &Problem) -> u128 {
    let sites = problem.sites();
    assert!(sites.len() <= 12, "brute force");
    let limits = problem.limits();
    let sets = 0u32..1 << sites.len();
    sets.filter_map(|set| {
        let members: Vec<usize> = (0..sites.len())
            .filter(|site| set >> site & 1 == 1)
            .collect();
        let price = members.iter().map(|site| sites[*site].price).sum::<u128>();
        (members.len() <= limits.sites && price <= limits.budget)
            .then(|| cost_of(problem, &members))
    })
    .min()
    .unwrap()
}

fn cost_of(problem: &Problem, members: &[usize]) -> u128 {
    let network = problem.network();
    let rent: u128 = members.iter().map(|site| problem.sites()[*site].rent).sum();
    let mut cost = rent;
    for (node, demand) in problem.demand().iter().enumerate() {
        if *demand == 0 {
            continue;
        }
        let cloud = network.round_trips()[node];
        let ways = members.iter().filter_map(|site| {
            let what = &problem.sites()[*site];
            let is_on_path = std::iter::successors(Some(node), |at| network.parent(*at))
                .any(|at| at == what.node);
            let may = problem.service() == Service::AnyNearest || is_on_path;
            let micros = way(network, node, what.node)?.checked_add(what.access)?;
            (may && micros + problem.margin() <= cloud).then_some(micros)
        });
        cost += u128::from(*demand) * u128::from(ways.min().unwrap_or(cloud));
    }
    cost
}

/// Round trip between two nodes: on trees over the last common node, on graphs by relaxing every link again and again.
fn way(network: &Network, a: usize, b: usize) -> Option<u64> {
    match network {
        Network::Tree(tree) => {
            let chain: Vec<usize> = tree.chain(a).collect();
            let meeting = tree.chain(b).find(|node| chain.contains(node))?;
            let round_trips = tree.round_trips();
            Some(round_trips[a] + round_trips[b] - 2 * round_trips[meeting])
        }
        Network::Graph(graph) => {
            let mut far = vec![None; graph.len()];
            far[a] = Some(0u64);
            for _ in 0..graph.len() {
                for node in 0..graph.len() {
                    let Some(here) = far[node] else { continue };
                    for (end, link) in graph.neighbours(node) {
                        let there = &mut far[*end as usize];
                        *there =
                            Some(there.map_or(here + link, |known: u64| known.min(here + link)));
                    }
                }
            }
            far[b]
        }
    }
}

/// A tree of up to `nodes` nodes behind the cloud, some with clients.
fn any_tree(nodes: usize) -> impl Strategy<Value = (Tree, Vec<u64>)> {
    let node = (
        any::<prop::sample::Index>(),
        0u64..20,
        prop_oneof![Just(0u64), 0u64..9],
    );
    prop::collection::vec(node, 1..=nodes).prop_map(|nodes| {
        let links: Vec<(usize, u64)> = nodes
            .iter()
            .enumerate()
            .map(|(before, (parent, link, _))| (parent.index(before + 1), *link))
            .collect();
        let mut demand = vec![0];
        demand.extend(nodes.iter().map(|(_, _, demand)| demand));
        (Tree::new(&links).unwrap(), demand)
    })
}

fn any_graph(nodes: usize) -> impl Strategy<Value = (Graph, Vec<u64>)> {
    let index = any::<prop::sample::Index>;
    let extra = prop::collection::vec((index(), index(), 0u64..20), 0..6);
    (any_tree(nodes), extra).prop_map(|((tree, demand), extra)| {
        let mut links: Vec<(usize, usize, u64)> = (1..tree.len())
            .map(|node| {
                let parent = tree.parent(node).unwrap();
                (
                    node,
                    parent,
                    tree.round_trips()[node] - tree.round_trips()[parent],
                )
            })
            .collect();
        let nodes = tree.len();
        links.extend(
            extra
                .iter()
                .map(|(a, b, link)| (a.index(nodes), b.index(nodes), *link)),
        );
        (Graph::new(nodes, &links).unwrap(), demand)
    })
}

/// Up to `sites` sites anywhere, with some of prices, rents and ways of their own.
fn any_sites(sites: usize) -> impl Strategy<Value = Vec<(prop::sample::Index, u64, u128, u128)>> {
    let price = prop_oneof![Just(0u128), 0u128..10];
    let rent = prop_oneof![Just(0u128), 0u128..60];
    let access = prop_oneof![Just(0u64), 0u64..6];
    prop::collection::vec(
        (any::<prop::sample::Index>(), access, price, rent),
        0..=sites,
    )
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let sites = prop_oneof![Just(usize::MAX), 0usize..5];
    let budget = prop_oneof![Just(u128::MAX), 0u128..40];
    (sites, budget).prop_map(|(sites, budget)| Limits { sites, budget })
}

fn problem_of(
    network: Network,
    demand: Vec<u64>,
    sites: &[(prop::sample::Index, u64, u128, u128)],
    limits: Limits,
    margin: u64,
    service: Service,
) -> Problem {
    let nodes = network.len();
    let sites = sites.iter().map(|(node, access, price, rent)| Site {
        node: node.index(nodes),
        access: *access,
        price: *price,
        rent: *rent,
        capacity: None,
    });
    Problem::new(network, demand)
        .unwrap()
        .with_sites(sites.collect())
        .unwrap()
        .with_limits(limits)
        .with_margin(margin)
        .with_service(service)
}

fn any_problem_on_tree() -> impl Strategy<Value = Problem> {
    let service = prop_oneof![Just(Service::AnyNearest), Just(Service::OnPath)];
    (any_tree(10), any_sites(9), any_limits(), 1u64..5, service).prop_map(
        |((tree, demand), sites, limits, margin, service)| {
            problem_of(Network::Tree(tree), demand, &sites, limits, margin, service)
        },
    )
}

fn any_problem_on_graph() -> impl Strategy<Value = Problem> {
    let service = prop_oneof![Just(Service::AnyNearest), Just(Service::OnPath)];
    (any_graph(9), any_sites(8), any_limits(), 1u64..5, service).prop_map(
        |((graph, demand), sites, limits, margin, service)| {
            problem_of(
                Network::Graph(graph),
                demand,
                &sites,
                limits,
                margin,
                service,
            )
        },
    )
}

fn solved(problem: &Problem, algorithm: Algorithm) -> Solution {
    solve(problem, algorithm, Effort::default()).unwrap()
}

fn keeps_limits(problem: &Problem, solution: &Solution) -> bool {
    let prices = solution
        .chosen
        .iter()
        .map(|site| problem.sites()[*site].price);
    let price: u128 = prices.sum();
    price == solution.price
        && price <= problem.limits().budget
        && solution.chosen.len() <= problem.limits().sites
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn the_exact_optimum_is_that_of_brute_force(problem in any_problem_on_tree()) {
        let best = solved(&problem, Algorithm::Exact);
        prop_assert!(keeps_limits(&problem, &best));
        prop_assert_eq!(best.cost(), cost_of(&problem, &best.chosen));
        prop_assert_eq!(best.cost(), brute_force(&problem));
        prop_assert!(best.is_optimal());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn on_graphs_on_path_is_exact_too(problem in any_problem_on_graph()) {
        let problem = problem.with_service(Service::OnPath);
        prop_assert_eq!(solved(&problem, Algorithm::Exact).cost(), brute_force(&problem));
    }

    #[test]
    fn every_algorithm_keeps_the_limits_and_counts_right(
        problem in prop_oneof![any_problem_on_tree(), any_problem_on_graph()],
        seed: u64,
    ) {
        let random = [Algorithm::Random { seed }];
        for algorithm in Algorithm::ALL.into_iter().chain(random) {
            let Ok(solution) = solve(&problem, algorithm, Effort::default()) else {
                prop_assert_eq!(algorithm, Algorithm::Exact);
                continue;
            };
            prop_assert!(keeps_limits(&problem, &solution), "{}", algorithm);
            prop_assert_eq!(solution.cost(), cost_of(&problem, &solution.chosen));
            prop_assert!(solution.mean_micros().is_finite());
            if let Some(bound) = solution.bound {
                prop_assert!(bound.at_least <= brute_force(&problem), "{:?}", bound);
                prop_assert!(solution.gap().is_some_and(|gap| gap >= 0.0));
            }
            prop_assert_eq!(solve(&problem, algorithm, Effort::default()), Ok(solution));
        }
    }

    #[test]
    fn greedy_on_a_number_of_sites_saves_1_less_1_over_e_of_the_best(
        problem in prop_oneof![any_problem_on_tree(), any_problem_on_graph()],
        number in 1usize..5,
    ) {
        let sites = problem.sites().iter().map(|site| Site { rent: 0, ..*site });
        let sites = sites.collect();
        let limits = Limits { sites: number, budget: u128::MAX };
        let problem = problem.with_sites(sites).unwrap().with_limits(limits);
        let saved = |cost: u128| problem.cloud_only() - cost;
        let (ours, best) = (saved(solved(&problem, Algorithm::Celf).cost()), saved(brute_force(&problem)));
        prop_assert!(ours * 1_000_000 >= best * 632_120, "{} of {}", ours, best);
    }

    #[test]
    fn greedy_on_a_budget_saves_half_of_that(
        problem in prop_oneof![any_problem_on_tree(), any_problem_on_graph()],
        budget in 0u128..40,
    ) {
        let sites = problem.sites().iter().map(|site| Site { rent: 0, ..*site });
        let sites = sites.collect();
        let limits = Limits { sites: usize::MAX, budget };
        let problem = problem.with_sites(sites).unwrap().with_limits(limits);
        let saved = |cost: u128| problem.cloud_only() - cost;
        let (ours, best) = (saved(solved(&problem, Algorithm::Celf).cost()), saved(brute_force(&problem)));
        prop_assert!(ours * 1_000_000 >= best * 316_060, "{} of {}", ours, best);
    }

    #[test]
    fn the_default_without_lists_or_with_is_never_worse_than_greedy(problem in any_problem_on_graph()) {
        let greedy = solved(&problem, Algorithm::Celf);
        let auto = solved(&problem, Algorithm::Auto);
        prop_assert!(auto.cost() <= greedy.cost());
        // Without the effort for lists, the network itself gives the same greedy answer, or an equally good one.
        let poor = solve(&problem, Algorithm::Celf, Effort(0)).unwrap();
        prop_assert_eq!(&poor.chosen, &greedy.chosen);
        prop_assert!(poor.bound.unwrap().at_least <= brute_force(&problem));
    }

    #[test]
    fn costs_by_number_are_those_of_each_number(problem in any_problem_on_tree()) {
        let costs = optimal_costs(&problem, 4, Effort::default()).unwrap();
        for number in 0..=4 {
            let alone = problem.clone().with_limits(Limits { sites: number, budget: u128::MAX });
            let cost = costs.get(number).or(costs.last()).unwrap();
            prop_assert_eq!(*cost, solved(&alone, Algorithm::Exact).cost());
        }
    }

    #[test]
    fn large_numbers_change_nothing((tree, demand) in any_tree(8), number in 0usize..4) {
        // Every demand and length times a large factor: sums need more than 64 bits.
        let links: Vec<(usize, u64)> = (1..tree.len())
            .map(|node| {
                let parent = tree.parent(node).unwrap();
                let link = tree.round_trips()[node] - tree.round_trips()[parent];
                (parent, link * (MAX_MICROS / 200))
            })
            .collect();
        let large = Tree::new(&links).unwrap();
        let factor = 1_000_000_000_000;
        let much = demand.iter().map(|demand| demand * factor).collect();
        let small = Problem::new(Network::Tree(tree), demand).unwrap().at_most(number);
        let large = Problem::new(Network::Tree(large), much).unwrap().at_most(number);
        let (few, many) = (solved(&small, Algorithm::Exact), solved(&large, Algorithm::Exact));
        prop_assert_eq!(many.cost(), few.cost() * u128::from(factor) * u128::from(MAX_MICROS / 200));
    }

    #[test]
    fn with_capacities_and_measurements_limits_hold_and_proofs_are_true(
        problem in prop_oneof![any_problem_on_tree(), any_problem_on_graph()],
        capacities in prop::collection::vec(prop_oneof![Just(None), (0u64..20).prop_map(Some)], 9),
        measured in prop::collection::btree_map((0usize..9, 0usize..11), 0u64..40, 0..12),
    ) {
        let sites = problem.sites().iter().zip(&capacities);
        let sites: Vec<Site> = sites.map(|(site, capacity)| Site { capacity: *capacity, ..*site }).collect();
        let problem = problem.with_sites(sites).unwrap().with_measured(measured);
        for algorithm in [Algorithm::Auto, Algorithm::Celf, Algorithm::Betweenness] {
            let solution = solved(&problem, algorithm);
            prop_assert!(keeps_limits(&problem, &solution));
            let mut load: BTreeMap<usize, u64> = BTreeMap::new();
            for (serving, demand) in solution.serving.iter().zip(problem.demand()) {
                if let Some(site) = serving {
                    prop_assert!(solution.chosen.contains(site));
                    *load.entry(*site).or_default() += demand;
                }
            }
            for (site, load) in load {
                prop_assert!(problem.sites()[site].capacity.is_none_or(|most| load <= most));
            }
            prop_assert!(solution.latency <= solution.cloud_only);
            if let Some(bound) = solution.bound {
                prop_assert!(bound.at_least <= solution.cost());
            }
        }
    }

    #[test]
    fn closed_form_of_betweenness_counts_pairs((tree, weights) in any_tree(12)) {
        let mut counted = vec![0u128; tree.len()];
        for a in 0..tree.len() {
            for b in 0..a {
                let up: Vec<usize> = tree.chain(a).collect();
                let meeting = tree.chain(b).find(|node| up.contains(node)).unwrap();
                let down = tree.chain(b).take_while(|node| *node != meeting);
                let up = up.iter().copied().take_while(|node| *node != meeting);
                for node in up.chain(down).chain([meeting]).filter(|node| ![a, b].contains(node)) {
                    counted[node] += u128::from(weights[a]) * u128::from(weights[b]);
                }
            }
        }
        prop_assert_eq!(tree_betweenness(&tree, &weights), counted);
    }
}

proptest! {
    #[test]
    fn a_running_betweenness_is_that_of_the_demand_now(
        (tree, demand) in any_tree(12),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0u64..9), 0..8),
    ) {
        let mut now = demand.clone();
        let mut running = Running::new(tree.clone(), demand);
        for (node, demand) in changes {
            let node = node.index(tree.len());
            now[node] = demand;
            prop_assert_eq!(running.set(node, demand), tree.chain(node).count());
        }
        let values = tree_betweenness(&tree, &now);
        for (node, value) in values.into_iter().enumerate() {
            prop_assert_eq!(running.betweenness(node), Some(value));
            prop_assert_eq!(running.behind(node), Some(tree.sums(&now)[node]));
        }
        prop_assert_eq!(running.set(tree.len(), 1), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn betweenness_of_graphs_counts_shares_of_shortest_ways(
        (graph, weights) in any_graph(8),
        threads in 0usize..4,
    ) {
        for ways in [Ways::FewestLinks, Ways::Shortest] {
            let values = graph_betweenness(&graph, &weights, ways, threads);
            let counted = shares(&graph, &weights, ways);
            // Links of no length make the number of shortest ways a matter of definition.
            let is_defined = ways == Ways::FewestLinks
                || (0..graph.len()).all(|node| graph.neighbours(node).iter().all(|(_, link)| *link > 0));
            for (value, counted) in values.iter().zip(&counted) {
                prop_assert!(value.is_finite());
                prop_assert!(!is_defined || (value - counted).abs() < 1e-6, "{:?} {:?}", values, counted);
            }
            let alone = graph_betweenness(&graph, &weights, ways, 1);
            prop_assert_eq!(values, alone, "threads change nothing");
        }
    }
}

/// Betweenness by going along every simple way between every two nodes.
fn shares(graph: &Graph, weights: &[u64], ways: Ways) -> Vec<f64> {
    fn go(
        graph: &Graph,
        ways: Ways,
        to: usize,
        way: &mut Vec<usize>,
        length: u64,
        found: &mut Vec<(u64, Vec<usize>)>,
    ) {
        let at = way[way.len() - 1];
        if at == to {
            found.push((length, way.clone()));
            return;
        }
        for (end, link) in graph.neighbours(at) {
            let end = *end as usize;
            if !way.contains(&end) {
                way.push(end);
                let link = if ways == Ways::FewestLinks { 1 } else { *link };
                go(graph, ways, to, way, length + link, found);
                way.pop();
            }
        }
    }
    let mut shares = vec![0.0; graph.len()];
    for a in 0..graph.len() {
        for b in 0..a {
            let mut found = Vec::new();
            go(graph, ways, b, &mut vec![a], 0, &mut found);
            let Some(least) = found.iter().map(|(length, _)| *length).min() else {
                continue;
            };
            found.retain(|(length, _)| *length == least);
            let weight = weights[a] as f64 * weights[b] as f64 / found.len() as f64;
            for (_, way) in &found {
                for node in &way[1..way.len() - 1] {
                    shares[*node] += weight;
                }
            }
        }
    }
    shares
}

#[test]
fn improvement_escapes_where_greedy_is_stuck() {
    // Two clusters 1 ms beside a middle; greedy takes the middle first, the best two sites are the clusters.
    let tree = Tree::new(&[(0, 10_000), (1, 2_000), (1, 2_000), (1, 100)]).unwrap();
    let graph = Graph::new(
        tree.len(),
        &[(0, 1, 10_000), (1, 2, 2_000), (1, 3, 2_000), (1, 4, 100)],
    )
    .unwrap();
    let demand = vec![0, 0, 1000, 1000, 300];
    let problem = Problem::new(Network::Graph(graph), demand.clone())
        .unwrap()
        .at_most(2);
    let greedy = solved(&problem, Algorithm::Celf);
    let auto = solved(&problem, Algorithm::Auto);
    let best = Problem::new(Network::Tree(tree), demand)
        .unwrap()
        .at_most(2);
    let best = solved(&best, Algorithm::Exact);
    assert_eq!(best.chosen, [1, 2], "sites at nodes 2 and 3");
    assert!(greedy.cost() > best.cost(), "{greedy:?}");
    assert_eq!(auto.cost(), best.cost());
    assert!(auto.gap().unwrap() < 0.2, "{auto:?}");
}

#[test]
fn a_hundred_thousand_nodes_take_little() {
    // Parents by a fixed rule, as different from a chain as from a star.
    let links: Vec<(usize, u64)> = (0..100_000usize)
        .map(|before| {
            (
                before.wrapping_mul(2_654_435_761) % (before + 1),
                100 + before as u64 % 900,
            )
        })
        .collect();
    let demand = (0..=links.len() as u64).map(|node| node % 7).collect();
    let problem = Problem::new(Network::Tree(Tree::new(&links).unwrap()), demand).unwrap();
    for service in [Service::OnPath, Service::AnyNearest] {
        let problem = problem.clone().with_service(service).at_most(20);
        let solution = solved(&problem, Algorithm::Celf);
        assert_eq!(solution.chosen.len(), 20);
        assert_eq!(solution.bound.unwrap().proof, Proof::Submodular);
        assert!(solution.gap().unwrap() < 0.5, "{:?}", solution.gap());
    }
}

#[test]
fn names_of_algorithms_are_parsed() {
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.name().parse(), Ok(algorithm));
    }
    assert_eq!("random:7".parse(), Ok(Algorithm::Random { seed: 7 }));
    assert!("random:x".parse::<Algorithm>().is_err());
    assert!("best".parse::<Algorithm>().is_err());
}

#[test]
fn what_comes_from_a_path_of_figure_3_is_deeper_on_a_tie() {
    // C and D in a row, clients behind D and beside: equal betweenness, D is taken (paper, Figure 3).
    let tree = Tree::new(&[(0, 1000), (1, 10_000), (2, 10_000), (3, 5000), (1, 30_000)]).unwrap();
    let demand = vec![0, 0, 0, 0, 3000, 3000];
    let values = tree_betweenness(&tree, &demand);
    assert_eq!(values[2], values[3]);
    let at = |node| Site {
        node,
        ..Site::default()
    };
    let problem = Problem::new(Network::Tree(tree), demand)
        .unwrap()
        .with_sites(vec![at(2), at(3)])
        .unwrap()
        .at_most(1);
    assert_eq!(solved(&problem, Algorithm::Betweenness).chosen, [1]);
}
