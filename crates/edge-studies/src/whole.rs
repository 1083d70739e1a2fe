//! `exec-edge simulate run`: the whole loop in virtual time, over a made-up world.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use edge_sim::simulate::{Run, Step, simulate};
use edge_sim::world::WorldSize;

use edge_console::exit::Failure;
use edge_console::output;

/// Options of `exec-edge simulate run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Clients.
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    clients: u64,
    /// Client networks.
    #[arg(long, default_value_t = 2048, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=262_144))]
    prefixes: u32,
    /// Cities with an edge site, in percent.
    #[arg(long, default_value_t = 50, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(0..=100))]
    equipped: u64,
    /// Steps of time.
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    steps: u32,
    /// Seconds of a step.
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    step_secs: u64,
    /// How many of a thousand clients ask in a step.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=1000))]
    asking: u64,
    /// Most sites at a time.
    #[arg(long, default_value_t = 24, value_name = "N")]
    max_sites: usize,
    /// Seed of all that is drawn by chance.
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// On how many threads; the result does not depend on it. Without, on as many as there are processors.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// Runs it.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let run = Run {
        size: WorldSize {
            clients: args.clients,
            prefixes: number(args.prefixes),
            equipped_percent: args.equipped,
            ..WorldSize::default()
        },
        seed: args.seed,
        steps: number(args.steps),
        step_secs: args.step_secs,
        asks_permille: args.asking,
        max_sites: args.max_sites,
    };
    let mut steps: Vec<Step> = Vec::new();
    simulate(
        &run,
        crate::threads(args.threads),
        |_, _| {},
        |_, step| {
            output::line(&step.to_string());
            steps.push(*step);
        },
    );
    let requests: u64 = steps.iter().map(|step| step.requests).sum();
    let mean = |micros: u128| micros as f64 / 1e3 / requests.max(1) as f64;
    let plans = steps.iter().filter(|step| step.planned_sites.is_some());
    output::line(&format!(
        "{requests} requests, {} of them at sites; mean round trip {:.1} ms, of the cloud alone {:.1}; {} plans",
        steps.iter().map(|step| step.at_sites).sum::<u64>(),
        mean(steps.iter().map(|step| step.micros).sum()),
        mean(steps.iter().map(|step| step.cloud_micros).sum()),
        plans.count(),
    ));
    Ok(ExitCode::SUCCESS)
}
