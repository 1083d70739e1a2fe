//! What is left of a traceroute without its artefacts.

use std::net::IpAddr;

use edge_types::{Hop, HopReply, PathEnd, PathObservation};

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
    pub(crate) routers: CleanPath<IpAddr>,
    /// The target's own answer.
    pub(crate) arrival: Option<HopReply>,
}

impl RouterPath {
    pub(crate) fn new(path: &PathObservation) -> Self {
        let arrival = match (path.end, path.hops.last()) {
            (PathEnd::Reached, Some(Hop::Reply(reply))) if reply.address == path.target => {
                Some(*reply)
            }
            _ => None,
        };
        let on_the_way = path
            .hops
            .iter()
            .map(|hop| match hop {
                Hop::Reply(reply) => Some(reply.address),
                Hop::NoReply => None,
            })
            .take_while(|address| *address != Some(path.target))
            .map(|address| (0, address));
        let mut routers = CleanPath::new(on_the_way);
        if arrival.is_none() {
            routers.tail = 0; // silence with nothing behind it proves nothing
        }
        Self { routers, arrival }
    }
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
