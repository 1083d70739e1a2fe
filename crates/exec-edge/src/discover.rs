//! `exec-edge discover`: edge providers near a client, or near anybody (paper section 4).
//!
//! Domains are found, their zones asked, and the entry points that these name measured by one TCP connection each. A
//! site is greeted only if its services were asked for; otherwise no octet is sent to it.

mod elsewhere;
mod here;
mod measure;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use edge_discovery::{
    AddressTrail, Assessment, Discovery, HopSighting, IepCandidate, OriginRanges, OriginTable,
    OwnerAnswer, Position, assess, position,
};
use edge_http::entry_tls::{RootCertStore, TlsPolicy};
use edge_orchestrator::lists;
use edge_ports::{
    Clock as _, NameLookup, PathSource as _, PrefixOwner, SiteList, SystemClock, TracePriority,
};
use edge_probe::{Prober, ProberConfig};
use edge_resolver::drive;
use edge_types::{AddressPolicy, DnsName, IepOrigin, PathEnd, PathObservation, Rtt};
use futures_util::StreamExt as _;

use self::elsewhere::Elsewhere;
use self::measure::{Measured, Measurer};
pub(crate) use self::report::{told, unanswered};
use crate::authorities;
use crate::dns::{DnsArgs, ResolvConf, zone_name};
use crate::sources::table;
use edge_console::exit::{Exit, Failure};
use edge_console::output;

/// What the exit codes mean here.
const EXIT_CODES: &str = "Exit codes: 0 an edge provider was found; 1 ran, but none was; 2 failed while running; 64 wrong usage or input.";

/// Questions to the resolver at once.
const PARALLEL_QUESTIONS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Registries asked at once.
const PARALLEL_OWNERS: usize = 4;

/// Entry points to which paths are traced, nearest first.
const SITES_TRACED: usize = 32;

/// What a router may take to answer, and how far behind its router an entry point may be.
const TRUST_SLACK: Duration = Duration::from_millis(5);

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
    /// Certificate authorities to believe for sites with `proto=https`, lists and registries, PEM; else the system's.
    #[arg(long, value_name = "FILE")]
    certificates: Option<PathBuf>,
    #[command(flatten)]
    elsewhere: Elsewhere,
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
    /// The holder of this address, whose names led nowhere, has it.
    Holder(IpAddr),
    /// Not a zone, but a list names the site.
    List(IepOrigin),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("asked for"),
            Self::Name(address) => write!(f, "name of {address}"),
            Self::SearchList => f.write_str("search list"),
            Self::Browsing(domain) => write!(f, "browsing domain of {domain}"),
            Self::Router(address) => write!(f, "router {address}"),
            Self::Holder(address) => write!(f, "holder of {address}"),
            Self::List(origin) => origin.fmt(f),
        }
    }
}

/// A site, how far away it is, what led to it, and how far to trust it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Site {
    candidate: IepCandidate,
    found_by: BTreeSet<Source>,
    measured: Measured,
    trust: Assessment,
}

/// What one look came to.
struct Look {
    /// By distance.
    sites: Vec<Site>,
    /// Each zone that was asked, what led to it and what it said.
    zones: Vec<report::Zone>,
    /// Entry points that are named and not used.
    dropped: Vec<report::Dropped>,
    /// What was wrong with lists.
    problems: Vec<String>,
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
        let has_others = !self.zone.is_empty() || !self.path_to.is_empty();
        self.here || !(has_others || self.elsewhere.has_lists())
    }
}

/// What is kept between two looks.
struct Finder {
    machine: ResolvConf,
    servers: Vec<SocketAddr>,
    resolver: Arc<dyn NameLookup>,
    discovery: Discovery,
    policy: AddressPolicy,
    lists: Vec<Arc<dyn SiteList>>,
    owners: Option<Arc<dyn PrefixOwner>>,
    origins: Option<Arc<OriginRanges>>,
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
        let resolver: Arc<dyn NameLookup> = Arc::new(args.dns.resolver(servers.clone())?);
        let policy = args.dns.policy();
        let elsewhere = &args.elsewhere;
        let sources = elsewhere.sources(args.certificates.clone(), policy.clone())?;
        let origins: Option<Arc<OriginRanges>> = table("--origins", &elsewhere.origins)?;
        for problem in origins.iter().flat_map(|table| &table.problems) {
            output::error(&format!("--origins: not used: {problem}"));
        }
        let fetcher = sources.fetcher(&resolver)?;
        Ok(Self {
            discovery: args.dns.discovery(elsewhere.asks_owners())?,
            lists: sources.site_lists(fetcher.as_ref(), clock),
            owners: sources.owners(origins.clone(), &resolver, fetcher, clock)?,
            origins,
            resolver,
            policy,
            machine,
            servers,
            prober,
            measurer: Measurer::new(args.services, clock, args.tls()?),
            clock,
            status: Status::new(args.quiet),
        })
    }

    async fn once(&mut self, args: &Args) -> Result<bool, Failure> {
        let look = self.look(args).await;
        if args.json {
            output::line(&report::json(&look));
        } else {
            Self::tell(&look);
        }
        Ok(!look.sites.is_empty())
    }

    /// The table, and what people want to know beside it.
    fn tell(look: &Look) {
        output::line(&report::table(&look.sites));
        if !look.dropped.is_empty() {
            output::line(&report::left_out(&look.dropped));
        }
        if look.sites.is_empty() {
            output::error(&report::nothing(&look.zones));
        }
        for problem in &look.problems {
            output::error(problem);
        }
    }

    async fn watch(&mut self, args: &Args, every: Duration) -> Result<bool, Failure> {
        let mut shown: Option<Vec<Site>> = None;
        loop {
            let look = self.look(args).await;
            if args.json {
                output::line(&report::json(&look));
            } else if let Some(before) = &shown {
                for line in report::changes(before, &look.sites) {
                    output::line(&line);
                }
            } else {
                Self::tell(&look);
            }
            shown = Some(look.sites);
            tokio::time::sleep(every).await;
        }
    }

    async fn look(&mut self, args: &Args) -> Look {
        let mut led_by: BTreeMap<DnsName, BTreeSet<Source>> = BTreeMap::new();
        let asked = args.zone.iter().cloned();
        let mut zones: Vec<_> = asked.map(|zone| (zone, Source::Asked)).collect();
        let mut own = BTreeSet::new();
        if args.looks_here() {
            self.status.tell("looking for the domains of this machine");
            let addresses = if args.address.is_empty() {
                here::own_addresses(&self.servers)
            } else {
                args.address.clone()
            };
            zones.extend(here::zones(&addresses, &self.machine, &*self.resolver).await);
            own.extend(addresses);
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
        // Whoever has no name may have a holder.
        for address in own.iter().filter(|_| self.owners.is_some()) {
            let sighting = HopSighting {
                address: *address,
                path: *address,
                ttl: 1,
            };
            self.discovery.observe_hop(sighting, now);
        }
        self.status.tell("asking the zones for edge records");
        self.ask().await;
        if self.ask_owners().await {
            self.discovery.start_run(self.clock.monotonic());
            self.ask().await;
        }
        self.status.tell("reading lists");
        let listed = lists::read(&self.lists, &*self.resolver, &self.policy).await;

        let trail = self.discovery.trail();
        let held: BTreeSet<IpAddr> = trail.addresses.iter().filter_map(holder).collect();
        let mut by_site: BTreeMap<_, Site> = BTreeMap::new();
        let mut add = |candidate: IepCandidate, found_by: BTreeSet<Source>| {
            let site = by_site.entry(candidate.id.clone());
            site.and_modify(|site| {
                site.found_by.extend(found_by.iter().cloned());
                site.candidate = lists::better(&site.candidate, candidate.clone());
            })
            .or_insert_with(|| Site {
                trust: trust(&candidate, None, None, &Position::default()),
                candidate,
                found_by,
                measured: Measured::default(),
            });
        };
        for candidate in self.discovery.candidates() {
            let led = led_by.entry(candidate.zone.clone()).or_default();
            led.extend(candidate.seen_on.iter().map(|router| {
                if held.contains(router) {
                    Source::Holder(*router)
                } else if own.contains(router) {
                    Source::Name(*router)
                } else {
                    Source::Router(*router)
                }
            }));
            let found_by = led.clone();
            add(candidate, found_by);
        }
        for candidate in listed.candidates {
            let found_by = [Source::List(candidate.origin.clone())].into();
            add(candidate, found_by);
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
        self.weigh(&mut sites, &paths).await;
        self.status.clear();
        Look {
            sites,
            zones: report::zones(&trail, &led_by),
            dropped: report::dropped(&trail),
            problems: listed.problems,
        }
    }

    async fn ask(&mut self) {
        drive(
            &mut self.discovery,
            &*self.resolver,
            &self.clock,
            PARALLEL_QUESTIONS,
            |_| {},
        )
        .await;
    }

    /// Asks for the holders of routers whose names led nowhere; did anybody answer?
    async fn ask_owners(&mut self) -> bool {
        let Some(owners) = &self.owners else {
            return false;
        };
        let now = self.clock.monotonic();
        let discovery = &mut self.discovery;
        let asked: Vec<IpAddr> = std::iter::from_fn(|| discovery.poll_owner(now)).collect();
        if !asked.is_empty() {
            self.status
                .tell("asking registries for the holders of routers");
        }
        let answers = futures_util::stream::iter(asked)
            .map(|address| async move { (address, owners.owner(address).await) })
            .buffer_unordered(PARALLEL_OWNERS);
        let answers: Vec<(IpAddr, OwnerAnswer)> = answers.collect().await;
        let now = self.clock.monotonic();
        let is_any = !answers.is_empty();
        for (address, answer) in answers {
            self.discovery.handle_owner(address, answer, now);
        }
        is_any
    }

    /// Says of each site how far to trust it: where paths are traced, also by the path to itself.
    async fn weigh(&self, sites: &mut [Site], paths: &[PathObservation]) {
        let mut least: BTreeMap<IpAddr, Rtt> = BTreeMap::new();
        let replies = paths.iter().flat_map(PathObservation::replies);
        for (_, reply) in replies {
            if let Some(rtt) = reply.rtt {
                let known = least.entry(reply.address.to_canonical()).or_insert(rtt);
                *known = rtt.min(*known);
            }
        }
        let answering = sites.iter().filter_map(|site| site.measured.address);
        let mut answering: Vec<IpAddr> = answering.collect();
        answering.truncate(SITES_TRACED);
        let traced = self.trace_quietly(&answering).await;
        for site in sites {
            let path = site.measured.address.and_then(|at| traced.get(&at));
            let position =
                path.map(|path| position(path, &site.candidate.seen_on, &least, TRUST_SLACK));
            let origins = self
                .origins
                .as_deref()
                .map(|table| table as &dyn OriginTable);
            site.trust = trust(
                &site.candidate,
                site.measured.address,
                origins,
                &position.unwrap_or_default(),
            );
        }
    }

    /// The paths to these, as far as they can be traced.
    async fn trace_quietly(&self, targets: &[IpAddr]) -> BTreeMap<IpAddr, PathObservation> {
        let Some(prober) = &self.prober else {
            return BTreeMap::new();
        };
        if !targets.is_empty() {
            self.status.tell("tracing the paths to entry points");
        }
        let traces = targets
            .iter()
            .map(|target| prober.trace(*target, TracePriority::New));
        let paths = futures_util::future::join_all(traces).await;
        let paths = paths.into_iter().flatten();
        paths.map(|path| (path.target, path)).collect()
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

/// The address, if its holder was found, for which nobody is asked unless its names lead nowhere.
fn holder(found: &AddressTrail) -> Option<IpAddr> {
    let is_found = matches!(found.owner, Some(OwnerAnswer::Found(_)));
    is_found.then_some(found.address)
}

/// What speaks for a candidate and against it, at the address that answered.
fn trust(
    candidate: &IepCandidate,
    address: Option<IpAddr>,
    origins: Option<&dyn OriginTable>,
    position: &Position,
) -> Assessment {
    let address = address.or_else(|| candidate.addresses.first().copied());
    let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    assess(candidate, address, origins, position)
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
