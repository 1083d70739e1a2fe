//! `cargo xtask tidy`: the layers, the documents and the house rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;

/// Each crate's layer (see ARCHITECTURE.md). A crate depends only on lower layers, or on [`SIDEWAYS`].
const LAYERS: &[(&str, u8)] = &[
    ("edge-types", 0),
    ("edge-suffixes", 0),
    ("edge-packet", 1),
    ("edge-topology", 1),
    ("edge-trace-files", 1),
    ("edge-discovery", 1),
    ("edge-placement", 1),
    ("edge-forecast", 1),
    ("edge-negotiation", 1),
    ("edge-dispatch", 1),
    ("edge-wire", 1),
    ("edge-ports", 1),
    ("edge-journal", 2),
    ("edge-ledger", 2),
    ("edge-probe", 2),
    ("edge-resolver", 2),
    ("edge-chain", 2),
    ("edge-image", 2),
    ("edge-runtime", 2),
    ("edge-http", 2),
    ("edge-orchestrator", 3),
    ("edge-provider", 3),
    ("edge-lab", 3),
    ("edge-sim", 3),
    ("edge-console", 3),
    ("edge-studies", 4),
    ("exec-edge", 4),
    ("xtask", 4),
];

/// Edges within a layer, each with its reason in ARCHITECTURE.md.
const SIDEWAYS: &[(&str, &str)] = &[
    ("exec-edge", "edge-studies"),
    ("edge-placement", "edge-topology"),
    ("edge-ports", "edge-discovery"),
    ("edge-ledger", "edge-journal"),
    ("edge-chain", "edge-ledger"),
    ("edge-runtime", "edge-image"),
    ("edge-runtime", "edge-http"),
];

/// Only these may know the lab's scenario types: the lab itself and the command that holds the report's checker.
const MAY_USE_LAB: &[&str] = &["exec-edge", "edge-studies"];

/// What layers 0 and 1 must never reach: runtimes, sockets, clocks and random numbers of the machine.
const FORBIDDEN_BELOW_2: &[&str] = &[
    "tokio",
    "hyper",
    "reqwest",
    "socket2",
    "nix",
    "rustix",
    "hickory-resolver",
    "hickory-server",
    "alloy",
    "axum",
    "libc",
];

/// Exceptions: pure dependencies of layer 1 that themselves link `libc` only for what is never called.
const FORBIDDEN_EXCEPTIONS: &[(&str, &str)] = &[
    ("edge-wire", "libc"),
    ("edge-negotiation", "libc"),
    ("edge-discovery", "libc"),
    ("edge-ports", "libc"),
];

/// Longest file, tests included.
const LONGEST_FILE: usize = 1000;

/// Runs every check and reports all that fail.
pub(crate) fn run() -> Result<()> {
    let mut problems = Vec::new();
    let metadata = shell::capture(shell::command(
        "cargo",
        &["metadata", "--format-version", "1", "--locked"],
    ))?;
    let metadata: Value = serde_json::from_str(&metadata).context("parsing cargo metadata")?;
    let graph = Graph::read(&metadata).context("reading cargo metadata")?;
    check_layers(&graph, &mut problems);
    check_purity(&graph, &mut problems);
    check_manifests(&graph, &mut problems)?;
    check_documents(&graph, &mut problems)?;
    check_sources(&mut problems)?;
    if problems.is_empty() {
        shell::say(&format!("tidy: {} crates in order", graph.members.len()));
        return Ok(());
    }
    for problem in &problems {
        shell::say(&format!("tidy: {problem}"));
    }
    bail!("{} things are untidy", problems.len())
}

/// The workspace's crates and the normal (not dev, not build) dependencies of every package.
struct Graph {
    members: BTreeMap<String, PathBuf>,
    dependencies: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn read(metadata: &Value) -> Option<Self> {
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        let mut manifests: BTreeMap<&str, PathBuf> = BTreeMap::new();
        for package in metadata["packages"].as_array()? {
            let id = package["id"].as_str()?;
            names.insert(id, package["name"].as_str()?);
            manifests.insert(id, PathBuf::from(package["manifest_path"].as_str()?));
        }
        let members = metadata["workspace_members"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .filter_map(|id| Some((names.get(id)?.to_string(), manifests.get(id)?.clone())))
            .collect();
        let mut dependencies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in metadata["resolve"]["nodes"].as_array()? {
            let entry = dependencies
                .entry(names.get(node["id"].as_str()?)?.to_string())
                .or_default();
            for dependency in node["deps"].as_array()? {
                let normal = dependency["dep_kinds"]
                    .as_array()?
                    .iter()
                    .any(|kind| kind["kind"].is_null());
                if normal {
                    entry.insert(names.get(dependency["pkg"].as_str()?)?.to_string());
                }
            }
        }
        Some(Self {
            members,
            dependencies,
        })
    }

    fn direct(&self, package: &str) -> impl Iterator<Item = &str> {
        self.dependencies
            .get(package)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    fn reachable<'a>(&'a self, package: &'a str) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut open = vec![package];
        while let Some(next) = open.pop() {
            for dependency in self.direct(next) {
                if seen.insert(dependency) {
                    open.push(dependency);
                }
            }
        }
        seen
    }
}

fn layer(package: &str) -> Option<u8> {
    LAYERS
        .iter()
        .find(|(name, _)| *name == package)
        .map(|(_, layer)| *layer)
}

fn check_layers(graph: &Graph, problems: &mut Vec<String>) {
    for member in graph.members.keys() {
        let Some(own) = layer(member) else {
            problems.push(format!(
                "{member} has no layer; add it to LAYERS in xtask/src/tidy.rs"
            ));
            continue;
        };
        for dependency in graph.direct(member) {
            let Some(other) = layer(dependency) else {
                continue;
            };
            if other >= own && !SIDEWAYS.contains(&(member, dependency)) {
                problems.push(format!(
                    "{member} (layer {own}) must not depend on {dependency} (layer {other})"
                ));
            }
            if dependency == "edge-lab" && !MAY_USE_LAB.contains(&member.as_str()) {
                problems.push(format!("{member} must not know the lab's scenario types"));
            }
        }
    }
}

fn check_purity(graph: &Graph, problems: &mut Vec<String>) {
    for (member, _) in LAYERS.iter().filter(|(_, layer)| *layer < 2) {
        let reachable = graph.reachable(member);
        for forbidden in FORBIDDEN_BELOW_2 {
            if reachable.contains(forbidden) && !FORBIDDEN_EXCEPTIONS.contains(&(member, forbidden))
            {
                problems.push(format!("{member} decides and must not reach {forbidden}"));
            }
        }
    }
}

fn check_manifests(graph: &Graph, problems: &mut Vec<String>) -> Result<()> {
    for (member, manifest) in &graph.members {
        let text = std::fs::read_to_string(manifest)?;
        if !text.contains("[lints]\nworkspace = true") {
            problems.push(format!("{member} does not take the workspace's lints"));
        }
        if !text.contains("description = ") {
            problems.push(format!("{member} has no description"));
        }
    }
    Ok(())
}

fn check_documents(graph: &Graph, problems: &mut Vec<String>) -> Result<()> {
    let architecture = read("ARCHITECTURE.md")?;
    for member in graph.members.keys() {
        if !architecture.contains(&format!("`{member}`")) {
            problems.push(format!("ARCHITECTURE.md does not mention `{member}`"));
        }
    }
    for document in [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
    ] {
        read(document)?;
    }
    Ok(())
}

fn check_sources(problems: &mut Vec<String>) -> Result<()> {
    for file in rust_files(&shell::root().join("crates"))?
        .into_iter()
        .chain(rust_files(&shell::root().join("xtask"))?)
    {
        let text = std::fs::read_to_string(&file)?;
        let shown = file
            .strip_prefix(shell::root())
            .unwrap_or(&file)
            .display()
            .to_string();
        // Where the tests of a module have a file of their own, the module says what they are for.
        if !text.starts_with("//!") && !file.ends_with("tests.rs") {
            problems.push(format!("{shown} does not open with what it is for (//!)"));
        }
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            problems.push(format!(
                "{shown} has {lines} lines, more than {LONGEST_FILE}"
            ));
        }
    }
    Ok(())
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in
            std::fs::read_dir(&next).with_context(|| format!("listing {}", next.display()))?
        {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read(document: &str) -> Result<String> {
    std::fs::read_to_string(shell::root().join(document))
        .with_context(|| format!("reading {document}"))
}
