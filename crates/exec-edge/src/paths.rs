//! `exec-edge paths`: what files of paths hold, and the same in another format.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use edge_trace_files::{Format, write_json_line, write_scamper_json};
use edge_types::{HopReply, PathEnd, PathObservation};
use serde::Serialize;

use edge_console::exit::{EXIT_CODES, Exit, Failure};
use edge_console::output;
use edge_console::path_files::{Loaded, load};

/// Options of `exec-edge paths`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Files of paths, plain or compressed by gzip.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// What the files are: json-lines, scamper-json, warts, atlas, traceroute, nmap, rtrack or map. Without it, what their first bytes
    /// show.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Print one JSON object per file.
    #[arg(long, conflicts_with = "to")]
    json: bool,
    /// Print the paths themselves, one a line; what could not be read goes to standard error.
    #[arg(long, value_enum, value_name = "FORMAT")]
    to: Option<To>,
}

/// What paths can be written as.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum To {
    /// Our own lines of JSON.
    JsonLines,
    /// What tools for scamper read.
    ScamperJson,
}

/// What one file holds.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    file: &'a Path,
    format: String,
    bytes: usize,
    load_ms: f64,
    /// Records of any kind.
    records: u64,
    paths: u64,
    reached: usize,
    /// Distances on all paths, silent ones included.
    hops: usize,
    /// Different addresses that answered.
    addresses: usize,
    round_trips: usize,
    /// Records about something else.
    skipped: u64,
    /// Records that could not be read.
    lost: u64,
    /// Parts left out of paths.
    left_out: u64,
    by_reason: Vec<(&'static str, u64)>,
    /// The first of the problems.
    problems: Vec<String>,
}

/// Runs it; exit code 1 if there is no path in any file.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut has_paths = false;
    for file in &args.files {
        let loaded = load(file, args.format)?;
        has_paths |= !loaded.import.records.is_empty();
        let summary = summary(file, &loaded);
        if let Some(to) = args.to {
            for record in &loaded.import.records {
                output::line(&match to {
                    To::JsonLines => write_json_line(record),
                    To::ScamperJson => write_scamper_json(record),
                });
            }
            summary.tell_problems(output::error);
        } else if args.json {
            output::line(&serde_json::to_string(&summary).unwrap_or_default()); // plain values always serialize
        } else {
            summary.tell();
        }
    }
    Ok(if has_paths {
        ExitCode::SUCCESS
    } else {
        Exit::Negative.into()
    })
}

fn replies(path: &PathObservation) -> impl Iterator<Item = &HopReply> {
    let further = path.further.iter().map(|(_, reply)| reply);
    path.replies().map(|(_, reply)| reply).chain(further)
}

fn summary<'a>(file: &'a Path, loaded: &Loaded) -> Summary<'a> {
    let import = &loaded.import;
    let paths = || import.records.iter().map(|record| &record.path);
    let addresses: BTreeSet<_> = paths()
        .flat_map(replies)
        .map(|reply| reply.address)
        .collect();
    let log = &import.log;
    Summary {
        file,
        format: import.format.to_string(),
        bytes: loaded.bytes,
        load_ms: loaded.took.as_secs_f64() * 1e3,
        records: log.records,
        paths: log.paths,
        reached: paths().filter(|path| path.end == PathEnd::Reached).count(),
        hops: paths().map(|path| path.hops.len()).sum(),
        addresses: addresses.len(),
        round_trips: paths()
            .flat_map(replies)
            .filter(|reply| reply.rtt.is_some())
            .count(),
        skipped: log.skipped,
        lost: log.lost,
        left_out: log.left_out,
        by_reason: log
            .by_reason
            .iter()
            .map(|(label, count)| (*label, *count))
            .collect(),
        problems: log.first.iter().map(ToString::to_string).collect(),
    }
}

impl Summary<'_> {
    fn tell(&self) {
        let file = self.file.display();
        output::line(&format!(
            "{file}: {}, {} bytes in {:.0} ms\n  {} records: {} paths, {} of something else, {} lost\n  \
             {} targets reached, {} hops, {} addresses, {} round trips",
            self.format,
            self.bytes,
            self.load_ms,
            self.records,
            self.paths,
            self.skipped,
            self.lost,
            self.reached,
            self.hops,
            self.addresses,
            self.round_trips,
        ));
        self.tell_problems(output::line);
    }

    /// The first problems, and how many there are in all.
    fn tell_problems(&self, tell: impl Fn(&str)) {
        let file = self.file.display();
        for problem in &self.problems {
            tell(&format!("{file}: {problem}"));
        }
        let all = self.lost + self.left_out;
        if all > self.problems.len() as u64 {
            tell(&format!(
                "{file}: {all} problems in all: {:?}",
                self.by_reason
            ));
        }
    }
}
