//! Least-cost paths with flow-hashed choice among equals.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{LinkId, Route, RouterIndex};

/// Routes kept; the store is emptied when it grows beyond this.
const MAX_CACHED: usize = 1 << 16;

type CacheKey = (RouterIndex, RouterIndex, Option<u64>);

#[derive(Debug)]
pub(super) struct Routing {
    salts: Vec<u64>,
    /// For each router the links that end there: (other end, link, cost).
    incoming: Vec<Vec<(RouterIndex, LinkId, u32)>>,
    /// For each destination, once somebody asked.
    towards: Vec<OnceLock<NextHops>>,
    cache: Mutex<BTreeMap<CacheKey, Arc<Route>>>,
}

/// For each router the equally good next hops towards one destination; none at the destination itself.
type NextHops = Vec<Vec<(RouterIndex, LinkId)>>;

impl Routing {
    /// `links[i]` is the directed link `i`: from, to, cost (at least 1).
    pub(super) fn new(
        seed: u64,
        routers: usize,
        links: &[(RouterIndex, RouterIndex, u32)],
    ) -> Self {
        let mut incoming = vec![Vec::new(); routers];
        for (id, (from, to, cost)) in (0u32..).zip(links) {
            incoming[at(*to)].push((*from, LinkId(id), *cost));
        }
        Self {
            salts: (0..routers as u64).map(|i| mix(mix(seed) ^ i)).collect(),
            incoming,
            towards: (0..routers).map(|_| OnceLock::new()).collect(),
            cache: Mutex::new(BTreeMap::new()),
        }
    }

    pub(super) fn path(&self, from: RouterIndex, to: RouterIndex, flow_hash: u64) -> Arc<Route> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let known = cache
            .get(&(from, to, None))
            .or_else(|| cache.get(&(from, to, Some(flow_hash))));
        if let Some(route) = known {
            return Arc::clone(route);
        }
        let (route, depends_on_flow) = self.walk(from, to, flow_hash);
        let route = Arc::new(route);
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        let key = (from, to, depends_on_flow.then_some(flow_hash));
        cache.insert(key, Arc::clone(&route));
        route
    }

    /// The route of a flow, and whether another flow could take another.
    fn walk(&self, from: RouterIndex, to: RouterIndex, flow_hash: u64) -> (Route, bool) {
        let next_hops = self.towards(to);
        let mut route = Route {
            routers: vec![from],
            links: Vec::new(),
        };
        let mut depends_on_flow = false;
        let mut here = from;
        while here != to {
            let choices = &next_hops[at(here)];
            let choice = if choices.len() > 1 {
                depends_on_flow = true;
                let hash = mix(flow_hash ^ self.salts[at(here)]);
                usize::try_from(hash % choices.len() as u64).unwrap_or(0)
            } else {
                0
            };
            let (next, link) = choices[choice];
            route.routers.push(next);
            route.links.push(link);
            here = next;
        }
        (route, depends_on_flow)
    }

    pub(super) fn possible_paths(
        &self,
        from: RouterIndex,
        to: RouterIndex,
        limit: usize,
    ) -> Vec<Route> {
        let next_hops = self.towards(to);
        let mut found = Vec::new();
        let mut open = vec![Route {
            routers: vec![from],
            links: Vec::new(),
        }];
        while let Some(route) = open.pop() {
            if found.len() >= limit {
                break;
            }
            let here = *route.routers.last().expect("a route is never empty");
            if here == to {
                found.push(route);
                continue;
            }
            for (next, link) in next_hops[at(here)].iter().rev() {
                let mut longer = route.clone();
                longer.routers.push(*next);
                longer.links.push(*link);
                open.push(longer);
            }
        }
        found.sort();
        found
    }

    fn towards(&self, to: RouterIndex) -> &NextHops {
        self.towards[at(to)].get_or_init(|| self.next_hops(to))
    }

    /// Dijkstra's algorithm from the destination, over reversed links.
    fn next_hops(&self, to: RouterIndex) -> NextHops {
        let mut best = vec![u64::MAX; self.incoming.len()];
        best[at(to)] = 0;
        let mut open = BinaryHeap::from([(Reverse(0u64), to)]);
        while let Some((Reverse(cost), here)) = open.pop() {
            if cost > best[at(here)] {
                continue;
            }
            for (from, _, link_cost) in &self.incoming[at(here)] {
                let total = cost + u64::from(*link_cost);
                if total < best[at(*from)] {
                    best[at(*from)] = total;
                    open.push((Reverse(total), *from));
                }
            }
        }
        let mut next_hops = vec![Vec::new(); self.incoming.len()];
        for (here, links) in (0u16..).map(RouterIndex).zip(&self.incoming) {
            for (from, link, link_cost) in links {
                let through = best[at(here)].saturating_add(u64::from(*link_cost));
                if *from != to && through != u64::MAX && best[at(*from)] == through {
                    next_hops[at(*from)].push((here, *link));
                }
            }
        }
        next_hops
    }
}

fn at(index: RouterIndex) -> usize {
    usize::from(index.0)
}

/// The finalizer of `SplitMix64`: every input bit affects every output bit.
pub(crate) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
