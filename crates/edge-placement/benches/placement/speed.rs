//! How long plans and centralities take.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use edge_placement::{
    Algorithm, Application, Candidate, Effort, Graph, Network, PlanInput, Policy, Problem, Running,
    Service, Site, Tree, Trust, Ways, Whereabouts, graph_betweenness, plan, solve,
    tree_betweenness,
};
use edge_topology::{AggregateTree, ClientDemand, Limits, Observations};
use edge_types::{
    Amount, Generation, Hop, HopReply, IepId, IpNet, MonotonicTime, OfferId, PathEnd,
    PathObservation, PrefixGrouping, Rtt, Slot, UtcTime,
};

use crate::inputs;
use crate::tell;

fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begun = Instant::now();
    let result = black_box(work());
    (begun.elapsed().as_secs_f64() * 1e3, result)
}

/// One sample of each case, in ms.
pub(crate) fn plans() {
    let (tree, candidates) = aggregate(240);
    let (excluded, measured) = (BTreeSet::new(), BTreeMap::new());
    let input = PlanInput {
        generation: Generation(1),
        tree: &tree,
        sites_found: candidates.len(),
        candidates: &candidates,
        excluded: &excluded,
        measured: &measured,
        application: Application::default(),
        policy: Policy {
            max_sites: 24,
            ..Policy::within(Amount::wei(u128::MAX))
        },
        algorithm: Algorithm::Auto,
        effort: Effort::default(),
    };
    let (ms, plan) = timed(|| plan(&input));
    assert_eq!(plan.certificate.gap_ppm(), Some(0), "the optimum");
    assert_eq!(plan.made_by, Algorithm::Exact);
    tell("plan 240", &[ms]);

    let (network, leaves) = inputs::random_tree(2_400);
    let problem = problem(network, &leaves);
    let on_path = problem.clone().with_service(Service::OnPath).at_most(120);
    tell("on-path 2400", &[solved(&on_path, Algorithm::Exact)]);
    tell(
        "any-nearest 2400",
        &[solved(&problem.clone().at_most(120), Algorithm::Exact)],
    );
    let share = problem.cloud_only() / 400;
    let priced = problem.sites().iter().map(|site| Site {
        rent: share * u128::from(1 + inputs::drawn(site.node as u64) % 10) / 10,
        ..*site
    });
    let priced = problem.clone().with_sites(priced.collect());
    let priced = priced.expect("prices in range");
    tell("priced 2400", &[solved(&priced, Algorithm::Exact)]);

    let (network, leaves) = inputs::random_tree(1_000_000);
    let large = self::problem(network, &leaves);
    let large = large.with_service(Service::OnPath).at_most(1000);
    let (ms, solution) = timed(|| solve(&large, Algorithm::Celf, Effort::default()));
    assert_eq!(solution.expect("solved").chosen.len(), 1000);
    tell("on-path celf 1000000", &[ms]);

    let Network::Tree(tree) = large.network().clone() else {
        unreachable!("it is a tree");
    };
    let mut running = Running::new(tree.clone(), large.demand().to_vec());
    let (mut beyond, mut times) = (0, 0u32);
    let (ms, ()) = timed(|| {
        for leaf in leaves.iter().step_by(17) {
            let touched = running.set(*leaf, 77);
            beyond = beyond.max(touched - tree.chain(*leaf).count());
            times += 1;
        }
    });
    tell("update beyond depth", &[beyond as f64]);
    tell("update us", &[ms * 1e3 / f64::from(times)]);
}

fn problem(tree: Tree, leaves: &[usize]) -> Problem {
    let mut demand = vec![0; tree.len()];
    for leaf in leaves {
        demand[*leaf] = 1 + inputs::drawn(*leaf as u64) % 1000;
    }
    Problem::new(Network::Tree(tree), demand).expect("a problem")
}

fn solved(problem: &Problem, algorithm: Algorithm) -> f64 {
    let (ms, solution) = timed(|| solve(problem, algorithm, Effort(10_000_000_000)));
    let solution = solution.expect("solved");
    assert!(solution.bound.is_some());
    ms
}

/// A tree of so many routers as tracing finds it, clients behind its leaves, and a site at every router.
fn aggregate(routers: usize) -> (AggregateTree, Vec<Candidate>) {
    let (tree, leaves) = inputs::random_tree(routers);
    let address = |first: u8, index: usize| {
        let [.., high, low] = index.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(first, high, low, 1))
    };
    let path = |to: usize, target: IpAddr, beyond: u64| {
        let mut chain: Vec<usize> = tree.chain(to).filter(|node| *node > 0).collect();
        chain.reverse();
        let reply = |address, micros| {
            let rtt = Rtt(Duration::from_micros(micros));
            Hop::Reply(HopReply::new(address, rtt))
        };
        let mut hops: Vec<Hop> = chain
            .iter()
            .map(|node| reply(address(240, *node), tree.round_trips()[*node]))
            .collect();
        hops.push(reply(target, tree.round_trips()[to] + beyond));
        PathObservation {
            target,
            observed_at: MonotonicTime::ZERO,
            hops,
            further: Vec::new(),
            end: PathEnd::Reached,
            probes_sent: 0,
        }
    };
    let mut observations = Observations::new(Limits::default());
    let mut demand = BTreeMap::new();
    for leaf in leaves {
        let target = address(241, leaf);
        observations
            .insert(&path(leaf, target, 500))
            .expect("within limits");
        let client = ClientDemand {
            target,
            milli_requests_per_second: 1 + inputs::drawn(leaf as u64) % 1000,
        };
        let prefix = IpNet::new(target, 24).expect("a length").trunc();
        demand.insert(prefix, client);
    }
    let grouping = PrefixGrouping::new(32, 128).expect("lengths");
    let aggregate = observations.tree(Generation(1), grouping, &demand);
    let candidates = (1..routers).map(|router| Candidate {
        site: IepId {
            host: format!("edge{router}.example").parse().expect("a name"),
            port: 5060,
        },
        offer: Some(OfferId([0; 32])),
        attachment: aggregate.attach(&path(router, address(242, router), 300)),
        price_per_second: Amount::wei(1),
        slot: Slot {
            start: UtcTime(0),
            end: UtcTime(3600),
        },
        already_running: false,
        capacity: None,
        trust: Trust::Bound,
        whereabouts: Whereabouts::default(),
        outlook_percent: 100,
    });
    let candidates = candidates.collect();
    (aggregate, candidates)
}

/// Sizes of trees whose betweenness is compared.
const TREES: [usize; 3] = [240, 2_400, 10_000];

fn ones(nodes: usize) -> Vec<u64> {
    vec![1; nodes]
}

/// One sample of each, in ms; values too, for comparison.
pub(crate) fn betweenness(data: Option<&Path>) {
    for nodes in TREES {
        let (tree, _) = inputs::random_tree(nodes);
        let weights = ones(nodes);
        let times = 1_000_000 / nodes as u32;
        let (ms, ()) = timed(|| {
            for _ in 0..times {
                black_box(tree_betweenness(black_box(&tree), &weights));
            }
        });
        tell(&format!("tree {nodes}"), &[ms / f64::from(times)]);
        let values = tree_betweenness(&tree, &weights).into_iter();
        let values: Vec<f64> = values.map(|value| value as f64).collect();
        tell(&format!("tree {nodes} values"), &values);
    }
    if let Some(graph) = data.map(graph) {
        let weights = ones(graph.len());
        for threads in [1, 2] {
            let (ms, values) =
                timed(|| graph_betweenness(&graph, &weights, Ways::FewestLinks, threads));
            tell(&format!("map {threads}"), &[ms]);
            tell(&format!("map {threads} values"), &values);
        }
    }
}

fn graph(data: &Path) -> Graph {
    match inputs::router_map(data).network {
        Network::Graph(graph) => graph,
        Network::Tree(_) => unreachable!("a router map is a graph"),
    }
}

/// Lists of links for the peers, one file each in `folder`: `tree-N.txt`, `map.txt`.
pub(crate) fn write_graphs(data: Option<&Path>, folder: &str) {
    let write = |name: String, links: String| {
        let file = Path::new(folder).join(name);
        std::fs::write(&file, links).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    };
    for nodes in TREES {
        let (tree, _) = inputs::random_tree(nodes);
        let mut links = String::new();
        for node in 1..nodes {
            let parent = tree.parent(node).unwrap_or(0);
            let _infallible = writeln!(links, "{parent} {node}");
        }
        write(format!("tree-{nodes}.txt"), links);
    }
    if let Some(graph) = data.map(graph) {
        let mut links = String::new();
        for node in 0..graph.len() {
            for (end, _) in graph.neighbours(node) {
                if node < *end as usize {
                    let _infallible = writeln!(links, "{node} {end}");
                }
            }
        }
        write("map.txt".to_owned(), links);
    }
}
