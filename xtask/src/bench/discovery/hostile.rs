//! Every zone that is out to harm, as the test with real name servers counts it.

use anyhow::{Context, Result};
use serde_json::Value;

use super::row;
use crate::shell;

pub(super) const CASE: &str = "hostile";
pub(super) const CONDITIONS: &str = "all zones of the peer_dns test on NSD and on a server of our own, through Unbound, from the root \
    down and with the hostile server as the resolver, five discoveries at a time; then every entry point is contacted";
const TEST: &str = "peer_dns_hostile_zones_give_nothing_false_and_no_packet_to_refused_addresses";
/// Figure, unit, and the most that it may be: nothing false, nobody contacted who must not be, and the budget of one run.
const FIGURES: [(&str, &str, f64); 4] = [
    ("false", "entry points", 0.0),
    ("refused_addresses", "addresses", 0.0),
    ("questions", "questions", 3000.0),
    ("seconds", "s", 12.0),
];

pub(super) fn run(runs: u32) -> Result<Vec<Value>> {
    let mut samples = FIGURES.map(|_| Vec::new());
    for run in 1..=runs {
        shell::say(&format!("  run {run} of {runs}: {TEST}"));
        let arguments = ["test", "--package", "exec-edge", "--test", "peer_dns", "--"];
        let mut test = shell::command("cargo", &arguments);
        test.args([TEST, "--exact", "--nocapture"]);
        let output = shell::capture(test)?;
        let mut lines = output.lines();
        let figures = lines.find_map(|line| line.split_once("figures: "));
        let (_, figures) = figures.context("the test printed no figures")?;
        let figures: Value = serde_json::from_str(figures).context("reading the figures")?;
        for ((name, ..), samples) in FIGURES.iter().zip(&mut samples) {
            samples.push(
                figures[name]
                    .as_f64()
                    .with_context(|| format!("no {name}"))?,
            );
        }
    }
    let rows = FIGURES
        .iter()
        .zip(&samples)
        .map(|((name, unit, most), samples)| {
            let case = format!("{CASE}/{}", name.replace('_', "-"));
            row(&case, (unit, "lower", Some(*most)), samples, &[])
        });
    Ok(rows.collect())
}
