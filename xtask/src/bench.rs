//! `cargo xtask bench NAME`: runs a bench several times, prints a table and writes `target/bench/NAME.json`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::shell;

/// Options of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which bench.
    #[arg(value_enum)]
    name: Name,
    /// Runs; the demo takes as many seeds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Name {
    /// The packet network: configured against measured delay and loss, cost of 100,000 packets per second.
    Lab,
    /// The whole loop over several seeds.
    Demo,
}

/// One figure of the demo's report, by JSON pointer, with its goal.
struct Figure {
    case: &'static str,
    unit: &'static str,
    better: &'static str,
    goal: Option<f64>,
    read: fn(&Value) -> Option<f64>,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<()> {
    shell::run(shell::command(
        "cargo",
        &["build", "--release", "--package", "exec-edge"],
    ))?;
    let (name, rows) = match args.name {
        Name::Lab => ("lab", lab(args.runs)?),
        Name::Demo => ("demo", demo(args.runs)?),
    };
    for row in &rows {
        shell::say(&line(row));
    }
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let result = json!({
        "bench": name, "started_utc": started,
        "machine": { "cpus": cpus, "kernel": kernel.trim() }, "rows": rows,
    });
    let folder = shell::target().join("bench");
    std::fs::create_dir_all(&folder).context("making target/bench")?;
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, format!("{result:#}\n"))
        .with_context(|| format!("writing {}", file.display()))?;
    shell::say(&format!("written to {}", file.display()));
    Ok(())
}

fn program() -> PathBuf {
    shell::target().join("release/exec-edge")
}

fn exec_edge(arguments: &[&str]) -> std::process::Command {
    shell::command(&program().to_string_lossy(), arguments)
}

/// Each run prints all rows with one sample; the samples are put together.
fn lab(runs: u32) -> Result<Vec<Value>> {
    let mut rows: Vec<Value> = Vec::new();
    for run in 1..=runs {
        shell::say(&format!("run {run} of {runs}"));
        let output = shell::capture(exec_edge(&["lab", "bench"]))?;
        let report: Value = serde_json::from_str(&output).context("reading the bench's output")?;
        for row in report["rows"]
            .as_array()
            .context("the bench printed no rows")?
        {
            match rows.iter_mut().find(|known| known["case"] == row["case"]) {
                Some(known) => {
                    let sample = row["ours"].as_array().cloned().unwrap_or_default();
                    known["ours"]
                        .as_array_mut()
                        .context("a row without samples")?
                        .extend(sample);
                }
                None => rows.push(row.clone()),
            }
        }
    }
    for row in &mut rows {
        let holds = match (row["goal"].as_f64(), median(&samples(row))) {
            (Some(goal), Some(median)) if row["better"] == "higher" => Some(median >= goal),
            (Some(goal), Some(median)) => Some(median <= goal),
            _ => None,
        };
        row["holds"] = json!(holds);
    }
    Ok(rows)
}

/// Runs the demo with seeds from 1 on; a goal must hold for every seed.
fn demo(runs: u32) -> Result<Vec<Value>> {
    let mut reports = Vec::new();
    for seed in 1..=runs {
        let folder = shell::target().join(format!("bench/demo-{seed}"));
        let (seed, shown) = (seed.to_string(), folder.to_string_lossy().into_owned());
        let mut command = exec_edge(&["demo", "--headless", "--seed", &seed, "--report", &shown]);
        let status = command
            .stderr(Stdio::inherit())
            .status()
            .context("starting the demo")?;
        if !status.success() {
            bail!("the demo with seed {seed} ended with {status}");
        }
        let text = std::fs::read_to_string(folder.join("report.json"))
            .context("reading the demo's report")?;
        reports.push(serde_json::from_str::<Value>(&text).context("parsing the demo's report")?);
    }
    let row = |figure: &Figure| {
        let ours: Vec<f64> = reports.iter().filter_map(figure.read).collect();
        let holds = figure.goal.map(|goal| {
            let good = |value: &f64| {
                if figure.better == "higher" {
                    *value >= goal
                } else {
                    *value <= goal
                }
            };
            ours.len() == reports.len() && ours.iter().all(good)
        });
        json!({ "case": figure.case, "unit": figure.unit, "better": figure.better, "ours": ours,
            "peer": [], "peer_name": null, "goal": figure.goal, "holds": holds })
    };
    Ok(FIGURES.iter().map(row).collect())
}

/// What the demo must show.
const FIGURES: &[Figure] = &[
    figure("wall", "s", "lower", Some(90.0), |report| {
        report["wall_s"].as_f64()
    }),
    figure("memory", "MB", "lower", Some(1000.0), |report| {
        report["pss_mb"].as_f64()
    }),
    figure("lateness p99", "ms", "lower", Some(2.0), |report| {
        report["lateness_p99_ms"].as_f64()
    }),
    figure(
        "discovery/recall",
        "share",
        "higher",
        Some(0.95),
        |report| {
            Some(
                report["discovery"]["ieps_true_found"].as_f64()?
                    / report["discovery"]["ieps_true"].as_f64()?,
            )
        },
    ),
    figure(
        "discovery/false positives",
        "sites",
        "lower",
        Some(0.0),
        |report| report["discovery"]["false_positives"].as_f64(),
    ),
    figure(
        "discovery/undiscoverable",
        "share",
        "lower",
        Some(0.15),
        |report| {
            let hidden = report["discovery"]["undiscoverable"].as_f64()?;
            Some(hidden / (hidden + report["discovery"]["ieps_true"].as_f64()?))
        },
    ),
    figure(
        "agreements/confirmed",
        "agreements",
        "higher",
        None,
        |report| report["agreements"]["confirmed"].as_f64(),
    ),
    figure(
        "agreements/settled",
        "agreements",
        "higher",
        None,
        |report| report["agreements"]["settled"].as_f64(),
    ),
    figure(
        "sites/rented of found",
        "share",
        "lower",
        Some(0.5),
        |report| Some(report["sites"]["rented"].as_f64()? / report["sites"]["found"].as_f64()?),
    ),
    figure(
        "clients/served by an edge",
        "share",
        "higher",
        None,
        |report| {
            Some(
                report["clients"]["served_by_edge"].as_f64()?
                    / report["clients"]["requests"].as_f64()?,
            )
        },
    ),
    figure("clients/errors", "requests", "lower", Some(0.0), |report| {
        report["clients"]["errors"].as_f64()
    }),
    figure(
        "latency/whole run",
        "of cloud only",
        "lower",
        None,
        |report| ratio(&report["latency_ms"]),
    ),
    figure(
        "latency/steady",
        "of cloud only",
        "lower",
        Some(0.4),
        |report| ratio(&report["latency_steady_ms"]),
    ),
    figure(
        "unseen to edge p95/site running",
        "s",
        "lower",
        Some(2.0),
        |report| report["unseen_prefix_to_edge_s"]["site_running"]["p95"].as_f64(),
    ),
    figure(
        "unseen to edge p95/site to be started",
        "s",
        "lower",
        None,
        |report| report["unseen_prefix_to_edge_s"]["site_to_be_started"]["p95"].as_f64(),
    ),
    figure("core traffic", "of cloud only", "lower", None, |report| {
        Some(
            report["core_byte_links"]["exec"].as_f64()?
                / report["core_byte_links"]["cloud_only"].as_f64()?,
        )
    }),
];

const fn figure(
    case: &'static str,
    unit: &'static str,
    better: &'static str,
    goal: Option<f64>,
    read: fn(&Value) -> Option<f64>,
) -> Figure {
    Figure {
        case,
        unit,
        better,
        goal,
        read,
    }
}

fn ratio(compared: &Value) -> Option<f64> {
    Some(compared["exec"]["mean"].as_f64()? / compared["cloud_only"]["mean"].as_f64()?)
}

fn line(row: &Value) -> String {
    let mut ours = samples(row);
    ours.sort_by(f64::total_cmp);
    let worst = if row["better"] == "higher" {
        ours.first()
    } else {
        ours.last()
    };
    let number =
        |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    let verdict = match row["holds"].as_bool() {
        Some(true) => "holds",
        Some(false) => "FALLS SHORT",
        None => "",
    };
    format!(
        "{:<40} median {:>12} worst {:>12} {:<14} goal {:>9} {verdict}",
        row["case"].as_str().unwrap_or_default(),
        number(median(&ours)),
        number(worst.copied()),
        row["unit"].as_str().unwrap_or_default(),
        number(row["goal"].as_f64()),
    )
}

fn samples(row: &Value) -> Vec<f64> {
    row["ours"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .collect()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }
}
