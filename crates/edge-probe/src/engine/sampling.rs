//! More round trips of the interfaces that a finished path shows.
//!
//! A router's errors are made on its slow path, so one round trip says little about a link; the smallest of a few that
//! are spread in time says much more (notes on minimum filtering: Zeitoun et al., "RTTometer", 2003). Each interface is
//! sampled once for all targets, by the target whose own flow it answered.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use edge_types::{Hop, HopReply, MonotonicTime, PathEnd};

use super::Engine;
use super::target::Target;

/// Time between two samples of one interface; doubled after each that stays unanswered, up to the second.
const SPACING: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(1200));

/// Time for the samples of a path beyond what their spacing takes.
const PATIENCE: Duration = Duration::from_secs(3);

/// Interfaces remembered as sampled before old ones are forgotten.
const MAX_SAMPLED: usize = 100_000;

/// A path that is known and whose round trips are still being sampled.
#[derive(Debug)]
pub(super) struct Sampling {
    hops: Vec<Hop>,
    end: PathEnd,
    until: MonotonicTime,
    rounds: Vec<Round>,
    /// What came in, by TTL.
    pub(super) replies: Vec<(u8, HopReply)>,
}

/// What is still to be sent with one TTL.
#[derive(Debug)]
struct Round {
    ttl: u8,
    left: u8,
    next: MonotonicTime,
    spacing: Duration,
    /// Replies counted when the last sample was sent.
    answered: usize,
}

impl Engine {
    /// Keeps a target whose path is known, to sample the interfaces that only its own flow has asked. Gives the path back
    /// if there is nothing to sample.
    pub(super) fn begin_sampling(
        &mut self,
        target: &mut Target,
        hops: Vec<Hop>,
        end: PathEnd,
        now: MonotonicTime,
    ) -> Option<(Vec<Hop>, PathEnd)> {
        let more = self.config.samples - 1;
        if more == 0 || end == PathEnd::TimedOut {
            return Some((hops, end));
        }
        if self.sampled.len() > MAX_SAMPLED {
            self.sampled.clear();
        }
        let mut rounds = Vec::new();
        for (ttl, hop) in (1_u8..=target.max_ttl()).zip(&hops) {
            let Hop::Reply(reply) = hop else { continue };
            let is_due = self
                .sampled
                .get(&reply.address)
                .is_none_or(|at| now.since(*at) >= self.config.share_for);
            if !reply.shared && is_due {
                self.sampled.insert(reply.address, now);
                rounds.push(Round {
                    ttl,
                    left: more,
                    next: now.after(SPACING.0),
                    spacing: SPACING.0,
                    answered: 0,
                });
            }
        }
        if rounds.is_empty() {
            return Some((hops, end));
        }
        self.timers.remove(&(target.deadline, target.address));
        let until = now.after(SPACING.1 * u32::from(more)).after(PATIENCE);
        self.timers.insert((until, target.address));
        target.deadline = until;
        target.most_probes += usize::from(more) * rounds.len();
        target.sampling = Some(Sampling {
            hops,
            end,
            until,
            rounds,
            replies: Vec::new(),
        });
        None
    }

    /// Sends the samples that are due. Gives the path with what came in once all are there, or their time is up.
    pub(super) fn sample(
        &mut self,
        target: &mut Target,
        now: MonotonicTime,
    ) -> Option<(Vec<Hop>, Vec<(u8, HopReply)>, PathEnd)> {
        let mut sampling = target.sampling.take()?;
        let mut is_pending = false;
        for round in &mut sampling.rounds {
            let hop = *target.hop(round.ttl);
            let is_out = hop.queued || now < hop.expires;
            let heard = sampling
                .replies
                .iter()
                .filter(|(ttl, _)| *ttl == round.ttl)
                .count();
            if round.left == 0 {
                is_pending |= is_out && heard == round.answered;
                continue;
            }
            is_pending = true;
            if hop.queued || round.next > now {
                self.timers.insert((round.next, target.address));
                continue;
            }
            let was_answered = heard > round.answered || hop.expires == MonotonicTime::ZERO;
            if round.left < self.config.samples - 1 && !was_answered {
                round.spacing = (round.spacing * 2).min(SPACING.1);
            }
            round.answered = heard;
            round.left -= 1;
            round.next = now.after(round.spacing);
            self.timers.insert((round.next, target.address));
            target.hop_mut(round.ttl).confirming = true;
            self.enqueue(target, round.ttl);
        }
        if is_pending && now < sampling.until && !target.exhausted {
            target.sampling = Some(sampling);
            return None;
        }
        Some(sampling.finish())
    }
}

impl Sampling {
    /// The fastest reply of each responder stands on the path, the others beside it.
    fn finish(self) -> (Vec<Hop>, Vec<(u8, HopReply)>, PathEnd) {
        let (mut hops, mut further) = (self.hops, Vec::new());
        let mut by_ttl: BTreeMap<u8, Vec<HopReply>> = BTreeMap::new();
        for (ttl, reply) in self.replies {
            by_ttl.entry(ttl).or_default().push(reply);
        }
        for (ttl, replies) in by_ttl {
            let Some(Hop::Reply(first)) = hops.get_mut(usize::from(ttl) - 1) else {
                continue;
            };
            for mut reply in replies {
                if reply.address == first.address && reply.rtt < first.rtt {
                    std::mem::swap(&mut reply, first);
                }
                further.push((ttl, reply));
            }
        }
        (hops, further, self.end)
    }
}

/// When each interface was last sampled.
pub(super) type Sampled = BTreeMap<IpAddr, MonotonicTime>;
