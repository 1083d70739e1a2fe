//! Least-cost paths with flow-hashed choice among equals.
//!
//! What leads towards a destination is computed for all routers at once, when somebody asks. From one router, the hub,
//! almost everything is asked for; there one search outwards serves all destinations, or a large network would need
//! the square of its size in memory and a search for each destination while packets wait.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
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
    hub: RouterIndex,
    /// For each router the equally good last hops from the hub; none at the hub itself.
    from_hub: Vec<Hops>,
    /// For each destination, once somebody asked.
    towards: Vec<OnceLock<NextHops>>,
    cache: Mutex<BTreeMap<CacheKey, Arc<Route>>>,
}

/// Neighbours, and the links between.
type Hops = Vec<(RouterIndex, LinkId)>;

/// For each router the equally good next hops towards one destination; none at the destination itself.
type NextHops = Vec<Hops>;

/// The equally good next hops of all routers that can be on the way between two.
enum Choices<'a> {
    All(&'a NextHops),
    OnTheWay(BTreeMap<RouterIndex, Hops>),
}

impl Choices<'_> {
    fn at(&self, here: RouterIndex) -> &[(RouterIndex, LinkId)] {
        match self {
            Self::All(next_hops) => &next_hops[at(here)],
            Self::OnTheWay(next_hops) => next_hops.get(&here).map_or(&[], Vec::as_slice),
        }
    }
}

impl Routing {
    /// `links[i]` is the directed link `i`: from, to, cost (at least 1). Paths from and to `hub` are cheap.
    pub(super) fn new(
        seed: u64,
        routers: usize,
        links: &[(RouterIndex, RouterIndex, u32)],
        hub: RouterIndex,
    ) -> Self {
        let (mut incoming, mut outgoing) = (vec![Vec::new(); routers], vec![Vec::new(); routers]);
        for (id, (from, to, cost)) in (0u32..).zip(links) {
            incoming[at(*to)].push((*from, LinkId(id), *cost));
            outgoing[at(*from)].push((*to, LinkId(id), *cost));
        }
        let routing = Self {
            salts: (0..routers as u64).map(|i| mix(mix(seed) ^ i)).collect(),
            from_hub: least_cost_hops(&outgoing, hub),
            incoming,
            hub,
            towards: (0..routers).map(|_| OnceLock::new()).collect(),
            cache: Mutex::new(BTreeMap::new()),
        };
        routing.towards(hub);
        routing
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
        let next_hops = self.choices(from, to);
        let mut route = Route {
            routers: vec![from],
            links: Vec::new(),
        };
        let mut depends_on_flow = false;
        let mut here = from;
        while here != to {
            let choices = next_hops.at(here);
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
        let next_hops = self.choices(from, to);
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
            for (next, link) in next_hops.at(here).iter().rev() {
                let mut longer = route.clone();
                longer.routers.push(*next);
                longer.links.push(*link);
                open.push(longer);
            }
        }
        found.sort();
        found
    }

    fn choices(&self, from: RouterIndex, to: RouterIndex) -> Choices<'_> {
        if from == self.hub && to != self.hub {
            return Choices::OnTheWay(self.on_the_way_to(to));
        }
        Choices::All(self.towards(to))
    }

    /// The next hops of all routers on least-cost paths from the hub, in the same order as [`Self::towards`].
    fn on_the_way_to(&self, to: RouterIndex) -> BTreeMap<RouterIndex, Hops> {
        let mut next_hops: BTreeMap<RouterIndex, Hops> = BTreeMap::new();
        let (mut seen, mut open) = (BTreeSet::from([to]), vec![to]);
        while let Some(here) = open.pop() {
            for (before, link) in &self.from_hub[at(here)] {
                next_hops.entry(*before).or_default().push((here, *link));
                if seen.insert(*before) {
                    open.push(*before);
                }
            }
        }
        for hops in next_hops.values_mut() {
            hops.sort_unstable();
        }
        next_hops
    }

    fn towards(&self, to: RouterIndex) -> &NextHops {
        self.towards[at(to)].get_or_init(|| least_cost_hops(&self.incoming, to))
    }
}

/// For each router the equally good hops that lead back to `origin` where `links` lead away from it, by Dijkstra's
/// algorithm; over reversed links these are the next hops towards `origin`. In order.
fn least_cost_hops(links: &[Vec<(RouterIndex, LinkId, u32)>], origin: RouterIndex) -> NextHops {
    let mut best = vec![u64::MAX; links.len()];
    best[at(origin)] = 0;
    let mut open = BinaryHeap::from([(Reverse(0u64), origin)]);
    while let Some((Reverse(cost), here)) = open.pop() {
        if cost > best[at(here)] {
            continue;
        }
        for (next, _, link_cost) in &links[at(here)] {
            let total = cost + u64::from(*link_cost);
            if total < best[at(*next)] {
                best[at(*next)] = total;
                open.push((Reverse(total), *next));
            }
        }
    }
    let mut hops = vec![Vec::new(); links.len()];
    for (here, links) in (0u16..).map(RouterIndex).zip(links) {
        for (next, link, link_cost) in links {
            let through = best[at(here)].saturating_add(u64::from(*link_cost));
            if *next != origin && through != u64::MAX && best[at(*next)] == through {
                hops[at(*next)].push((here, *link));
            }
        }
    }
    hops
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
