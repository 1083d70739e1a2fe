//! `cargo xtask bench NAME`: runs a bench several times, prints a table and writes `target/bench/NAME.json`.

mod demo;
mod lab;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
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

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<()> {
    shell::run(shell::command(
        "cargo",
        &["build", "--release", "--package", "exec-edge"],
    ))?;
    let (name, rows) = match args.name {
        Name::Lab => ("lab", lab::run(args.runs)?),
        Name::Demo => ("demo", demo::run(args.runs)?),
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
