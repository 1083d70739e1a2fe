//! What renting over time costs on the requests of a real service, and whether equal seeds give equal results.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::row;
use crate::shell;

/// Requests of a real service by minute.
const TRACE: &str = "worldcup98-per-minute-to-1998-06-19.csv.gz";

/// What others have to be compared with: they are told as a share of its cost, too.
const POLICIES: [&str; 5] = [
    "reactive",
    "TTL",
    "hysteresis",
    "clairvoyant",
    "forecast-driven",
];

/// Numbers of threads whose results have to be equal.
const THREADS: [&str; 3] = ["1", "2", "4"];

/// Lines that our measuring program prints.
fn lines(profile: &str, arguments: &[&str]) -> Result<Vec<Value>> {
    let mut all = vec![
        "bench",
        "--quiet",
        "--profile",
        profile,
        "--package",
        "edge-sim",
        "--bench",
        "simulations",
        "--",
    ];
    all.extend(arguments);
    let output = shell::capture(shell::command("cargo", &all))?;
    let lines = output.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

/// How many results differ between numbers of threads, and between builds for debugging and for use: none.
pub(super) fn determinism() -> Result<Value> {
    let mut results = Vec::new();
    for profile in ["dev", "bench"] {
        for threads in THREADS {
            results.push(lines(profile, &["determinism", threads])?);
        }
    }
    let first = results.first().filter(|first| !first.is_empty());
    let first = first.context("nothing was simulated")?.clone();
    let different = results.iter().filter(|result| **result != first).count();
    Ok(row(
        "determinism/1, 2, 4 threads; debug, release",
        "different",
        "equal",
        &[different as f64],
        Some(0.0),
    ))
}

/// All cells of the grid, and all forecasters.
pub(super) fn over_time(data: &Path) -> Result<Vec<Value>> {
    let file = data.join(TRACE);
    let (cells, forecasts): (Vec<Value>, Vec<Value>) =
        lines("bench", &["over-time", &file.to_string_lossy()])?
            .into_iter()
            .partition(|line| line["policies"].is_object());
    let of = |policy: &str, figure: &str| -> Vec<f64> {
        let values = cells.iter().map(|cell| &cell["policies"][policy][figure]);
        values.filter_map(Value::as_f64).collect()
    };
    let closed: Vec<f64> = cells
        .iter()
        .filter_map(|cell| cell["closed"].as_f64())
        .collect();
    let share = of("forecast-driven", "of_reactive");
    let worst = share.iter().copied().fold(0.0, f64::max);
    let mut rows = vec![
        row(
            &format!(
                "over-time/gap to the clairvoyant closed, {} cells",
                cells.len()
            ),
            "",
            "higher",
            &closed,
            Some(0.5),
        ),
        row(
            "over-time/worst cell",
            "of reactive",
            "lower",
            &[worst],
            Some(1.05),
        ),
    ];
    for figure in ["of_reactive", "migrations"] {
        let mut row = row(
            &format!("over-time/{}", figure.replace('_', " ")),
            "",
            "lower",
            &of("forecast-driven", figure),
            None,
        );
        let peers: BTreeMap<&str, Vec<f64>> = POLICIES
            .into_iter()
            .filter(|policy| *policy != "forecast-driven")
            .map(|policy| (policy, of(policy, figure)))
            .collect();
        row["peers"] = json!(peers);
        rows.push(row);
    }
    for figure in ["mase", "wape"] {
        for forecast in &forecasts {
            let name = forecast["forecaster"].as_str().unwrap_or_default();
            let value = forecast[figure].as_f64().unwrap_or(f64::NAN);
            rows.push(row(
                &format!(
                    "over-time/{} of {name}, {} minutes",
                    figure.to_uppercase(),
                    forecast["window"]
                ),
                "",
                "lower",
                &[value],
                None,
            ));
        }
    }
    Ok(rows)
}
