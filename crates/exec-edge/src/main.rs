//! The exec-edge command: parse, wire, print, exit.
//!
//! Each subcommand is a module with its `Args` and a `run`. `main` starts no thread and no runtime by itself, since
//! making namespaces and starting containers need a single-threaded process.

mod admin;
mod aggregator;
mod agreement;
mod app;
mod authorities;
mod chain;
mod contract;
mod demo;
mod discover;
mod dns;
mod drawing;
mod explain;
mod key;
mod lab;
mod logging;
mod orchestrator;
mod paths;
mod place;
mod provider;
mod record;
mod relay;
mod remembered_paths;
mod runtime_helper;
mod sources;
mod topology;
mod trace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use edge_lab::sandbox::{self, Begin};

use edge_console::exit::Failure;

/// ExEC: lets anyone be an edge provider, and lets cloud applications move closer to their users.
///
/// Exit codes: 0 done; 1 ran, but the answer is negative; 2 failed while running; 64 wrong usage or input.
#[derive(Debug, Parser)]
#[command(name = "exec-edge", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole of ExEC working, on a packet network of its own.
    Demo(demo::Args),
    /// Run the orchestrator beside a cloud application.
    Orchestrator(orchestrator::Args),
    /// Run the orchestrator and write down what it decides from, without names, so that it can be decided again.
    Record(record::Args),
    /// Run the agent of an edge provider.
    Provider(provider::Args),
    /// Find edge providers: near this machine, in a zone, or on the path to somebody.
    Discover(discover::Args),
    /// Make providers without a public address reachable.
    Relay(relay::Args),
    /// List providers who have no zone of their own.
    #[command(subcommand)]
    Aggregator(aggregator::Args),
    /// Show what was agreed with whom, end it early, or stop all spending.
    Agreement(agreement::Args),
    /// Make and open encrypted keys.
    #[command(subcommand)]
    Key(key::Args),
    /// Trace the paths to many targets at once.
    Trace(trace::Args),
    /// Tell why a zone or an address leads to edge sites or does not.
    Explain(explain::Args),
    /// Show what files of paths hold, or turn them into another format.
    Paths(paths::Args),
    /// Tell how large the tree of files of paths is, or how much two of them differ.
    Topology(topology::Args),
    /// Say where edge services would help most, in a topology that was traced before.
    Place(place::Args),
    /// The paper's evaluation again, whole runs in virtual time, and records made again.
    #[command(subcommand)]
    Simulate(edge_studies::Args),
    /// An Internet in a box.
    #[command(subcommand)]
    Lab(lab::Args),
    /// A development chain.
    #[command(subcommand)]
    Chain(chain::Args),
    /// The escrow by hand: put it on a chain, check it, stake, withdraw.
    #[command(subcommand)]
    Contract(contract::Args),
    /// The demo's application.
    #[command(subcommand, hide = true)]
    App(app::Args),
    /// A part of the demo's lab.
    #[command(subcommand, hide = true)]
    DemoPart(demo::PartArgs),
    /// Starts one container; used by the provider.
    #[command(hide = true)]
    RuntimeHelper(runtime_helper::Args),
}

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).collect();
    let (arguments, inside) = match sandbox::begin(arguments) {
        Ok(Begin::Finished(code)) => return code,
        Ok(Begin::Proceed { arguments, inside }) => (arguments, inside),
        Err(error) => return Failure::runtime(error).report(),
    };
    let name = std::iter::once(OsString::from("exec-edge"));
    let cli = match Cli::try_parse_from(name.chain(arguments.iter().cloned())) {
        Ok(cli) => cli,
        Err(error) => return edge_console::exit::from_clap(&error),
    };
    let result = match cli.command {
        Command::Demo(args) => demo::run(&args, &arguments, inside),
        Command::DemoPart(args) => demo::run_part(args),
        Command::Orchestrator(args) => orchestrator::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Provider(args) => provider::run(args),
        Command::Discover(args) => discover::run(&args),
        Command::Relay(args) => relay::run(&args),
        Command::Aggregator(args) => aggregator::run(&args),
        Command::Agreement(args) => agreement::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Paths(args) => paths::run(&args),
        Command::Topology(args) => topology::run(&args),
        Command::Place(args) => place::run(&args),
        Command::Simulate(args) => edge_studies::run(&args),
        Command::Lab(args) => lab::run(args, &arguments, inside),
        Command::Chain(args) => chain::run(args),
        Command::Contract(args) => contract::run(args),
        Command::App(args) => app::run(args),
        Command::RuntimeHelper(args) => runtime_helper::run(args),
    };
    result.unwrap_or_else(|failure: Failure| failure.report())
}
