//! Filters that run in the kernel, so that others' traffic does not fill our receive buffers.

use edge_packet::IpVersion;
use socket2::SockFilter;

use crate::config::ProbeMethod;

/// Classic BPF (Linux `bpf_common.h`): class, size and mode of each instruction used.
mod op {
    /// X = 4 * (low nibble of the byte at k): the length of an IPv4 header.
    pub(super) const LOAD_X_HEADER: u16 = 0xb1;
    /// X = k.
    pub(super) const LOAD_X: u16 = 0x01;
    /// A = the byte at X + k.
    pub(super) const LOAD_BYTE: u16 = 0x50;
    /// A = the big-endian word at X + k.
    pub(super) const LOAD_WORD: u16 = 0x48;
    /// A = A and k.
    pub(super) const AND: u16 = 0x54;
    pub(super) const JUMP_EQUAL: u16 = 0x15;
    pub(super) const JUMP_GREATER: u16 = 0x25;
    pub(super) const JUMP_GREATER_EQUAL: u16 = 0x35;
    /// Keep so many bytes of the packet.
    pub(super) const RETURN: u16 = 0x06;
}

const KEEP: SockFilter = SockFilter::new(op::RETURN, 0, 0, u32::MAX);
const DROP: SockFilter = SockFilter::new(op::RETURN, 0, 0, 0);

/// A jump to the `DROP` that is so many instructions further, if a comparison fails.
const fn unless(code: u16, k: u32, to_drop: u8) -> SockFilter {
    SockFilter::new(code, 0, to_drop, k)
}

/// X = where the transport header is: IPv4 sockets deliver the IP header too.
const fn transport_header(version: IpVersion) -> SockFilter {
    match version {
        IpVersion::V4 => SockFilter::new(op::LOAD_X_HEADER, 0, 0, 0),
        IpVersion::V6 => SockFilter::new(op::LOAD_X, 0, 0, 0),
    }
}

/// Nothing passes.
pub(super) const fn nothing() -> [SockFilter; 1] {
    [DROP]
}

/// ICMP messages of the types that a reply may have.
pub(super) const fn replies(version: IpVersion, method: ProbeMethod) -> [SockFilter; 7] {
    let (unreachable, exceeded, echo_reply) = match version {
        IpVersion::V4 => (3, 11, 0),
        IpVersion::V6 => (1, 3, 129),
    };
    let third = match method {
        ProbeMethod::Icmp => echo_reply,
        ProbeMethod::Udp | ProbeMethod::TcpSyn => exceeded,
    };
    [
        transport_header(version),
        SockFilter::new(op::LOAD_BYTE, 0, 0, 0),
        SockFilter::new(op::JUMP_EQUAL, 3, 0, unreachable),
        SockFilter::new(op::JUMP_EQUAL, 2, 0, exceeded),
        SockFilter::new(op::JUMP_EQUAL, 1, 0, third),
        DROP,
        KEEP,
    ]
}

/// TCP segments with ACK and either SYN or RST, from `destination_port` to a port between `first` and `last`.
pub(super) const fn answers_to_syn(
    version: IpVersion,
    destination_port: u16,
    first: u16,
    last: u16,
) -> [SockFilter; 12] {
    [
        transport_header(version),
        SockFilter::new(op::LOAD_WORD, 0, 0, 0),
        unless(op::JUMP_EQUAL, destination_port as u32, 8),
        SockFilter::new(op::LOAD_WORD, 0, 0, 2),
        unless(op::JUMP_GREATER_EQUAL, first as u32, 6),
        SockFilter::new(op::JUMP_GREATER, 5, 0, last as u32),
        SockFilter::new(op::LOAD_BYTE, 0, 0, 13),
        SockFilter::new(op::AND, 0, 0, 0x16), // ACK, RST, SYN
        SockFilter::new(op::JUMP_EQUAL, 1, 0, 0x12),
        SockFilter::new(op::JUMP_EQUAL, 0, 1, 0x14),
        KEEP,
        DROP,
    ]
}
