//! ICMP (RFC 792) and ICMPv6 (RFC 4443) errors, and the packets quoted in them (RFC 4884).

use std::net::IpAddr;

use crate::checksum::Sum;
use crate::extensions::Extensions;
use crate::udp::write_ip_header;
use crate::{
    BuildError, IpHeader, IpVersion, ParseError, UdpView, array, checksum, protocol, require,
};

/// Which error a router or host reports. Codes differ between IP versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// The hop limit ran out in transit (11/0 in ICMP, 3/0 in ICMPv6).
    TimeExceeded,
    /// Destination unreachable (3 in ICMP, 1 in ICMPv6) with its code.
    Unreachable(u8),
}

impl ErrorKind {
    /// "No such port here": the answer of a probe's target.
    pub const fn port_unreachable(version: IpVersion) -> Self {
        Self::Unreachable(match version {
            IpVersion::V4 => 3,
            IpVersion::V6 => 4,
        })
    }

    /// "No route to the network."
    pub const fn no_route(_version: IpVersion) -> Self {
        Self::Unreachable(0)
    }

    /// "The host does not answer on its link."
    pub const fn host_unreachable(version: IpVersion) -> Self {
        Self::Unreachable(match version {
            IpVersion::V4 => 1,
            IpVersion::V6 => 3,
        })
    }

    /// "Administratively prohibited."
    pub const fn prohibited(version: IpVersion) -> Self {
        Self::Unreachable(match version {
            IpVersion::V4 => 13,
            IpVersion::V6 => 1,
        })
    }

    const fn type_and_code(self, version: IpVersion) -> [u8; 2] {
        match (self, version) {
            (Self::TimeExceeded, IpVersion::V4) => [11, 0],
            (Self::TimeExceeded, IpVersion::V6) => [3, 0],
            (Self::Unreachable(code), IpVersion::V4) => [3, code],
            (Self::Unreachable(code), IpVersion::V6) => [1, code],
        }
    }
}

/// How much of the original packet an error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuoteSize {
    /// The IP header and 8 bytes: all that RFC 792 asks for.
    Minimum,
    /// So many bytes, from the IP header on.
    Bytes(usize),
    /// As much as fits into 576 bytes (RFC 1812 section 4.3.2.3) or 1280 bytes (RFC 4443 section 2.4).
    Full,
}

/// May an error be sent about this packet? Not about ICMP errors, later fragments, or packets to or from addresses
/// that name no single host (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
pub fn deserves_error(original: &[u8]) -> bool {
    let Ok(header) = IpHeader::parse(original) else {
        return false;
    };
    let is_icmp_error = match header.protocol {
        protocol::ICMP => original
            .get(header.payload.start)
            .is_none_or(|kind| matches!(kind, 3..=5 | 11 | 12)),
        protocol::ICMPV6 => original
            .get(header.payload.start)
            .is_none_or(|kind| *kind < 128 || *kind == 137),
        _ => false,
    };
    let names_no_host = |address: IpAddr| {
        address.is_multicast()
            || address.is_unspecified()
            || address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
    };
    header.has_transport_header()
        && !is_icmp_error
        && !names_no_host(header.source)
        && !names_no_host(header.destination)
}

/// Writes the error `kind` about `original`, from `router` to the source of `original`, with hop limit `hop_limit`,
/// at the start of `buffer`; returns its length. 1280 bytes of buffer are always enough.
///
/// Check [`deserves_error`] first.
pub fn write_icmp_error(
    buffer: &mut [u8],
    router: IpAddr,
    hop_limit: u8,
    kind: ErrorKind,
    original: &[u8],
    quote: QuoteSize,
) -> Result<usize, BuildError> {
    let header = IpHeader::parse(original).map_err(BuildError::Original)?;
    let (ip_len, limit, protocol) = match header.version() {
        IpVersion::V4 => (20, 576, protocol::ICMP),
        IpVersion::V6 => (40, 1280, protocol::ICMPV6),
    };
    let wanted = match quote {
        QuoteSize::Minimum => header.header_len + 8,
        QuoteSize::Bytes(bytes) => bytes,
        QuoteSize::Full => usize::MAX,
    };
    let quoted = &original[..wanted.min(header.payload.end).min(limit - ip_len - 8)];
    let length = ip_len + 8 + quoted.len();
    let got = buffer.len();
    let out = buffer.get_mut(..length).ok_or(BuildError::Buffer {
        needed: length,
        got,
    })?;
    write_ip_header(out, router, header.source, protocol, hop_limit, 0, 0)?;
    let message = &mut out[ip_len..];
    message[..8].fill(0);
    message[..2].copy_from_slice(&kind.type_and_code(header.version()));
    message[8..].copy_from_slice(quoted);
    let sum = match header.version() {
        IpVersion::V4 => Sum::new(),
        IpVersion::V6 => {
            Sum::new().pseudo_header(router, header.source, protocol::ICMPV6, message.len())
        }
    };
    let sum = sum.bytes(message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Ok(length)
}

/// An ICMP or ICMPv6 error about a packet of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpError<'a> {
    /// What is reported.
    pub kind: ErrorKind,
    /// The packet that it is about.
    pub quoted: Quoted<'a>,
    /// What follows the quote.
    pub extensions: Extensions<'a>,
}

impl<'a> IcmpError<'a> {
    /// Reads an error from its own IP header on. Verifies the ICMP checksum.
    pub fn parse_packet(packet: &'a [u8]) -> Result<(IpHeader, Self), ParseError> {
        let header = IpHeader::parse(packet)?;
        if header.fragment.is_some() {
            return Err(ParseError::Other(header.protocol));
        }
        let message = &packet[header.payload.clone()];
        let error = match (header.version(), header.protocol) {
            (IpVersion::V4, protocol::ICMP) => {
                if checksum::of(message) != 0 {
                    return Err(ParseError::Checksum);
                }
                Self::parse_message(IpVersion::V4, message)?
            }
            (IpVersion::V6, protocol::ICMPV6) => {
                let sum = Sum::new().pseudo_header(
                    header.source,
                    header.destination,
                    protocol::ICMPV6,
                    message.len(),
                );
                if sum.bytes(message).checksum() != 0 {
                    return Err(ParseError::Checksum);
                }
                Self::parse_message(IpVersion::V6, message)?
            }
            (_, other) => return Err(ParseError::Other(other)),
        };
        Ok((header, error))
    }

    /// Reads an error from its ICMP header on, without looking at the checksum: what an ICMPv6 socket delivers.
    pub fn parse_message(version: IpVersion, message: &'a [u8]) -> Result<Self, ParseError> {
        require(message, 8)?;
        let kind = match (version, message[0], message[1]) {
            (IpVersion::V4, 11, 0) | (IpVersion::V6, 3, 0) => ErrorKind::TimeExceeded,
            (IpVersion::V4, 3, code) | (IpVersion::V6, 1, code) => ErrorKind::Unreachable(code),
            (_, other, _) => return Err(ParseError::Other(other)),
        };
        // RFC 4884 section 4: the length of the padded quote, if extensions follow it; zero if none do.
        let quote_len = match version {
            IpVersion::V4 => usize::from(message[5]) * 4,
            IpVersion::V6 => usize::from(message[4]) * 8,
        };
        let (quote, extensions) = Extensions::split(&message[8..], quote_len);
        let quoted = Quoted::parse(quote)?;
        if IpVersion::of(quoted.source) != version {
            return Err(ParseError::Version(quote[0] >> 4));
        }
        Ok(Self {
            kind,
            quoted,
            extensions,
        })
    }
}

/// The start of a packet of ours, as an ICMP error quotes it. Any field may be forged or mangled on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted<'a> {
    /// Source address, after any address translation.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol number.
    pub protocol: u8,
    /// Hop limit left when the packet reached the router; 1 (or 0) with a Time Exceeded.
    pub hop_limit: u8,
    /// IPv4 identification.
    pub ident: Option<u16>,
    /// Transport header and payload, as far as quoted.
    pub transport: &'a [u8],
}

/// A quoted UDP datagram; at least its header.
pub type QuotedUdp<'a> = UdpView<'a>;

impl<'a> Quoted<'a> {
    /// Reads a quote that may be cut short anywhere behind the IP header.
    pub fn parse(quote: &'a [u8]) -> Result<Self, ParseError> {
        let header = IpHeader::parse_quoted(quote)?;
        if !header.has_transport_header() {
            return Err(ParseError::Other(header.protocol));
        }
        Ok(Self {
            ident: match header.version() {
                IpVersion::V4 => array(quote, 4).map(u16::from_be_bytes),
                IpVersion::V6 => None,
            },
            source: header.source,
            destination: header.destination,
            protocol: header.protocol,
            hop_limit: header.hop_limit,
            transport: &quote[header.payload],
        })
    }

    /// Source and destination port, if UDP or TCP and quoted.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self.protocol {
            protocol::TCP | protocol::UDP => Some((
                array(self.transport, 0).map(u16::from_be_bytes)?,
                array(self.transport, 2).map(u16::from_be_bytes)?,
            )),
            _ => None,
        }
    }

    /// The UDP header and as much payload as was quoted.
    pub fn udp(&self) -> Result<QuotedUdp<'a>, ParseError> {
        match self.protocol {
            protocol::UDP => UdpView::parse(self.transport),
            other => Err(ParseError::Other(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::UdpPacket;

    const PROBE: UdpPacket<'_> = UdpPacket {
        source: IpAddr::V4(std::net::Ipv4Addr::new(240, 0, 0, 1)),
        destination: IpAddr::V4(std::net::Ipv4Addr::new(240, 0, 1, 9)),
        hop_limit: 1,
        ident: 0x0a01,
        flow_label: 0,
        source_port: 0x8001,
        destination_port: 33434,
        payload: b"hi!",
    };

    const TIME_EXCEEDED: [u8; 56] = [
        0x45, 0x00, 0x00, 0x38, 0x00, 0x00, 0x00, 0x00, 0x40, 0x01, 0x99, 0xc5, // IP
        0xf0, 0x00, 0x00, 0xfe, 0xf0, 0x00, 0x00, 0x01, //
        0x0b, 0x00, 0x5f, 0x91, 0x00, 0x00, 0x00, 0x00, // time exceeded
        0x45, 0x00, 0x00, 0x1f, 0x0a, 0x01, 0x00, 0x00, 0x01, 0x11, 0xce, 0xc2, // quote
        0xf0, 0x00, 0x00, 0x01, 0xf0, 0x00, 0x01, 0x09, //
        0x80, 0x01, 0x82, 0x9a, 0x00, 0x0b, 0x92, 0xc7,
    ];

    fn bytes(packet: UdpPacket<'_>) -> Vec<u8> {
        let mut out = vec![0; packet.len()];
        packet.write(&mut out).unwrap();
        out
    }

    fn error(kind: ErrorKind, original: &[u8], quote: QuoteSize) -> Vec<u8> {
        let router = match IpHeader::parse(original).unwrap().version() {
            IpVersion::V4 => IpAddr::from([240, 0, 0, 254]),
            IpVersion::V6 => "3fff::fe".parse().unwrap(),
        };
        let mut out = vec![0; 1280];
        let length = write_icmp_error(&mut out, router, 64, kind, original, quote).unwrap();
        out.truncate(length);
        out
    }

    #[test]
    fn writes_and_reads_time_exceeded_byte_for_byte() {
        let written = error(ErrorKind::TimeExceeded, &bytes(PROBE), QuoteSize::Minimum);
        assert_eq!(written, TIME_EXCEEDED);

        let (header, read) = IcmpError::parse_packet(&TIME_EXCEEDED).unwrap();
        assert_eq!(header.source, IpAddr::from([240, 0, 0, 254]));
        assert_eq!(
            read,
            IcmpError {
                kind: ErrorKind::TimeExceeded,
                quoted: Quoted {
                    source: PROBE.source,
                    destination: PROBE.destination,
                    protocol: protocol::UDP,
                    hop_limit: 1,
                    ident: Some(0x0a01),
                    transport: &TIME_EXCEEDED[48..],
                },
                extensions: Extensions::default(),
            }
        );
        assert_eq!(
            read.quoted.udp(),
            Ok(QuotedUdp {
                source_port: 0x8001,
                destination_port: 33434,
                length: 11,
                checksum: 0x92c7,
                payload: &[],
            })
        );
    }

    #[test]
    fn writes_v6_port_unreachable_byte_for_byte() {
        let probe = UdpPacket {
            source: "3fff::1".parse().unwrap(),
            destination: "3fff::2".parse().unwrap(),
            flow_label: 5,
            payload: b"ok",
            ..PROBE
        };
        let original = bytes(probe);
        let kind = ErrorKind::port_unreachable(IpVersion::V6);
        let written = error(kind, &original, QuoteSize::Full);
        assert_eq!(
            written[..48],
            [
                0x60, 0x00, 0x00, 0x00, 0x00, 0x3a, 0x3a, 0x40, // IP
                0x3f, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe, //
                0x3f, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, //
                0x01, 0x04, 0x0c, 0x95, 0x00, 0x00, 0x00, 0x00, // port unreachable
            ]
        );
        assert_eq!(written[48..], original);
        let (_, read) = IcmpError::parse_packet(&written).unwrap();
        assert_eq!(read.kind, kind);
        assert_eq!(read.quoted.udp().unwrap().payload, b"ok");
        let mut forged = written;
        forged[60] ^= 1;
        assert_eq!(IcmpError::parse_packet(&forged), Err(ParseError::Checksum));
    }

    #[test]
    fn a_quote_shorter_than_the_transport_header_is_no_udp() {
        let written = error(ErrorKind::TimeExceeded, &bytes(PROBE), QuoteSize::Bytes(24));
        let (_, read) = IcmpError::parse_packet(&written).unwrap();
        assert_eq!(read.quoted.ports(), Some((0x8001, 33434)));
        assert_eq!(
            read.quoted.udp(),
            Err(ParseError::Truncated { needed: 8, got: 4 })
        );
    }

    #[test]
    fn the_quote_ends_where_extensions_begin() {
        let mut message = vec![11, 0, 0, 0, 0, 8, 0, 0]; // 8 words of quote
        message.extend(bytes(PROBE));
        message.resize(8 + 32, 0);
        message.extend([0x20, 0, 0, 0, 0, 8, 1, 1, 0, 0, 0, 0]); // extension structure
        let read = IcmpError::parse_message(IpVersion::V4, &message).unwrap();
        assert_eq!(read.quoted.transport.len(), 12);
        message[5] = 255; // a length beyond the end is not believed
        let read = IcmpError::parse_message(IpVersion::V4, &message).unwrap();
        assert_eq!(read.quoted.transport.len(), 24);
    }

    #[test]
    fn no_errors_about_errors_fragments_or_crowds() {
        let probe = bytes(PROBE);
        assert!(deserves_error(&probe));
        assert!(!deserves_error(&TIME_EXCEEDED));
        let mut fragment = probe.clone();
        fragment[7] = 1;
        assert!(!deserves_error(&fragment));
        let multicast = UdpPacket {
            destination: IpAddr::from([224, 0, 0, 5]),
            ..PROBE
        };
        assert!(!deserves_error(&bytes(multicast)));
        let mut echo = TIME_EXCEEDED;
        echo[20] = 8;
        assert!(deserves_error(&echo));
    }

    #[test]
    fn errors_stay_within_the_minimum_mtu() {
        for (source, destination, most) in [
            ("240.0.0.1", "240.0.0.2", 576),
            ("3fff::1", "3fff::2", 1280),
        ] {
            let probe = UdpPacket {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
                payload: &[7; 1400],
                ..PROBE
            };
            let written = error(ErrorKind::TimeExceeded, &bytes(probe), QuoteSize::Full);
            assert_eq!(written.len(), most);
            assert!(IcmpError::parse_packet(&written).is_ok());
        }
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..160), v6: bool) {
            if let Some(first) = bytes.first_mut() {
                *first = if v6 { 0x60 } else { 0x45 };
            }
            let version = if v6 { IpVersion::V6 } else { IpVersion::V4 };
            IcmpError::parse_packet(&bytes).ok();
            deserves_error(&bytes);
            if let Ok(error) = IcmpError::parse_message(version, &bytes) {
                error.quoted.udp().ok();
                error.quoted.ports();
            }
            let mut message = vec![if v6 { 3 } else { 11 }, 0, 0, 0, bytes.last().copied().unwrap_or(0), 0, 0, 0];
            message.extend(&bytes);
            IcmpError::parse_message(version, &message).ok();
        }

        #[test]
        fn what_is_quoted_reads_back(
            v6: bool, hop_limit in 1_u8.., ident: u16, sport: u16, dport: u16,
            payload in prop::collection::vec(any::<u8>(), 0..600), cut in 0_usize..700, code: u8, exceeded: bool,
        ) {
            let (source, destination): (IpAddr, IpAddr) = if v6 {
                ("3fff::1".parse().unwrap(), "3fff::2".parse().unwrap())
            } else {
                (PROBE.source, PROBE.destination)
            };
            let probe = UdpPacket {
                source, destination, hop_limit, ident, flow_label: 3, source_port: sport, destination_port: dport,
                payload: &payload,
            };
            let kind = if exceeded { ErrorKind::TimeExceeded } else { ErrorKind::Unreachable(code) };
            let minimum = if v6 { 48 } else { 28 };
            let written = error(kind, &bytes(probe), QuoteSize::Bytes(minimum + cut));
            let (header, read) = IcmpError::parse_packet(&written).unwrap();
            prop_assert_eq!(header.destination, source);
            prop_assert_eq!(read.kind, kind);
            prop_assert_eq!(read.quoted.destination, destination);
            prop_assert_eq!(read.quoted.hop_limit, hop_limit);
            prop_assert_eq!(read.quoted.ident, (!v6).then_some(ident));
            let udp = read.quoted.udp().unwrap();
            prop_assert_eq!((udp.source_port, udp.destination_port, udp.checksum), (sport, dport, probe.checksum()));
            prop_assert_eq!(usize::from(udp.length), 8 + payload.len());
            prop_assert!(payload.starts_with(udp.payload));
        }
    }
}
