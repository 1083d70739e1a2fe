//! Replies that carry no tag, because a router quoted too little for the socket in use.
//!
//! All that they prove is a destination and a port, so one counts only if a single probe to that destination is out, or a
//! single one with the TTL at which every other flow has met the router that replies. Where neither is so, the target is
//! probed on one probe at a time, each sent when no reply to an earlier one is to be expected any more.

use std::net::IpAddr;
use std::time::Duration;

use edge_types::MonotonicTime;

use super::Engine;
use super::target::{Speaker, Target};
use crate::probe::Reply;

/// How long a reply to a probe is to be expected: four times the slowest so far, within these bounds. Twice as long as
/// the prober waits for it, since here a late reply would be taken for one to a later probe.
const EXPECTED: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(1500));

/// How a target copes with replies that carry no tag.
#[derive(Debug, Default)]
pub(super) struct Caution {
    /// One probe at a time.
    is_alone: bool,
    /// No probe before then, since a copy of an untagged reply may yet come.
    quiet_until: MonotonicTime,
    /// TTLs whose probes have to wait.
    held: Vec<u8>,
}

impl Target {
    /// How long a reply is to be expected.
    fn expected(&self) -> Duration {
        self.slowest
            .map_or(EXPECTED.1, |slowest| slowest.saturating_mul(4))
            .clamp(EXPECTED.0, EXPECTED.1)
    }

    /// The probes, by index, that may still be answered, and until when.
    fn outstanding(&self, now: MonotonicTime) -> impl Iterator<Item = (usize, MonotonicTime)> {
        let expected = self.expected();
        self.sent
            .iter()
            .enumerate()
            .filter(|(_, sent)| !sent.answered)
            .map(move |(index, sent)| (index, sent.at.after(expected)))
            .filter(move |(_, until)| *until > now)
    }

    /// The probe that an untagged reply from `responder`, which others met at the distance `elsewhere`, answers, if there is
    /// no doubt. A router that has answered before has not, since that may be a copy of its earlier reply.
    pub(super) fn untagged(
        &mut self,
        responder: IpAddr,
        speaker: Speaker,
        elsewhere: Option<u8>,
        received: MonotonicTime,
    ) -> Option<usize> {
        let is_copy = speaker == Speaker::Router
            && self
                .hops()
                .filter_map(|(_, hop)| hop.answer)
                .any(|answer| (answer.address, answer.speaker) == (responder, speaker));
        // A router's is not to the probe that asked for the distance once that was given up: it would be late, and from a
        // loop.
        let asked = *self.hop(self.max_ttl());
        let is_given_up = self.walks && asked.attempts == 1 && asked.expires <= received;
        let leaves_out = is_given_up && speaker == Speaker::Router;
        let outstanding: Vec<usize> = self
            .outstanding(received)
            .map(|(index, _)| index)
            .filter(|index| !(leaves_out && self.sent[*index].ttl == self.max_ttl()))
            .collect();
        let fits = |index: &&usize| Some(self.sent[**index].ttl) == elsewhere;
        let mut fitting = outstanding.iter().filter(fits);
        let found = match (outstanding.as_slice(), fitting.next(), fitting.next()) {
            _ if is_copy => None,
            ([only], ..) => Some(*only),
            (_, only, None) => only.copied(),
            _ => None,
        };
        if let (None, Some(first)) = (found, outstanding.first()) {
            // Whichever it answers, it took no longer than the first of them has been out.
            self.slowest = self.slowest.max(Some(received.since(self.sent[*first].at)));
        }
        if speaker != Speaker::Router {
            // The end of a path answers more than once, so its copies are waited for instead.
            self.caution.quiet_until = received.after(self.expected());
        }
        found
    }

    /// Until when the next probe has to wait; `None` if it may go.
    fn must_wait(&self, now: MonotonicTime) -> Option<MonotonicTime> {
        let quiet = Some(self.caution.quiet_until).filter(|until| *until > now);
        let outstanding = self
            .outstanding(now)
            .map(|(_, until)| until)
            .max()
            .filter(|_| self.caution.is_alone);
        quiet.max(outstanding)
    }

    /// One probe at a time?
    pub(super) const fn is_alone(&self) -> bool {
        self.caution.is_alone
    }
}

impl Engine {
    /// Takes note that an untagged reply could not be told from others.
    pub(super) fn on_doubtful(&mut self, reply: &Reply, received: MonotonicTime) {
        let Some(target) = self.targets.get_mut(&reply.target) else {
            return;
        };
        if std::mem::replace(&mut target.caution.is_alone, true) {
            return;
        }
        // What was asked in company told nothing, and is asked again as if for the first time.
        for ttl in 1..=target.max_ttl() {
            let hop = target.hop_mut(ttl);
            if hop.in_flight(received) && !hop.queued {
                hop.attempts -= 1;
                hop.expires = received;
            }
        }
        self.ready.insert(reply.target);
    }

    /// Keeps a queued probe back if it has to wait; true if so.
    pub(super) fn hold(&mut self, address: IpAddr, ttl: u8, now: MonotonicTime) -> bool {
        let Some(target) = self.targets.get_mut(&address) else {
            return false;
        };
        let Some(until) = target.must_wait(now) else {
            return false;
        };
        target.caution.held.push(ttl);
        self.timers.insert((until, address));
        true
    }

    /// Queues again what was kept back, as far as it need not wait any longer and is still wanted.
    pub(super) fn release(&mut self, target: &mut Target, now: MonotonicTime) {
        while !target.caution.held.is_empty() {
            if let Some(until) = target.must_wait(now) {
                self.timers.insert((until, target.address));
                return;
            }
            let ttl = target.caution.held.remove(0);
            target.hop_mut(ttl).queued = false;
            let is_beyond = target.end().is_some_and(|(end, _)| ttl > end);
            if target.hop(ttl).answer.is_none() && !is_beyond {
                self.enqueue(target, ttl);
                if target.caution.is_alone {
                    return;
                }
            }
        }
    }
}
