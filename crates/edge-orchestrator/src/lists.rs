//! Entry points that lists name: read, looked up and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use edge_discovery::{Answer, IepCandidate, Question, RecordData, RecordKind};
use edge_ports::{NameLookup, SiteList};
use edge_types::{AddressPolicy, DnsName, IepId, IepOrigin};

use crate::sites::with_cause;

/// Addresses of each family taken from one host name.
const ADDRESSES: usize = 4;
/// Sites taken from all lists together.
const SITES: usize = 8192;

/// What all lists together gave.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// The candidates, each with where it comes from.
    pub candidates: Vec<IepCandidate>,
    /// The entry points that each list names; of the lists that could be read.
    pub named: BTreeMap<IepOrigin, BTreeSet<IepId>>,
    /// What could not be used, in words.
    pub problems: Vec<String>,
}

/// Reads every list. The addresses of sites that come without are looked up; each is checked (security rule 4).
pub async fn read(
    lists: &[Arc<dyn SiteList>],
    lookup: &dyn NameLookup,
    policy: &AddressPolicy,
) -> Listed {
    let mut listed = Listed::default();
    for list in lists {
        let origin = list.origin();
        let listing = list.read().await;
        let problems = listing.problems.into_iter();
        listed
            .problems
            .extend(problems.map(|problem| format!("{origin}: {problem}")));
        if listing.was_read {
            let named = listing.sites.iter().map(|site| site.id.clone());
            listed.named.insert(origin.clone(), named.collect());
        }
        for site in listing.sites {
            if listed.candidates.len() >= SITES {
                listed
                    .problems
                    .push(format!("{origin}: more than {SITES} sites in all lists"));
                break;
            }
            let addresses = if site.addresses.is_empty() {
                addresses(&site.id.host, lookup).await
            } else {
                site.addresses.clone()
            };
            match IepCandidate::listed(
                &site,
                &addresses,
                origin.clone(),
                listing.is_authentic,
                policy,
            ) {
                Ok(candidate) => listed.candidates.push(candidate),
                Err(refusal) => {
                    listed
                        .problems
                        .push(format!("{origin}: {}: {}", site.id, with_cause(&refusal)))
                }
            }
        }
    }
    listed
}

async fn addresses(host: &DnsName, lookup: &dyn NameLookup) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for kind in [RecordKind::A, RecordKind::Aaaa] {
        let question = Question::new(host.clone(), kind);
        if let Answer::Records { records, .. } = lookup.lookup(&question).await {
            let addresses = records.into_iter().filter_map(|record| match record {
                RecordData::Address(address) => Some(address),
                _ => None,
            });
            found.extend(addresses.take(ADDRESSES));
        }
    }
    found
}

/// Which of two candidates for one entry point is used: the one whose key is bound better, else the one that was known. That the
/// other one says nothing of TLS does not undo what signed records say, and the newest TLS keys count, whoever led to them: they
/// stand at the entry point's own host.
pub fn better(known: &IepCandidate, new: IepCandidate) -> IepCandidate {
    if known.origin == new.origin {
        return new;
    }
    let worth = |candidate: &IepCandidate| candidate.key.as_ref().map(|key| key.authenticated);
    let announces_tls = known.announces_tls || new.announces_tls;
    let pins = if new.pins.is_empty() {
        &known.pins
    } else {
        &new.pins
    };
    let pins = pins.clone();
    let chosen = if worth(&new) > worth(known) {
        new
    } else {
        known.clone()
    };
    IepCandidate {
        pins,
        announces_tls,
        ..chosen
    }
}
