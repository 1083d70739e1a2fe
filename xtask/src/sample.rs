//! `cargo xtask sample-scenario`: makes `scenarios/paper-240.toml` again from the published map that it is sampled from.

use anyhow::{Context, Result};

use crate::shell;

/// The package that holds the map, and the map's path in it.
const PACKAGE: &str = "topohub==1.5.1";
const MAP: &str = "topohub/data/backbone/world.json";

/// Fetches the package with pip and writes the scenario.
pub(crate) fn run() -> Result<()> {
    let folder = shell::target().join("topohub");
    let shown = folder.to_string_lossy().into_owned();
    shell::run(shell::command(
        "pip",
        &[
            "install",
            "--quiet",
            "--no-deps",
            "--upgrade",
            "--target",
            &shown,
            PACKAGE,
        ],
    ))?;
    let map = folder.join(MAP);
    let scenario = shell::capture(shell::command(
        "cargo",
        &[
            "run",
            "--quiet",
            "--release",
            "--package",
            "exec-edge",
            "--",
            "lab",
            "sample",
            &map.to_string_lossy(),
        ],
    ))?;
    let file = shell::root().join("scenarios/paper-240.toml");
    std::fs::write(&file, scenario).with_context(|| format!("writing {}", file.display()))
}
