//! Outages that are put into real paths: one router fails, and what was behind it is reached another way or not at all.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One line of our JSON; what is not changed here is kept as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Route {
    target: String,
    reached: bool,
    end: String,
    hops: Vec<At>,
    #[serde(default)]
    further: Vec<At>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct At {
    ttl: u8,
    addr: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// What becomes of the targets behind the router that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outage {
    /// At its place is another router, which was on the way to others only.
    Rerouted,
    /// Nothing answers from its place on.
    Cut,
}

/// The router that fails has this share of the targets that answer behind it, in percent. What never answers cannot fall silent.
const BEHIND: std::ops::RangeInclusive<usize> = 2..=20;

/// What was done.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Injected {
    /// Share of the targets that answer that were behind the router.
    pub(super) share: f64,
}

impl Outage {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rerouted => "rerouted",
            Self::Cut => "cut",
        }
    }

    /// Lets one router fail, by `seed`; `None` if none has the right share of the targets behind it, or none is there instead.
    ///
    /// Only the last route to each target counts, and is kept.
    pub(super) fn inject(self, routes: &mut Vec<Route>, seed: u64) -> Option<Injected> {
        let last: BTreeMap<String, usize> = (0..)
            .zip(routes.iter())
            .map(|(at, route)| (route.target.clone(), at))
            .collect();
        let mut last: Vec<usize> = last.into_values().collect();
        last.sort_unstable();
        *routes = last.into_iter().map(|at| routes[at].clone()).collect();

        let mut behind: BTreeMap<&str, usize> = BTreeMap::new();
        let answering = routes.iter().filter(|route| route.reached);
        for route in answering.clone() {
            for router in route.routers() {
                *behind.entry(router).or_default() += 1;
            }
        }
        let total = answering.count();
        let is_share = |count: &usize| {
            let (least, most) = (BEHIND.start(), BEHIND.end());
            (least * total..=most * total).contains(&(count * 100))
        };
        let mut random = SplitMix(seed);
        let candidates = behind.iter().filter(|(_, count)| is_share(count));
        let candidates: Vec<&str> = candidates.map(|(router, _)| *router).collect();
        let failed = random.pick(&candidates)?.to_owned();
        let concerned: BTreeSet<&str> = routes
            .iter()
            .filter(|route| route.routers().contains(failed.as_str()))
            .flat_map(Route::routers)
            .collect();
        let others: Vec<&str> = behind
            .keys()
            .copied()
            .filter(|router| !concerned.contains(router))
            .collect();
        let instead = random.pick(&others)?.to_owned();

        let mut count = 0usize;
        for route in routes {
            if !route.routers().contains(failed.as_str()) {
                continue;
            }
            count += usize::from(route.reached);
            match self {
                Self::Rerouted => route.replace(&failed, &instead),
                Self::Cut => route.cut(&failed),
            }
        }
        Some(Injected {
            share: count as f64 / total as f64,
        })
    }
}

impl Route {
    /// All that answered but the target.
    fn routers(&self) -> BTreeSet<&str> {
        let hops = self.hops.iter().filter_map(|hop| hop.addr.as_deref());
        hops.filter(|address| *address != self.target).collect()
    }

    fn replace(&mut self, failed: &str, instead: &str) {
        for hop in self.hops.iter_mut().chain(&mut self.further) {
            if hop.addr.as_deref() == Some(failed) {
                hop.addr = Some(instead.to_owned());
            }
        }
    }

    fn cut(&mut self, failed: &str) {
        let at = self
            .hops
            .iter()
            .position(|hop| hop.addr.as_deref() == Some(failed));
        let Some(at) = at else { return };
        for hop in &mut self.hops[at..] {
            hop.addr = None;
        }
        let ttl = self.hops[at].ttl;
        self.further.retain(|hop| hop.ttl < ttl);
        self.reached = false;
        "silent".clone_into(&mut self.end);
        self.rest.remove("unreachable_code");
    }
}

/// A small generator of numbers (Steele, Lea and Flood 2014).
struct SplitMix(u64);

impl SplitMix {
    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let index = mixed.checked_rem(from.len() as u64)?;
        from.get(usize::try_from(index).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten targets behind a common router; one of them also behind `r2`, and one behind `r3`.
    fn routes() -> Vec<Route> {
        let route = |number: usize| {
            let second = match number {
                0 => "r2",
                1 => "r3",
                _ => "r4",
            };
            let at = |ttl, addr: &str| At {
                ttl,
                addr: Some(addr.to_owned()),
                rest: Map::new(),
            };
            let target = format!("t{number}");
            Route {
                hops: vec![at(1, "r1"), at(2, second), at(3, &target)],
                target,
                reached: true,
                end: "reached".to_owned(),
                further: Vec::new(),
                rest: Map::new(),
            }
        };
        (0..10).map(route).collect()
    }

    #[test]
    fn one_router_of_the_right_size_fails_and_others_stay() {
        for seed in 0..10 {
            for outage in [Outage::Rerouted, Outage::Cut] {
                let before = routes();
                let mut after = before.clone();
                let injected = outage.inject(&mut after, seed).unwrap();
                assert!((injected.share - 0.1).abs() < 1e-12);
                let changed: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
                let [(old, new)] = changed.as_slice() else {
                    panic!("{changed:?}")
                };
                assert_ne!(old.hops[1].addr.as_deref(), Some("r4"));
                assert_ne!(old.hops[1].addr, new.hops[1].addr);
                assert_eq!(new.hops[2].addr.is_some(), outage == Outage::Rerouted);
                assert_eq!(new.reached, outage == Outage::Rerouted);
            }
        }
    }

    #[test]
    fn the_same_seed_is_the_same_outage() {
        let once = |seed| {
            let mut routes = routes();
            Outage::Rerouted.inject(&mut routes, seed);
            routes
        };
        assert_eq!(once(7), once(7));
        assert!((0..20).any(|seed| once(seed) != once(7)));
    }
}
