//! Walking down from the root: which servers are asked for a name, and what is remembered of the way.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edge_discovery::NoAnswer;
use edge_ports::BoxFuture;
use edge_types::AddressPolicy;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::delegation::{Delegation, MAX_ADDRESSES, Word, judge};
use crate::race::Sender;
use crate::wire::Asking;

/// Steps down for one name: no name has more labels that matter.
const MAX_STEPS: usize = 24;
/// Questions for addresses of servers, for addresses of their servers, and so on.
const MAX_DEPTH: usize = 4;
/// Rounds of asking that one question may cost, all servers' addresses counted.
const MAX_ROUNDS: u32 = 40;
/// Servers without address whose addresses are asked for (the NXNS attack, Afek et al., 2020).
const MAX_GLUELESS: usize = 3;
/// How long to wait for the addresses of further servers once one is known.
const PATIENCE: Duration = Duration::from_millis(30);
/// Delegations, scouts and server addresses remembered, each.
const MAX_REMEMBERED: usize = 50_000;
/// Shortest and longest time for which they are.
const LIFETIME: (Duration, Duration) = (Duration::from_secs(30), Duration::from_hours(24));

/// A place in the tree of zones, and who is asked there.
#[derive(Debug)]
struct Cut {
    zone: Name,
    until: Option<Instant>,
    /// Where to ask: as configured for the root, or as it came along with the delegation.
    glued: Vec<SocketAddr>,
    /// `None` for the root.
    delegation: Option<Delegation>,
    /// Addresses of servers that came without, looked for once for all who ask here.
    found: Mutex<Gathered>,
}

/// Addresses of a zone's servers, and whether all of them are known.
type Addresses = (Vec<SocketAddr>, bool);

/// Addresses that one question looks for and others wait for.
#[derive(Clone, Debug)]
struct Gathered {
    addresses: Arc<OnceCell<Addresses>>,
    until: Instant,
}

impl Gathered {
    fn new(now: Instant) -> Self {
        Self {
            addresses: Arc::default(),
            until: now + LIFETIME.0,
        }
    }
}

/// Who goes first where many want to know the same way.
#[derive(Clone, Debug)]
struct Scout {
    found: Arc<OnceCell<Result<(), NoAnswer>>>,
    until: Instant,
}

/// Hashed, since names are slow to compare in order and every question looks several up.
#[derive(Debug, Default)]
struct Memory {
    /// By the octets of the zone's name: see [`octets_of`].
    cuts: HashMap<Box<[u8]>, Arc<Cut>>,
    /// By zone and the name below it where the next zone is expected.
    scouts: HashMap<(Name, Name), Scout>,
    hosts: HashMap<(Name, RecordType), Host>,
}

/// Addresses of a server that came without.
#[derive(Clone, Debug)]
struct Host {
    addresses: Arc<OnceCell<Vec<IpAddr>>>,
    until: Instant,
}

/// Finds answers by asking the servers of zones directly.
#[derive(Debug)]
pub(crate) struct Walk {
    root: Arc<Cut>,
    policy: AddressPolicy,
    port: u16,
    memory: Mutex<Memory>,
}

/// Where a way down ended.
#[derive(Debug)]
enum Found {
    Message(Message),
    /// Of a server, at a zone above its own.
    Addresses(Vec<IpAddr>),
}

/// What one question may still cost.
#[derive(Debug)]
struct Purse {
    rounds: AtomicU32,
}

impl Purse {
    fn pay(&self) -> Result<(), NoAnswer> {
        self.rounds
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .map(drop)
            .map_err(|_| NoAnswer::Malformed {
                detail: "too many servers to ask on the way",
            })
    }
}

/// What is asked, and on whose account.
#[derive(Clone, Copy, Debug)]
struct Errand<'a> {
    name: &'a Name,
    kind: RecordType,
    asking: Asking,
    /// 0 for the question itself, more for addresses of servers on the way.
    depth: usize,
    purse: &'a Purse,
}

impl Walk {
    /// `roots` are the root's servers, those of other zones listen at `port`. Only addresses that `policy` allows are
    /// asked.
    pub(crate) fn new(roots: Vec<SocketAddr>, policy: AddressPolicy, port: u16) -> Self {
        Self {
            root: Arc::new(Cut {
                zone: Name::root(),
                until: None,
                glued: roots,
                delegation: None,
                found: Mutex::new(Gathered::new(Instant::now())),
            }),
            policy,
            port,
            memory: Mutex::default(),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The message of a server that serves the zone that `name` is in.
    pub(crate) async fn fetch(
        &self,
        sender: &Sender,
        name: &Name,
        kind: RecordType,
        asking: Asking,
    ) -> Result<Message, NoAnswer> {
        let purse = Purse {
            rounds: AtomicU32::new(MAX_ROUNDS),
        };
        let errand = Errand {
            name,
            kind,
            asking,
            depth: 0,
            purse: &purse,
        };
        match self.descend(sender, errand).await? {
            Found::Message(message) => Ok(message),
            Found::Addresses(_) => Err(NoAnswer::Malformed {
                detail: "addresses, but none were asked for",
            }),
        }
    }

    async fn descend(&self, sender: &Sender, errand: Errand<'_>) -> Result<Found, NoAnswer> {
        for _ in 0..MAX_STEPS {
            let cut = self.nearest(errand.name, errand.kind);
            // What came along with a delegation is enough to ask a server, though not to answer a user.
            if errand.depth > 0
                && let Some(delegation) = &cut.delegation
                && let Some(addresses) = delegation.servers.get(errand.name)
                && !addresses.is_empty()
            {
                return Ok(Found::Addresses(addresses.clone()));
            }
            let mut own = None;
            // Only questions of users wait for each other: who finds a server's address waits for nobody, so that no
            // two can wait for one another.
            if errand.depth == 0
                && let Some(scout) = self.scout(&cut.zone, errand.name)
            {
                let look = async {
                    let word = self.ask(sender, &cut, errand).await;
                    let found = word.as_ref().map(|_| ()).map_err(Clone::clone);
                    own = Some(word);
                    found
                };
                let found = scout.found.get_or_init(|| look).await;
                if own.is_none() {
                    if let Err(reason @ (NoAnswer::TimedOut { .. } | NoAnswer::Unreachable)) = found
                    {
                        return Err(reason.clone());
                    }
                    if self.nearest(errand.name, errand.kind).zone != cut.zone {
                        continue;
                    }
                }
            }
            let word = match own {
                Some(word) => word,
                None => self.ask(sender, &cut, errand).await,
            };
            match word? {
                Word::Answer(message) => return Ok(Found::Message(message)),
                // Remembered already; the next step finds it.
                Word::Referral(_) => {}
            }
        }
        Err(NoAnswer::Malformed {
            detail: "too many referrals",
        })
    }

    /// Asks the servers of a zone: those whose addresses came with the delegation first.
    async fn ask(&self, sender: &Sender, cut: &Cut, errand: Errand<'_>) -> Result<Word, NoAnswer> {
        let mut failure = NoAnswer::Malformed {
            detail: "a delegation to servers without usable address",
        };
        if !cut.glued.is_empty() {
            match self.ask_at(sender, cut, &cut.glued, errand).await {
                Ok(word) => return Ok(word),
                Err(reason) => failure = reason,
            }
        }
        let (mut servers, is_all) = self.addresses(sender, cut, errand).await;
        if !servers.is_empty() {
            match self.ask_at(sender, cut, &servers, errand).await {
                Ok(word) => return Ok(word),
                Err(reason) => failure = reason,
            }
        }
        if !is_all {
            let (mut further, _) = self.gather(sender, cut, errand, None).await;
            further.retain(|server| !servers.contains(server));
            servers = further;
            if !servers.is_empty() {
                return self.ask_at(sender, cut, &servers, errand).await;
            }
        }
        Err(failure)
    }

    /// The addresses of servers that came without. Only questions of users wait for each other here, as at scouts.
    async fn addresses(&self, sender: &Sender, cut: &Cut, errand: Errand<'_>) -> Addresses {
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
    async fn gather(
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

    async fn ask_at(
        &self,
        sender: &Sender,
        cut: &Cut,
        servers: &[SocketAddr],
        errand: Errand<'_>,
    ) -> Result<Word, NoAnswer> {
        errand.purse.pay()?;
        let question = (errand.name, errand.kind);
        let word = sender
            .ask(servers, &cut.zone, question, errand.asking, |message| {
                judge(message, &cut.zone, question, &self.policy)
            })
            .await?;
        if let Word::Referral(delegation) = &word {
            self.remember(delegation.clone());
        }
        Ok(word)
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

    /// The deepest zone known to hold the name. DS records are in the zone above (RFC 4035 section 3.1.4.1).
    fn nearest(&self, name: &Name, kind: RecordType) -> Arc<Cut> {
        let octets = octets_of(name);
        let skip = |at: &[u8]| at.first().map_or(0, |length| usize::from(*length) + 1);
        let mut at = &octets[..];
        if kind == RecordType::DS {
            at = &at[skip(at)..];
        }
        let memory = self.memory();
        let now = Instant::now();
        while !at.is_empty() {
            if let Some(cut) = memory.cuts.get(at)
                && cut.until.is_none_or(|until| now < until)
            {
                return Arc::clone(cut);
            }
            at = &at[skip(at)..];
        }
        Arc::clone(&self.root)
    }

    /// The servers that a zone is delegated to, if somebody referred to them; without their addresses.
    pub(crate) fn delegated(&self, zone: &Name) -> Option<(Vec<Name>, u32)> {
        let memory = self.memory();
        let cut = memory.cuts.get(&*octets_of(zone))?;
        let delegation = cut.delegation.as_ref()?;
        let is_valid = cut.until.is_none_or(|until| Instant::now() < until);
        let servers = || delegation.servers.keys().cloned().collect();
        is_valid.then(|| (servers(), delegation.ttl_seconds))
    }

    /// Is the name in a zone that somebody referred to, below its apex?
    pub(crate) fn is_within_delegated(&self, name: &Name) -> bool {
        let cut = self.nearest(name, RecordType::NS);
        cut.delegation.is_some() && cut.zone != *name
    }

    fn remember(&self, delegation: Delegation) {
        let now = Instant::now();
        let (shortest, longest) = LIFETIME;
        let lifetime = Duration::from_secs(delegation.ttl_seconds.into());
        let cut = Cut {
            zone: delegation.zone.clone(),
            until: Some(now + lifetime.clamp(shortest, longest)),
            glued: delegation
                .servers
                .values()
                .flatten()
                .map(|address| (*address, self.port).into())
                .collect(),
            delegation: Some(delegation),
            found: Mutex::new(Gathered::new(now)),
        };
        let mut memory = self.memory();
        bound(&mut memory.cuts, |cut| {
            cut.until.is_none_or(|until| now < until)
        });
        memory
            .cuts
            .insert(octets_of(&cut.zone).into(), Arc::new(cut));
    }

    /// Who asks first in `zone` on behalf of all names that are expected in the same zone below it; `None` if none is.
    fn scout(&self, zone: &Name, name: &Name) -> Option<Scout> {
        let below = expected_zone(zone, name)?;
        let mut memory = self.memory();
        let now = Instant::now();
        bound(&mut memory.scouts, |scout| now < scout.until);
        let fresh = || Scout {
            found: Arc::default(),
            until: now + LIFETIME.0,
        };
        let scout = memory
            .scouts
            .entry((zone.clone(), below))
            .or_insert_with(fresh);
        let has_failed = matches!(scout.found.get(), Some(Err(_)));
        if now >= scout.until || has_failed {
            *scout = fresh();
        }
        Some(scout.clone())
    }
}

impl Host {
    fn new(now: Instant) -> Self {
        Self {
            addresses: Arc::default(),
            until: now + LIFETIME.0,
        }
    }
}

/// The name on the wire, in lower case and without the root's octet: the zones above it are its ends.
fn octets_of(name: &Name) -> Vec<u8> {
    let mut octets = Vec::with_capacity(name.len());
    for label in name {
        octets.extend(u8::try_from(label.len()));
        octets.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    octets
}

/// Where the zone of `name` may start, strictly below `zone`: the root delegates names of one label; others delegate
/// the owner of services and hosts. None where hardly anybody delegates, and waiting for a scout would cost a round trip.
fn expected_zone(zone: &Name, name: &Name) -> Option<Name> {
    let is_reverse = zone
        .iter()
        .next_back()
        .is_some_and(|label| label.eq_ignore_ascii_case(b"arpa"));
    if zone.num_labels() >= 2 && !is_reverse {
        return None;
    }
    let mut below = name.clone();
    let mut is_service = false;
    while below
        .iter()
        .next()
        .is_some_and(|label| label.first() == Some(&b'_'))
    {
        below = below.base_name();
        is_service = true;
    }
    if !is_service {
        below = below.base_name();
    }
    if zone.is_root() {
        below = below.trim_to(1);
    }
    (zone.zone_of(&below) && below != *zone).then_some(below)
}

/// Makes room for one more: drops what is over, or else everything.
fn bound<K: Hash + Eq, V>(map: &mut HashMap<K, V>, is_valid: impl Fn(&V) -> bool) {
    if map.len() >= MAX_REMEMBERED {
        map.retain(|_, value| is_valid(value));
        if map.len() >= MAX_REMEMBERED {
            map.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_expected_where_they_usually_start() {
        for (zone, name, want) in [
            (".", "4.3.2.240.in-addr.arpa.", Some("arpa.")),
            (
                "in-addr.arpa.",
                "4.3.2.240.in-addr.arpa.",
                Some("3.2.240.in-addr.arpa."),
            ),
            ("3.2.240.in-addr.arpa.", "4.3.2.240.in-addr.arpa.", None),
            (".", "_edge._tcp.isp.example.", Some("example.")),
            ("example.", "_edge._tcp.isp.example.", Some("isp.example.")),
            ("isp.example.", "_edge._tcp.isp.example.", None),
            ("isp.example.", "a.edge.isp.example.", None),
            ("example.", "site.isp.example.", Some("isp.example.")),
            (".", "example.", None),
        ] {
            let parsed = |text: &str| Name::from_ascii(text).unwrap();
            assert_eq!(
                expected_zone(&parsed(zone), &parsed(name)),
                want.map(parsed),
                "{name} in {zone}"
            );
        }
    }
}
