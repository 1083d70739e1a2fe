//! Estimated round trips of links against the configured ones.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::cases::Case;
use super::run::Ran;
use super::tools::Tool;
use super::truth::{Edge, Truth, address};
use super::{Effort, best, row, take_turns};
use crate::bench::median;

/// How much lower our errors shall be.
const GOAL: f64 = 1.0 / 5.0;

/// Share of the links whose bars shall cover the truth.
const COVERED: f64 = 0.9;

/// What one run says about links whose truth is known.
#[derive(Clone, Debug, Default)]
struct Delays {
    /// Differences to the truth, in ms, without sign, in order.
    errors: Vec<f64>,
    /// Negative round trips.
    negative: usize,
    /// Half lengths of the error bars, in ms, in order.
    bars: Vec<f64>,
    /// Estimates whose bar covers the truth.
    covered: usize,
    /// Share of the links in the truth that have an estimate.
    known: f64,
}

impl Delays {
    fn judge(estimates: &[(Edge, f64, Option<f64>)], truth: &Truth) -> Self {
        let mut delays = Self::default();
        let mut known = std::collections::BTreeSet::new();
        for (edge, estimate, bar) in estimates {
            let Some(real) = truth.links.get(edge) else {
                continue;
            };
            known.insert(*edge);
            let error = (estimate - real).abs();
            delays.errors.push(error);
            delays.negative += usize::from(*estimate < 0.0);
            if let Some(bar) = bar {
                delays.bars.push(*bar);
                delays.covered += usize::from(error <= *bar);
            }
        }
        delays.errors.sort_by(f64::total_cmp);
        delays.bars.sort_by(f64::total_cmp);
        let links = truth
            .edges
            .iter()
            .filter(|edge| truth.links.contains_key(edge));
        delays.known = known.len() as f64 / links.count() as f64;
        delays
    }

    fn describe(&self) -> String {
        format!(
            "{} estimates, {:.1} % of links, error p50 {:.2} p95 {:.2} ms, {} negative, {} covered",
            self.errors.len(),
            self.known * 100.0,
            quantile(&self.errors, 50),
            quantile(&self.errors, 95),
            self.negative,
            self.covered,
        )
    }
}

/// Infinite where there is nothing.
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::INFINITY)
}

fn estimates(tool: Tool, ran: &Ran) -> Vec<(Edge, f64, Option<f64>)> {
    let lines = ran.lines.iter();
    let ours: Vec<_> = lines
        .filter_map(|(_, line)| {
            let json: Value = serde_json::from_str(line).ok()?;
            let edge = (address(&json["parent"])?, address(&json["child"])?);
            Some((
                edge,
                json["estimate_ms"].as_f64()?,
                json["error_ms"].as_f64(),
            ))
        })
        .collect();
    if !ours.is_empty() {
        return ours;
    }
    // Raw subtraction of the round trips of every two hops of every trace.
    let mut raw = Vec::new();
    for path in tool.read(&ran.lines) {
        for (hops, rtts) in path.hops.windows(2).zip(path.rtt_ms.windows(2)) {
            if let ([Some(near), Some(far)], [Some(before), Some(after)]) = (hops, rtts) {
                raw.push(((*near, *far), after - before, None));
            }
        }
    }
    raw
}

/// How far off are the estimates?
pub(super) fn errors(case: &Case, scenario: &Path, effort: Effort) -> Result<Vec<Value>> {
    let truth = Truth::load(scenario)?;
    let samples = take_turns(case, scenario, effort, |tool, ran| {
        let delays = Delays::judge(&estimates(tool, ran), &truth);
        let told = delays.describe();
        (delays, told)
    })?;
    let compared =
        |name: &str, unit, higher, goal: fn(Option<f64>) -> Option<f64>, of: fn(&Delays) -> f64| {
            let by_name: BTreeMap<&str, Vec<f64>> = samples
                .iter()
                .skip(1)
                .map(|(tool, runs)| (tool.name, runs.iter().map(of).collect()))
                .collect();
            let ours: Vec<f64> = samples[0].1.iter().map(of).collect();
            let best = best(by_name.keys().copied(), &by_name, higher);
            let of_best = best.and_then(|name| median(&by_name[name]));
            let case = format!("{}/{name}", case.name);
            row(&case, unit, higher, &ours, &by_name, best, goal(of_best))
        };
    let fifth = |peer: Option<f64>| peer.map(|peer| peer * GOAL);
    Ok(vec![
        compared("link error p50", "ms", false, fifth, |run| {
            quantile(&run.errors, 50)
        }),
        compared("link error p95", "ms", false, fifth, |run| {
            quantile(&run.errors, 95)
        }),
        compared(
            "negative links",
            "of estimates",
            false,
            |_| Some(0.0),
            |run| run.negative as f64 / run.errors.len() as f64,
        ),
        compared("links known", "of links", true, |_| None, |run| run.known),
    ])
}

/// Do the error bars cover the truth?
pub(super) fn bars(case: &Case, scenario: &Path, effort: Effort) -> Result<Vec<Value>> {
    let truth = Truth::load(scenario)?;
    let samples = take_turns(case, scenario, effort, |tool, ran| {
        let delays = Delays::judge(&estimates(tool, ran), &truth);
        let told = delays.describe();
        (delays, told)
    })?;
    let told = |name: &str, unit, higher, goal, of: fn(&Delays) -> f64| {
        let ours: Vec<f64> = samples[0].1.iter().map(of).collect();
        let case = format!("{}/{name}", case.name);
        row(&case, unit, higher, &ours, &BTreeMap::new(), None, goal)
    };
    Ok(vec![
        told("covered", "of links", true, Some(COVERED), |run| {
            run.covered as f64 / run.errors.len() as f64
        }),
        told("bar p50", "ms", false, None, |run| quantile(&run.bars, 50)),
        told("bar p95", "ms", false, None, |run| quantile(&run.bars, 95)),
        told("link error p50", "ms", false, None, |run| {
            quantile(&run.errors, 50)
        }),
        told("link error p95", "ms", false, None, |run| {
            quantile(&run.errors, 95)
        }),
        told("negative links", "of links", false, Some(0.0), |run| {
            run.negative as f64 / run.errors.len() as f64
        }),
        told("links known", "of links", true, None, |run| run.known),
    ])
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn judges_errors_bars_and_signs() {
        let [a, b, c] = [1, 2, 3].map(|last| IpAddr::from([240, 1, 0, last]));
        let mut truth = Truth::default();
        truth.links.insert((a, b), 10.0);
        truth.links.insert((b, c), 4.0);
        truth.edges.extend([(a, b), (b, c)]);
        let judged = Delays::judge(
            &[
                ((a, b), 12.0, Some(1.0)),
                ((a, b), -1.0, Some(11.0)),
                ((a, c), 1.0, None),
            ],
            &truth,
        );
        assert_eq!(
            (judged.errors.len(), judged.negative, judged.covered),
            (2, 1, 1)
        );
        assert!((judged.known - 0.5).abs() < 1e-9);
        assert!((quantile(&judged.errors, 50) - 2.0).abs() < 1e-9);
        assert!((quantile(&judged.errors, 95) - 11.0).abs() < 1e-9);
        assert!(quantile(&[], 50).is_infinite());
    }
}
