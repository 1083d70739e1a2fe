//! `exec-edge demo`: the whole loop on a packet network of its own, every component in a process and namespace of its
//! own, and a report at the end.

mod cast;
mod figures;
mod latency_svg;
mod parts;
mod report;
mod stage;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use edge_lab::sandbox::{Inside, Interrupts};
use edge_lab::scenario::Scenario;
use edge_placement::Algorithm;

pub(crate) use self::parts::{Args as PartArgs, run as run_part};

use crate::lab;
use edge_console::exit::{EXIT_CODES, Failure};
use edge_console::output;

/// The scenario that is shown if no other is asked for: 240 routers, 186 client networks, 48 edge sites.
const PAPER_SCENARIO: &str = include_str!("../../../../scenarios/paper-240.toml");

/// Options of `exec-edge demo`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Seed of everything that is left to chance: load balancing, jitter, arrivals.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Another network than the paper-sized one.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Placement algorithm: the paper's `betweenness`, `celf` or others.
    #[arg(long, default_value = "betweenness")]
    algorithm: Algorithm,
    /// How long clients send requests, in seconds.
    #[arg(long, default_value_t = 55, value_parser = clap::value_parser!(u64).range(20..=3600), value_name = "SECONDS")]
    duration: u64,
    /// Print one line a phase instead of a live picture.
    #[arg(long)]
    headless: bool,
    /// Folder for report.json, tree.svg and latency.svg.
    #[arg(long, default_value = "exec-edge-report", value_name = "DIR")]
    report: PathBuf,
    /// Keep the processes' logs and the clients' records in the report's folder.
    #[arg(long)]
    keep_logs: bool,
}

/// Runs it: outside it makes the sandbox, inside it is the show.
pub(crate) fn run(
    args: &Args,
    arguments: &[OsString],
    inside: Option<Inside>,
) -> Result<ExitCode, Failure> {
    let scenario = load(args)?;
    std::fs::create_dir_all(&args.report)
        .with_context(|| format!("making the report's folder {}", args.report.display()))
        .map_err(Failure::usage)?;
    let Some(inside) = inside else {
        return lab::enclose(arguments);
    };
    // Before any thread exists, so that all inherit it.
    let interrupts = Interrupts::hold().context("cannot hold interrupts")?;
    stage::perform(args, &scenario, inside, interrupts)
}

fn load(args: &Args) -> Result<Scenario, Failure> {
    let mut scenario = match &args.scenario {
        Some(file) => Scenario::load(file),
        None => Scenario::parse("scenarios/paper-240.toml", PAPER_SCENARIO),
    }
    .map_err(Failure::usage)?;
    scenario.seed = args.seed;
    if scenario.providers.is_empty() {
        let text = format!(
            "scenario {} has no edge providers, so there is nothing to show",
            scenario.name
        );
        return Err(Failure::usage(anyhow::anyhow!(text)));
    }
    Ok(scenario)
}

/// A line for people, on standard error: data goes to the report's folder.
fn say(text: &str) {
    output::error(text);
}
