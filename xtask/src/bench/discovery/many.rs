//! 5,000 routers at once.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::median;
use super::row;
use super::servers::Lab;
use super::tools::{self, Outcome, Tool};
use super::world::World;
use crate::shell;

pub(super) const CASE: &str = "ptr-srv-5000";

/// What counts as done, and by when, in ms.
const SHARE: f64 = 0.99;
const GOAL_MS: f64 = 1000.0;
/// How much faster than the best peer.
const GOAL_TIMES: f64 = 3.0;

/// Every run lets every program ask once, each with a resolver that knows nothing.
pub(super) fn run(runs: u32, lab: &Lab, world: &World, folder: &Path) -> Result<Vec<Value>> {
    tools::write_questions(world, folder)?;
    let (tools, absent): (Vec<Tool>, Vec<Tool>) =
        Tool::ALL.into_iter().partition(|tool| tool.is_there());
    for tool in absent {
        shell::say(&format!(
            "  {} takes no part: it is not on the PATH, and Debian 12 has no package of it",
            tool.name()
        ));
    }
    let mut outcomes: Vec<Vec<Outcome>> = tools.iter().map(|_| Vec::new()).collect();
    for run in 1..=runs {
        for (tool, outcomes) in tools.iter().zip(&mut outcomes) {
            let resolver = lab.cold_resolver()?;
            let outcome = tools::run(*tool, lab, world)?;
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
    Ok(rows(&tools.into_iter().zip(outcomes).collect::<Vec<_>>()))
}

pub(super) fn conditions(world: &World) -> String {
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
