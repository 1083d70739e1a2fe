//! What fuzzers and tests throw bytes at: each parser, with the promises of its results checked.

use crate::{
    EchoView, FlowKey, IcmpError, IpHeader, IpVersion, Quoted, TcpView, UdpView,
    decrement_hop_limit, deserves_error, set_hop_limit,
};

/// IP headers, whole and quoted, and what is done to packets on their way.
///
/// # Panics
/// If a promise is broken.
pub fn ip(bytes: &[u8]) {
    for header in [IpHeader::parse(bytes), IpHeader::parse_quoted(bytes)]
        .into_iter()
        .flatten()
    {
        assert!(
            bytes.get(header.payload.clone()).is_some(),
            "the payload lies within the packet"
        );
        let _port_or_none = FlowKey::of(&header, bytes).hash(7);
    }
    let _depends = deserves_error(bytes);
    let mut packet = bytes.to_vec();
    if set_hop_limit(&mut packet, 9).is_ok() {
        let left = decrement_hop_limit(&mut packet);
        assert!(
            matches!(left, Ok(Some(8))),
            "a hop limit of 9 goes down to 8"
        );
        let header = IpHeader::parse(bytes).map(|header| header.payload);
        let after = IpHeader::parse(&packet).map(|header| header.payload);
        assert!(
            header.is_err() || header == after,
            "the packet is otherwise the same"
        );
    }
}

/// UDP, as a datagram and within a packet.
///
/// # Panics
/// If a promise is broken.
pub fn udp(bytes: &[u8]) {
    if let Ok(view) = UdpView::parse(bytes) {
        assert!(
            view.payload.len() + 8 <= bytes.len(),
            "the payload lies within the datagram"
        );
    }
    if let Ok((header, view)) = UdpView::parse_packet(bytes) {
        assert!(
            view.payload.len() + 8 <= header.payload.len(),
            "the payload lies within the packet"
        );
    }
}

/// ICMP errors, as packets and as messages, and the quotes in them.
///
/// # Panics
/// If a promise is broken.
pub fn icmp(bytes: &[u8]) {
    let messages =
        [IpVersion::V4, IpVersion::V6].map(|version| IcmpError::parse_message(version, bytes));
    let packet = IcmpError::parse_packet(bytes).map(|(_, error)| error);
    for error in messages.into_iter().chain([packet]).flatten() {
        quote(&error.quoted, bytes);
        assert!(
            error.extensions.mpls().count() <= bytes.len() / 4,
            "labels lie within the message"
        );
    }
    if let Ok(quoted) = Quoted::parse(bytes) {
        quote(&quoted, bytes);
    }
}

/// Echo requests and replies.
///
/// # Panics
/// If a promise is broken.
pub fn echo(bytes: &[u8]) {
    let messages =
        [IpVersion::V4, IpVersion::V6].map(|version| EchoView::parse_message(version, bytes));
    let packet = EchoView::parse_packet(bytes).map(|(_, echo)| echo);
    for echo in messages.into_iter().chain([packet]).flatten() {
        assert!(
            echo.payload.len() + 8 <= bytes.len(),
            "the payload lies within the message"
        );
    }
}

/// TCP segments, alone and within a packet.
///
/// # Panics
/// If a parser panics.
pub fn tcp(bytes: &[u8]) {
    let packet = TcpView::parse_packet(bytes).map(|(_, segment)| segment);
    for segment in [TcpView::parse(bytes), packet].into_iter().flatten() {
        let _none_or_sequence = segment.answered_syn();
    }
}

fn quote(quoted: &Quoted<'_>, bytes: &[u8]) {
    assert!(
        quoted.transport.len() <= bytes.len(),
        "no more is quoted than there is"
    );
    assert_eq!(
        IpVersion::of(quoted.source),
        IpVersion::of(quoted.destination),
        "one IP version"
    );
    let _port_or_none = quoted.ports();
    if let Ok(udp) = quoted.udp() {
        assert!(
            udp.payload.len() + 8 <= quoted.transport.len(),
            "the payload lies within the quote"
        );
    }
}
