//! How far away the sites are, and what they offer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use edge_http::client::{ClientError, ClientTimeouts, ContactBudget, IepClient};
use edge_ports::{Clock as _, SystemClock};
use edge_types::{IepId, Rtt};
use edge_wire::services::ServiceListing;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Site;

/// Connections at once.
const PARALLEL: usize = 32;
/// Sites measured in one look, those of the lowest priority number first.
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
}

/// Measures each address once; rule 5 allows no more to one that did not greet.
pub(super) struct Measurer {
    asks_services: bool,
    contacts: Arc<ContactBudget>,
    clock: SystemClock,
    known: BTreeMap<IepId, Measured>,
}

impl Measurer {
    pub(super) fn new(asks_services: bool, clock: SystemClock) -> Self {
        Self {
            asks_services,
            contacts: Arc::default(),
            clock,
            known: BTreeMap::new(),
        }
    }

    pub(super) async fn measure(&mut self, sites: &mut [Site]) {
        let turns = Arc::new(Semaphore::new(PARALLEL));
        let mut under_way = JoinSet::new();
        let mut order: Vec<&Site> = sites.iter().collect();
        order.sort_by_key(|site| site.candidate.priority);
        for site in order.into_iter().take(SITES) {
            let id = site.candidate.id.clone();
            let is_known = self.known.get(&id).is_some_and(|known| known.rtt.is_some());
            if is_known && !self.asks_services {
                continue;
            }
            let addresses = site.candidate.addresses.clone();
            let (turns, contacts) = (Arc::clone(&turns), Arc::clone(&self.contacts));
            let (asks_services, clock) = (self.asks_services, self.clock);
            under_way.spawn(async move {
                let _turn = turns.acquire_owned().await;
                let measured = if asks_services {
                    inquire(&id, &addresses, &contacts, clock).await
                } else {
                    connect(&id, &addresses, &contacts, clock).await
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

fn client(id: &IepId, address: IpAddr) -> IepClient {
    IepClient::new(
        SocketAddr::new(address, id.port),
        id.clone(),
        ClientTimeouts::default(),
    )
}

/// Connects to each address and hangs up.
async fn connect(
    id: &IepId,
    addresses: &[IpAddr],
    contacts: &ContactBudget,
    clock: SystemClock,
) -> Measured {
    let mut best = Measured::default();
    for address in addresses {
        match client(id, *address)
            .measure(contacts, clock.monotonic())
            .await
        {
            Ok(rtt) if best.rtt.is_none_or(|least| rtt < least) => {
                best.address = Some(*address);
                best.rtt = Some(rtt);
                best.problem = None;
            }
            Ok(_) => {}
            Err(error) if best.rtt.is_none() => best.problem = Some(told(error)),
            Err(_) => {}
        }
    }
    best
}

/// Greets the first address that answers, and asks it for its services.
async fn inquire(
    id: &IepId,
    addresses: &[IpAddr],
    contacts: &ContactBudget,
    clock: SystemClock,
) -> Measured {
    let mut measured = Measured::default();
    for address in addresses {
        let client = client(id, *address);
        match client.contact(contacts, clock.monotonic()).await {
            Ok(contact) => {
                let services = client.services().await;
                return Measured {
                    address: Some(*address),
                    rtt: contact.rtt,
                    problem: None,
                    services: Some(services.map(|listed| listed.services).map_err(told)),
                };
            }
            Err(error) => measured.problem = Some(told(error)),
        }
    }
    measured
}

fn told(error: ClientError) -> String {
    match error.reject_reason() {
        Some(reason) => reason.to_string(),
        None => format!("{:#}", anyhow::Error::new(error)),
    }
}
