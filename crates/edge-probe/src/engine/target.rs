//! One trace in progress.

use std::net::IpAddr;
use std::time::Duration;

use edge_ports::TracePriority;
use edge_types::{HopReply, MonotonicTime, PathEnd, Rtt};

use super::knowledge::Question;
use super::sampling::Sampling;
use super::trail::Trail;
use super::untagged::Caution;
use crate::probe::distance_back;
use crate::tag::Tag;

/// Shortest and longest wait for a reply once a round trip is known.
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(1500));

/// One in so many quoted hop limits is checked although nothing speaks against it.
const CHECKED_QUOTES: Check = Check {
    first: 0,
    then_one_in: 64,
};
/// The same of hop limits that answers arrived with.
const CHECKED_WAYS: Check = Check {
    first: 8,
    then_one_in: 16,
};

/// How often what ends tell of their distance is checked although nothing speaks against it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    pub(super) first: u32,
    pub(super) then_one_in: u64,
}

/// Who an answer is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    /// A router on the way.
    Router,
    /// The target itself.
    Target,
    /// Somebody who says that the way ends; the ICMP code.
    Refusal(u8),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) address: IpAddr,
    pub(super) rtt: Rtt,
    pub(super) speaker: Speaker,
    /// Hop limit with which it arrived.
    pub(super) arrived_with: Option<u8>,
    pub(super) in_tunnel: bool,
}

impl Answer {
    pub(super) const fn reply(&self) -> HopReply {
        let mut reply = HopReply::new(self.address, self.rtt);
        reply.reply_ttl = self.arrived_with;
        reply.in_tunnel = self.in_tunnel;
        reply
    }

    pub(super) const fn end(&self) -> Option<PathEnd> {
        match self.speaker {
            Speaker::Router => None,
            Speaker::Target => Some(PathEnd::Reached),
            Speaker::Refusal(code) => Some(PathEnd::Unreachable(code)),
        }
    }
}

/// What a target's own flow has asked and heard at one TTL.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HopState {
    pub(super) answer: Option<Answer>,
    pub(super) attempts: u8,
    pub(super) last_sent: MonotonicTime,
    /// Until then a reply is on time.
    pub(super) expires: MonotonicTime,
    /// Waits for the pacer.
    pub(super) queued: bool,
    /// The shared question that the last probe asks.
    pub(super) question: Option<Question>,
    /// The last probe only confirms what is known.
    pub(super) confirming: bool,
    /// Others' answer was taken over, and counted.
    pub(super) took: bool,
    /// When a router that seems to lack replies should have one for this flow, and how often that was so.
    pub(super) turn: MonotonicTime,
    pub(super) turns: u8,
}

impl HopState {
    pub(super) fn in_flight(&self, now: MonotonicTime) -> bool {
        self.answer.is_none() && (self.queued || (self.attempts > 0 && now < self.expires))
    }
}

/// A probe that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) ttl: u8,
    pub(super) tag: Tag,
    pub(super) at: MonotonicTime,
    pub(super) answered: bool,
}

#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: IpAddr,
    pub(super) priority: TracePriority,
    /// How long it took to ask for its distance, once it has answered or kept silent.
    pub(super) located_in: Option<Duration>,
    /// When its time is up; none is set before its walk.
    pub(super) deadline: MonotonicTime,
    /// Number of this trace in the process.
    pub(super) trace: u64,
    pub(super) source_port: u16,
    hops: Vec<HopState>,
    pub(super) sent: Vec<Sent>,
    /// Its turn has come to find the path, after it was asked for its distance.
    pub(super) walks: bool,
    /// The distance was asked for, with or without success.
    pub(super) located: bool,
    /// Traced alone, with nothing known: all hops are asked at once.
    pub(super) is_solo: bool,
    /// Distance of the end as computed from the TTL that the end's quote had left.
    pub(super) hint: Option<u8>,
    /// Distance to start from if nothing better is known.
    pub(super) guess: u8,
    /// Distance of its nearest neighbour among the targets, if it keeps silent itself.
    pub(super) nearby: Option<u8>,
    /// The guess was made from a reply of the end itself.
    pub(super) is_guess_measured: bool,
    pub(super) slowest: Option<Duration>,
    /// Probes allowed.
    pub(super) most_probes: usize,
    /// All probes allowed were sent.
    pub(super) exhausted: bool,
    /// The path is known, and its round trips are being sampled.
    pub(super) sampling: Option<Sampling>,
    pub(super) caution: Caution,
    /// What happened, if that is to be told.
    pub(super) trail: Option<Box<Trail>>,
}

impl Target {
    pub(super) fn new(
        address: IpAddr,
        priority: TracePriority,
        trace: u64,
        source_port: u16,
        max_ttl: u8,
    ) -> Self {
        Self {
            address,
            priority,
            located_in: None,
            deadline: MonotonicTime(Duration::MAX),
            trace,
            source_port,
            hops: vec![HopState::default(); usize::from(max_ttl)],
            sent: Vec::new(),
            walks: false,
            located: false,
            is_solo: false,
            hint: None,
            guess: 1,
            nearby: None,
            is_guess_measured: false,
            slowest: None,
            most_probes: 0,
            exhausted: false,
            sampling: None,
            caution: Caution::default(),
            trail: None,
        }
    }

    /// Gives up what only a trace under way needs: probes that were answered, samples and the account.
    pub(super) fn forget_all_but_open_probes(&mut self) {
        self.sent.retain(|sent| !sent.answered);
        self.sent.shrink_to_fit();
        self.sampling = None;
        self.trail = None;
    }

    /// Memory that one without samples and account takes.
    pub(super) const fn octets(&self) -> usize {
        size_of::<Self>()
            + self.hops.capacity() * size_of::<HopState>()
            + self.sent.capacity() * size_of::<Sent>()
    }

    /// The state at TTL `ttl`, which is between 1 and the largest TTL.
    pub(super) fn hop(&self, ttl: u8) -> &HopState {
        &self.hops[usize::from(ttl) - 1]
    }

    pub(super) fn hop_mut(&mut self, ttl: u8) -> &mut HopState {
        &mut self.hops[usize::from(ttl) - 1]
    }

    pub(super) fn hops(&self) -> impl Iterator<Item = (u8, &HopState)> {
        (1..=self.max_ttl()).zip(&self.hops)
    }

    pub(super) fn max_ttl(&self) -> u8 {
        u8::try_from(self.hops.len()).unwrap_or(u8::MAX)
    }

    /// Is a probe that waits for the pacer still worth sending?
    pub(super) fn is_wanted(&self, ttl: u8) -> bool {
        let hop = self.hop(ttl);
        hop.queued && (hop.answer.is_none() || self.sampling.is_some())
    }

    /// The router that answered this flow at `ttl`.
    pub(super) fn router(&self, ttl: u8) -> Option<IpAddr> {
        let answer = self.hop(ttl).answer?;
        (answer.speaker == Speaker::Router).then_some(answer.address)
    }

    /// The smallest TTL at which the end of the path answered, with its answer.
    pub(super) fn end(&self) -> Option<(u8, Answer)> {
        self.hops()
            .filter_map(|(ttl, hop)| Some((ttl, hop.answer?)))
            .find(|(_, answer)| answer.speaker != Speaker::Router)
    }

    /// How far the end is by its own account, and how often such accounts are to be checked. Where it quotes no hop
    /// limit, the hop limit of its answer tells, if that of the router before does, too, and rightly.
    pub(super) fn told(&self) -> Option<(u8, Check)> {
        if let Some(hint) = self.hint {
            return Some((hint, CHECKED_QUOTES));
        }
        let (_, end) = self.end()?;
        let distance = distance_back(end.arrived_with)?;
        let before = distance.checked_sub(1).filter(|ttl| *ttl > 0)?;
        self.router(before)?;
        let is_right = distance_back(self.hop(before).answer?.arrived_with) == Some(before);
        (is_right && distance <= self.max_ttl()).then_some((distance, CHECKED_WAYS))
    }

    /// Where the end's last router was asked for first and keeps silent, starts from the end instead.
    pub(super) fn pass_silent_router(&mut self, now: MonotonicTime) {
        let hop = *self.hop(self.guess);
        let is_silent = hop.attempts > 0 && hop.answer.is_none() && !hop.in_flight(now);
        if self.is_guess_measured && is_silent && self.guess < self.max_ttl() {
            self.guess += 1;
            self.is_guess_measured = false;
        }
    }

    /// Where the walk towards the end and the walk back start.
    pub(super) fn base(&self) -> u8 {
        self.hint.unwrap_or(self.guess)
    }

    /// Waits so long for what is out, now that more is known of the path's round trips. Returns the new ends.
    pub(super) fn wait_for(
        &mut self,
        patience: Duration,
        now: MonotonicTime,
    ) -> Vec<MonotonicTime> {
        let out = self
            .hops
            .iter_mut()
            .filter(|hop| hop.attempts > 0 && hop.in_flight(now) && !hop.queued);
        out.filter_map(|hop| {
            let end = hop.last_sent.after(patience);
            (std::mem::replace(&mut hop.expires, end) != end).then_some(end)
        })
        .collect()
    }

    /// How long to wait for a reply: less if all hops were asked at once, since what is late then is asked again beside
    /// the answers of its neighbours, and a reply to either probe counts.
    pub(super) fn timeout(&self, elsewhere: Option<Duration>, initial: Duration) -> Duration {
        match self.slowest.or(elsewhere) {
            Some(slowest) if self.is_solo => (slowest * 3 / 2).clamp(TIMEOUT.0, TIMEOUT.1),
            Some(slowest) => (slowest * 2).clamp(TIMEOUT.0, TIMEOUT.1),
            None => initial,
        }
    }
}
