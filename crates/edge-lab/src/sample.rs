//! Makes a scenario of the paper's size from a world map of cities and sea cables.
//!
//! Cities are drawn at random until the shortest paths to them from the US East Coast, without the waypoints in
//! between, form a tree of the wanted number of routers. Distances become delays at 200 km per millisecond, the speed
//! of light in glass.

mod map;
mod render;
mod tree;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use edge_types::{DnsName, IpNet};

use crate::random::Random;
use crate::scenario::{
    ClientPrefix, Cloud, Decision, Defaults, Host, Icmp, IcmpRate, Link, Problem, Provider, Quote,
    RateScope, Router, Scenario, SettlementKind, Site, SlowPath,
};

pub use map::MapError;
use map::WorldMap;
pub use render::render;
use tree::{RouterTree, TreeNode};

/// The seed of the shipped sample.
pub const PAPER_SEED: u64 = 11;

const HEADING: &str = "\
A network of the size measured in the ExEC paper: 240 routers, 186 client networks, 48 edge sites.

Made by `cargo xtask sample-scenario`; do not edit, edit crates/edge-lab/src/sample.rs.

Cities, landing points, sea cables and distances are from backbone/world.json of TopoHub 1.5.1:
Piotr Jurkiewicz, TopoHub: A repository of reference Gabriel graph and real-world topologies for networking research,
SoftwareX 24 (2023) 101540. Licence: MIT, copyright Piotr Jurkiewicz.

Delays are the distances at 200 km/ms. Which cities, sites, prices and oddities there are was drawn with the seed below.
All operators are invented.";

const KM_PER_MS: f64 = 200.0;
const START_CITY: &str = "New York";
const ROUTERS: usize = 240;
const CLIENT_PREFIXES: usize = 186;
const DIAMONDS: usize = 5;
/// Children that the exchange points shall have.
const EXCHANGES: [usize; 3] = [22, 12, 12];
/// Share of routers with an edge site.
const EQUIPPED_PERCENT: usize = 20;
/// A router with more links than this is a large one, ...
const LARGE_DEGREE: usize = 6;
/// ... which answers as many probes as one with a line card of its own for it; 50 per second is the modest end of what
/// vendors ship.
const LARGE_RATE: IcmpRate = IcmpRate {
    burst: 50,
    per_second: 50.0,
    scope: RateScope::Router,
};
const SILENT_PERCENT: usize = 4;
const NAMELESS_PERCENT: usize = 8;
/// An operator's region has at least this many routers.
const REGION_ROUTERS: usize = 5;
const TRANSIT_ONLY_REGIONS: usize = 3;
const CONTACT_PROVIDERS: usize = 2;

/// A world map cannot be made into a scenario.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The map cannot be read.
    #[error("reading the world map failed")]
    Map(#[from] MapError),
    /// The map has no path to enough cities.
    #[error("the map has too few connected cities for {wanted} routers")]
    TooSmall {
        /// How many routers were wanted.
        wanted: usize,
    },
    /// The scenario cannot be written as TOML.
    #[error("writing the scenario failed")]
    Render(#[from] toml::ser::Error),
    /// What came out is no valid scenario.
    #[error("the sample is not a valid scenario: {field}: {problem}")]
    Invalid {
        /// Which field.
        field: String,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// Draws a scenario from `backbone/world.json` of the `PyPI` package `topohub`. Equal input gives equal output.
pub fn from_topohub(world_json: &[u8], seed: u64) -> Result<Scenario, SampleError> {
    let map = WorldMap::parse(world_json)?;
    let mut random = Random::new(seed);
    let kept = ROUTERS - 2 * DIAMONDS - 1; // the diamonds' middles and the cloud's gateway come on top
    let tree = tree::draw(&map, START_CITY, kept, &EXCHANGES, &mut random)
        .ok_or(SampleError::TooSmall { wanted: ROUTERS })?;
    let scenario = Builder::new(tree, random).build(seed);
    match scenario.validate() {
        Ok(()) => Ok(scenario),
        Err((field, problem)) => Err(SampleError::Invalid { field, problem }),
    }
}

/// The text of `scenarios/paper-240.toml`: [`from_topohub`] with [`PAPER_SEED`], and where it comes from.
pub fn paper_scenario(world_json: &[u8]) -> Result<String, SampleError> {
    let scenario = from_topohub(world_json, PAPER_SEED)?;
    Ok(render(&scenario, HEADING)?)
}

struct Builder {
    random: Random,
    tree: RouterTree,
    /// Operator of each tree node.
    domains: Vec<DnsName>,
    scenario: Scenario,
}

impl Builder {
    fn new(tree: RouterTree, random: Random) -> Self {
        let attached = |address: [u8; 4]| Host {
            router: "gateway".to_owned(),
            addresses: vec![address.into()],
            access_ms: None,
        };
        let scenario = Scenario {
            format: crate::scenario::FORMAT,
            name: format!("paper-{ROUTERS}"),
            description: "A network of the size measured in the ExEC paper, section 3: 240 routers, 186 client \
                          networks."
                .to_owned(),
            seed: 0,
            defaults: Defaults::default(),
            cloud: Cloud {
                router: "gateway".to_owned(),
                addresses: vec![[240, 0, 0, 10].into()],
                host: name("app.cloud.example"),
                access_ms: None,
            },
            dns: attached([240, 0, 0, 53]),
            chain: attached([240, 0, 0, 80]),
            routers: Vec::new(),
            links: Vec::new(),
            clients: Vec::new(),
            providers: Vec::new(),
        };
        Self {
            random,
            domains: region_domains(&tree),
            tree,
            scenario,
        }
    }

    fn build(mut self, seed: u64) -> Scenario {
        self.scenario.seed = seed;
        self.add_routers();
        self.add_diamonds();
        self.add_clients();
        self.add_providers();
        self.add_oddities();
        self.scenario
    }

    fn add_routers(&mut self) {
        self.add_router("gateway", Some(("gw1.nyc", &name("cloud.example"))));
        self.add_link("gateway", &self.tree.nodes[0].id.clone(), 0.1);
        for i in 0..self.tree.nodes.len() {
            let TreeNode { id, parent, .. } = self.tree.nodes[i].clone();
            let domain = self.domains[i].clone();
            self.add_router(&id, Some((&format!("core1.{id}"), &domain)));
            if let Some(parent) = parent {
                let km = self.tree.nodes[i].km - self.tree.nodes[parent].km;
                let parent = self.tree.nodes[parent].id.clone();
                self.add_link(&parent, &id, km / KM_PER_MS);
            }
        }
    }

    fn add_router(&mut self, id: &str, named: Option<(&str, &DnsName)>) {
        let number = u8::try_from(self.scenario.routers.len()).expect("fewer than 256 routers");
        let zone = named.map(|(_, zone)| zone.clone());
        self.scenario.routers.push(Router {
            id: id.to_owned(),
            addresses: vec![[240, 1, number, 1].into()],
            name: named.map(|(host, zone)| name(&format!("{host}.{zone}"))),
            zone,
            icmp: None,
            icmp_rate: None,
            slow_path: None,
            quote: None,
            reply_from: Vec::new(),
        });
    }

    fn add_link(&mut self, a: &str, b: &str, delay_ms: f64) {
        let delay_ms = whole_microseconds(delay_ms);
        self.scenario.links.push(Link {
            a: a.to_owned(),
            b: b.to_owned(),
            delay_ms,
            reverse_delay_ms: None,
            jitter_ms: if delay_ms >= 10.0 { 0.3 } else { 0.0 },
            loss: 0.0,
            bandwidth_mbps: None,
            cost: None,
            reverse_cost: None,
        });
    }

    /// Puts two parallel cable stations in place of some long links, first of that with most clients behind it. What
    /// goes back over two of these pairs takes always the same station.
    fn add_diamonds(&mut self) {
        let mut links: Vec<usize> = (1..self.tree.nodes.len())
            .filter(|i| self.tree.link_km(*i) > 400.0 && self.tree.destinations_below(*i) >= 4)
            .collect();
        self.random.shuffle(&mut links);
        let busiest = links
            .iter()
            .copied()
            .max_by_key(|i| self.tree.destinations_below(*i));
        links.retain(|i| Some(*i) != busiest);
        let links: Vec<usize> = busiest.into_iter().chain(links).take(DIAMONDS).collect();
        for (k, node) in links.into_iter().enumerate() {
            let far = self.tree.nodes[node].id.clone();
            let position = self
                .scenario
                .links
                .iter()
                .position(|link| link.b == far)
                .expect("every tree node but the first has a link to its parent");
            let whole = self.scenario.links.remove(position);
            for (side, suffix) in ["a", "b"].into_iter().enumerate() {
                let middle = format!("cable{}{suffix}", k + 1);
                self.add_router(&middle, Some((&middle, &name("seacable.example"))));
                let half = whole.delay_ms / 2.0;
                self.add_link(&whole.a, &middle, half);
                self.add_link(&middle, &far, half);
                if k < 2 && side == 1 {
                    let last = self.scenario.links.last_mut().expect("just added");
                    last.reverse_cost = Some(1_000_000);
                }
            }
        }
    }

    fn add_clients(&mut self) {
        let nodes = &self.tree.nodes;
        let mut routers: Vec<usize> = (0..nodes.len()).filter(|i| nodes[*i].drawn).collect();
        let mut others: Vec<usize> = (1..nodes.len()).filter(|i| !nodes[*i].drawn).collect();
        self.random.shuffle(&mut others);
        routers.extend(others);
        routers.truncate(CLIENT_PREFIXES);
        routers.sort_unstable();
        for (number, router) in (0u8..).zip(routers) {
            let weight = f64::from(u8::try_from(1 + self.random.below(3)).unwrap_or(1));
            let access_ms = f64::from(u8::try_from(2 + self.random.below(9)).unwrap_or(2)) / 10.0;
            let with_domain = self.random.below(4) == 0;
            self.scenario.clients.push(ClientPrefix {
                prefix: IpNet::new(Ipv4Addr::new(240, 16, number, 0).into(), 24)
                    .expect("24 is a prefix length"),
                router: self.tree.nodes[router].id.clone(),
                weight,
                answers_probes: self.random.below(10) != 0,
                domain: with_domain.then(|| {
                    self.domains[router]
                        .with_prefix("home")
                        .expect("a short label")
                }),
                access_ms: Some(access_ms),
            });
        }
    }

    /// Equips routers drawn uniformly; a region's sites belong to its operator, or to the neighbour where the
    /// operator only carries transit.
    fn add_providers(&mut self) {
        let mut regions: Vec<DnsName> = Vec::new();
        for domain in &self.domains {
            if !regions.contains(domain) {
                regions.push(domain.clone());
            }
        }
        let transit = self.random.draw(TRANSIT_ONLY_REGIONS, regions.len());
        let owner = |domain: &DnsName| {
            let start = regions.iter().position(|other| other == domain);
            (0..regions.len())
                .map(|step| (start.unwrap_or(0) + step) % regions.len())
                .find(|region| !transit.contains(region))
                .expect("fewer transit regions than regions")
        };
        let count = self.scenario.routers.len();
        let mut equipped = self.random.draw(count * EQUIPPED_PERCENT / 100, count - 1);
        equipped.sort_unstable();
        let mut sites: BTreeMap<usize, Vec<Site>> = BTreeMap::new();
        for (number, router) in (0u8..).zip(equipped) {
            let router = &self.scenario.routers[router + 1]; // never the cloud's own gateway
            let zone = router.zone.clone().expect("all routers have names so far");
            let region = owner(&zone);
            let price = 100_000_000_000 + 1_000_000_000 * self.random.below(200) as u128;
            sites.entry(region).or_default().push(Site {
                host: name(&format!("edge1.{}.{}", router.id, regions[region])),
                router: router.id.clone(),
                addresses: vec![[240, 32, number, 1].into()],
                price_wei_per_second: price,
                port: 80,
                priority: 10,
                weight: 10,
                milli_cpu: 2000,
                memory_mib: 1024,
                pids: 256,
                access_ms: None,
            });
        }
        self.scenario.providers = sites
            .into_iter()
            .map(|(region, sites)| Provider {
                domain: regions[region].clone(),
                listed: true,
                decision: Decision::Confirm,
                settlement: SettlementKind::Escrow,
                sites,
            })
            .collect();
        self.vary_providers();
    }

    /// The provider with the most central site rejects; of the others with few sites one is not listed, some want to
    /// be talked to.
    fn vary_providers(&mut self) {
        let tree = &self.tree;
        let centrality = |provider: &Provider| {
            let below = provider.sites.iter().filter_map(|site| {
                let node = tree.nodes.iter().position(|node| node.id == site.router)?;
                Some(tree.destinations_below(node))
            });
            below.max().unwrap_or(0)
        };
        let mut small: Vec<usize> = (0..self.scenario.providers.len())
            .filter(|i| self.scenario.providers[*i].sites.len() <= 2)
            .collect();
        small.sort_by_key(|i| std::cmp::Reverse(centrality(&self.scenario.providers[*i])));
        let Some((central, rest)) = small.split_first_mut() else {
            return;
        };
        let rejecting = &mut self.scenario.providers[*central];
        rejecting.decision = Decision::Reject;
        for site in &mut rejecting.sites {
            site.price_wei_per_second = 100_000_000_000; // cheap, so that somebody is tempted
        }
        self.random.shuffle(rest);
        let mut rest = rest.iter();
        if let Some(unlisted) = rest.next() {
            self.scenario.providers[*unlisted].listed = false;
        }
        for contact in rest.take(CONTACT_PROVIDERS) {
            self.scenario.providers[*contact].settlement = SettlementKind::Contact;
        }
    }

    /// Silent routers, routers without PTR records, slow ones, short quotes, other source addresses; and large routers,
    /// which answer from hardware.
    fn add_oddities(&mut self) {
        let count = self.scenario.routers.len();
        let links = &self.scenario.links;
        for router in &mut self.scenario.routers {
            let degree = links
                .iter()
                .filter(|link| link.a == router.id || link.b == router.id)
                .count();
            if degree > LARGE_DEGREE {
                router.icmp_rate = Some(LARGE_RATE);
            }
        }
        let exchanges = &self.tree.exchanges;
        let is_exchange = |id: &str| exchanges.iter().any(|node| self.tree.nodes[*node].id == id);
        let mut odd: Vec<usize> = (2..count)
            .filter(|i| !is_exchange(&self.scenario.routers[*i].id))
            .collect();
        self.random.shuffle(&mut odd);
        let share = |percent: usize| count * percent / 100;
        let mut odd = odd.into_iter();
        for i in odd.by_ref().take(share(SILENT_PERCENT)) {
            self.scenario.routers[i].icmp = Some(Icmp::Silent);
        }
        for i in odd.by_ref().take(share(NAMELESS_PERCENT)) {
            self.scenario.routers[i].name = None;
            self.scenario.routers[i].zone = None;
        }
        for i in odd.by_ref().take(share(5)) {
            self.scenario.routers[i].slow_path = Some(SlowPath {
                base_ms: 1.0,
                mean_ms: 5.0,
            });
        }
        for i in odd.by_ref().take(share(5)) {
            self.scenario.routers[i].icmp = Some(Icmp::Unlimited);
        }
        for octets in [8, 28] {
            for i in odd.by_ref().take(share(10)) {
                self.scenario.routers[i].quote = Some(Quote::Octets(octets));
            }
        }
        for i in odd.by_ref().take(2) {
            let router = &mut self.scenario.routers[i];
            if let [IpAddr::V4(own)] = router.addresses[..] {
                let [a, b, c, _] = own.octets();
                router.reply_from = vec![[a, b, c, 2].into()];
            }
        }
    }
}

/// Cuts the tree into regions of at least [`REGION_ROUTERS`] routers; each is one operator, named for its head.
fn region_domains(tree: &RouterTree) -> Vec<DnsName> {
    let count = tree.nodes.len();
    let mut uncut = vec![1; count];
    let mut is_head = vec![false; count];
    for i in (0..count).rev() {
        is_head[i] = i == 0 || uncut[i] >= REGION_ROUTERS;
        if let (false, Some(parent)) = (is_head[i], tree.nodes[i].parent) {
            uncut[parent] += uncut[i];
        }
    }
    let mut domains: Vec<DnsName> = Vec::with_capacity(count);
    for (node, is_head) in tree.nodes.iter().zip(is_head) {
        domains.push(match node.parent {
            Some(parent) if !is_head => domains[parent].clone(),
            _ => name(&format!("{}-net.example", node.id)),
        });
    }
    domains
}

fn name(text: &str) -> DnsName {
    text.parse().expect("made of ids, which are DNS labels")
}

fn whole_microseconds(ms: f64) -> f64 {
    (ms * 1000.0).round().max(10.0) / 1000.0
}

#[cfg(test)]
mod tests;
