//! `exec-edge chain`.

use std::process::ExitCode;

use crate::exit::Failure;

/// Options of `exec-edge chain`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {}

/// Runs it.
pub(crate) fn run(_args: Args) -> Result<ExitCode, Failure> {
    Err(Failure::usage(anyhow::anyhow!("`exec-edge chain` is not part of this build")))
}
