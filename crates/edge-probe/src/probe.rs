//! Probes as packets, and what errors about them say.

use std::net::IpAddr;

use edge_packet::{BuildError, ErrorKind, IcmpError, UdpPacket, checksum};

use crate::tag::Tag;

/// The longest identification text sent.
pub(crate) const MAX_IDENTIFICATION: usize = 64;
/// The largest packet written: IPv6 and UDP header, tag, balance, identification.
pub(crate) const MAX_PACKET: usize = 40 + 8 + TEXT_AT + MAX_IDENTIFICATION;
const BALANCE_AT: usize = 8;
const TEXT_AT: usize = 10;

/// A probe to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// To whom.
    pub(crate) target: IpAddr,
    /// Hop limit.
    pub(crate) ttl: u8,
    /// Counted from 1 for each TTL.
    pub(crate) attempt: u8,
    /// Which trace of this process, modulo 128.
    pub(crate) epoch: u8,
    /// UDP source port.
    pub(crate) source_port: u16,
    /// UDP destination port.
    pub(crate) destination_port: u16,
    /// What a reply must repeat.
    pub(crate) tag: Tag,
}

/// An ICMP error about something that may be a probe of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Who sent the error.
    pub(crate) responder: IpAddr,
    /// What it reports.
    pub(crate) kind: ErrorKind,
    /// Destination of the quoted packet.
    pub(crate) target: IpAddr,
    /// Quoted source port.
    pub(crate) source_port: u16,
    /// Quoted destination port.
    pub(crate) destination_port: u16,
    /// Quoted UDP checksum.
    pub(crate) short_tag: u16,
    /// The first 8 bytes of quoted payload, if quoted.
    pub(crate) long_tag: Option<u64>,
    /// Hop limit in the quoted packet.
    pub(crate) ttl_left: u8,
}

impl Reply {
    /// Reads an error; `None` if it quotes no UDP datagram.
    pub(crate) fn read(responder: IpAddr, error: &IcmpError<'_>) -> Option<Self> {
        let udp = error.quoted.udp().ok()?;
        Some(Self {
            responder,
            kind: error.kind,
            target: error.quoted.destination,
            source_port: udp.source_port,
            destination_port: udp.destination_port,
            short_tag: udp.checksum,
            long_tag: udp.payload.first_chunk().copied().map(u64::from_be_bytes),
            ttl_left: error.quoted.hop_limit,
        })
    }
}

impl Probe {
    /// The IPv4 identification: TTL in 6 bits, attempt in 3, epoch in 7. Never zero, which the kernel would replace.
    pub(crate) const fn ident(&self) -> u16 {
        ((self.ttl & 0x3f) as u16) << 10
            | ((self.attempt & 0x7) as u16) << 7
            | (self.epoch & 0x7f) as u16
    }

    const fn packet<'a>(&self, source: IpAddr, payload: &'a [u8]) -> UdpPacket<'a> {
        UdpPacket {
            source,
            destination: self.target,
            hop_limit: self.ttl,
            ident: self.ident(),
            flow_label: 0x8_0000 | self.source_port as u32,
            source_port: self.source_port,
            destination_port: self.destination_port,
            payload,
        }
    }

    /// Writes the packet, from `source`, to the start of `buffer`; returns its length.
    pub(crate) fn write(
        &self,
        source: IpAddr,
        identification: &str,
        buffer: &mut [u8],
    ) -> Result<usize, BuildError> {
        let text = identification.as_bytes();
        let text = &text[..text.len().min(MAX_IDENTIFICATION)];
        let mut payload = [0; TEXT_AT + MAX_IDENTIFICATION];
        payload[..8].copy_from_slice(&self.tag.long.to_be_bytes());
        payload[TEXT_AT..TEXT_AT + text.len()].copy_from_slice(text);
        let length = TEXT_AT + text.len();
        let unbalanced = self.packet(source, &payload[..length]).checksum();
        let balance = checksum::balance(unbalanced, self.tag.short);
        payload[BALANCE_AT..TEXT_AT].copy_from_slice(&balance.to_be_bytes());
        self.packet(source, &payload[..length]).write(buffer)
    }
}

#[cfg(test)]
mod tests {
    use edge_packet::{QuoteSize, UdpView, write_icmp_error};
    use proptest::prelude::*;

    use super::*;
    use crate::tag::TagKey;

    fn quote(packet: &[u8], size: QuoteSize) -> Option<Reply> {
        let router = match packet[0] >> 4 {
            4 => IpAddr::from([240, 0, 0, 254]),
            _ => "3fff::fe".parse().unwrap(),
        };
        let mut out = [0; 1280];
        let length =
            write_icmp_error(&mut out, router, 64, ErrorKind::TimeExceeded, packet, size).unwrap();
        let (header, error) = IcmpError::parse_packet(&out[..length]).unwrap();
        Reply::read(header.source, &error)
    }

    proptest! {
        #[test]
        fn the_shortest_quote_carries_the_tag_and_the_flow_never_changes(
            key: [u8; 16], trace: u64, v6: bool, host: u8, text in "[ -~]{0,80}",
        ) {
            let key = TagKey::new(key);
            let (source, target): (IpAddr, IpAddr) = if v6 {
                ("3fff::1".parse().unwrap(), format!("3fff::{host:x}:1").parse().unwrap())
            } else {
                ([240, 0, 0, 1].into(), [240, 1, 0, host].into())
            };
            let mut flows = std::collections::BTreeSet::new();
            for (ttl, attempt) in [(1, 1), (9, 2), (32, 7)] {
                let probe = Probe {
                    target, ttl, attempt, epoch: 5, source_port: key.source_port(target), destination_port: 33434,
                    tag: key.tag(target, trace, ttl, attempt, 0),
                };
                let mut buffer = [0; MAX_PACKET];
                let length = probe.write(source, &text, &mut buffer).unwrap();
                let packet = &buffer[..length];
                let (header, udp) = UdpView::parse_packet(packet).unwrap();
                let sum = checksum::Sum::new()
                    .pseudo_header(source, target, 17, header.payload.len())
                    .bytes(&packet[header.payload.clone()]);
                prop_assert_eq!(sum.checksum(), 0);
                prop_assert_eq!(udp.checksum, probe.tag.short);
                prop_assert_eq!(header.ident.unwrap_or_default(), if v6 { 0 } else { probe.ident().into() });
                flows.insert((edge_packet::FlowKey::parse(packet).unwrap(), header.flow_label, length));

                let expected = Reply {
                    responder: quote(packet, QuoteSize::Minimum).unwrap().responder,
                    kind: ErrorKind::TimeExceeded, target, source_port: probe.source_port, destination_port: 33434,
                    short_tag: probe.tag.short, long_tag: None, ttl_left: ttl,
                };
                prop_assert_eq!(quote(packet, QuoteSize::Minimum), Some(expected));
                prop_assert_eq!(quote(packet, QuoteSize::Full), Some(Reply { long_tag: Some(probe.tag.long), ..expected }));
            }
            prop_assert_eq!(flows.len(), 1);
        }
    }
}
