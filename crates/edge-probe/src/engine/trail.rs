//! What happened during one trace, for those who ask how its path was found.

use std::net::IpAddr;
use std::time::Duration;

use edge_types::{MonotonicTime, Rtt};

use super::target::Target;

/// Most events of one trace; all of a trace with the default limits fit.
const MOST_EVENTS: usize = 1024;
/// Flows named as those that an answer was taken over from.
const MOST_FLOWS: usize = 4;

/// The events of one trace in order; kept if [`crate::ProberConfig::explain`] is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail {
    /// What happened, and how long after the trace began.
    pub events: Vec<(Duration, TrailEvent)>,
    /// Events that there was no room for.
    pub left_out: usize,
    /// How the distance of the path's end was found.
    pub distance: DistanceFrom,
    began: MonotonicTime,
}

/// Something that happened during a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrailEvent {
    /// A probe was sent.
    Sent {
        /// Its TTL.
        ttl: u8,
        /// Which probe with this TTL it was, from 1.
        attempt: u8,
        /// What for.
        why: ProbeReason,
    },
    /// A probe was answered.
    Answered {
        /// Its TTL.
        ttl: u8,
        /// By whom.
        address: IpAddr,
        /// How fast.
        rtt: Rtt,
    },
    /// What other targets' flows saw was taken over.
    TakenOver {
        /// The hop.
        ttl: u8,
        /// Who is there.
        address: IpAddr,
        /// Some of the targets whose flows saw it.
        from: Vec<IpAddr>,
        /// How many did, of those that are remembered.
        flows: usize,
    },
}

/// What a probe was sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeReason {
    /// To find the distance of the path's end, or of a router near it.
    Distance,
    /// Nobody had asked there yet.
    New,
    /// To confirm what another flow saw there, with this one.
    Confirm,
    /// The one before was not answered.
    Unanswered,
    /// The one before was not answered, after so many probes to this distance that a rate limiter may be the cause.
    PerhapsLimited,
    /// Another round trip of somebody known.
    Sample,
}

/// How the distance of a path's end was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DistanceFrom {
    /// By going outwards, from where other paths have their last router.
    #[default]
    Search,
    /// The end quoted our probe with the TTL that was left.
    Quote,
    /// Estimated by the TTL of the end's answer itself, and searched from there.
    AnswersTtl,
    /// All hops were asked at once.
    AllAtOnce,
}

impl Trail {
    /// Nothing has happened yet.
    pub const fn new(began: MonotonicTime) -> Self {
        Self {
            events: Vec::new(),
            left_out: 0,
            distance: DistanceFrom::Search,
            began,
        }
    }

    fn note(&mut self, now: MonotonicTime, event: TrailEvent) {
        if self.events.len() < MOST_EVENTS {
            self.events.push((now.since(self.began), event));
        } else {
            self.left_out += 1;
        }
    }
}

impl Target {
    /// Notes what happened, if that is wanted.
    pub(super) fn note(&mut self, now: MonotonicTime, event: impl FnOnce() -> TrailEvent) {
        if let Some(trail) = &mut self.trail {
            trail.note(now, event());
        }
    }

    /// What the next probe with this TTL is for.
    pub(super) fn probe_reason(&self, ttl: u8, is_crowded: bool) -> ProbeReason {
        let hop = self.hop(ttl);
        match hop.attempts {
            _ if self.sampling.is_some() => ProbeReason::Sample,
            _ if !self.located => ProbeReason::Distance,
            0 if hop.confirming => ProbeReason::Confirm,
            0 => ProbeReason::New,
            _ if is_crowded => ProbeReason::PerhapsLimited,
            _ => ProbeReason::Unanswered,
        }
    }

    /// The trail, now that the path is complete.
    pub(super) fn finished_trail(&mut self) -> Option<Trail> {
        let mut trail = *self.trail.take()?;
        trail.distance = if self.is_solo {
            DistanceFrom::AllAtOnce
        } else if self.hint.is_some() {
            DistanceFrom::Quote
        } else if self.is_guess_measured {
            DistanceFrom::AnswersTtl
        } else {
            DistanceFrom::Search
        };
        Some(trail)
    }
}

/// An answer taken over from `flows`.
pub(super) fn taken_over(ttl: u8, address: IpAddr, flows: &[IpAddr]) -> TrailEvent {
    TrailEvent::TakenOver {
        ttl,
        address,
        from: flows.iter().take(MOST_FLOWS).copied().collect(),
        flows: flows.len(),
    }
}
