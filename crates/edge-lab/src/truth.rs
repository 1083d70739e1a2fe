//! What is really so in the lab's network: paths, delays and entry points, for judging what was measured.
//!
//! Nothing here is shared with the code that it judges: zones come from the scenario's own `zone` fields, not from
//! names and the public suffix list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use edge_types::{DnsName, IepId, IpNet};
use serde_json::{Value, json};

use crate::network::{
    DirectedLink, LinkEnd, Location, Network, PartyId, Ration, Route, RouterIndex,
};
use crate::scenario::{ClientPrefix, RateScope, Scenario};

mod flow;

pub use flow::{Flow, FlowError};

/// Paths listed for one client network; diamonds in a row multiply.
const MAX_PATHS: usize = 64;

/// The ground truth of a scenario.
#[derive(Clone, Copy, Debug)]
pub struct Truth<'a> {
    scenario: &'a Scenario,
    network: &'a Network,
}

/// One router on a true path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrueHop {
    /// The router's id in the scenario.
    pub router: String,
    /// What its ICMP errors come from; `None` if it is silent.
    pub address: Option<IpAddr>,
}

/// Which entry points discovery can know of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrueIeps {
    /// Listed by a zone that is named by the PTR record of an answering router on a possible path.
    pub discoverable: BTreeSet<IepId>,
    /// All others.
    pub undiscoverable: BTreeSet<IepId>,
}

impl<'a> Truth<'a> {
    /// The truth about `scenario`; `network` must be compiled from it.
    pub const fn new(scenario: &'a Scenario, network: &'a Network) -> Self {
        Self { scenario, network }
    }

    /// One address of each client network, in file order: what `lab show --targets` prints.
    pub fn targets(&self) -> Vec<IpAddr> {
        let prefixes = self.scenario.clients.iter();
        prefixes.map(|client| target_in(client.prefix)).collect()
    }

    /// The sets of routers that packets from the cloud to `address` can pass, in order. The address itself is not
    /// part of it. Empty if nobody has the address.
    pub fn forward_paths(&self, address: IpAddr) -> BTreeSet<Vec<TrueHop>> {
        let Some((cloud, there)) = self.cloud().zip(self.network.locate(address)) else {
            return BTreeSet::new();
        };
        self.network
            .possible_paths(cloud.router, there.router, MAX_PATHS)
            .iter()
            .map(|route| self.hops(route, address))
            .collect()
    }

    /// The routers that the packets of one flow from the cloud to `address` pass, in order. `None` if nobody has the
    /// address, or the cloud has none of its family.
    pub fn flow_path(&self, flow: Flow, address: IpAddr) -> Option<Vec<TrueHop>> {
        let mut addresses = self.scenario.cloud.addresses.iter();
        let source = addresses.find(|source| source.is_ipv4() == address.is_ipv4())?;
        let (cloud, there) = (self.network.locate(*source)?, self.network.locate(address)?);
        let hash = flow.key(*source, address).hash(0);
        let route = self.network.path(cloud.router, there.router, hash);
        Some(self.hops(&route, address))
    }

    fn hops(&self, route: &Route, towards: IpAddr) -> Vec<TrueHop> {
        let hop = |index: &RouterIndex| {
            let router = self.network.router(*index);
            TrueHop {
                router: router.id.clone(),
                address: router.answers_with(towards),
            }
        };
        route.routers.iter().map(hop).collect()
    }

    /// Least round trip between two hosts, without jitter, queues and slow paths.
    pub fn rtt(&self, from: IpAddr, to: IpAddr) -> Option<Duration> {
        let (from, to) = (self.network.locate(from)?, self.network.locate(to)?);
        Some(self.one_way(from, to)? + self.one_way(to, from)?)
    }

    fn one_way(&self, from: Location, to: Location) -> Option<Duration> {
        let routes = self
            .network
            .possible_paths(from.router, to.router, MAX_PATHS);
        let least = routes
            .iter()
            .map(|route| self.network.route_delay(route))
            .min()?;
        Some(self.network.link(from.uplink).delay + least + self.network.link(to.downlink).delay)
    }

    fn cloud(&self) -> Option<Location> {
        self.network.locate(*self.scenario.cloud.addresses.first()?)
    }

    /// Every entry point, with the zone that it belongs to.
    pub fn ieps(&self) -> BTreeMap<IepId, DnsName> {
        let providers = self.scenario.providers.iter();
        providers
            .flat_map(|provider| {
                provider.sites.iter().map(|site| {
                    let iep = IepId {
                        host: site.host.clone(),
                        port: site.port,
                    };
                    (iep, provider.domain.clone())
                })
            })
            .collect()
    }

    /// Which entry points can be known of, if clients in these networks sent requests. Networks that are no client
    /// network of the scenario are ignored.
    pub fn true_ieps(&self, requesting: &BTreeSet<IpNet>) -> TrueIeps {
        let mut named = BTreeSet::new();
        for client in &self.scenario.clients {
            let sent = requesting
                .iter()
                .any(|prefix| prefix.contains(&client.prefix) || client.prefix.contains(prefix));
            if sent {
                named.extend(self.zones_towards(target_in(client.prefix)));
            }
        }
        let mut truth = TrueIeps::default();
        for provider in &self.scenario.providers {
            let is_known = provider.listed && named.contains(&provider.domain);
            for site in &provider.sites {
                let iep = IepId {
                    host: site.host.clone(),
                    port: site.port,
                };
                let set = if is_known {
                    &mut truth.discoverable
                } else {
                    &mut truth.undiscoverable
                };
                set.insert(iep);
            }
        }
        truth
    }

    /// Zones of the answering routers on possible paths to `address`.
    fn zones_towards(&self, address: IpAddr) -> BTreeSet<DnsName> {
        let Some((cloud, there)) = self.cloud().zip(self.network.locate(address)) else {
            return BTreeSet::new();
        };
        let routes = self
            .network
            .possible_paths(cloud.router, there.router, MAX_PATHS);
        let routers: BTreeSet<RouterIndex> =
            routes.into_iter().flat_map(|route| route.routers).collect();
        routers
            .into_iter()
            .map(|index| self.network.router(index))
            .filter(|router| router.answers_with(address).is_some())
            .filter_map(|router| Some(router.name.clone()?.1))
            .collect()
    }

    /// Everything, as one JSON value with `format` 1. Delays are in milliseconds. With a flow, each prefix has the one
    /// `path` that it takes, without, all possible `paths`.
    pub fn to_json(&self, flow: Option<Flow>) -> Value {
        let hops = |path: &Vec<TrueHop>| -> Value {
            path.iter()
                .map(|hop| json!({ "router": hop.router, "address": hop.address }))
                .collect()
        };
        let prefix = |client: &ClientPrefix| {
            let target = target_in(client.prefix);
            let (name, paths) = if let Some(flow) = flow {
                ("path", self.flow_path(flow, target).as_ref().map(hops))
            } else {
                let paths = self.forward_paths(target);
                ("paths", Some(paths.iter().map(hops).collect()))
            };
            json!({
                "prefix": client.prefix,
                "router": client.router,
                "weight": client.weight,
                "answers_probes": client.answers_probes,
                "target": target,
                "rtt_ms": self.rtt_from_cloud(target).map(milliseconds),
                name: paths,
            })
        };
        json!({
            "format": 1,
            "scenario": self.scenario.name,
            "seed": self.scenario.seed,
            "routers": self.network.routers().iter().map(|router| json!({
                "id": router.id,
                "addresses": router.addresses,
                "icmp_v4": router.answers_with(IpAddr::from([0; 4])),
                "icmp_v6": router.answers_with(IpAddr::from([0; 16])),
                "name": router.name.as_ref().map(|(name, _)| name.as_str()),
                "zone": router.name.as_ref().map(|(_, zone)| zone.as_str()),
                "ration": ration_json(router.icmp.ration),
            })).collect::<Value>(),
            "links": self.network.links().iter().map(|link| self.link_json(link)).collect::<Value>(),
            "flow": flow.map(|flow| flow.to_string()),
            "prefixes": self.scenario.clients.iter().map(prefix).collect::<Value>(),
            "ieps": self.scenario.providers.iter().flat_map(|provider| provider.sites.iter().map(|site| json!({
                "zone": provider.domain.as_str(),
                "listed": provider.listed,
                "host": site.host.as_str(),
                "port": site.port,
                "addresses": site.addresses,
                "router": site.router,
                "rtt_ms": site.addresses.first().and_then(|to| self.rtt_from_cloud(*to)).map(milliseconds),
            }))).collect::<Value>(),
        })
    }

    /// Least round trip from the cloud to `address`.
    pub fn rtt_from_cloud(&self, address: IpAddr) -> Option<Duration> {
        self.rtt(*self.scenario.cloud.addresses.first()?, address)
    }

    fn link_json(&self, link: &DirectedLink) -> Value {
        let end = |end: LinkEnd| match end {
            LinkEnd::Router(index) => self.network.router(index).id.clone(),
            LinkEnd::Host(PartyId::Cloud) => "host:cloud".to_owned(),
            LinkEnd::Host(PartyId::Dns) => "host:dns".to_owned(),
            LinkEnd::Host(PartyId::Chain) => "host:chain".to_owned(),
            LinkEnd::Host(PartyId::Clients) => "host:clients".to_owned(),
            LinkEnd::Host(PartyId::Provider(i)) => {
                format!("host:{}", self.scenario.providers[usize::from(i)].domain)
            }
        };
        json!({
            "from": end(link.from),
            "to": end(link.to),
            "delay_ms": milliseconds(link.delay),
            "jitter_ms": milliseconds(link.jitter),
            "loss": link.loss,
            "octets_per_second": link.octets_per_second,
        })
    }
}

/// The address of a client network that stands for it: the tenth, or the first if there are fewer.
pub fn target_in(prefix: IpNet) -> IpAddr {
    let tenth = match prefix.network() {
        IpAddr::V4(v4) => IpAddr::from((u32::from(v4).saturating_add(10)).to_be_bytes()),
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6).saturating_add(10)).to_be_bytes()),
    };
    if prefix.contains(&tenth) {
        tenth
    } else {
        prefix.network()
    }
}

/// `"silent"`, `"unlimited"`, or the token bucket.
fn ration_json(ration: Ration) -> Value {
    match ration {
        Ration::Silent => json!("silent"),
        Ration::Unlimited => json!("unlimited"),
        Ration::Limited {
            burst,
            per_second,
            scope,
        } => json!({
            "burst": burst,
            "per_second": per_second,
            "scope": match scope {
                RateScope::Router => "router",
                RateScope::Destination => "destination",
            },
        }),
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests;
