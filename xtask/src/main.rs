//! The project's chores, one subcommand each. `cargo xtask` is the only automation entry point.

mod bench;
mod packages;
mod sample;
mod shell;
mod soak;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Install what the tests need (as root on Debian), check the layers and run every test.
    Test(test::Args),
    /// Check the layers, the documents and the house rules; needs no build.
    Tidy,
    /// Run a bench, print a table and write target/bench/NAME.json.
    Bench(bench::Args),
    /// Run the long form of a test, to the end of which nobody waits every day.
    Soak(soak::Args),
    /// Make scenarios/paper-240.toml again from the map that it is sampled from.
    SampleScenario,
}

fn main() -> ExitCode {
    let result = match Cli::parse().chore {
        Chore::Test(args) => test::run(&args),
        Chore::Tidy => tidy::run(),
        Chore::Bench(args) => bench::run(&args),
        Chore::Soak(args) => soak::run(&args),
        Chore::SampleScenario => sample::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
