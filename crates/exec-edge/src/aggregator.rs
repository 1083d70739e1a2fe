//! `exec-edge aggregator`: lists of providers who have no zone of their own.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use edge_ports::{Clock as _, Signer as _, SystemClock};
use edge_wire::MAX_BODY_BYTES;
use edge_wire::listing::{WellKnown, write_entry};

use crate::key::read_key;
use edge_console::exit::{EXIT_CODES, Failure};
use edge_console::output;

/// Options of `exec-edge aggregator`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Print the lines of a feed: the sites of `exec-edge provider well-known` lists, each signed.
    Sign(SignArgs),
}

/// Options of `exec-edge aggregator sign`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct SignArgs {
    /// Lists, as files; `-` is standard input.
    #[arg(required = true, value_name = "LIST")]
    lists: Vec<PathBuf>,
    /// The aggregator's key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Days for which the lines hold.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=31))]
    days: u64,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let Args::Sign(args) = args;
    let key = read_key(&args.key)?;
    // A minute less, so that a clock that is a little behind does not find them too lasting.
    let expires = SystemClock::start()
        .utc()
        .plus_seconds(args.days * 24 * 3600 - 60);
    for file in &args.lists {
        let text = read(file)
            .with_context(|| format!("reading {}", file.display()))
            .map_err(Failure::usage)?;
        let list: WellKnown = edge_wire::decode(&text).map_err(|error| {
            let error = anyhow!(error).context(format!("{} is no list of sites", file.display()));
            Failure::usage(error).with_hint("`exec-edge provider well-known` prints one")
        })?;
        for site in list.sites() {
            output::line(&write_entry(&site, expires, |digest| {
                key.sign_digest(digest)
            }));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let most = MAX_BODY_BYTES as u64 + 1;
    if file == Path::new("-") {
        std::io::stdin().take(most).read_to_end(&mut text)?;
    } else {
        std::fs::File::open(file)?
            .take(most)
            .read_to_end(&mut text)?;
    }
    Ok(text)
}
