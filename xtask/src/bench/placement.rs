//! `cargo xtask bench placement`: how good and how fast placement is, beside other libraries' betweenness.
//!
//! What is ours is measured by `crates/edge-placement/benches/placement` and `crates/edge-sim/benches/simulations`. With `--data DIR` also on
//! real paths, a real router map and the requests of a real service.

mod simulations;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::median;
use crate::shell;

/// Libraries that are compared, each with its version.
const PEERS: [(&str, &str); 3] = [
    ("rustworkx", "0.18.1"),
    ("igraph", "1.0.0"),
    ("networkit", "11.3"),
];

const SCRIPT: &str = "xtask/src/bench/placement/betweenness.py";

/// Most that plans may take: case, what it is, ms.
const PLANS: [(&str, &str, f64); 5] = [
    ("plan 240", "full plan, 240 routers", 5.0),
    (
        "on-path 2400",
        "exact, on-path, 2,400 nodes, at most 120 sites",
        100.0,
    ),
    ("priced 2400", "exact, priced, 2,400 nodes", 100.0),
    (
        "any-nearest 2400",
        "exact, any-nearest, 2,400 nodes, at most 120 sites",
        1000.0,
    ),
    (
        "on-path celf 1000000",
        "celf, on-path, 1,000,000 nodes, 1,000 sites",
        2000.0,
    ),
];

/// What the bench found.
pub(super) struct Report {
    pub(super) rows: Vec<Value>,
    /// More for the result's file.
    pub(super) more: Value,
}

/// Measures, only cases whose name starts with `case` if there is one.
pub(super) fn run(data: Option<&Path>, runs: u32, case: Option<&str>) -> Result<Report> {
    let data = data
        .map(|data| std::fs::canonicalize(data).with_context(|| data.display().to_string()))
        .transpose()?;
    let data = data.as_deref();
    // A case may be named in full or in part.
    let is_wanted =
        |name: &str| case.is_none_or(|case| name.starts_with(case) || case.starts_with(name));
    let (mut rows, mut figures) = (Vec::new(), BTreeMap::new());
    if is_wanted("exact-equals-brute-force") {
        rows.push(brute_force()?);
    }
    if is_wanted("quality") {
        figures = ours(&["quality"], data)?;
        rows.extend(quality(&figures));
    }
    if is_wanted("plan-speed") {
        rows.extend(plan_speed(runs)?);
    }
    if is_wanted("betweenness-speed") {
        rows.extend(betweenness(data, runs, case)?);
    }
    if is_wanted("determinism") {
        rows.push(simulations::determinism()?);
    }
    // On the requests of a real service only; what is made up can be made to say anything.
    if is_wanted("over-time") && (data.is_some() || case.is_some()) {
        let data = data.context("over-time needs --data")?;
        rows.extend(simulations::over_time(data)?);
    }
    if rows.is_empty() {
        bail!("no case of this name");
    }
    Ok(Report {
        rows,
        more: json!({ "quality": figures, "peers": PEERS.map(|(name, version)| format!("{name} {version}")) }),
    })
}

/// What our measuring program prints, by case.
fn ours(arguments: &[&str], data: Option<&Path>) -> Result<BTreeMap<String, Vec<f64>>> {
    let data = data.map_or("-".to_owned(), |data| data.display().to_string());
    let mut all = vec![
        "bench",
        "--quiet",
        "--package",
        "edge-placement",
        "--bench",
        "placement",
        "--",
        arguments[0],
        &data,
    ];
    all.extend(&arguments[1..]);
    let output = shell::capture(shell::command("cargo", &all))?;
    let mut figures = BTreeMap::new();
    for line in output.lines().filter(|line| line.starts_with('{')) {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let case = line["case"].as_str().context("no case")?.to_owned();
        figures.insert(case, numbers(&line["values"]));
    }
    Ok(figures)
}

fn numbers(list: &Value) -> Vec<f64> {
    let list = list.as_array().into_iter().flatten();
    list.map(|value| value.as_f64().unwrap_or(f64::NAN))
        .collect()
}

/// The property tests that compare with brute force, as a row: 0 of them fail.
fn brute_force() -> Result<Value> {
    let arguments = ["test", "--quiet", "--package", "edge-placement", "--lib"];
    let failed = match shell::run(shell::command("cargo", &arguments)) {
        Ok(()) => 0.0,
        Err(_) => 1.0,
    };
    Ok(row(
        "exact-equals-brute-force/3,000 trees, plan checker",
        "failed",
        "equal",
        &[failed],
        Some(0.0),
    ))
}

fn quality(figures: &BTreeMap<String, Vec<f64>>) -> Vec<Value> {
    let mut rows = Vec::new();
    for (case, values) in figures {
        if let Some(place) = case.strip_suffix("/auto") {
            let peers: serde_json::Map<String, Value> = figures
                .iter()
                .filter(|(other, _)| {
                    let rest = other
                        .strip_prefix(place)
                        .and_then(|rest| rest.strip_prefix('/'));
                    rest.is_some_and(|rest| rest != "auto" && !rest.contains([' ', '/']))
                })
                .map(|(other, values)| (other[place.len() + 1..].to_owned(), json!(values)))
                .collect();
            let is_number = place.contains("sites for 70 %");
            let goal = if is_number {
                // Half of what betweenness needs.
                peers["betweenness"][0].as_f64().map(|number| number / 2.0)
            } else {
                // On graphs the optimum is not known, and the gap is what it is.
                (!place.starts_with("router map")).then_some(1.01)
            };
            let unit = if is_number { "sites" } else { "of optimum" };
            let mut row = row(&format!("quality/{place}"), unit, "lower", values, goal);
            let proven = peers.get("proven").and_then(|proven| proven[0].as_f64());
            row["peers"] = Value::Object(peers);
            rows.push(row);
            if let Some(proven) = proven {
                // Where half of what betweenness needs is less than any placement needs, that is missed by all.
                let beyond: Vec<f64> = values.iter().map(|number| number - proven).collect();
                rows.push(self::row(
                    &format!("quality/{place}, more than are proven to be needed"),
                    "sites",
                    "lower",
                    &beyond,
                    Some(0.0),
                ));
            }
        } else if !case.contains('%') {
            rows.push(row(&format!("quality/{case}"), "", "equal", values, None));
        }
    }
    rows
}

fn plan_speed(runs: u32) -> Result<Vec<Value>> {
    let mut samples: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..runs {
        for (case, values) in ours(&["speed"], None)? {
            samples.entry(case).or_default().extend(values);
        }
    }
    let mut rows: Vec<Value> = PLANS
        .iter()
        .map(|(case, what, goal)| {
            let ms = samples.get(*case).cloned().unwrap_or_default();
            row(
                &format!("plan-speed/{what}"),
                "ms",
                "lower",
                &ms,
                Some(*goal),
            )
        })
        .collect();
    let beyond = samples
        .get("update beyond depth")
        .cloned()
        .unwrap_or_default();
    let case = "plan-speed/one prefix updated, nodes looked at beyond its way to the cloud";
    rows.push(row(case, "nodes", "equal", &beyond, Some(0.0)));
    let micros = samples.get("update us").cloned().unwrap_or_default();
    let case = "plan-speed/one prefix updated, 1,000,000 nodes";
    rows.push(row(case, "us", "lower", &micros, None));
    Ok(rows)
}

fn betweenness(data: Option<&Path>, runs: u32, wanted: Option<&str>) -> Result<Vec<Value>> {
    let python = super::python("betweenness", &PEERS)?;
    let folder = shell::target().join("bench/placement");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    ours(&["graphs", &folder.to_string_lossy()], data)?;
    let mut networks = vec![
        ("tree 240", "tree-240.txt", 1),
        ("tree 2400", "tree-2400.txt", 1),
        ("tree 10000", "tree-10000.txt", 1),
    ];
    if data.is_some() {
        networks.extend([("map 1", "map.txt", 1), ("map 2", "map.txt", 2)]);
    }
    let name = |case: &str, threads: u32| {
        let what = case.strip_prefix("tree ").map_or_else(
            || format!("router map, {threads} threads"),
            |nodes| format!("tree of {nodes} nodes"),
        );
        format!("betweenness-speed/{what}")
    };
    networks.retain(|(case, _, threads)| {
        wanted.is_none_or(|wanted| name(case, *threads).starts_with(wanted))
    });
    let mut our_ms: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut their_ms: BTreeMap<&str, BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
    let mut errors: BTreeMap<&str, f64> = BTreeMap::new();
    for _ in 0..runs {
        let figures = ours(&["betweenness"], data)?;
        for (case, file, threads) in &networks {
            our_ms.entry(case).or_default().extend(&figures[*case]);
            let values = &figures[&format!("{case} values")];
            for (peer, _) in PEERS {
                // Once a run each, so that runs take turns.
                let theirs = measured(&python, &folder.join(file), *threads, peer)?;
                let samples = their_ms.entry(case).or_default().entry(peer).or_default();
                samples.extend(numbers(&theirs["ms"]));
                let error = furthest(values, &numbers(&theirs["values"]));
                let worst = errors.entry(case).or_default();
                *worst = worst.max(error);
            }
        }
    }
    let mut rows = Vec::new();
    for (case, _, threads) in networks {
        let theirs = &their_ms[case];
        let nodes = case.strip_prefix("tree ");
        let name = name(case, threads);
        let best = theirs.iter().min_by(|a, b| {
            median(a.1)
                .unwrap_or(0.0)
                .total_cmp(&median(b.1).unwrap_or(0.0))
        });
        let (against, samples) = match nodes {
            Some(_) => best.map(|(name, samples)| (*name, samples)),
            None => theirs
                .get_key_value("networkit")
                .map(|(name, samples)| (*name, samples)),
        }
        .context("no peer ran")?;
        let mut time = row(&name, "ms", "lower", &our_ms[case], None);
        time["peers"] = json!(theirs);
        time["peer"] = json!(samples);
        time["peer_name"] = json!(against);
        rows.push(time);
        let ratios: Vec<f64> = our_ms[case]
            .iter()
            .zip(samples)
            .map(|(ours, theirs)| theirs / ours)
            .collect();
        let goal = match nodes {
            Some("2400") => Some(10_000.0),
            Some(_) => None,
            None => Some(2.0),
        };
        let ratio = format!("{name}, times faster than {against}");
        rows.push(row(&ratio, "x", "higher", &ratios, goal));
        let error = format!("{name}, largest relative difference to any");
        rows.push(row(&error, "", "lower", &[errors[case]], Some(1e-9)));
    }
    Ok(rows)
}

/// The largest relative difference between two lists; infinite if they are not of one length.
fn furthest(ours: &[f64], theirs: &[f64]) -> f64 {
    if ours.len() != theirs.len() {
        return f64::INFINITY;
    }
    let differences = ours.iter().zip(theirs);
    differences
        .map(|(ours, theirs)| (ours - theirs).abs() / theirs.abs().max(1.0))
        .fold(0.0, f64::max)
}

fn measured(python: &Path, links: &Path, threads: u32, peer: &str) -> Result<Value> {
    let threads = threads.to_string();
    let arguments = [SCRIPT, &links.to_string_lossy(), "1", &threads, peer];
    let output = shell::capture(shell::command(&python.to_string_lossy(), &arguments))?;
    let line = output.lines().find(|line| line.starts_with('{'));
    serde_json::from_str(line.context("the peer printed nothing")?).context("reading the peer")
}

fn row(case: &str, unit: &str, better: &str, ours: &[f64], goal: Option<f64>) -> Value {
    let holds = goal.zip(median(ours)).map(|(goal, ours)| match better {
        "lower" => ours <= goal,
        "higher" => ours >= goal,
        _ => (ours - goal).abs() < f64::EPSILON,
    });
    json!({
        "case": case, "unit": unit, "better": better, "ours": ours, "peer": [], "peer_name": null,
        "goal": goal, "holds": holds,
    })
}
