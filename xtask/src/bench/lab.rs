//! The bench of the lab itself.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{exec_edge, median, samples};
use crate::shell;

/// Each run prints all rows with one sample; the samples are put together.
pub(super) fn run(runs: u32) -> Result<Vec<Value>> {
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
