//! The sockets of one network namespace, of either kind.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edge_packet::IpVersion;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::Socket;

mod filter;
mod raw;
mod receive;
mod unprivileged;

use crate::config::{Backend, ProberConfig};
use crate::probe::{Probe, Reply};
use crate::start::{BackendInUse, BackendReason, StartError};
use raw::RawSockets;
use unprivileged::UnprivilegedSockets;

/// Room for replies that arrive in a burst.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Kernel timestamps older than this are taken for a step of the wall clock.
const MAX_QUEUED: Duration = Duration::from_secs(1);

/// What probes leave through and replies come back through.
#[derive(Debug)]
pub(crate) enum Link {
    Raw(RawSockets),
    Unprivileged(UnprivilegedSockets),
}

/// What a receiving socket had for us.
#[derive(Debug)]
pub(crate) enum Received {
    /// A reply to what may be a probe, and the time that it spent between the kernel and us.
    Reply { reply: Reply, queued_for: Duration },
    /// Some other packet.
    Other,
}

impl Link {
    /// Opens the sockets that `config` asks for in the network namespace of the calling thread. A system without IPv6 is
    /// no error.
    pub(crate) fn open(config: &ProberConfig) -> Result<(Self, BackendInUse), StartError> {
        let raw = || RawSockets::open(config).map(Self::Raw);
        let unprivileged = || UnprivilegedSockets::open(config).map(Self::Unprivileged);
        let (link, backend, reason) = match config.backend {
            Backend::Raw => (raw()?, Backend::Raw, BackendReason::Chosen),
            Backend::Unprivileged => (
                unprivileged()?,
                Backend::Unprivileged,
                BackendReason::Chosen,
            ),
            Backend::Auto => match raw() {
                Ok(link) => (link, Backend::Raw, BackendReason::RawPermitted),
                Err(StartError::NotPermitted { .. }) => (
                    unprivileged()?,
                    Backend::Unprivileged,
                    BackendReason::RawNotPermitted,
                ),
                Err(other) => return Err(other),
            },
        };
        Ok((link, BackendInUse { backend, reason }))
    }

    /// The source port, or ICMP identifier, that every probe leaves from, if the sockets fix it.
    pub(crate) const fn source_port(&self) -> Option<u16> {
        match self {
            Self::Raw(_) => None,
            Self::Unprivileged(sockets) => Some(sockets.source_port()),
        }
    }

    /// What to poll for replies.
    pub(crate) fn receivers(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Raw(sockets) => sockets.receivers().collect(),
            Self::Unprivileged(sockets) => sockets.receivers().collect(),
        }
    }

    /// Sends `probe`, as from `source`.
    pub(crate) fn send(&self, probe: &Probe, source: IpAddr, text: &str) -> io::Result<()> {
        match self {
            Self::Raw(sockets) => sockets.send(probe, source, text),
            Self::Unprivileged(sockets) => sockets.send(probe, source, text),
        }
    }

    /// The next packet that is waiting, of any version.
    pub(crate) fn receive(&self) -> Option<Received> {
        match self {
            Self::Raw(sockets) => sockets.receive(),
            Self::Unprivileged(sockets) => sockets.receive(),
        }
    }
}

/// The address that packets to `target` leave from, by the routing table of the calling thread's namespace.
pub(crate) fn source_for(target: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match target {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((target, 9))?; // nothing is sent, so any port will do
    Ok(socket.local_addr()?.ip())
}

/// The sockets for IPv6 if the system has it.
fn if_supported<T>(opened: Result<T, StartError>) -> Result<Option<T>, StartError> {
    match opened {
        Ok(sockets) => Ok(Some(sockets)),
        Err(StartError::Socket { cause, .. })
            if cause.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) =>
        {
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// What every socket that replies come in through is set up for: arrival times, the replies' hop limits, bursts.
fn prepare_to_receive(socket: &Socket, version: IpVersion) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
    match version {
        IpVersion::V4 => setsockopt(socket, sockopt::Ipv4RecvTtl, &true)?,
        IpVersion::V6 => setsockopt(socket, sockopt::Ipv6RecvHopLimit, &true)?,
    }
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    Ok(())
}

const fn family(version: IpVersion) -> &'static str {
    match version {
        IpVersion::V4 => "IPv4",
        IpVersion::V6 => "IPv6",
    }
}

/// How long ago a kernel timestamp was taken.
fn age(stamp: Duration) -> Duration {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    match now.checked_sub(stamp) {
        Some(age) if age <= MAX_QUEUED => age,
        _ => Duration::ZERO,
    }
}
