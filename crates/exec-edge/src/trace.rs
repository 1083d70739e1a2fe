//! `exec-edge trace`: the prober as a tool of its own.

mod links;

use std::io::BufRead;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use edge_probe::{ProbeMethod, Prober, ProberConfig, Sharing, TraceReport};
use edge_types::{AddressPolicy, IpNet, PathEnd};

use crate::exit::{EXIT_CODES, Exit, Failure};
use crate::output;

/// Options of `exec-edge trace`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
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
    /// What probes are made of.
    #[arg(long, value_enum, default_value_t = Method::Udp)]
    method: Method,
    /// Sockets to send from; `auto` takes raw ones if they are permitted.
    #[arg(long, value_enum, default_value_t = Backend::Auto)]
    backend: Backend,
    /// Source port of all probes, or ICMP identifier; chosen by the program without it.
    #[arg(long, value_name = "PORT")]
    sport: Option<u16>,
    /// Destination port of all probes: 33434 for UDP and 443 for TCP without it.
    #[arg(long, value_name = "PORT")]
    dport: Option<u16>,
    /// Probe every hop of every target by itself instead of sharing what targets have in common.
    #[arg(long)]
    exact: bool,
    /// A prefix outside global unicast that may be probed; may be repeated.
    #[arg(long, value_name = "PREFIX")]
    allow: Vec<IpNet>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print each path as soon as it is known, as one line of JSON.
    #[arg(long, conflicts_with = "json")]
    json_lines: bool,
    /// Print the links between routers with their estimated round trips instead of the paths, a line of JSON each.
    #[arg(long, conflicts_with_all = ["json", "json_lines"])]
    links: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Method {
    /// UDP to a port where nobody should listen.
    Udp,
    /// ICMP echo requests.
    Icmp,
    /// TCP connection requests, reset when accepted. Needs raw sockets.
    Tcp,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Backend {
    /// Raw sockets if they are permitted, else unprivileged ones.
    Auto,
    /// Raw sockets.
    Raw,
    /// Sockets that any user may open.
    Unprivileged,
}

/// Runs it; exit code 1 if no target was reached.
pub(crate) fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut targets = args.targets;
    if let Some(file) = &args.file {
        targets.extend(read_targets(file)?);
    }
    let (method, usual_port) = match args.method {
        Method::Udp => (ProbeMethod::Udp, 33434),
        Method::Icmp => (ProbeMethod::Icmp, 0),
        Method::Tcp => (ProbeMethod::TcpSyn, 443),
    };
    let config = ProberConfig {
        method,
        backend: match args.backend {
            Backend::Auto => edge_probe::Backend::Auto,
            Backend::Raw => edge_probe::Backend::Raw,
            Backend::Unprivileged => edge_probe::Backend::Unprivileged,
        },
        packets_per_second: args.rate,
        source_port: args.sport,
        destination_port: args.dport.unwrap_or(usual_port),
        sharing: if args.exact {
            Sharing::Off
        } else {
            ProberConfig::default().sharing
        },
        policy: AddressPolicy::new(args.allow),
        ..ProberConfig::default()
    };
    let prober = Prober::start(config).context("starting the prober")?;
    let refused = |error| output::error(&format!("{:#}", anyhow::Error::new(error)));
    let mut reached = false;
    if args.json_lines {
        for outcome in prober.trace_stream(targets) {
            match outcome {
                Ok(path) => {
                    reached |= path.end == PathEnd::Reached;
                    output::line(&TraceReport::json_line(&path));
                }
                Err(error) => refused(error),
            }
        }
    } else {
        let mut report = TraceReport::default();
        for outcome in prober.trace_all(targets) {
            match outcome {
                Ok(path) => report.0.push(path),
                Err(error) => refused(error),
            }
        }
        reached = report.0.iter().any(|path| path.end == PathEnd::Reached);
        if args.links {
            for link in links::estimate(&report.0)? {
                output::line(&link);
            }
        } else if args.json {
            output::line(&report.to_json());
        } else {
            output::line(report.to_string().trim_end());
        }
    }
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
