//! TCP segments without data (RFC 9293): the SYN of a probe, and what answers it.

use std::net::IpAddr;

use crate::checksum::Sum;
use crate::udp::write_ip_header;
use crate::{BuildError, IpHeader, ParseError, Quoted, array, protocol, require, word};

/// Control bits of a segment.
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronizes sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Resets the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgment number counts.
    pub const ACK: u8 = 0x10;
}

/// A segment without data to be written, IP header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpPacket {
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
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number; counts with [`flags::ACK`].
    pub acknowledgment: u32,
    /// Control bits.
    pub flags: u8,
    /// Bytes that the sender is ready to receive.
    pub window: u16,
    /// Value of the maximum segment size option, which a SYN carries as a rule.
    pub max_segment_size: Option<u16>,
}

impl TcpPacket {
    const fn header_len(&self) -> usize {
        match self.source {
            IpAddr::V4(_) => 20,
            IpAddr::V6(_) => 40,
        }
    }

    const fn segment_len(&self) -> usize {
        match self.max_segment_size {
            Some(_) => 24,
            None => 20,
        }
    }

    /// Bytes of the whole packet.
    pub const fn len(&self) -> usize {
        self.header_len() + self.segment_len()
    }

    /// False: headers are never empty.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the packet at the start of `buffer`; returns its length.
    pub fn write(&self, buffer: &mut [u8]) -> Result<usize, BuildError> {
        let length = self.len();
        let got = buffer.len();
        let out = buffer.get_mut(..length).ok_or(BuildError::Buffer {
            needed: length,
            got,
        })?;
        let header_len = write_ip_header(
            out,
            self.source,
            self.destination,
            protocol::TCP,
            self.hop_limit,
            self.ident,
            self.flow_label,
        )?;
        let segment = &mut out[header_len..];
        segment[0..2].copy_from_slice(&self.source_port.to_be_bytes());
        segment[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        segment[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        segment[8..12].copy_from_slice(&self.acknowledgment.to_be_bytes());
        segment[12] = if self.max_segment_size.is_some() {
            6 << 4
        } else {
            5 << 4
        };
        segment[13] = self.flags;
        segment[14..16].copy_from_slice(&self.window.to_be_bytes());
        segment[16..20].fill(0); // checksum, urgent pointer
        if let Some(size) = self.max_segment_size {
            segment[20..22].copy_from_slice(&[2, 4]);
            segment[22..24].copy_from_slice(&size.to_be_bytes());
        }
        let sum = Sum::new()
            .pseudo_header(
                self.source,
                self.destination,
                protocol::TCP,
                self.segment_len(),
            )
            .bytes(segment)
            .checksum();
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        Ok(length)
    }
}

/// The fixed part of a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpView {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number; counts with [`flags::ACK`].
    pub acknowledgment: u32,
    /// Control bits.
    pub flags: u8,
}

impl TcpView {
    /// Reads the segment at the start of `segment`. Does not verify the checksum.
    pub fn parse(segment: &[u8]) -> Result<Self, ParseError> {
        require(segment, 20)?;
        let long = |at| array(segment, at).map_or(0, u32::from_be_bytes);
        Ok(Self {
            source_port: word(segment, 0)?,
            destination_port: word(segment, 2)?,
            sequence: long(4),
            acknowledgment: long(8),
            flags: segment[13],
        })
    }

    /// Reads a TCP packet from its IP header on. Verifies the checksum.
    pub fn parse_packet(packet: &[u8]) -> Result<(IpHeader, Self), ParseError> {
        let header = IpHeader::parse(packet)?;
        if header.protocol != protocol::TCP || header.fragment.is_some() {
            return Err(ParseError::Other(header.protocol));
        }
        let segment = &packet[header.payload.clone()];
        let sum = Sum::new().pseudo_header(
            header.source,
            header.destination,
            protocol::TCP,
            segment.len(),
        );
        if sum.bytes(segment).checksum() != 0 {
            return Err(ParseError::Checksum);
        }
        let view = Self::parse(segment)?;
        Ok((header, view))
    }

    /// The sequence number of the SYN that this segment answers: it accepts (SYN and ACK) or refuses (RST and ACK) the
    /// connection and acknowledges the SYN, which counts as one byte. `None` for any other segment.
    pub const fn answered_syn(&self) -> Option<u32> {
        let is_answer = matches!(
            self.flags & (flags::SYN | flags::RST | flags::ACK | flags::FIN),
            0x12 | 0x14 // SYN and ACK, RST and ACK
        );
        if is_answer {
            Some(self.acknowledgment.wrapping_sub(1))
        } else {
            None
        }
    }
}

impl Quoted<'_> {
    /// Ports and sequence number of a quoted TCP segment: what fits into the 8 bytes that every quote has.
    pub fn tcp_start(&self) -> Result<(u16, u16, u32), ParseError> {
        if self.protocol != protocol::TCP {
            return Err(ParseError::Other(self.protocol));
        }
        require(self.transport, 8)?;
        Ok((
            word(self.transport, 0)?,
            word(self.transport, 2)?,
            array(self.transport, 4).map_or(0, u32::from_be_bytes),
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ErrorKind, FlowKey, IcmpError, QuoteSize, write_icmp_error};

    const SYN: TcpPacket = TcpPacket {
        source: IpAddr::V4(std::net::Ipv4Addr::new(240, 0, 0, 1)),
        destination: IpAddr::V4(std::net::Ipv4Addr::new(240, 0, 1, 9)),
        hop_limit: 5,
        ident: 0x0a01,
        flow_label: 0,
        source_port: 0x8001,
        destination_port: 443,
        sequence: 0x0102_0304,
        acknowledgment: 0,
        flags: flags::SYN,
        window: 0xfaf0,
        max_segment_size: Some(1460),
    };

    #[test]
    fn writes_a_syn_byte_for_byte() {
        let mut buffer = [0; 64];
        let length = SYN.write(&mut buffer).unwrap();
        assert_eq!(
            buffer[..length],
            [
                0x45, 0x00, 0x00, 0x2c, 0x0a, 0x01, 0x00, 0x00, 0x05, 0x06, 0xca, 0xc0, // IP
                0xf0, 0x00, 0x00, 0x01, 0xf0, 0x00, 0x01, 0x09, //
                0x80, 0x01, 0x01, 0xbb, 0x01, 0x02, 0x03, 0x04, 0, 0, 0, 0, // TCP
                0x60, 0x02, 0xfa, 0xf0, 0x36, 0x68, 0, 0, 0x02, 0x04, 0x05, 0xb4,
            ]
        );
    }

    #[test]
    fn only_answers_to_a_syn_prove_its_sequence_number() {
        let answer = |flags| {
            TcpView {
                source_port: 443,
                destination_port: 0x8001,
                sequence: 9,
                acknowledgment: 0,
                flags,
            }
            .answered_syn()
        };
        assert_eq!(answer(flags::SYN | flags::ACK), Some(u32::MAX));
        assert_eq!(answer(flags::RST | flags::ACK), Some(u32::MAX));
        for other in [
            0,
            flags::SYN,
            flags::ACK,
            flags::RST,
            flags::FIN | flags::ACK,
            flags::SYN | flags::RST | flags::ACK,
        ] {
            assert_eq!(answer(other), None, "{other:#x}");
        }
    }

    #[test]
    fn refuses_what_cannot_be_written_or_read() {
        assert_eq!(
            SYN.write(&mut [0; 43]),
            Err(BuildError::Buffer {
                needed: 44,
                got: 43
            })
        );
        let mixed = TcpPacket {
            destination: "3fff::1".parse().unwrap(),
            ..SYN
        };
        assert_eq!(mixed.write(&mut [0; 99]), Err(BuildError::MixedVersions));
        assert_eq!(
            TcpView::parse(&[0; 19]),
            Err(ParseError::Truncated {
                needed: 20,
                got: 19
            })
        );
        let mut packet = [0; 44];
        SYN.write(&mut packet).unwrap();
        packet[26] ^= 1;
        assert_eq!(TcpView::parse_packet(&packet), Err(ParseError::Checksum));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_and_its_start_from_the_shortest_quote(
            v6: bool, hop_limit in 1_u8.., ports in (any::<u16>(), any::<u16>()), sequence: u32, acknowledgment: u32,
            flags: u8, window: u16, max_segment_size: Option<u16>,
        ) {
            let (source, destination): (IpAddr, IpAddr) = if v6 {
                ("3fff::1".parse().unwrap(), "3fff::2".parse().unwrap())
            } else {
                (SYN.source, SYN.destination)
            };
            let packet = TcpPacket {
                source, destination, hop_limit, source_port: ports.0, destination_port: ports.1, sequence, acknowledgment,
                flags, window, max_segment_size, ..SYN
            };
            let mut buffer = [0; 80];
            let length = packet.write(&mut buffer).unwrap();
            let (header, view) = TcpView::parse_packet(&buffer[..length]).unwrap();
            prop_assert_eq!(header.claimed_len, length);
            prop_assert_eq!(
                view,
                TcpView { source_port: ports.0, destination_port: ports.1, sequence, acknowledgment, flags }
            );

            let mut error = [0; 1280];
            let kind = ErrorKind::TimeExceeded;
            let size = write_icmp_error(&mut error, destination, 64, kind, &buffer[..length], QuoteSize::Minimum).unwrap();
            let (_, error) = IcmpError::parse_packet(&error[..size]).unwrap();
            prop_assert_eq!(error.quoted.tcp_start(), Ok((ports.0, ports.1, sequence)));

            let other = TcpPacket { sequence: !sequence, hop_limit: 9, ident: 5, ..packet };
            let flow = FlowKey::parse(&buffer[..length]);
            other.write(&mut buffer).unwrap();
            prop_assert_eq!(FlowKey::parse(&buffer[..length]), flow);
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            TcpView::parse_packet(&bytes).ok();
            if let Ok(view) = TcpView::parse(&bytes) {
                let _ = view.answered_syn();
            }
            if let Ok(quoted) = Quoted::parse(&bytes) {
                quoted.tcp_start().ok();
            }
        }
    }
}
