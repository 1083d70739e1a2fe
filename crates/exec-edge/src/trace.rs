//! `exec-edge trace`: the prober as a tool of its own.

use std::io::BufRead;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use edge_probe::{Prober, ProberConfig, Sharing, TraceReport};
use edge_types::{AddressPolicy, IpNet, PathEnd};

use crate::exit::{EXIT_CODES, Exit, Failure};
use crate::output;

/// Options of `exec-edge trace`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Addresses to trace.
    #[arg(required_unless_present = "file")]
    targets: Vec<IpAddr>,
    /// A file with one address a line; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Most probes per second.
    #[arg(long, default_value_t = 500, value_name = "N")]
    rate: u32,
    /// UDP source port of all probes; chosen per target without it.
    #[arg(long, value_name = "PORT")]
    sport: Option<u16>,
    /// UDP destination port of all probes.
    #[arg(long, default_value_t = 33434, value_name = "PORT")]
    dport: u16,
    /// Probe every hop of every target by itself instead of sharing what targets have in common.
    #[arg(long)]
    exact: bool,
    /// A prefix outside global unicast that may be probed; may be repeated.
    #[arg(long, value_name = "PREFIX")]
    allow: Vec<IpNet>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it; exit code 1 if no target was reached.
pub(crate) fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut targets = args.targets;
    if let Some(file) = &args.file {
        targets.extend(read_targets(file)?);
    }
    let config = ProberConfig {
        packets_per_second: args.rate,
        source_port: args.sport,
        destination_port: args.dport,
        sharing: if args.exact {
            Sharing::Off
        } else {
            ProberConfig::default().sharing
        },
        policy: AddressPolicy::new(args.allow),
        ..ProberConfig::default()
    };
    let prober = Prober::start(config).context("starting the prober")?;
    let mut report = TraceReport::default();
    for outcome in prober.trace_all(targets) {
        match outcome {
            Ok(path) => report.0.push(path),
            Err(error) => output::error(&format!("{:#}", anyhow::Error::new(error))),
        }
    }
    if args.json {
        output::line(&report.to_json());
    } else {
        output::line(report.to_string().trim_end());
    }
    let reached = report.0.iter().any(|path| path.end == PathEnd::Reached);
    Ok(if reached {
        ExitCode::SUCCESS
    } else {
        Exit::Negative.into()
    })
}

fn read_targets(file: &PathBuf) -> Result<Vec<IpAddr>, Failure> {
    let shown = file.display();
    let reader: Box<dyn BufRead> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let opened = std::fs::File::open(file).with_context(|| format!("opening {shown}"));
        Box::new(std::io::BufReader::new(opened.map_err(Failure::usage)?))
    };
    let mut targets = Vec::new();
    for (number, line) in (1..).zip(reader.lines()) {
        let line = line.with_context(|| format!("reading {shown}"))?;
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let target = text.parse().map_err(|_| {
            Failure::usage(anyhow!(
                "{shown}, line {number}: {text:?} is not an address"
            ))
        })?;
        targets.push(target);
    }
    Ok(targets)
}
