//! Options of `exec-edge trace`, and the prober that they ask for.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use edge_probe::{
    Budget, OriginAs, OriginLineError, OriginTable, ProbeMethod, ProberConfig, Sharing,
};
use edge_types::{AddressPolicy, IpNet};

use super::lines;
use edge_console::exit::Failure;

/// Budget of all that an autonomous system announces in budgets of a /24 or /48.
const PREFIXES_OF_AN_ORIGIN: u32 = 256;

/// What the exit codes mean here.
const EXIT_CODES: &str = "Exit codes: 0 a target was reached; 1 ran, but none was; 2 failed or was interrupted while running; \
                          64 wrong usage or input.";

/// Budget of a /16 or /32 in budgets of a /24 or /48.
const PREFIXES_AT_ONCE: u32 = 64;

/// Options of `exec-edge trace`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct Args {
    /// Addresses to trace; `-` stands for those on standard input.
    #[arg(required_unless_present = "file", value_name = "TARGETS")]
    pub(super) targets: Vec<TargetArg>,
    /// A file with one address a line, blank lines and `#` comments aside; `-` is standard input. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub(super) file: Vec<PathBuf>,

    /// What to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table, value_name = "FORMAT")]
    pub(super) output: Output,
    /// Write it to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) to: Option<PathBuf>,
    /// The same as `--output json`.
    #[arg(long, conflicts_with = "output")]
    pub(super) json: bool,
    /// The same as `--output json-lines`.
    #[arg(long, conflicts_with_all = ["output", "json"])]
    pub(super) json_lines: bool,
    /// Skip the targets that have a line in this file of JSON lines, and append the others' to it; makes it if need be.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "to", "json", "json_lines"])]
    pub(super) resume: Option<PathBuf>,
    /// Tell in words how each path was found: below it in a table, else on standard error.
    #[arg(long)]
    pub(super) explain: bool,
    /// Tell the progress in a line each second, on standard error, even if that is no terminal.
    #[arg(long, conflicts_with = "quiet")]
    pub(super) progress: bool,
    /// Tell neither progress nor summary.
    #[arg(short, long)]
    pub(super) quiet: bool,

    /// What probes are made of.
    #[arg(long, value_enum, default_value_t = Method::Udp)]
    pub(super) method: Method,
    /// Sockets to send from; `auto` takes raw ones if they are permitted.
    #[arg(long, value_enum, default_value_t = Backend::Auto)]
    backend: Backend,
    /// Source port of all probes, or ICMP identifier; chosen by the program without it.
    #[arg(long, value_name = "PORT")]
    sport: Option<u16>,
    /// Destination port of all probes: 33434 for UDP and 443 for TCP without it.
    #[arg(long, value_name = "PORT")]
    dport: Option<u16>,
    /// Most probes per second.
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Most probes per minute into any /24 or /48, and 64 times as many into a /16 or /32; targets beyond wait.
    #[arg(long, default_value_t = 6000, value_name = "N", value_parser = clap::value_parser!(u32).range(16..=10_000_000))]
    per_prefix: u32,
    /// Round trips measured of each interface; the smallest counts.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    samples: u8,
    /// Longest time for one target, samples beyond the first aside.
    #[arg(long, default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    time_limit: Duration,
    /// Largest TTL.
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=63))]
    max_ttl: u8,
    /// Probe every hop of every target by itself instead of sharing what targets have in common.
    #[arg(long)]
    exact: bool,
    /// A prefix outside global unicast that may be probed; may be repeated.
    #[arg(long, value_name = "PREFIX")]
    allow: Vec<IpNet>,
    /// A file with one prefix a line that must not be probed.
    #[arg(long, value_name = "FILE")]
    opt_out: Option<PathBuf>,
    /// A file with one `PREFIX,ASN` a line: what one autonomous system announces is limited too, to 256 times
    /// `--per-prefix`. Without it there is no limit of that kind.
    #[arg(long, value_name = "FILE")]
    origins: Option<PathBuf>,
}

/// A target on the command line.
#[derive(Clone, Copy, Debug)]
pub(super) enum TargetArg {
    /// More of them are on standard input.
    StandardInput,
    /// This address.
    Address(IpAddr),
}

impl FromStr for TargetArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "-" {
            return Ok(Self::StandardInput);
        }
        text.parse()
            .map(Self::Address)
            .map_err(|_| "not an address (names are not looked up)")
    }
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// A block of lines for each target, for people.
    Table,
    /// An array with an object for each target.
    Json,
    /// A line of JSON for each target as soon as its path is known.
    JsonLines,
    /// What tools for scamper's JSON read, a line for each target.
    Scamper,
    /// A line of JSON for each link between interfaces, with its estimated round trip.
    Links,
    /// The graph of interfaces, for Graphviz.
    Dot,
    /// A picture of the tree of interfaces.
    Svg,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Method {
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

fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=600.0).contains(&value) {
        Ok(Duration::from_secs_f64(value))
    } else {
        Err("must be 0.1 to 600".to_owned())
    }
}

impl Args {
    /// What is printed, shorthands considered.
    pub(super) const fn output(&self) -> Output {
        if self.json {
            Output::Json
        } else if self.json_lines || self.resume.is_some() {
            Output::JsonLines
        } else {
            self.output
        }
    }

    /// The prober that is asked for.
    pub(super) fn config(&self) -> Result<ProberConfig, Failure> {
        let defaults = ProberConfig::default();
        let (method, usual_port) = match self.method {
            Method::Udp => (ProbeMethod::Udp, 33434),
            Method::Icmp => (ProbeMethod::Icmp, 0),
            Method::Tcp => (ProbeMethod::TcpSyn, 443),
        };
        let per_minute = |probes| Budget {
            probes,
            per: Duration::from_mins(1),
        };
        // The rate is the cap. What all traces that may be under way reserve comes on top, so that it is never this
        // budget that binds.
        let at_once = u32::try_from(defaults.max_targets).unwrap_or(u32::MAX);
        let reserved = at_once.saturating_mul(defaults.probes_per_target);
        let global = self.rate.saturating_mul(60).saturating_add(reserved);
        Ok(ProberConfig {
            method,
            backend: match self.backend {
                Backend::Auto => edge_probe::Backend::Auto,
                Backend::Raw => edge_probe::Backend::Raw,
                Backend::Unprivileged => edge_probe::Backend::Unprivileged,
            },
            packets_per_second: self.rate,
            source_port: self.sport,
            destination_port: self.dport.unwrap_or(usual_port),
            sharing: if self.exact {
                Sharing::Off
            } else {
                defaults.sharing
            },
            samples: self.samples,
            explain: self.explain,
            time_limit: self.time_limit,
            max_ttl: self.max_ttl,
            policy: AddressPolicy::new(self.allow.clone()),
            opted_out: self.opt_out.as_deref().map_or(Ok(Vec::new()), prefixes)?,
            prefix_budget: per_minute(self.per_prefix),
            covering_budget: per_minute(self.per_prefix.saturating_mul(PREFIXES_AT_ONCE)),
            origin_budget: per_minute(self.per_prefix.saturating_mul(PREFIXES_OF_AN_ORIGIN)),
            origins: self.origins.as_deref().map(origins).transpose()?,
            global_budget: per_minute(global),
            ..defaults
        })
    }
}

/// The table in a file.
fn origins(file: &Path) -> Result<Arc<dyn OriginAs>, Failure> {
    let mut table = OriginTable::default();
    lines::each(file, &mut |text| {
        table.add_line(text).map_err(OriginLineError::what)
    })?;
    Ok(Arc::new(table))
}

/// The prefixes, or addresses, in a file.
fn prefixes(file: &Path) -> Result<Vec<IpNet>, Failure> {
    let mut prefixes = Vec::new();
    lines::each(file, &mut |text| {
        let prefix = text.parse();
        let prefix = prefix.or_else(|_| text.parse().map(<IpNet as From<IpAddr>>::from));
        prefixes.push(prefix.map_err(|_| "neither a prefix nor an address")?);
        Ok(())
    })?;
    Ok(prefixes)
}
