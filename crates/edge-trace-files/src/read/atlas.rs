//! Reads traceroute results of RIPE Atlas, and data sets made in their likeness.
//!
//! The fields are those of the Atlas documentation for firmware 4000 to 5080. Data sets in its likeness lack most; `result` with
//! `hop`, `from`, `rtt` and `x`, and `dst_addr`, are all that is needed.

use std::net::IpAddr;

use edge_types::UtcTime;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Read;
use crate::assemble::{Answer, Assembly, Told};
use crate::limits::Limits;
use crate::problem::Reason;
use crate::record::{Method, PathRecord, TraceDetails};

const TRACEROUTE: &str = "traceroute";

/// A probe with this TTL is sent after a gap, to hear whether the target answers at all.
const BEYOND_GAP: u64 = 255;

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Measurement {
    #[serde(rename = "type")]
    kind: Option<String>,
    dst_addr: Option<IpAddr>,
    src_addr: Option<IpAddr>,
    timestamp: Option<u64>,
    endtime: Option<u64>,
    proto: Option<String>,
    paris_id: Option<u64>,
    result: Vec<AtHop>,
}

#[derive(Deserialize)]
struct AtHop {
    hop: Option<u64>,
    #[serde(default)]
    result: Vec<OneProbe>,
}

#[derive(Deserialize)]
struct OneProbe {
    from: Option<IpAddr>,
    rtt: Option<f64>,
    /// Of the reply.
    ttl: Option<u8>,
    err: Option<Unreachable>,
    /// A copy of a reply that came before.
    dup: Option<IgnoredAny>,
    /// Came when another hop was being probed; its round trip is not told.
    late: Option<IgnoredAny>,
    icmpext: Option<Extensions>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Unreachable {
    Letter(String),
    Code(u8),
}

#[derive(Deserialize)]
struct Extensions {
    #[serde(default)]
    obj: Vec<ExtensionObject>,
}

#[derive(Deserialize)]
struct ExtensionObject {
    class: Option<u8>,
    mpls: Option<IgnoredAny>,
}

/// One object.
pub(super) fn record(bytes: &[u8], limits: &Limits) -> Read {
    let json = |error| Reason::json(&error);
    let measurement: Measurement = match serde_json::from_slice(bytes) {
        Ok(measurement) => measurement,
        // Other measurements have results of other shapes.
        Err(error) => {
            let kind: Kind = serde_json::from_slice(bytes).map_err(json)?;
            return match kind.kind.as_deref() {
                None | Some(TRACEROUTE) => Err(json(error)),
                Some(_) => Ok(None),
            };
        }
    };
    if measurement
        .kind
        .as_deref()
        .is_some_and(|kind| kind != TRACEROUTE)
    {
        return Ok(None);
    }
    if measurement.result.iter().all(|hop| hop.hop.is_none()) {
        return Err(Reason::NoTrace);
    }
    let target = measurement.dst_addr.ok_or(Reason::Missing("dst_addr"))?;
    let mut assembly = Assembly::new(target, limits);
    let mut tells_no_distance = false;
    for at_hop in &measurement.result {
        // Beside the hops there may be an error of the probe itself, such as having lost its network.
        let Some(ttl) = at_hop.hop else { continue };
        assembly.probes = assembly
            .probes
            .saturating_add(u32::try_from(at_hop.result.len()).unwrap_or(u32::MAX));
        if ttl == BEYOND_GAP {
            tells_no_distance |= at_hop.result.iter().any(|probe| probe.from.is_some());
            continue;
        }
        let ttl = assembly.ttl(ttl)?;
        for probe in &at_hop.result {
            if let Some(answer) = probe.answer(target) {
                assembly.reply(ttl, answer)?;
            }
        }
    }
    if tells_no_distance {
        assembly.left_out.push(Reason::NoDistance);
    }
    let (path, left_out) = assembly.finish(Told::Nothing);
    let details = TraceDetails {
        started: measurement.timestamp.map(UtcTime),
        ended: measurement.endtime.map(UtcTime),
        source: measurement.src_addr,
        method: method(measurement.proto.as_deref(), measurement.paris_id),
        source_port: None,
        destination_port: None,
    };
    Ok(Some((PathRecord { path, details }, left_out)))
}

impl OneProbe {
    fn answer(&self, target: IpAddr) -> Option<Answer> {
        let in_tunnel = self.icmpext.as_ref().is_some_and(|extensions| {
            let is_mpls =
                |object: &ExtensionObject| object.class == Some(1) || object.mpls.is_some();
            extensions.obj.iter().any(is_mpls)
        });
        let rtt = self
            .rtt
            .filter(|_| self.dup.is_none() && self.late.is_none());
        Some(Answer {
            in_tunnel,
            reply_ttl: self.ttl,
            refusal: self.err.as_ref().and_then(|err| err.code(target)),
            ..Answer::new(self.from?, rtt)
        })
    }
}

impl Unreachable {
    /// The ICMP code behind a letter; those that mean different codes in `ICMPv6` by the target's IP version.
    fn code(&self, target: IpAddr) -> Option<u8> {
        let letter = match self {
            Self::Code(code) => return Some(*code),
            Self::Letter(letter) => letter.as_str(),
        };
        match (letter, target.is_ipv6()) {
            ("N", _) => Some(0),
            ("H", false) | ("A", true) => Some(1),
            ("P", false) | ("h", true) => Some(2),
            ("p", false) | ("H", true) => Some(3),
            ("p", true) => Some(4),
            ("A", false) => Some(13),
            _ => None,
        }
    }
}

/// A Paris identifier other than 0 keeps all probes in one flow.
fn method(proto: Option<&str>, paris_id: Option<u64>) -> Option<Method> {
    let is_paris = paris_id.is_some_and(|id| id != 0);
    match (proto?, is_paris) {
        ("UDP", true) => Some(Method::UdpParis),
        ("UDP", false) => Some(Method::Udp),
        ("ICMP", true) => Some(Method::IcmpEchoParis),
        ("ICMP", false) => Some(Method::IcmpEcho),
        ("TCP", _) => Some(Method::Tcp),
        _ => None,
    }
}
