//! The networks that figures are drawn of: the shipped scenario, or real paths of a data directory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use edge_lab::network::RouterIndex;
use edge_lab::scenario::Scenario;
use edge_sim::figures::Places;
use edge_topology::{AggregateTree, ClientDemand, Demand, InsertError, Limits, Observations};
use edge_types::{
    Generation, Hop, HopReply, MonotonicTime, PathEnd, PathObservation, PrefixGrouping, Rtt,
    UtcTime,
};
use serde::Deserialize;

use crate::calculated::Calculated;
use crate::figures::Request;
use edge_console::exit::Failure;
use edge_console::path_files::load;

/// The scenario that ships with the program, so that figures need no file.
const SHIPPED: &str = include_str!("../../../scenarios/paper-240.toml");
const SHIPPED_NAME: &str = "scenarios/paper-240.toml";

/// Real paths to targets all over the world, with the country of each.
const REAL_PATHS: &str = "traceroutes-duluth-2023.jsonl.gz";
/// The universities that the paper's Figure 3 was traced to, with the country of each.
const UNIVERSITIES: &str = "the2018_top100_domains.csv";
/// Leaves of Figure 3.
const LEAVES: usize = 100;

/// A network with what to call it.
#[derive(Debug)]
pub(super) struct Input {
    /// For file names.
    pub(super) key: &'static str,
    /// For people: what it is, and what was left out.
    pub(super) name: String,
    pub(super) places: Places,
}

/// The shipped scenario.
pub(super) fn shipped() -> Result<Scenario, Failure> {
    Scenario::parse(SHIPPED_NAME, SHIPPED).map_err(Failure::runtime)
}

/// The trees that schemes are compared on: the shipped scenario's, and that of real paths if there are any.
pub(super) fn trees(request: &Request<'_>) -> Result<Vec<Input>, Failure> {
    let mut trees = vec![scenario_tree(&shipped()?, request.seed)?];
    if let Some(data) = request.data {
        trees.push(real_tree(data)?);
    }
    Ok(trees)
}

/// The shipped scenario's tree as the paper makes its own: routers with clients are the targets, every /24 is one node.
pub(super) fn scenario_tree(scenario: &Scenario, seed: u64) -> Result<Input, Failure> {
    let calculated = calculated(scenario, seed)?;
    let homes: BTreeSet<&str> = scenario
        .clients
        .iter()
        .map(|client| client.router.as_str())
        .collect();
    let places = tree_to(&calculated, &homes, PrefixGrouping::SITE)?;
    Ok(Input {
        key: "scenario",
        name: format!(
            "{SHIPPED_NAME}, {} routers, {} of them with clients",
            scenario.routers.len(),
            homes.len()
        ),
        places,
    })
}

/// The shipped scenario for Figure 3: some routers with clients, seen from the router that is nearest to Frankfurt.
pub(super) fn scenario_from_frankfurt(seed: u64) -> Result<Input, Failure> {
    const NEAREST: &str = "heidelberg";
    let mut scenario = shipped()?;
    NEAREST.clone_into(&mut scenario.cloud.router);
    let calculated = calculated(&scenario, seed)?;
    let mut homes: Vec<&str> = scenario
        .clients
        .iter()
        .map(|client| client.router.as_str())
        .collect();
    edge_sim::Random::new(seed).shuffle(&mut homes);
    let homes = homes.into_iter().take(LEAVES).collect();
    Ok(Input {
        key: "scenario",
        name: format!(
            "{LEAVES} client networks of {SHIPPED_NAME}, seen from Heidelberg, its router nearest to Frankfurt"
        ),
        places: tree_to(&calculated, &homes, PrefixGrouping::SITE)?,
    })
}

fn calculated(scenario: &Scenario, seed: u64) -> Result<Calculated, Failure> {
    Calculated::new(scenario, seed)
        .ok_or_else(|| Failure::usage(anyhow!("the scenario's cloud has no address")))
}

/// The tree of the ways to these routers. All routers answer here, so that none is missing.
fn tree_to(
    calculated: &Calculated,
    homes: &BTreeSet<&str>,
    grouping: PrefixGrouping,
) -> Result<Places, Failure> {
    let network = calculated.network();
    let mut observations = Observations::new(Limits::default());
    for (index, router) in (0..).map(RouterIndex).zip(network.routers()) {
        let Some(target) = router
            .addresses
            .first()
            .filter(|_| homes.contains(router.id.as_str()))
        else {
            continue;
        };
        let hops = calculated.way(index).into_iter().map(|step| {
            match network.router(step.router).addresses.first() {
                Some(address) => Hop::Reply(HopReply::new(*address, Rtt(step.round_trip))),
                None => Hop::NoReply,
            }
        });
        let path = PathObservation {
            target: *target,
            observed_at: MonotonicTime::ZERO,
            hops: hops.collect(),
            further: Vec::new(),
            end: PathEnd::Reached,
            probes_sent: 0,
        };
        observations.insert(&path).map_err(Failure::runtime)?;
    }
    places(&tree(&observations, grouping))
}

/// Real paths of a data directory to targets in one country, or in all; groups by /16, as the paper does.
pub(super) fn real_tree(data: &Path) -> Result<Input, Failure> {
    let countries = countries(data)?;
    let (observations, silent) = real_paths(data, |target| {
        countries
            .get(&target)
            .is_some_and(|country| country == "US")
    })?;
    let by_16 = PrefixGrouping::new(16, 32).unwrap_or(PrefixGrouping::SITE); // these lengths exist
    let places = places(&tree(&observations, by_16))?;
    let name = format!(
        "real paths from Duluth to {} targets in the United States by /16; {silent} more that never answered are left out",
        observations.targets()
    );
    Ok(Input {
        key: "duluth",
        name,
        places,
    })
}

/// Real paths to as many targets in each country as the ranking has universities there, by /24.
pub(super) fn real_universities(data: &Path) -> Result<Input, Failure> {
    let countries = countries(data)?;
    let file = data.join(UNIVERSITIES);
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("reading {}", file.display()))
        .map_err(Failure::usage)?;
    let mut wanted: BTreeMap<&str, usize> = BTreeMap::new();
    for line in text.lines().skip(1) {
        // The name may hold commas; country and source come last.
        if let Some(country) = line.rsplit(',').nth(1) {
            *wanted.entry(country).or_default() += 1;
        }
    }
    let universities: usize = wanted.values().sum();
    let (all, _) = real_paths(data, |_| true)?;
    let mut chosen = BTreeSet::new();
    for (target, _) in all.traced() {
        let country = countries
            .get(&target)
            .map(String::as_str)
            .unwrap_or_default();
        if let Some(left) = wanted.get_mut(country).filter(|left| **left > 0) {
            *left -= 1;
            chosen.insert(target);
        }
    }
    let (observations, _) = real_paths(data, |target| chosen.contains(&target))?;
    Ok(Input {
        key: "duluth",
        name: format!(
            "real paths from Duluth to {} targets in the countries of {universities} universities, by /24",
            chosen.len()
        ),
        places: places(&tree(&observations, PrefixGrouping::SITE))?,
    })
}

/// The country of each target.
fn countries(data: &Path) -> Result<BTreeMap<IpAddr, String>, Failure> {
    #[derive(Deserialize)]
    struct Line {
        dst_addr: IpAddr,
        #[serde(default)]
        cc: Option<String>,
    }
    let file = data.join(REAL_PATHS);
    let bytes = edge_console::path_files::contents(&file)
        .with_context(|| format!("reading {}", file.display()))
        .map_err(Failure::usage)?;
    let lines = bytes.split(|byte| *byte == b'\n');
    let known = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    Ok(known
        .filter_map(|line| Some((line.dst_addr, line.cc?)))
        .collect())
}

/// Paths to those targets that answered, and how many did not.
fn real_paths(
    data: &Path,
    is_wanted: impl Fn(IpAddr) -> bool,
) -> Result<(Observations, usize), Failure> {
    let records = load(&data.join(REAL_PATHS), None)?.import.records;
    let mut observations = Observations::new(Limits {
        max_targets: records.len(),
        max_hops: usize::from(u8::MAX),
        max_further: usize::MAX,
        ..Limits::default()
    });
    let mut silent = 0;
    for record in &records {
        let path = record.clone().since(UtcTime(0));
        if !is_wanted(path.target) {
            continue;
        }
        if path.end != PathEnd::Reached {
            silent += 1;
            continue;
        }
        match observations.insert(&path) {
            Ok(()) | Err(InsertError::Older { .. }) => {}
            Err(error) => return Err(Failure::runtime(error)),
        }
    }
    Ok((observations, silent))
}

fn tree(observations: &Observations, grouping: PrefixGrouping) -> AggregateTree {
    let mut demand = Demand::new();
    for (target, _) in observations.traced() {
        let client = demand
            .entry(grouping.group(target))
            .or_insert(ClientDemand {
                target,
                milli_requests_per_second: 0,
            });
        client.milli_requests_per_second += 1000;
    }
    observations.tree(Generation(1), grouping, &demand)
}

fn places(tree: &AggregateTree) -> Result<Places, Failure> {
    Places::of_tree(tree).map_err(Failure::usage)
}

/// For people: a duration in seconds or minutes.
pub(super) fn spoken(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{seconds:.0} s")
    }
}
