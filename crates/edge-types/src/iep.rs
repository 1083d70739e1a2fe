//! Independent edge providers as discovery sees them.

use std::fmt;
use std::net::IpAddr;

use crate::chain::{ChainAddress, ChainId};
use crate::dns::DnsName;

/// The entry point of one edge site: the target and port of its SRV record (paper, Listing 1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IepId {
    /// SRV target.
    pub host: DnsName,
    /// SRV port.
    pub port: u16,
}

impl fmt::Display for IepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How we came to know of an IEP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IepOrigin {
    /// An SRV record of this zone named it.
    Zone(DnsName),
    /// The operator's own configuration named it.
    Configured,
    /// The list that this domain's web server keeps named it.
    WellKnown(DnsName),
    /// The feed that this aggregator signs named it.
    Feed(ChainAddress),
}

impl fmt::Display for IepOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zone(zone) => write!(f, "zone {zone}"),
            Self::Configured => f.write_str("the configuration"),
            Self::WellKnown(domain) => write!(f, "the list of {domain}"),
            Self::Feed(aggregator) => write!(f, "the feed of {aggregator}"),
        }
    }
}

/// An entry point that a list names, rather than a zone.
///
/// A list says nothing about where a site is: that is measured, as for all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListedSite {
    /// The entry point.
    pub id: IepId,
    /// Its addresses; if there are none, those of its host name count.
    pub addresses: Vec<IpAddr>,
    /// The key that signs its offers, and the chain that it gets paid on.
    pub key: Option<(ChainId, ChainAddress)>,
    /// It is spoken to over TLS, with a certificate for its host from an authority.
    pub tls: bool,
}
