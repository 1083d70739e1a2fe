//! The raw sockets of one network namespace.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edge_packet::{IcmpError, IpVersion};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use crate::probe::{MAX_PACKET, Probe, Reply};

/// `IPPROTO_RAW`: packets are sent with the IP header that they come with.
const WITH_HEADER: i32 = 255;
/// Room for replies that arrive in a burst.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Kernel timestamps older than this are taken for a step of the wall clock.
const MAX_QUEUED: Duration = Duration::from_secs(1);

/// Why a prober cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Raw sockets need a privilege that this process does not have.
    #[error(
        "opening a raw {family} socket needs the capability CAP_NET_RAW: run as root, in a user namespace of its own, \
         or after `setcap cap_net_raw+ep` on the program"
    )]
    NotPermitted {
        /// "IPv4" or "IPv6".
        family: &'static str,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// A socket could not be opened or set up.
    #[error("opening a raw {family} socket failed")]
    Socket {
        /// "IPv4" or "IPv6".
        family: &'static str,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// A thread, a wake-up channel or a random key could not be had from the system.
    #[error("getting {what} from the system failed")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// A sending and a receiving socket for each IP version that the system has.
#[derive(Debug)]
pub(crate) struct Sockets {
    v4: Pair,
    v6: Option<Pair>,
}

#[derive(Debug)]
struct Pair {
    version: IpVersion,
    send: Socket,
    receive: Socket,
}

/// What a receiving socket had for us.
#[derive(Debug)]
pub(crate) enum Received {
    /// An error about a UDP packet, and the time that it spent between the kernel and us.
    Reply { reply: Reply, queued_for: Duration },
    /// Some other packet.
    Other,
}

impl Sockets {
    /// Opens the sockets in the network namespace of the calling thread. A system without IPv6 is no error.
    pub(crate) fn open() -> Result<Self, StartError> {
        let v4 = Pair::open(IpVersion::V4).map_err(|cause| refused("IPv4", cause))?;
        let v6 = match Pair::open(IpVersion::V6) {
            Ok(pair) => Some(pair),
            Err(cause) if cause.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => None,
            Err(cause) => return Err(refused("IPv6", cause)),
        };
        Ok(Self { v4, v6 })
    }

    fn pairs(&self) -> impl Iterator<Item = &Pair> {
        [&self.v4].into_iter().chain(&self.v6)
    }

    /// What to poll for replies.
    pub(crate) fn receivers(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pairs().map(|pair| pair.receive.as_fd())
    }

    /// Sends `probe` from `source`.
    pub(crate) fn send(&self, probe: &Probe, source: IpAddr, text: &str) -> io::Result<()> {
        let pair = match (probe.target, &self.v6) {
            (IpAddr::V4(_), _) => &self.v4,
            (IpAddr::V6(_), Some(pair)) => pair,
            (IpAddr::V6(_), None) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let mut packet = [0; MAX_PACKET];
        let length = probe
            .write(source, text, &mut packet)
            .map_err(io::Error::other)?;
        pair.send
            .send_to(&packet[..length], &SocketAddr::new(probe.target, 0).into())
            .map(drop)
    }

    /// The next packet that is waiting, of any version.
    pub(crate) fn receive(&self) -> Option<Received> {
        self.pairs().find_map(Pair::receive)
    }
}

impl Pair {
    fn open(version: IpVersion) -> io::Result<Self> {
        let (domain, icmp) = match version {
            IpVersion::V4 => (Domain::IPV4, Protocol::ICMPV4),
            IpVersion::V6 => (Domain::IPV6, Protocol::ICMPV6),
        };
        let send = Socket::new(domain, Type::RAW, Some(Protocol::from(WITH_HEADER)))?;
        send.set_nonblocking(true)?;
        let receive = Socket::new(domain, Type::RAW, Some(icmp))?;
        receive.set_nonblocking(true)?;
        setsockopt(&receive, sockopt::ReceiveTimestampns, &true)?;
        if setsockopt(&receive, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            receive.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        Ok(Self {
            version,
            send,
            receive,
        })
    }

    fn receive(&self) -> Option<Received> {
        let mut buffer = [0; 2048];
        let mut control = cmsg_space!(TimeSpec);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.receive.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        )
        .ok()?;
        let length = message.bytes;
        let stamp = message.cmsgs().ok().and_then(|mut all| {
            all.find_map(|one| match one {
                ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
                _ => None,
            })
        });
        let sender = message
            .address
            .as_ref()
            .and_then(|address| address.as_sockaddr_in6())
            .map(|address| IpAddr::V6(address.ip()));
        Some(match self.read(&buffer[..length], sender) {
            Some(reply) => Received::Reply {
                reply,
                queued_for: stamp.map_or(Duration::ZERO, age),
            },
            None => Received::Other,
        })
    }

    /// Reads what the socket delivered: from the IP header on in IPv4, from the ICMPv6 header on in IPv6.
    fn read(&self, bytes: &[u8], sender: Option<IpAddr>) -> Option<Reply> {
        match self.version {
            IpVersion::V4 => {
                let (header, error) = IcmpError::parse_packet(bytes).ok()?;
                Reply::read(header.source, &error)
            }
            IpVersion::V6 => {
                let error = IcmpError::parse_message(IpVersion::V6, bytes).ok()?;
                Reply::read(sender?, &error)
            }
        }
    }
}

/// The address that packets to `target` leave from, by the routing table of the calling thread's namespace.
pub(crate) fn source_for(target: IpAddr, port: u16) -> io::Result<IpAddr> {
    let any: IpAddr = match target {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((target, port))?;
    Ok(socket.local_addr()?.ip())
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

fn refused(family: &'static str, cause: io::Error) -> StartError {
    if cause.kind() == io::ErrorKind::PermissionDenied {
        StartError::NotPermitted { family, cause }
    } else {
        StartError::Socket { family, cause }
    }
}
