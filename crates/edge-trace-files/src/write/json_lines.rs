//! Our JSON lines.

use std::net::IpAddr;

use edge_types::{Hop, HopReply, PathEnd};
use serde::Serialize;

use crate::record::PathRecord;

#[derive(Serialize)]
struct Line {
    target: IpAddr,
    reached: bool,
    end: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreachable_code: Option<u8>,
    hops: Vec<LineHop>,
    further: Vec<LineHop>,
    probes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_utc_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_utc_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sport: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dport: Option<u16>,
}

#[derive(Serialize)]
struct LineHop {
    ttl: u8,
    addr: Option<IpAddr>,
    rtt_ms: Option<f64>,
    shared: bool,
    in_tunnel: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_ttl: Option<u8>,
}

/// One path as one line of JSON, without the line's end.
///
/// | field | meaning |
/// |---|---|
/// | `target` | the address that was traced |
/// | `reached` | whether it answered; then it is the last hop |
/// | `end` | why the trace ended: `reached`, `unreachable`, `silent`, `max-ttl` or `timed-out` |
/// | `unreachable_code` | the ICMP code; with `unreachable` only |
/// | `hops` | one object for each TTL from 1: `ttl`, `addr` (null if nobody answered), `rtt_ms` (null if not known), `shared` (taken over from another target's trace), `in_tunnel` (came with MPLS labels), `reply_ttl` (TTL of the reply itself, if known) |
/// | `further` | more replies, of the same fields: other samples, other responders |
/// | `probes` | probes sent for this target alone; 0 if not known |
/// | `started_utc_s`, `ended_utc_s` | seconds since 1970, if known |
/// | `source`, `method`, `sport`, `dport` | what the probes were, if known |
///
/// When reading, `target`, `end`, `hops` and within them `ttl` are needed.
pub fn write_json_line(record: &PathRecord) -> String {
    let PathRecord { path, details } = record;
    let (end, unreachable_code) = match path.end {
        PathEnd::Reached => ("reached", None),
        PathEnd::Unreachable(code) => ("unreachable", Some(code)),
        PathEnd::Silent => ("silent", None),
        PathEnd::MaxTtl => ("max-ttl", None),
        PathEnd::TimedOut => ("timed-out", None),
    };
    let hop = |(ttl, hop): (u8, &Hop)| match hop {
        Hop::Reply(reply) => line_hop(ttl, reply),
        Hop::NoReply => LineHop {
            ttl,
            addr: None,
            rtt_ms: None,
            shared: false,
            in_tunnel: false,
            reply_ttl: None,
        },
    };
    let line = Line {
        target: path.target,
        reached: path.end == PathEnd::Reached,
        end,
        unreachable_code,
        hops: (1u8..=u8::MAX).zip(&path.hops).map(hop).collect(),
        further: path
            .further
            .iter()
            .map(|(ttl, reply)| line_hop(*ttl, reply))
            .collect(),
        probes: path.probes_sent,
        started_utc_s: details.started.map(|time| time.0),
        ended_utc_s: details.ended.map(|time| time.0),
        source: details.source,
        method: details.method.map(|method| method.to_string()),
        sport: details.source_port,
        dport: details.destination_port,
    };
    serde_json::to_string(&line).unwrap_or_default() // plain values always serialize
}

fn line_hop(ttl: u8, reply: &HopReply) -> LineHop {
    LineHop {
        ttl,
        addr: Some(reply.address),
        // Milliseconds with all nanoseconds: what is read back is equal.
        rtt_ms: reply.rtt.map(|rtt| rtt.0.as_nanos() as f64 / 1e6),
        shared: reply.shared,
        in_tunnel: reply.in_tunnel,
        reply_ttl: reply.reply_ttl,
    }
}
