//! `cargo xtask bench discovery`: how soon the names of 5,000 routers and the entry points of their zones are known, beside other
//! programs that ask the same questions, in a lab with 80 ms to every name server.

mod servers;
mod tools;
mod world;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::median;
use crate::shell;
use servers::Lab;
use tools::{Outcome, Tool};

/// What counts as done, and by when, in ms.
const SHARE: f64 = 0.99;
const GOAL_MS: f64 = 1000.0;
/// How much faster than the best peer.
const GOAL_TIMES: f64 = 3.0;

/// What the bench found.
pub(super) struct Report {
    pub(super) rows: Vec<Value>,
    /// More for the result's file.
    pub(super) more: Value,
}

/// Every run lets every program ask once, each with a resolver that knows nothing.
pub(super) fn run(runs: u32) -> Result<Report> {
    build()?;
    let folder = shell::target().join("bench/discovery");
    std::fs::create_dir_all(&folder).context("making target/bench/discovery")?;
    let world = world::make();
    tools::write_questions(&world, &folder)?;
    let lab = Lab::start(&world, &folder)?;
    let tools: Vec<Tool> = Tool::ALL
        .into_iter()
        .filter(|tool| tool.is_there())
        .collect();
    let mut outcomes: Vec<Vec<Outcome>> = tools.iter().map(|_| Vec::new()).collect();
    for run in 1..=runs {
        for (tool, outcomes) in tools.iter().zip(&mut outcomes) {
            let resolver = lab.cold_resolver()?;
            let outcome = tools::run(*tool, &lab, &world)?;
            drop(resolver);
            shell::say(&format!(
                "  run {run} of {runs}: {:<18} 99 % after {:>7.0} ms, lost {:>4}, wrong {}",
                tool.name(),
                outcome.time_to(SHARE),
                outcome.lost,
                outcome.wrong,
            ));
            outcomes.push(outcome);
        }
    }
    let by_tool: Vec<(Tool, Vec<Outcome>)> = tools.into_iter().zip(outcomes).collect();
    Ok(Report {
        rows: rows(&by_tool),
        more: json!({ "conditions": { "ptr-srv-5000": conditions(&world) } }),
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

fn conditions(world: &world::World) -> String {
    format!(
        "{} questions, {} of them answerable; 500 reverse zones, a fifth of them lame; 80 ms to every name server; the resolver \
         (Unbound) cold in every run, on the asking host",
        world.questions.len(),
        world.truth.len(),
    )
}

fn rows(by_tool: &[(Tool, Vec<Outcome>)]) -> Vec<Value> {
    let samples = |tool: &Tool, figure: fn(&Outcome) -> f64| -> Vec<f64> {
        let of_tool = by_tool.iter().filter(|(known, _)| known == tool);
        of_tool
            .flat_map(|(_, outcomes)| outcomes.iter().map(figure))
            .collect()
    };
    let time: fn(&Outcome) -> f64 = |outcome| outcome.time_to(SHARE);
    let lost: fn(&Outcome) -> f64 = |outcome| outcome.lost as f64;
    let wrong: fn(&Outcome) -> f64 = |outcome| outcome.wrong as f64;
    let peers: Vec<Tool> = by_tool
        .iter()
        .map(|(tool, _)| *tool)
        .filter(|tool| !tool.is_ours())
        .collect();
    let peer_samples = |figure: fn(&Outcome) -> f64| -> Vec<(&'static str, Vec<f64>)> {
        peers
            .iter()
            .map(|tool| (tool.name(), samples(tool, figure)))
            .collect()
    };
    let mut rows = Vec::new();
    for (variant, tool) in [
        ("directly", Tool::OursDirectly),
        ("by-resolver", Tool::OursByResolver),
    ] {
        rows.push(row(
            &format!("ptr-srv-5000/99-percent-{variant}"),
            ("ms", "lower", Some(GOAL_MS)),
            &samples(&tool, time),
            &peer_samples(time),
        ));
        rows.push(row(
            &format!("ptr-srv-5000/lost-{variant}"),
            ("questions", "lower", Some(0.0)),
            &samples(&tool, lost),
            &peer_samples(lost),
        ));
        rows.push(row(
            &format!("ptr-srv-5000/wrong-{variant}"),
            ("records", "lower", Some(0.0)),
            &samples(&tool, wrong),
            &peer_samples(wrong),
        ));
        let best = peer_samples(time)
            .iter()
            .filter_map(|(_, samples)| median(samples))
            .fold(f64::INFINITY, f64::min);
        let times: Vec<f64> = samples(&tool, time)
            .into_iter()
            .map(|ours| best / ours)
            .collect();
        rows.push(row(
            &format!("ptr-srv-5000/faster-than-best-peer-{variant}"),
            ("times", "higher", Some(GOAL_TIMES)),
            &times,
            &[],
        ));
    }
    rows
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
