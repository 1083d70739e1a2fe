//! Addresses without their owners: a pseudonym for each, in which common prefixes stay common.

use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use edge_types::{Hop, HopReply, IepId, PathObservation};
use siphasher::sip::SipHasher24;

/// Replaces addresses by pseudonyms that share a prefix of n bits exactly if the addresses do (Xu et al., Crypto-PAn, 2002; with
/// SipHash in place of the block cipher). The first octet stays, and the second where private addresses have the same first (the first two
/// octets of IPv6 do always), so that no address becomes a private one; those (RFC 1918, 6598, 3927, 4193) stay as they are, because they
/// name nobody.
///
/// Who knows some addresses with their pseudonyms knows as much of the prefixes that others share with them; who knows the key knows all.
#[derive(Clone)]
pub struct Anonymiser {
    key: [u8; 16],
}

impl std::fmt::Debug for Anonymiser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Anonymiser").finish_non_exhaustive()
    }
}

/// First octets of IPv4 addresses of which only some are private: 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16.
const PARTLY_PRIVATE: [u8; 4] = [100, 169, 172, 192];

impl Anonymiser {
    /// By a key, which has to stay secret.
    pub const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// The pseudonym of an address.
    pub fn address(&self, address: IpAddr) -> IpAddr {
        let address = address.to_canonical();
        if is_private(address) {
            return address;
        }
        match address {
            IpAddr::V4(address) => {
                let first = address.octets()[0];
                let kept = if PARTLY_PRIVATE.contains(&first) {
                    16
                } else {
                    8
                };
                let bits = u128::from(u32::from(address)) << 96;
                let bits = self.pseudonym(bits, kept..32) >> 96;
                IpAddr::V4(Ipv4Addr::from(u32::try_from(bits).unwrap_or(u32::MAX)))
            }
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from(self.pseudonym(u128::from(address), 16..128)))
            }
        }
    }

    /// The path with all its addresses replaced.
    #[must_use]
    pub fn path(&self, path: &PathObservation) -> PathObservation {
        let reply = |reply: &HopReply| HopReply {
            address: self.address(reply.address),
            ..*reply
        };
        PathObservation {
            target: self.address(path.target),
            hops: path
                .hops
                .iter()
                .map(|hop| match hop {
                    Hop::Reply(answered) => Hop::Reply(reply(answered)),
                    Hop::NoReply => Hop::NoReply,
                })
                .collect(),
            further: path
                .further
                .iter()
                .map(|(ttl, further)| (*ttl, reply(further)))
                .collect(),
            ..path.clone()
        }
    }

    /// A name for an entry point that says nothing of it.
    ///
    /// # Panics
    /// Never: the name is well-formed.
    #[must_use]
    pub fn site(&self, site: &IepId) -> IepId {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write_u8(1);
        hasher.write(site.host.as_str().as_bytes());
        let name = format!("site-{:016x}.invalid", hasher.finish());
        IepId {
            host: name.parse().expect("letters, digits and a hyphen"),
            port: site.port,
        }
    }

    /// A number for something else that says nothing of it.
    pub(crate) fn number(&self, octets: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write_u8(2);
        hasher.write(octets);
        hasher.finish()
    }

    /// Flips each of these bits as the key and all bits before it say.
    fn pseudonym(&self, bits: u128, positions: Range<u32>) -> u128 {
        let length = positions.end;
        let mut flips = 0_u128;
        for position in positions {
            let mut hasher = SipHasher24::new_with_key(&self.key);
            hasher.write_u8(0);
            hasher.write_u32(length);
            hasher.write_u32(position);
            hasher.write_u128(bits & !(u128::MAX >> position));
            flips |= u128::from(hasher.finish() & 1) << (127 - position);
        }
        bits ^ flips
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => match address.octets() {
            [100, second, ..] => (64..=127).contains(&second),
            _ => address.is_private() || address.is_link_local(),
        },
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn common(a: IpAddr, b: IpAddr) -> u32 {
        match (a, b) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).leading_zeros(),
            _ => 0,
        }
    }

    #[test]
    fn hardly_any_address_keeps_its_pseudonym() {
        let anonymiser = Anonymiser::new([7; 16]);
        let same = (0..1000_u32)
            .map(|number| IpAddr::V4(Ipv4Addr::from(0xf000_0000 + number * 7919)))
            .filter(|address| anonymiser.address(*address) == *address);
        assert_eq!(same.count(), 0);
        let other = Anonymiser::new([8; 16]);
        let address = "240.1.2.3".parse().unwrap();
        assert_ne!(anonymiser.address(address), other.address(address));
    }

    #[test]
    fn private_addresses_stay() {
        let anonymiser = Anonymiser::new([7; 16]);
        for address in [
            "10.1.2.3",
            "192.168.0.1",
            "169.254.1.1",
            "100.64.1.1",
            "fe80::1",
            "fd00::1",
        ] {
            let address = address.parse().unwrap();
            assert_eq!(anonymiser.address(address), address);
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        assert!(!format!("{:?}", Anonymiser::new([7; 16])).contains('7'));
    }

    proptest! {
        #[test]
        fn common_prefixes_stay_common(a: u32, b: u32, shift in 0_u32..32, key: [u8; 16]) {
            // Neighbours are rare among random numbers.
            let [a, b] = [a, a ^ (b >> shift)].map(|bits| IpAddr::V4(Ipv4Addr::from(bits)));
            let anonymiser = Anonymiser::new(key);
            let pseudonyms = [a, b].map(|address| anonymiser.address(address));
            prop_assert_eq!(pseudonyms.map(is_private), [a, b].map(is_private));
            if !is_private(a) && !is_private(b) {
                prop_assert_eq!(common(pseudonyms[0], pseudonyms[1]), common(a, b));
            }
        }

        #[test]
        fn common_prefixes_stay_common_in_ipv6(a: u128, b: u128, shift in 3_u32..128, key: [u8; 16]) {
            let global = 0x2000_u128 << 112 | a >> 3;
            let [a, b] = [global, global ^ (b >> shift)].map(|bits| IpAddr::V6(Ipv6Addr::from(bits)));
            let anonymiser = Anonymiser::new(key);
            prop_assert_eq!(common(anonymiser.address(a), anonymiser.address(b)), common(a, b));
        }
    }
}
