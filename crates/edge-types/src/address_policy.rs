//! Which addresses may be contacted or probed at all (security rules 2 and 4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Refuses every address outside global unicast, unless a prefix allows it.
///
/// Checked after name resolution, on the address that will be used for the connection. Addresses that carry an IPv4
/// address inside (v4-mapped, NAT64, 6to4) are refused if the inner one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
}

/// Why an address may not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{address} is {kind} and not allowed by prefix")]
pub struct AddressRefusal {
    /// The address refused.
    pub address: IpAddr,
    /// What the address registries say it is.
    pub kind: &'static str,
}

impl AddressPolicy {
    /// Allows global unicast, and whatever lies in one of `allowed`.
    pub const fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// May `address` be contacted? The broadcast address is no host's, so no prefix allows it.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefusal> {
        if address != Ipv4Addr::BROADCAST
            && self.allowed.iter().any(|prefix| prefix.contains(&address))
        {
            return Ok(());
        }
        match special_purpose(address) {
            Some(kind) => Err(AddressRefusal { address, kind }),
            None => match embedded_v4(address) {
                Some(inner) => self
                    .check(inner.into())
                    .map_err(|refusal| AddressRefusal { address, ..refusal }),
                None => Ok(()),
            },
        }
    }
}

/// The IPv4 address inside a v4-mapped, v4-compatible, NAT64 (RFC 6052, RFC 8215) or 6to4 (RFC 3056) address.
fn embedded_v4(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else { return None };
    let octets = v6.octets();
    let at = |start: usize| {
        Ipv4Addr::new(
            octets[start],
            octets[start + 1],
            octets[start + 2],
            octets[start + 3],
        )
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, ..] => Some(at(12)),
        [0x2002, ..] => Some(at(2)),
        _ => None,
    }
}

/// The registry's name for a special-purpose block (RFC 6890 and the IANA registries), or `None` for global unicast.
fn special_purpose(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => special_purpose_v4(v4),
        IpAddr::V6(v6) => special_purpose_v6(v6),
    }
}

fn special_purpose_v4(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        [0, ..] => "this network",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [100, 64..=127, ..] => "shared address space",
        [127, ..] => "loopback",
        [169, 254, ..] => "link-local",
        [192, 0, 0, _] => "protocol assignments",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "documentation",
        [192, 88, 99, _] => "6to4 relay anycast",
        [198, 18..=19, ..] => "benchmarking",
        [224..=239, ..] => "multicast",
        [255, 255, 255, 255] => "broadcast",
        [240..=255, ..] => "reserved",
        _ => return None,
    })
}

fn special_purpose_v6(address: Ipv6Addr) -> Option<&'static str> {
    Some(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "unspecified",
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0 | 1, ..] => return None, // judged by the address inside
        [0x100, 0, 0, 0, ..] => "discard-only",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "documentation",
        [0x2001, 0..=0x1ff, ..] => "protocol assignments",
        [0xfc00..=0xfdff, ..] => "unique local",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xfec0..=0xfeff, ..] => "site-local",
        [0xff00..=0xffff, ..] => "multicast",
        [0x2000..=0x3fff, ..] => return None,
        _ => "outside global unicast",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &AddressPolicy, address: &str) -> Option<&'static str> {
        policy
            .check(address.parse().unwrap())
            .err()
            .map(|refusal| refusal.kind)
    }

    #[test]
    fn refuses_everything_that_is_not_global_unicast() {
        let policy = AddressPolicy::default();
        for (address, kind) in [
            ("127.0.0.1", "loopback"),
            ("10.1.2.3", "private"),
            ("172.31.0.1", "private"),
            ("169.254.169.254", "link-local"),
            ("100.64.0.1", "shared address space"),
            ("224.0.0.1", "multicast"),
            ("240.0.0.1", "reserved"),
            ("::1", "loopback"),
            ("fe80::1", "link-local"),
            ("fd00::1", "unique local"),
            ("3fff::1", "documentation"),
            ("::ffff:127.0.0.1", "loopback"),
            ("64:ff9b::a9fe:a9fe", "link-local"),
            ("64:ff9b:1::10.0.0.1", "private"),
            ("2002:7f00:1::", "loopback"),
        ] {
            assert_eq!(check(&policy, address), Some(kind), "{address}");
        }
        for address in [
            "8.8.8.8",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "2002:808:808::1",
        ] {
            assert_eq!(check(&policy, address), None, "{address}");
        }
    }

    #[test]
    fn a_prefix_allows_exactly_what_it_covers() {
        let policy = AddressPolicy::new(vec![
            "240.0.0.0/4".parse().unwrap(),
            "3fff::/20".parse().unwrap(),
        ]);
        assert_eq!(check(&policy, "240.1.2.3"), None);
        assert_eq!(check(&policy, "::ffff:240.1.2.3"), None);
        assert_eq!(check(&policy, "3fff:1::1"), None);
        assert_eq!(check(&policy, "10.0.0.1"), Some("private"));
        for broadcast in ["255.255.255.255", "::ffff:255.255.255.255"] {
            assert_eq!(check(&policy, broadcast), Some("broadcast"), "{broadcast}");
        }
    }
}
