//! What inserting a path and refreshing a tree cost, by the number of targets: `cargo bench -p edge-topology --bench scale`.
#![expect(clippy::print_stdout, reason = "prints its table")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use edge_topology::{ClientDemand, Demand, Limits, Observations, Parents, change};
use edge_types::{
    Generation, Hop, HopReply, MonotonicTime, PathEnd, PathObservation, PrefixGrouping, Rtt,
};

/// Paths inserted per timing.
const TIMED: u32 = 1_000;

/// The path to a client: 15 hops that branch fivefold every third, the last three of the client's own neighbourhood.
fn path(number: u32, second: u64) -> PathObservation {
    let hop = |depth: u32| {
        let branch = number % 5u32.pow((depth / 2 + 1).min(8));
        let address = IpAddr::V4((0xe000_0000 + (depth << 20) + branch).into());
        let rtt = Rtt(Duration::from_micros(u64::from(depth * 1000 + number % 97)));
        Hop::Reply(HopReply::new(address, rtt))
    };
    PathObservation {
        target: IpAddr::V4((0x1000_0000 + (number << 8) + 9).into()),
        observed_at: MonotonicTime(Duration::from_secs(second)),
        hops: (0..15).map(hop).collect(),
        further: Vec::new(),
        end: PathEnd::Silent,
        probes_sent: 0,
    }
}

fn main() {
    println!(
        "targets    insert      replace     graph       dominators  tree        change      snapshot    load"
    );
    for targets in [1_000, 10_000, 100_000] {
        let mut store = Observations::new(Limits {
            max_targets: 200_000,
            ..Limits::default()
        });
        let mut demand = Demand::new();
        let mut insert = Duration::ZERO;
        let paths: Vec<PathObservation> = (0..targets).map(|number| path(number, 0)).collect();
        for (number, path) in (1..).zip(&paths) {
            let started = Instant::now();
            store.insert(path).expect("there is room");
            if number > targets - TIMED {
                insert += started.elapsed();
            }
            let client = ClientDemand {
                target: path.target,
                milli_requests_per_second: 1000,
            };
            demand.insert(PrefixGrouping::SITE.group(path.target), client);
        }
        // Spread over the store, not what was touched last.
        let again = (0..TIMED).map(|number| path(number * (targets / TIMED), 1));
        let again: Vec<PathObservation> = again.collect();
        let started = Instant::now();
        for path in &again {
            store.insert(path).expect("it is newer");
        }
        let replace = started.elapsed();

        let by_address = PrefixGrouping::new(32, 128).expect("lengths of whole addresses");
        let started = Instant::now();
        let graph = store.graph(by_address, &demand);
        let graph_time = started.elapsed();
        let started = Instant::now();
        let dominated = graph.dominators().iter().flatten().count();
        let dominators = started.elapsed();
        assert_eq!(dominated, graph.nodes().len() - 1);
        let started = Instant::now();
        let tree = graph.tree(Generation(1), Parents::Heaviest);
        let tree_time = started.elapsed();
        let started = Instant::now();
        assert!(change(&tree, &tree) <= 0.0, "a tree differs from itself");
        let change_time = started.elapsed();
        let started = Instant::now();
        let text: String = store.snapshot().map(|line| line + "\n").collect();
        let snapshot = started.elapsed();
        let started = Instant::now();
        let loaded =
            Observations::load(text.as_bytes(), Limits::default()).expect("it was just saved");
        let load = started.elapsed();
        assert!(loaded == store, "the snapshot is of another store");
        println!(
            "{targets:>7} {:>8.2} µs {:>8.2} µs {:>8.1} ms {:>8.1} ms {:>8.1} ms {:>8.1} ms {:>8.1} ms {:>8.1} ms  ({} nodes)",
            insert.as_secs_f64() * 1e6 / f64::from(TIMED),
            replace.as_secs_f64() * 1e6 / f64::from(TIMED),
            graph_time.as_secs_f64() * 1e3,
            dominators.as_secs_f64() * 1e3,
            tree_time.as_secs_f64() * 1e3,
            change_time.as_secs_f64() * 1e3,
            snapshot.as_secs_f64() * 1e3,
            load.as_secs_f64() * 1e3,
            graph.nodes().len(),
        );
    }
}
