//! From replies in whatever order a file has them to an observation that keeps its promises.

use std::net::IpAddr;
use std::time::Duration;

use edge_types::{Hop, HopReply, MonotonicTime, PathEnd, PathObservation, Rtt};

use crate::limits::Limits;
use crate::problem::Reason;

/// A path in the making.
#[derive(Debug)]
pub(crate) struct Assembly<'a> {
    limits: &'a Limits,
    target: IpAddr,
    replies: Vec<(u8, HopReply)>,
    /// Largest TTL that is known to have been tried.
    tried: u8,
    /// Largest TTL at which somebody said that the target cannot be reached, and the ICMP code.
    refused: Option<(u8, u8)>,
    /// Probes known to have been sent.
    pub(crate) probes: u32,
    /// Parts that cannot stand.
    pub(crate) left_out: Vec<Reason>,
}

/// Why a trace ended, as its file has it. What the replies show goes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing: the last hops show it.
    Nothing,
    /// It was stopped.
    Stopped,
}

/// One reply as a file tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) address: IpAddr,
    /// Round trip in nanoseconds, if told; believed within the limits only.
    pub(crate) rtt: Option<f64>,
    pub(crate) shared: bool,
    pub(crate) in_tunnel: bool,
    /// TTL of the reply itself.
    pub(crate) reply_ttl: Option<u8>,
    /// The code, if this is an ICMP destination unreachable.
    pub(crate) refusal: Option<u8>,
}

impl Answer {
    pub(crate) const fn new(address: IpAddr, rtt_ms: Option<f64>) -> Self {
        let rtt = match rtt_ms {
            Some(ms) => Some(ms * 1e6),
            None => None,
        };
        Self {
            address,
            rtt,
            shared: false,
            in_tunnel: false,
            reply_ttl: None,
            refusal: None,
        }
    }
}

impl<'a> Assembly<'a> {
    pub(crate) const fn new(target: IpAddr, limits: &'a Limits) -> Self {
        Self {
            limits,
            target,
            replies: Vec::new(),
            tried: 0,
            refused: None,
            probes: 0,
            left_out: Vec::new(),
        }
    }

    /// A TTL as a file tells it.
    pub(crate) fn ttl(&mut self, ttl: u64) -> Result<u8, Reason> {
        let Ok(ttl @ 1..) = u8::try_from(ttl) else {
            return Err(Reason::value("ttl", ttl));
        };
        self.tried = self.tried.max(ttl);
        Ok(ttl)
    }

    /// Somebody answered at `ttl`.
    pub(crate) fn reply(&mut self, ttl: u8, told: Answer) -> Result<(), Reason> {
        if self.replies.len() >= self.limits.replies {
            let limit = self.limits.replies;
            return Err(Reason::TooManyReplies { limit });
        }
        let rtt = told.rtt.and_then(|nanoseconds| {
            let rtt = round_trip(nanoseconds, self.limits);
            if rtt.is_none() {
                self.left_out.push(Reason::RoundTrip { ttl });
            }
            rtt
        });
        let reply = HopReply {
            address: told.address,
            rtt,
            shared: told.shared,
            in_tunnel: told.in_tunnel,
            reply_ttl: told.reply_ttl,
        };
        self.replies.push((ttl, reply));
        if let Some(code) = told.refusal {
            self.refuse(ttl, code);
        }
        Ok(())
    }

    /// Somebody said at `ttl` that the target cannot be reached.
    pub(crate) fn refuse(&mut self, ttl: u8, code: u8) {
        if self.refused.is_none_or(|(at, _)| at <= ttl) {
            self.refused = Some((ttl, code));
        }
    }

    /// The last reply, if it came from `ttl`, had a label stack.
    pub(crate) fn tunnel_at(&mut self, ttl: u8) {
        if let Some((at, reply)) = self.replies.last_mut() {
            reply.in_tunnel |= *at == ttl;
        }
    }

    pub(crate) const fn target(&self) -> IpAddr {
        self.target
    }

    /// The observation, and the parts that cannot stand.
    pub(crate) fn finish(mut self, told: Told) -> (PathObservation, Vec<Reason>) {
        // Samples in the order of the file, hop by hop.
        self.replies.sort_by_key(|(ttl, _)| *ttl);
        let is_target = |reply: &HopReply| reply.address == self.target;
        let reached = self.replies.iter().find(|(_, reply)| is_target(reply));
        let reached = reached.map(|(ttl, _)| *ttl);
        let last = reached.unwrap_or(self.tried);
        let mut hops = vec![Hop::NoReply; usize::from(last)];
        let mut further = Vec::new();
        for &(ttl, reply) in &self.replies {
            let mut ttl = ttl;
            if ttl > last {
                // The target answers probes with larger TTLs too; its distance is the smallest.
                if !is_target(&reply) {
                    further.push((ttl, reply));
                    continue;
                }
                ttl = last;
            }
            let Some(hop) = hops.get_mut(usize::from(ttl) - 1) else {
                continue;
            };
            match hop {
                Hop::NoReply => *hop = Hop::Reply(reply),
                // Paths of different lengths: where the target answered, it is the hop.
                Hop::Reply(first)
                    if reached == Some(ttl) && is_target(&reply) && !is_target(first) =>
                {
                    further.push((ttl, *first));
                    *first = reply;
                }
                Hop::Reply(first) => {
                    further.extend(keep_fastest(first, reply).map(|other| (ttl, other)));
                }
            }
        }
        let answered = self.replies.last().map_or(0, |(ttl, _)| *ttl);
        let end = match (reached, self.refused) {
            (Some(_), _) => PathEnd::Reached,
            (None, Some((ttl, code))) if ttl >= answered => PathEnd::Unreachable(code),
            _ if told == Told::Stopped => PathEnd::TimedOut,
            _ if last == 0 || answered < last => PathEnd::Silent,
            _ => PathEnd::MaxTtl,
        };
        let path = PathObservation {
            target: self.target,
            observed_at: MonotonicTime::ZERO,
            hops,
            further,
            end,
            probes_sent: self.probes,
        };
        (path, self.left_out)
    }
}

/// Puts `reply` into the hop or beside it; returns what has to stand beside it, if that tells anything.
fn keep_fastest(first: &mut HopReply, reply: HopReply) -> Option<HopReply> {
    if first.address != reply.address {
        return Some(reply);
    }
    let in_tunnel = first.in_tunnel || reply.in_tunnel;
    let mut other = reply;
    if reply
        .rtt
        .is_some_and(|rtt| first.rtt.is_none_or(|least| rtt < least))
    {
        other = std::mem::replace(first, reply);
    }
    first.in_tunnel = in_tunnel;
    other.rtt.is_some().then_some(other)
}

/// Nanoseconds as a round trip, if they can be one.
pub(crate) fn round_trip(nanoseconds: f64, limits: &Limits) -> Option<Rtt> {
    let limit = limits.round_trip.as_nanos() as f64;
    if !(0.0..=limit).contains(&nanoseconds) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within 0 and the limit, which was a whole number of nanoseconds"
    )]
    let nanoseconds = nanoseconds.round() as u64;
    Some(Rtt(Duration::from_nanos(nanoseconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "240.0.9.1";

    fn assembled(replies: &[(u8, &str, Option<f64>)], tried: u8) -> (PathObservation, Vec<Reason>) {
        let limits = Limits::default();
        let mut assembly = Assembly::new(TARGET.parse().unwrap(), &limits);
        for (ttl, address, rtt_ms) in replies {
            let ttl = assembly.ttl(u64::from(*ttl)).unwrap();
            let told = Answer::new(address.parse().unwrap(), *rtt_ms);
            assembly.reply(ttl, told).unwrap();
        }
        if tried > 0 {
            assembly.ttl(u64::from(tried)).unwrap();
        }
        assembly.finish(Told::Nothing)
    }

    fn shown(path: &PathObservation) -> String {
        let hop = |hop: &Hop| match hop {
            Hop::Reply(reply) => reply.address.to_string(),
            Hop::NoReply => "*".to_owned(),
        };
        path.hops.iter().map(hop).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn gaps_are_silent_hops_and_trailing_silence_stays() {
        let (path, left_out) = assembled(&[(2, "240.0.0.2", Some(1.0)), (4, "240.0.0.4", None)], 6);
        assert_eq!(shown(&path), "* 240.0.0.2 * 240.0.0.4 * *");
        assert_eq!((path.end, left_out), (PathEnd::Silent, vec![]));
    }

    #[test]
    fn the_hop_has_the_fastest_sample_and_the_others_stand_beside_it() {
        let (path, _) = assembled(
            &[
                (1, "240.0.0.1", Some(3.0)),
                (1, "240.0.0.7", Some(1.0)),
                (1, "240.0.0.1", Some(2.0)),
            ],
            0,
        );
        let first = path.replies().next().unwrap().1;
        assert_eq!(first.address.to_string(), "240.0.0.1");
        assert_eq!(first.rtt, Some(Rtt(Duration::from_millis(2))));
        let others: Vec<f64> = path
            .further
            .iter()
            .map(|(_, reply)| reply.rtt.unwrap().as_ms())
            .collect();
        assert_eq!(others, [1.0, 3.0]);
        assert_eq!(path.end, PathEnd::MaxTtl);
    }

    #[test]
    fn the_target_is_the_last_hop_at_its_least_distance() {
        let (path, left_out) = assembled(
            &[
                (1, "240.0.0.1", None),
                (2, "240.0.0.2", Some(5.0)),
                (2, TARGET, Some(9.0)),
                (3, TARGET, Some(8.0)),
                (3, "240.0.0.3", Some(8.0)),
            ],
            8,
        );
        assert_eq!(shown(&path), "240.0.0.1 240.0.9.1");
        assert_eq!(path.end, PathEnd::Reached);
        let beside: Vec<String> = path
            .further
            .iter()
            .map(|(ttl, reply)| format!("{ttl} {}", reply.address))
            .collect();
        assert_eq!(beside, ["2 240.0.0.2", "2 240.0.9.1", "3 240.0.0.3"]);
        assert_eq!(left_out, []);
    }

    #[test]
    fn a_refusal_counts_only_at_the_end_of_what_answered() {
        let limits = Limits::default();
        for (last, end) in [(1, PathEnd::Unreachable(13)), (2, PathEnd::MaxTtl)] {
            let mut assembly = Assembly::new(TARGET.parse().unwrap(), &limits);
            let refusing = Answer {
                refusal: Some(13),
                ..Answer::new("240.0.0.1".parse().unwrap(), None)
            };
            let ttl = assembly.ttl(1).unwrap();
            assembly.reply(ttl, refusing).unwrap();
            let ttl = assembly.ttl(last).unwrap();
            assembly
                .reply(ttl, Answer::new("240.0.0.2".parse().unwrap(), None))
                .unwrap();
            assert_eq!(assembly.finish(Told::Nothing).0.end, end);
        }
    }

    #[test]
    fn round_trips_that_cannot_be_are_left_out_and_told() {
        for bad in [-1.0, f64::NAN, f64::INFINITY, 4_294_967.097] {
            let (path, left_out) = assembled(&[(1, "240.0.0.1", Some(bad))], 0);
            assert_eq!(path.replies().next().unwrap().1.rtt, None);
            assert_eq!(left_out, [Reason::RoundTrip { ttl: 1 }]);
        }
    }

    #[test]
    fn distances_are_1_to_255() {
        let limits = Limits::default();
        let mut assembly = Assembly::new(TARGET.parse().unwrap(), &limits);
        assert!(assembly.ttl(0).is_err());
        assert!(assembly.ttl(256).is_err());
        assert_eq!(assembly.ttl(255), Ok(255));
    }
}
