//! Traces for people and programs to read.

use std::fmt;
use std::net::IpAddr;

use edge_types::{Hop, PathEnd, PathObservation, Rtt};
use serde::Serialize;

/// Finished traces; displays as a table per target.
#[derive(Clone, Debug, Default)]
pub struct TraceReport(pub Vec<PathObservation>);

#[derive(Serialize)]
struct JsonPath {
    target: IpAddr,
    end: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreachable_code: Option<u8>,
    probes_sent: u32,
    hops: Vec<JsonHop>,
}

#[derive(Serialize)]
struct JsonHop {
    ttl: usize,
    /// Null if nobody answered.
    address: Option<IpAddr>,
    rtt_ms: Option<f64>,
    shared: bool,
}

impl TraceReport {
    /// A JSON array with one object per trace: `target`, `end` ("reached", "unreachable", "silent", "max-ttl",
    /// "timed-out"), `unreachable_code` if unreachable, `probes_sent`, and `hops` with `ttl`, `address` and `rtt_ms`
    /// (null if silent) and `shared`.
    pub fn to_json(&self) -> String {
        let paths: Vec<JsonPath> = self.0.iter().map(json_path).collect();
        serde_json::to_string_pretty(&paths).unwrap_or_default() // plain values always serialize
    }

    /// One trace as an object of [`TraceReport::to_json`], in one line.
    pub fn json_line(path: &PathObservation) -> String {
        serde_json::to_string(&json_path(path)).unwrap_or_default() // plain values always serialize
    }
}

fn json_path(path: &PathObservation) -> JsonPath {
    JsonPath {
        target: path.target,
        end: match path.end {
            PathEnd::Reached => "reached",
            PathEnd::Unreachable(_) => "unreachable",
            PathEnd::Silent => "silent",
            PathEnd::MaxTtl => "max-ttl",
            PathEnd::TimedOut => "timed-out",
        },
        unreachable_code: match path.end {
            PathEnd::Unreachable(code) => Some(code),
            _ => None,
        },
        probes_sent: path.probes_sent,
        hops: (1..)
            .zip(&path.hops)
            .map(|(ttl, hop)| match hop {
                Hop::Reply(reply) => JsonHop {
                    ttl,
                    address: Some(reply.address),
                    rtt_ms: reply.rtt.map(Rtt::as_ms),
                    shared: reply.shared,
                },
                Hop::NoReply => JsonHop {
                    ttl,
                    address: None,
                    rtt_ms: None,
                    shared: false,
                },
            })
            .collect(),
    }
}

impl fmt::Display for TraceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let end = match path.end {
                PathEnd::Reached => "reached".to_owned(),
                PathEnd::Unreachable(code) => format!("unreachable, code {code}"),
                PathEnd::Silent => "silent from there on".to_owned(),
                PathEnd::MaxTtl => "longer than the largest TTL".to_owned(),
                PathEnd::TimedOut => "out of time".to_owned(),
            };
            writeln!(
                f,
                "{}: {end}, {} hops, {} probes",
                path.target,
                path.hops.len(),
                path.probes_sent
            )?;
            for (ttl, hop) in (1..).zip(&path.hops) {
                match hop {
                    Hop::Reply(reply) => {
                        let shared = if reply.shared { "  shared" } else { "" };
                        let address = reply.address.to_string();
                        writeln!(
                            f,
                            "{ttl:3}  {address:<39} {:>10}{shared}",
                            reply.rtt.map(|rtt| rtt.to_string()).unwrap_or_default()
                        )?;
                    }
                    Hop::NoReply => writeln!(f, "{ttl:3}  *")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use edge_types::{HopReply, MonotonicTime};

    use super::*;

    #[test]
    fn prints_a_table_and_json() {
        let report = TraceReport(vec![PathObservation {
            target: [240, 0, 1, 9].into(),
            observed_at: MonotonicTime::ZERO,
            hops: vec![
                Hop::Reply(HopReply {
                    shared: true,
                    ..HopReply::new([240, 0, 0, 1].into(), Rtt(Duration::from_micros(1500)))
                }),
                Hop::NoReply,
            ],
            further: Vec::new(),
            end: PathEnd::Silent,
            probes_sent: 4,
        }]);
        assert_eq!(
            report.to_string(),
            "240.0.1.9: silent from there on, 2 hops, 4 probes\n  \
             1  240.0.0.1                                   1.5 ms  shared\n  2  *\n"
        );
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!([{
                "target": "240.0.1.9", "end": "silent", "probes_sent": 4, "hops": [
                    { "ttl": 1, "address": "240.0.0.1", "rtt_ms": 1.5, "shared": true },
                    { "ttl": 2, "address": null, "rtt_ms": null, "shared": false },
                ],
            }])
        );
    }
}
