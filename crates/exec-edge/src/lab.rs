//! `exec-edge lab`.

use std::process::ExitCode;

use crate::exit::Failure;

/// Options of `exec-edge lab`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {}

/// Runs it.
pub(crate) fn run(_args: Args) -> Result<ExitCode, Failure> {
    Err(Failure::usage(anyhow::anyhow!("`exec-edge lab` is not part of this build")))
}
