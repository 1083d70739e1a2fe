//! Reads our own JSON lines.

use std::net::IpAddr;

use edge_types::{Hop, HopReply, MonotonicTime, PathEnd, PathObservation, UtcTime};
use serde::Deserialize;

use super::Read;
use crate::assemble::round_trip;
use crate::limits::Limits;
use crate::problem::Reason;
use crate::record::{PathRecord, TraceDetails};

#[derive(Deserialize)]
struct Line {
    target: IpAddr,
    end: String,
    reached: Option<bool>,
    unreachable_code: Option<u8>,
    hops: Vec<LineHop>,
    #[serde(default)]
    further: Vec<LineHop>,
    #[serde(default)]
    probes: u32,
    started_utc_s: Option<u64>,
    ended_utc_s: Option<u64>,
    source: Option<IpAddr>,
    method: Option<String>,
    sport: Option<u16>,
    dport: Option<u16>,
}

#[derive(Deserialize)]
struct LineHop {
    ttl: u8,
    addr: Option<IpAddr>,
    rtt_ms: Option<f64>,
    #[serde(default)]
    shared: bool,
    #[serde(default)]
    in_tunnel: bool,
    reply_ttl: Option<u8>,
}

/// One object.
pub(super) fn record(bytes: &[u8], limits: &Limits) -> Read {
    let line: Line = serde_json::from_slice(bytes).map_err(|error| Reason::json(&error))?;
    if line.hops.len() + line.further.len() > limits.replies {
        let limit = limits.replies;
        return Err(Reason::TooManyReplies { limit });
    }
    let mut left_out = Vec::new();
    let mut hops = Vec::new();
    for (expected, hop) in (1_usize..).zip(&line.hops) {
        if usize::from(hop.ttl) != expected {
            return Err(Reason::value("hops.ttl", hop.ttl));
        }
        hops.push(
            hop.reply(limits, &mut left_out)
                .map_or(Hop::NoReply, Hop::Reply),
        );
    }
    let mut further = Vec::new();
    for hop in &line.further {
        if hop.ttl == 0 {
            return Err(Reason::value("further.ttl", hop.ttl));
        }
        let reply = hop.reply(limits, &mut left_out);
        further.push((hop.ttl, reply.ok_or(Reason::Missing("further.addr"))?));
    }
    let end = match (line.end.as_str(), line.unreachable_code) {
        ("reached", _) => PathEnd::Reached,
        ("unreachable", Some(code)) => PathEnd::Unreachable(code),
        ("unreachable", None) => return Err(Reason::Missing("unreachable_code")),
        ("silent", _) => PathEnd::Silent,
        ("max-ttl", _) => PathEnd::MaxTtl,
        ("timed-out", _) => PathEnd::TimedOut,
        (other, _) => return Err(Reason::value("end", other)),
    };
    let is_reached = end == PathEnd::Reached;
    let ends_at_target =
        matches!(hops.last(), Some(Hop::Reply(last)) if last.address == line.target);
    if is_reached != ends_at_target || line.reached.is_some_and(|told| told != is_reached) {
        return Err(Reason::value("reached", is_reached));
    }
    let method = match line.method {
        Some(name) => Some(name.parse().map_err(|_| Reason::value("method", &name))?),
        None => None,
    };
    let path = PathObservation {
        target: line.target,
        observed_at: MonotonicTime::ZERO,
        hops,
        further,
        end,
        probes_sent: line.probes,
    };
    let details = TraceDetails {
        started: line.started_utc_s.map(UtcTime),
        ended: line.ended_utc_s.map(UtcTime),
        source: line.source,
        method,
        source_port: line.sport,
        destination_port: line.dport,
    };
    Ok(Some((PathRecord { path, details }, left_out)))
}

impl LineHop {
    fn reply(&self, limits: &Limits, left_out: &mut Vec<Reason>) -> Option<HopReply> {
        let rtt = self.rtt_ms.and_then(|ms| {
            let rtt = round_trip(ms * 1e6, limits);
            if rtt.is_none() {
                left_out.push(Reason::RoundTrip { ttl: self.ttl });
            }
            rtt
        });
        Some(HopReply {
            address: self.addr?,
            rtt,
            shared: self.shared,
            in_tunnel: self.in_tunnel,
            reply_ttl: self.reply_ttl,
        })
    }
}
