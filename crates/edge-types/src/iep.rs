//! Independent edge providers as discovery sees them.

use std::fmt;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IepOrigin {
    /// An SRV record of this zone named it.
    Zone(DnsName),
    /// The operator's own configuration named it.
    Configured,
}
