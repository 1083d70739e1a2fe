//! Records of what decisions were made from, and making these decisions again.
//!
//! A record is a list of [`Entry`]s: every path that was observed or forgotten, the demand of each tree that a plan was made on, with the
//! requests since the last such tree, and each plan with its offers, its limits and what it came to. Addresses, names of sites and offers are pseudonyms
//! ([`Anonymiser`]); round trips, prices and times are as they were. [`replay`] does it all again with the same code.
//!
//! Where plans are equally good, names and addresses decide between them, so that a replay of pseudonyms may come to another one; it is told apart
//! from what is no longer decided as it was ([`Verdict`]).

mod entry;
mod replay;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use edge_placement::{Candidate, Plan, PlanBasis, ServedBy};
use edge_topology::{Demand, LogEntry};
use edge_types::{Generation, IepId, IpNet, MonotonicTime, OfferId, PathObservation};

use crate::anonymise::Anonymiser;
use crate::digest;

pub use entry::{Begin, Decision, Entry, PlanLine, TreeLine, Unsound};
pub use replay::{ReplayError, Replayed, Summary, Verdict, replay};

/// What a file of entries says it holds; another version of entries gets another number.
pub const KIND: &str = "exec-edge record 1";

/// Prefixes of one entry; the demand of a tree with more takes several.
const PREFIXES_OF_AN_ENTRY: usize = 10_000;

/// Makes entries of what happens.
#[derive(Debug)]
pub struct Scribe {
    anonymiser: Anonymiser,
}

impl Scribe {
    /// With pseudonyms of this key.
    pub const fn new(anonymiser: Anonymiser) -> Self {
        Self { anonymiser }
    }

    /// A path was observed.
    pub fn path(&self, path: &PathObservation) -> Entry {
        Entry::Path(LogEntry::Insert(self.anonymiser.path(path)))
    }

    /// The path to a target was forgotten.
    pub fn forgotten(&self, target: IpAddr) -> Entry {
        Entry::Path(LogEntry::Remove(self.anonymiser.address(target)))
    }

    /// A tree was made of the paths before; `requests` are those since the last tree that was told.
    pub fn tree(
        &self,
        at: MonotonicTime,
        generation: Generation,
        demand: &Demand,
        requests: &BTreeMap<IpNet, u64>,
    ) -> Vec<Entry> {
        let silent = requests
            .keys()
            .filter(|prefix| !demand.contains_key(*prefix));
        let prefixes: Vec<_> = demand
            .keys()
            .chain(silent)
            .map(|prefix| {
                let client = demand.get(prefix);
                let asked = requests.get(prefix).copied().unwrap_or(0);
                (
                    self.prefix(*prefix),
                    client.map(|client| self.anonymiser.address(client.target)),
                    client.map_or(0, |client| client.milli_requests_per_second),
                    asked,
                )
            })
            .collect();
        let chunks = prefixes.chunks(PREFIXES_OF_AN_ENTRY);
        let last = chunks.len().saturating_sub(1);
        let mut entries: Vec<Entry> = chunks
            .enumerate()
            .map(|(number, prefixes)| {
                Entry::Tree(TreeLine {
                    at_us: micros(at.0),
                    generation: generation.0,
                    prefixes: prefixes.to_vec(),
                    goes_on: number < last,
                })
            })
            .collect();
        if entries.is_empty() {
            entries.push(Entry::Tree(TreeLine {
                at_us: micros(at.0),
                generation: generation.0,
                prefixes: Vec::new(),
                goes_on: false,
            }));
        }
        entries
    }

    /// A plan was made.
    pub fn plan(&self, at: MonotonicTime, basis: &PlanBasis, plan: &Plan) -> Entry {
        let candidates = basis.candidates.iter().map(|(candidate, path)| {
            let candidate = Candidate {
                site: self.anonymiser.site(&candidate.site),
                offer: candidate.offer.map(|offer| self.offer(offer)),
                ..candidate.clone()
            };
            (candidate, self.anonymiser.path(path))
        });
        let basis = PlanBasis {
            candidates: candidates.collect(),
            excluded: basis
                .excluded
                .iter()
                .map(|site| self.anonymiser.site(site))
                .collect(),
            measured: basis
                .measured
                .iter()
                .map(|((site, prefix), rtt)| {
                    ((self.anonymiser.site(site), self.prefix(*prefix)), *rtt)
                })
                .collect(),
            ..basis.clone()
        };
        let sites = plan.chosen.iter().map(|chosen| {
            let offer = chosen.offer.map(|offer| self.offer(offer));
            (self.anonymiser.site(&chosen.site), offer)
        });
        let served = plan.clients.iter().map(|(prefix, service)| {
            let site = match &service.served_by {
                ServedBy::Cloud => None,
                ServedBy::Site(site) => Some(self.anonymiser.site(site)),
            };
            (self.prefix(*prefix), site)
        });
        let decision = decision(sites.collect(), served.collect(), plan);
        Entry::Plan(Box::new(PlanLine::new(micros(at.0), &basis, decision)))
    }

    fn prefix(&self, prefix: IpNet) -> IpNet {
        let address = self.anonymiser.address(prefix.addr());
        IpNet::new(address, prefix.prefix_len()).map_or(prefix, |prefix| prefix.trunc())
    }

    fn offer(&self, offer: OfferId) -> OfferId {
        let mut pseudonym = [0; 32];
        pseudonym[..8].copy_from_slice(&self.anonymiser.number(&offer.0).to_be_bytes());
        OfferId(pseudonym)
    }
}

/// What a plan came to.
fn decision(
    mut sites: Vec<(IepId, Option<OfferId>)>,
    served: BTreeMap<IpNet, Option<IepId>>,
    plan: &Plan,
) -> Decision {
    sites.sort();
    let mut text = String::new();
    for (prefix, site) in served {
        let site = site.map_or_else(|| "cloud".to_owned(), |site| site.to_string());
        let _infallible = writeln!(text, "{prefix} {site}");
    }
    Decision {
        sites: sites.into_iter().map(entry::site_offer).collect(),
        planned: plan.prediction.planned,
        cost: plan.cost.units,
        served: digest::of(format_args!("{text}")),
    }
}

/// What a plan of pseudonyms came to.
fn decision_of(plan: &Plan) -> Decision {
    let sites = plan.chosen.iter();
    let sites = sites.map(|chosen| (chosen.site.clone(), chosen.offer));
    let served = plan.clients.iter().map(|(prefix, service)| {
        let site = match &service.served_by {
            ServedBy::Cloud => None,
            ServedBy::Site(site) => Some(site.clone()),
        };
        (*prefix, site)
    });
    decision(sites.collect(), served.collect(), plan)
}

/// Whole microseconds; later than 584,000 years is as late as that.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
