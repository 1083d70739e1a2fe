//! The decisions of the prober, without IO: what to ask next, whom to believe, when a path is complete.
//!
//! Time is a parameter, so that tests run it against a simulated network in virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use edge_packet::{ErrorKind, IpVersion};
use edge_ports::TracePriority;
use edge_types::{Hop, MonotonicTime, PathEnd, PathObservation, Rtt};

mod knowledge;
mod late;
mod nearby;
mod sampling;
mod starting;
mod target;
mod trail;
mod untagged;
mod walk;

#[cfg(test)]
mod tests;

use crate::admission::Admission;
use crate::config::{MAX_ATTEMPTS, ProberConfig, Sharing};
use crate::pacer::Pacer;
use crate::probe::{Probe, Reply, ReplyKind, distance_back};
use crate::tag::{Proof, TagKey};
use knowledge::Knowledge;
use late::Late;
use sampling::Sampled;
use starting::{Located, Waiting};
use target::{Answer, Sent, Speaker, Target};
pub use trail::{DistanceFrom, ProbeReason, Trail, TrailEvent};

/// Distance assumed while no target has told its own.
const TYPICAL_DISTANCE: u8 = 8;
/// How far before a router others are asked what lies there: up to four silent hops are bridged.
const FARTHEST_QUESTION: u8 = 5;
/// Probes with one TTL in a short time from which on a rate limiter may be the cause of silence there.
const CROWD: f64 = 6.0;

/// What the engine wants done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Send this now.
    Send(Probe),
    /// A trace is complete.
    Done(PathObservation),
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeCounters {
    /// Probes sent.
    pub sent: u64,
    /// Replies that proved to be about a probe of ours.
    pub replies: u64,
    /// Replies that proved nothing: about others' packets, forged, mangled, repeated, or too late.
    pub rejected: u64,
}

#[derive(Debug)]
pub(crate) struct Engine {
    config: ProberConfig,
    key: TagKey,
    admission: Admission,
    pacer: Pacer,
    knowledge: Knowledge,
    waiting: Waiting,
    located: Located,
    /// Of the targets, those whose walk has begun.
    walking: usize,
    targets: BTreeMap<IpAddr, Target>,
    queue: BTreeMap<(TracePriority, u64), (IpAddr, u8)>,
    queued: u64,
    timers: BTreeSet<(MonotonicTime, IpAddr)>,
    ready: BTreeSet<IpAddr>,
    finished: VecDeque<PathObservation>,
    /// Of finished traces, until somebody takes them.
    trails: BTreeMap<IpAddr, Trail>,
    traces: u64,
    /// Traces that were asked for and permitted.
    newcomers: u64,
    /// Traces that came to an end.
    completed: usize,
    /// How many targets were reached, by distance.
    distances: [u32; 64],
    /// Distances told by targets that were checked, and how many of them were wrong.
    hints: (u32, u32),
    /// The last target that answered told what TTL the probe had left.
    quotes_ttl: bool,
    /// The slowest answer of any target.
    slowest: Option<Duration>,
    sampled: Sampled,
    late: Late,
    /// Probes sent lately by TTL: a level that falls by one per second.
    crowds: [(f64, MonotonicTime); 64],
    counters: ProbeCounters,
}

impl Engine {
    pub(crate) fn new(config: ProberConfig, key: [u8; 16]) -> Self {
        let config = config.clamped();
        Self {
            admission: Admission::new(&config),
            pacer: Pacer::new(config.packets_per_second),
            knowledge: Knowledge::new(config.share_for),
            key: TagKey::new(key),
            waiting: Waiting::default(),
            located: Located::default(),
            walking: 0,
            targets: BTreeMap::new(),
            queue: BTreeMap::new(),
            queued: 0,
            timers: BTreeSet::new(),
            ready: BTreeSet::new(),
            finished: VecDeque::new(),
            trails: BTreeMap::new(),
            traces: 0,
            newcomers: 0,
            completed: 0,
            distances: [0; 64],
            hints: (0, 0),
            quotes_ttl: true,
            slowest: None,
            sampled: Sampled::new(),
            late: Late::default(),
            crowds: [(0.0, MonotonicTime::ZERO); 64],
            counters: ProbeCounters::default(),
            config,
        }
    }

    pub(crate) const fn config(&self) -> &ProberConfig {
        &self.config
    }

    pub(crate) const fn counters(&self) -> ProbeCounters {
        self.counters
    }

    /// How the path of a finished trace was found, once, if it is to be told.
    pub(crate) fn take_trail(&mut self, target: IpAddr) -> Option<Trail> {
        self.trails.remove(&target)
    }

    /// Takes in a reply that arrived at `received`.
    pub(crate) fn on_reply(&mut self, reply: &Reply, received: MonotonicTime, now: MonotonicTime) {
        if self.accept(reply, received, now).is_some() {
            self.counters.replies += 1;
        } else {
            self.counters.rejected += 1;
        }
    }

    /// `None` if the reply proves nothing.
    fn accept(&mut self, reply: &Reply, received: MonotonicTime, now: MonotonicTime) -> Option<()> {
        let Some(target) = self.targets.get_mut(&reply.target) else {
            return self.accept_late(reply, received, now);
        };
        if (reply.source_port, reply.destination_port)
            != (target.source_port, self.config.destination_port)
        {
            return None;
        }
        let speaker = match reply.kind {
            ReplyKind::Answer => Speaker::Target,
            ReplyKind::Error(ErrorKind::TimeExceeded) => Speaker::Router,
            ReplyKind::Error(kind)
                if kind == ErrorKind::port_unreachable(IpVersion::of(reply.target))
                    && reply.responder == reply.target =>
            {
                Speaker::Target
            }
            ReplyKind::Error(ErrorKind::Unreachable(code)) => Speaker::Refusal(code),
        };
        let index = if reply.proof == Proof::Socket {
            let is_router = speaker == Speaker::Router && self.config.sharing != Sharing::Off;
            let elsewhere = is_router.then(|| self.knowledge.place_of(reply.responder));
            let found = target.untagged(reply.responder, speaker, elsewhere.flatten(), received);
            if found.is_none() {
                self.on_doubtful(reply, received);
            }
            found?
        } else {
            let mut sent = target.sent.iter();
            sent.position(|sent| sent.tag.matches(reply.proof))?
        };
        let target = self.targets.get_mut(&reply.target)?;
        let sent = &mut target.sent[index];
        if std::mem::replace(&mut sent.answered, true) {
            return None;
        }
        let (ttl, round_trip) = (sent.ttl, received.since(sent.at));
        let answer = Answer {
            address: reply.responder,
            rtt: Rtt(round_trip),
            speaker,
            arrived_with: reply.arrived_with,
            in_tunnel: reply.in_tunnel,
        };
        target.note(now, || TrailEvent::Answered {
            ttl,
            address: answer.address,
            rtt: answer.rtt,
        });
        target.slowest = target.slowest.max(Some(round_trip));
        let patience = target.timeout(None, self.config.initial_timeout);
        let ends = target.wait_for(patience, now);
        self.timers
            .extend(ends.into_iter().map(|at| (at, reply.target)));
        if let Some(sampling) = &mut target.sampling {
            sampling.replies.push((ttl, answer.reply()));
            self.ready.insert(target.address);
            return Some(());
        }
        let hop = target.hop_mut(ttl);
        let was_confirming = hop.confirming;
        match &mut hop.answer {
            Some(first) if (first.address, first.speaker) == (answer.address, speaker) => {
                if answer.rtt < first.rtt {
                    *first = answer;
                }
            }
            // A second responder for one flow and TTL: load is balanced per packet, or the route changed.
            Some(_) => {}
            empty => *empty = Some(answer),
        }
        if speaker == Speaker::Router {
            if !was_confirming {
                self.knowledge.spend(reply.responder, ttl, now);
            }
        } else {
            if speaker == Speaker::Target {
                self.slowest = self.slowest.max(Some(round_trip));
                self.quotes_ttl = reply.ttl_left.is_some();
            }
            match reply.ttl_left {
                Some(left) if target.hint.is_none() && (1..=ttl).contains(&left) => {
                    target.hint = Some(ttl - left + 1);
                    self.knowledge.is_at(reply.target, ttl - left + 1, now);
                }
                None if !target.located => {
                    if let Some(distance) = distance_back(reply.arrived_with) {
                        // Its last router first: that one's own answer may prove the distance.
                        target.guess = distance.saturating_sub(1).clamp(1, ttl);
                        target.is_guess_measured = true;
                        self.knowledge
                            .is_at(reply.target, distance.clamp(1, ttl), now);
                    }
                }
                _ => {}
            }
        }
        self.ready.insert(reply.target);
        self.teach(reply.target, ttl, now);
        Some(())
    }

    /// Writes what the flow to `target` saw at `ttl` into the shared knowledge.
    fn teach(&mut self, target: IpAddr, ttl: u8, now: MonotonicTime) {
        let under_way = self.targets.get(&target);
        let Some(state) = under_way.or_else(|| self.late.get(target)) else {
            return;
        };
        let Some(answer) = state.hop(ttl).answer else {
            return;
        };
        let asked = state.hop(ttl).question;
        if answer.speaker != Speaker::Router {
            if let Some(question) = asked {
                self.ready.extend(self.knowledge.release(question, target));
            }
            return;
        }
        let mut lessons = Vec::new();
        let question = |node, at, ttl| knowledge::Question { node, at, ttl };
        if let Some(asked) = asked {
            lessons.push((asked, answer));
        }
        // Not only the neighbours: should one of them keep silent, others ask for what lies beyond it.
        for distance in 1..=FARTHEST_QUESTION {
            let (above, below) = (ttl + distance, ttl.saturating_sub(distance));
            if above <= self.config.max_ttl
                && let Some(node) = state.router(above)
            {
                lessons.push((question(node, above, ttl), answer));
            }
            if below > 0
                && let Some(seen) = state.hop(below).answer
                && seen.speaker == Speaker::Router
            {
                lessons.push((question(answer.address, ttl, below), seen));
            }
        }
        for (question, seen) in lessons {
            let woken = self
                .knowledge
                .answer(question, seen.address, seen.rtt, target, now);
            self.ready.extend(woken);
        }
    }

    /// The next thing to do; `None` until [`Engine::next_deadline`] or the next event.
    pub(crate) fn poll(&mut self, now: MonotonicTime) -> Option<Action> {
        loop {
            let action = self.poll_active(now);
            if action.is_some() || !self.start_next(now) {
                return action;
            }
        }
    }

    fn poll_active(&mut self, now: MonotonicTime) -> Option<Action> {
        while let Some(&(at, target)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, target));
            self.ready.insert(target);
        }
        while let Some(address) = self.ready.pop_first() {
            self.step(address, now);
        }
        if let Some(observation) = self.finished.pop_front() {
            return Some(Action::Done(observation));
        }
        while let Some((&slot, &(target, ttl))) = self.queue.first_key_value() {
            let is_wanted = self
                .targets
                .get(&target)
                .is_some_and(|state| state.is_wanted(ttl));
            if is_wanted && self.hold(target, ttl, now) {
                self.queue.remove(&slot);
                continue;
            }
            if is_wanted && !self.pacer.take(now) {
                return None;
            }
            self.queue.remove(&slot);
            if is_wanted && let Some(probe) = self.transmit(target, ttl, now) {
                return Some(Action::Send(probe));
            }
        }
        None
    }

    /// When to call [`Engine::poll`] again if nothing happens before.
    pub(crate) fn next_deadline(&self) -> Option<MonotonicTime> {
        let is_busy = !self.queue.is_empty() || self.may_start() || self.may_walk();
        let pacer = is_busy.then(|| self.pacer.next());
        let timer = self.timers.first().map(|(at, _)| *at);
        pacer.into_iter().chain(timer).min()
    }

    fn transmit(&mut self, address: IpAddr, ttl: u8, now: MonotonicTime) -> Option<Probe> {
        let is_crowded = self.is_crowded(ttl, now);
        let target = self.targets.get_mut(&address)?;
        if target.sent.len() >= target.most_probes {
            target.exhausted = true;
            self.ready.insert(address);
            return None;
        }
        let expires = now.after(target.timeout(self.slowest, self.config.initial_timeout));
        let why = target.probe_reason(ttl, is_crowded);
        let hop = target.hop_mut(ttl);
        hop.queued = false;
        hop.attempts = hop.attempts.saturating_add(1);
        hop.last_sent = now;
        hop.expires = expires;
        let (attempt, question, confirming) = (hop.attempts, hop.question, hop.confirming);
        let tag = (0..=u8::MAX)
            .map(|salt| self.key.tag(address, target.trace, ttl, attempt, salt))
            .find(|tag| target.sent.iter().all(|sent| sent.tag.short != tag.short))?;
        target.note(now, || TrailEvent::Sent { ttl, attempt, why });
        target.sent.push(Sent {
            ttl,
            tag,
            at: now,
            answered: false,
        });
        self.timers.insert((expires, address));
        if let Some(question) = question.filter(|_| !confirming) {
            let waiting = self.knowledge.asked(question, address, expires, now);
            self.ready.extend(waiting);
        }
        let crowd = &mut self.crowds[usize::from(ttl.min(63))];
        *crowd = (level(*crowd, now) + 1.0, now);
        self.counters.sent += 1;
        Some(Probe {
            method: self.config.method,
            target: address,
            ttl,
            attempt,
            epoch: (target.trace & 0x7f) as u8,
            source_port: target.source_port,
            destination_port: self.config.destination_port,
            tag,
        })
    }

    fn step(&mut self, address: IpAddr, now: MonotonicTime) {
        let Some(mut target) = self.targets.remove(&address) else {
            return;
        };
        self.release(&mut target, now);
        let finished = if target.sampling.is_some() {
            self.sample(&mut target, now)
        } else if let Some((hops, end)) = self.advance(&mut target, now) {
            if end == PathEnd::Reached {
                self.learn_from_end(&target, &hops, now);
            }
            self.begin_sampling(&mut target, hops, end, now)
                .map(|(hops, end)| (hops, Vec::new(), end))
        } else {
            None
        };
        let Some((hops, further, end)) = finished else {
            self.targets.insert(address, target);
            return;
        };
        self.close(&target, now);
        self.completed += 1;
        self.trails
            .extend(target.finished_trail().map(|trail| (address, trail)));
        self.finished.push_back(PathObservation {
            target: address,
            observed_at: now,
            hops,
            further,
            end,
            probes_sent: u32::try_from(target.sent.len()).unwrap_or(u32::MAX),
        });
        self.keep_for_late_replies(target, now);
    }

    /// What a target that was reached says about others.
    fn learn_from_end(&mut self, target: &Target, hops: &[Hop], now: MonotonicTime) {
        self.distances[hops.len().min(63)] += 1;
        let distance = u8::try_from(hops.len()).unwrap_or(u8::MAX);
        self.knowledge.is_at(target.address, distance, now);
        if let [.., Hop::Reply(before), _] = hops {
            self.knowledge.host_behind(before.address, now);
        }
        if let Some((told, _)) = target.told()
            && let Some((at, _)) = target.end()
            && at != target.max_ttl()
        {
            self.hints.0 += 1;
            self.hints.1 += u32::from(at != told);
        }
    }

    /// Cleans up behind a trace that is over.
    fn close(&mut self, target: &Target, now: MonotonicTime) {
        self.timers.remove(&(target.deadline, target.address));
        self.walking -= usize::from(target.walks);
        let used = u32::try_from(target.sent.len()).unwrap_or(u32::MAX);
        self.admission.settle(target.address, used, now);
        for (_, hop) in target.hops() {
            if let Some(question) = hop.question.filter(|_| !hop.confirming) {
                let woken = self.knowledge.release(question, target.address);
                self.ready.extend(woken);
            }
        }
    }

    fn enqueue(&mut self, target: &mut Target, ttl: u8) {
        target.hop_mut(ttl).queued = true;
        self.queue
            .insert((target.priority, self.queued), (target.address, ttl));
        self.queued += 1;
    }

    /// Probes that `target` may have outstanding, while it is being decided about. With sharing, many targets at once
    /// must go one hop at a time, so that the first of them to pass a router can answer for the others.
    fn window(&self, target: &Target) -> u8 {
        match (self.config.sharing, self.targets.len()) {
            _ if target.is_alone() => 1,
            _ if target.is_solo => self.config.window,
            (Sharing::Off, _) | (_, 0..=1) => self.config.window.min(4),
            (_, 2..=7) => self.config.window.min(2),
            _ => 1,
        }
    }

    /// Probes for one hop that may have been lost.
    fn attempts(&self, target: &Target) -> u8 {
        if target.is_solo || (self.is_crowd() && self.is_shared()) {
            self.config.attempts.min(2)
        } else {
            self.config.attempts
        }
    }

    /// May targets take over what others found?
    fn is_shared(&self) -> bool {
        self.config.sharing != Sharing::Off
    }

    /// So many targets that what one of them misses another will find.
    fn is_crowd(&self) -> bool {
        self.targets.len() > 7
    }

    /// Distance that three quarters of the targets reached so far do not exceed.
    fn typical_distance(&self) -> u8 {
        let total: u32 = self.distances.iter().sum();
        let mut below = 0;
        (0_u8..)
            .zip(self.distances)
            .find(|(_, count)| {
                below += count;
                below * 4 > total * 3
            })
            .map_or(TYPICAL_DISTANCE, |(distance, _)| distance)
            .max(1)
    }

    /// May others' probes with this TTL have used up a router's replies?
    fn is_crowded(&self, ttl: u8, now: MonotonicTime) -> bool {
        level(self.crowds[usize::from(ttl.min(63))], now) >= CROWD
    }

    /// The wait for a rate limiter to recover, and up to `spread_ms` more.
    fn limited_wait(&self, target: &Target, ttl: u8, spread_ms: u64) -> Duration {
        let attempts = target.hop(ttl).attempts;
        let chance = self
            .key
            .tag(target.address, target.trace, ttl, attempts, 0)
            .long;
        self.config.limited_retry + Duration::from_millis(chance % spread_ms)
    }

    /// When to ask again after `tries` probes without answer, the last at `last_sent`; `None` if never.
    fn next_try(
        &self,
        target: &Target,
        ttl: u8,
        tries: u8,
        last_sent: MonotonicTime,
        most: u8,
        now: MonotonicTime,
    ) -> Option<MonotonicTime> {
        if tries >= most || target.hop(ttl).attempts >= MAX_ATTEMPTS {
            return None;
        }
        if tries >= 2 && self.is_crowded(ttl, now) {
            return Some(last_sent.after(self.limited_wait(target, ttl, 200)));
        }
        Some(now)
    }
}

/// A level that falls by one per second.
fn level((level, at): (f64, MonotonicTime), now: MonotonicTime) -> f64 {
    (level - now.since(at).as_secs_f64()).max(0.0)
}
