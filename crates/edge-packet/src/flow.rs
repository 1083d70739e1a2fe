//! What routers that balance load per flow look at.

use std::net::IpAddr;

use crate::{IpHeader, ParseError, array, protocol};

/// The part of a packet that per-flow load balancing hashes: addresses, protocol and the first four transport bytes.
///
/// Those four bytes are the ports in UDP and TCP, and type, code and checksum in ICMP, which is what "Paris" probing
/// keeps constant (Augustin et al., IMC'06). They are zero in fragments and other protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol number.
    pub protocol: u8,
    /// The first four bytes of the transport header.
    pub transport: [u8; 4],
}

impl FlowKey {
    /// The flow of the packet at the start of `packet`.
    pub fn parse(packet: &[u8]) -> Result<Self, ParseError> {
        Ok(Self::of(&IpHeader::parse(packet)?, packet))
    }

    /// The flow of `packet`, whose header was parsed before.
    pub fn of(header: &IpHeader, packet: &[u8]) -> Self {
        let has_ports = matches!(
            header.protocol,
            protocol::ICMP | protocol::TCP | protocol::UDP | protocol::ICMPV6
        ) && header.fragment.is_none();
        let transport = if has_ports {
            packet
                .get(header.payload.clone())
                .and_then(|payload| array(payload, 0))
                .unwrap_or_default()
        } else {
            [0; 4]
        };
        Self {
            source: header.source,
            destination: header.destination,
            protocol: header.protocol,
            transport,
        }
    }

    /// A well mixed hash, the same on every machine and in every run; `seed` tells routers apart.
    pub fn hash(&self, seed: u64) -> u64 {
        let (mut state, transport) = (mix(seed), u32::from_be_bytes(self.transport));
        for address in [self.source, self.destination] {
            let bits = match address {
                IpAddr::V4(v4) => u128::from(v4.to_bits()),
                IpAddr::V6(v6) => v6.to_bits(),
            };
            for half in bits.to_be_bytes().as_chunks::<8>().0 {
                state = mix(state ^ u64::from_be_bytes(*half));
            }
        }
        mix(state ^ ((u64::from(self.protocol) << 32) | u64::from(transport)))
    }
}

/// The finalizer of `SplitMix64` (Steele et al., OOPSLA'14).
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: FlowKey = FlowKey {
        source: IpAddr::V4(std::net::Ipv4Addr::new(240, 0, 0, 1)),
        destination: IpAddr::V4(std::net::Ipv4Addr::new(240, 0, 1, 9)),
        protocol: protocol::UDP,
        transport: [0x80, 0x01, 0x82, 0x9a],
    };

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(KEY.hash(7), KEY.hash(7));
        assert_ne!(KEY.hash(7), KEY.hash(8));
        assert_eq!(KEY.hash(7), 0xf1e3_d786_ecf1_4170);
    }

    #[test]
    fn flows_spread_evenly() {
        let mut arms = [0; 4];
        for port in 0..4000_u16 {
            let [high, low] = port.to_be_bytes();
            let key = FlowKey {
                transport: [high, low, 0x82, 0x9a],
                ..KEY
            };
            arms[(key.hash(1) % 4) as usize] += 1;
        }
        assert!(
            arms.iter().all(|count| (900..1100).contains(count)),
            "{arms:?}"
        );
    }

    #[test]
    fn ttl_and_payload_do_not_change_the_flow_but_ports_do() {
        let mut packet = vec![
            0x45, 0, 0, 32, 0, 0, 0, 0, 9, 17, 0, 0, 240, 0, 0, 1, 240, 0, 1, 9,
        ];
        packet.extend([0x80, 1, 0x82, 0x9a, 0, 12, 0, 0, 1, 2, 3, 4]);
        assert_eq!(FlowKey::parse(&packet), Ok(KEY));
        packet[8] = 4;
        packet[4] = 77;
        packet[30] = 99;
        assert_eq!(FlowKey::parse(&packet), Ok(KEY));
        packet[6] = 0x20; // a fragment has no ports
        assert_eq!(
            FlowKey::parse(&packet),
            Ok(FlowKey {
                transport: [0; 4],
                ..KEY
            })
        );
    }
}
