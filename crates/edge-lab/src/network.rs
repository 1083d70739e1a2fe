//! A scenario compiled for forwarding: numbered routers, directed links, address look-up and paths.

mod routing;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use edge_types::{DnsName, IpNet};

use crate::scenario::{Icmp, Quote, RateScope, Scenario};
use routing::Routing;
pub(crate) use routing::mix;

/// A router, by its position in [`Network::routers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterIndex(pub u16);

/// One direction of a link, by its position in [`Network::links`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// Who lives in a namespace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartyId {
    /// The application's home and the orchestrator.
    Cloud,
    /// The authoritative name server.
    Dns,
    /// The ledger.
    Chain,
    /// One provider domain, by its position in the scenario.
    Provider(u16),
    /// All clients together.
    Clients,
}

/// A namespace to be made, and the addresses that it owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Which.
    pub id: PartyId,
    /// `cloud`, `dns`, `chain`, `clients` or a provider's domain.
    pub name: String,
    /// Single addresses.
    pub addresses: Vec<IpAddr>,
    /// Whole networks (clients only).
    pub prefixes: Vec<IpNet>,
}

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Whose it is.
    pub party: PartyId,
    /// The router that it hangs on.
    pub router: RouterIndex,
    /// From the router to the address.
    pub downlink: LinkId,
    /// From the address to the router.
    pub uplink: LinkId,
    /// Do the hosts there answer echo requests and send port unreachable?
    pub answers_probes: bool,
}

/// One end of a directed link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEnd {
    /// A router.
    Router(RouterIndex),
    /// A host or a client network.
    Host(PartyId),
}

/// One direction of a link.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectedLink {
    /// Where packets enter.
    pub from: LinkEnd,
    /// Where they leave.
    pub to: LinkEnd,
    /// One-way delay without jitter.
    pub delay: Duration,
    /// Largest extra delay; uniformly distributed from zero.
    pub jitter: Duration,
    /// Share of packets lost.
    pub loss: f64,
    /// Octets per second; `None` is unlimited.
    pub octets_per_second: Option<f64>,
}

impl DirectedLink {
    /// Does it join two routers, rather than a host and its router?
    pub const fn is_core(&self) -> bool {
        matches!(
            (self.from, self.to),
            (LinkEnd::Router(_), LinkEnd::Router(_))
        )
    }
}

/// A router as the forwarder needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkRouter {
    /// Its id in the scenario.
    pub id: String,
    /// The IPv4 address that its ICMP errors come from; without, it is silent for IPv4.
    pub icmp_v4: Option<Ipv4Addr>,
    /// The IPv6 address that its ICMP errors come from; without, it is silent for IPv6.
    pub icmp_v6: Option<Ipv6Addr>,
    /// Its own addresses (those that it answers when probed directly).
    pub addresses: Vec<IpAddr>,
    /// Name and zone that its PTR records give.
    pub name: Option<(DnsName, DnsName)>,
    /// How it makes ICMP errors.
    pub icmp: IcmpBehaviour,
}

impl NetworkRouter {
    /// The address that its ICMP errors about packets of `family_of`'s family come from; `None` if it is silent.
    pub fn answers_with(&self, family_of: IpAddr) -> Option<IpAddr> {
        if self.icmp.ration == Ration::Silent {
            return None;
        }
        match family_of {
            IpAddr::V4(_) => self.icmp_v4.map(Into::into),
            IpAddr::V6(_) => self.icmp_v6.map(Into::into),
        }
    }
}

/// How a router makes ICMP errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IcmpBehaviour {
    /// How many.
    pub ration: Ration,
    /// Extra delay that is always there.
    pub slow_path_base: Duration,
    /// Mean of an exponentially distributed extra delay.
    pub slow_path_mean: Duration,
    /// How much of the offending packet they quote.
    pub quote: Quote,
}

/// How many ICMP errors a router sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ration {
    /// None.
    Silent,
    /// All.
    Unlimited,
    /// A token bucket.
    Limited {
        /// Its size.
        burst: u32,
        /// Tokens per second.
        per_second: f64,
        /// What shares it.
        scope: RateScope,
    },
}

/// The routers that a packet passes, in order, and the links between them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// At least one router; the first is where the packet enters, the last where it leaves.
    pub routers: Vec<RouterIndex>,
    /// One fewer than routers.
    pub links: Vec<LinkId>,
}

/// A compiled scenario. Every answer is a function of the scenario and its seed alone.
#[derive(Debug)]
pub struct Network {
    seed: u64,
    routers: Vec<NetworkRouter>,
    links: Vec<DirectedLink>,
    parties: Vec<Party>,
    hosts: BTreeMap<IpAddr, Location>,
    prefixes: Vec<(IpNet, Location)>,
    router_addresses: BTreeMap<IpAddr, RouterIndex>,
    routing: Routing,
}

impl Network {
    /// Compiles a scenario that was checked ([`Scenario::load`], [`Scenario::parse`] or [`Scenario::validate`]).
    ///
    /// # Panics
    /// If it was not checked.
    pub fn compile(scenario: &Scenario) -> Self {
        let index_of: BTreeMap<&str, RouterIndex> = (0u16..)
            .zip(&scenario.routers)
            .map(|(i, router)| (router.id.as_str(), RouterIndex(i)))
            .collect();
        let mut links = Vec::new();
        let mut costs = Vec::new();
        for link in &scenario.links {
            let (a, b) = (index_of[link.a.as_str()], index_of[link.b.as_str()]);
            let back_ms = link.reverse_delay_ms.unwrap_or(link.delay_ms);
            let cost = link.cost.unwrap_or_else(|| delay_cost(link.delay_ms));
            let back_cost = link
                .reverse_cost
                .or(link.cost)
                .unwrap_or_else(|| delay_cost(back_ms));
            for (from, to, delay_ms, cost) in
                [(a, b, link.delay_ms, cost), (b, a, back_ms, back_cost)]
            {
                links.push(DirectedLink {
                    from: LinkEnd::Router(from),
                    to: LinkEnd::Router(to),
                    delay: milliseconds(delay_ms),
                    jitter: milliseconds(link.jitter_ms),
                    loss: link.loss,
                    octets_per_second: link.bandwidth_mbps.map(|mbps| mbps * 125_000.0),
                });
                costs.push((from, to, cost));
            }
        }
        let hub = index_of[scenario.cloud.router.as_str()];
        let routing = Routing::new(scenario.seed, scenario.routers.len(), &costs, hub);
        let mut network = Self {
            seed: scenario.seed,
            routers: scenario
                .routers
                .iter()
                .map(|router| compile_router(scenario, router))
                .collect(),
            links,
            parties: Vec::new(),
            hosts: BTreeMap::new(),
            prefixes: Vec::new(),
            router_addresses: (0u16..)
                .zip(&scenario.routers)
                .flat_map(|(i, router)| {
                    router
                        .addresses
                        .iter()
                        .chain(&router.reply_from)
                        .map(move |address| (*address, RouterIndex(i)))
                })
                .collect(),
            routing,
        };
        network.attach_all(scenario, &index_of);
        network
    }

    fn attach_all(&mut self, scenario: &Scenario, index_of: &BTreeMap<&str, RouterIndex>) {
        let default_ms = scenario.defaults.access_ms;
        let cloud = &scenario.cloud;
        let (dns, chain) = (&scenario.dns, &scenario.chain);
        for (id, name, router, addresses, access_ms) in [
            (
                PartyId::Cloud,
                "cloud",
                &cloud.router,
                &cloud.addresses,
                cloud.access_ms,
            ),
            (
                PartyId::Dns,
                "dns",
                &dns.router,
                &dns.addresses,
                dns.access_ms,
            ),
            (
                PartyId::Chain,
                "chain",
                &chain.router,
                &chain.addresses,
                chain.access_ms,
            ),
        ] {
            let delay = access_ms.unwrap_or(default_ms);
            self.attach_host(id, index_of[router.as_str()], addresses, delay);
            self.add_party(id, name, addresses.clone());
        }
        for (i, provider) in (0u16..).zip(&scenario.providers) {
            let id = PartyId::Provider(i);
            for site in &provider.sites {
                let delay = site.access_ms.unwrap_or(default_ms);
                self.attach_host(id, index_of[site.router.as_str()], &site.addresses, delay);
            }
            let addresses = provider
                .sites
                .iter()
                .flat_map(|site| site.addresses.iter().copied());
            self.add_party(id, provider.domain.as_str(), addresses.collect());
        }
        for client in &scenario.clients {
            let router = index_of[client.router.as_str()];
            let delay = client.access_ms.unwrap_or(default_ms);
            let mut location = self.access(PartyId::Clients, router, delay);
            location.answers_probes = client.answers_probes;
            self.prefixes.push((client.prefix, location));
        }
        self.add_party(PartyId::Clients, "clients", Vec::new());
        let prefixes = scenario.clients.iter().map(|client| client.prefix);
        if let Some(clients) = self.parties.last_mut() {
            clients.prefixes = prefixes.collect();
        }
        self.prefixes.sort_by_key(|(prefix, _)| prefix.network());
    }

    fn add_party(&mut self, id: PartyId, name: &str, addresses: Vec<IpAddr>) {
        self.parties.push(Party {
            id,
            name: name.to_owned(),
            addresses,
            prefixes: Vec::new(),
        });
    }

    fn attach_host(
        &mut self,
        party: PartyId,
        router: RouterIndex,
        addresses: &[IpAddr],
        delay_ms: f64,
    ) {
        let location = self.access(party, router, delay_ms);
        self.hosts
            .extend(addresses.iter().map(|address| (*address, location)));
    }

    fn access(&mut self, party: PartyId, router: RouterIndex, delay_ms: f64) -> Location {
        let id = |length: usize| LinkId(u32::try_from(length).expect("links are counted"));
        let (uplink, downlink) = (id(self.links.len()), id(self.links.len() + 1));
        let (host, router_end) = (LinkEnd::Host(party), LinkEnd::Router(router));
        for (from, to) in [(host, router_end), (router_end, host)] {
            self.links.push(DirectedLink {
                from,
                to,
                delay: milliseconds(delay_ms),
                jitter: Duration::ZERO,
                loss: 0.0,
                octets_per_second: None,
            });
        }
        Location {
            party,
            router,
            downlink,
            uplink,
            answers_probes: true,
        }
    }

    /// The scenario's seed.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// All routers, in file order.
    pub fn routers(&self) -> &[NetworkRouter] {
        &self.routers
    }

    /// One router.
    pub fn router(&self, index: RouterIndex) -> &NetworkRouter {
        &self.routers[usize::from(index.0)]
    }

    /// All directed links: those between routers first, link `i` of the file as `2 i` (a to b) and `2 i + 1`.
    pub fn links(&self) -> &[DirectedLink] {
        &self.links
    }

    /// May segments of a TCP stream that are sent at once travel as one? Not where links lose or queue single packets.
    pub fn carries_bursts(&self) -> bool {
        self.links
            .iter()
            .all(|link| link.loss <= 0.0 && link.octets_per_second.is_none())
    }

    /// One directed link.
    pub fn link(&self, id: LinkId) -> &DirectedLink {
        &self.links[id.0 as usize]
    }

    /// Everybody who needs a namespace: cloud, dns, chain, the providers in file order, clients.
    pub fn parties(&self) -> &[Party] {
        &self.parties
    }

    /// Where `address` is, if it is a host's or a client's. Routers' addresses: [`Network::router_at`].
    pub fn locate(&self, address: IpAddr) -> Option<Location> {
        self.hosts.get(&address).copied().or_else(|| {
            let after = self
                .prefixes
                .partition_point(|(prefix, _)| prefix.network() <= address);
            let (prefix, location) = self.prefixes.get(after.checked_sub(1)?)?;
            prefix.contains(&address).then_some(*location)
        })
    }

    /// The router that has `address`.
    pub fn router_at(&self, address: IpAddr) -> Option<RouterIndex> {
        self.router_addresses.get(&address).copied()
    }

    /// The route of one flow. A reply from a router on the way takes `path(router, source's router, its own hash)`.
    pub fn path(&self, from: RouterIndex, to: RouterIndex, flow_hash: u64) -> Arc<Route> {
        self.routing.path(from, to, flow_hash)
    }

    /// Every route that some flow could take, in order; at most `limit`.
    pub fn possible_paths(&self, from: RouterIndex, to: RouterIndex, limit: usize) -> Vec<Route> {
        self.routing.possible_paths(from, to, limit)
    }

    /// Sum of the links' one-way delays, without jitter and access links.
    pub fn route_delay(&self, route: &Route) -> Duration {
        route.links.iter().map(|link| self.link(*link).delay).sum()
    }
}

fn compile_router(scenario: &Scenario, router: &crate::scenario::Router) -> NetworkRouter {
    let defaults = &scenario.defaults;
    let ration = match (router.icmp_rate, router.icmp.unwrap_or(defaults.icmp)) {
        (Some(rate), _) => Ration::Limited {
            burst: rate.burst,
            per_second: rate.per_second,
            scope: rate.scope,
        },
        (None, Icmp::Linux) => Ration::Limited {
            burst: 6,
            per_second: 1.0,
            scope: RateScope::Destination,
        },
        (None, Icmp::Unlimited) => Ration::Unlimited,
        (None, Icmp::Silent) => Ration::Silent,
    };
    let own = |reply_from: &[IpAddr], v4: bool| {
        reply_from
            .iter()
            .chain(&router.addresses)
            .copied()
            .find(|address| address.is_ipv4() == v4)
    };
    NetworkRouter {
        id: router.id.clone(),
        icmp_v4: own(&router.reply_from, true).and_then(|address| match address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        }),
        icmp_v6: own(&router.reply_from, false).and_then(|address| match address {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        }),
        addresses: router.addresses.clone(),
        name: router.name.clone().zip(router.zone.clone()),
        icmp: IcmpBehaviour {
            ration,
            slow_path_base: milliseconds(router.slow_path.map_or(0.0, |slow| slow.base_ms)),
            slow_path_mean: milliseconds(router.slow_path.map_or(0.0, |slow| slow.mean_ms)),
            quote: router.quote.unwrap_or(defaults.quote),
        },
    }
}

fn milliseconds(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1000.0)
}

/// Microseconds, at least 1.
fn delay_cost(ms: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked: 0 to 10,000 ms"
    )]
    let microseconds = (ms * 1000.0).round() as u32;
    microseconds.max(1)
}

#[cfg(test)]
mod tests;
