//! A network namespace where a TUN device leads to four invented routers, with every target behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use edge_packet::{
    EchoKind, EchoPacket, EchoView, ErrorKind, FlowKey, IpHeader, IpVersion, QuoteSize, TcpPacket,
    TcpView, protocol, tcp_flags, write_icmp_error,
};
use edge_probe::{ProberConfig, Sharing};
use edge_types::{AddressPolicy, Hop, PathObservation};
use nix::sched::{CloneFlags, unshare};

/// Routers before every target.
pub(crate) const ROUTERS: u8 = 4;
/// What every reply takes.
pub(crate) const DELAY: Duration = Duration::from_millis(5);
/// The port where targets accept connections.
pub(crate) const OPEN_PORT: u16 = 443;

mod request {
    #![allow(missing_docs, reason = "the macro leaves no place for documentation")]
    nix::ioctl_write_ptr_bad!(
        set_interface,
        nix::request_code_write!(b'T', 202, size_of::<i32>()),
        super::InterfaceRequest
    );
}

/// The part of `struct ifreq` that TUNSETIFF reads.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

fn open_tun(name: &str) -> File {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .expect("/dev/net/tun must exist and be accessible");
    let mut request = InterfaceRequest {
        name: [0; 16],
        flags: 0x0001 | 0x1000, // IFF_TUN | IFF_NO_PI
        rest: [0; 22],
    };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    #[expect(unsafe_code, reason = "TUN devices are attached by ioctl only")]
    // SAFETY: the descriptor is open, and the kernel reads `struct ifreq`, whose size and layout `request` has.
    unsafe { request::set_interface(device.as_raw_fd(), &raw const request) }
        .expect("creating a TUN device needs CAP_NET_ADMIN");
    device
}

fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split(' '))
        .status()
        .expect("the test needs `ip` of iproute2");
    assert!(status.success(), "ip {arguments}");
}

/// The router at a distance.
pub(crate) fn router(number: u8, version: IpVersion) -> IpAddr {
    match version {
        IpVersion::V4 => IpAddr::from([240, 0, 0, 100 + number]),
        IpVersion::V6 => format!("3fff::{:x}", 0x100 + u16::from(number))
            .parse()
            .unwrap(),
    }
}

/// The routers and `target` behind them.
pub(crate) fn truth(target: IpAddr) -> Vec<Option<IpAddr>> {
    (1..=ROUTERS)
        .map(|number| router(number, IpVersion::of(target)))
        .chain([target])
        .map(Some)
        .collect()
}

/// Target `number`, each in a /24 or /32 of its own.
pub(crate) fn target(number: u16, version: IpVersion) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    match version {
        IpVersion::V4 => IpAddr::from([241, high, low, 1]),
        IpVersion::V6 => format!("3fff:{number:x}::1").parse().unwrap(),
    }
}

/// How the network behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// How much routers and targets quote.
    pub(crate) quote: QuoteSize,
    /// Before every reply comes a forged one by somebody who knows all but the tag; else by one who does not know the
    /// source port either.
    pub(crate) forged_by_insider: bool,
    /// Every reply comes twice.
    pub(crate) twice: bool,
}

/// What the network has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Flows and flow labels of probes by target.
    pub(crate) flows: BTreeMap<IpAddr, BTreeSet<(FlowKey, u32)>>,
    /// SYNs that were accepted, and those among them that were reset afterwards.
    pub(crate) accepted: BTreeSet<(IpAddr, u16, u32)>,
    pub(crate) reset: BTreeSet<(IpAddr, u16, u32)>,
}

/// The network, as its tests see it.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) manner: Arc<Mutex<Manner>>,
    pub(crate) seen: Arc<Mutex<Seen>>,
    pub(crate) packets: Arc<AtomicU64>,
}

impl Network {
    fn answers(&self, packet: &[u8]) -> Vec<Vec<u8>> {
        let Ok(header) = IpHeader::parse(packet) else {
            return Vec::new();
        };
        if header.destination.is_multicast() {
            return Vec::new(); // the kernel's own, about IPv6
        }
        let manner = *self.manner.lock().unwrap();
        let mut seen = self.seen.lock().unwrap();
        let syn =
            (header.protocol == protocol::TCP).then(|| TcpView::parse_packet(packet).unwrap().1);
        if let Some(segment) = syn.filter(|segment| segment.flags & tcp_flags::RST != 0) {
            let connection = (header.destination, segment.source_port, segment.sequence);
            seen.reset.insert(connection);
            return Vec::new();
        }
        self.packets.fetch_add(1, Ordering::Relaxed);
        let flow = (FlowKey::of(&header, packet), header.flow_label);
        seen.flows
            .entry(header.destination)
            .or_default()
            .insert(flow);

        let is_expired = header.hop_limit <= ROUTERS;
        let hop = header.hop_limit.min(ROUTERS + 1);
        let mut arrived = packet.to_vec();
        edge_packet::set_hop_limit(&mut arrived, header.hop_limit - hop + 1).unwrap();
        let mut forged = arrived.clone();
        for at in forged_bytes(&header, manner) {
            forged[at] ^= 0x55;
        }
        let liar = match header.version() {
            IpVersion::V4 => IpAddr::from([240, 6, 6, 6]),
            IpVersion::V6 => "3fff::666".parse().unwrap(),
        };
        let mut replies = Vec::new();
        if is_expired || header.protocol == protocol::UDP {
            let (responder, kind) = if is_expired {
                (router(hop, header.version()), ErrorKind::TimeExceeded)
            } else {
                let kind = ErrorKind::port_unreachable(header.version());
                (header.destination, kind)
            };
            replies.push(error(liar, kind, &forged, manner.quote));
            replies.push(error(responder, kind, &arrived, manner.quote));
        } else if let Some(segment) = syn {
            if segment.destination_port == OPEN_PORT {
                let connection = (
                    header.destination,
                    segment.source_port,
                    segment.sequence.wrapping_add(1),
                );
                seen.accepted.insert(connection);
            }
            replies.push(to_syn(&header, &segment, 0x55));
            replies.push(to_syn(&header, &segment, 0));
        } else {
            let (_, echo) = EchoView::parse_packet(packet).unwrap();
            replies.push(to_echo(&header, &echo, 0x55));
            replies.push(to_echo(&header, &echo, 0));
        }
        if manner.twice {
            replies.extend(replies.last().cloned());
        }
        replies
    }
}

/// Which bytes of a probe a forger gets wrong. All of the tag, lest the right half count.
fn forged_bytes(header: &IpHeader, manner: Manner) -> Vec<usize> {
    let transport = header.payload.start;
    let (port, tag) = match header.protocol {
        protocol::UDP => (transport + 1, transport + 6),
        protocol::TCP => (transport + 1, transport + 4),
        _ => (transport + 5, transport + 6),
    };
    if manner.forged_by_insider {
        [tag, transport + 9]
            .into_iter()
            .filter(|at| *at < header.payload.end)
            .collect()
    } else {
        vec![port]
    }
}

fn error(from: IpAddr, kind: ErrorKind, original: &[u8], quote: QuoteSize) -> Vec<u8> {
    let mut reply = vec![0; 1280];
    let length = write_icmp_error(&mut reply, from, 60, kind, original, quote).unwrap();
    reply.truncate(length);
    reply
}

fn to_syn(header: &IpHeader, segment: &TcpView, wrong: u32) -> Vec<u8> {
    let is_open = segment.destination_port == OPEN_PORT;
    let reply = TcpPacket {
        source: header.destination,
        destination: header.source,
        hop_limit: 64 - ROUTERS,
        ident: 0,
        flow_label: 0,
        source_port: segment.destination_port,
        destination_port: segment.source_port,
        sequence: if is_open { 1000 } else { 0 },
        acknowledgment: segment.sequence.wrapping_add(1) ^ wrong,
        flags: tcp_flags::ACK
            | if is_open {
                tcp_flags::SYN
            } else {
                tcp_flags::RST
            },
        window: 1000,
        max_segment_size: is_open.then_some(1000),
    };
    let mut out = vec![0; reply.len()];
    reply.write(&mut out).unwrap();
    out
}

fn to_echo(header: &IpHeader, echo: &EchoView<'_>, wrong: u8) -> Vec<u8> {
    let mut payload = echo.payload.to_vec();
    payload[1] ^= wrong;
    let reply = EchoPacket {
        source: header.destination,
        destination: header.source,
        hop_limit: 64 - ROUTERS,
        ident: 0,
        flow_label: 0,
        kind: EchoKind::Reply,
        identifier: echo.identifier,
        sequence: echo.sequence,
        payload: &payload,
    };
    let mut out = vec![0; reply.len()];
    reply.write(&mut out).unwrap();
    out
}

/// Runs `test` in a fresh network namespace with the invented network behind `tun0`.
pub(crate) fn with_network<T: Send>(test: impl FnOnce(Network) -> T + Send) -> T {
    let network = Network {
        manner: Arc::new(Mutex::new(Manner {
            quote: QuoteSize::Minimum,
            forged_by_insider: true,
            twice: false,
        })),
        seen: Arc::default(),
        packets: Arc::default(),
    };
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)
                    .expect("a network namespace needs CAP_SYS_ADMIN: run the test as root");
                let device = open_tun("tun0");
                ip("link set lo up");
                ip("address add 240.0.0.1/32 dev tun0");
                ip("-6 address add 3fff::1/128 dev tun0 nodad");
                ip("link set tun0 up txqueuelen 4000");
                ip("route add 240.0.0.0/4 dev tun0");
                ip("-6 route add 3fff::/20 dev tun0");
                serve(&device, network.clone());
                test(network)
            })
            .join()
            .unwrap()
    })
}

/// Answers what leaves through `device`. The threads live as long as it does, which is as long as the process.
fn serve(device: &File, network: Network) {
    let (delayed, due) = mpsc::channel::<(Instant, Vec<u8>)>();
    let mut incoming = device.try_clone().unwrap();
    let mut outgoing = device.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 2048];
        while let Ok(length) = incoming.read(&mut packet) {
            let at = Instant::now() + DELAY;
            for reply in network.answers(&packet[..length]) {
                delayed.send((at, reply)).unwrap();
            }
        }
    });
    std::thread::spawn(move || {
        for (at, reply) in due {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            outgoing.write_all(&reply).unwrap();
        }
    });
}

/// Runs `test` in a thread that has no capabilities, like a program of any user.
pub(crate) fn without_capabilities<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                for set in [
                    caps::CapSet::Ambient,
                    caps::CapSet::Inheritable,
                    caps::CapSet::Effective,
                    caps::CapSet::Permitted,
                ] {
                    caps::clear(None, set).unwrap();
                }
                test()
            })
            .join()
            .unwrap()
    })
}

/// A configuration for the invented network.
pub(crate) fn config(sharing: Sharing) -> ProberConfig {
    ProberConfig {
        sharing,
        policy: AddressPolicy::new(vec![
            "240.0.0.0/4".parse().unwrap(),
            "3fff::/20".parse().unwrap(),
            "127.0.0.0/8".parse().unwrap(),
            "::1/128".parse().unwrap(),
        ]),
        packets_per_second: 2000,
        ..ProberConfig::default()
    }
}

/// Who answered at each hop.
pub(crate) fn addresses(path: &PathObservation) -> Vec<Option<IpAddr>> {
    path.hops
        .iter()
        .map(|hop| match hop {
            Hop::Reply(reply) => Some(reply.address),
            Hop::NoReply => None,
        })
        .collect()
}
