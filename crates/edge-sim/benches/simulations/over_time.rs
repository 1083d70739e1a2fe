//! Policies side by side on the requests of a real service, and how good forecasts of its sites are.

use std::io::Read as _;
use std::path::Path;

use edge_placement::Network;
use edge_sim::over_time::{Contest, Grid, requests_per_minute};
use serde_json::json;

use crate::{inputs, tell};

/// Sites that the requests are spread over.
const SITES: usize = 8;

/// The trace begins at half past nine in the evening.
const FIRST_MINUTE: usize = 21 * 60 + 30;

pub(crate) fn run(file: &Path) {
    let packed = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(&packed[..])
        .read_to_string(&mut text)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let requests = requests_per_minute(&text).expect("a trace");
    let input = inputs::shipped();
    let Network::Tree(tree) = input.network else {
        unreachable!("the shipped network is a tree");
    };
    let grid = Grid::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let contest = Contest::new(
        &tree,
        &input.clients,
        SITES,
        &requests,
        FIRST_MINUTE,
        &grid.seeds,
        threads,
    )
    .expect("sites on the shipped tree");
    for result in contest.run(&grid, threads) {
        let policies: serde_json::Map<String, serde_json::Value> = result
            .policies
            .iter()
            .map(|policy| {
                let figures = json!({
                    "of_reactive": policy.cost as f64 / (result.cost("reactive") as f64).max(1.0),
                    "migrations": policy.migrations,
                    "leases": policy.leases,
                });
                (policy.name.to_owned(), figures)
            })
            .collect();
        let cell = result.cell;
        tell(&json!({
            "deploy_s": cell.deploy_secs, "lease_minutes": cell.lease_minutes, "price_percent": cell.price_percent,
            "seed": cell.seed, "closed": result.closed(), "guarded_percent": result.guarded_percent, "policies": policies,
        }));
    }
    for forecast in contest.forecasts(&grid.lease_minutes, threads) {
        let mean = |figures: Vec<f64>| figures.iter().sum::<f64>() / figures.len().max(1) as f64;
        let mase = forecast.sites.iter().filter_map(|site| site.mase).collect();
        let wape = forecast.sites.iter().filter_map(|site| site.wape).collect();
        tell(&json!({
            "forecaster": forecast.name, "window": forecast.window, "mase": mean(mase), "wape": mean(wape),
        }));
    }
}
