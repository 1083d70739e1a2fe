//! How far away the sites are, and what they offer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use edge_discovery::{AnswerName, IepCandidate, SrvRecord, weighted_order};
use edge_http::client::{ClientError, ClientTimeouts, ContactBudget, IepClient};
use edge_http::entry_tls::{Proof, TlsPolicy};
use edge_ports::{Clock as _, SystemClock};
use edge_types::{IepId, Rtt};
use edge_wire::services::ServiceListing;
use tokio::sync::{Mutex as Turn, Semaphore};
use tokio::task::JoinSet;

use super::Site;

/// Connections at once.
const PARALLEL: usize = 32;
/// Sites measured in one look, in the order in which RFC 2782 has a client try them.
const SITES: usize = 256;

/// What one site told or was seen to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Measured {
    /// The address that answered fastest.
    pub(super) address: Option<IpAddr>,
    /// Its round trip.
    pub(super) rtt: Option<Rtt>,
    /// Why there is none.
    pub(super) problem: Option<String>,
    /// What it offers, or why it does not say; `None` if it was not asked.
    pub(super) services: Option<Result<Vec<ServiceListing>, String>>,
    /// What it proved to be the entry point by, if it was asked and did.
    pub(super) proof: Option<Proof>,
}

/// Measures each address once; rule 5 allows no more to one that did not greet.
pub(super) struct Measurer {
    asks_services: bool,
    contacts: Arc<Contacts>,
    known: BTreeMap<IepId, Measured>,
}

impl Measurer {
    /// Speaks to sites as `tls` says, if it `asks_services`.
    pub(super) fn new(asks_services: bool, clock: SystemClock, tls: TlsPolicy) -> Self {
        Self {
            asks_services,
            contacts: Arc::new(Contacts {
                budget: ContactBudget::default(),
                clock,
                tls,
                addresses: Mutex::default(),
            }),
            known: BTreeMap::new(),
        }
    }

    pub(super) async fn measure(&mut self, sites: &mut [Site]) {
        let turns = Arc::new(Semaphore::new(PARALLEL));
        let mut under_way = JoinSet::new();
        for index in order(sites, random_below).into_iter().take(SITES) {
            let site = &sites[index];
            let id = site.candidate.id.clone();
            let is_known = self.known.get(&id).is_some_and(|known| known.rtt.is_some());
            if is_known && !self.asks_services {
                continue;
            }
            let candidate = site.candidate.clone();
            let (turns, contacts) = (Arc::clone(&turns), Arc::clone(&self.contacts));
            let asks_services = self.asks_services;
            under_way.spawn(async move {
                let _turn = turns.acquire_owned().await;
                let measured = if asks_services {
                    contacts.inquire(&candidate).await
                } else {
                    contacts.connect(&id, &candidate.addresses).await
                };
                (id, measured)
            });
        }
        while let Some(Ok((id, measured))) = under_way.join_next().await {
            // A later refusal by the budget does not undo what was measured.
            match self.known.get(&id) {
                Some(known) if known.rtt.is_some() && measured.rtt.is_none() => {}
                _ => drop(self.known.insert(id, measured)),
            }
        }
        for site in sites {
            site.measured = self
                .known
                .get(&site.candidate.id)
                .cloned()
                .unwrap_or_else(|| Measured {
                    problem: Some("not measured: too many sites".to_owned()),
                    ..Measured::default()
                });
        }
    }
}

/// Indices of the sites in the order in which they are tried: by priority, then at random by weight.
fn order(sites: &[Site], random_below: impl FnMut(u64) -> u64) -> Vec<usize> {
    let records = sites.iter().map(|site| SrvRecord {
        priority: site.candidate.priority,
        weight: site.candidate.weight,
        port: site.candidate.id.port,
        target: AnswerName::Name(site.candidate.id.host.clone()),
    });
    weighted_order(&records.collect::<Vec<_>>(), random_below)
}

/// Without random numbers the heaviest share of the weights is lost, and nothing else.
fn random_below(bound: u64) -> u64 {
    getrandom::u64().unwrap_or(0) % bound
}

/// Who may be contacted, and what came of it. Sites at one address take turns: what one learns holds for the others, and
/// its greeting lets them be asked too.
struct Contacts {
    budget: ContactBudget,
    clock: SystemClock,
    tls: TlsPolicy,
    addresses: Mutex<BTreeMap<IpAddr, Arc<Turn<Option<Rtt>>>>>,
}

impl Contacts {
    /// The address's turn, with its round trip if that was measured.
    fn turn(&self, address: IpAddr) -> Arc<Turn<Option<Rtt>>> {
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(addresses.entry(address).or_default())
    }

    /// Connects to each address once and hangs up.
    async fn connect(&self, id: &IepId, addresses: &[IpAddr]) -> Measured {
        let mut best = Measured::default();
        for address in addresses {
            let turn = self.turn(*address);
            let mut known = turn.lock().await;
            let rtt = match *known {
                Some(rtt) => Ok(rtt),
                None => {
                    let now = self.clock.monotonic();
                    client(id, *address).measure(&self.budget, now).await
                }
            };
            match rtt {
                Ok(rtt) => {
                    *known = Some(rtt);
                    if best.rtt.is_none_or(|least| rtt < least) {
                        best.address = Some(*address);
                        best.rtt = Some(rtt);
                        best.problem = None;
                    }
                }
                Err(error) if best.rtt.is_none() => best.problem = Some(told(error)),
                Err(_) => {}
            }
        }
        best
    }

    /// Greets the first address that answers, and asks it for its services.
    async fn inquire(&self, candidate: &IepCandidate) -> Measured {
        let mut measured = Measured::default();
        let tls = match self.tls.transport(candidate) {
            Ok(tls) => tls,
            Err(refusal) => {
                measured.problem = Some(refusal.to_string());
                return measured;
            }
        };
        for address in &candidate.addresses {
            let client = client(&candidate.id, *address).over(tls.clone());
            let turn = self.turn(*address);
            let contact = {
                let _turn = turn.lock().await;
                client.contact(&self.budget, self.clock.monotonic()).await
            };
            match contact {
                Ok(contact) => {
                    let services = client.services().await;
                    return Measured {
                        address: Some(*address),
                        rtt: contact.rtt,
                        problem: None,
                        services: Some(services.map(|listed| listed.services).map_err(told)),
                        proof: contact.proof,
                    };
                }
                Err(error) => measured.problem = Some(told(error)),
            }
        }
        measured
    }
}

fn client(id: &IepId, address: IpAddr) -> IepClient {
    IepClient::new(
        SocketAddr::new(address, id.port),
        id.clone(),
        ClientTimeouts::default(),
    )
}

fn told(error: ClientError) -> String {
    match error.reject_reason() {
        Some(reason) => reason.to_string(),
        None => format!("{:#}", anyhow::Error::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use edge_discovery::{Assessment, Tier};
    use edge_types::{AddressPolicy, IepOrigin, ListedSite};

    use super::*;

    fn site(number: u16, priority: u16, weight: u16) -> Site {
        let listed = ListedSite {
            id: IepId {
                host: "site.isp.example".parse().unwrap(),
                port: number,
            },
            addresses: vec!["9.9.9.9".parse().unwrap()],
            key: None,
            tls: false,
        };
        let origin = IepOrigin::Configured;
        let policy = AddressPolicy::default();
        let candidate = IepCandidate::listed(&listed, &listed.addresses, origin, false, &policy);
        Site {
            candidate: IepCandidate {
                priority,
                weight,
                ..candidate.unwrap()
            },
            found_by: BTreeSet::new(),
            measured: Measured::default(),
            trust: Assessment {
                tier: Tier::Unverified,
                signs: Vec::new(),
                objection: None,
            },
        }
    }

    #[test]
    fn sites_of_one_priority_take_turns_by_their_weights() {
        let sites = [site(1, 20, 9), site(2, 10, 1), site(3, 10, 3)];
        let first = |number: u64| {
            let mut numbers = std::iter::once(number).chain(std::iter::repeat(0));
            order(&sites, |_| numbers.next().unwrap_or(0))
        };
        let leads: Vec<usize> = (0..4).map(|part| first(part * 1000)[0]).collect();
        assert_eq!(leads, [1, 2, 2, 2]);
        assert!((0..4).all(|part| first(part * 1000)[2] == 0));
        assert!((0..100).all(|_| random_below(7) < 7));
    }
}
