//! `cargo xtask bench paths --data DIR`: what becomes of real paths.
//!
//! Every file of DIR that ends in `.jsonl.gz` (lines of JSON in the likeness of RIPE Atlas) or `.traces.gz` (routes of rtrack) is
//! read; what it holds and how large the trees of it are is compared with a script that shares nothing with our programs. Files
//! `NAME-YEAR-DAY-MONTH.traces.gz` are days of one NAME. What changes from a day to the next is ordinary, and outages that are put
//! into the later of the two have to stand out from it; what changes over longer gaps is told beside it.

mod outages;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::exec_edge;
use crate::shell;
use outages::{Outage, Route};

/// Routers and clients are put together by these.
const TREES: [(&str, &str); 3] = [("16", "16"), ("24", "24"), ("24", "address")];

/// What the trees consist of, by the names that both sides use.
const SIZES: [&str; 10] = [
    "targets",
    "clients",
    "nodes",
    "groups",
    "silent",
    "leaves",
    "last_groups",
    "links",
    "diamonds",
    "depth",
];

const TOTALS: [&str; 3] = ["records", "round_trips", "addresses"];

const SCRIPT: &str = "xtask/src/bench/paths/tree_sizes.py";

/// How days are compared: how routers are put together, and if only the ways to targets of both days count, not who they are.
const COMPARISONS: [(&str, &[&str]); 4] = [
    ("address", &["--group", "address"]),
    (
        "address, common targets",
        &["--group", "address", "--common"],
    ),
    ("24", &["--group", "24"]),
    ("24, common targets", &["--group", "24", "--common"]),
];

/// Pairs of a day and the next.
const NEXT_DAY: &str = "next day";

/// Pairs of days with more between them.
const LATER: &str = "days later";

/// Seeds of the outages: 0 up to this.
const OUTAGES: u64 = 20;

/// What the bench found.
pub(super) struct Report {
    pub(super) rows: Vec<Value>,
    /// More for the result's file.
    pub(super) more: Value,
}

/// Measures all files of `data`.
pub(super) fn run(data: &Path, runs: u32) -> Result<Report> {
    let data =
        std::fs::canonicalize(data).with_context(|| format!("finding {}", data.display()))?;
    let entries =
        std::fs::read_dir(&data).with_context(|| format!("listing {}", data.display()))?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| name(file).ends_with(".jsonl.gz") || name(file).ends_with(".traces.gz"));
    files.sort();
    if files.is_empty() {
        bail!("no *.jsonl.gz and no *.traces.gz in {}", data.display());
    }
    let mut rows = Vec::new();
    for file in &files {
        shell::say(name(file));
        rows.extend(loaded(file, runs)?);
        rows.extend(trees(file)?);
    }
    let mut days: Vec<(&str, [u32; 3], &Path)> = files
        .iter()
        .filter_map(|file| {
            let (series, date) = day(name(file))?;
            Some((series, date, file.as_path()))
        })
        .collect();
    days.sort();
    let neighbours = days.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    let (next_days, later): (Vec<_>, Vec<_>) =
        neighbours.partition(|pair| ordinal(pair[1].1) - ordinal(pair[0].1) == 1);
    let files_of = |pairs: Vec<&[(_, _, &Path)]>| -> Vec<(PathBuf, PathBuf)> {
        let files = pairs.iter();
        files
            .map(|pair| (pair[0].2.to_owned(), pair[1].2.to_owned()))
            .collect()
    };
    let mut told = Vec::new();
    if !next_days.is_empty() {
        let (more_rows, outages) = changes(&files_of(next_days), files_of(later))?;
        rows.extend(more_rows);
        told = outages;
    }
    Ok(Report {
        rows,
        more: json!({ "outages": told }),
    })
}

fn name(file: &Path) -> &str {
    let name = file.file_name().and_then(|name| name.to_str());
    name.unwrap_or_default()
}

/// The series and the date, year first, of `NAME-YEAR-DAY-MONTH.traces.gz`.
fn day(name: &str) -> Option<(&str, [u32; 3])> {
    let mut parts = name.strip_suffix(".traces.gz")?.rsplitn(4, '-');
    let month = parts.next()?.parse().ok()?;
    let day = parts.next()?.parse().ok()?;
    let year = parts.next()?.parse().ok()?;
    Some((parts.next()?, [year, month, day]))
}

/// Number of a day, by the Gregorian calendar.
fn ordinal([year, month, day]: [u32; 3]) -> i64 {
    let [year, month, day] = [year, month, day].map(i64::from);
    // Years begin with March here, so that the odd day is the last of its year.
    let (year, month) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day
}

/// Is everything in the file read?
fn loaded(file: &Path, runs: u32) -> Result<Vec<Value>> {
    let shown = file.to_string_lossy();
    let mut load_ms = Vec::new();
    let mut ours = Value::Null;
    for _ in 0..runs {
        ours = parsed(exec_edge(&["paths", "--json", &shown]))?;
        load_ms.extend(ours["load_ms"].as_f64());
    }
    let theirs = script(file, "24", "24")?;
    let mut rows: Vec<Value> = TOTALS
        .iter()
        .map(|what| equal(&format!("{}/{what}", name(file)), what, &ours, &theirs))
        .collect();
    let lost = ours["lost"].as_f64().context("no count of lost records")?;
    let left_out = ours["left_out"]
        .as_f64()
        .context("no count of parts left out")?;
    let case = format!("{}/lost or left out", name(file));
    rows.push(row(
        &case,
        "records",
        "lower",
        &[lost + left_out],
        Some(0.0),
    ));
    let case = format!("{}/load", name(file));
    rows.push(row(&case, "ms", "lower", &load_ms, None));
    Ok(rows)
}

/// Are the trees as large as they should be?
fn trees(file: &Path) -> Result<Vec<Value>> {
    let shown = file.to_string_lossy();
    let mut rows = Vec::new();
    for (group, clients) in TREES {
        let options = ["--group", group, "--clients", clients, "--json", &*shown];
        let ours = parsed(exec_edge(&[&["topology"], &options[..]].concat()))?;
        let theirs = script(file, group, clients)?;
        rows.extend(SIZES.iter().map(|what| {
            let case = format!(
                "{}/routers by {group}, clients by {clients}/{what}",
                name(file)
            );
            equal(&case, what, &ours, &theirs)
        }));
    }
    Ok(rows)
}

fn script(file: &Path, group: &str, clients: &str) -> Result<Value> {
    let shown = file.to_string_lossy();
    parsed(shell::command("python3", &[SCRIPT, &shown, group, clients]))
}

fn parsed(command: Command) -> Result<Value> {
    let output = shell::capture(command)?;
    serde_json::from_str(&output).with_context(|| format!("reading {output}"))
}

/// Do outages stand out from what changes from day to day? Also what the outages were.
fn changes(
    next_days: &[(PathBuf, PathBuf)],
    later: Vec<(PathBuf, PathBuf)>,
) -> Result<(Vec<Value>, Vec<Value>)> {
    let folder = shell::target().join("bench/paths");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut kinds = vec![(NEXT_DAY, next_days.to_vec()), (LATER, later)];
    let mut told = Vec::new();
    for outage in [Outage::Rerouted, Outage::Cut] {
        let mut pairs = Vec::new();
        for seed in 0..OUTAGES {
            let at = usize::try_from(seed)? % next_days.len();
            let (old, new) = &next_days[at];
            let shown = new.to_string_lossy();
            let lines = shell::capture(exec_edge(&["paths", "--to", "json-lines", &shown]))?;
            let mut routes = lines
                .lines()
                .map(serde_json::from_str)
                .collect::<Result<Vec<Route>, _>>()
                .context("reading our own lines")?;
            let Some(injected) = outage.inject(&mut routes, seed) else {
                bail!("no router of {} has as many targets behind it", name(new));
            };
            told.push(
                json!({ "kind": outage.name(), "seed": seed, "day": name(new),
                "share_of_targets": injected.share }),
            );
            let file = folder.join(format!("{}-{seed}.jsonl", outage.name()));
            let mut text = String::new();
            for route in &routes {
                text += &serde_json::to_string(route)?;
                text.push('\n');
            }
            std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
            pairs.push((old.clone(), file));
        }
        kinds.push((outage.name(), pairs));
    }
    let mut rows = Vec::new();
    for (group, options) in COMPARISONS {
        let mut found: Vec<Vec<f64>> = Vec::new();
        for (kind, pairs) in &kinds {
            let changes = pairs
                .iter()
                .map(|(old, new)| compared(old, new, options))
                .collect::<Result<Vec<f64>>>()?;
            let is_outage = ![NEXT_DAY, LATER].contains(kind);
            let better = if is_outage { "higher" } else { "lower" };
            let case = format!("change by {group}/{kind}");
            rows.push(row(&case, "share", better, &changes, None));
            found.push(changes);
        }
        let all: Vec<f64> = found[..2].concat();
        for ((kind, _), outages) in kinds.iter().zip(&found).skip(2) {
            for (ordinary, than) in [(&found[0], NEXT_DAY), (&all, "any")] {
                // An outage within a group of routers is no change of the groups; longer gaps have other targets.
                let is_goal = match group {
                    "address" => than == NEXT_DAY,
                    _ => group == "address, common targets",
                };
                let case = format!("change by {group}/{kind} over {than}: AUC");
                let goal = is_goal.then_some(1.0);
                rows.push(row(
                    &case,
                    "share",
                    "higher",
                    &[auc(ordinary, outages)],
                    goal,
                ));
                let case = format!("change by {group}/{kind} over {than}: smallest - largest");
                let goal = is_goal.then_some(0.0);
                let largest = ordinary.iter().copied().fold(0.0, f64::max);
                let gap = smallest(outages) - largest;
                rows.push(row(&case, "share", "higher", &[gap], goal));
            }
        }
    }
    Ok((rows, told))
}

fn compared(old: &Path, new: &Path, options: &[&str]) -> Result<f64> {
    let (old, new) = (old.to_string_lossy(), new.to_string_lossy());
    let always = ["topology", "--compare", "--json", &*old, &*new];
    parsed(exec_edge(&[&always[..], options].concat()))?["change"]
        .as_f64()
        .context("no change told")
}

fn smallest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The probability that one of `above` is larger than one of `below`; equal ones count half.
fn auc(below: &[f64], above: &[f64]) -> f64 {
    let pairs = above
        .iter()
        .flat_map(|a| below.iter().map(move |b| a.total_cmp(b)));
    let points = pairs.map(|order| match order {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    });
    points.sum::<f64>() / (below.len() * above.len()) as f64
}

/// A row in which ours has to be equal to the script's.
fn equal(case: &str, what: &str, ours: &Value, theirs: &Value) -> Value {
    let (ours, theirs) = (ours[what].as_f64(), theirs[what].as_f64());
    json!({ "case": case, "unit": what, "better": "equal", "ours": [ours], "peer": [theirs],
        "peer_name": "script", "peers": { "script": [theirs] }, "goal": theirs,
        "holds": ours.is_some() && ours == theirs })
}

fn row(case: &str, unit: &str, better: &str, ours: &[f64], goal: Option<f64>) -> Value {
    let holds = goal.and_then(|goal| {
        let median = super::median(ours)?;
        Some(if better == "higher" {
            median >= goal
        } else {
            median <= goal
        })
    });
    json!({ "case": case, "unit": unit, "better": better, "ours": ours, "peer": [],
        "peer_name": null, "goal": goal, "holds": holds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_in_order_of_time() {
        let of = |name| day(name).unwrap();
        assert_eq!(of("a-b-2017-27-05.traces.gz"), ("a-b", [2017, 5, 27]));
        assert!(of("a-2017-31-05.traces.gz") < of("a-2017-01-06.traces.gz"));
        assert_eq!(day("a-2017-01-06.jsonl.gz"), None);
        assert_eq!(day("a.traces.gz"), None);
    }

    #[test]
    fn days_are_counted_over_months_and_leap_years() {
        let gap = |from, to| ordinal(to) - ordinal(from);
        assert_eq!(gap([2017, 5, 31], [2017, 6, 1]), 1);
        assert_eq!(gap([2017, 6, 1], [2017, 6, 10]), 9);
        assert_eq!(gap([2023, 12, 31], [2024, 1, 1]), 1);
        assert_eq!(gap([2024, 2, 28], [2024, 3, 1]), 2);
        assert_eq!(gap([2023, 2, 28], [2023, 3, 1]), 1);
    }

    #[test]
    fn auc_is_the_share_of_pairs_in_order() {
        assert!((auc(&[0.1, 0.2], &[0.3, 0.4]) - 1.0).abs() < 1e-12);
        assert!((auc(&[0.1, 0.3], &[0.2, 0.3]) - 0.625).abs() < 1e-12);
    }
}
