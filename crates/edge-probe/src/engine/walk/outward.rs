//! From the base outwards to the end of the path.

use edge_types::{MonotonicTime, PathEnd};

use super::{Engine, Target, Todo, Verdict};

impl Engine {
    /// Asks the target for its distance: its answer to a probe with a large TTL quotes the TTL that was left. True once
    /// that is known or not worth waiting for.
    pub(super) fn locate(&mut self, target: &mut Target, now: MonotonicTime) -> bool {
        if target.located {
            return true;
        }
        let farthest = target.max_ttl();
        let hop = *target.hop(farthest);
        if hop.answer.is_some() {
            target.located = true;
        } else if hop.attempts == 0 {
            if !hop.queued {
                self.enqueue(target, farthest);
            }
        } else if !hop.in_flight(now) {
            // Silent so far: give it a second chance, and look for the path at half the distance guessed, and so on.
            if hop.attempts == 1 {
                self.enqueue(target, farthest);
            }
            return self.locate_by_halves(target, now);
        } else if hop.attempts > 1 {
            return self.locate_by_halves(target, now);
        }
        target.located
    }

    fn locate_by_halves(&mut self, target: &mut Target, now: MonotonicTime) -> bool {
        let mut room = self.window();
        let halves = std::iter::successors(Some(target.guess), |ttl| Some(ttl / 2));
        for ttl in halves.take_while(|ttl| *ttl > 0) {
            let hop = *target.hop(ttl);
            if hop.answer.is_some() {
                // Unless a probe that went farther may still be answered.
                target.located = room == self.window();
                target.guess = if target.located { ttl } else { target.guess };
                return target.located;
            } else if hop.in_flight(now) {
                room -= 1;
            } else if hop.attempts == 0 {
                self.enqueue(target, ttl);
                room -= 1;
            }
            if room == 0 {
                return false;
            }
        }
        if room == self.window() {
            target.guess = 1;
            target.located = true;
        }
        target.located
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
        let mut ttl = base;
        let found = loop {
            if let Some((at, answer)) = end
                && ttl >= at
            {
                break (at, answer.end()?);
            }
            if ttl > target.max_ttl() {
                break match target.router(target.max_ttl()) {
                    Some(_) => (target.max_ttl(), PathEnd::MaxTtl),
                    None => (target.max_ttl(), PathEnd::Silent),
                };
            }
            if ttl - last_answer > self.config.gap_limit {
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
                let is_interior = self.is_interior(target, ttl);
                match self.own_verdict(target, ttl, is_interior, now) {
                    Verdict::Ask { .. } => {
                        todo.ask(ttl, None, false);
                        is_open = true;
                    }
                    Verdict::Later(at, _) => {
                        todo.later(at);
                        is_open = true;
                    }
                    Verdict::InFlight => {
                        todo.is_pending = true;
                        is_open = true;
                    }
                    Verdict::TooLate => is_open |= end.is_none(),
                    Verdict::Silent if end.is_some() && target.hint == Some(ttl) => {
                        // The end answered once, from this distance by its own account, and now keeps silent.
                        break (ttl, end?.1.end()?);
                    }
                    _ => {}
                }
                let is_guess_good = target.is_guess_measured && ttl == base;
                if is_open && (target.hint.is_some() || is_guess_good) {
                    return None; // one after the other: the hint is nearly always right
                }
            }
            ttl += 1;
        };
        (!is_open).then_some(found)
    }
}
