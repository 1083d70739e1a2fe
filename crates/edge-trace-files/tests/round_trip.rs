//! What is written is read back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use edge_trace_files::{
    Format, Limits, Method, PathRecord, TraceDetails, read, write_json_line, write_scamper_json,
};
use edge_types::{Hop, HopReply, MonotonicTime, PathEnd, PathObservation, Rtt, UtcTime};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Routers are numbered from here, so that none of them is the target.
const TARGET_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(240, 0, 9, 1));
const TARGET_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x3fff, 9, 0, 0, 0, 0, 0, 1));

fn router(is_v6: bool) -> impl Strategy<Value = IpAddr> {
    (1_u16..5000).prop_map(move |number| {
        let [high, low] = number.to_be_bytes();
        if is_v6 {
            Ipv6Addr::new(0x3fff, 1, 0, 0, 0, 0, 0, number).into()
        } else {
            Ipv4Addr::new(240, 1, high, low).into()
        }
    })
}

fn reply(is_v6: bool) -> impl Strategy<Value = HopReply> {
    let rtt = option::of(0_u64..600_000_000_000);
    let reply_ttl = option::of(any::<u8>());
    (router(is_v6), rtt, any::<bool>(), any::<bool>(), reply_ttl).prop_map(
        |(address, rtt, shared, in_tunnel, reply_ttl)| HopReply {
            address,
            rtt: rtt.map(|nanoseconds| Rtt(Duration::from_nanos(nanoseconds))),
            shared,
            in_tunnel,
            reply_ttl,
        },
    )
}

fn hop(is_v6: bool) -> impl Strategy<Value = Hop> {
    option::weighted(0.8, reply(is_v6)).prop_map(|reply| reply.map_or(Hop::NoReply, Hop::Reply))
}

fn end() -> impl Strategy<Value = PathEnd> {
    prop_oneof![
        Just(PathEnd::Reached),
        any::<u8>().prop_map(PathEnd::Unreachable),
        Just(PathEnd::Silent),
        Just(PathEnd::MaxTtl),
        Just(PathEnd::TimedOut),
    ]
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![
        Just(Method::IcmpEcho),
        Just(Method::IcmpEchoParis),
        Just(Method::Udp),
        Just(Method::UdpParis),
        Just(Method::Tcp),
        Just(Method::TcpAck),
    ]
}

fn details() -> impl Strategy<Value = TraceDetails> {
    let time = || option::of((0_u64..1 << 40).prop_map(UtcTime));
    let port = || option::of(any::<u16>());
    (
        time(),
        time(),
        option::of(router(false)),
        option::of(method()),
        port(),
        port(),
    )
        .prop_map(
            |(started, ended, source, method, source_port, destination_port)| TraceDetails {
                started,
                ended,
                source,
                method,
                source_port,
                destination_port,
            },
        )
}

fn record() -> impl Strategy<Value = PathRecord> {
    any::<bool>()
        .prop_flat_map(|is_v6| {
            let further = vec((1_u8..40, reply(is_v6)), 0..20);
            let hops = vec(hop(is_v6), 0..30);
            (
                Just(is_v6),
                hops,
                further,
                reply(is_v6),
                end(),
                any::<u32>(),
                details(),
            )
        })
        .prop_map(
            |(is_v6, mut hops, further, last, end, probes_sent, details)| {
                let target = if is_v6 { TARGET_V6 } else { TARGET_V4 };
                if end == PathEnd::Reached {
                    hops.push(Hop::Reply(HopReply {
                        address: target,
                        ..last
                    }));
                }
                let path = PathObservation {
                    target,
                    observed_at: MonotonicTime::ZERO,
                    hops,
                    further,
                    end,
                    probes_sent,
                };
                PathRecord { path, details }
            },
        )
}

/// Samples of one hop, in an order of their own.
fn samples(path: &PathObservation, ttl: u8) -> Vec<(IpAddr, Option<Rtt>, bool, Option<u8>)> {
    let first = path.hops.get(usize::from(ttl) - 1);
    let first = first.and_then(|hop| match hop {
        Hop::Reply(reply) => Some(reply),
        Hop::NoReply => None,
    });
    let further = path
        .further
        .iter()
        .filter(|(at, _)| *at == ttl)
        .map(|(_, reply)| reply);
    let mut all: Vec<_> = first
        .into_iter()
        .chain(further)
        .map(|reply| (reply.address, reply.rtt, reply.in_tunnel, reply.reply_ttl))
        .collect();
    all.sort_unstable();
    all
}

proptest! {
    #[test]
    fn our_lines_are_read_back_as_they_were(records in vec(record(), 0..8)) {
        let text: String = records.iter().map(|record| write_json_line(record) + "\n").collect();
        let import = read(text.as_bytes(), Some(Format::JsonLines), &Limits::default()).unwrap();
        prop_assert_eq!(import.log.first, []);
        prop_assert_eq!(import.records, records);
    }

    #[test]
    fn scampers_json_keeps_what_it_can_tell(record in record()) {
        let mut record = record;
        // A reply without a round trip from who answered before tells nothing new, and one beyond the last hop makes
        // more hops.
        let hops = record.path.hops.clone();
        record.path.further.retain(|(ttl, reply)| match hops.get(usize::from(*ttl) - 1) {
            Some(Hop::Reply(first)) => reply.rtt.is_some() && first.rtt.is_some(),
            Some(Hop::NoReply) => reply.rtt.is_some(),
            None => false,
        });
        // Labels are told of an interface at a hop, not of a sample.
        record.path.further.iter_mut().for_each(|(_, reply)| reply.in_tunnel = false);
        for hop in &mut record.path.hops {
            if let Hop::Reply(reply) = hop {
                reply.in_tunnel &= !record.path.further.iter().any(|(_, other)| other.address == reply.address);
            }
        }
        let line = write_scamper_json(&record);
        let import = read(line.as_bytes(), Some(Format::ScamperJson), &Limits::default()).unwrap();
        prop_assert_eq!(import.log.first, []);
        let [again] = &import.records[..] else { panic!("one record") };
        prop_assert_eq!(again.path.target, record.path.target);
        prop_assert_eq!(again.path.hops.len(), record.path.hops.len());
        prop_assert_eq!(again.path.probes_sent, record.path.probes_sent);
        for ttl in 1..=40 {
            prop_assert_eq!(samples(&again.path, ttl), samples(&record.path, ttl), "ttl {}", ttl);
        }
        let reached = |path: &PathObservation| path.end == PathEnd::Reached;
        prop_assert_eq!(reached(&again.path), reached(&record.path));
        if let PathEnd::Unreachable(_) = record.path.end && (record.path.replies().next().is_some() || !record.path.further.is_empty()) {
            prop_assert_eq!(again.path.end, record.path.end);
        }
        let (told, read) = (record.details, again.details);
        prop_assert_eq!(
            (read.started, read.source, read.method, read.source_port, read.destination_port),
            (told.started, told.source, told.method, told.source_port, told.destination_port)
        );
    }
}

#[test]
fn scampers_json_invents_nothing() {
    let reply =
        |address: &str| HopReply::new(address.parse().unwrap(), Rtt(Duration::from_micros(1500)));
    let mut record = PathRecord {
        path: PathObservation {
            target: "240.0.9.1".parse().unwrap(),
            observed_at: MonotonicTime::ZERO,
            hops: vec![
                Hop::Reply(reply("240.1.0.1")),
                Hop::NoReply,
                Hop::Reply(reply("240.0.9.1")),
            ],
            further: vec![(1, reply("240.1.0.2"))],
            end: PathEnd::Reached,
            probes_sent: 0,
        },
        details: TraceDetails::default(),
    };
    assert_eq!(
        write_scamper_json(&record),
        "{\"type\":\"trace\",\"version\":\"0.1\",\"dst\":\"240.0.9.1\",\"stop_reason\":\"COMPLETED\",\"hop_count\":3,\
         \"hops\":[{\"addr\":\"240.1.0.1\",\"probe_ttl\":1,\"probe_id\":1,\"rtt\":1.5},\
         {\"addr\":\"240.1.0.2\",\"probe_ttl\":1,\"probe_id\":2,\"rtt\":1.5},\
         {\"addr\":\"240.0.9.1\",\"probe_ttl\":3,\"probe_id\":1,\"rtt\":1.5}]}"
    );
    record.path.further.clear();
    record.path.probes_sent = 3;
    record.details = TraceDetails {
        started: Some(UtcTime(1_790_000_000)),
        source: Some("240.0.0.10".parse().unwrap()),
        method: Some(Method::UdpParis),
        source_port: Some(40_000),
        destination_port: Some(33_434),
        ended: None,
    };
    assert_eq!(
        write_scamper_json(&record),
        "{\"type\":\"trace\",\"version\":\"0.1\",\"method\":\"udp-paris\",\"src\":\"240.0.0.10\",\"dst\":\"240.0.9.1\",\
         \"sport\":40000,\"dport\":33434,\"stop_reason\":\"COMPLETED\",\"start\":{\"sec\":1790000000,\"usec\":0},\
         \"hop_count\":3,\"probe_count\":3,\
         \"hops\":[{\"addr\":\"240.1.0.1\",\"probe_ttl\":1,\"probe_id\":1,\"rtt\":1.5,\"icmp_type\":11,\"icmp_code\":0},\
         {\"addr\":\"240.0.9.1\",\"probe_ttl\":3,\"probe_id\":1,\"rtt\":1.5,\"icmp_type\":3,\"icmp_code\":3}]}"
    );
}
