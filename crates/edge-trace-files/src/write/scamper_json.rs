//! JSON for the tools that read what `sc_warts2json` prints.

use std::collections::BTreeMap;
use std::net::IpAddr;

use edge_types::{HopReply, PathEnd};
use serde::Serialize;

use crate::record::{Method, PathRecord};

#[derive(Serialize)]
struct Trace {
    #[serde(rename = "type")]
    kind: &'static str,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    src: Option<IpAddr>,
    dst: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    sport: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dport: Option<u16>,
    stop_reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Start>,
    hop_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe_count: Option<u32>,
    hops: Vec<TraceHop>,
}

#[derive(Serialize)]
struct Start {
    sec: u64,
    usec: u32,
}

#[derive(Serialize)]
struct TraceHop {
    addr: IpAddr,
    probe_ttl: u8,
    probe_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_ttl: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_code: Option<u8>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    icmpext: &'static [Extension],
}

/// That there were labels is known, their values are not.
#[derive(Serialize)]
struct Extension {
    ie_cn: u8,
    ie_ct: u8,
}

const MPLS: &[Extension] = &[Extension { ie_cn: 1, ie_ct: 1 }];

/// One path as one line of JSON like scamper's, without the line's end.
///
/// What is not known is left out: the source, ports, sizes, and the number of probes if it is 0. The
/// start is known to the second, so its `usec` is 0. `probe_id` counts the replies of a TTL from 1. ICMP types
/// follow from the place on the path where the method is known: time exceeded before the end, and at the end what the method makes a target
/// answer; of a TCP target that may be one of two segments, so nothing is said. The
/// end of a trace for lack of time is told as `HALTED`.
pub fn write_scamper_json(record: &PathRecord) -> String {
    let PathRecord { path, details } = record;
    let mut replies: BTreeMap<u8, Vec<&HopReply>> = BTreeMap::new();
    let further = path.further.iter().map(|(ttl, reply)| (*ttl, reply));
    for (ttl, reply) in path.replies().chain(further) {
        replies.entry(ttl).or_default().push(reply);
    }
    let last = replies.last_key_value().map(|(ttl, _)| *ttl);
    let mut hops = Vec::new();
    for (ttl, at_hop) in replies {
        for (probe_id, reply) in (1..).zip(at_hop) {
            let icmp = icmp(record, reply, Some(ttl) == last);
            hops.push(TraceHop {
                addr: reply.address,
                probe_ttl: ttl,
                probe_id,
                rtt: reply.rtt.map(|rtt| rtt.0.as_nanos() as f64 / 1e6),
                reply_ttl: reply.reply_ttl,
                icmp_type: icmp.map(|(kind, _)| kind),
                icmp_code: icmp.map(|(_, code)| code),
                icmpext: if reply.in_tunnel { MPLS } else { &[] },
            });
        }
    }
    let trace = Trace {
        kind: "trace",
        version: "0.1",
        method: details.method.map(|method| method.to_string()),
        src: details.source,
        dst: path.target,
        sport: details.source_port,
        dport: details.destination_port,
        stop_reason: match path.end {
            PathEnd::Reached => "COMPLETED",
            PathEnd::Unreachable(_) => "UNREACH",
            PathEnd::Silent => "GAPLIMIT",
            PathEnd::MaxTtl => "HOPLIMIT",
            PathEnd::TimedOut => "HALTED",
        },
        start: details.started.map(|time| Start {
            sec: time.0,
            usec: 0,
        }),
        hop_count: path.hops.len(),
        probe_count: Some(path.probes_sent).filter(|count| *count > 0),
        hops,
    };
    serde_json::to_string(&trace).unwrap_or_default() // plain values always serialize
}

/// ICMP type and code of a reply, where they follow from what is known.
fn icmp(record: &PathRecord, reply: &HopReply, is_last: bool) -> Option<(u8, u8)> {
    let is_v6 = record.path.target.is_ipv6();
    if is_last && let PathEnd::Unreachable(code) = record.path.end {
        return Some((if is_v6 { 1 } else { 3 }, code));
    }
    let method = record.details.method?;
    if reply.address != record.path.target {
        return Some((if is_v6 { 3 } else { 11 }, 0));
    }
    match (method, is_v6) {
        (Method::Udp | Method::UdpParis, false) => Some((3, 3)),
        (Method::Udp | Method::UdpParis, true) => Some((1, 4)),
        (Method::IcmpEcho | Method::IcmpEchoParis, false) => Some((0, 0)),
        (Method::IcmpEcho | Method::IcmpEchoParis, true) => Some((129, 0)),
        (Method::Tcp | Method::TcpAck, _) => None,
    }
}
