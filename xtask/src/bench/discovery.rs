//! `cargo xtask bench discovery`: the names of routers and the entry points of their zones, beside other programs that ask the
//! same questions, in a lab with 80 ms to every name server; what hostile zones come to; and, with `--data`, what the names of real
//! routers come to.

mod hostile;
mod many;
mod one_path;
mod router_names;
mod servers;
mod tools;
mod world;

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::median;
use crate::shell;

/// What the bench found.
pub(super) struct Report {
    pub(super) rows: Vec<Value>,
    /// More for the result's file.
    pub(super) more: Value,
}

/// Runs the cases whose name starts with `case`, all without; that of real names only if there is a folder with them.
pub(super) fn run(data: Option<&Path>, runs: u32, case: Option<&str>) -> Result<Report> {
    let is_wanted = |name: &str| case.is_none_or(|case| name.starts_with(case));
    let mut rows = Vec::new();
    let mut conditions = serde_json::Map::new();
    if is_wanted(many::CASE) || is_wanted(one_path::CASE) {
        build()?;
        let folder = shell::target().join("bench/discovery");
        std::fs::create_dir_all(&folder)?;
        let world = world::make();
        let lab = servers::Lab::start(&world, &folder)?;
        if is_wanted(many::CASE) {
            rows.extend(many::run(runs, &lab, &world, &folder)?);
            conditions.insert(many::CASE.to_owned(), json!(many::conditions(&world)));
        }
        if is_wanted(one_path::CASE) {
            rows.extend(one_path::run(runs, &lab, &folder)?);
            conditions.insert(one_path::CASE.to_owned(), json!(one_path::CONDITIONS));
        }
    }
    if let Some(data) = data
        && is_wanted(router_names::CASE)
    {
        build()?;
        let folder = shell::target().join("bench/router-names");
        std::fs::create_dir_all(&folder)?;
        let names = router_names::Names::read(data)?;
        let lab = servers::Lab::start(&names.world(), &folder)?;
        rows.extend(router_names::run(runs, &lab, &names, &folder)?);
        let told = router_names::conditions(&names);
        conditions.insert(router_names::CASE.to_owned(), json!(told));
    }
    if is_wanted(hostile::CASE) {
        rows.extend(hostile::run(runs)?);
        conditions.insert(hostile::CASE.to_owned(), json!(hostile::CONDITIONS));
    }
    if rows.is_empty() {
        bail!(
            "no such case; there are {}, {}, {} and, with --data, {}",
            many::CASE,
            one_path::CASE,
            hostile::CASE,
            router_names::CASE
        );
    }
    Ok(Report {
        rows,
        more: json!({ "conditions": conditions }),
    })
}

fn build() -> Result<()> {
    let needed = ["nsd", "unbound", "adnshost", "dig", "python3", "stdbuf"];
    let missing: Vec<&str> = needed
        .into_iter()
        .filter(|program| !shell::on_path(program))
        .collect();
    if !missing.is_empty() {
        bail!(
            "{missing:?} cannot be found; as root on Debian: apt-get install nsd unbound adns-tools bind9-dnsutils python3"
        );
    }
    let example = ["--package", "edge-resolver", "--example", "ask"];
    let mut ours = shell::command("cargo", &["build", "--release"]);
    ours.args(example);
    shell::run(ours)?;
    let mut peer = shell::command("cargo", &["build", "--release", "--manifest-path"]);
    peer.arg("xtask/peers/hickory-ask/Cargo.toml")
        .arg("--target-dir")
        .arg(shell::target().join("peers"));
    shell::run(peer)
}

fn row(
    case: &str,
    (unit, better, goal): (&str, &str, Option<f64>),
    ours: &[f64],
    peers: &[(&str, Vec<f64>)],
) -> Value {
    let best = peers
        .iter()
        .filter_map(|(name, samples)| median(samples).map(|median| (median, *name, samples)))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let holds = match (goal, median(ours)) {
        (Some(goal), Some(median)) if better == "higher" => Some(median >= goal),
        (Some(goal), Some(median)) => Some(median <= goal),
        _ => None,
    };
    // What never came to be is null.
    let list = |samples: &[f64]| -> Vec<Option<f64>> {
        samples
            .iter()
            .map(|sample| sample.is_finite().then_some(*sample))
            .collect()
    };
    let by_name: serde_json::Map<String, Value> = peers
        .iter()
        .map(|(name, samples)| ((*name).to_owned(), json!(list(samples))))
        .collect();
    json!({
        "case": case, "unit": unit, "better": better, "goal": goal, "holds": holds,
        "ours": list(ours), "peers": by_name,
        "peer": best.map_or_else(Vec::new, |(_, _, samples)| list(samples)),
        "peer_name": best.map(|(_, name, _)| name),
    })
}
