//! `exec-edge discover`: edge providers near a client, or near anybody (paper section 4).
//!
//! Domains are found, their zones asked, and the entry points that these name measured by one TCP connection each. A
//! site is greeted only if its services were asked for; otherwise no octet is sent to it.

mod here;
mod measure;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use edge_discovery::{Discovery, IepCandidate};
use edge_http::entry_tls::{RootCertStore, TlsPolicy};
use edge_ports::{Clock as _, PathSource as _, SystemClock, TracePriority};
use edge_probe::{Prober, ProberConfig};
use edge_resolver::{Resolver, drive};
use edge_types::{DnsName, PathEnd, PathObservation};

use self::measure::{Measured, Measurer};
pub(crate) use self::report::{told, unanswered};
use crate::authorities;
use crate::dns::{DnsArgs, ResolvConf, zone_name};
use edge_console::exit::{Exit, Failure};
use edge_console::output;

/// What the exit codes mean here.
const EXIT_CODES: &str = "Exit codes: 0 an edge provider was found; 1 ran, but none was; 2 failed while running; 64 wrong usage or input.";

/// Questions to the resolver at once.
const PARALLEL_QUESTIONS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Options of `exec-edge discover`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Look in the domains that this machine is in: by the name of its address, its search list, and what its network
    /// tells (RFC 6763). This is what is done if nothing else is asked for.
    #[arg(long)]
    here: bool,
    /// With `--here`: be at this address, for example the public one of the machine's network.
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<IpAddr>,
    /// Look in this zone, in Unicode or not; may be repeated.
    #[arg(long, value_parser = zone_name)]
    zone: Vec<DnsName>,
    /// Trace the path to this address, and look in the zones of the routers on it; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    path_to: Vec<IpAddr>,
    /// Ask the sites for the services that they offer here. Without it they are measured, but told nothing.
    #[arg(long)]
    services: bool,
    /// Look again, every so many seconds, and tell what has changed; until Ctrl-C.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30", value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
    /// With `--services`, ask only sites that announce TLS, by signed TLSA records or `proto=https`.
    #[arg(long, requires = "services")]
    require_tls: bool,
    /// Certificate authorities to believe for sites with `proto=https`, PEM.
    #[arg(long, value_name = "FILE", requires = "services")]
    certificates: Option<PathBuf>,
    /// Print JSON; with `--watch`, a line each time.
    #[arg(long)]
    json: bool,
    /// Tell no progress.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    dns: DnsArgs,
}

/// What led to a zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// The user named it.
    Asked,
    /// It is in the name of this address.
    Name(IpAddr),
    /// The machine looks up short names in it.
    SearchList,
    /// This domain says that clients should browse it.
    Browsing(DnsName),
    /// It is in the name of this router.
    Router(IpAddr),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("asked for"),
            Self::Name(address) => write!(f, "name of {address}"),
            Self::SearchList => f.write_str("search list"),
            Self::Browsing(domain) => write!(f, "browsing domain of {domain}"),
            Self::Router(address) => write!(f, "router {address}"),
        }
    }
}

/// A site, how far away it is, and what led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Site {
    candidate: IepCandidate,
    found_by: BTreeSet<Source>,
    measured: Measured,
}

/// Runs it; exit code 1 if nothing was found.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    if !args.address.is_empty() && !args.looks_here() {
        let problem = anyhow::anyhow!("--address only says where --here is");
        return Err(Failure::usage(problem).with_hint("add --here, or leave --address out"));
    }
    let executor = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the async runtime")?;
    let found = executor.block_on(async {
        let mut finder = Finder::new(args)?;
        match args.watch {
            None => finder.once(args).await,
            Some(seconds) => tokio::select! {
                ended = finder.watch(args, Duration::from_secs(seconds)) => ended,
                _ = tokio::signal::ctrl_c() => Ok(true),
            },
        }
    });
    executor.shutdown_background();
    Ok(if found? {
        ExitCode::SUCCESS
    } else {
        Exit::Negative.into()
    })
}

impl Args {
    /// Authorities are read only if they may be needed; those of the system may be missing where only TLSA records are used.
    fn tls(&self) -> Result<TlsPolicy, Failure> {
        let roots = if self.services {
            authorities::read_if_any(self.certificates.as_deref()).map_err(Failure::usage)?
        } else {
            RootCertStore::empty()
        };
        Ok(TlsPolicy::new(roots, !self.require_tls))
    }

    fn looks_here(&self) -> bool {
        self.here || (self.zone.is_empty() && self.path_to.is_empty())
    }
}

/// What is kept between two looks.
struct Finder {
    machine: ResolvConf,
    servers: Vec<SocketAddr>,
    resolver: Resolver,
    discovery: Discovery,
    prober: Option<Prober>,
    measurer: Measurer,
    clock: SystemClock,
    status: Status,
}

impl Finder {
    fn new(args: &Args) -> Result<Self, Failure> {
        let machine = DnsArgs::resolv_conf();
        let servers = args.dns.servers(&machine)?;
        let clock = SystemClock::start();
        let prober = if args.path_to.is_empty() {
            None
        } else {
            let config = ProberConfig {
                policy: args.dns.policy(),
                ..ProberConfig::default()
            };
            Some(Prober::start_with_clock(config, clock).context("starting the prober")?)
        };
        Ok(Self {
            resolver: args.dns.resolver(servers.clone())?,
            discovery: args.dns.discovery()?,
            machine,
            servers,
            prober,
            measurer: Measurer::new(args.services, clock, args.tls()?),
            clock,
            status: Status::new(args.quiet),
        })
    }

    async fn once(&mut self, args: &Args) -> Result<bool, Failure> {
        let (sites, zones) = self.look(args).await;
        output::line(&if args.json {
            report::json(&sites, &zones)
        } else {
            report::table(&sites)
        });
        if sites.is_empty() && !args.json {
            output::error(&report::nothing(&zones));
        }
        Ok(!sites.is_empty())
    }

    async fn watch(&mut self, args: &Args, every: Duration) -> Result<bool, Failure> {
        let mut shown: Option<Vec<Site>> = None;
        loop {
            let (sites, zones) = self.look(args).await;
            if args.json {
                output::line(&report::json(&sites, &zones));
            } else if let Some(before) = &shown {
                for line in report::changes(before, &sites) {
                    output::line(&line);
                }
            } else {
                output::line(&report::table(&sites));
                if sites.is_empty() {
                    output::error(&report::nothing(&zones));
                }
            }
            shown = Some(sites);
            tokio::time::sleep(every).await;
        }
    }

    /// One look: the sites by distance, and each zone that was asked, what led to it and what it said.
    async fn look(&mut self, args: &Args) -> (Vec<Site>, Vec<report::Zone>) {
        let mut led_by: BTreeMap<DnsName, BTreeSet<Source>> = BTreeMap::new();
        let asked = args.zone.iter().cloned();
        let mut zones: Vec<_> = asked.map(|zone| (zone, Source::Asked)).collect();
        if args.looks_here() {
            self.status.tell("looking for the domains of this machine");
            let addresses = if args.address.is_empty() {
                here::own_addresses(&self.servers)
            } else {
                args.address.clone()
            };
            zones.extend(here::zones(&addresses, &self.machine, &self.resolver).await);
        }
        let paths = self.trace(&args.path_to).await;
        let now = self.clock.monotonic();
        self.discovery.start_run(now);
        for (zone, source) in zones {
            led_by.entry(zone.clone()).or_default().insert(source);
            self.discovery.observe_zone(zone, now);
        }
        for path in &paths {
            self.discovery.observe_path(path, now);
        }
        self.status.tell("asking the zones for edge records");
        drive(
            &mut self.discovery,
            &self.resolver,
            &self.clock,
            PARALLEL_QUESTIONS,
            |_| {},
        )
        .await;

        let mut by_site: BTreeMap<_, Site> = BTreeMap::new();
        for candidate in self.discovery.candidates() {
            let led = led_by.entry(candidate.zone.clone()).or_default();
            led.extend(
                candidate
                    .seen_on
                    .iter()
                    .map(|router| Source::Router(*router)),
            );
            let found_by = led.clone();
            by_site
                .entry(candidate.id.clone())
                .and_modify(|site| site.found_by.extend(found_by.iter().cloned()))
                .or_insert_with(|| Site {
                    candidate,
                    found_by,
                    measured: Measured::default(),
                });
        }
        let mut sites: Vec<Site> = by_site.into_values().collect();
        let count = sites.len();
        self.status.tell(&format!("measuring {count} entry points"));
        self.measurer.measure(&mut sites).await;
        sites.sort_by(|a, b| {
            let key = |site: &Site| (site.measured.rtt.is_none(), site.measured.rtt);
            key(a)
                .cmp(&key(b))
                .then_with(|| a.candidate.id.cmp(&b.candidate.id))
        });
        self.status.clear();
        (sites, report::zones(&self.discovery.trail(), &led_by))
    }

    async fn trace(&self, targets: &[IpAddr]) -> Vec<PathObservation> {
        let Some(prober) = &self.prober else {
            return Vec::new();
        };
        self.status.tell("tracing the path");
        let traces = targets
            .iter()
            .map(|target| prober.trace(*target, TracePriority::New));
        let mut paths = Vec::new();
        for traced in futures_util::future::join_all(traces).await {
            match traced {
                Ok(path) => {
                    if path.end != PathEnd::Reached {
                        self.status.clear();
                        let hops = path.replies().count();
                        output::error(&format!(
                            "{} was not reached; {hops} routers answered",
                            path.target
                        ));
                    }
                    paths.push(path);
                }
                Err(error) => {
                    self.status.clear();
                    output::error(&format!(
                        "{:#}; --allow PREFIX permits it",
                        anyhow::Error::new(error)
                    ));
                }
            }
        }
        paths
    }
}

/// What is being done, on a line that is written over; only on a terminal.
struct Status {
    is_shown: bool,
}

impl Status {
    fn new(quiet: bool) -> Self {
        Self {
            is_shown: !quiet && io::stderr().is_terminal(),
        }
    }

    fn tell(&self, text: &str) {
        if self.is_shown {
            output::status(&format!("\r{text} …\x1b[K"));
        }
    }

    fn clear(&self) {
        if self.is_shown {
            output::status("\r\x1b[K");
        }
    }
}
