//! One packet, or one entry of an error queue, with what the kernel says about it.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{sock_extended_err, sockaddr_in6};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use nix::sys::time::TimeSpec;
use socket2::Socket;

/// Bytes looked at; a longer packet is cut.
pub(super) const BUFFER: usize = 2048;

/// What came with a packet.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// Bytes of the packet in the caller's buffer.
    pub(super) length: usize,
    /// Who sent it or, in an error queue, whom the original packet was for. With the port.
    pub(super) peer: Option<(IpAddr, u16)>,
    /// When it arrived, by the wall clock.
    pub(super) stamp: Option<Duration>,
    /// Hop limit that it arrived with.
    pub(super) hop_limit: Option<u8>,
    /// The error that this is about, and who reported it.
    pub(super) error: Option<(sock_extended_err, IpAddr)>,
}

/// Takes the next packet, or with `MSG_ERRQUEUE` the next error, that waits at `socket`.
pub(super) fn receive(
    socket: &Socket,
    flags: MsgFlags,
    buffer: &mut [u8; BUFFER],
) -> Result<Message, Errno> {
    let mut control = cmsg_space!(TimeSpec, (sock_extended_err, sockaddr_in6), i32);
    let mut slices = [IoSliceMut::new(buffer)];
    let received = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        flags | MsgFlags::MSG_DONTWAIT,
    )?;
    let mut message = Message {
        length: received.bytes,
        peer: received.address.as_ref().and_then(peer),
        ..Message::default()
    };
    for one in received.cmsgs().into_iter().flatten() {
        match one {
            ControlMessageOwned::ScmTimestampns(stamp) => message.stamp = Some(stamp.into()),
            ControlMessageOwned::Ipv4Ttl(limit) | ControlMessageOwned::Ipv6HopLimit(limit) => {
                message.hop_limit = u8::try_from(limit).ok();
            }
            ControlMessageOwned::Ipv4RecvErr(error, offender) => {
                message.error = offender.map(|offender| {
                    let address = Ipv4Addr::from(u32::from_be(offender.sin_addr.s_addr));
                    (error, address.into())
                });
            }
            ControlMessageOwned::Ipv6RecvErr(error, offender) => {
                message.error = offender.map(|offender| {
                    let address = Ipv6Addr::from(offender.sin6_addr.s6_addr);
                    (error, address.into())
                });
            }
            _ => {}
        }
    }
    Ok(message)
}

fn peer(address: &SockaddrStorage) -> Option<(IpAddr, u16)> {
    let v4 = address
        .as_sockaddr_in()
        .map(|v4| (v4.ip().into(), v4.port()));
    let v6 = || {
        address
            .as_sockaddr_in6()
            .map(|v6| (v6.ip().into(), v6.port()))
    };
    v4.or_else(v6)
}
