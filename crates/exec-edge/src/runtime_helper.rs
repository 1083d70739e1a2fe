//! Hidden: starts and watches one container for the provider's agent.

use std::process::ExitCode;

use anyhow::Context;

use edge_console::exit::Failure;

/// Options of `exec-edge runtime-helper`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it. The agent talks to it over standard input and output.
pub(crate) fn run(_args: Args) -> Result<ExitCode, Failure> {
    edge_runtime::run_helper().context("the container's helper")?;
    Ok(ExitCode::SUCCESS)
}
