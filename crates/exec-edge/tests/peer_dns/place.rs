//! The lab's map for these tests: who serves names where.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use edge_lab::lab::Lab;
use edge_lab::network::Network;
use edge_lab::party::PartyNamespace;
use edge_lab::sandbox::Inside;
use edge_lab::scenario::Scenario;

/// A host that serves names, in a namespace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    /// Serves the root and `example`, by NSD.
    Registry,
    /// BIND 9.
    Bind,
    /// Knot.
    Knot,
    /// NSD.
    Nsd,
    /// PowerDNS.
    Pdns,
    /// Our own server, which does what none of the others can be made to do.
    Hostile,
    /// Unbound: resolves and validates.
    Unbound,
}

impl Host {
    /// The authoritative servers from Debian, each with the same zones.
    pub(crate) const PEERS: [Self; 4] = [Self::Bind, Self::Knot, Self::Nsd, Self::Pdns];

    /// Its name in the names of its zones.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Bind => "bind",
            Self::Knot => "knot",
            Self::Nsd => "nsd",
            Self::Pdns => "pdns",
            Self::Hostile => "hostile",
            Self::Unbound => "unbound",
        }
    }

    /// Its number in the addresses of its zones.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Registry => 0,
            Self::Bind => 1,
            Self::Knot => 2,
            Self::Nsd => 3,
            Self::Pdns => 4,
            Self::Hostile => 5,
            Self::Unbound => 6,
        }
    }

    /// Where it listens, on port 53.
    pub(crate) fn address(self) -> IpAddr {
        match self {
            Self::Registry => Ipv4Addr::new(240, 0, 0, 53).into(),
            Self::Unbound => Ipv4Addr::new(240, 0, 0, 80).into(),
            other => Ipv4Addr::new(240, 0, other.number(), 53).into(),
        }
    }

    /// Its namespace.
    pub(crate) fn party(self, lab: &Lab) -> &PartyNamespace {
        lab.party_at(&self.address().to_string()).unwrap()
    }

    /// The second half of the IPv4 block whose reverse zone it serves: routers are at `240.<this>.<case>.<hop>`.
    pub(crate) const fn block(self) -> u8 {
        10 + self.number()
    }
}

/// Starts the lab: the cloud, the servers twice `access_ms` away from it, and all sites' addresses in the clients' namespace,
/// where nothing listens.
pub(crate) fn start(inside: Inside, access_ms: f64) -> Lab {
    start_with(inside, access_ms, |_| None)
}

/// As [`start`]; servers are as many ms farther away, there and back, as `farther` says.
pub(crate) fn start_with(
    inside: Inside,
    access_ms: f64,
    farther: impl Fn(Host) -> Option<f64>,
) -> Lab {
    let far: Vec<(Host, f64)> = Host::PEERS
        .into_iter()
        .filter_map(|host| Some((host, farther(host)?)))
        .collect();
    let routers: String = (2..)
        .zip(&far)
        .map(|(n, (host, _))| {
            format!(
                ", {{ id = \"{}\", addresses = [\"240.0.9.{n}\"] }}",
                host.name()
            )
        })
        .collect();
    let links: Vec<String> = far
        .iter()
        .map(|(host, ms)| {
            format!(
                "{{ a = \"core\", b = \"{}\", delay_ms = {} }}",
                host.name(),
                ms / 2.0
            )
        })
        .collect();
    let links = links.join(", ");
    let providers: String = Host::PEERS
        .into_iter()
        .chain([Host::Hostile])
        .map(|host| {
            let (name, address) = (host.name(), host.address());
            let is_far = far.iter().any(|(known, _)| *known == host);
            let router = if is_far { name } else { "core" };
            format!(
                "[[providers]]\ndomain = \"{name}.example\"\nsites = [{{ host = \"ns.{name}.example\", router = \"{router}\", \
                 addresses = [\"{address}\"], price_wei_per_second = \"1\" }}]\n"
            )
        })
        .collect();
    let text = format!(
        "format = 1\nname = \"names\"\nseed = 1\ndefaults = {{ icmp = \"unlimited\", access_ms = {access_ms} }}\n\
         cloud = {{ router = \"core\", addresses = [\"240.0.0.10\", \"3fff::10\"], host = \"app.cloud.example\" }}\n\
         dns = {{ router = \"core\", addresses = [\"240.0.0.53\"] }}\n\
         chain = {{ router = \"core\", addresses = [\"240.0.0.80\"] }}\n\
         routers = [{{ id = \"core\", addresses = [\"240.0.9.1\", \"3fff:0:9::1\"] }}{routers}]\n\
         links = [{links}]\n\
         clients = [{{ prefix = \"240.99.0.0/16\", router = \"core\" }}, {{ prefix = \"3fff:99::/48\", router = \"core\" }}]\n\
         {providers}"
    );
    let scenario = Scenario::parse("names", &text).unwrap();
    Lab::start(inside, Arc::new(Network::compile(&scenario))).unwrap()
}
