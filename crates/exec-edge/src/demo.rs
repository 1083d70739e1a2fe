//! `exec-edge demo`.

use std::process::ExitCode;

use crate::exit::Failure;

/// Options of `exec-edge demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) fn run(_args: Args) -> Result<ExitCode, Failure> {
    Err(Failure::usage(anyhow::anyhow!("`exec-edge demo` is not part of this build")))
}
