//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use crate::{ParseError, array, checksum, require, word};

/// IPv6 extension headers walked before a packet is refused.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// Protocol numbers.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// The version of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpVersion {
    /// The version of `address`.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// Where a fragment lies in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Offset in bytes.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
}

/// What an IPv4 header, or an IPv6 header with its extension headers, says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IpHeader {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Protocol of the payload, after any extension headers.
    pub protocol: u8,
    /// Length of header, options and extension headers in bytes.
    pub header_len: usize,
    /// Length of the whole packet in bytes as the header claims it; the bytes at hand may be fewer or more.
    pub claimed_len: usize,
    /// Where the payload is, as far as it is among the bytes at hand.
    pub payload: Range<usize>,
    /// Identification: always there in IPv4, in IPv6 only with a fragment header.
    pub ident: Option<u32>,
    /// Set if the packet is a fragment of a larger one.
    pub fragment: Option<Fragment>,
    /// IPv6 flow label; zero in IPv4.
    pub flow_label: u32,
}

impl IpHeader {
    /// Reads the header at the start of `packet`, which must be there completely. The payload ends where the header
    /// says or where the bytes end, whichever is first. The IPv4 header checksum is not verified.
    pub fn parse(packet: &[u8]) -> Result<Self, ParseError> {
        let mut header = Self::parse_quoted(packet)?;
        if header.claimed_len < header.header_len {
            return Err(ParseError::Length(header.claimed_len));
        }
        header.payload.end = header.payload.end.min(header.claimed_len);
        Ok(header)
    }

    /// Like [`IpHeader::parse`], but ignores the packet's length field: routers are known to mangle it in quotes.
    pub fn parse_quoted(packet: &[u8]) -> Result<Self, ParseError> {
        require(packet, 1)?;
        match packet[0] >> 4 {
            4 => parse_v4(packet),
            6 => parse_v6(packet),
            other => Err(ParseError::Version(other)),
        }
    }

    /// IPv4 or IPv6.
    pub const fn version(&self) -> IpVersion {
        IpVersion::of(self.source)
    }

    /// True unless the packet is a fragment other than the first: only then the payload starts with a transport
    /// header.
    pub const fn has_transport_header(&self) -> bool {
        !matches!(self.fragment, Some(Fragment { offset: 1.., .. }))
    }
}

fn parse_v4(packet: &[u8]) -> Result<IpHeader, ParseError> {
    require(packet, 20)?;
    let header_len = usize::from(packet[0] & 0x0f) * 4;
    if header_len < 20 {
        return Err(ParseError::Length(header_len));
    }
    require(packet, header_len)?;
    let fragment_word = word(packet, 6)?;
    let fragment = Fragment {
        offset: (fragment_word & 0x1fff) << 3,
        more: fragment_word & 0x2000 != 0,
    };
    let address = |at| array(packet, at).map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from_octets);
    Ok(IpHeader {
        source: address(12).into(),
        destination: address(16).into(),
        hop_limit: packet[8],
        protocol: packet[9],
        header_len,
        claimed_len: usize::from(word(packet, 2)?),
        payload: header_len..packet.len(),
        ident: Some(u32::from(word(packet, 4)?)),
        fragment: (fragment.more || fragment.offset != 0).then_some(fragment),
        flow_label: 0,
    })
}

fn parse_v6(packet: &[u8]) -> Result<IpHeader, ParseError> {
    require(packet, 40)?;
    let address = |at| array(packet, at).map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from_octets);
    let mut header = IpHeader {
        source: address(8).into(),
        destination: address(24).into(),
        hop_limit: packet[7],
        protocol: packet[6],
        header_len: 40,
        claimed_len: 40 + usize::from(word(packet, 4)?),
        payload: 40..packet.len(),
        ident: None,
        fragment: None,
        flow_label: u32::from_be_bytes([0, packet[1] & 0x0f, packet[2], packet[3]]),
    };
    let mut walked = 0;
    loop {
        let at = header.header_len;
        let extension_len = match header.protocol {
            // Hop-by-hop options, routing, destination options.
            0 | 43 | 60 => {
                require(packet, at + 8)?;
                (usize::from(packet[at + 1]) + 1) * 8
            }
            // Fragment.
            44 => {
                require(packet, at + 8)?;
                let offset = word(packet, at + 2)?;
                header.fragment = Some(Fragment {
                    offset: offset & 0xfff8,
                    more: offset & 1 != 0,
                });
                header.ident = array(packet, at + 4).map(u32::from_be_bytes);
                8
            }
            // Authentication header, whose length is in units of 4 bytes (RFC 4302).
            51 => {
                require(packet, at + 8)?;
                (usize::from(packet[at + 1]) + 2) * 4
            }
            _ => break,
        };
        if walked == MAX_EXTENSION_HEADERS {
            return Err(ParseError::TooManyExtensions);
        }
        walked += 1;
        require(packet, at + extension_len)?;
        header.protocol = packet[at];
        header.header_len = at + extension_len;
        if !header.has_transport_header() {
            break;
        }
    }
    header.payload = header.header_len..packet.len();
    Ok(header)
}

/// Sets the TTL (and corrects the header checksum, RFC 1624) or the hop limit of the packet at the start of `packet`.
pub fn set_hop_limit(packet: &mut [u8], hop_limit: u8) -> Result<(), ParseError> {
    require(packet, 1)?;
    match packet[0] >> 4 {
        4 => {
            require(packet, 20)?;
            let before = word(packet, 8)?;
            packet[8] = hop_limit;
            let updated = checksum::update(word(packet, 10)?, before, word(packet, 8)?);
            packet[10..12].copy_from_slice(&updated.to_be_bytes());
        }
        6 => {
            require(packet, 40)?;
            packet[7] = hop_limit;
        }
        other => return Err(ParseError::Version(other)),
    }
    Ok(())
}

/// What a router does to a packet: takes one off its TTL or hop limit and returns what is left. `None` if the packet
/// ends here (it came with 0 or 1); it is then unchanged, ready to be quoted.
pub fn decrement_hop_limit(packet: &mut [u8]) -> Result<Option<u8>, ParseError> {
    require(packet, 1)?;
    let hop_limit = match packet[0] >> 4 {
        4 => {
            require(packet, 20)?;
            packet[8]
        }
        6 => {
            require(packet, 40)?;
            packet[7]
        }
        other => return Err(ParseError::Version(other)),
    };
    if hop_limit <= 1 {
        return Ok(None);
    }
    set_hop_limit(packet, hop_limit - 1)?;
    Ok(Some(hop_limit - 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 192.168.0.1 to 192.168.0.199, UDP, TTL 64, header checksum b861.
    const V4: [u8; 20] = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00,
        0x01, 0xc0, 0xa8, 0x00, 0xc7,
    ];

    #[test]
    fn reads_a_v4_header() {
        let mut packet = V4.to_vec();
        packet.resize(0x80, 0xaa); // longer than claimed: link padding
        assert_eq!(
            IpHeader::parse(&packet),
            Ok(IpHeader {
                source: [192, 168, 0, 1].into(),
                destination: [192, 168, 0, 199].into(),
                hop_limit: 64,
                protocol: protocol::UDP,
                header_len: 20,
                claimed_len: 0x73,
                payload: 20..0x73,
                ident: Some(0),
                fragment: None,
                flow_label: 0,
            })
        );
    }

    #[test]
    fn refuses_impossible_v4_lengths() {
        let mut packet = V4;
        packet[0] = 0x44;
        assert_eq!(IpHeader::parse(&packet), Err(ParseError::Length(16)));
        packet[0] = 0x46;
        assert_eq!(
            IpHeader::parse(&packet),
            Err(ParseError::Truncated {
                needed: 24,
                got: 20
            })
        );
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&[0, 19]);
        assert_eq!(IpHeader::parse(&packet), Err(ParseError::Length(19)));
        assert!(IpHeader::parse_quoted(&packet).is_ok());
        assert_eq!(IpHeader::parse(&[0x50]), Err(ParseError::Version(5)));
    }

    #[test]
    fn walks_v6_extension_headers() {
        let mut packet = vec![0x60, 0x0a, 0xbc, 0xde, 0x00, 0x20, 0x00, 0x07];
        packet.extend([0x3f, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0x3f, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend([44, 0, 1, 4, 0, 0, 0, 0]); // hop-by-hop, then fragment
        packet.extend([17, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef]); // fragment, then UDP
        packet.extend([0; 16]);
        assert_eq!(
            IpHeader::parse(&packet),
            Ok(IpHeader {
                source: "3fff::1".parse().unwrap(),
                destination: "3fff::2".parse().unwrap(),
                hop_limit: 7,
                protocol: protocol::UDP,
                header_len: 56,
                claimed_len: 72,
                payload: 56..72,
                ident: Some(0xdead_beef),
                fragment: Some(Fragment {
                    offset: 0,
                    more: true
                }),
                flow_label: 0xa_bcde,
            })
        );
    }

    #[test]
    fn endless_extension_headers_are_refused() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 60, 1];
        packet.resize(40 + 8 * 20, 0);
        for at in (40..packet.len()).step_by(8) {
            packet[at] = 60;
        }
        assert_eq!(
            IpHeader::parse_quoted(&packet),
            Err(ParseError::TooManyExtensions)
        );
    }

    #[test]
    fn a_router_takes_one_off() {
        let mut packet = V4;
        assert_eq!(decrement_hop_limit(&mut packet), Ok(Some(63)));
        assert_eq!(&packet[8..12], [63, 17, 0xb9, 0x61]);
        assert_eq!(checksum::of(&packet), 0);
        set_hop_limit(&mut packet, 1).unwrap();
        let expiring = packet;
        assert_eq!(decrement_hop_limit(&mut packet), Ok(None));
        assert_eq!(packet, expiring);
    }

    proptest! {
        #[test]
        fn never_panics_and_stays_inside(bytes in prop::collection::vec(any::<u8>(), 0..200), version in 0..3) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                match version { 0 => *first = 0x40 | (*first & 0x0f), 1 => *first = 0x60, _ => {} }
            }
            for header in [IpHeader::parse(&bytes), IpHeader::parse_quoted(&bytes)].into_iter().flatten() {
                prop_assert!(bytes.get(header.payload.clone()).is_some());
                prop_assert_eq!(header.payload.start, header.header_len);
            }
            decrement_hop_limit(&mut bytes.clone()).ok();
            set_hop_limit(&mut bytes, 9).ok();
        }

        #[test]
        fn incremental_header_checksum_equals_the_full_one(ttl: u8, new: u8, ident: u16) {
            let mut packet = V4;
            packet[4..6].copy_from_slice(&ident.to_be_bytes());
            packet[8] = ttl;
            packet[10..12].fill(0);
            let sum = checksum::of(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            set_hop_limit(&mut packet, new).unwrap();
            prop_assert_eq!(checksum::of(&packet), 0);
        }
    }
}
