//! Draws a tree-like Internet of any size, for measuring probers.
//!
//! ## Model
//! One gateway; a backbone that is a random tree of places on a plane; regions, metros and access routers, each level
//! five times the size of the one before; client networks on the access routers, four on each in the mean. Half of all
//! routers and client networks choose their parent by copying a sibling's, so that a few parents have many children.
//! Long links have routers in between; a few links are diamonds of two equally long arms.
//!
//! ## Rations of ICMP errors
//! Some routers are silent, most with at most [`FEW_CHILDREN`] children answer as Linux does by default, the others
//! from larger rations or always. A router with more children answers always, or from a ration that is enough to name
//! each child once within [`LEARNT_WITHIN_S`] seconds: a network whose large routers could not be learnt in bounded
//! time would only measure the waiting.

use std::collections::BTreeMap;
use std::net::IpAddr;

use edge_types::{DnsName, IpNet};

use crate::random::Random;
use crate::scenario::{
    ClientPrefix, Cloud, Defaults, FORMAT, Host, Icmp, IcmpRate, Link, Problem, Quote, RateScope,
    Router, Scenario, SlowPath,
};

/// Most client networks; more do not fit the addresses and the format.
pub const MAX_PREFIXES: usize = 10_000;

/// So many children can be learnt from the burst of a Linux router.
const FEW_CHILDREN: usize = 6;

/// A larger router's ration names all its children in this time.
const LEARNT_WITHIN_S: usize = 2;

/// A larger router's burst.
const LARGE_BURST: usize = 10;

/// Client networks for each access router in the mean.
const PREFIXES_PER_ACCESS: usize = 4;

/// Routers of a level for each of the level before.
const FAN_OUT: usize = 5;

/// A backbone place hangs on one of so many before it.
const BACKBONE_REACH: usize = 4;

const SILENT_PERCENT: usize = 4;
const DIAMOND_PERCENT: usize = 6;
const SLOW_PERCENT: usize = 10;
const CLIENTS_ANSWER_PERCENT: usize = 80;

/// Largest distances from the parent by level, in km: backbone, region, metro, access.
const SPREAD_KM: [f64; 4] = [2500.0, 800.0, 150.0, 30.0];

const KM_PER_MS: f64 = 200.0;

/// Links from this length on have jitter.
const LONG_MS: f64 = 10.0;

/// A network cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Too few or too many client networks.
    #[error("{prefixes} client networks; 1 to {MAX_PREFIXES} can be drawn")]
    Prefixes {
        /// How many were wanted.
        prefixes: usize,
    },
    /// What came out is no valid scenario.
    #[error("the drawn network is not a valid scenario: {field}: {problem}")]
    Invalid {
        /// Which field.
        field: String,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// Draws a network with `prefixes` client networks. Equal input gives equal output.
pub fn internet(prefixes: usize, seed: u64) -> Result<Scenario, GenerateError> {
    if !(1..=MAX_PREFIXES).contains(&prefixes) {
        return Err(GenerateError::Prefixes { prefixes });
    }
    let mut draft = Draft::new(seed);
    draft.grow(prefixes);
    let scenario = draft.finish(prefixes, seed);
    match scenario.validate() {
        Ok(()) => Ok(scenario),
        Err((field, problem)) => Err(GenerateError::Invalid { field, problem }),
    }
}

/// A place of the tree.
struct Place {
    router: usize,
    x_km: f64,
    y_km: f64,
}

struct Draft {
    random: Random,
    routers: Vec<Router>,
    links: Vec<Link>,
    clients: Vec<ClientPrefix>,
}

impl Draft {
    fn new(seed: u64) -> Self {
        let mut draft = Self {
            random: Random::new(seed),
            routers: Vec::new(),
            links: Vec::new(),
            clients: Vec::new(),
        };
        draft.add_router("gateway".to_owned());
        draft
    }

    fn grow(&mut self, prefixes: usize) {
        let access = prefixes.div_ceil(PREFIXES_PER_ACCESS);
        let metros = access.div_ceil(FAN_OUT);
        let regions = metros.div_ceil(FAN_OUT);
        let backbone = self.add_backbone(regions.div_ceil(FAN_OUT));
        let regions = self.add_level("region", regions, &backbone, 1, 2);
        let metros = self.add_level("metro", metros, &regions, 2, 1);
        let access = self.add_level("access", access, &metros, 3, 0);
        let parents = self.parents(prefixes, access.len());
        for (number, parent) in parents.into_iter().enumerate() {
            self.add_client(number, access[parent].router);
        }
    }

    fn add_backbone(&mut self, count: usize) -> Vec<Place> {
        let mut places: Vec<Place> = Vec::new();
        for number in 0..count {
            let back = self.random.below(BACKBONE_REACH.min(number.max(1)));
            let parent = number.checked_sub(1 + back).map(|i| &places[i]);
            let origin = Place {
                router: 0,
                x_km: 0.0,
                y_km: 0.0,
            };
            let parent = parent.unwrap_or(&origin);
            let place = self.add_place(format!("backbone{number}"), parent, 0, 0);
            places.push(place);
        }
        places
    }

    /// Places that hang on those of the level before, over up to `between` more routers each.
    fn add_level(
        &mut self,
        name: &str,
        count: usize,
        above: &[Place],
        level: usize,
        between: usize,
    ) -> Vec<Place> {
        let parents = self.parents(count, above.len());
        parents
            .into_iter()
            .enumerate()
            .map(|(number, parent)| {
                let between = self.random.below(between + 1);
                self.add_place(format!("{name}{number}"), &above[parent], level, between)
            })
            .collect()
    }

    /// Parents of `count` children; half copy the choice of an earlier child.
    fn parents(&mut self, count: usize, of: usize) -> Vec<usize> {
        let mut chosen: Vec<usize> = Vec::with_capacity(count);
        for number in 0..count {
            let copies = number > 0 && self.random.below(2) == 0;
            let parent = if copies {
                chosen[self.random.below(number)]
            } else {
                self.random.below(of)
            };
            chosen.push(parent);
        }
        chosen
    }

    fn add_place(&mut self, id: String, parent: &Place, level: usize, between: usize) -> Place {
        let spread = SPREAD_KM[level];
        let x_km = parent.x_km + (2.0 * self.share() - 1.0) * spread;
        let y_km = parent.y_km + (2.0 * self.share() - 1.0) * spread;
        let delay_ms = (x_km - parent.x_km).hypot(y_km - parent.y_km) / KM_PER_MS;
        let links = between + 1;
        let diamond = self.random.below(100) < DIAMOND_PERCENT;
        let part = delay_ms / f64::from(u8::try_from(links).expect("few routers in between"));
        let mut before = parent.router;
        for number in 0..between {
            let on_the_way = self.add_router(format!("{id}-way{number}"));
            self.add_link(before, on_the_way, part);
            before = on_the_way;
        }
        let arms = if diamond {
            let arms = ["a", "b"].map(|arm| self.add_router(format!("{id}-{arm}")));
            for arm in arms {
                self.add_link(before, arm, part / 2.0);
            }
            Some(arms)
        } else {
            None
        };
        let router = self.add_router(id);
        match arms {
            Some(arms) => {
                for arm in arms {
                    self.add_link(arm, router, part / 2.0);
                }
            }
            None => self.add_link(before, router, part),
        }
        Place { router, x_km, y_km }
    }

    fn add_router(&mut self, id: String) -> usize {
        let number = self.routers.len();
        let [_, _, high, low] = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
        self.routers.push(Router {
            id,
            addresses: vec![[240, 1 + high, low, 1].into()],
            name: None,
            zone: None,
            icmp: None,
            icmp_rate: None,
            slow_path: None,
            quote: None,
            reply_from: Vec::new(),
        });
        number
    }

    fn add_link(&mut self, a: usize, b: usize, delay_ms: f64) {
        let delay_ms = (delay_ms * 1000.0).round().max(20.0) / 1000.0;
        self.links.push(Link {
            a: self.routers[a].id.clone(),
            b: self.routers[b].id.clone(),
            delay_ms,
            reverse_delay_ms: None,
            jitter_ms: if delay_ms >= LONG_MS { 0.3 } else { 0.0 },
            loss: 0.0,
            bandwidth_mbps: None,
            cost: None,
            reverse_cost: None,
        });
    }

    fn add_client(&mut self, number: usize, router: usize) {
        let [_, _, high, low] = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
        let network = IpAddr::from([240, 64 + high, low, 0]);
        let tenths = u8::try_from(2 + self.random.below(48)).expect("below 50");
        self.clients.push(ClientPrefix {
            prefix: IpNet::new(network, 24).expect("24 is a prefix length"),
            router: self.routers[router].id.clone(),
            weight: 1.0,
            answers_probes: self.random.below(100) < CLIENTS_ANSWER_PERCENT,
            domain: None,
            access_ms: Some(f64::from(tenths) / 10.0),
        });
    }

    /// Uniform in [0, 1).
    fn share(&mut self) -> f64 {
        f64::from(u16::try_from(self.random.below(10_000)).expect("below 10,000")) / 10_000.0
    }

    fn finish(mut self, prefixes: usize, seed: u64) -> Scenario {
        self.set_habits();
        let host = |address: [u8; 4]| Host {
            router: "gateway".to_owned(),
            addresses: vec![address.into()],
            access_ms: None,
        };
        Scenario {
            format: FORMAT,
            name: format!("internet-{prefixes}"),
            description: format!(
                "A random tree-like network with {prefixes} client networks and {} routers.",
                self.routers.len()
            ),
            seed,
            defaults: Defaults::default(),
            cloud: Cloud {
                router: "gateway".to_owned(),
                addresses: vec![[240, 0, 0, 10].into()],
                host: "app.cloud.example"
                    .parse::<DnsName>()
                    .expect("a domain name"),
                access_ms: None,
            },
            dns: host([240, 0, 0, 53]),
            chain: host([240, 0, 0, 80]),
            routers: self.routers,
            links: self.links,
            clients: self.clients,
            providers: Vec::new(),
        }
    }

    /// How the routers answer. Links lead away from the gateway, so a router's children are the ends of its links.
    fn set_habits(&mut self) {
        let mut children: BTreeMap<&str, usize> = BTreeMap::new();
        for link in &self.links {
            *children.entry(&link.a).or_default() += 1;
        }
        for client in &self.clients {
            *children.entry(&client.router).or_default() += 1;
        }
        for (number, router) in self.routers.iter_mut().enumerate() {
            let children = children.get(router.id.as_str()).copied().unwrap_or(0);
            let mut percent = || self.random.below(100);
            if number > 0 && percent() < SILENT_PERCENT {
                router.icmp = Some(Icmp::Silent);
            } else if children <= FEW_CHILDREN {
                match percent() {
                    0..60 => router.icmp = Some(Icmp::Linux),
                    60..85 => router.icmp = Some(Icmp::Unlimited),
                    _ => router.icmp_rate = Some(ration(LARGE_BURST)),
                }
            } else if percent() < 33 {
                router.icmp = Some(Icmp::Unlimited);
            } else {
                router.icmp_rate = Some(ration(children));
            }
            if percent() < SLOW_PERCENT {
                router.slow_path = Some(SlowPath {
                    base_ms: 1.0,
                    mean_ms: 5.0,
                });
            }
            router.quote = match percent() {
                0..20 => Some(Quote::Octets(8)),
                20..30 => Some(Quote::Octets(28)),
                _ => None,
            };
        }
    }
}

/// A ration that names `children` children in time.
fn ration(children: usize) -> IcmpRate {
    let per_second = children.div_ceil(LEARNT_WITHIN_S).max(LARGE_BURST);
    IcmpRate {
        burst: u32::try_from(LARGE_BURST).expect("a small number"),
        per_second: f64::from(u32::try_from(per_second).unwrap_or(u32::MAX)),
        scope: RateScope::Router,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_draw_equal_networks() {
        assert_eq!(internet(300, 1).unwrap(), internet(300, 1).unwrap());
        assert_ne!(
            internet(300, 1).unwrap().links,
            internet(300, 2).unwrap().links
        );
    }

    #[test]
    fn ten_thousand_networks_are_a_valid_scenario_and_one_is_too() {
        let largest = internet(MAX_PREFIXES, 1).unwrap();
        assert_eq!(largest.clients.len(), MAX_PREFIXES);
        assert!((2500..4096).contains(&largest.routers.len()));
        let silent = largest
            .routers
            .iter()
            .filter(|router| router.icmp == Some(Icmp::Silent));
        assert!((80..240).contains(&silent.count()));
        assert_eq!(internet(1, 1).unwrap().clients.len(), 1);
        assert!(internet(0, 1).is_err() && internet(MAX_PREFIXES + 1, 1).is_err());
    }

    #[test]
    fn routers_with_many_children_can_be_learnt_in_bounded_time() {
        let scenario = internet(2000, 1).unwrap();
        let mut children: BTreeMap<&str, u32> = BTreeMap::new();
        let parents = scenario.links.iter().map(|link| &link.a);
        for parent in parents.chain(scenario.clients.iter().map(|client| &client.router)) {
            *children.entry(parent).or_default() += 1;
        }
        assert!(children.values().any(|children| *children > 20));
        for router in &scenario.routers {
            let children = children.get(router.id.as_str()).copied().unwrap_or(0);
            if let Some(rate) = router.icmp_rate {
                let left = f64::from(children.saturating_sub(rate.burst));
                assert!(left / rate.per_second <= 2.0, "{router:?}");
            } else if router.icmp == Some(Icmp::Linux) {
                assert!(children <= 6, "{router:?}");
            }
        }
    }
}
