//! A network that answers probes by known laws: routers in a plane, shortest paths out and (perhaps other ones) back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use edge_types::{
    Generation, Hop, HopReply, IpNet, MonotonicTime, PathEnd, PathObservation, PrefixGrouping, Rtt,
};

use crate::{AggregateTree, ClientDemand, Demand, Limits, NodeId, Observations};

/// Pseudo-random numbers (splitmix64); equal seeds give equal networks.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in 0..1.
    pub(super) fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.bits() % limit as u64).unwrap()
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.share()).ln()
    }
}

/// The laws of a network; times in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Laws {
    pub(super) routers: usize,
    pub(super) clients: usize,
    /// Constant part in the making of a router's reply, and the mean of the exponential part.
    pub(super) slow_base: f64,
    pub(super) slow_mean: f64,
    /// Of a third of the routers both are these times as much, of another third nothing.
    pub(super) uneven: Option<f64>,
    /// Share of links that are avoided on the way back, and what their cost is multiplied with there.
    pub(super) avoided: f64,
    pub(super) avoided_cost: f64,
    /// Replies per interface.
    pub(super) samples: usize,
    /// Are TTLs of replies known?
    pub(super) says_ttl: bool,
}

/// The network, with the truth about it.
#[derive(Debug)]
pub(super) struct Network {
    laws: Laws,
    random: Random,
    /// Per node (routers, then clients): the one before it on the way there, and the one-way delay of that link.
    parent: Vec<Option<(usize, f64)>>,
    /// Per node: one-way delay there, and back.
    there: Vec<f64>,
    back: Vec<f64>,
    /// Per node: links on the way back.
    hops_back: Vec<u8>,
}

/// Link delays and costs, from both ends.
type Links = BTreeMap<usize, Vec<(usize, f64, f64)>>;

impl Network {
    pub(super) fn new(laws: Laws, seed: u64) -> Self {
        let mut random = Random(seed);
        let nodes = laws.routers + laws.clients;
        let mut place = |spread: f64| (random.share() * spread, random.share() * spread);
        let places: Vec<(f64, f64)> = (0..laws.routers).map(|_| place(20.0)).collect();
        let mut links = Links::new();
        for router in 1..laws.routers {
            let distance = |other: usize| {
                let (dx, dy) = (
                    places[router].0 - places[other].0,
                    places[router].1 - places[other].1,
                );
                dx.hypot(dy)
            };
            let mut known: Vec<usize> = (0..router).collect();
            known.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
            for other in known.into_iter().take(3) {
                // Cables are longer than the air line, by a fifth at least.
                let delay = 0.05 + distance(other) * (1.2 + random.share());
                let avoided = random.share() < laws.avoided;
                let cost_back = if avoided {
                    delay * laws.avoided_cost
                } else {
                    delay
                };
                links
                    .entry(router)
                    .or_default()
                    .push((other, delay, cost_back));
                links
                    .entry(other)
                    .or_default()
                    .push((router, delay, cost_back));
            }
        }
        for client in laws.routers..nodes {
            let router = random.below(laws.routers - 1) + 1;
            let delay = 0.05 + random.exponential(1.0);
            links
                .entry(client)
                .or_default()
                .push((router, delay, delay));
            links
                .entry(router)
                .or_default()
                .push((client, delay, delay));
        }
        let (parent, there) = shortest(&links, nodes, |(_, delay, _)| *delay);
        let (parent_back, back) = shortest(&links, nodes, |(_, _, cost_back)| *cost_back);
        let hops_back = (0..nodes).map(|node| {
            let way = std::iter::successors(Some(node), |node| Some(parent_back[*node]?.0));
            u8::try_from(way.count() - 1).unwrap()
        });
        let hops_back = hops_back.collect();
        Self {
            laws,
            random,
            parent,
            there,
            back,
            hops_back,
        }
    }

    pub(super) fn address(&self, node: usize) -> IpAddr {
        let number = u32::try_from(node).unwrap();
        match node.checked_sub(self.laws.routers) {
            None => IpAddr::V4((0xf000_0000 + number).into()),
            Some(_) => IpAddr::V4((0xf100_0000 + (number << 8) + 9).into()),
        }
    }

    fn client(&self, node: usize) -> IpNet {
        PrefixGrouping::SITE.group(self.address(node))
    }

    /// A single round trip to a node.
    fn round_trip(&mut self, node: usize) -> f64 {
        let slow = if node < self.laws.routers {
            let times = match (self.laws.uneven, node % 3) {
                (Some(times), 0) => times,
                (Some(_), 1) => 0.0,
                _ => 1.0,
            };
            times * (self.laws.slow_base + self.random.exponential(self.laws.slow_mean))
        } else {
            0.0
        };
        self.there[node] + self.back[node] + slow
    }

    fn way(&self, client: usize) -> Vec<usize> {
        let mut way: Vec<usize> =
            std::iter::successors(Some(client), |node| Some(self.parent[*node]?.0)).collect();
        way.pop(); // the vantage point itself
        way.reverse();
        way
    }

    /// Traces every client once and asks every interface for the rest of its samples, then estimates.
    pub(super) fn measure(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        let mut observations = Observations::new(Limits::default());
        let mut demand = Demand::new();
        let mut asked = vec![false; self.there.len()];
        let clients = self.laws.routers..self.laws.routers + self.laws.clients;
        for client in clients {
            let way = self.way(client);
            let mut hops = Vec::new();
            let mut further = Vec::new();
            let mut before = 0.0;
            for (ttl, node) in (1..).zip(&way) {
                let single = self.round_trip(*node);
                outcome
                    .raw_errors
                    .push((single - before - self.truth(*node)).abs());
                before = single;
                let reply_ttl = self
                    .laws
                    .says_ttl
                    .then(|| 255 - (self.hops_back[*node] - 1));
                let reply = HopReply {
                    reply_ttl,
                    ..HopReply::new(self.address(*node), milliseconds(single))
                };
                let is_known = std::mem::replace(&mut asked[*node], true);
                hops.push(Hop::Reply(HopReply {
                    shared: is_known,
                    ..reply
                }));
                for _ in 1..if is_known { 1 } else { self.laws.samples } {
                    let again = milliseconds(self.round_trip(*node));
                    further.push((
                        ttl,
                        HopReply {
                            rtt: Some(again),
                            ..reply
                        },
                    ));
                }
            }
            let path = PathObservation {
                target: self.address(client),
                observed_at: MonotonicTime::ZERO,
                hops,
                further,
                end: PathEnd::Reached,
                probes_sent: 0,
            };
            observations.insert(&path).unwrap();
            let rate = ClientDemand {
                target: path.target,
                milli_requests_per_second: 1,
            };
            demand.insert(self.client(client), rate);
        }

        let by_address = PrefixGrouping::new(32, 128).unwrap();
        let tree = observations.tree(Generation(1), by_address, &demand);
        for (node, asked) in asked.into_iter().enumerate() {
            if asked {
                let (estimate, bar) = self.link(&tree, node);
                assert!(estimate >= 0.0, "no link is negative");
                outcome.links.push(Measured {
                    is_client: node >= self.laws.routers,
                    truth: self.truth(node),
                    error: (estimate - self.truth(node)).abs(),
                    bar,
                });
            }
        }
        outcome
    }

    /// Round trip of the link to a node.
    fn truth(&self, node: usize) -> f64 {
        2.0 * self.parent[node].map_or(0.0, |(_, delay)| delay)
    }

    fn link(&self, tree: &AggregateTree, node: usize) -> (f64, f64) {
        let by_address = PrefixGrouping::new(32, 128).unwrap();
        let id = if node < self.laws.routers {
            NodeId::Group(by_address.group(self.address(node)).into())
        } else {
            NodeId::Client(self.client(node))
        };
        let link = tree.link(tree.find(&id).unwrap()).unwrap();
        (link.rtt.as_ms(), link.error.as_secs_f64() * 1e3)
    }
}

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Errors of differences of single round trips, for every link of every trace.
    pub(super) raw_errors: Vec<f64>,
    /// Every link once.
    pub(super) links: Vec<Measured>,
}

/// A link's estimate against the truth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) is_client: bool,
    pub(super) truth: f64,
    pub(super) error: f64,
    pub(super) bar: f64,
}

impl Outcome {
    pub(super) fn between_routers(&self) -> Vec<Measured> {
        let links = self.links.iter().copied();
        links.filter(|link| !link.is_client).collect()
    }
}

/// Share of links whose bar covers the truth.
pub(super) fn coverage(links: &[Measured]) -> f64 {
    let covered = links.iter().filter(|link| link.error <= link.bar).count();
    covered as f64 / links.len() as f64
}

/// The value that this share of all keep below.
pub(super) fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of the length"
    )]
    let place = (share * (sorted.len() - 1) as f64) as usize;
    sorted[place]
}

fn milliseconds(ms: f64) -> Rtt {
    Rtt(Duration::from_secs_f64(ms / 1e3))
}

/// For each node the one before it on the cheapest way from node 0, with the link's delay, and the delay of the whole way.
fn shortest(
    links: &Links,
    nodes: usize,
    cost: impl Fn(&(usize, f64, f64)) -> f64,
) -> (Vec<Option<(usize, f64)>>, Vec<f64>) {
    let mut parent = vec![None; nodes];
    let mut delay = vec![f64::INFINITY; nodes];
    let mut costs = vec![f64::INFINITY; nodes];
    let mut open: Vec<usize> = (0..nodes).collect();
    (costs[0], delay[0]) = (0.0, 0.0);
    while let Some((at, _)) = open
        .iter()
        .enumerate()
        .min_by(|(_, a), (_, b)| costs[**a].total_cmp(&costs[**b]))
    {
        let node = open.swap_remove(at);
        for link in links.get(&node).into_iter().flatten() {
            let through = costs[node] + cost(link);
            if through < costs[link.0] {
                costs[link.0] = through;
                delay[link.0] = delay[node] + link.1;
                parent[link.0] = Some((node, link.1));
            }
        }
    }
    (parent, delay)
}
