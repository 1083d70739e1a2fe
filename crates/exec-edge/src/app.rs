//! The demo's application.

use std::process::ExitCode;

use crate::exit::Failure;

/// Options of `exec-edge app`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {}

/// Runs it.
pub(crate) fn run(_args: Args) -> Result<ExitCode, Failure> {
    Err(Failure::usage(anyhow::anyhow!("`exec-edge app` is not part of this build")))
}
