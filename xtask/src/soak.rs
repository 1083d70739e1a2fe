//! `cargo xtask soak NAME`: the long forms of tests whose short forms run with all others.

use std::process::Command;

use anyhow::Result;

use crate::shell;

/// Options of `cargo xtask soak`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which.
    #[arg(value_enum)]
    name: Name,
    /// How often a process is killed.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Name {
    /// Both sides of agreements, as processes that are killed at their write points.
    Agreement,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<()> {
    match args.name {
        Name::Agreement => shell::run(kills(args.kills)),
    }
}

/// Kills both sides of agreements so often.
pub(crate) fn kills(kills: u32) -> Command {
    shell::command(
        "cargo",
        &[
            "test",
            "--release",
            "--package",
            "edge-orchestrator",
            "--test",
            "kill_points",
            "--",
            "soak",
            &kills.to_string(),
        ],
    )
}
