//! What is no sensible problem gives a typed error or a defined answer.

use crate::{
    Algorithm, Effort, Graph, Limits, MAX_MICROS, Network, NetworkError, Problem, ProblemError,
    Service, Site, SolveError, Tree, evaluate, graph_betweenness, solve, tree_betweenness,
};

/// Solves by every algorithm and in both models; what all agree on.
fn by_all(problem: &Problem, check: impl Fn(&crate::Solution)) {
    for service in [Service::AnyNearest, Service::OnPath] {
        for algorithm in Algorithm::ALL {
            let problem = problem.clone().with_service(service);
            match solve(&problem, algorithm, Effort::default()) {
                Ok(solution) => {
                    assert!(solution.mean_micros().is_finite());
                    assert!(solution.cloud_only_mean_micros().is_finite());
                    assert!(solution.gap().is_none_or(|gap| !gap.is_nan()));
                    check(&solution);
                }
                Err(error) => assert!(
                    matches!(error, SolveError::NeedsTree | SolveError::NeedsPlain),
                    "{algorithm}: {error}"
                ),
            }
        }
    }
}

#[test]
fn the_cloud_alone_serves_its_own_clients() {
    for demand in [0, 5] {
        let tree = Network::Tree(Tree::new(&[]).unwrap());
        let graph = Network::Graph(Graph::new(1, &[]).unwrap());
        for network in [tree, graph] {
            let problem = Problem::new(network, vec![demand]).unwrap();
            by_all(&problem, |solution| {
                assert!(solution.chosen.is_empty());
                assert_eq!(solution.cost(), 0);
            });
        }
    }
    assert_eq!(Graph::new(0, &[]), Err(NetworkError::Empty));
}

#[test]
fn one_node_behind_the_cloud_is_the_only_choice() {
    let tree = Tree::new(&[(0, 10)]).unwrap();
    let problem = Problem::new(Network::Tree(tree), vec![0, 3]).unwrap();
    by_all(&problem, |solution| {
        let cost = if solution.chosen.is_empty() { 30 } else { 0 };
        assert_eq!(solution.cost(), cost);
        assert_eq!(
            solution.chosen.is_empty(),
            solution.algorithm == Algorithm::CloudOnly
        );
    });
}

#[test]
fn more_sites_than_nodes_and_none() {
    let tree = Tree::new(&[(0, 10), (1, 10)]).unwrap();
    let problem = Problem::new(Network::Tree(tree), vec![0, 3, 4]).unwrap();
    by_all(&problem.clone().at_most(1000), |solution| {
        assert!(solution.chosen.len() <= 2);
    });
    by_all(&problem.clone().at_most(0), |solution| {
        assert!(solution.chosen.is_empty());
        assert_eq!(solution.cost(), solution.cloud_only);
    });
    let without = problem.with_sites(vec![]).unwrap();
    by_all(&without, |solution| assert!(solution.chosen.is_empty()));
}

#[test]
fn zero_demand_costs_nothing() {
    let tree = Tree::new(&[(0, 10), (1, 10)]).unwrap();
    let problem = Problem::new(Network::Tree(tree), vec![0; 3]).unwrap();
    by_all(&problem, |solution| {
        assert_eq!(solution.cost(), 0);
        assert_eq!(solution.mean_micros().to_bits(), 0);
    });
}

#[test]
fn absurd_prices_are_sums_out_of_range_or_never_paid() {
    let tree = Tree::new(&[(0, 10), (0, 10)]).unwrap();
    let problem = Problem::new(Network::Tree(tree), vec![0, 3, 4]).unwrap();
    let site = |node, price, rent| Site {
        node,
        price,
        rent,
        ..Site::default()
    };
    let sites = vec![site(1, u128::MAX, 0), site(2, u128::MAX, 0)];
    assert_eq!(
        problem.clone().with_sites(sites),
        Err(ProblemError::PriceOutOfRange { site: 1 })
    );
    assert_eq!(
        problem.clone().with_sites(vec![site(1, 0, u128::MAX)]),
        Err(ProblemError::PriceOutOfRange { site: 0 })
    );
    let dear = problem
        .clone()
        .with_sites(vec![site(1, u128::MAX - 1, 0), site(2, 1, 0)])
        .unwrap()
        .with_limits(Limits {
            sites: 2,
            budget: u128::MAX - 1,
        });
    by_all(&dear, |solution| assert!(solution.chosen.len() <= 1));
    // A rent above anything that can be saved.
    let best = problem
        .with_sites(vec![site(1, 0, 1 << 100), site(2, 0, 39)])
        .unwrap();
    let best = solve(&best, Algorithm::Auto, Effort::default()).unwrap();
    assert_eq!(best.chosen, [1]);
}

#[test]
fn nodes_that_there_are_not() {
    assert_eq!(
        Tree::new(&[(1, 10)]),
        Err(NetworkError::ParentNotBefore { node: 1, parent: 1 })
    );
    assert_eq!(
        Tree::new(&[(0, 10), (7, 10)]),
        Err(NetworkError::ParentNotBefore { node: 2, parent: 7 })
    );
    assert_eq!(
        Graph::new(2, &[(0, 2, 1)]),
        Err(NetworkError::NoSuchNode { node: 2, nodes: 2 })
    );
    let tree = Tree::new(&[(0, 10)]).unwrap();
    let problem = Problem::new(Network::Tree(tree.clone()), vec![0, 3]).unwrap();
    let nowhere = Site {
        node: 2,
        ..Site::default()
    };
    assert_eq!(
        problem.clone().with_sites(vec![nowhere]),
        Err(ProblemError::NoSuchNode {
            site: 0,
            node: 2,
            nodes: 2
        })
    );
    assert_eq!(
        Problem::new(Network::Tree(tree), vec![0]),
        Err(ProblemError::DemandMismatch {
            demands: 1,
            nodes: 2
        })
    );
    assert_eq!(evaluate(&problem, &[9, 0, 0]).chosen, [0]);
}

#[test]
fn lengths_and_demands_out_of_range() {
    assert_eq!(
        Tree::new(&[(0, MAX_MICROS), (1, 1)]),
        Err(NetworkError::TooFar { node: 2 })
    );
    assert_eq!(
        Tree::new(&[(0, 5), (1, u64::MAX)]),
        Err(NetworkError::TooFar { node: 2 })
    );
    assert_eq!(
        Graph::new(2, &[(0, 1, u64::MAX)]),
        Err(NetworkError::TooFar { node: 1 })
    );
    let tree = Network::Tree(Tree::new(&[(0, MAX_MICROS)]).unwrap());
    assert_eq!(
        Problem::new(tree.clone(), vec![0, u64::MAX]),
        Err(ProblemError::DemandOutOfRange { node: 1 })
    );
    let most = Problem::new(tree.clone(), vec![0, 1_000_000_000_000_000_000]).unwrap();
    by_all(&most, |solution| {
        assert!(solution.cost() <= most.cloud_only())
    });
    let far = Site {
        node: 1,
        access: u64::MAX,
        ..Site::default()
    };
    assert_eq!(
        most.with_sites(vec![far]),
        Err(ProblemError::TooFar { site: 0 })
    );
}

#[test]
fn disconnected_parts() {
    // 2 and 3 are linked with each other but not with the cloud.
    let graph = Graph::new(4, &[(0, 1, 10), (2, 3, 5), (1, 1, 7)]).unwrap();
    let network = Network::Graph(graph.clone());
    assert_eq!(
        Problem::new(network.clone(), vec![0, 1, 0, 1]),
        Err(ProblemError::Unreachable { node: 3 })
    );
    let problem = Problem::new(network, vec![0, 1, 0, 0]).unwrap();
    by_all(&problem, |solution| {
        assert!(solution.cost() <= 10);
        assert!(solution.serving.iter().flatten().all(|site| *site < 3));
    });
    let values = graph_betweenness(&graph, &[1; 4], crate::Ways::Shortest, 2);
    assert_eq!(values, [0.0; 4]);
}

#[test]
fn betweenness_of_nothing() {
    let tree = Tree::new(&[]).unwrap();
    assert_eq!(tree_betweenness(&tree, &[7]), [0]);
    assert_eq!(tree_betweenness(&tree, &[]), [0]);
    let pair = Tree::new(&[(0, 1)]).unwrap();
    assert_eq!(tree_betweenness(&pair, &[u64::MAX, u64::MAX]), [0, 0]);
    let graph = Graph::new(1, &[]).unwrap();
    let values = graph_betweenness(&graph, &[0], crate::Ways::FewestLinks, 0);
    assert_eq!(values, [0.0]);
}
