//! `cargo xtask bench NAME`: runs a bench several times, prints a table and writes `target/bench/NAME.json`.

pub(crate) mod agreement;
mod demo;
mod discovery;
mod lab;
mod paths;
mod placement;
mod tomography;

use std::fmt::Write as _;
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
    /// Of the agreement, discovery, placement and tomography benches, only the cases whose name starts so.
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    /// Of the tomography bench: a run is void if the lab handed packets over later than this, in ms, at the 99th
    /// percentile. More than 2 is for noisy machines only, and is told in the result.
    #[arg(long, default_value_t = 2.0, value_name = "MS")]
    late: f64,
    /// Of the paths bench, the folder with the files of real paths; of the placement bench, that of these and of a real router map;
    /// of the discovery bench, that with names of real routers.
    #[arg(long, value_name = "DIR", required_if_eq("name", "paths"))]
    data: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Name {
    /// Agreements: gas, fifty at once, the escrow's invariants over many random calls, and whether its tests notice faults.
    Agreement,
    /// The packet network: configured against measured delay and loss, cost of 100,000 packets per second.
    Lab,
    /// The whole loop over several seeds.
    Demo,
    /// Names of routers and entry points of zones, beside other programs that ask for them.
    Discovery,
    /// Files of real paths: is all of them read, are trees of the right size, do outages stand out from ordinary days.
    Paths,
    /// Where sites go: how near to the optimum, how fast, beside other libraries' betweenness.
    Placement,
    /// The prober and the tree, beside other probers.
    Tomography,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !matches!(args.name, Name::Agreement | Name::Placement) {
        shell::run(shell::command(
            "cargo",
            &["build", "--release", "--package", "exec-edge"],
        ))?;
    }
    let (name, rows, more) = match args.name {
        Name::Agreement => {
            let report = agreement::run(args.runs, args.case.as_deref())?;
            ("agreement", report.rows, report.more)
        }
        Name::Lab => ("lab", lab::run(args.runs)?, json!({})),
        Name::Demo => ("demo", demo::run(args.runs)?, json!({})),
        Name::Discovery => {
            let report = discovery::run(args.data.as_deref(), args.runs, args.case.as_deref())?;
            ("discovery", report.rows, report.more)
        }
        Name::Paths => {
            let data = args.data.as_deref().context("--data is missing")?;
            let report = paths::run(data, args.runs)?;
            ("paths", report.rows, report.more)
        }
        Name::Placement => {
            let report = placement::run(args.data.as_deref(), args.runs, args.case.as_deref())?;
            ("placement", report.rows, report.more)
        }
        Name::Tomography => {
            let report = tomography::run(args.runs, args.case.as_deref(), args.late)?;
            ("tomography", report.rows, report.more)
        }
    };
    for row in &rows {
        shell::say(&line(row));
    }
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut result = json!({
        "bench": name, "started_utc": started,
        "machine": { "cpus": cpus, "kernel": kernel.trim() }, "rows": rows,
    });
    if let (Some(result), Value::Object(more)) = (result.as_object_mut(), more) {
        result.extend(more);
    }
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

/// A Python of its own with packages (name and version) from `PyPI`, below `target/peers/NAME`.
fn python(name: &str, packages: &[(&str, &str)]) -> Result<PathBuf> {
    let folder = shell::target().join("peers").join(name);
    let python = folder.join("bin/python");
    let wanted: Vec<String> = packages
        .iter()
        .map(|(name, version)| format!("{name}=={version}"))
        .collect();
    let marker = folder.join("installed");
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted.join(" ")) {
        return Ok(python);
    }
    let shown = folder.to_string_lossy();
    shell::run(shell::command("python3", &["-m", "venv", &shown]))?;
    let mut arguments = vec!["-m", "pip", "install", "--quiet"];
    arguments.extend(wanted.iter().map(String::as_str));
    shell::run(shell::command(&python.to_string_lossy(), &arguments))?;
    std::fs::write(&marker, wanted.join(" ")).with_context(|| marker.display().to_string())?;
    Ok(python)
}

fn line(row: &Value) -> String {
    let mut ours = samples(row);
    ours.sort_by(f64::total_cmp);
    let worst = if row["better"] == "higher" {
        ours.first()
    } else {
        ours.last()
    };
    let number = |value: Option<f64>| match value {
        Some(value) if value.is_infinite() => "never".to_owned(),
        Some(value) => format!("{value:.3}"),
        None => "-".to_owned(),
    };
    let verdict = match row["holds"].as_bool() {
        Some(true) => "holds",
        Some(false) => "FALLS SHORT",
        None => "",
    };
    let mut line = format!(
        "{:<44} median {:>10} worst {:>10} {:<12} goal {:>9} {verdict}",
        row["case"].as_str().unwrap_or_default(),
        number(median(&ours)),
        number(worst.copied()),
        row["unit"].as_str().unwrap_or_default(),
        number(row["goal"].as_f64()),
    );
    for (name, theirs) in row["peers"].as_object().into_iter().flatten() {
        let best = if row["peer_name"] == name.as_str() {
            " (best)"
        } else {
            ""
        };
        let theirs = number(median(&numbers(theirs)));
        let _infallible = write!(line, "\n    {name:<40} median {theirs:>10}{best}");
    }
    line
}

fn samples(row: &Value) -> Vec<f64> {
    numbers(&row["ours"])
}

/// What never came to be is null.
fn numbers(list: &Value) -> Vec<f64> {
    let list = list.as_array().into_iter().flatten();
    list.map(|sample| sample.as_f64().unwrap_or(f64::INFINITY))
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
