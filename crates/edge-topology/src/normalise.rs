//! What is left of a traceroute without its artefacts.

use std::collections::BTreeSet;
use std::net::IpAddr;

use edge_types::{Hop, HopReply, PathEnd, PathObservation, Rtt};

use crate::grouping::is_private;

/// An address that answered; one of private space is told apart by where it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Interface {
    /// The address.
    pub(crate) address: IpAddr,
    /// For private space, the last address before it on the path that is not; `None` for others.
    pub(crate) behind: Option<IpAddr>,
}

impl Interface {
    /// `address`, seen after `last_public`.
    pub(crate) fn new(address: IpAddr, last_public: Option<IpAddr>) -> Self {
        Self {
            address,
            behind: last_public.filter(|_| is_private(address)),
        }
    }
}

/// A path without repeats: known places, each with the number of silent hops right before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CleanPath<K> {
    /// Known places in order, with the number of silent hops before each.
    pub(crate) places: Vec<(u8, K)>,
    /// Silent hops after the last known place.
    pub(crate) tail: u8,
}

impl<K: PartialEq> CleanPath<K> {
    /// Collapses repeats and erases loops: coming back to a place forgets all that was seen since.
    ///
    /// Repeats come from routers that forward packets with an expired TTL, loops from routes in change and from
    /// balancing over paths of unequal length; in each case the way on from the *last* visit is the real one.
    /// Silence between two visits of one place is forgotten with them.
    pub(crate) fn new(hops: impl IntoIterator<Item = (u8, Option<K>)>) -> Self {
        let mut places: Vec<(u8, K)> = Vec::new();
        let mut silent = 0u8;
        for (silent_before, hop) in hops {
            silent = silent.saturating_add(silent_before);
            match hop {
                None => silent = silent.saturating_add(1),
                Some(place) => {
                    match places.iter().position(|(_, known)| *known == place) {
                        Some(first) => places.truncate(first + 1),
                        None => places.push((silent, place)),
                    }
                    silent = 0;
                }
            }
        }
        Self {
            places,
            tail: silent,
        }
    }
}

/// A traceroute's routers, and whether and when the target itself answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouterPath {
    /// Routers; the tail counts silent hops between the last router and the target, and is 0 if the target is silent.
    pub(crate) routers: CleanPath<Interface>,
    /// Others that answered in the place of a router: its position, and the interface. Balancing per packet, or several flows.
    pub(crate) beside: BTreeSet<(u8, Interface)>,
    /// The target, if it answered itself.
    pub(crate) arrival: Option<Interface>,
    /// The least round trip of the target's own connections, if it did not answer probes.
    pub(crate) connected: Option<Rtt>,
}

impl RouterPath {
    pub(crate) fn new(path: &PathObservation) -> Self {
        let seen = interfaces(path);
        let arrival = match (path.end, path.hops.last(), seen.last()) {
            (PathEnd::Reached, Some(Hop::Reply(reply)), Some(Some(interface)))
                if reply.address == path.target =>
            {
                Some(*interface)
            }
            _ => None,
        };
        let on_the_way = seen
            .iter()
            .copied()
            .take_while(|seen| seen.is_none_or(|interface| interface.address != path.target));
        let mut routers = CleanPath::new(on_the_way.map(|seen| (0, seen)));
        if arrival.is_none() {
            routers.tail = 0; // silence with nothing behind it proves nothing
        }

        let position = |interface: &Interface| {
            (0u8..)
                .zip(&routers.places)
                .find(|(_, (_, known))| known == interface)
                .map(|(position, _)| position)
        };
        let beside = path
            .further
            .iter()
            .filter_map(|(ttl, reply)| {
                let (first, further) = further(&seen, *ttl, reply)?;
                let at = position(&first)?;
                let is_other = further.address != path.target && position(&further).is_none();
                is_other.then_some((at, further))
            })
            .collect();
        let own = path.further.iter();
        let own = own.filter(|(ttl, reply)| *ttl == 0 && reply.address == path.target);
        let connected = own.filter_map(|(_, reply)| reply.rtt).min();
        Self {
            routers,
            beside,
            arrival,
            connected: connected.filter(|_| arrival.is_none()),
        }
    }

    /// The replies to `path` that are samples, each with its TTL and who sent it: those of an interface that was kept.
    ///
    /// What went with a loop is left out, so that it does not depend on other paths what is known of an interface.
    pub(crate) fn samples<'a>(
        &'a self,
        path: &'a PathObservation,
    ) -> impl Iterator<Item = (u8, Interface, &'a HopReply)> {
        let seen = interfaces(path);
        let kept: BTreeSet<Interface> = self.interfaces().collect();
        let first: Vec<_> = path
            .replies()
            .filter_map(|(ttl, reply)| Some((ttl, seen[usize::from(ttl) - 1]?, reply)))
            .collect();
        let further = path.further.iter().filter_map(move |(ttl, reply)| {
            let (_, further) = further(&seen, *ttl, reply)?;
            Some((*ttl, further, reply))
        });
        first
            .into_iter()
            .chain(further)
            .filter(move |(_, interface, _)| kept.contains(interface))
    }

    /// Every interface that answered and was kept, once.
    pub(crate) fn interfaces(&self) -> impl Iterator<Item = Interface> {
        let routers = self.routers.places.iter().map(|(_, router)| *router);
        let beside: BTreeSet<Interface> = self.beside.iter().map(|(_, other)| *other).collect();
        routers.chain(beside).chain(self.arrival)
    }
}

/// Who answered at each hop.
fn interfaces(path: &PathObservation) -> Vec<Option<Interface>> {
    let mut last_public = None;
    path.hops
        .iter()
        .map(|hop| match hop {
            Hop::NoReply => None,
            Hop::Reply(reply) => {
                let interface = Interface::new(reply.address, last_public);
                if !is_private(reply.address) {
                    last_public = Some(reply.address);
                }
                Some(interface)
            }
        })
        .collect()
}

/// Who answered first at `ttl`, and who sent the further `reply` from there.
fn further(
    seen: &[Option<Interface>],
    ttl: u8,
    reply: &HopReply,
) -> Option<(Interface, Interface)> {
    let before = usize::from(ttl).checked_sub(1)?;
    let first = (*seen.get(before)?)?;
    let mut known = seen[..before].iter().rev().flatten();
    let last_public = known
        .find(|interface| !is_private(interface.address))
        .map(|interface| interface.address);
    Some((first, Interface::new(reply.address, last_public)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hops: &str, places: &[(u8, char)], tail: u8) {
        let hops = hops.chars().map(|hop| (0, (hop != '*').then_some(hop)));
        let expected = CleanPath {
            places: places.to_vec(),
            tail,
        };
        assert_eq!(CleanPath::new(hops), expected);
    }

    #[test]
    fn repeats_collapse_and_loops_are_erased() {
        check("abc", &[(0, 'a'), (0, 'b'), (0, 'c')], 0);
        check("aabbb", &[(0, 'a'), (0, 'b')], 0);
        check("abac", &[(0, 'a'), (0, 'c')], 0);
        check("ababab", &[(0, 'a'), (0, 'b')], 0);
        check("a*ab", &[(0, 'a'), (0, 'b')], 0);
    }

    #[test]
    fn silence_is_counted_where_it_is() {
        check("**a*b**", &[(2, 'a'), (1, 'b')], 2);
        check("***", &[], 3);
        check("a**ba*c", &[(0, 'a'), (1, 'c')], 0);
    }
}
