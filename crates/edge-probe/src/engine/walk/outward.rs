//! From the base outwards to the end of the path.

use edge_types::{MonotonicTime, PathEnd};

use super::{Engine, Target, Todo, Verdict};

/// Silent hops in a row that end a path behind a router that is the last before other targets, or that is as far away as
/// that of a neighbour.
const GAP_BEHIND_ACCESS: u8 = 1;

impl Engine {
    /// Asks the target for its distance: its answer to a probe with a large TTL quotes the TTL that was left. If it
    /// keeps silent, looks for the last router of its path from where most targets are, and nearer: what keeps silent
    /// on the way shows the end of the path, and what lies before the router that answers may be known from others. True
    /// once that is done.
    pub(super) fn locate(&mut self, target: &mut Target, now: MonotonicTime) -> bool {
        if target.located {
            return true;
        }
        let farthest = target.max_ttl();
        let (mut ttl, mut steps) = (farthest, 0);
        loop {
            let hop = *target.hop(ttl);
            if hop.answer.is_some() {
                if ttl != farthest {
                    target.guess = ttl;
                }
                break;
            }
            if hop.attempts == 0 && !hop.queued {
                self.enqueue(target, ttl);
                return false;
            }
            if hop.in_flight(now) {
                return false;
            }
            if ttl == farthest {
                if target.nearby.is_none() {
                    target.nearby = self.knowledge.distance_nearby(target.address);
                }
                if let Some(distance) = target.nearby {
                    // Where the last router before the neighbour is.
                    target.guess = distance.saturating_sub(1).clamp(1, farthest);
                }
                ttl = target.guess;
            } else if ttl == 1 {
                target.guess = 1;
                break;
            } else {
                // One by one at first, then faster.
                ttl = ttl.saturating_sub(1 + steps / 3).max(1);
                steps += 1;
            }
        }
        target.located = true;
        true
    }

    /// Walks from the base to the end of the path. Returns the end and the path's length if they are known.
    pub(super) fn walk_out(
        &self,
        target: &Target,
        now: MonotonicTime,
        todo: &mut Todo,
    ) -> Option<(u8, PathEnd)> {
        let end = target.end();
        let base = target.base();
        let mut last_answer = base - 1;
        let mut is_open = false;
        // Asked blindly, and nothing is known yet.
        let mut is_blind = false;
        let mut ttl = base;
        let found = loop {
            if let Some((at, answer)) = end
                && (ttl >= at || self.is_believed(target, ttl))
            {
                break (at.min(ttl), answer.end()?);
            }
            if ttl > target.max_ttl() {
                break match target.router(target.max_ttl()) {
                    Some(_) => (target.max_ttl(), PathEnd::MaxTtl),
                    None => (target.max_ttl(), PathEnd::Silent),
                };
            }
            if ttl - last_answer > self.gap_limit(target, last_answer) && ttl > todo.reach {
                break match end {
                    // It answers, at a distance that its hop limit tells or, failing that, right behind the last hop.
                    Some((_, answer)) => {
                        let hint = target.hint.filter(|hint| *hint > last_answer);
                        (hint.unwrap_or(last_answer + 1), answer.end()?)
                    }
                    None => (ttl - 1, PathEnd::Silent),
                };
            }
            if target.router(ttl).is_some() {
                last_answer = ttl;
            } else {
                match self.outward_verdict(target, ttl, ttl == last_answer + 1, now) {
                    Verdict::Ask { .. } => {
                        todo.ask(ttl, None, false);
                        is_open = true;
                        is_blind |= target.hop(ttl).attempts == 0 && ttl <= todo.reach;
                    }
                    Verdict::Later(at, _) => {
                        todo.later(at);
                        is_open = true;
                    }
                    Verdict::InFlight => {
                        todo.is_pending = true;
                        is_open = true;
                        is_blind |= target.hop(ttl).attempts <= 1 && ttl <= todo.reach;
                    }
                    Verdict::Silent | Verdict::TooLate
                        if end.is_some() && target.hint == Some(ttl) =>
                    {
                        // The end answered once, from this distance by its own account, and now keeps silent.
                        break (ttl, end?.1.end()?);
                    }
                    Verdict::TooLate => is_open |= end.is_none(),
                    _ => {}
                }
                // Nothing but silence is expected behind the last router before the neighbours: asked for at once.
                if target.nearby.is_some()
                    && last_answer >= base
                    && !target.is_alone()
                    && self.quotes_ttl
                {
                    todo.room = todo.room.max(1);
                }
                // One after the other where a hint is nearly always right, or nothing more may be out.
                if is_open && (target.hint.is_some() || todo.room == 0) {
                    return None;
                }
            }
            if is_blind && (1..=ttl).contains(&todo.reach) {
                return None;
            }
            ttl += 1;
        };
        (!is_open).then_some(found)
    }

    /// What is to be done about a TTL at or beyond the base. Silence in a row confirms itself: at most the first hop
    /// of it is asked twice, and what has answers behind it as often as any.
    fn outward_verdict(
        &self,
        target: &Target,
        ttl: u8,
        is_next: bool,
        now: MonotonicTime,
    ) -> Verdict {
        let most = if self.is_interior(target, ttl) {
            self.attempts(target)
        } else {
            1 + u8::from(is_next && !self.is_crowd() && target.nearby.is_none())
        };
        self.own_verdict(target, ttl, most, now)
    }

    /// Silent hops in a row that end the path.
    fn gap_limit(&self, target: &Target, last_answer: u8) -> u8 {
        let is_access = last_answer > 0
            && target
                .router(last_answer)
                .is_some_and(|router| self.knowledge.has_hosts_behind(router));
        let least = if is_access {
            GAP_BEHIND_ACCESS
        } else {
            // As far as the neighbour is.
            let beyond = |distance: u8| distance.saturating_sub(last_answer);
            target.nearby.map_or(self.config.gap_limit, |distance| {
                beyond(distance).max(GAP_BEHIND_ACCESS)
            })
        };
        self.config.gap_limit.min(least)
    }

    /// Is the end at `ttl` by its own account, and not to be asked again there? A few are, and all once some were wrong:
    /// something on the way may set hop limits anew.
    fn is_believed(&self, target: &Target, ttl: u8) -> bool {
        let Some((_, check)) = target.told().filter(|(told, _)| *told == ttl) else {
            return false;
        };
        let (checked, wrong) = self.hints;
        let chance = self.key.chance(target.address, target.trace);
        let is_sample = checked < check.first || chance.is_multiple_of(check.then_one_in);
        !is_sample && wrong * 20 <= checked
    }
}
