//! What equal seeds give, as digests that have to be equal whatever the threads and the build.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash as _, Hasher as _};

use edge_placement::Network;
use edge_sim::over_time::{Contest, Grid};
use edge_sim::simulate::{Run, simulate};
use edge_sim::world::WorldSize;
use serde_json::json;

use crate::{inputs, tell};

pub(crate) fn run(threads: usize) {
    let digest = |case: &str, result: &dyn Debug| {
        // Its keys are fixed.
        let mut hasher = DefaultHasher::new();
        format!("{result:?}").hash(&mut hasher);
        tell(&json!({ "case": case, "digest": format!("{:016x}", hasher.finish()) }));
    };

    let input = inputs::shipped();
    let Network::Tree(tree) = input.network else {
        unreachable!("the shipped network is a tree");
    };
    let requests: Vec<u64> = (0..3 * 1440)
        .map(|minute| 500 + inputs::drawn(minute / 90) % 2000)
        .collect();
    let contest = Contest::new(&tree, &input.clients, 4, &requests, 0, &[1, 2], threads);
    let contest = contest.expect("sites on the shipped tree");
    let grid = Grid {
        seeds: vec![1, 2],
        lease_minutes: vec![10, 60],
        price_percent: vec![100],
        ..Grid::default()
    };
    digest("renting over time", &contest.run(&grid, threads));

    let mut steps = Vec::new();
    let run = Run {
        size: WorldSize {
            clients: 100_000,
            prefixes: 256,
            ..WorldSize::default()
        },
        steps: 12,
        ..Run::default()
    };
    simulate(&run, threads, |_, _| {}, |_, step| steps.push(*step));
    digest("the loop in virtual time", &steps);
}
