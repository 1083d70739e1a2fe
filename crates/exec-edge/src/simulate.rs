//! `exec-edge simulate`: the paper's evaluation again, on networks of our own and on real paths.

mod calculated;
mod chart;
mod figure3;
mod figure4a;
mod figure4b;
mod figure5;
mod figure6;
mod figures;
mod in_lab;
mod inputs;
mod parts;
mod png;
mod statement;

use std::process::ExitCode;

use crate::exit::Failure;

/// Options of `exec-edge simulate`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Draw the figures of the paper's evaluation, and say which of its statements hold.
    Figures(figures::Args),
    /// A part of a measurement in the lab.
    #[command(subcommand, hide = true)]
    Part(parts::Args),
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match args {
        Args::Figures(args) => figures::run(args),
        Args::Part(args) => parts::run(args),
    }
}
