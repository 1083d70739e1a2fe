//! What is remembered of the way down.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge_discovery::NoAnswer;
use hickory_proto::rr::{Name, RecordType};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::Walk;
use super::hosts::{Gathered, Host};
use crate::delegation::Delegation;

/// Delegations, scouts and server addresses remembered, each.
const MAX_REMEMBERED: usize = 50_000;
/// Shortest and longest time for which they are.
pub(super) const LIFETIME: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_hours(24));

/// A place in the tree of zones, and who is asked there.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) zone: Name,
    /// Of its name.
    n_octets: u8,
    pub(super) until: Option<Instant>,
    /// Where to ask: as configured for the root, or as it came along with the delegation.
    pub(super) glued: Vec<SocketAddr>,
    /// `None` for the root.
    pub(super) delegation: Option<Delegation>,
    /// Addresses of servers that came without, looked for once for all who ask here.
    pub(super) found: Mutex<Gathered>,
}

/// Who goes first where many want to know the same way.
#[derive(Clone, Debug)]
pub(super) struct Scout {
    pub(super) found: Arc<OnceCell<Result<(), NoAnswer>>>,
    until: Instant,
}

/// Hashed, since names are slow to compare in order and every question looks several up.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// By the octets of the zone's name: see [`octets_of`].
    cuts: HashMap<Box<[u8]>, Arc<Cut>>,
    /// By the octets of the name where the next zone is expected, after how many octets of it are the zone above.
    scouts: HashMap<Box<[u8]>, Scout>,
    pub(super) hosts: HashMap<(Name, RecordType), Host>,
}

impl Walk {
    /// The deepest zone known to hold the name with these octets. DS records are in the zone above (RFC 4035 section
    /// 3.1.4.1).
    pub(super) fn nearest(&self, octets: &[u8], kind: RecordType) -> Arc<Cut> {
        let mut at = octets;
        if kind == RecordType::DS {
            at = above(at);
        }
        let memory = self.memory();
        let now = Instant::now();
        while !at.is_empty() {
            if let Some(cut) = memory.cuts.get(at)
                && cut.until.is_none_or(|until| now < until)
            {
                return Arc::clone(cut);
            }
            at = above(at);
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
        let cut = self.nearest(&octets_of(name), RecordType::NS);
        cut.delegation.is_some() && cut.zone != *name
    }

    pub(super) fn remember(&self, delegation: Delegation) {
        let now = Instant::now();
        let (shortest, longest) = LIFETIME;
        let lifetime = Duration::from_secs(delegation.ttl_seconds.into());
        let octets = octets_of(&delegation.zone);
        let cut = Cut {
            zone: delegation.zone.clone(),
            n_octets: u8::try_from(octets.len()).unwrap_or(u8::MAX),
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
        memory.cuts.insert(octets.into(), Arc::new(cut));
    }

    /// Who asks first in a zone on behalf of all names that are expected in the same zone below it; `None` if none is.
    pub(super) fn scout(&self, cut: &Cut, octets: &[u8]) -> Option<Scout> {
        let zone = octets.len().checked_sub(cut.n_octets.into())?;
        let below = expected_zone(&octets[zone..], octets)?;
        let mut key = Vec::with_capacity(1 + below.len());
        key.push(cut.n_octets);
        key.extend_from_slice(below);
        let mut memory = self.memory();
        let now = Instant::now();
        bound(&mut memory.scouts, |scout| now < scout.until);
        let fresh = || Scout {
            found: Arc::default(),
            until: now + LIFETIME.0,
        };
        let scout = memory.scouts.entry(key.into()).or_insert_with(fresh);
        let has_failed = matches!(scout.found.get(), Some(Err(_)));
        if now >= scout.until || has_failed {
            *scout = fresh();
        }
        Some(scout.clone())
    }
}

impl Cut {
    /// The root, with its servers.
    pub(super) fn root(servers: Vec<SocketAddr>) -> Self {
        Self {
            zone: Name::root(),
            n_octets: 0,
            until: None,
            glued: servers,
            delegation: None,
            found: Mutex::new(Gathered::new(Instant::now())),
        }
    }
}

/// The name on the wire, in lower case and without the root's octet: the zones above it are its ends.
pub(super) fn octets_of(name: &Name) -> Vec<u8> {
    let mut octets = Vec::with_capacity(name.len());
    for label in name {
        octets.extend(u8::try_from(label.len()));
        octets.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    octets
}

/// The name without its first label.
fn above(octets: &[u8]) -> &[u8] {
    let first = octets.first().map_or(0, |length| usize::from(*length) + 1);
    octets.get(first..).unwrap_or_default()
}

/// Where the zone of `name` may start, strictly below `zone`, in which it is: the root delegates names of one label; others
/// delegate the owner of services and hosts. None where hardly anybody delegates, and waiting for a scout would cost a round
/// trip.
fn expected_zone<'a>(zone: &[u8], name: &'a [u8]) -> Option<&'a [u8]> {
    let is_reverse = zone.ends_with(b"\x04arpa");
    let has_one_label = !zone.is_empty() && above(zone).is_empty();
    if !zone.is_empty() && !has_one_label && !is_reverse {
        return None;
    }
    let mut below = name;
    while below.get(1) == Some(&b'_') {
        below = above(below);
    }
    if below.len() == name.len() {
        below = above(below);
    }
    while zone.is_empty() && !above(below).is_empty() {
        below = above(below);
    }
    (below.len() > zone.len()).then_some(below)
}

/// Makes room for one more: drops what is over, or else everything.
pub(super) fn bound<K: Hash + Eq, V>(map: &mut HashMap<K, V>, is_valid: impl Fn(&V) -> bool) {
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
            let parsed = |text: &str| octets_of(&Name::from_ascii(text).unwrap());
            assert_eq!(
                expected_zone(&parsed(zone), &parsed(name)),
                want.map(parsed).as_deref(),
                "{name} in {zone}"
            );
        }
    }
}
