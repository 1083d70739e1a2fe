//! Sockets that need no privilege: UDP or ping sockets, whose error queues hold the ICMP errors about what they sent.
//!
//! The kernel finds the socket by the ports (or the ICMP identifier) that an error quotes, and hands on who sent it, to
//! whom the probe went, and what was quoted behind the UDP header (or from the ICMP header on). It keeps the quoted
//! IP and UDP headers to itself, so the hop limit that was left is unknown, and so is the UDP checksum.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use edge_packet::{EchoView, ErrorKind, IpHeader, IpVersion};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::receive::{BUFFER, Message, receive};
use super::{Received, age, family, filter, if_supported, prepare_to_receive};
use crate::config::{ProbeMethod, ProberConfig};
use crate::probe::{MAX_PACKET, Probe, Reply};
use crate::start::StartError;
use crate::tag::FIRST_PORT;

/// Random ports tried until one is free for both IP versions.
const PORTS_TRIED: u32 = 64;
/// Calls until a packet is given up that is refused each time. A call reports, and clears, an error about an earlier
/// packet, if one has come in since the last call; at a few thousand errors a second every third call may.
const SEND_ATTEMPTS: u32 = 32;

/// One socket for each IP version that the system has.
#[derive(Debug)]
pub(crate) struct UnprivilegedSockets {
    method: ProbeMethod,
    port: u16,
    v4: Socket,
    v6: Option<Socket>,
}

impl UnprivilegedSockets {
    pub(crate) fn open(config: &ProberConfig) -> Result<Self, StartError> {
        if config.method == ProbeMethod::TcpSyn {
            return Err(StartError::TcpNeedsRaw);
        }
        let mut tries = 1;
        loop {
            // Not left to the kernel: it may not hand out a port that is free in both versions.
            let port = match config.source_port {
                Some(port) => port,
                None => random_port()?,
            };
            match Self::open_at(config.method, port) {
                Err(StartError::PortTaken { .. })
                    if config.source_port.is_none() && tries < PORTS_TRIED =>
                {
                    tries += 1;
                }
                opened => return opened,
            }
        }
    }

    fn open_at(method: ProbeMethod, port: u16) -> Result<Self, StartError> {
        Ok(Self {
            method,
            port,
            v4: open(IpVersion::V4, method, port)?,
            v6: if_supported(open(IpVersion::V6, method, port))?,
        })
    }

    pub(crate) const fn source_port(&self) -> u16 {
        self.port
    }

    fn sockets(&self) -> impl Iterator<Item = (IpVersion, &Socket)> {
        let v6 = self.v6.as_ref().map(|socket| (IpVersion::V6, socket));
        [(IpVersion::V4, &self.v4)].into_iter().chain(v6)
    }

    pub(crate) fn receivers(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets().map(|(_, socket)| socket.as_fd())
    }

    pub(crate) fn send(&self, probe: &Probe, source: IpAddr, text: &str) -> io::Result<()> {
        let socket = match (probe.target, &self.v6) {
            (IpAddr::V4(_), _) => &self.v4,
            (IpAddr::V6(_), Some(socket)) => socket,
            (IpAddr::V6(_), None) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let mut packet = [0; MAX_PACKET];
        let length = probe
            .write(source, text, &mut packet)
            .map_err(io::Error::other)?;
        let header_len = IpHeader::parse(&packet[..length])
            .map_err(io::Error::other)?
            .header_len;
        // The kernel writes the same headers as we did, but for the flow label.
        let content = match self.method {
            ProbeMethod::Icmp => &packet[header_len..length],
            ProbeMethod::Udp | ProbeMethod::TcpSyn => &packet[header_len + 8..length],
        };
        let ttl = libc::c_int::from(probe.ttl);
        let control = match probe.target {
            IpAddr::V4(_) => [ControlMessage::Ipv4Ttl(&ttl)],
            IpAddr::V6(_) => [ControlMessage::Ipv6HopLimit(&ttl)],
        };
        let to = SocketAddr::new(probe.target, probe.destination_port);
        let to = SockaddrStorage::from(to);
        let mut attempts = 1;
        loop {
            let sent = sendmsg(
                socket.as_raw_fd(),
                &[IoSlice::new(content)],
                &control,
                MsgFlags::MSG_DONTWAIT,
                Some(&to),
            );
            match sent {
                Ok(_) => return Ok(()),
                Err(errno) if !may_be_pending(errno) || attempts == SEND_ATTEMPTS => {
                    return Err(errno.into());
                }
                Err(_) => attempts += 1,
            }
        }
    }

    pub(crate) fn receive(&self) -> Option<Received> {
        self.sockets()
            .find_map(|(version, socket)| self.receive_from(version, socket))
    }

    fn receive_from(&self, version: IpVersion, socket: &Socket) -> Option<Received> {
        let mut buffer = [0; BUFFER];
        let (message, reply) =
            if let Ok(message) = receive(socket, MsgFlags::MSG_ERRQUEUE, &mut buffer) {
                let reply = self.read_error(version, &message, &buffer[..message.length]);
                (message, reply)
            } else {
                // A pending error without an entry, for want of room, would wake us for ever.
                let _ = socket.take_error();
                let message = receive(socket, MsgFlags::empty(), &mut buffer).ok()?;
                let reply = self.read_answer(version, &message, &buffer[..message.length]);
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

    fn read_error(&self, version: IpVersion, message: &Message, quoted: &[u8]) -> Option<Reply> {
        let (target, destination_port) = message.peer?;
        let (error, responder) = message.error?;
        let kind = match (version, error.ee_origin, error.ee_type, error.ee_code) {
            (IpVersion::V4, libc::SO_EE_ORIGIN_ICMP, 11, 0)
            | (IpVersion::V6, libc::SO_EE_ORIGIN_ICMP6, 3, 0) => ErrorKind::TimeExceeded,
            (IpVersion::V4, libc::SO_EE_ORIGIN_ICMP, 3, code)
            | (IpVersion::V6, libc::SO_EE_ORIGIN_ICMP6, 1, code) => ErrorKind::Unreachable(code),
            _ => return None,
        };
        match self.method {
            ProbeMethod::Icmp => {
                let echo = EchoView::parse_message(version, quoted).ok()?;
                Reply::to_echo(responder, kind, target, &echo)
            }
            ProbeMethod::Udp | ProbeMethod::TcpSyn => {
                let ports = (self.port, destination_port);
                Some(Reply::to_datagram(responder, kind, target, ports, quoted))
            }
        }
    }

    /// Reads what came in as data: an echo reply. UDP sockets let none in.
    fn read_answer(&self, version: IpVersion, message: &Message, bytes: &[u8]) -> Option<Reply> {
        if self.method != ProbeMethod::Icmp {
            return None;
        }
        let echo = EchoView::parse_message(version, bytes).ok()?;
        Reply::by_echo(message.peer?.0, &echo)
    }
}

/// Opens the socket for one IP version at `port`.
fn open(version: IpVersion, method: ProbeMethod, port: u16) -> Result<Socket, StartError> {
    let what = match method {
        ProbeMethod::Icmp => "a ping",
        ProbeMethod::Udp | ProbeMethod::TcpSyn => "a UDP",
    };
    let refused = |cause: io::Error| match cause.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken { port, cause },
        io::ErrorKind::PermissionDenied if method == ProbeMethod::Icmp => {
            StartError::PingNotPermitted {
                range: ping_group_range(),
                cause,
            }
        }
        _ => StartError::Socket {
            what,
            family: family(version),
            cause,
        },
    };
    prepare(version, method, port).map_err(refused)
}

fn prepare(version: IpVersion, method: ProbeMethod, port: u16) -> io::Result<Socket> {
    let (domain, icmp, any): (_, _, IpAddr) = match version {
        IpVersion::V4 => (Domain::IPV4, Protocol::ICMPV4, Ipv4Addr::UNSPECIFIED.into()),
        IpVersion::V6 => (Domain::IPV6, Protocol::ICMPV6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let protocol = match method {
        ProbeMethod::Icmp => icmp,
        ProbeMethod::Udp | ProbeMethod::TcpSyn => Protocol::UDP,
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    if protocol == Protocol::UDP {
        // The error queue shares the receive buffer with data, and there is no data that we want.
        socket.attach_filter(&filter::nothing())?;
    }
    prepare_to_receive(&socket, version)?;
    match version {
        IpVersion::V4 => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
        IpVersion::V6 => {
            setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
        }
    }
    socket.bind(&SocketAddr::new(any, port).into())?;
    Ok(socket)
}

fn random_port() -> Result<u16, StartError> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(|error| StartError::System {
        what: "a random port",
        cause: io::Error::other(error),
    })?;
    Ok(FIRST_PORT | u16::from_be_bytes(bytes))
}

/// The groups that may open ping sockets.
fn ping_group_range() -> String {
    std::fs::read_to_string("/proc/sys/net/ipv4/ping_group_range")
        .map(|range| range.split_whitespace().collect::<Vec<_>>().join(" "))
        .unwrap_or_default()
}

/// May this be an earlier packet's error, which the kernel reports at the next opportunity?
const fn may_be_pending(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ECONNREFUSED
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::EMSGSIZE
            | Errno::EACCES
            | Errno::EPROTO
    )
}

#[cfg(test)]
mod tests;
