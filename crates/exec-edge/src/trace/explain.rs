//! In words: how a path was found.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use edge_probe::{DistanceFrom, ProbeReason, Trail, TrailEvent};
use edge_types::{Hop, PathEnd, PathObservation};

use super::table::counted;

/// A few indented lines about one path.
pub(super) fn words(path: &PathObservation, trail: &Trail) -> String {
    let probes = Probes::of(trail);
    let mut text = String::new();
    let mut tell = |what: &str, words: &str| {
        if !words.is_empty() {
            let _infallible = writeln!(text, "     {what}: {words}");
        }
    };
    tell("distance", &distance(path, trail));
    let own = path.replies().filter(|(_, reply)| !reply.shared);
    tell("answers to this flow", &list(own.map(|(ttl, _)| ttl)));
    tell("taken over", &taken_over(path, trail).join("; "));
    tell("asked again", &probes.again().join("; "));
    let silent = (1_u8..=u8::MAX).zip(&path.hops);
    let silent = silent.filter(|(_, hop)| **hop == Hop::NoReply);
    tell("silent", &list(silent.map(|(ttl, _)| ttl)));
    tell("end", &end(path));
    tell("probes", &probes.by_ttl());
    if trail.left_out > 0 {
        tell("not told", &counted(trail.left_out as u64, "event"));
    }
    text
}

/// Probes by TTL, and by what they were for.
struct Probes(BTreeMap<u8, BTreeMap<ProbeReason, u64>>);

impl Probes {
    fn of(trail: &Trail) -> Self {
        let mut probes: BTreeMap<u8, BTreeMap<ProbeReason, u64>> = BTreeMap::new();
        for (_, event) in &trail.events {
            if let TrailEvent::Sent { ttl, why, .. } = event {
                *probes.entry(*ttl).or_default().entry(*why).or_default() += 1;
            }
        }
        Self(probes)
    }

    /// Counts, each with the TTLs of so many probes.
    fn by_ttl(&self) -> String {
        let mut ttls: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (ttl, by_reason) in &self.0 {
            ttls.entry(by_reason.values().sum()).or_default().push(*ttl);
        }
        let counts = ttls.into_iter().rev();
        let counts = counts.map(|(count, ttls)| format!("{count} with {}", list(ttls.into_iter())));
        counts.collect::<Vec<_>>().join("; ")
    }

    fn again(&self) -> Vec<String> {
        let mut told = Vec::new();
        for (ttl, by_reason) in &self.0 {
            for (reason, count) in by_reason {
                let why = match reason {
                    ProbeReason::Distance | ProbeReason::New => continue,
                    ProbeReason::Confirm => "to confirm what another flow saw",
                    ProbeReason::Unanswered => "since there was no answer",
                    ProbeReason::PerhapsLimited => {
                        "since a rate limiter may have kept the answer back"
                    }
                    ProbeReason::Sample => "for more round trips",
                };
                let times = match count {
                    1 => "once".to_owned(),
                    2 => "twice".to_owned(),
                    count => format!("{count} times"),
                };
                told.push(format!("TTL {ttl} {times}, {why}"));
            }
        }
        told
    }
}

fn distance(path: &PathObservation, trail: &Trail) -> String {
    let hops = counted(path.hops.len() as u64, "hop");
    match trail.distance {
        DistanceFrom::Quote => {
            format!("{hops}, by the TTL that was left when a probe with a large one arrived")
        }
        DistanceFrom::AnswersTtl => {
            format!("{hops}, searched from where the TTL of the target's answer put it")
        }
        DistanceFrom::AllAtOnce => format!("{hops}, all asked at once since nothing was known"),
        DistanceFrom::Search => {
            format!("{hops}, searched outwards, since the target did not answer the first probe")
        }
    }
}

/// Each hop that was taken over, and from whom. What no event tells of became known when the time was up.
fn taken_over(path: &PathObservation, trail: &Trail) -> Vec<String> {
    let mut sources: BTreeMap<u8, (IpAddr, &[IpAddr], usize)> = BTreeMap::new();
    for (_, event) in &trail.events {
        if let TrailEvent::TakenOver {
            ttl,
            address,
            from,
            flows,
        } = event
        {
            sources.insert(*ttl, (*address, from, *flows));
        }
    }
    let shared = path.replies().filter(|(_, reply)| reply.shared);
    shared
        .map(|(ttl, reply)| match sources.get(&ttl) {
            Some((address, from, flows)) if *address == reply.address && *flows > 0 => {
                let more = match flows - from.len() {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let named: Vec<String> = from.iter().map(ToString::to_string).collect();
                format!("TTL {ttl} from {}{more}", named.join(", "))
            }
            Some((address, ..)) if *address == reply.address => {
                format!("TTL {ttl} as one of several routers in parallel")
            }
            _ => format!("TTL {ttl} from others when the time was up"),
        })
        .collect()
}

fn end(path: &PathObservation) -> String {
    let last = counted(path.hops.len() as u64, "hop");
    match path.end {
        PathEnd::Reached => "the target itself answered".to_owned(),
        PathEnd::Unreachable(code) => {
            format!("the last hop says that the target cannot be reached (ICMP code {code})")
        }
        PathEnd::Silent => "too many silent hops in a row".to_owned(),
        PathEnd::MaxTtl => format!("a router answered the largest TTL, after {last}"),
        PathEnd::TimedOut => "the time for one target, or its probes, were used up".to_owned(),
    }
}

/// TTLs in order, those in a row as a range.
fn list(ttls: impl Iterator<Item = u8>) -> String {
    let mut ranges: Vec<(u8, u8)> = Vec::new();
    for ttl in ttls {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(ttl) => *last = ttl,
            _ => ranges.push((ttl, ttl)),
        }
    }
    let ranges: Vec<String> = ranges
        .into_iter()
        .map(|(first, last)| match last - first {
            0 => first.to_string(),
            _ => format!("{first}-{last}"),
        })
        .collect();
    if ranges.is_empty() {
        return String::new();
    }
    format!("TTL {}", ranges.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use edge_types::{HopReply, MonotonicTime, Rtt};

    use super::*;

    #[test]
    fn every_hop_is_told_of_with_where_it_is_known_from() {
        let reply = |last: u8, shared| {
            Hop::Reply(HopReply {
                shared,
                ..HopReply::new([240, 0, 0, last].into(), Rtt(Duration::from_millis(3)))
            })
        };
        let path = PathObservation {
            target: [240, 0, 0, 9].into(),
            observed_at: MonotonicTime::ZERO,
            hops: vec![
                reply(1, true),
                reply(2, true),
                Hop::NoReply,
                reply(9, false),
            ],
            further: Vec::new(),
            end: PathEnd::Reached,
            probes_sent: 4,
        };
        let mut trail = Trail::new(MonotonicTime::ZERO);
        trail.distance = DistanceFrom::Quote;
        let sent = |ttl, attempt, why| TrailEvent::Sent { ttl, attempt, why };
        let events = [
            sent(32, 1, ProbeReason::Distance),
            sent(3, 1, ProbeReason::New),
            sent(3, 2, ProbeReason::Unanswered),
            sent(3, 3, ProbeReason::PerhapsLimited),
            TrailEvent::TakenOver {
                ttl: 2,
                address: [240, 0, 0, 2].into(),
                from: vec![[240, 0, 0, 8].into()],
                flows: 3,
            },
        ];
        trail.events = events.map(|event| (Duration::ZERO, event)).to_vec();
        assert_eq!(
            words(&path, &trail),
            "     distance: 4 hops, by the TTL that was left when a probe with a large one arrived\n     \
             answers to this flow: TTL 4\n     \
             taken over: TTL 1 from others when the time was up; TTL 2 from 240.0.0.8 and 2 more\n     \
             asked again: TTL 3 once, since there was no answer; \
             TTL 3 once, since a rate limiter may have kept the answer back\n     \
             silent: TTL 3\n     \
             end: the target itself answered\n     \
             probes: 3 with TTL 3; 1 with TTL 32\n"
        );
    }
}
