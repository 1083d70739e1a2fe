//! The prober on real sockets, in a network namespace of its own where a TUN device leads to four invented routers.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use edge_packet::{ErrorKind, IpVersion, QuoteSize, UdpView, write_icmp_error};
use edge_ports::TraceError;
use edge_probe::{Prober, ProberConfig, Sharing, TraceReport};
use edge_types::{AddressPolicy, Hop, PathEnd, PathObservation};
use nix::sched::{CloneFlags, unshare};

const ROUTERS: u8 = 4;
const DELAY: Duration = Duration::from_millis(5);

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

fn router(number: u8, version: IpVersion) -> IpAddr {
    match version {
        IpVersion::V4 => IpAddr::from([240, 0, 0, 100 + number]),
        IpVersion::V6 => format!("3fff::{:x}", 0x100 + u16::from(number))
            .parse()
            .unwrap(),
    }
}

/// Answers every UDP packet like a chain of four routers with the destination behind it. Forges a reply from 6.6.6.6
/// ahead of each true one.
fn answer(device: &File, packet: &[u8]) {
    let Ok((header, _)) = UdpView::parse_packet(packet) else {
        return;
    };
    let (hop, kind) = if header.hop_limit <= ROUTERS {
        (header.hop_limit, ErrorKind::TimeExceeded)
    } else {
        (ROUTERS + 1, ErrorKind::port_unreachable(header.version()))
    };
    let responder = match kind {
        ErrorKind::TimeExceeded => router(hop, header.version()),
        ErrorKind::Unreachable(_) => header.destination,
    };
    let mut expired = packet.to_vec();
    edge_packet::set_hop_limit(&mut expired, header.hop_limit - hop + 1).unwrap();
    let mut forged = expired.clone();
    let checksum_at = header.header_len + 6;
    forged[checksum_at] ^= 0x55;
    let liar = match header.version() {
        IpVersion::V4 => IpAddr::from([240, 6, 6, 6]),
        IpVersion::V6 => "3fff::666".parse().unwrap(),
    };
    for (from, original) in [(liar, forged), (responder, expired)] {
        let mut reply = vec![0; 1280];
        let length =
            write_icmp_error(&mut reply, from, 60, kind, &original, QuoteSize::Minimum).unwrap();
        reply.truncate(length);
        let mut device = device;
        device.write_all(&reply).unwrap();
    }
}

/// Runs `test` in a fresh network namespace with the invented network behind `tun0`.
fn with_network<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)
                    .expect("a network namespace needs CAP_SYS_ADMIN: run the test as root");
                let device = open_tun("tun0");
                ip("link set lo up");
                ip("address add 240.0.0.1/32 dev tun0");
                ip("-6 address add 3fff::1/128 dev tun0 nodad");
                ip("link set tun0 up");
                ip("route add 240.0.0.0/4 dev tun0");
                ip("-6 route add 3fff::/20 dev tun0");
                let network = device.try_clone().unwrap();
                // Lives as long as the device: reading fails when the namespace goes with the process.
                std::thread::spawn(move || {
                    let mut network = network;
                    let mut packet = [0; 2048];
                    while let Ok(length) = network.read(&mut packet) {
                        let copy = packet[..length].to_vec();
                        let out = network.try_clone().unwrap();
                        std::thread::spawn(move || {
                            std::thread::sleep(DELAY);
                            answer(&out, &copy);
                        });
                    }
                });
                test()
            })
            .join()
            .unwrap()
    })
}

fn config(sharing: Sharing) -> ProberConfig {
    ProberConfig {
        sharing,
        policy: AddressPolicy::new(vec![
            "240.0.0.0/4".parse().unwrap(),
            "3fff::/20".parse().unwrap(),
            "127.0.0.0/8".parse().unwrap(),
        ]),
        packets_per_second: 2000,
        ..ProberConfig::default()
    }
}

fn addresses(path: &PathObservation) -> Vec<Option<IpAddr>> {
    path.hops
        .iter()
        .map(|hop| match hop {
            Hop::Reply(reply) => Some(reply.address),
            Hop::NoReply => None,
        })
        .collect()
}

#[test]
fn netns_traces_many_v4_and_v6_targets_and_believes_no_forgery() {
    with_network(|| {
        for sharing in [Sharing::Off, Sharing::Verified { confirmations: 3 }] {
            let prober = Prober::start(config(sharing)).unwrap();
            let mut targets: Vec<IpAddr> = (1..=30)
                .map(|number| IpAddr::from([241, 0, number, 1]))
                .collect();
            targets.extend(
                (1..=30).map(|number| IpAddr::V6(format!("3fff:{number:x}::1").parse().unwrap())),
            );
            let mut paths = Vec::new();
            for (target, path) in targets.iter().zip(prober.trace_all(targets.clone())) {
                let path = path.unwrap();
                let version = IpVersion::of(*target);
                let mut expected: Vec<_> = (1..=ROUTERS)
                    .map(|number| Some(router(number, version)))
                    .collect();
                expected.push(Some(*target));
                assert_eq!(addresses(&path), expected);
                assert_eq!(path.end, PathEnd::Reached);
                for (_, reply) in path.replies() {
                    assert!(reply.rtt.is_some_and(|rtt| rtt.0 >= DELAY), "{path:?}");
                }
                paths.push(path);
            }
            let counters = prober.counters();
            assert!(counters.rejected >= counters.replies, "{counters:?}");
            assert!(
                TraceReport(paths)
                    .to_json()
                    .contains("\"end\": \"reached\"")
            );
        }
    });
}

#[test]
fn netns_reaches_a_target_one_hop_away() {
    with_network(|| {
        let prober = Prober::start(config(Sharing::Off)).unwrap();
        let target = IpAddr::from([127, 0, 0, 1]);
        let path = prober.trace_all([target]).remove(0).unwrap();
        assert_eq!(addresses(&path), [Some(target)]);
        assert_eq!(path.end, PathEnd::Reached);
    });
}

#[test]
fn netns_says_why_a_target_is_not_traced() {
    with_network(|| {
        let config = ProberConfig {
            opted_out: vec!["241.9.0.0/16".parse().unwrap()],
            policy: AddressPolicy::new(vec![
                "240.0.0.0/4".parse().unwrap(),
                "10.0.0.0/8".parse().unwrap(),
            ]),
            ..ProberConfig::default()
        };
        let prober = Prober::start(config).unwrap();
        let targets = ["10.0.0.1", "241.9.0.1", "192.168.0.1"].map(|text| text.parse().unwrap());
        let refusals: Vec<_> = prober
            .trace_all(targets)
            .into_iter()
            .map(|path| match path.unwrap_err() {
                TraceError::Send { cause, .. } => format!("{}", cause.kind()),
                other => other.to_string(),
            })
            .collect();
        assert_eq!(
            refusals,
            [
                "network unreachable",
                "241.9.0.1 has opted out of probes",
                "not probing 192.168.0.1"
            ]
        );
    });
}

#[test]
fn netns_probes_identify_their_sender() {
    with_network(|| {
        // The responder sees what anybody on the way sees; here the loopback shows it.
        let socket = std::net::UdpSocket::bind("127.0.0.1:40000").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let config = ProberConfig {
            destination_port: 40000,
            source_port: Some(50000),
            identification: "who to ask: ops@example.net".to_owned(),
            time_limit: Duration::from_millis(300),
            ..config(Sharing::Off)
        };
        let prober = Prober::start(config).unwrap();
        prober.trace_all([IpAddr::from([127, 0, 0, 1])]);
        let mut payload = [0; 200];
        let (length, from) = socket.recv_from(&mut payload).unwrap();
        assert_eq!(from.port(), 50000);
        assert!(payload[..length].ends_with(b"who to ask: ops@example.net"));
    });
}
