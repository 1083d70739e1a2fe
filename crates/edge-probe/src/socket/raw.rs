//! Raw sockets: whole packets out, whole replies in.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use edge_packet::{EchoView, IcmpError, IpVersion, TcpView};
use nix::sys::socket::MsgFlags;
use socket2::{Domain, Protocol, Socket, Type};

use super::receive::{BUFFER, Message, receive};
use super::{Received, age, family, filter, if_supported, prepare_to_receive};
use crate::config::{ProbeMethod, ProberConfig};
use crate::probe::{MAX_PACKET, Probe, Reply};
use crate::start::StartError;
use crate::tag::FIRST_PORT;

/// `IPPROTO_RAW`: packets are sent with the IP header that they come with.
const WITH_HEADER: i32 = 255;

/// Sockets for each IP version that the system has.
#[derive(Debug)]
pub(crate) struct RawSockets {
    method: ProbeMethod,
    v4: Set,
    v6: Option<Set>,
}

/// The sockets for one IP version.
#[derive(Debug)]
struct Set {
    version: IpVersion,
    send: Socket,
    icmp: Socket,
    /// Where answers to a SYN come in.
    tcp: Option<Socket>,
}

impl RawSockets {
    pub(crate) fn open(config: &ProberConfig) -> Result<Self, StartError> {
        let open = |version| Set::open(version, config).map_err(|cause| refused(version, cause));
        Ok(Self {
            method: config.method,
            v4: open(IpVersion::V4)?,
            v6: if_supported(open(IpVersion::V6))?,
        })
    }

    fn sets(&self) -> impl Iterator<Item = &Set> {
        [&self.v4].into_iter().chain(&self.v6)
    }

    pub(crate) fn receivers(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sets()
            .flat_map(|set| [&set.icmp].into_iter().chain(&set.tcp))
            .map(AsFd::as_fd)
    }

    pub(crate) fn send(&self, probe: &Probe, source: IpAddr, text: &str) -> io::Result<()> {
        let set = match (probe.target, &self.v6) {
            (IpAddr::V4(_), _) => &self.v4,
            (IpAddr::V6(_), Some(set)) => set,
            (IpAddr::V6(_), None) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let mut packet = [0; MAX_PACKET];
        let length = probe
            .write(source, text, &mut packet)
            .map_err(io::Error::other)?;
        set.send
            .send_to(&packet[..length], &SocketAddr::new(probe.target, 0).into())
            .map(drop)
    }

    pub(crate) fn receive(&self) -> Option<Received> {
        self.sets().find_map(|set| set.receive(self.method))
    }
}

impl Set {
    fn open(version: IpVersion, config: &ProberConfig) -> io::Result<Self> {
        let (domain, icmp) = match version {
            IpVersion::V4 => (Domain::IPV4, Protocol::ICMPV4),
            IpVersion::V6 => (Domain::IPV6, Protocol::ICMPV6),
        };
        let send = Socket::new(domain, Type::RAW, Some(Protocol::from(WITH_HEADER)))?;
        send.set_nonblocking(true)?;
        let icmp = Socket::new(domain, Type::RAW, Some(icmp))?;
        icmp.attach_filter(&filter::replies(version, config.method))?;
        prepare_to_receive(&icmp, version)?;
        let tcp = if config.method == ProbeMethod::TcpSyn {
            let tcp = Socket::new(domain, Type::RAW, Some(Protocol::TCP))?;
            let (first, last) = match config.source_port {
                Some(port) => (port, port),
                None => (FIRST_PORT, u16::MAX),
            };
            let port = config.destination_port;
            tcp.attach_filter(&filter::answers_to_syn(version, port, first, last))?;
            prepare_to_receive(&tcp, version)?;
            Some(tcp)
        } else {
            None
        };
        Ok(Self {
            version,
            send,
            icmp,
            tcp,
        })
    }

    fn receive(&self, method: ProbeMethod) -> Option<Received> {
        let mut buffer = [0; BUFFER];
        let (message, reply) =
            if let Ok(message) = receive(&self.icmp, MsgFlags::empty(), &mut buffer) {
                let reply = self.read_icmp(method, &message, &buffer[..message.length]);
                (message, reply)
            } else {
                let message = receive(self.tcp.as_ref()?, MsgFlags::empty(), &mut buffer).ok()?;
                let reply = self.read_tcp(&message, &buffer[..message.length]);
                (message, reply)
            };
        Some(match reply {
            Some(reply) => Received::Reply {
                reply: Reply {
                    arrived_with: message.hop_limit,
                    ..reply
                },
                queued_for: message.stamp.map_or(Duration::ZERO, age),
            },
            None => Received::Other,
        })
    }

    /// Reads what an ICMP socket delivered: from the IP header on in IPv4, from the ICMPv6 header on in IPv6.
    fn read_icmp(&self, method: ProbeMethod, message: &Message, bytes: &[u8]) -> Option<Reply> {
        let (sender, error, echo) = match self.version {
            IpVersion::V4 => {
                if let Ok((header, error)) = IcmpError::parse_packet(bytes) {
                    (header.source, Some(error), None)
                } else {
                    let (header, echo) = EchoView::parse_packet(bytes).ok()?;
                    (header.source, None, Some(echo))
                }
            }
            IpVersion::V6 => (
                message.peer?.0,
                IcmpError::parse_message(IpVersion::V6, bytes).ok(),
                EchoView::parse_message(IpVersion::V6, bytes).ok(),
            ),
        };
        match (error, echo) {
            (Some(error), _) => Reply::to_error(method, sender, &error),
            (None, Some(echo)) if method == ProbeMethod::Icmp => Reply::by_echo(sender, &echo),
            _ => None,
        }
    }

    /// Reads what a TCP socket delivered: from the IP header on in IPv4, from the TCP header on in IPv6, where the
    /// checksum cannot be verified for want of our address.
    fn read_tcp(&self, message: &Message, bytes: &[u8]) -> Option<Reply> {
        let (sender, segment) = match self.version {
            IpVersion::V4 => {
                let (header, segment) = TcpView::parse_packet(bytes).ok()?;
                (header.source, segment)
            }
            IpVersion::V6 => (message.peer?.0, TcpView::parse(bytes).ok()?),
        };
        Reply::by_tcp(sender, &segment)
    }
}

fn refused(version: IpVersion, cause: io::Error) -> StartError {
    let family = family(version);
    if cause.kind() == io::ErrorKind::PermissionDenied {
        StartError::NotPermitted { family, cause }
    } else {
        let what = "a raw";
        StartError::Socket {
            what,
            family,
            cause,
        }
    }
}
