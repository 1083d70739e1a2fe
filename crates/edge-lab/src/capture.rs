//! Who a party talks to: every packet that leaves or enters its namespace, the loopback included, counted by the other
//! end.
//!
//! The forwarder cannot tell this: what a host sends to itself never comes to it, and that is where an address like
//! 127.0.0.1 in a stranger's zone points.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use edge_packet::{IpHeader, protocol};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::forwarder::Volume;
use crate::party::PartyNamespace;

/// Octets of packets that wait to be counted.
const BUFFER: usize = 16 << 20;

/// How long the counting thread sleeps before it looks whether it is to end.
const PATIENCE_MS: i64 = 20;

/// Longer than any packet, the loopback's included.
const PACKET_OCTETS: usize = 1 << 16;

/// The kernel's mark of a packet that leaves (`PACKET_OUTGOING`).
const OUTGOING: u8 = 4;

/// The other end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Protocol number of the payload.
    pub protocol: u8,
    /// Its port, of UDP and TCP.
    pub port: Option<u16>,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// Packets that left, by destination.
    pub sent: BTreeMap<Peer, Volume>,
    /// Packets that came in, by source.
    pub received: BTreeMap<Peer, Volume>,
    /// Packets that are no IP packets.
    pub unreadable: u64,
}

impl Captured {
    /// All addresses that anything was sent to.
    pub fn destinations(&self) -> impl Iterator<Item = IpAddr> {
        let mut last = None;
        self.sent.keys().filter_map(move |peer| {
            (last.replace(peer.address) != Some(peer.address)).then_some(peer.address)
        })
    }

    fn count(&mut self, packet: &[u8], is_outgoing: bool) {
        let Ok(header) = IpHeader::parse(packet) else {
            self.unreadable += 1;
            return;
        };
        let has_ports = matches!(header.protocol, protocol::TCP | protocol::UDP)
            && header.fragment.is_none_or(|fragment| fragment.offset == 0);
        let ports = packet
            .get(header.payload.clone())
            .and_then(|payload| payload.first_chunk::<4>())
            .filter(|_| has_ports)
            .map(|[a, b, c, d]| (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])));
        let (counted, address, port) = if is_outgoing {
            let port = ports.map(|(_, destination)| destination);
            (&mut self.sent, header.destination, port)
        } else {
            let port = ports.map(|(source, _)| source);
            (&mut self.received, header.source, port)
        };
        let peer = Peer {
            address,
            protocol: header.protocol,
            port,
        };
        let volume = counted.entry(peer).or_default();
        volume.packets += 1;
        volume.octets += packet.len() as u64;
    }
}

/// A running capture. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    thread: Option<JoinHandle<io::Result<Captured>>>,
    is_over: Arc<AtomicBool>,
}

impl Capture {
    /// Counts from now on. Takes `CAP_NET_RAW` in the namespace, which a lab's supervisor has.
    pub fn start(party: &PartyNamespace) -> io::Result<Self> {
        let socket = party.run(open)??;
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || count(&socket, &seen))?;
        Ok(Self {
            thread: Some(thread),
            is_over,
        })
    }

    /// Counts what has come so far and ends.
    pub fn stop(mut self) -> io::Result<Captured> {
        self.is_over.store(true, Relaxed);
        let thread = self.thread.take().ok_or(io::ErrorKind::NotFound)?;
        thread
            .join()
            .map_err(|_| io::Error::other("the capture's thread panicked"))?
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
    }
}

fn open() -> io::Result<OwnedFd> {
    // Datagrams: what the interfaces put in front of the IP header is left out.
    let socket = socket(
        AddressFamily::Packet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)
        .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &BUFFER))?;
    let patience = TimeVal::milliseconds(PATIENCE_MS);
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
    Ok(socket)
}

fn count(socket: &OwnedFd, is_over: &AtomicBool) -> io::Result<Captured> {
    let mut captured = Captured::default();
    let mut octets = vec![0; PACKET_OCTETS];
    loop {
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut octets) {
            Ok((length, from)) => {
                let is_outgoing = from.is_some_and(|from| from.pkttype() == OUTGOING);
                captured.count(&octets[..length], is_outgoing);
            }
            Err(Errno::EAGAIN) if is_over.load(Relaxed) => return Ok(captured),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
