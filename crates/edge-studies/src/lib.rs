//! The paper's evaluation again (`exec-edge simulate`): figures and statements on networks of our own and on real paths, whole runs in
//! virtual time, and records whose decisions are made again.

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
#[cfg(feature = "png")]
mod png;
mod replay;
mod statement;
mod whole;

use std::num::NonZeroUsize;
use std::process::ExitCode;

use edge_console::exit::Failure;

/// Options of `exec-edge simulate`.
#[derive(Debug, clap::Subcommand)]
pub enum Args {
    /// Draw the figures of the paper's evaluation, and say which of its statements hold.
    Figures(figures::Args),
    /// Run the whole loop in virtual time over a made-up world: one line a step, equal for equal options.
    Run(whole::Args),
    /// Make the decisions of a record again, and say whether they are what they were.
    Replay(replay::Args),
    /// A part of a measurement in the lab.
    #[command(subcommand, hide = true)]
    Part(parts::Args),
}

/// Runs it.
///
/// # Errors
/// What stopped it: options or a file are wrong, or the run failed.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    match args {
        Args::Figures(args) => figures::run(args),
        Args::Run(args) => whole::run(args),
        Args::Replay(args) => replay::run(args),
        Args::Part(args) => parts::run(args),
    }
}

/// As many threads as asked for, or as there are processors.
fn threads(asked: Option<NonZeroUsize>) -> usize {
    asked
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get)
}
