//! Which targets are traced now, and which wait for their turn.
//!
//! A target costs memory and time only from its first probe on, which asks for its distance. The next one is started
//! when no probe of the others waits for the pacer: so those under way are finished as fast as the network answers, what
//! they find serves those that come later, and the packet rate is used up all the same. Of some targets the distance is asked
//! ahead of their walk, so that nothing is held up by waiting for those that keep silent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use edge_ports::{BudgetScope, TraceError, TracePriority};
use edge_types::MonotonicTime;

use super::Engine;
use super::target::Target;
use super::trail::Trail;
use crate::admission::Admission;

/// Targets walked to together while nothing is known, and more for each that is done: if all walked back in step, they
/// would ask the routers near us before anybody could tell the others.
const FIRST: usize = 24;
const MORE_FOR_EACH: usize = 3;

/// Sets the draw about a newcomer apart from what else is drawn for its address.
const NEWCOMER: u64 = 1 << 63;

/// Targets kept ready to be started, where more can be had at any time.
const SOON: usize = 256;

/// Most targets whose distance is asked ahead of their walk, and the share of a second's packets that they may be: what was
/// asked long ago may not hold any more.
const AHEAD: usize = 256;
const AHEAD_SHARE: usize = 2;

/// Targets that were admitted and wait, in the order in which they are to be started.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    order: BTreeMap<(TracePriority, u64), IpAddr>,
    places: BTreeMap<IpAddr, (TracePriority, u64)>,
    /// How many there are of each priority.
    counts: BTreeMap<TracePriority, usize>,
    numbered: u64,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn contains(&self, target: IpAddr) -> bool {
        self.places.contains_key(&target)
    }

    /// Those that are started before a newcomer of this priority.
    fn before(&self, priority: TracePriority) -> usize {
        self.counts.range(..=priority).map(|(_, count)| count).sum()
    }

    /// The one that is started last, if a newcomer of this priority goes before it.
    fn last_after(&self, priority: TracePriority) -> Option<IpAddr> {
        let ((last, _), target) = self.order.last_key_value()?;
        (*last > priority).then_some(*target)
    }

    fn push(&mut self, target: IpAddr, priority: TracePriority) {
        let place = (priority, self.numbered);
        self.numbered += 1;
        self.order.insert(place, target);
        self.places.insert(target, place);
        *self.counts.entry(priority).or_default() += 1;
    }

    fn pop(&mut self) -> Option<(IpAddr, TracePriority)> {
        let ((priority, _), target) = self.order.pop_first()?;
        self.places.remove(&target);
        self.forget(priority);
        Some((target, priority))
    }

    fn remove(&mut self, target: IpAddr) -> bool {
        let Some(place) = self.places.remove(&target) else {
            return false;
        };
        self.forget(place.0);
        self.order.remove(&place).is_some()
    }

    fn forget(&mut self, priority: TracePriority) {
        if let Some(count) = self.counts.get_mut(&priority) {
            *count -= 1;
        }
    }
}

/// Targets whose distance was asked for and that wait for their walk: by priority, those first that kept silent, and in the
/// order in which they were started.
#[derive(Debug, Default)]
pub(super) struct Located(BTreeSet<(TracePriority, bool, u64, IpAddr)>);

impl Engine {
    pub(crate) fn is_tracing(&self, target: IpAddr) -> bool {
        self.targets.contains_key(&target) || self.waiting.contains(target)
    }

    /// Admits a trace, if policy and budgets allow; a target that is being traced already is not taken twice. Where there is no
    /// room, the last of those that wait with a lower priority gives way: it is returned, and comes to no result.
    pub(crate) fn begin(
        &mut self,
        now: MonotonicTime,
        target: IpAddr,
        priority: TracePriority,
    ) -> Result<Option<IpAddr>, TraceError> {
        if self.is_tracing(target) {
            return Ok(None);
        }
        Admission::permit(&self.config, target)?;
        let gives_way = if self.has_room() {
            None
        } else {
            self.waiting.last_after(priority)
        };
        if !self.has_room() && gives_way.is_none() {
            return Err(TraceError::OverBudget {
                target,
                scope: BudgetScope::Global,
            });
        }
        if self.leaves_out(target, priority) {
            return Err(TraceError::LeftOut(target));
        }
        self.admission.reserve(target, now)?;
        if let Some(last) = gives_way {
            self.abandon(last, now);
        }
        self.waiting.push(target, priority);
        Ok(gives_way)
    }

    /// Is a newcomer left out? Never while at most half of the places for those who wait are taken by its like and better, then
    /// with a chance that grows evenly to certainty.
    fn leaves_out(&mut self, target: IpAddr, priority: TracePriority) -> bool {
        self.newcomers += 1;
        let (taken, half) = (self.waiting.before(priority), self.config.max_targets / 2);
        let beyond = u64::try_from(taken.saturating_sub(half)).unwrap_or(u64::MAX);
        let range = u64::try_from(self.config.max_targets - half).unwrap_or(u64::MAX);
        self.key.chance(target, NEWCOMER | self.newcomers) % range.max(1) < beyond
    }

    /// Can another target be taken?
    pub(crate) fn has_room(&self) -> bool {
        self.targets.len() + self.waiting.len() < self.config.max_targets
    }

    /// Can more be started soon than are waiting?
    pub(crate) fn wants_more(&self) -> bool {
        self.waiting.len() < SOON && self.has_room()
    }

    /// Stops a trace without a result, and returns what it did not use to the budgets.
    pub(crate) fn abandon(&mut self, target: IpAddr, now: MonotonicTime) {
        if self.waiting.remove(target) {
            self.admission.settle(target, 0, now);
        } else if let Some(state) = self.targets.remove(&target) {
            self.close(&state, now);
        }
    }

    /// Does a target wait that may be started beside those under way?
    pub(super) fn may_start(&self) -> bool {
        let ahead = self.targets.len() - self.walking;
        self.waiting.len() > 0 && ahead < self.most_ahead()
    }

    /// Targets whose distance may be asked ahead of their walk.
    fn most_ahead(&self) -> usize {
        let per_second = usize::try_from(self.config.packets_per_second).unwrap_or(usize::MAX);
        (per_second / AHEAD_SHARE).clamp(1, AHEAD)
    }

    /// Does a target whose distance was asked for wait for its walk, and may it begin beside the others?
    pub(super) fn may_walk(&self) -> bool {
        let most = FIRST + MORE_FOR_EACH * self.completed;
        let is_early = self.is_shared() && self.walking >= most;
        !self.located.0.is_empty() && !is_early
    }

    /// Starts the next target, or the next walk, if nothing else is to be sent; true if one was.
    pub(super) fn start_next(&mut self, now: MonotonicTime) -> bool {
        let may_send = self.queue.is_empty() && self.pacer.next() <= now;
        may_send && (self.start_target(now) || self.start_walk(now))
    }

    fn start_target(&mut self, now: MonotonicTime) -> bool {
        if !self.may_start() {
            return false;
        }
        let Some((target, priority)) = self.waiting.pop() else {
            return false;
        };
        let is_solo = self.targets.is_empty()
            && self.waiting.len() == 0
            && self.knowledge.is_blank(now)
            && self.is_shared();
        self.knowledge.prune(self.targets.is_empty(), now);
        self.traces += 1;
        let mut state = Target::new(
            target,
            priority,
            self.traces,
            self.config
                .source_port
                .unwrap_or_else(|| self.key.source_port(target)),
            self.config.max_ttl,
        );
        state.most_probes = self.config.probes_per_target as usize;
        state.trail = self.config.explain.then(|| Box::new(Trail::new(now)));
        (state.is_solo, state.located) = (is_solo, is_solo);
        // Those that share nothing ask each router for themselves: walks that began together would use up its replies.
        if is_solo || !self.is_shared() {
            self.begin_walk(&mut state, now);
        }
        self.targets.insert(target, state);
        self.ready.insert(target);
        true
    }

    fn start_walk(&mut self, now: MonotonicTime) -> bool {
        if !self.may_walk() {
            return false;
        }
        while let Some((.., address)) = self.located.0.pop_first() {
            // One that answered after all stands here twice.
            let Some(mut target) = self.targets.remove(&address) else {
                continue;
            };
            let starts = !target.walks;
            if starts {
                self.begin_walk(&mut target, now);
                self.ready.insert(address);
            }
            self.targets.insert(address, target);
            if starts {
                return true;
            }
        }
        false
    }

    /// From now on the target's time runs, less what it took to ask for its distance.
    fn begin_walk(&mut self, target: &mut Target, now: MonotonicTime) {
        target.walks = true;
        self.walking += 1;
        let located_in = target.located_in.unwrap_or_default();
        target.deadline = now.after(self.config.time_limit.saturating_sub(located_in));
        self.timers.insert((target.deadline, target.address));
        if !target.is_solo && !target.is_guess_measured {
            target.guess = self.typical_distance().min(target.max_ttl());
        }
    }

    /// Asks the target for its distance, by a probe with a large TTL, and puts it among those that wait for their walk once
    /// it has answered or kept silent.
    pub(super) fn ask_distance(&mut self, target: &mut Target, now: MonotonicTime) {
        let farthest = target.max_ttl();
        let hop = *target.hop(farthest);
        if hop.attempts == 0 && !hop.queued {
            self.enqueue(target, farthest);
        } else if hop.answer.is_some() || !hop.in_flight(now) {
            let has_answered = hop.answer.is_some();
            // An answer after the silence that it was put here for adds nothing to the time that asking took.
            target
                .located_in
                .get_or_insert_with(|| now.since(hop.last_sent));
            self.located
                .0
                .insert((target.priority, has_answered, target.trace, target.address));
        }
    }
}
