//! Agreements: what one costs, how fast fifty are made, whether the escrow's promises hold over many random calls, whether its
//! tests notice faults, what other programs find in it, and what killing both sides costs anybody.

mod analysis;
mod at_once;
mod forge;
mod kill_points;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::shell;

/// What SmartEdge's five calls take, in gas: measured on its original source (solc 0.4.26, optimizer 200 runs, the push
/// payout included). The source is no package, so it is quoted here rather than measured again.
const SMARTEDGE_GAS: u64 = 339_040;
/// Calls of the invariant runs in the bench, runs × depth.
const RUNS: u32 = 1_250;
const DEPTH: u32 = 80;

/// Sequences and calls of the short form of the same.
const FEW_RUNS: u32 = 32;
const FEW_DEPTH: u32 = 40;

/// Rows and what belongs to them.
pub(super) struct Report {
    pub(super) rows: Vec<Value>,
    pub(super) more: Value,
}

/// Runs the cases whose name starts with `only`.
pub(super) fn run(runs: u32, only: Option<&str>) -> Result<Report> {
    let wanted = |case: &str| only.is_none_or(|only| case.starts_with(only));
    let mut report = Report {
        rows: Vec::new(),
        more: json!({ "quoted": { "smartedge_gas": SMARTEDGE_GAS } }),
    };
    if wanted("gas-happy-path") {
        report.rows.extend(gas()?);
    }
    let by_hand = "mutants/by-hand";
    let needing_forge = [
        "contract-calls",
        by_hand,
        analysis::MUTANTS,
        analysis::FINDINGS,
        analysis::PROOFS,
    ];
    if needing_forge.iter().any(|case| wanted(case)) {
        let forge = forge::Forge::install()?;
        if wanted("contract-calls") {
            contract_calls(&forge, &mut report)?;
        }
        if wanted(by_hand) {
            mutants(&forge, &mut report)?;
        }
        if wanted(analysis::FINDINGS) {
            analysis::findings(&forge, &mut report)?;
        }
        if wanted(analysis::PROOFS) {
            analysis::proofs(&forge, &mut report)?;
        }
        if wanted(analysis::MUTANTS) {
            analysis::mutants(&forge, &mut report)?;
        }
    }
    if at_once::cases().iter().any(|case| wanted(case)) {
        let (rows, more) = at_once::run(runs, wanted)?;
        report.rows.extend(rows);
        report.more["at_once"] = more;
    }
    if wanted(kill_points::CASE) {
        let (rows, more) = kill_points::run()?;
        report.rows.extend(rows);
        report.more["killed"] = more;
    }
    if report.rows.is_empty() {
        bail!("no case of the agreement bench starts with {only:?}");
    }
    Ok(report)
}

/// The contract's own tests in their short form, by forge from npm; how many passed.
pub(crate) fn contract_tests() -> Result<u64> {
    let forge = forge::Forge::install()?;
    let outcome = forge.project("short", None)?.test(FEW_RUNS, FEW_DEPTH)?;
    if !outcome.passed {
        bail!("the contract's tests fail:\n{}", outcome.output);
    }
    let passed = outcome
        .output
        .lines()
        .filter(|line| line.contains("[PASS]"));
    Ok(passed.count() as u64)
}

fn gas() -> Result<Vec<Value>> {
    let output = shell::capture(shell::command(
        "cargo",
        &[
            "run",
            "--quiet",
            "--release",
            "--package",
            "edge-chain",
            "--example",
            "agreement_gas",
        ],
    ))?;
    let costs: Value = serde_json::from_str(&output).context("reading the gas used")?;
    let of = |who: &str, operations: &[&str]| -> Result<u64> {
        let each = operations.iter().map(|operation| {
            costs[who][operation]
                .as_u64()
                .with_context(|| format!("no gas of {who}'s {operation}"))
        });
        each.sum()
    };
    let mut rows = Vec::new();
    for (who, goals) in [
        ("first", [Some(250_000), Some(285_000)]),
        ("again", [None, None]),
        ("token", [None, None]),
        ("unused-escrow", [None, None]),
    ] {
        for (variant, operations, goal) in [
            ("", &["propose", "settle"][..], goals[0]),
            (
                "-and-withdraw",
                &["propose", "settle", "withdraw"][..],
                goals[1],
            ),
        ] {
            let used = of(who, operations)?;
            rows.push(json!({
                "case": format!("gas-happy-path/{who}{variant}"), "unit": "gas", "better": "lower",
                "ours": [used], "peer": [], "peer_name": null, "goal": goal,
                "holds": goal.map(|goal: u64| used <= goal),
            }));
        }
    }
    Ok(rows)
}

fn contract_calls(forge: &forge::Forge, report: &mut Report) -> Result<()> {
    let project = forge.project("calls", None)?;
    let outcome = project.test(RUNS, DEPTH)?;
    if !outcome.passed {
        bail!("the contract's tests fail:\n{}", outcome.output);
    }
    let calls: u64 = outcome.handlers.values().map(|handler| handler.calls).sum();
    let reverts: u64 = outcome.handlers.values().map(|it| it.reverts).sum();
    let goal = u64::from(RUNS) * u64::from(DEPTH);
    report.rows.push(json!({
        "case": "contract-calls", "unit": "calls", "better": "higher",
        "ours": [calls], "peer": [], "peer_name": null, "goal": goal, "holds": calls >= goal,
    }));
    let succeeded = |calls: u64, reverts: u64| {
        let permille = (calls - reverts) * 1_000 / calls.max(1);
        json!(f64::from(u32::try_from(permille).unwrap_or(0)) / 10.0)
    };
    report.rows.push(json!({
        "case": "contract-calls/succeeded", "unit": "%", "better": "higher",
        "ours": [succeeded(calls, reverts)], "peer": [], "peer_name": null, "goal": null, "holds": null,
    }));
    let each: serde_json::Map<String, Value> = outcome
        .handlers
        .iter()
        .map(|(name, it)| (name.clone(), succeeded(it.calls, it.reverts)))
        .collect();
    report.more["handlers_succeeded_percent"] = each.into();
    Ok(())
}

fn mutants(forge: &forge::Forge, report: &mut Report) -> Result<()> {
    let mut survivors = Vec::new();
    let patches = forge::mutants()?;
    for patch in &patches {
        let name = patch
            .file_stem()
            .context("a patch without a name")?
            .to_string_lossy();
        let outcome = forge.project("mutant", Some(patch))?.test(60, 60)?;
        shell::say(&format!(
            "{name}: {}",
            outcome.killer().unwrap_or("survives")
        ));
        if outcome.passed {
            survivors.push(name.into_owned());
        }
    }
    let killed = patches.len() - survivors.len();
    report.rows.push(json!({
        "case": "mutants/by-hand", "unit": "killed", "better": "higher",
        "ours": [killed], "peer": [], "peer_name": null, "goal": patches.len(), "holds": survivors.is_empty(),
    }));
    report.more["surviving_mutants"] = json!(survivors);
    Ok(())
}
