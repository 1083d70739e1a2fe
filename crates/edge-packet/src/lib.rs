//! Wire formats of IP, UDP, TCP, ICMP and ICMPv6, and the quotes inside ICMP errors.
//!
//! Parsers borrow from the caller's bytes: they allocate nothing, panic never, and believe no length field beyond the
//! bytes that are there. Builders write into the caller's buffer.

#![expect(clippy::doc_markdown, reason = "ICMPv6 is a name, not an identifier")]

pub mod checksum;
mod echo;
mod extensions;
mod flow;
#[doc(hidden)]
pub mod fuzzing;
mod icmp;
mod ip;
mod tcp;
mod udp;

pub use echo::{EchoKind, EchoPacket, EchoView};
pub use extensions::{Extensions, MplsLabel};
pub use flow::FlowKey;
pub use icmp::{
    ErrorKind, IcmpError, QuoteSize, Quoted, QuotedUdp, deserves_error, write_icmp_error,
};
pub use ip::{
    Fragment, IpHeader, IpVersion, MAX_EXTENSION_HEADERS, decrement_hop_limit, protocol,
    set_hop_limit,
};
pub use tcp::{TcpPacket, TcpView, flags as tcp_flags};
pub use udp::{UdpPacket, UdpView};

/// Why bytes are not the packet they were taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ParseError {
    /// The bytes end inside a header.
    #[error("{got} bytes where at least {needed} are needed")]
    Truncated {
        /// Bytes needed to go on.
        needed: usize,
        /// Bytes there.
        got: usize,
    },
    /// Neither IPv4 nor IPv6.
    #[error("IP version {0}")]
    Version(u8),
    /// A length field that contradicts the header it is in.
    #[error("impossible length {0} in a header")]
    Length(usize),
    /// More IPv6 extension headers than [`MAX_EXTENSION_HEADERS`].
    #[error("too many extension headers")]
    TooManyExtensions,
    /// The checksum is wrong.
    #[error("wrong checksum")]
    Checksum,
    /// The packet is sound, but of another protocol or message type than asked for; the protocol number or type.
    #[error("another protocol or message type ({0})")]
    Other(u8),
}

/// Why a packet could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BuildError {
    /// The caller's buffer is too small.
    #[error("{needed} bytes do not fit a buffer of {got}")]
    Buffer {
        /// Bytes that the packet takes.
        needed: usize,
        /// Bytes in the buffer.
        got: usize,
    },
    /// Source and destination are of different IP versions.
    #[error("source and destination are of different IP versions")]
    MixedVersions,
    /// The payload exceeds what a length field can say.
    #[error("a payload of {0} bytes is longer than a packet can be")]
    TooLong(usize),
    /// The original packet, to be quoted, cannot be parsed.
    #[error("the packet to be quoted is malformed")]
    Original(#[source] ParseError),
}

/// `bytes[at..at + N]`, if there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The big-endian word at `at`, or what is missing.
fn word(bytes: &[u8], at: usize) -> Result<u16, ParseError> {
    array(bytes, at)
        .map(u16::from_be_bytes)
        .ok_or(ParseError::Truncated {
            needed: at + 2,
            got: bytes.len(),
        })
}

/// At least `needed` bytes?
const fn require(bytes: &[u8], needed: usize) -> Result<(), ParseError> {
    if bytes.len() < needed {
        return Err(ParseError::Truncated {
            needed,
            got: bytes.len(),
        });
    }
    Ok(())
}
