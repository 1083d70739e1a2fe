//! A made-up world, from a seed: a network of routers, clients behind them, a DNS, and edge providers at some of the routers.
//!
//! The network is a tree of regions, metros and client prefixes. A metro's router has a name in a zone of its own; some metros have an
//! entry point to an edge site, which their zone announces. Addresses are of 240.0.0.0/4, which nobody has.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use edge_discovery::{
    Absence, Answer, AnswerName, Question, RecordData, RecordKind, Security, SrvRecord,
    reverse_name,
};
use edge_types::{Amount, Hop, HopReply, IpNet, MonotonicTime, PathEnd, PathObservation, Rtt};

use crate::population::{Population, Skew};
use crate::random::Random;

/// How large a world is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorldSize {
    /// Clients.
    pub clients: u64,
    /// Client prefixes, at most 2^18.
    pub prefixes: usize,
    /// Prefixes behind one metro, at least 4.
    pub prefixes_per_metro: usize,
    /// Metros behind one region, at least 1.
    pub metros_per_region: usize,
    /// Metros with an edge site, in percent.
    pub equipped_percent: u64,
    /// How unequal prefixes are.
    pub skew: Skew,
}

impl Default for WorldSize {
    /// One million clients in 2,048 prefixes.
    fn default() -> Self {
        Self {
            clients: 1_000_000,
            prefixes: 2048,
            prefixes_per_metro: 16,
            metros_per_region: 16,
            equipped_percent: 50,
            skew: Skew::Zipf { exponent: 0.8 },
        }
    }
}

/// Most client prefixes: more do not fit their part of the address space.
const MOST_PREFIXES: usize = 1 << 18;

/// A world.
#[derive(Clone, Debug)]
pub struct World {
    size: WorldSize,
    /// Clients by prefix.
    pub population: Population,
    /// Round trip of each region's, metro's and prefix's last link, in microseconds.
    regions: Vec<u64>,
    metros: Vec<Metro>,
    prefixes: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Metro {
    link: u64,
    /// What a second of its site costs, if it has one.
    price: Option<u128>,
}

/// From its metro to a site.
const SITE_LINK: u64 = 300;

/// Where entry points listen.
const SITE_PORT: u16 = 5060;

impl World {
    /// The world of a seed.
    pub fn new(size: WorldSize, seed: u64) -> Self {
        let size = WorldSize {
            prefixes: size.prefixes.min(MOST_PREFIXES),
            prefixes_per_metro: size.prefixes_per_metro.max(4),
            metros_per_region: size.metros_per_region.max(1),
            ..size
        };
        let mut random = Random::part(seed, 10);
        let metros = size.prefixes.div_ceil(size.prefixes_per_metro);
        let regions = metros.div_ceil(size.metros_per_region);
        Self {
            population: Population::draw(size.prefixes, size.clients, size.skew, seed),
            regions: (0..regions).map(|_| 5_000 + random.below(90_000)).collect(),
            metros: (0..metros)
                .map(|_| Metro {
                    link: 1_000 + random.below(20_000),
                    price: Some(u128::from(1 + random.below(10)))
                        .filter(|_| random.below(100) < size.equipped_percent),
                })
                .collect(),
            prefixes: (0..size.prefixes)
                .map(|_| 500 + random.below(10_000))
                .collect(),
            size,
        }
    }

    /// Its size.
    pub const fn size(&self) -> &WorldSize {
        &self.size
    }

    /// Metros with a site.
    pub fn sites(&self) -> usize {
        self.metros
            .iter()
            .filter(|metro| metro.price.is_some())
            .count()
    }

    fn metro_of(&self, prefix: usize) -> usize {
        prefix / self.size.prefixes_per_metro
    }

    fn to_metro(&self, metro: usize) -> u64 {
        self.regions[metro / self.size.metros_per_region] + self.metros[metro].link
    }

    /// True round trip between the cloud and the clients of a prefix, in microseconds.
    pub fn to_cloud(&self, prefix: usize) -> u64 {
        self.to_metro(self.metro_of(prefix)) + self.prefixes[prefix]
    }

    /// True round trip between a metro's site and the clients of a prefix, in microseconds, along the tree.
    pub fn to_site(&self, prefix: usize, metro: usize) -> u64 {
        let own = self.metro_of(prefix);
        let last = self.prefixes[prefix] + SITE_LINK;
        if own == metro {
            return last;
        }
        let region = |metro: usize| metro / self.size.metros_per_region;
        let links = self.metros[own].link + self.metros[metro].link;
        if region(own) == region(metro) {
            return last + links;
        }
        last + links + self.regions[region(own)] + self.regions[region(metro)]
    }

    /// An address of a client; clients beyond 254 of a prefix share addresses.
    pub fn client(&self, prefix: usize, number: u64) -> IpAddr {
        // 244.0.0.0 and what follows: 2^18 prefixes of 2^8 addresses.
        address(0xf400_0000 + ((prefix as u32) << 8) + 1 + (number % 254) as u32)
    }

    /// The metro whose site has this address.
    pub fn metro_with_site(&self, address: IpAddr) -> Option<usize> {
        let metro = (number(address)?.checked_sub(0xf300_0000)? >> 8) as usize;
        self.metros.get(metro)?.price?;
        Some(metro)
    }

    fn prefix_of(&self, address: IpAddr) -> Option<usize> {
        let prefix = (number(address)?.checked_sub(0xf400_0000)? >> 8) as usize;
        (prefix < self.size.prefixes).then_some(prefix)
    }

    /// What a trace to an address sees: region, metro, target. `None` where there is nothing.
    pub fn trace(&self, target: IpAddr, now: MonotonicTime) -> Option<PathObservation> {
        let (metro, rtt) = match self.prefix_of(target) {
            Some(prefix) => (self.metro_of(prefix), self.to_cloud(prefix)),
            None => {
                let metro = self.metro_with_site(target)?;
                (metro, self.to_metro(metro) + SITE_LINK)
            }
        };
        let region = metro / self.size.metros_per_region;
        let hop = |address, micros| {
            Hop::Reply(HopReply::new(address, Rtt(Duration::from_micros(micros))))
        };
        Some(PathObservation {
            target,
            observed_at: now,
            hops: vec![
                hop(router(0xf100_0000, region), self.regions[region]),
                hop(router(0xf200_0000, metro), self.to_metro(metro)),
                hop(target, rtt),
            ],
            further: Vec::new(),
            end: PathEnd::Reached,
            probes_sent: 3,
        })
    }

    /// What a site costs in a second.
    pub fn price(&self, metro: usize) -> Option<Amount> {
        self.metros.get(metro)?.price.map(Amount::wei)
    }

    /// What the DNS says. Metros' routers have names, their zones announce their sites, and nothing else exists.
    pub fn answer(&self, question: &Question) -> Answer {
        let records = self.records(question).unwrap_or_default();
        if records.is_empty() {
            return Answer::Absent {
                absence: Absence::NxDomain,
                soa: None,
                security: Security::Secure,
            };
        }
        Answer::Records {
            records,
            ttl_seconds: 3600,
            security: Security::Secure,
        }
    }

    fn records(&self, question: &Question) -> Option<Vec<RecordData>> {
        let name = question.name.as_str();
        let named = |before: &str| {
            let metro = name.strip_prefix(before)?.strip_suffix("-net.example")?;
            metro
                .parse::<usize>()
                .ok()
                .filter(|metro| *metro < self.metros.len())
        };
        let record = match question.kind {
            RecordKind::Ptr => {
                let labels: Vec<u32> = name
                    .strip_suffix(".in-addr.arpa")?
                    .split('.')
                    .map_while(|label| label.parse().ok())
                    .collect();
                let [low, c, b, 0xf2] = labels[..] else {
                    return None;
                };
                let metro = (b << 8 | c) as usize;
                if low != 1 || metro >= self.metros.len() {
                    return None;
                }
                debug_assert_eq!(reverse_name(router(0xf200_0000, metro)).as_str(), name);
                RecordData::Ptr(AnswerName::parse(&format!("core.metro{metro}-net.example")))
            }
            RecordKind::Srv => {
                let metro = named("_edge._tcp.metro")?;
                self.metros[metro].price?;
                RecordData::Srv(SrvRecord {
                    priority: 0,
                    weight: 1,
                    port: SITE_PORT,
                    target: AnswerName::parse(&format!("edge.metro{metro}-net.example")),
                })
            }
            RecordKind::A => RecordData::Address(router(0xf300_0000, named("edge.metro")?)),
            RecordKind::Aaaa | RecordKind::Txt | RecordKind::Tlsa => return None,
        };
        Some(vec![record])
    }

    /// The networks of this world, for an address policy that allows them.
    ///
    /// # Panics
    /// Never: the prefix is well-formed.
    pub fn addresses() -> IpNet {
        "240.0.0.0/4".parse().expect("a prefix")
    }
}

/// Each router and site is in a /24 of its own.
fn router(base: u32, number: usize) -> IpAddr {
    address(base + ((number as u32) << 8) + 1)
}

fn address(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(number))
}

fn number(address: IpAddr) -> Option<u32> {
    match address {
        IpAddr::V4(address) => Some(u32::from(address)),
        IpAddr::V6(_) => None,
    }
}
