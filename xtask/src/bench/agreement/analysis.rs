//! What other people's programs find in the escrow: slither, the mutants that slither-mutate makes, and halmos.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Report;
use super::forge::Forge;
use crate::bench::python;
use crate::shell;

pub(super) const MUTANTS: &str = "mutants/slither-mutate";
pub(super) const FINDINGS: &str = "slither";
pub(super) const PROOFS: &str = "access-proofs";

const PACKAGES: [(&str, &str); 2] = [("slither-analyzer", "0.11.6"), ("halmos", "0.3.3")];
/// Makes the mutants and has the tests look for them.
const SCRIPT: &str = "xtask/src/bench/agreement/mutants.py";
/// Every so many-th mutant is tried: all of them take hours.
const SHARE: &str = "7";
/// Of the mutants that compile, per cent.
const GOAL_KILLED: f64 = 95.0;

/// A finding that stays, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Triaged {
    check: String,
    #[serde(rename = "in")]
    functions: Vec<String>,
    reason: String,
}

fn tool(name: &str) -> Result<PathBuf> {
    let python = python("analysis", &PACKAGES)?;
    Ok(python.with_file_name(name))
}

/// Findings of slither that nobody gave a reason for, and reasons for what it no longer finds.
pub(super) fn findings(forge: &Forge, report: &mut Report) -> Result<()> {
    let file = shell::root().join("contracts/slither-triage.json");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let triaged: Vec<Triaged> =
        serde_json::from_str(&text).with_context(|| file.display().to_string())?;
    let project = forge.project("slither", None)?;
    let mut command = project.beside_forge(&tool("slither")?);
    command.args([".", "--filter-paths", "test/", "--json", "-"]);
    // It ends with an error where it finds something.
    let output = command.output().context("starting slither")?;
    let told: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "slither tells nothing: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let found = told["results"]["detectors"].as_array();
    let found = found.context("slither lists no findings")?;
    let is_of = |finding: &Value, triaged: &Triaged| {
        let place = finding["elements"][0]["name"].as_str().unwrap_or_default();
        finding["check"] == triaged.check.as_str() && triaged.functions.iter().any(|it| it == place)
    };
    let untriaged: Vec<&Value> = found
        .iter()
        .filter(|finding| !triaged.iter().any(|it| is_of(finding, it)))
        .map(|finding| &finding["description"])
        .collect();
    let stale: Vec<&str> = triaged
        .iter()
        .filter(|it| it.reason.is_empty() || !found.iter().any(|finding| is_of(finding, it)))
        .map(|it| it.check.as_str())
        .collect();
    let open = untriaged.len() + stale.len();
    report.rows.push(json!({
        "case": "slither/without-reason", "unit": "findings", "better": "lower",
        "ours": [open], "peer": [], "peer_name": null, "goal": 0, "holds": open == 0,
    }));
    report.more["slither"] = json!({ "findings": found.len(), "without_reason": untriaged, "reasons_without_finding": stale });
    Ok(())
}

/// Who may do what, proven by halmos for every caller, amount and time.
pub(super) fn proofs(forge: &Forge, report: &mut Report) -> Result<()> {
    let project = forge.project("halmos", None)?;
    let mut command = project.beside_forge(&tool("halmos")?);
    command.args([
        "--contract",
        "AccessTest",
        "--function",
        "test_",
        "--no-status",
    ]);
    let output = command.output().context("starting halmos")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (proven, failed) =
        verdicts(&text).with_context(|| format!("halmos tells nothing: {text}"))?;
    for line in text
        .lines()
        .filter(|line| line.contains("[FAIL]") || line.contains("[TIMEOUT]"))
    {
        shell::say(line);
    }
    let all = proven + failed;
    report.rows.push(json!({
        "case": PROOFS, "unit": "proven", "better": "higher",
        "ours": [proven], "peer": [], "peer_name": null, "goal": all, "holds": failed == 0 && proven > 0,
    }));
    Ok(())
}

/// `Symbolic test result: 11 passed; 0 failed; time: 9.40s`
fn verdicts(text: &str) -> Option<(u32, u32)> {
    let line = text
        .lines()
        .find_map(|line| line.split_once("test result: "))?
        .1;
    let mut counts = line
        .split(';')
        .map_while(|part| part.split_whitespace().next()?.parse().ok());
    Some((counts.next()?, counts.next()?))
}

/// The mutants of slither-mutate, each looked for by the tests of `contracts/test`.
pub(super) fn mutants(forge: &Forge, report: &mut Report) -> Result<()> {
    let project = forge.project("mutate", None)?;
    let mut command = project.beside_forge(&tool("python")?);
    command
        .arg(shell::root().join(SCRIPT))
        .arg(project.folder())
        .args(["forge", SHARE]);
    let told: Value =
        serde_json::from_str(&shell::capture(command)?).context("reading the mutants")?;
    let count = |field: &str| told[field].as_u64().with_context(|| format!("no {field}"));
    let (killed, survives) = (count("killed")?, count("survives")?);
    if killed + survives == 0 {
        bail!("no mutant compiles");
    }
    let percent = (killed * 10_000 / (killed + survives)) as f64 / 100.0;
    report.rows.push(json!({
        "case": MUTANTS, "unit": "% killed", "better": "higher",
        "ours": [percent], "peer": [], "peer_name": null, "goal": GOAL_KILLED, "holds": percent >= GOAL_KILLED,
    }));
    report.more["slither_mutate"] = told;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdicts_of_halmos_are_counted() {
        let text =
            "[PASS] test_x(address)\nSymbolic test result: 11 passed; 2 failed; time: 9.40s\n";
        assert_eq!(verdicts(text), Some((11, 2)));
        assert_eq!(verdicts("nothing"), None);
    }
}
