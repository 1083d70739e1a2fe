//! Grouping addresses by prefix length.

use std::net::IpAddr;

use ipnet::IpNet;

/// How addresses are grouped into tree nodes and client subnets: one prefix length per address family.
///
/// The paper groups by /24 in Figure 3 and by /16 in section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixGrouping {
    v4_length: u8,
    v6_length: u8,
}

impl PrefixGrouping {
    /// The paper's Figure 3 grouping, with the usual site prefix for IPv6: /24 and /48.
    pub const SITE: Self = Self {
        v4_length: 24,
        v6_length: 48,
    };

    /// Groups by `/v4_length` and `/v6_length`; `None` if either is longer than an address.
    pub const fn new(v4_length: u8, v6_length: u8) -> Option<Self> {
        if v4_length <= 32 && v6_length <= 128 {
            Some(Self {
                v4_length,
                v6_length,
            })
        } else {
            None
        }
    }

    /// The group that `address` belongs to.
    ///
    /// # Panics
    /// Never: the lengths were checked by [`PrefixGrouping::new`].
    pub fn group(&self, address: IpAddr) -> IpNet {
        let length = match address {
            IpAddr::V4(_) => self.v4_length,
            IpAddr::V6(_) => self.v6_length,
        };
        IpNet::new(address, length)
            .expect("length checked at construction")
            .trunc()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_by_family() {
        let grouping = PrefixGrouping::SITE;
        assert_eq!(
            grouping.group("240.1.2.3".parse().unwrap()).to_string(),
            "240.1.2.0/24"
        );
        assert_eq!(
            grouping.group("3fff:1:2:3::4".parse().unwrap()).to_string(),
            "3fff:1:2::/48"
        );
        assert!(PrefixGrouping::new(33, 48).is_none());
    }
}
