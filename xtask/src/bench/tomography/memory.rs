//! How much memory waiting targets take.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::cases::Case;
use super::run::{Outcome, in_lab};
use super::tools::Task;
use super::{Effort, row};
use crate::shell;

/// Targets, each in a /24 of its own; the first 512 networks are the lab's.
const TARGETS: u32 = 1_000_000;
const FIRST_NETWORK: u32 = (240 << 16) + 512;

/// For how long the prober runs.
const SECONDS: u32 = 20;

/// Megabytes at most.
const MOST_MB: f64 = 128.0;

/// Runs the prober for a while and reads the high-water mark of its resident memory.
pub(super) fn measure(
    case: &Case,
    scenario: &Path,
    Effort { runs, latest_ms }: Effort,
) -> Result<Vec<Value>> {
    let targets = write_targets()?;
    let (mut memory, mut refused) = (Vec::new(), Vec::new());
    let task = Task {
        rate: case.rate,
        targets: &targets.to_string_lossy(),
        target: Ipv4Addr::from(FIRST_NETWORK << 8).into(),
    };
    for tool in case.tools() {
        for run in 1..=runs {
            let command = format!("sh -c {}", quote(&watched(&tool.command(&task))));
            let Outcome::Ran(ran) = in_lab(scenario, &command, latest_ms)? else {
                shell::say(&format!("  {run}/{runs} void"));
                continue;
            };
            // "VmHWM:   1234 kB", of which the last is the largest
            let peak = ran
                .lines
                .iter()
                .filter(|(_, line)| line.starts_with("VmHWM:"))
                .filter_map(|(_, line)| line.split_whitespace().nth(1)?.parse::<f64>().ok())
                .fold(0.0, f64::max);
            let complaints =
                std::fs::read_to_string(&ran.complaints).context("reading complaints")?;
            let count = refused_of(&complaints).context("the prober told no summary")?;
            std::fs::remove_file(&ran.complaints).context("removing complaints")?;
            let megabytes = peak * 1024.0 / 1e6;
            shell::say(&format!(
                "  {run}/{runs} {megabytes:.1} MB at most, {count} targets refused, {} probes",
                ran.sent
            ));
            memory.push(megabytes);
            refused.push(count as f64);
        }
    }
    let told = |name: &str, unit, samples: &[f64], goal| {
        let case = format!("{}/{name}", case.name);
        row(
            &case,
            unit,
            false,
            samples,
            &BTreeMap::new(),
            None,
            Some(goal),
        )
    };
    Ok(vec![
        told("memory", "MB", &memory, MOST_MB),
        told("refused", "targets", &refused, 0.0),
    ])
}

/// The count in the summary of `exec-edge trace`, which does not mention it where it is zero. `None` without a summary.
fn refused_of(complaints: &str) -> Option<u32> {
    let (before, rest) = complaints.split_once(" traced, ")?;
    let summary = rest.split(';').next()?;
    before.lines().next_back()?.split_once(" of ")?;
    let refused = summary
        .split(", ")
        .find_map(|part| part.strip_suffix(" refused"));
    refused.map_or(Some(0), |count| count.parse().ok())
}

/// Runs `command` in the background, tells its memory each second, and ends it.
fn watched(command: &str) -> String {
    format!(
        "{command} > /dev/null & prober=$!; n=0; while [ $n -lt {SECONDS} ] && sleep 1; do n=$((n + 1)); \
         grep VmHWM /proc/$prober/status 2> /dev/null; done; kill $prober 2> /dev/null; wait $prober"
    )
}

fn quote(script: &str) -> String {
    format!("'{}'", script.replace('\'', r"'\''"))
}

fn write_targets() -> Result<PathBuf> {
    let file = super::folder()?.join("million");
    let mut text = String::new();
    for network in FIRST_NETWORK..FIRST_NETWORK + TARGETS {
        let _infallible = writeln!(text, "{}", Ipv4Addr::from((network << 8) + 10));
    }
    std::fs::write(&file, text).context("writing a million targets")?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_summary_tells_how_many_were_refused() {
        let summary =
            "3 of 9 targets traced, 0 reached; 96 probes (96.0 per target) in 3.6 s; raw sockets";
        let interrupted = format!("{summary}\ninterrupted; the same command goes on from there\n");
        assert_eq!(refused_of(&interrupted), Some(0));
        let some = interrupted.replace(" reached;", " reached, 12 refused;");
        assert_eq!(
            refused_of(&format!("240.0.0.1 has opted out of probes\n{some}")),
            Some(12)
        );
        assert_eq!(refused_of("240.0.0.1 has opted out of probes\n"), None);
    }
}
