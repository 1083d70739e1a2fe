//! Probes as packets, and what replies to them say.
//!
//! Ports (or ICMP identifier and checksum), flow label and length are equal in all probes to one target, so that
//! routers which balance load per flow send them the same way.

use std::net::IpAddr;

use edge_packet::{
    BuildError, EchoKind, EchoPacket, EchoView, ErrorKind, IcmpError, TcpPacket, TcpView,
    UdpPacket, checksum, tcp_flags,
};

use crate::config::ProbeMethod;
use crate::tag::{Proof, Tag};

/// The longest identification text sent.
pub(crate) const MAX_IDENTIFICATION: usize = 64;
/// The largest packet written: IPv6 and UDP or ICMP header, tag, balance, identification.
pub(crate) const MAX_PACKET: usize = 40 + 8 + TEXT_AT + MAX_IDENTIFICATION;
const BALANCE_AT: usize = 8;
const TEXT_AT: usize = 10;

/// A probe to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// What it is made of.
    pub(crate) method: ProbeMethod,
    /// To whom.
    pub(crate) target: IpAddr,
    /// Hop limit.
    pub(crate) ttl: u8,
    /// Counted from 1 for each TTL.
    pub(crate) attempt: u8,
    /// Which trace of this process, modulo 128.
    pub(crate) epoch: u8,
    /// Source port, or ICMP identifier.
    pub(crate) source_port: u16,
    /// Destination port; not used in ICMP.
    pub(crate) destination_port: u16,
    /// What a reply must repeat.
    pub(crate) tag: Tag,
}

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyKind {
    /// An ICMP error.
    Error(ErrorKind),
    /// The target's own answer: an echo reply, or a SYN accepted or refused.
    Answer,
}

/// A reply to something that may be a probe of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Who sent it.
    pub(crate) responder: IpAddr,
    /// What it says.
    pub(crate) kind: ReplyKind,
    /// Destination of the probe.
    pub(crate) target: IpAddr,
    /// Source port or ICMP identifier of the probe.
    pub(crate) source_port: u16,
    /// Destination port of the probe; 0 in ICMP.
    pub(crate) destination_port: u16,
    /// What it repeats of the probe's tag.
    pub(crate) proof: Proof,
    /// Hop limit that the probe had left, if the reply quotes it.
    pub(crate) ttl_left: Option<u8>,
    /// Hop limit with which the reply itself arrived, if known.
    pub(crate) arrived_with: Option<u8>,
    /// The probe reached the responder with MPLS labels.
    pub(crate) in_tunnel: bool,
}

/// The long proof if `payload` is there, else `short`.
fn proof(payload: &[u8], short: Proof) -> Proof {
    match payload.first_chunk() {
        Some(long) => Proof::Long(u64::from_be_bytes(*long)),
        None => short,
    }
}

/// How far the sender of a reply is by the hop limit that it arrived with, if it started with a usual one and came back the
/// way that the probe went: a guess.
pub(crate) fn distance_back(arrived_with: Option<u8>) -> Option<u8> {
    let left = arrived_with?;
    let start = [32, 64, 128, 255]
        .into_iter()
        .find(|start| left <= *start)?;
    Some(start - left + 1)
}

impl Reply {
    /// Reads an error; `None` if it quotes nothing that a probe by `method` looks like.
    pub(crate) fn to_error(
        method: ProbeMethod,
        responder: IpAddr,
        error: &IcmpError<'_>,
    ) -> Option<Self> {
        let quoted = &error.quoted;
        let (source_port, destination_port, proof) = match method {
            ProbeMethod::Udp => {
                let udp = quoted.udp().ok()?;
                let proof = proof(udp.payload, Proof::Short(udp.checksum));
                (udp.source_port, udp.destination_port, proof)
            }
            ProbeMethod::Icmp => {
                let echo = quoted.echo().ok()?;
                let proof = proof(echo.payload, Proof::Short(echo.sequence));
                (echo.kind == EchoKind::Request).then_some((echo.identifier, 0, proof))?
            }
            ProbeMethod::TcpSyn => {
                let (from, to, sequence) = quoted.tcp_start().ok()?;
                (from, to, Proof::Sequence(sequence))
            }
        };
        Some(Self {
            responder,
            kind: ReplyKind::Error(error.kind),
            target: quoted.destination,
            source_port,
            destination_port,
            proof,
            ttl_left: Some(quoted.hop_limit),
            arrived_with: None,
            in_tunnel: error.extensions.mpls().next().is_some(),
        })
    }

    /// Reads what an error queue tells about a UDP datagram from `source_port`: the quoted `payload`, if any.
    pub(crate) fn to_datagram(
        responder: IpAddr,
        kind: ErrorKind,
        target: IpAddr,
        ports: (u16, u16),
        payload: &[u8],
    ) -> Self {
        Self {
            responder,
            kind: ReplyKind::Error(kind),
            target,
            source_port: ports.0,
            destination_port: ports.1,
            proof: proof(payload, Proof::Socket),
            ttl_left: None,
            arrived_with: None,
            in_tunnel: false,
        }
    }

    /// Reads what an error queue tells about an echo request.
    pub(crate) fn to_echo(
        responder: IpAddr,
        kind: ErrorKind,
        target: IpAddr,
        echo: &EchoView<'_>,
    ) -> Option<Self> {
        (echo.kind == EchoKind::Request).then(|| Self {
            responder,
            kind: ReplyKind::Error(kind),
            target,
            source_port: echo.identifier,
            destination_port: 0,
            proof: proof(echo.payload, Proof::Short(echo.sequence)),
            ttl_left: None,
            arrived_with: None,
            in_tunnel: false,
        })
    }

    /// Takes an echo reply from `target`; `None` if it is a request.
    pub(crate) fn by_echo(target: IpAddr, echo: &EchoView<'_>) -> Option<Self> {
        (echo.kind == EchoKind::Reply).then(|| Self {
            responder: target,
            kind: ReplyKind::Answer,
            target,
            source_port: echo.identifier,
            destination_port: 0,
            proof: proof(echo.payload, Proof::Short(echo.sequence)),
            ttl_left: None,
            arrived_with: None,
            in_tunnel: false,
        })
    }

    /// Takes `target`'s answer to a SYN; `None` if it is none.
    pub(crate) fn by_tcp(target: IpAddr, segment: &TcpView) -> Option<Self> {
        segment.answered_syn().map(|sequence| Self {
            responder: target,
            kind: ReplyKind::Answer,
            target,
            source_port: segment.destination_port,
            destination_port: segment.source_port,
            proof: Proof::Sequence(sequence),
            ttl_left: None,
            arrived_with: None,
            in_tunnel: false,
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

    const fn flow_label(&self) -> u32 {
        0x8_0000 | self.source_port as u32
    }

    const fn udp<'a>(&self, source: IpAddr, payload: &'a [u8]) -> UdpPacket<'a> {
        UdpPacket {
            source,
            destination: self.target,
            hop_limit: self.ttl,
            ident: self.ident(),
            flow_label: self.flow_label(),
            source_port: self.source_port,
            destination_port: self.destination_port,
            payload,
        }
    }

    const fn echo<'a>(&self, source: IpAddr, payload: &'a [u8]) -> EchoPacket<'a> {
        EchoPacket {
            source,
            destination: self.target,
            hop_limit: self.ttl,
            ident: self.ident(),
            flow_label: self.flow_label(),
            kind: EchoKind::Request,
            identifier: self.source_port,
            sequence: self.tag.short,
            payload,
        }
    }

    const fn syn(&self, source: IpAddr) -> TcpPacket {
        TcpPacket {
            source,
            destination: self.target,
            hop_limit: self.ttl,
            ident: self.ident(),
            flow_label: self.flow_label(),
            source_port: self.source_port,
            destination_port: self.destination_port,
            sequence: self.tag.sequence(),
            acknowledgment: 0,
            flags: tcp_flags::SYN,
            window: 64_240,
            max_segment_size: Some(match self.target {
                IpAddr::V4(_) => 1460,
                IpAddr::V6(_) => 1440,
            }),
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
        let payload = &mut payload[..TEXT_AT + text.len()];
        let (unbalanced, wanted) = match self.method {
            ProbeMethod::Udp => (self.udp(source, payload).checksum(), self.tag.short),
            // Any constant will do that has one form only.
            ProbeMethod::Icmp => (
                self.echo(source, payload).checksum(),
                self.source_port.clamp(1, 0xfffe),
            ),
            ProbeMethod::TcpSyn => return self.syn(source).write(buffer),
        };
        let balance = checksum::balance(unbalanced, wanted);
        payload[BALANCE_AT..TEXT_AT].copy_from_slice(&balance.to_be_bytes());
        match self.method {
            ProbeMethod::Icmp => self.echo(source, payload).write(buffer),
            _ => self.udp(source, payload).write(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use edge_packet::{FlowKey, IpHeader, QuoteSize, checksum::Sum, write_icmp_error};
    use proptest::prelude::*;

    use super::*;
    use crate::tag::TagKey;

    const METHODS: [ProbeMethod; 3] = [ProbeMethod::Udp, ProbeMethod::Icmp, ProbeMethod::TcpSyn];

    fn quote(method: ProbeMethod, packet: &[u8], size: QuoteSize) -> Option<Reply> {
        let router = router(packet[0] >> 4 == 6);
        let mut out = [0; 1280];
        let kind = ErrorKind::TimeExceeded;
        let length = write_icmp_error(&mut out, router, 64, kind, packet, size).unwrap();
        let (header, error) = IcmpError::parse_packet(&out[..length]).unwrap();
        Reply::to_error(method, header.source, &error)
    }

    fn router(v6: bool) -> IpAddr {
        if v6 {
            "3fff::fe".parse().unwrap()
        } else {
            IpAddr::from([240, 0, 0, 254])
        }
    }

    proptest! {
        #[test]
        fn the_shortest_quote_carries_the_tag_and_the_flow_never_changes(
            key: [u8; 16], trace: u64, v6: bool, host: u8, text in "[ -~]{0,80}", method in prop::sample::select(&METHODS[..]),
        ) {
            let key = TagKey::new(key);
            let (source, target): (IpAddr, IpAddr) = if v6 {
                ("3fff::1".parse().unwrap(), format!("3fff::{host:x}:1").parse().unwrap())
            } else {
                ([240, 0, 0, 1].into(), [240, 1, 0, host].into())
            };
            let mut flows = BTreeSet::new();
            for (ttl, attempt) in [(1, 1), (9, 2), (32, 7)] {
                let destination_port = if method == ProbeMethod::Icmp { 0 } else { 33434 };
                let probe = Probe {
                    method, target, ttl, attempt, epoch: 5, source_port: key.source_port(target), destination_port,
                    tag: key.tag(target, trace, ttl, attempt, 0),
                };
                let mut buffer = [0; MAX_PACKET];
                let length = probe.write(source, &text, &mut buffer).unwrap();
                let packet = &buffer[..length];
                let header = IpHeader::parse(packet).unwrap();
                let message = &packet[header.payload.clone()];
                let sum = if header.protocol == edge_packet::protocol::ICMP {
                    Sum::new()
                } else {
                    Sum::new().pseudo_header(source, target, header.protocol, message.len())
                };
                prop_assert_eq!(sum.bytes(message).checksum(), 0);
                prop_assert_eq!(header.hop_limit, ttl);
                prop_assert_eq!(header.ident.unwrap_or_default(), if v6 { 0 } else { probe.ident().into() });
                flows.insert((FlowKey::parse(packet).unwrap(), header.flow_label, length));

                let (short, long) = match method {
                    ProbeMethod::TcpSyn => (Proof::Sequence(probe.tag.sequence()), Proof::Sequence(probe.tag.sequence())),
                    _ => (Proof::Short(probe.tag.short), Proof::Long(probe.tag.long)),
                };
                let expected = Reply {
                    responder: router(v6), kind: ReplyKind::Error(ErrorKind::TimeExceeded), target,
                    source_port: probe.source_port, destination_port, proof: short,
                    ttl_left: Some(ttl), arrived_with: None, in_tunnel: false,
                };
                prop_assert_eq!(quote(method, packet, QuoteSize::Minimum), Some(expected));
                prop_assert_eq!(quote(method, packet, QuoteSize::Full), Some(Reply { proof: long, ..expected }));
                prop_assert!(probe.tag.matches(short) && probe.tag.matches(long));
                for other in METHODS.into_iter().filter(|other| *other != method) {
                    prop_assert_eq!(quote(other, packet, QuoteSize::Full), None);
                }
            }
            prop_assert_eq!(flows.len(), 1);
        }
    }

    proptest! {
        #[test]
        fn a_mangled_quote_does_no_harm_and_a_mangled_tag_proves_nothing(
            v6: bool, method in prop::sample::select(&METHODS[..]), cut in 0_usize..160, (at, change) in (0_usize..8, 1_u8..),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let (source, target): (IpAddr, IpAddr) = if v6 {
                ("3fff::1".parse().unwrap(), "3fff::2".parse().unwrap())
            } else {
                ([240, 0, 0, 1].into(), [240, 1, 0, 1].into())
            };
            let probe = Probe {
                method, target, ttl: 3, attempt: 1, epoch: 5, source_port: 0x8001, destination_port: 443,
                tag: TagKey::new([7; 16]).tag(target, 1, 3, 1, 0),
            };
            let mut packet = [0; MAX_PACKET];
            let length = probe.write(source, "text", &mut packet).unwrap();
            let mut error = [0; 1280];
            let kind = ErrorKind::TimeExceeded;
            let size = write_icmp_error(&mut error, router(v6), 64, kind, &packet[..length], QuoteSize::Full).unwrap();
            let (version, header_len) = if v6 { (edge_packet::IpVersion::V6, 40) } else { (edge_packet::IpVersion::V4, 20) };
            let message = &mut error[header_len..size];
            let transport = 8 + header_len;
            let tag = match method {
                ProbeMethod::TcpSyn => transport + 4 + at % 4,
                ProbeMethod::Udp | ProbeMethod::Icmp => transport + 8 + at,
            };
            message[tag] ^= change;
            let parsed = IcmpError::parse_message(version, message).unwrap();
            let reply = Reply::to_error(method, router(v6), &parsed).unwrap();
            prop_assert!(!probe.tag.matches(reply.proof));
            for (at, change) in changes {
                message[at.index(message.len())] ^= change;
            }
            if let Ok(parsed) = IcmpError::parse_message(version, &message[..message.len().min(cut)]) {
                let _ = Reply::to_error(method, router(v6), &parsed);
            }
        }
    }

    #[test]
    fn labels_behind_the_quote_say_that_the_probe_was_in_a_tunnel() {
        let probe = Probe {
            method: ProbeMethod::Udp,
            target: IpAddr::from([240, 1, 0, 1]),
            ttl: 3,
            attempt: 1,
            epoch: 5,
            source_port: 0x8001,
            destination_port: 33434,
            tag: TagKey::new([7; 16]).tag(IpAddr::from([240, 1, 0, 1]), 1, 3, 1, 0),
        };
        let mut packet = [0; MAX_PACKET];
        let source = IpAddr::from([240, 0, 0, 1]);
        probe.write(source, "text", &mut packet).unwrap();
        let mut message = vec![11, 0, 0, 0, 0, 32, 0, 0];
        message.extend(&packet[..MAX_PACKET]);
        message.resize(8 + 128, 0);
        let mut reply = |labels: &[u8]| {
            message.truncate(8 + 128);
            message.extend(labels);
            let error = IcmpError::parse_message(edge_packet::IpVersion::V4, &message).unwrap();
            Reply::to_error(ProbeMethod::Udp, router(false), &error).unwrap()
        };
        assert!(!reply(&[]).in_tunnel);
        let inside = reply(&[0x20, 0, 0, 0, 0, 8, 1, 1, 0x12, 0x34, 0x51, 7]);
        assert!(inside.in_tunnel && probe.tag.matches(inside.proof));
    }

    #[test]
    fn an_answer_is_told_from_a_question() {
        let target = IpAddr::from([240, 1, 0, 1]);
        let echo = |kind| EchoView {
            kind,
            checksum: 0,
            identifier: 0x8001,
            sequence: 7,
            payload: &[1; 8],
        };
        let expected = Reply {
            responder: target,
            kind: ReplyKind::Answer,
            target,
            source_port: 0x8001,
            destination_port: 0,
            proof: Proof::Long(0x0101_0101_0101_0101),
            ttl_left: None,
            arrived_with: None,
            in_tunnel: false,
        };
        assert_eq!(
            Reply::by_echo(target, &echo(EchoKind::Reply)),
            Some(expected)
        );
        assert_eq!(Reply::by_echo(target, &echo(EchoKind::Request)), None);
        let segment = TcpView {
            source_port: 443,
            destination_port: 0x8001,
            sequence: 99,
            acknowledgment: 8,
            flags: tcp_flags::SYN | tcp_flags::ACK,
        };
        let accepted = Reply {
            destination_port: 443,
            proof: Proof::Sequence(7),
            ..expected
        };
        assert_eq!(Reply::by_tcp(target, &segment), Some(accepted));
        let question = TcpView {
            flags: tcp_flags::SYN,
            ..segment
        };
        assert_eq!(Reply::by_tcp(target, &question), None);
    }
}
