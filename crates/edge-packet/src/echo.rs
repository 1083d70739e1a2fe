//! ICMP and ICMPv6 echo requests and replies (RFC 792, RFC 4443 section 4).

use std::net::IpAddr;

use crate::checksum::Sum;
use crate::udp::write_ip_header;
use crate::{BuildError, IpHeader, IpVersion, ParseError, Quoted, protocol, require, word};

/// Whether an echo is asked for or given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EchoKind {
    /// Echo request (8 in ICMP, 128 in ICMPv6).
    Request,
    /// Echo reply (0 in ICMP, 129 in ICMPv6).
    Reply,
}

impl EchoKind {
    const fn message_type(self, version: IpVersion) -> u8 {
        match (self, version) {
            (Self::Request, IpVersion::V4) => 8,
            (Self::Reply, IpVersion::V4) => 0,
            (Self::Request, IpVersion::V6) => 128,
            (Self::Reply, IpVersion::V6) => 129,
        }
    }
}

/// An echo request or reply to be written, IP header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoPacket<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same version.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// IPv4 identification; not used in IPv6.
    pub ident: u16,
    /// IPv6 flow label, 20 bits; not used in IPv4.
    pub flow_label: u32,
    /// Request or reply.
    pub kind: EchoKind,
    /// Which series of echoes.
    pub identifier: u16,
    /// Which one of the series.
    pub sequence: u16,
    /// What the reply has to repeat.
    pub payload: &'a [u8],
}

impl EchoPacket<'_> {
    const fn header_len(&self) -> usize {
        match self.source {
            IpAddr::V4(_) => 20,
            IpAddr::V6(_) => 40,
        }
    }

    /// Bytes of the whole packet.
    pub const fn len(&self) -> usize {
        self.header_len() + 8 + self.payload.len()
    }

    /// False: headers are never empty.
    pub const fn is_empty(&self) -> bool {
        false
    }

    const fn head(&self, checksum: u16) -> [u8; 8] {
        let kind = self.kind.message_type(IpVersion::of(self.source));
        let [sum_high, sum_low] = checksum.to_be_bytes();
        let [id_high, id_low] = self.identifier.to_be_bytes();
        let [seq_high, seq_low] = self.sequence.to_be_bytes();
        [
            kind, 0, sum_high, sum_low, id_high, id_low, seq_high, seq_low,
        ]
    }

    /// The ICMP checksum.
    pub fn checksum(&self) -> u16 {
        let length = 8 + self.payload.len();
        let sum = match IpVersion::of(self.source) {
            IpVersion::V4 => Sum::new(),
            IpVersion::V6 => {
                Sum::new().pseudo_header(self.source, self.destination, protocol::ICMPV6, length)
            }
        };
        sum.bytes(&self.head(0)).bytes(self.payload).checksum()
    }

    /// Writes the packet at the start of `buffer`; returns its length.
    pub fn write(&self, buffer: &mut [u8]) -> Result<usize, BuildError> {
        let length = self.len();
        let got = buffer.len();
        let out = buffer.get_mut(..length).ok_or(BuildError::Buffer {
            needed: length,
            got,
        })?;
        let protocol = match IpVersion::of(self.source) {
            IpVersion::V4 => protocol::ICMP,
            IpVersion::V6 => protocol::ICMPV6,
        };
        let header_len = write_ip_header(
            out,
            self.source,
            self.destination,
            protocol,
            self.hop_limit,
            self.ident,
            self.flow_label,
        )?;
        out[header_len..header_len + 8].copy_from_slice(&self.head(self.checksum()));
        out[header_len + 8..].copy_from_slice(self.payload);
        Ok(length)
    }
}

/// An echo request or reply, as far as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoView<'a> {
    /// Request or reply.
    pub kind: EchoKind,
    /// Checksum field.
    pub checksum: u16,
    /// Which series of echoes.
    pub identifier: u16,
    /// Which one of the series.
    pub sequence: u16,
    /// The payload at hand; may be cut short.
    pub payload: &'a [u8],
}

impl<'a> EchoView<'a> {
    /// Reads an echo from its ICMP header on. Does not verify the checksum.
    pub fn parse_message(version: IpVersion, message: &'a [u8]) -> Result<Self, ParseError> {
        require(message, 8)?;
        let kind = [EchoKind::Request, EchoKind::Reply]
            .into_iter()
            .find(|kind| message[..2] == [kind.message_type(version), 0])
            .ok_or(ParseError::Other(message[0]))?;
        Ok(Self {
            kind,
            checksum: word(message, 2)?,
            identifier: word(message, 4)?,
            sequence: word(message, 6)?,
            payload: &message[8..],
        })
    }

    /// Reads an echo from its IP header on. Verifies the checksum.
    pub fn parse_packet(packet: &'a [u8]) -> Result<(IpHeader, Self), ParseError> {
        let header = IpHeader::parse(packet)?;
        let message = &packet[header.payload.clone()];
        let sum = match (header.version(), header.protocol) {
            (IpVersion::V4, protocol::ICMP) => Sum::new(),
            (IpVersion::V6, protocol::ICMPV6) => Sum::new().pseudo_header(
                header.source,
                header.destination,
                protocol::ICMPV6,
                message.len(),
            ),
            (_, other) => return Err(ParseError::Other(other)),
        };
        if header.fragment.is_some() {
            return Err(ParseError::Other(header.protocol));
        }
        if sum.bytes(message).checksum() != 0 {
            return Err(ParseError::Checksum);
        }
        let view = Self::parse_message(header.version(), message)?;
        Ok((header, view))
    }
}

impl<'a> Quoted<'a> {
    /// The echo request or reply that is quoted, and as much payload as was.
    pub fn echo(&self) -> Result<EchoView<'a>, ParseError> {
        let version = IpVersion::of(self.source);
        match (version, self.protocol) {
            (IpVersion::V4, protocol::ICMP) | (IpVersion::V6, protocol::ICMPV6) => {
                EchoView::parse_message(version, self.transport)
            }
            (_, other) => Err(ParseError::Other(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ErrorKind, FlowKey, IcmpError, QuoteSize, checksum, write_icmp_error};

    const REQUEST: EchoPacket<'_> = EchoPacket {
        source: IpAddr::V4(std::net::Ipv4Addr::new(240, 0, 0, 1)),
        destination: IpAddr::V4(std::net::Ipv4Addr::new(240, 0, 1, 9)),
        hop_limit: 5,
        ident: 0x0a01,
        flow_label: 0,
        kind: EchoKind::Request,
        identifier: 0x8001,
        sequence: 7,
        payload: b"hi!",
    };

    #[test]
    fn writes_v4_byte_for_byte() {
        let mut buffer = [0; 64];
        let length = REQUEST.write(&mut buffer).unwrap();
        assert_eq!(
            buffer[..length],
            [
                0x45, 0x00, 0x00, 0x1f, 0x0a, 0x01, 0x00, 0x00, 0x05, 0x01, 0xca, 0xd2, // IP
                0xf0, 0x00, 0x00, 0x01, 0xf0, 0x00, 0x01, 0x09, //
                0x08, 0x00, 0xee, 0x8d, 0x80, 0x01, 0x00, 0x07, b'h', b'i', b'!',
            ]
        );
    }

    #[test]
    fn writes_v6_byte_for_byte() {
        let packet = EchoPacket {
            source: "3fff::1".parse().unwrap(),
            destination: "3fff::2".parse().unwrap(),
            flow_label: 5,
            kind: EchoKind::Reply,
            payload: b"ok",
            ..REQUEST
        };
        let mut buffer = [0; 64];
        let length = packet.write(&mut buffer).unwrap();
        assert_eq!(
            buffer[..8],
            [0x60, 0x00, 0x00, 0x05, 0x00, 0x0a, 0x3a, 0x05]
        );
        assert_eq!(
            buffer[40..length],
            [0x81, 0x00, 0x0f, 0x46, 0x80, 0x01, 0x00, 0x07, b'o', b'k']
        );
        buffer[49] ^= 1;
        assert_eq!(
            EchoView::parse_packet(&buffer[..length]),
            Err(ParseError::Checksum)
        );
    }

    #[test]
    fn refuses_what_cannot_be_written() {
        assert_eq!(
            REQUEST.write(&mut [0; 30]),
            Err(BuildError::Buffer {
                needed: 31,
                got: 30
            })
        );
        let mixed = EchoPacket {
            destination: "3fff::1".parse().unwrap(),
            ..REQUEST
        };
        assert_eq!(mixed.write(&mut [0; 99]), Err(BuildError::MixedVersions));
    }

    #[test]
    fn other_messages_are_no_echoes() {
        let mut message = [8, 0, 0, 0, 0, 0, 0, 0];
        assert!(EchoView::parse_message(IpVersion::V4, &message).is_ok());
        assert_eq!(
            EchoView::parse_message(IpVersion::V6, &message),
            Err(ParseError::Other(8))
        );
        message[1] = 1;
        assert_eq!(
            EchoView::parse_message(IpVersion::V4, &message),
            Err(ParseError::Other(8))
        );
        assert_eq!(
            EchoView::parse_message(IpVersion::V4, &message[..7]),
            Err(ParseError::Truncated { needed: 8, got: 7 })
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_and_reads_back_from_a_quote(
            v6: bool, is_reply: bool, hop_limit in 1_u8.., identifier: u16, sequence: u16,
            payload in prop::collection::vec(any::<u8>(), 0..80), cut in 0_usize..100,
        ) {
            let (source, destination): (IpAddr, IpAddr) = if v6 {
                ("3fff::1".parse().unwrap(), "3fff::2".parse().unwrap())
            } else {
                (REQUEST.source, REQUEST.destination)
            };
            let kind = if is_reply { EchoKind::Reply } else { EchoKind::Request };
            let packet = EchoPacket {
                source, destination, hop_limit, kind, identifier, sequence, flow_label: 9, payload: &payload, ..REQUEST
            };
            let mut buffer = [0; 200];
            let length = packet.write(&mut buffer).unwrap();
            let (header, view) = EchoView::parse_packet(&buffer[..length]).unwrap();
            prop_assert_eq!(header.claimed_len, length);
            let expected = EchoView { kind, checksum: packet.checksum(), identifier, sequence, payload: &payload };
            prop_assert_eq!(view, expected);

            let mut error = [0; 1280];
            let quote = QuoteSize::Bytes(header.header_len + 8 + cut);
            let size = write_icmp_error(&mut error, destination, 64, ErrorKind::TimeExceeded, &buffer[..length], quote).unwrap();
            let (_, error) = IcmpError::parse_packet(&error[..size]).unwrap();
            let view = error.quoted.echo().unwrap();
            prop_assert_eq!(view, EchoView { payload: &payload[..cut.min(payload.len())], ..expected });
            prop_assert!(error.quoted.udp().is_err());
        }

        #[test]
        fn two_payload_bytes_keep_the_checksum_and_so_the_flow(
            v6: bool, sequences in (any::<u16>(), any::<u16>()), body in any::<[u8; 8]>(), wanted in 1..0xffff_u16,
        ) {
            let (source, destination): (IpAddr, IpAddr) = if v6 {
                ("3fff::1".parse().unwrap(), "3fff::2".parse().unwrap())
            } else {
                (REQUEST.source, REQUEST.destination)
            };
            let mut flows = Vec::new();
            for (sequence, body) in [(sequences.0, body), (sequences.1, [0; 8])] {
                let mut payload = [0; 10];
                payload[..8].copy_from_slice(&body);
                let packet = EchoPacket { source, destination, sequence, payload: &payload, ..REQUEST };
                let balance = checksum::balance(packet.checksum(), wanted);
                payload[8..].copy_from_slice(&balance.to_be_bytes());
                let packet = EchoPacket { source, destination, sequence, payload: &payload, ..REQUEST };
                let mut buffer = [0; 80];
                let length = packet.write(&mut buffer).unwrap();
                let (_, view) = EchoView::parse_packet(&buffer[..length]).unwrap();
                prop_assert_eq!(view.checksum, wanted);
                flows.push(FlowKey::parse(&buffer[..length]).unwrap());
            }
            prop_assert_eq!(flows[0], flows[1]);
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), v6: bool) {
            let version = if v6 { IpVersion::V6 } else { IpVersion::V4 };
            EchoView::parse_message(version, &bytes).ok();
            EchoView::parse_packet(&bytes).ok();
            if let Ok(quoted) = Quoted::parse(&bytes) {
                quoted.echo().ok();
            }
        }
    }
}
