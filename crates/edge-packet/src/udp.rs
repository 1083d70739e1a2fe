//! UDP packets with their IP header.

use std::net::IpAddr;

use crate::checksum::Sum;
use crate::{BuildError, IpHeader, ParseError, checksum, protocol, require, word};

/// A UDP packet to be written, IP header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpPacket<'a> {
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
    /// What it carries.
    pub payload: &'a [u8],
}

impl UdpPacket<'_> {
    /// Bytes of the whole packet.
    pub const fn len(&self) -> usize {
        let header = match self.source {
            IpAddr::V4(_) => 20,
            IpAddr::V6(_) => 40,
        };
        header + 8 + self.payload.len()
    }

    /// False: headers are never empty.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// What the UDP length field says; a longer datagram does not pass [`UdpPacket::write`].
    fn length_field(&self) -> u16 {
        u16::try_from(8 + self.payload.len()).unwrap_or(u16::MAX)
    }

    /// The UDP checksum (never zero, RFC 768).
    pub fn checksum(&self) -> u16 {
        let length = 8 + self.payload.len();
        let sum = Sum::new()
            .pseudo_header(self.source, self.destination, protocol::UDP, length)
            .word(self.source_port)
            .word(self.destination_port)
            .word(self.length_field())
            .bytes(self.payload);
        match sum.checksum() {
            0 => 0xffff,
            other => other,
        }
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
            protocol::UDP,
            self.hop_limit,
            self.ident,
            self.flow_label,
        )?;
        let datagram = &mut out[header_len..];
        datagram[0..2].copy_from_slice(&self.source_port.to_be_bytes());
        datagram[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        datagram[4..6].copy_from_slice(&self.length_field().to_be_bytes());
        datagram[6..8].copy_from_slice(&self.checksum().to_be_bytes());
        datagram[8..].copy_from_slice(self.payload);
        Ok(length)
    }
}

/// Writes an IP header for a packet that fills `packet` exactly; returns the header's length.
pub(crate) fn write_ip_header(
    packet: &mut [u8],
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    hop_limit: u8,
    ident: u16,
    flow_label: u32,
) -> Result<usize, BuildError> {
    let too_long = || BuildError::TooLong(packet.len());
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = u16::try_from(packet.len()).map_err(|_| too_long())?;
            packet[..12].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, hop_limit, protocol, 0, 0]);
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            packet[4..6].copy_from_slice(&ident.to_be_bytes());
            packet[12..16].copy_from_slice(&source.octets());
            packet[16..20].copy_from_slice(&destination.octets());
            let sum = checksum::of(&packet[..20]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            Ok(20)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = u16::try_from(packet.len() - 40).map_err(|_| too_long())?;
            packet[..4].copy_from_slice(&(0x6000_0000 | (flow_label & 0xf_ffff)).to_be_bytes());
            packet[4..6].copy_from_slice(&length.to_be_bytes());
            packet[6..8].copy_from_slice(&[protocol, hop_limit]);
            packet[8..24].copy_from_slice(&source.octets());
            packet[24..40].copy_from_slice(&destination.octets());
            Ok(40)
        }
        _ => Err(BuildError::MixedVersions),
    }
}

/// A UDP header and payload, as far as they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpView<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Length field: header and payload.
    pub length: u16,
    /// Checksum field.
    pub checksum: u16,
    /// The payload at hand; may be cut short.
    pub payload: &'a [u8],
}

impl<'a> UdpView<'a> {
    /// Reads the datagram at the start of `datagram`. Does not verify the checksum.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        require(datagram, 8)?;
        Ok(Self {
            source_port: word(datagram, 0)?,
            destination_port: word(datagram, 2)?,
            length: word(datagram, 4)?,
            checksum: word(datagram, 6)?,
            payload: &datagram[8..],
        })
    }

    /// Reads a UDP packet from its IP header on.
    pub fn parse_packet(packet: &'a [u8]) -> Result<(IpHeader, Self), ParseError> {
        let header = IpHeader::parse(packet)?;
        if header.protocol != protocol::UDP || !header.has_transport_header() {
            return Err(ParseError::Other(header.protocol));
        }
        let view = Self::parse(&packet[header.payload.clone()])?;
        Ok((header, view))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_v4_byte_for_byte() {
        let packet = UdpPacket {
            source: [240, 0, 0, 1].into(),
            destination: [240, 0, 1, 9].into(),
            hop_limit: 5,
            ident: 0x0a01,
            flow_label: 0,
            source_port: 0x8001,
            destination_port: 33434,
            payload: b"hi!",
        };
        let mut buffer = [0; 64];
        let length = packet.write(&mut buffer).unwrap();
        assert_eq!(
            buffer[..length],
            [
                0x45, 0x00, 0x00, 0x1f, 0x0a, 0x01, 0x00, 0x00, 0x05, 0x11, 0xca, 0xc2, //
                0xf0, 0x00, 0x00, 0x01, 0xf0, 0x00, 0x01, 0x09, //
                0x80, 0x01, 0x82, 0x9a, 0x00, 0x0b, 0x92, 0xc7, b'h', b'i', b'!',
            ]
        );
    }

    #[test]
    fn refuses_what_cannot_be_written() {
        let packet = UdpPacket {
            source: [240, 0, 0, 1].into(),
            destination: [240, 0, 1, 9].into(),
            hop_limit: 5,
            ident: 1,
            flow_label: 0,
            source_port: 1,
            destination_port: 2,
            payload: &[0; 10],
        };
        assert_eq!(
            packet.write(&mut [0; 37]),
            Err(BuildError::Buffer {
                needed: 38,
                got: 37
            })
        );
        let mixed = UdpPacket {
            destination: "3fff::1".parse().unwrap(),
            ..packet
        };
        assert_eq!(mixed.write(&mut [0; 99]), Err(BuildError::MixedVersions));
        let long = UdpPacket {
            payload: &vec![0; 65_600],
            ..packet
        };
        assert_eq!(
            long.write(&mut vec![0; 70_000]),
            Err(BuildError::TooLong(65_628))
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            v6: bool, source: (u32, u128), destination: (u32, u128), hop_limit: u8, ident: u16, flow_label in 0_u32..0x10_0000,
            source_port: u16, destination_port: u16, payload in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let address = |bits: (u32, u128)| if v6 {
                IpAddr::V6(bits.1.into())
            } else {
                IpAddr::V4(bits.0.into())
            };
            let packet = UdpPacket {
                source: address(source), destination: address(destination), hop_limit, ident, flow_label,
                source_port, destination_port, payload: &payload,
            };
            let mut buffer = [0; 200];
            let length = packet.write(&mut buffer).unwrap();
            let (header, view) = UdpView::parse_packet(&buffer[..length]).unwrap();
            prop_assert_eq!(header.source, packet.source);
            prop_assert_eq!(header.destination, packet.destination);
            prop_assert_eq!(header.hop_limit, hop_limit);
            prop_assert_eq!(header.claimed_len, length);
            prop_assert_eq!((header.ident, header.flow_label), if v6 { (None, flow_label) } else { (Some(ident.into()), 0) });
            prop_assert_eq!(view, UdpView {
                source_port, destination_port, length: packet.length_field(), checksum: packet.checksum(), payload: &payload,
            });
            let sum = Sum::new()
                .pseudo_header(packet.source, packet.destination, protocol::UDP, 8 + payload.len())
                .bytes(&buffer[header.payload])
                .checksum();
            prop_assert_eq!(sum, 0);
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            UdpView::parse_packet(&bytes).ok();
        }
    }
}
