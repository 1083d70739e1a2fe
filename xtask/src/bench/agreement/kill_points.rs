//! Both sides of agreements as processes that are killed at their write points, a thousand times: what that cost anybody.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{shell, soak};

/// The case.
pub(super) const CASE: &str = "kill-points";
const KILLS: u32 = 1_000;

/// What the test counts at its end.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    kills: u64,
    agreements: u64,
    paid: u64,
    lost: u64,
    twice: u64,
    leaked: u64,
}

impl Counts {
    /// Of the line that says `N kills, N agreements, N of them served and were paid; N lost, N escrowed twice, N leases …`.
    fn read(text: &str) -> Option<Self> {
        let line = text.lines().find(|line| line.contains(" kills, "))?;
        let numbers: Vec<u64> = line
            .split([' ', ',', ';'])
            .filter_map(|word| word.parse().ok())
            .collect();
        let [kills, agreements, paid, lost, twice, leaked] = numbers[..] else {
            return None;
        };
        Some(Self {
            kills,
            agreements,
            paid,
            lost,
            twice,
            leaked,
        })
    }
}

/// Runs it; rows, and how many agreements there were.
pub(super) fn run() -> Result<(Vec<Value>, Value)> {
    // It ends badly if anything was lost, and the figures say what.
    let output = soak::kills(KILLS)
        .output()
        .context("starting the killing of processes")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(counts) = Counts::read(&text) else {
        let problem = String::from_utf8_lossy(&output.stderr);
        bail!("it came to no end: {text}{problem}");
    };
    for line in text.lines() {
        shell::say(line);
    }
    let row = |what: &str, unit: &str, better: &str, ours: u64, goal: u64| {
        let holds = if better == "higher" {
            ours >= goal
        } else {
            ours == goal
        };
        json!({
            "case": format!("{CASE}/{what}"), "unit": unit, "better": better,
            "ours": [ours], "peer": [], "peer_name": null, "goal": goal, "holds": holds,
        })
    };
    let rows = vec![
        row("kills", "kills", "higher", counts.kills, KILLS.into()),
        row("money-lost", "agreements", "equal", counts.lost, 0),
        row("escrowed-twice", "agreements", "equal", counts.twice, 0),
        row("capacity-leaked", "leases", "equal", counts.leaked, 0),
    ];
    let more = json!({ "agreements": counts.agreements, "served_and_paid": counts.paid });
    Ok((rows, more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_read() {
        let text = "something else\n12 kills, 7 agreements, 5 of them served and were paid; 0 lost, 1 escrowed twice, 2 leases of capacity leaked\n    3 at before a deposit\n";
        let counts = Counts {
            kills: 12,
            agreements: 7,
            paid: 5,
            lost: 0,
            twice: 1,
            leaked: 2,
        };
        assert_eq!(Counts::read(text), Some(counts));
        assert_eq!(Counts::read("killed"), None);
    }
}
