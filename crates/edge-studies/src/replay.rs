//! `exec-edge simulate replay`: decisions made again from a record, in virtual time.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use edge_journal::Journal;
use edge_sim::record::{Entry, KIND, replay};
use serde_json::json;

use edge_console::exit::{EXIT_CODES, Exit, Failure};
use edge_console::output;

/// Longest file that is read, in octets.
const LONGEST: u64 = (1 << 30) + (4 << 20);

/// Options of `exec-edge simulate replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    /// What `exec-edge record` wrote.
    file: PathBuf,
    /// On how many threads; the result does not depend on it. Without, on as many as there are processors.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let shown = args.file.display();
    let octets = std::fs::metadata(&args.file)
        .with_context(|| format!("reading {shown}"))
        .map_err(Failure::usage)?
        .len();
    if octets > LONGEST {
        return Err(Failure::usage(anyhow!(
            "{shown} has {octets} octets; records have at most {LONGEST}"
        )));
    }
    let entries: Vec<Entry> = Journal::peek(&args.file, KIND).map_err(Failure::usage)?;
    if entries.is_empty() {
        return Err(Failure::usage(anyhow!(
            "{shown} is no record: it has no entries"
        )));
    }
    let threads = crate::threads(args.threads);
    let replayed = replay(&entries, threads, |plan| {
        if !args.json {
            output::line(&plan.to_string());
        }
    });
    let summary = replayed
        .with_context(|| format!("replaying {shown}"))
        .map_err(Failure::usage)?;
    let plans = summary.as_recorded + summary.as_good + summary.different;
    if args.json {
        let told = json!({
            "plans": plans, "as_recorded": summary.as_recorded, "as_good": summary.as_good,
            "different": summary.different, "paths": summary.paths, "trees": summary.trees,
            "requests": summary.requests, "ended": summary.ended,
        });
        output::line(&told.to_string());
    } else {
        output::line(&format!(
            "{plans} plans: {} as recorded, {} as good, {} different; from {} paths, {} requests",
            summary.as_recorded,
            summary.as_good,
            summary.different,
            summary.paths,
            summary.requests,
        ));
        output::line(&match &summary.ended {
            Some(why) => format!("the record ends because {why}"),
            None => "the record is cut short".to_owned(),
        });
    }
    Ok(match (summary.different, summary.ended) {
        (0, Some(_)) => ExitCode::SUCCESS,
        _ => Exit::Negative.into(),
    })
}
