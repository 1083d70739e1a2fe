//! A discovery over all cases, and its trail in words that a table can hold.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use edge_discovery::{
    AddressOutcome, Answer, Discovery, DiscoveryConfig, HopSighting, IepCandidate, Limits, Lookup,
    NoAnswer, Question, SiteOutcome, SiteTrail, Trail,
};
use edge_ports::{BoxFuture, Clock as _, NameLookup, SystemClock};
use edge_resolver::drive;
use edge_types::AddressPolicy;

use crate::place::Host;
use crate::zones::Case;

/// What the lab's addresses need to be allowed.
pub(crate) fn lab_policy() -> AddressPolicy {
    AddressPolicy::new(vec![
        "240.0.0.0/4".parse().unwrap(),
        "3fff::/20".parse().unwrap(),
    ])
}

/// Counts the questions on their way to another.
#[derive(Debug)]
struct Counted<'a> {
    lookup: &'a dyn NameLookup,
    questions: AtomicUsize,
}

impl NameLookup for Counted<'_> {
    fn lookup<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        self.lookup.lookup(question)
    }
}

/// What came of a discovery.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) trail: Trail,
    pub(crate) candidates: Vec<IepCandidate>,
    pub(crate) questions: usize,
    pub(crate) took: Duration,
}

/// Where the entry points that were found are to be contacted.
pub(crate) fn addresses(run: &Run) -> impl Iterator<Item = SocketAddr> {
    run.candidates.iter().flat_map(|found| {
        let port = found.id.port;
        found
            .addresses
            .iter()
            .map(move |address| SocketAddr::new(*address, port))
    })
}

/// Discovers from the routers of all cases on `hosts`.
pub(crate) async fn discover(
    cases: &[Case],
    hosts: &[Host],
    lookup: &dyn NameLookup,
    policy: AddressPolicy,
    limits: Limits,
) -> Run {
    discover_at(cases, 0, hosts, lookup, policy, limits).await
}

/// As [`discover`], of cases that are the `first`th and following of all.
pub(crate) async fn discover_at(
    cases: &[Case],
    first: usize,
    hosts: &[Host],
    lookup: &dyn NameLookup,
    policy: AddressPolicy,
    limits: Limits,
) -> Run {
    let clock = SystemClock::start();
    let started = Instant::now();
    let mut discovery = begin(cases, first, hosts, policy, limits, clock);
    let counted = Counted {
        lookup,
        questions: AtomicUsize::new(0),
    };
    let parallelism = NonZeroUsize::new(256).unwrap();
    drive(&mut discovery, &counted, &clock, parallelism, |_| {}).await;
    Run {
        trail: discovery.trail(),
        candidates: discovery.candidates(),
        questions: counted.questions.into_inner(),
        took: started.elapsed(),
    }
}

/// A discovery that has just begun, from the routers of all cases on `hosts`.
pub(crate) fn begin(
    cases: &[Case],
    first: usize,
    hosts: &[Host],
    policy: AddressPolicy,
    limits: Limits,
    clock: SystemClock,
) -> Discovery {
    let config = DiscoveryConfig::new(DiscoveryConfig::SERVICE, "t0ken", policy, limits).unwrap();
    let mut discovery = Discovery::new(config);
    discovery.start_run(clock.monotonic());
    for host in hosts {
        for (number, case) in cases.iter().enumerate() {
            for router in 0..case.routers.len() {
                let sighting = HopSighting {
                    address: Case::router(*host, first + number, router),
                    path: IpAddr::from([240, 99, 255, 1]),
                    ttl: 1,
                };
                discovery.observe_hop(sighting, clock.monotonic());
            }
        }
    }
    discovery
}

/// What a discovery says about each case of each server, one line for each thing, sorted:
///
/// - `router N has no name`, `router N unanswered`, `router N refused WHY`
/// - `ZONE none`, `ZONE unanswered`, `ZONE bogus`, `ZONE not asked WHY`
/// - `TARGET:PORT candidate ADDRESSES [key|secure key]`, with `but ADDRESS is KIND` for those that are refused
/// - `TARGET:PORT refused WHY`
pub(crate) fn accounts(
    cases: &[Case],
    hosts: &[Host],
    trail: &Trail,
) -> BTreeMap<(Host, &'static str), Vec<String>> {
    let mut all = BTreeMap::new();
    for host in hosts {
        for (number, case) in cases.iter().enumerate() {
            let mut lines = Vec::new();
            for router in 0..case.routers.len() {
                lines.extend(of_router(
                    trail,
                    Case::router(*host, number, router),
                    router + 1,
                ));
            }
            lines.extend(of_zones(trail, &case.apex(*host)));
            lines.sort();
            all.insert((*host, case.name), lines);
        }
    }
    all
}

fn of_router(trail: &Trail, address: IpAddr, number: usize) -> Vec<String> {
    let found = trail
        .addresses
        .iter()
        .find(|found| found.address == address);
    let said = match found.map(|found| &found.outcome) {
        None => vec!["is missing".to_owned()],
        Some(AddressOutcome::NotAllowed(refusal)) => vec![format!("refused {refusal}")],
        Some(AddressOutcome::Ptr(Lookup::Records(names))) => names
            .names
            .iter()
            .filter_map(|name| name.zones.as_ref().err())
            .map(|refusal| format!("refused {}", variant(refusal)))
            .collect(),
        Some(AddressOutcome::Ptr(other)) => vec![missing(other)],
    };
    said.into_iter()
        .map(|said| format!("router {number} {said}"))
        .collect()
}

/// What it says about the zones at and below `apex`.
pub(crate) fn of_zones(trail: &Trail, apex: &str) -> Vec<String> {
    let below = format!(".{apex}");
    let mut lines = Vec::new();
    for zone in &trail.zones {
        let name = zone.zone.as_str();
        if name != apex && !name.ends_with(&below) {
            continue;
        }
        match &zone.service {
            Lookup::Records(service) => lines.extend(service.sites.iter().map(of_site)),
            other => lines.push(format!("{name} {}", missing(other))),
        }
    }
    lines
}

fn of_site(site: &SiteTrail) -> String {
    let target = match &site.record.target {
        edge_discovery::AnswerName::Root => ".".to_owned(),
        edge_discovery::AnswerName::Name(name) => name.to_string(),
        edge_discovery::AnswerName::Unacceptable { .. } => "?".to_owned(),
    };
    let port = site.record.port;
    let mut line = format!("{target}:{port}");
    match &site.outcome {
        SiteOutcome::Pending => line.push_str(" pending"),
        SiteOutcome::Listed => line.push_str(" listed elsewhere"),
        SiteOutcome::Rejected(why) => line = format!("{line} refused {}", variant(why)),
        SiteOutcome::Candidate(found) => {
            line.push_str(" candidate");
            for address in &found.addresses {
                line = format!("{line} {address}");
            }
            line.push_str(match &found.key {
                None => "",
                Some(key) if key.authenticated => " secure key",
                Some(_) => " key",
            });
        }
    }
    for refusal in &site.addresses_refused {
        line = format!("{line}, {} is {}", refusal.address, refusal.kind);
    }
    line
}

fn missing<T>(lookup: &Lookup<T>) -> String {
    match lookup {
        Lookup::Absent { .. } => "none".to_owned(),
        Lookup::Unanswered(NoAnswer::Bogus { .. }) => "bogus".to_owned(),
        Lookup::Unanswered(_) => "unanswered".to_owned(),
        Lookup::NotAsked(why) => format!("not asked {}", variant(why)),
        Lookup::Pending => "pending".to_owned(),
        Lookup::Records(_) => "records".to_owned(),
    }
}

/// The name of an enum's variant.
fn variant(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let end = text
        .find(|c: char| !c.is_alphanumeric())
        .unwrap_or(text.len());
    text[..end].to_owned()
}
