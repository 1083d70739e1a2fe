//! Reads what `sc_warts2json` and `scamper -O json` print.

use std::net::IpAddr;

use edge_types::UtcTime;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Read;
use crate::assemble::{Answer, Assembly, Told};
use crate::limits::Limits;
use crate::problem::Reason;
use crate::record::{PathRecord, TraceDetails};

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Trace {
    dst: IpAddr,
    src: Option<IpAddr>,
    method: Option<String>,
    sport: Option<u16>,
    dport: Option<u16>,
    stop_reason: Option<String>,
    start: Option<Start>,
    hop_count: Option<u64>,
    probe_count: Option<u32>,
    #[serde(default)]
    hops: Vec<TraceHop>,
}

#[derive(Deserialize)]
struct Start {
    sec: u64,
}

#[derive(Deserialize)]
struct TraceHop {
    addr: IpAddr,
    probe_ttl: u64,
    rtt: Option<f64>,
    reply_ttl: Option<u8>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    #[serde(default)]
    icmpext: Vec<Extension>,
}

#[derive(Deserialize)]
struct Extension {
    ie_cn: Option<u8>,
    mpls_labels: Option<IgnoredAny>,
}

/// One object.
pub(super) fn record(bytes: &[u8], limits: &Limits) -> Read {
    let json = |error| Reason::json(&error);
    let kind: Kind = serde_json::from_slice(bytes).map_err(json)?;
    if kind.kind != "trace" {
        return Ok(None);
    }
    let trace: Trace = serde_json::from_slice(bytes).map_err(json)?;
    let mut assembly = Assembly::new(trace.dst, limits);
    assembly.probes = trace.probe_count.unwrap_or(0);
    if let Some(count) = trace.hop_count.filter(|count| *count > 0) {
        assembly.ttl(count)?;
    }
    for hop in &trace.hops {
        let ttl = assembly.ttl(hop.probe_ttl)?;
        let answer = Answer {
            in_tunnel: hop.icmpext.iter().any(Extension::is_mpls),
            reply_ttl: hop.reply_ttl,
            refusal: hop
                .icmp_type
                .and_then(|kind| refusal(trace.dst, kind, hop.icmp_code)),
            ..Answer::new(hop.addr, hop.rtt)
        };
        assembly.reply(ttl, answer)?;
    }
    let stop = trace.stop_reason.as_deref().unwrap_or("NONE");
    let (path, left_out) = assembly.finish(told(stop));
    // A method that is not known here is one that will be invented.
    let method = trace.method.as_deref().and_then(|name| name.parse().ok());
    let details = TraceDetails {
        started: trace.start.map(|start| UtcTime(start.sec)),
        ended: None,
        source: trace.src,
        method,
        source_port: trace.sport,
        destination_port: trace.dport,
    };
    Ok(Some((PathRecord { path, details }, left_out)))
}

impl Extension {
    /// RFC 4950: class 1 is an MPLS label stack.
    const fn is_mpls(&self) -> bool {
        matches!(self.ie_cn, Some(1)) || self.mpls_labels.is_some()
    }
}

/// The code of an ICMP destination unreachable of the target's IP version.
pub(super) const fn refusal(target: IpAddr, kind: u8, code: Option<u8>) -> Option<u8> {
    match (target, kind) {
        (IpAddr::V4(_), 3) | (IpAddr::V6(_), 1) => code,
        _ => None,
    }
}

/// What a stop reason adds to what the hops show. Traces that ended by a stop set, an error or a signal were stopped; a
/// loop would have gone on to the largest TTL.
pub(super) fn told(stop_reason: &str) -> Told {
    match stop_reason {
        "GSS" | "ERROR" | "HALTED" => Told::Stopped,
        _ => Told::Nothing,
    }
}
