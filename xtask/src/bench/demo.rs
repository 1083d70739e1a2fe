//! The bench of the whole loop.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::exec_edge;
use crate::shell;

/// One figure of the demo's report, by JSON pointer, with its goal.
struct Figure {
    case: &'static str,
    unit: &'static str,
    better: &'static str,
    goal: Option<f64>,
    read: fn(&Value) -> Option<f64>,
}

/// Runs the demo with seeds from 1 on; a goal must hold for every seed.
pub(super) fn run(runs: u32) -> Result<Vec<Value>> {
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
    figure(
        "unseen to edge p95/site to be started, less its deployment",
        "s",
        "lower",
        Some(5.0),
        |report| {
            report["unseen_prefix_to_edge_s"]["site_to_be_started_less_deployment"]["p95"].as_f64()
        },
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
