//! Addresses of name servers that came without.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use edge_ports::BoxFuture;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use super::memory::{Cut, LIFETIME, bound};
use super::{Errand, Found, MAX_DEPTH, Walk};
use crate::delegation::MAX_ADDRESSES;
use crate::race::Sender;
use crate::wire::Asking;

/// Servers without address whose addresses are asked for (the NXNS attack, Afek et al., 2020).
const MAX_GLUELESS: usize = 3;
/// How long to wait for the addresses of further servers once one is known.
const PATIENCE: Duration = Duration::from_millis(30);

/// Addresses of a zone's servers, and whether all of them are known.
pub(super) type Addresses = (Vec<SocketAddr>, bool);

/// Addresses that one question looks for and others wait for.
#[derive(Clone, Debug)]
pub(super) struct Gathered {
    pub(super) addresses: Arc<OnceCell<Addresses>>,
    pub(super) until: Instant,
}

impl Gathered {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            addresses: Arc::default(),
            until: now + LIFETIME.0,
        }
    }
}

/// Addresses of a server that came without.
#[derive(Clone, Debug)]
pub(super) struct Host {
    addresses: Arc<OnceCell<Vec<IpAddr>>>,
    until: Instant,
}

impl Host {
    fn new(now: Instant) -> Self {
        Self {
            addresses: Arc::default(),
            until: now + LIFETIME.0,
        }
    }
}

impl Walk {
    /// The addresses of servers that came without. Only questions of users wait for each other here, as at scouts.
    pub(super) async fn addresses(
        &self,
        sender: &Sender,
        cut: &Cut,
        errand: Errand<'_>,
    ) -> Addresses {
        let glueless = self.glueless(cut, errand.depth);
        if glueless.is_empty() {
            return (Vec::new(), true);
        }
        if errand.depth > 0 {
            return self.gather(sender, cut, errand, Some(PATIENCE)).await;
        }
        let now = Instant::now();
        let gathered = {
            let mut found = cut.found.lock().unwrap_or_else(PoisonError::into_inner);
            let is_enough = found
                .addresses
                .get()
                .is_none_or(|(servers, is_all)| *is_all && !servers.is_empty());
            if now >= found.until || !is_enough {
                *found = Gathered::new(now);
            }
            Arc::clone(&found.addresses)
        };
        let gather = || self.gather(sender, cut, errand, Some(PATIENCE));
        gathered.get_or_init(gather).await.clone()
    }

    /// Looks for them; once one is known, those that take longer than `patience` are not waited for.
    pub(super) async fn gather(
        &self,
        sender: &Sender,
        cut: &Cut,
        errand: Errand<'_>,
        patience: Option<Duration>,
    ) -> Addresses {
        let mut lookups = FuturesUnordered::new();
        for server in self.glueless(cut, errand.depth) {
            lookups.push(async move {
                let mut addresses = self.host(sender, server, RecordType::A, errand).await;
                if addresses.is_empty() {
                    addresses = self.host(sender, server, RecordType::AAAA, errand).await;
                }
                addresses
            });
        }
        let mut servers: Vec<SocketAddr> = Vec::new();
        let is_late = sleep(Duration::ZERO);
        tokio::pin!(is_late);
        loop {
            tokio::select! {
                found = lookups.next() => {
                    let Some(addresses) = found else {
                        return (servers, true);
                    };
                    if let Some(patience) = patience
                        && servers.is_empty()
                    {
                        is_late.as_mut().reset(Instant::now() + patience);
                    }
                    let at_port = |address| SocketAddr::new(address, self.port);
                    servers.extend(addresses.into_iter().map(at_port));
                }
                () = &mut is_late, if patience.is_some() && !servers.is_empty() => {
                    return (servers, false);
                }
            }
        }
    }

    /// Some servers that came without address. One whose name is in the zone itself can only be found with the address that
    /// should have come along.
    fn glueless<'a>(&self, cut: &'a Cut, depth: usize) -> Vec<&'a Name> {
        let Some(delegation) = &cut.delegation else {
            return Vec::new();
        };
        if depth >= MAX_DEPTH {
            return Vec::new();
        }
        let mut names: Vec<&Name> = delegation
            .servers
            .iter()
            .filter(|(server, addresses)| addresses.is_empty() && !cut.zone.zone_of(server))
            .map(|(server, _)| server)
            .collect();
        if names.len() > MAX_GLUELESS
            && let Ok(random) = getrandom::u32()
        {
            let length = names.len();
            names.rotate_left(random as usize % length);
        }
        names.truncate(MAX_GLUELESS);
        names
    }

    /// The addresses of a server, without following aliases: a server's name is none (RFC 2181 section 10.3).
    fn host<'a>(
        &'a self,
        sender: &'a Sender,
        server: &'a Name,
        kind: RecordType,
        errand: Errand<'a>,
    ) -> BoxFuture<'a, Vec<IpAddr>> {
        let depth = errand.depth + 1;
        let look = async move {
            let errand = Errand {
                name: server,
                kind,
                depth,
                asking: Asking {
                    signatures: false,
                    ..errand.asking
                },
                ..errand
            };
            let message = match self.descend(sender, errand).await.ok()? {
                Found::Message(message) => message,
                Found::Addresses(addresses) => return Some(addresses),
            };
            let addresses = message
                .answers
                .iter()
                .filter(|record| record.name == *server);
            let addresses = addresses.filter_map(|record| match &record.data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            });
            let allowed = addresses.filter(|address| self.policy.check(*address).is_ok());
            Some(allowed.take(MAX_ADDRESSES).collect::<Vec<_>>())
        };
        Box::pin(async move {
            if depth > 1 {
                return look.await.unwrap_or_default();
            }
            let known = {
                let mut memory = self.memory();
                let now = Instant::now();
                bound(&mut memory.hosts, |host| now < host.until);
                let known = memory.hosts.entry((server.clone(), kind));
                known
                    .and_modify(|host| {
                        if now >= host.until {
                            *host = Host::new(now);
                        }
                    })
                    .or_insert_with(|| Host::new(now))
                    .clone()
            };
            // A failure is not kept: the next question tries again.
            known
                .addresses
                .get_or_try_init(|| async { look.await.ok_or(()) })
                .await
                .cloned()
                .unwrap_or_default()
        })
    }
}
