//! Paths for people to read: a block of lines for each target.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use edge_types::{Hop, HopReply, PathEnd, PathObservation, Rtt};

/// How a path ended, in words.
pub(super) fn end_in_words(end: PathEnd) -> String {
    match end {
        PathEnd::Reached => "reached".to_owned(),
        PathEnd::Unreachable(code) => format!("unreachable, says the last hop (ICMP code {code})"),
        PathEnd::Silent => "silent from there on".to_owned(),
        PathEnd::MaxTtl => "longer than the largest TTL".to_owned(),
        PathEnd::TimedOut => "out of time".to_owned(),
    }
}

/// `count` of a thing that has this name.
pub(super) fn counted(count: impl Into<u64>, name: &str) -> String {
    match count.into() {
        1 => format!("1 {name}"),
        count => format!("{count} {name}s"),
    }
}

/// One who answered at a hop, over all its replies there.
struct Responder {
    address: IpAddr,
    best: Option<Rtt>,
    worst: Option<Rtt>,
    replies: u64,
    shared: bool,
    in_tunnel: bool,
}

/// One target's block, with the end of its last line.
pub(super) fn block(path: &PathObservation) -> String {
    let hops: Vec<(u8, Vec<Responder>)> = (1..=u8::MAX)
        .zip(&path.hops)
        .map(|(ttl, hop)| (ttl, responders(path, ttl, hop)))
        .collect();
    let addresses = hops.iter().flat_map(|(_, responders)| responders);
    let width = addresses
        .map(|responder| responder.address.to_string().len())
        .fold("255.255.255.255".len(), usize::max);
    let mut text = format!(
        "{}: {}, {}, {}\n",
        path.target,
        end_in_words(path.end),
        counted(path.hops.len() as u64, "hop"),
        counted(path.probes_sent, "probe"),
    );
    for (ttl, responders) in hops {
        if responders.is_empty() {
            let _infallible = writeln!(text, "{ttl:3}  *");
        }
        let mut label = ttl.to_string();
        for responder in responders {
            let address = responder.address.to_string();
            let rtt = responder
                .best
                .map_or_else(|| "-".to_owned(), |rtt| format!("{:.3} ms", rtt.as_ms()));
            let line = format!(
                "{label:>3}  {address:<width$}  {rtt:>12}{}",
                responder.marks()
            );
            let _infallible = writeln!(text, "{}", line.trim_end());
            label.clear();
        }
    }
    text
}

impl Responder {
    fn new(reply: &HopReply) -> Self {
        Self {
            address: reply.address,
            best: reply.rtt,
            worst: reply.rtt,
            replies: 1,
            shared: reply.shared,
            in_tunnel: reply.in_tunnel,
        }
    }

    fn marks(&self) -> String {
        let mut marks = Vec::new();
        if self.shared {
            marks.push("from another target".to_owned());
        }
        if self.in_tunnel {
            marks.push("in a tunnel".to_owned());
        }
        if let (2.., Some(worst)) = (self.replies, self.worst) {
            marks.push(format!(
                "best of {}, worst {:.3} ms",
                self.replies,
                worst.as_ms()
            ));
        }
        if marks.is_empty() {
            String::new()
        } else {
            format!("  {}", marks.join("; "))
        }
    }
}

/// All who answered at a hop; the one on the path first, the others by address.
fn responders(path: &PathObservation, ttl: u8, hop: &Hop) -> Vec<Responder> {
    let further = path.further.iter().filter(|(at, _)| *at == ttl);
    let first = match hop {
        Hop::Reply(reply) => Some(reply),
        Hop::NoReply => None,
    };
    let mut found: BTreeMap<(bool, IpAddr), Responder> = BTreeMap::new();
    for reply in first.into_iter().chain(further.map(|(_, reply)| reply)) {
        let is_beside = first.is_some_and(|first| first.address != reply.address);
        found
            .entry((is_beside, reply.address))
            .and_modify(|responder| {
                responder.replies += 1;
                responder.best = [responder.best, reply.rtt].into_iter().flatten().min();
                responder.worst = responder.worst.max(reply.rtt);
                responder.in_tunnel |= reply.in_tunnel;
            })
            .or_insert_with(|| Responder::new(reply));
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use edge_types::MonotonicTime;

    use super::*;

    fn reply(address: &str, micros: u64) -> HopReply {
        HopReply::new(address.parse().unwrap(), Rtt(Duration::from_micros(micros)))
    }

    #[test]
    fn hops_stand_in_columns_with_what_is_special_about_them() {
        let shared = HopReply {
            shared: true,
            ..reply("240.0.0.1", 1500)
        };
        let mapped = HopReply {
            rtt: None,
            in_tunnel: true,
            ..reply("240.0.1.1", 0)
        };
        let path = PathObservation {
            target: [240, 0, 1, 9].into(),
            observed_at: MonotonicTime::ZERO,
            hops: vec![
                Hop::Reply(shared),
                Hop::NoReply,
                Hop::Reply(mapped),
                Hop::Reply(reply("240.0.1.9", 123_456)),
            ],
            further: vec![
                (4, reply("240.0.1.9", 200_000)),
                (1, reply("240.0.0.77", 900)),
                (1, reply("240.0.0.3", 2000)),
            ],
            end: PathEnd::Reached,
            probes_sent: 1,
        };
        assert_eq!(
            block(&path),
            "240.0.1.9: reached, 4 hops, 1 probe\n\
             \u{20} 1  240.0.0.1            1.500 ms  from another target\n\
             \u{20}    240.0.0.3            2.000 ms\n\
             \u{20}    240.0.0.77           0.900 ms\n\
             \u{20} 2  *\n\
             \u{20} 3  240.0.1.1                   -  in a tunnel\n\
             \u{20} 4  240.0.1.9          123.456 ms  best of 2, worst 200.000 ms\n"
        );
    }
}
