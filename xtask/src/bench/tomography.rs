//! The bench of the prober and the tree: in the lab, beside other probers, against the truth.
//!
//! Every run has a lab of its own, so that nobody's rations are spent when it starts; runs of ours and of the peers take
//! turns. Packets are counted by the lab, times are taken where the output arrives, and a run in which the lab itself
//! was late is void. Of a peer with several settings all are printed, and the best one for each figure is compared; a
//! setting that finds less than nine tenths of what the best one finds starves, and its speed and thrift do not count; nor
//! do ours.

mod cases;
mod delays;
mod memory;
mod quoted;
mod run;
mod scenarios;
mod score;
mod tools;
mod truth;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::median;
use crate::shell;
use cases::{CASES, Case, Goal, Kind};
use run::{Outcome, Ran, in_lab};
use score::{Metric, Score};
use tools::{Seen, Task, Tool};
use truth::Truth;

/// A setting finds at least this share of what the best one finds, or is not compared in speed and thrift.
const NOT_STARVED: f64 = 0.9;

/// What a bench found.
pub(super) struct Report {
    pub(super) rows: Vec<Value>,
    /// More for the result's file.
    pub(super) more: Value,
}

/// How often, and how late a lab may be, in ms.
#[derive(Clone, Copy, Debug)]
struct Effort {
    runs: u32,
    latest_ms: f64,
}

/// Runs all cases, or those whose name starts with `only`.
pub(super) fn run(runs: u32, only: Option<&str>, latest_ms: f64) -> Result<Report> {
    let effort = Effort { runs, latest_ms };
    let chosen: Vec<&Case> = CASES
        .iter()
        .filter(|case| only.is_none_or(|only| case.name.starts_with(only)))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        bail!("no such case; one of {}", names.join(", "));
    }
    let mut rows = Vec::new();
    let mut conditions = BTreeMap::new();
    for case in chosen {
        shell::say(&format!("{}: {}", case.name, case.conditions));
        let scenario = scenarios::write(case.scene)?;
        let found = match case.kind {
            Kind::Map => compare(case, &scenario, effort)?,
            Kind::LinkErrors => delays::errors(case, &scenario, effort)?,
            Kind::ErrorBars => delays::bars(case, &scenario, effort)?,
            Kind::Memory => memory::measure(case, &scenario, effort)?,
        };
        conditions.insert(case.name, case.conditions);
        rows.extend(found);
    }
    let quoted = quoted::all();
    for figure in &quoted {
        shell::say(&format!("quoted: {figure}"));
    }
    Ok(Report {
        rows,
        more: json!({ "conditions": conditions, "void_above_ms": latest_ms, "quoted": quoted.iter().map(quoted::Quoted::to_json).collect::<Value>() }),
    })
}

/// Where the bench keeps its files.
fn folder() -> Result<PathBuf> {
    let folder = shell::target().join("bench/tomography");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// The samples of each tool, ours first.
type Samples<T> = Vec<(Tool, Vec<T>)>;

/// Runs ours and the peers in turns; `judge` makes a sample of a run and a line for the person who waits. A tool that
/// is not available or whose lab was late has fewer samples.
fn take_turns<T>(
    case: &Case,
    scenario: &Path,
    Effort { runs, latest_ms }: Effort,
    judge: impl Fn(Tool, &Ran) -> (T, String),
) -> Result<Samples<T>> {
    let targets = write_targets(scenario)?;
    let first = std::fs::read_to_string(&targets)?;
    let shown = targets.to_string_lossy();
    let task = Task {
        rate: case.rate,
        targets: &shown,
        target: first
            .lines()
            .next()
            .context("no targets")?
            .parse()
            .context("reading a target")?,
    };
    let mut samples: Samples<T> = case.tools().map(|tool| (tool, Vec::new())).collect();
    for (tool, _) in &samples {
        tool.install()?;
    }
    for run in 1..=runs {
        for (tool, samples) in &mut samples {
            let told = match in_lab(scenario, &tool.command(&task), latest_ms)? {
                Outcome::Ran(ran) => {
                    let (sample, told) = judge(*tool, &ran);
                    samples.push(sample);
                    let complaint = if ran.lines.is_empty() {
                        std::fs::read_to_string(&ran.complaints).unwrap_or_default()
                    } else {
                        String::new()
                    };
                    format!(
                        "{told}; lab {:.1} ms late {}",
                        ran.late_ms,
                        complaint.trim()
                    )
                }
                Outcome::NotAvailable => "not available".to_owned(),
                Outcome::Void(late_ms) => {
                    format!("void, the lab was {late_ms:.1} ms late at every try")
                }
            };
            shell::say(&format!("  {run}/{runs} {:<32} {}", tool.name, told.trim()));
        }
    }
    Ok(samples)
}

fn write_targets(scenario: &Path) -> Result<PathBuf> {
    let file = folder()?.join("targets");
    let shown = scenario.to_string_lossy();
    let targets = shell::capture(super::exec_edge(&["lab", "show", &shown, "--targets"]))?;
    std::fs::write(&file, targets).context("writing the targets")?;
    Ok(file)
}

/// Maps the network with each tool.
fn compare(case: &Case, scenario: &Path, effort: Effort) -> Result<Vec<Value>> {
    let truth = Truth::load(scenario)?;
    shell::say(&format!(
        "  {} targets, {} observable edges, L = {:.1} s",
        truth.paths.len(),
        truth.edges.len(),
        truth.learning_s
    ));
    let samples = take_turns(case, scenario, effort, |tool, ran| {
        let seen: Vec<Seen> = tool.read(&ran.lines);
        let score = Score::of(ran, &seen, &truth);
        let told = score.describe();
        (score, told)
    })?;
    let mut rows: Vec<Value> = case
        .figures
        .iter()
        .map(|(metric, goal)| figure(case, *metric, *goal, &samples, &truth))
        .collect();
    if let (true, [(_, ours), (_, theirs), ..]) = (case.same_tree, samples.as_slice()) {
        let differing = ours
            .iter()
            .zip(theirs)
            .map(|(a, b)| a.found.symmetric_difference(&b.found).count() as f64);
        rows.push(row(
            &format!("{}/edges of only one tree", case.name),
            "edges",
            false,
            &differing.collect::<Vec<_>>(),
            &BTreeMap::new(),
            None,
            Some(0.0),
        ));
    }
    Ok(rows)
}

fn figure(
    case: &Case,
    metric: Metric,
    goal: Goal,
    samples: &Samples<Score>,
    truth: &Truth,
) -> Value {
    let of = |scores: &Vec<Score>, metric| -> Vec<f64> {
        scores.iter().map(|score| score.get(metric)).collect()
    };
    let (ours, peers) = samples
        .split_first()
        .map_or((Vec::new(), &[][..]), |((_, ours), peers)| {
            (of(ours, metric), peers)
        });
    let by_name: BTreeMap<&str, Vec<f64>> = peers
        .iter()
        .map(|(tool, scores)| (tool.name, of(scores, metric)))
        .collect();
    let recall = |scores| median(&of(scores, Metric::Recall)).unwrap_or(0.0);
    let most = peers
        .iter()
        .map(|(_, scores)| recall(scores))
        .fold(0.0, f64::max);
    let compared = peers
        .iter()
        .filter(|(_, scores)| !metric.is_spent() || recall(scores) >= NOT_STARVED * most)
        .map(|(tool, _)| tool.name);
    let best = best(compared, &by_name, metric.is_better_higher());
    let of_best = best.and_then(|name| median(&by_name[name]));
    let goal = match goal {
        Goal::None => None,
        Goal::Fixed(value) => Some(value),
        Goal::Learning(more) => Some(truth.learning_s.max(0.0) + more),
        Goal::OfPeer(factor) => of_best.map(|value| value * factor),
        Goal::OfPeerOr(factor, most) => {
            Some(of_best.map_or(most, |value| (value * factor).min(most)))
        }
        Goal::PeerOr(least) => Some(of_best.map_or(least, |value| value.max(least))),
    };
    let case = format!("{}/{}", case.name, metric.name());
    let higher = metric.is_better_higher();
    let mut row = row(&case, metric.unit(), higher, &ours, &by_name, best, goal);
    // Nor are ours fast or thrifty by finding little.
    let starves = samples
        .first()
        .is_some_and(|(_, ours)| recall(ours) < NOT_STARVED * most);
    if metric.is_spent() && starves && row["holds"] == true {
        row["holds"] = json!(false);
    }
    row
}

/// The name whose samples have the best median.
fn best<'a>(
    names: impl Iterator<Item = &'a str>,
    samples: &BTreeMap<&'a str, Vec<f64>>,
    is_better_higher: bool,
) -> Option<&'a str> {
    let medians = names.filter_map(|name| Some((name, median(samples.get(name)?)?)));
    medians
        .min_by(|(_, a), (_, b)| {
            if is_better_higher {
                b.total_cmp(a)
            } else {
                a.total_cmp(b)
            }
        })
        .map(|(name, _)| name)
}

/// A row of the bench format. What never came to be is null among the samples.
fn row(
    case: &str,
    unit: &str,
    is_better_higher: bool,
    ours: &[f64],
    peers: &BTreeMap<&str, Vec<f64>>,
    best: Option<&str>,
    goal: Option<f64>,
) -> Value {
    let goal = goal.filter(|goal| goal.is_finite());
    let holds = match (goal, median(ours)) {
        (Some(goal), Some(ours)) if is_better_higher => Some(ours >= goal),
        (Some(goal), Some(ours)) => Some(ours <= goal),
        _ => None,
    };
    let better = if is_better_higher { "higher" } else { "lower" };
    json!({ "case": case, "unit": unit, "better": better, "ours": ours,
        "peer": best.and_then(|name| peers.get(name)).cloned().unwrap_or_default(), "peer_name": best,
        "peers": peers, "goal": goal, "holds": holds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_setting_is_compared_and_never_is_worst() {
        let peers = BTreeMap::from([
            ("slow", vec![3.0]),
            ("fast", vec![1.0]),
            ("never", vec![f64::INFINITY]),
        ]);
        let names = || peers.keys().copied();
        assert_eq!(best(names(), &peers, false), Some("fast"));
        assert_eq!(
            best(["never", "slow"].into_iter(), &peers, false),
            Some("slow")
        );
        let row = row(
            "a/b",
            "s",
            false,
            &[0.5, f64::INFINITY, f64::INFINITY],
            &peers,
            Some("fast"),
            Some(0.6),
        );
        assert_eq!(row["holds"], false);
        assert_eq!(row["ours"], json!([0.5, null, null]));
        assert_eq!(row["peer"], json!([1.0]));
    }
}
