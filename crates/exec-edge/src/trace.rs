//! `exec-edge trace`.

use std::process::ExitCode;

use crate::exit::Failure;

/// Options of `exec-edge trace`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) fn run(_args: Args) -> Result<ExitCode, Failure> {
    Err(Failure::usage(anyhow::anyhow!(
        "`exec-edge trace` is not part of this build"
    )))
}
