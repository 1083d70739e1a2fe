//! UDP sockets against this host's own kernel, over the loopback, with no privilege.

use std::net::UdpSocket;
use std::thread::sleep;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::*;
use crate::probe::ReplyKind;
use crate::tag::{Proof, TagKey};

struct Bench {
    sockets: UnprivilegedSockets,
    closed: u16,
}

impl Bench {
    fn open() -> Self {
        let sockets = UnprivilegedSockets::open(&ProberConfig::default()).unwrap();
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap();
        let closed = closed.local_addr().unwrap().port();
        Self { sockets, closed }
    }

    fn probe(&self, attempt: u8) -> Probe {
        let target = IpAddr::from([127, 0, 0, 1]);
        Probe {
            method: ProbeMethod::Udp,
            target,
            ttl: 9,
            attempt,
            epoch: 1,
            source_port: self.sockets.source_port(),
            destination_port: self.closed,
            tag: TagKey::new([3; 16]).tag(target, 1, 9, attempt, 0),
        }
    }

    fn send(&self, attempt: u8) {
        let probe = self.probe(attempt);
        self.sockets.send(&probe, probe.target, "test").unwrap();
    }

    /// Waits for what comes next.
    fn next(&self) -> Option<Received> {
        let mut descriptors: Vec<_> = self
            .sockets
            .receivers()
            .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN))
            .collect();
        let woken = poll(&mut descriptors, PollTimeout::from(2000_u16)).unwrap();
        assert!(woken > 0, "nothing came");
        self.sockets.receive()
    }
}

#[test]
fn an_error_tells_the_probe_and_when_the_kernel_took_it_in() {
    let bench = Bench::open();
    bench.send(1);
    let waited = Duration::from_millis(30);
    let sent = Instant::now();
    sleep(waited);
    let Some(Received::Reply { reply, queued_for }) = bench.next() else {
        panic!("a reply")
    };
    let target = IpAddr::from([127, 0, 0, 1]);
    assert_eq!(
        reply,
        Reply {
            responder: target,
            kind: ReplyKind::Error(ErrorKind::port_unreachable(IpVersion::V4)),
            target,
            source_port: bench.sockets.source_port(),
            destination_port: bench.closed,
            proof: Proof::Long(bench.probe(1).tag.long),
            ttl_left: None,
            arrived_with: Some(64),
            in_tunnel: false,
        }
    );
    assert!(
        queued_for >= waited - Duration::from_millis(5),
        "{queued_for:?}"
    );
    assert!(queued_for <= sent.elapsed() + Duration::from_millis(5));
}

#[test]
fn errors_about_earlier_probes_stop_no_later_one() {
    let bench = Bench::open();
    for attempt in 1..=7 {
        bench.send(attempt); // from the second on with an error pending
    }
    let proofs: Vec<Proof> = (1..=7)
        .map(|_| match bench.next() {
            Some(Received::Reply { reply, .. }) => reply.proof,
            other => panic!("{other:?}"),
        })
        .collect();
    let expected: Vec<Proof> = (1..=7)
        .map(|attempt| Proof::Long(bench.probe(attempt).tag.long))
        .collect();
    assert_eq!(proofs, expected);
    assert!(bench.sockets.receive().is_none());
}

#[test]
fn a_full_error_queue_loses_the_rest_and_wakes_nobody_for_ever() {
    let bench = Bench::open();
    bench.sockets.v4.set_recv_buffer_size(1).unwrap(); // the kernel's minimum, for a few entries
    for _ in 0..20 {
        for attempt in 1..=7 {
            bench.send(attempt);
        }
    }
    let mut received = 0;
    let mut wakes = 0;
    loop {
        let mut descriptor = [PollFd::new(bench.sockets.v4.as_fd(), PollFlags::POLLIN)];
        if poll(&mut descriptor, PollTimeout::from(200_u16)).unwrap() == 0 {
            break;
        }
        wakes += 1;
        assert!(wakes < 1000, "woken for nothing");
        while bench.sockets.receive().is_some() {
            received += 1;
        }
    }
    assert!((1..100).contains(&received), "{received}");
    bench.send(1);
    assert!(matches!(bench.next(), Some(Received::Reply { .. })));
}

#[test]
fn strangers_datagrams_do_not_come_in() {
    let bench = Bench::open();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = bench.sockets.source_port();
    for _ in 0..10 {
        stranger.send_to(&[7; 64], ("127.0.0.1", port)).unwrap();
    }
    bench.send(1);
    assert!(matches!(bench.next(), Some(Received::Reply { .. })));
    assert!(bench.sockets.receive().is_none());
}

#[test]
fn a_random_port_is_one_of_the_upper_half() {
    let ports: Vec<u16> = (0..3)
        .map(|_| Bench::open().sockets.source_port())
        .collect();
    assert!(ports.iter().all(|port| *port >= FIRST_PORT), "{ports:?}");
    assert!(
        ports.iter().any(|port| *port != ports[0]),
        "random: {ports:?}"
    );
}
