//! How interfaces are put together into nodes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use edge_types::{DnsName, IpNet, PrefixGrouping};

use crate::normalise::Interface;

/// A rule that says which place an interface belongs to. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    prefixes: PrefixGrouping,
    domains: Arc<BTreeMap<IpAddr, Arc<DnsName>>>,
}

impl Grouping {
    /// Addresses with a name here belong to that domain, the others to their prefix.
    ///
    /// What the domain of an address is (its PTR name shortened to what one owner registered, say) is for the caller to
    /// find out. Names of addresses in private space are ignored, since the same address is in use elsewhere too.
    pub fn by_domain(
        domains: impl IntoIterator<Item = (IpAddr, DnsName)>,
        otherwise: PrefixGrouping,
    ) -> Self {
        // One copy of each name, however many addresses bear it.
        let mut names: BTreeMap<DnsName, Arc<DnsName>> = BTreeMap::new();
        let domains = domains
            .into_iter()
            .map(|(address, name)| {
                let shared = names
                    .entry(name)
                    .or_insert_with_key(|name| Arc::new(name.clone()));
                (address, Arc::clone(shared))
            })
            .collect();
        Self {
            prefixes: otherwise,
            domains: Arc::new(domains),
        }
    }

    /// The place of an interface.
    pub(crate) fn place(&self, interface: &Interface) -> Place {
        if is_private(interface.address) {
            let behind = interface
                .behind
                .map(|address| Arc::new(self.public_place(address)));
            return Place::Private {
                behind,
                prefix: self.prefixes.group(interface.address),
            };
        }
        self.public_place(interface.address)
    }

    fn public_place(&self, address: IpAddr) -> Place {
        match self.domains.get(&address) {
            Some(name) => Place::Domain(Arc::clone(name)),
            None => Place::Prefix(self.prefixes.group(address)),
        }
    }
}

impl From<PrefixGrouping> for Grouping {
    fn from(prefixes: PrefixGrouping) -> Self {
        Self {
            prefixes,
            domains: Arc::default(),
        }
    }
}

/// Where a group of interfaces is; the same in every generation that sees the same interfaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Addresses that share this prefix.
    Prefix(IpNet),
    /// Addresses whose names belong to this domain.
    Domain(Arc<DnsName>),
    /// Addresses of private space that share this prefix. Networks everywhere use the same ones, so that they say nothing
    /// without where they were seen.
    Private {
        /// The last place before them with an address of its own; `None` between it and the origin.
        behind: Option<Arc<Self>>,
        /// The prefix.
        prefix: IpNet,
    },
}

impl From<IpNet> for Place {
    fn from(prefix: IpNet) -> Self {
        Self::Prefix(prefix)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Domain(name) => f.write_str(name.as_str()),
            Self::Private { behind, prefix } => match behind {
                Some(behind) => write!(f, "{prefix} behind {behind}"),
                None => prefix.fmt(f),
            },
        }
    }
}

/// Is this address used in many networks at once? RFC 1918, RFC 6598 (behind carriers' NAT), RFC 3927 and RFC 4291 (link-local),
/// RFC 4193 (unique local).
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [100, second, ..] => (64..=127).contains(&second),
            _ => v4.is_private() || v4.is_link_local(),
        },
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, behind: Option<&str>, expected: &str) {
        let name: DnsName = "isp.example".parse().unwrap();
        let named =
            ["240.0.1.1", "10.0.0.1"].map(|address| (address.parse().unwrap(), name.clone()));
        let interface = Interface {
            address: address.parse().unwrap(),
            behind: behind.map(|behind| behind.parse().unwrap()),
        };
        let grouping = Grouping::by_domain(named, PrefixGrouping::SITE);
        assert_eq!(grouping.place(&interface).to_string(), expected);
    }

    #[test]
    fn a_place_is_a_domain_a_prefix_or_private_behind_either() {
        check("240.0.1.1", None, "isp.example");
        check("240.0.1.2", None, "240.0.1.0/24");
        check("3fff:1:2:3::1", None, "3fff:1:2::/48");
        check(
            "10.0.0.1",
            Some("240.0.1.1"),
            "10.0.0.0/24 behind isp.example",
        );
        check(
            "100.64.3.1",
            Some("240.0.1.2"),
            "100.64.3.0/24 behind 240.0.1.0/24",
        );
        check("fd00::1", None, "fd00::/48");
    }
}
