//! The prober on real sockets, in a network namespace of its own where a TUN device leads to four invented routers.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::IpAddr;
use std::time::Duration;

use edge_packet::IpVersion;
use edge_ports::TraceError;
use edge_probe::{Prober, ProberConfig, Sharing};
use edge_types::{AddressPolicy, PathEnd};

#[expect(dead_code, reason = "the tests of the backends use the rest")]
mod fake_internet;

use fake_internet::{DELAY, addresses, config, target, truth, with_network};

#[test]
fn netns_traces_many_v4_and_v6_targets_and_believes_no_forgery() {
    with_network(|_| {
        for sharing in [Sharing::Off, Sharing::Verified { confirmations: 3 }] {
            let prober = Prober::start(config(sharing)).unwrap();
            let targets = (1..=30).flat_map(|number| {
                [IpVersion::V4, IpVersion::V6].map(|version| target(number, version))
            });
            let targets: Vec<IpAddr> = targets.collect();
            for (target, path) in targets.iter().zip(prober.trace_all(targets.clone())) {
                let path = path.unwrap();
                assert_eq!(addresses(&path), truth(*target));
                assert_eq!(path.end, PathEnd::Reached);
                for (_, reply) in path.replies() {
                    assert!(reply.rtt.is_some_and(|rtt| rtt.0 >= DELAY), "{path:?}");
                }
            }
            let counters = prober.counters();
            assert!(counters.rejected >= counters.replies, "{counters:?}");
        }
    });
}

#[test]
fn netns_reaches_a_target_one_hop_away() {
    with_network(|_| {
        let prober = Prober::start(config(Sharing::Off)).unwrap();
        let target = IpAddr::from([127, 0, 0, 1]);
        let path = prober.trace_all([target]).remove(0).unwrap();
        assert_eq!(addresses(&path), [Some(target)]);
        assert_eq!(path.end, PathEnd::Reached);
    });
}

#[test]
fn netns_a_stream_gives_each_path_when_it_is_known() {
    with_network(|_| {
        let prober = Prober::start(config(Sharing::Off)).unwrap();
        let [far, refused, near] =
            ["241.0.1.1", "192.168.0.1", "127.0.0.1"].map(|text| text.parse::<IpAddr>().unwrap());
        let mut stream = prober.stream();
        stream.begin(vec![far, refused, near]);
        let mut next = || stream.next_within(Duration::from_secs(10)).unwrap();
        assert_eq!(
            next().unwrap_err().to_string(),
            format!("not probing {refused}")
        );
        assert_eq!(
            [next(), next()].map(|path| path.unwrap().target),
            [near, far]
        );
        assert_eq!(stream.under_way(), 0);
        assert!(stream.next_within(Duration::from_millis(1)).is_none());
    });
}

#[test]
fn netns_says_why_a_target_is_not_traced() {
    with_network(|_| {
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
    with_network(|_| {
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
