//! From the base back towards us, where others may help.

use std::time::Duration;

use edge_types::{Hop, HopReply, MonotonicTime};

use super::{
    Engine, Known, Question, Sharing, Standing, Target, Todo, Turn, Verdict, first_standing, seen,
};
use crate::config::MAX_ATTEMPTS;

/// How long to wait for another flow to ask before looking again.
const SCOUT_PATIENCE: Duration = Duration::from_millis(300);

impl Engine {
    /// Walks from below `top` back to us. Returns the hops at TTL 1 to `top - 1` as far as known.
    pub(super) fn walk_back(
        &mut self,
        target: &Target,
        top: u8,
        now: MonotonicTime,
        todo: &mut Todo,
    ) -> Vec<Hop> {
        let mut hops = vec![Hop::NoReply; usize::from(top.saturating_sub(1))];
        let mut standing = first_standing(target, top);
        let mut doubtful = Vec::new();
        let mut is_open = false;
        for ttl in (1..top).rev() {
            let verdict = self.verdict(target, ttl, standing, now);
            is_open |= !matches!(
                verdict,
                Verdict::Seen { .. } | Verdict::Silent | Verdict::TakeTurns(_)
            );
            match verdict {
                Verdict::Seen {
                    address,
                    rtt,
                    shared,
                    has_scout,
                } => {
                    hops[usize::from(ttl) - 1] = Hop::Reply(HopReply {
                        shared,
                        ..HopReply::new(address, rtt)
                    });
                    standing = Some(Standing {
                        node: address,
                        at: ttl,
                        is_own: !shared,
                        has_scout,
                    });
                }
                Verdict::Silent => doubtful.push((ttl, standing)),
                Verdict::InFlight => {
                    todo.is_pending = true;
                    if self.window() == 1 {
                        return hops;
                    }
                }
                Verdict::Wait(question, until) => {
                    self.knowledge.wait(question, target.address);
                    todo.later(until);
                    todo.room = todo.room.saturating_sub(1);
                    if todo.room == 0 {
                        return hops;
                    }
                }
                Verdict::Later(at, holds_up) => {
                    todo.later(at);
                    if holds_up && self.window() == 1 {
                        return hops;
                    }
                }
                Verdict::TooLate => {}
                Verdict::TakeTurns(question) => {
                    if self.take_turn(target, ttl, question, now, todo) {
                        return hops;
                    }
                }
                Verdict::StandFirst => {
                    let Some(below) = standing else { continue };
                    let hop = target.hop(below.at);
                    let most = self.config.attempts;
                    let last_sent = hop.last_sent;
                    if hop.in_flight(now) {
                        todo.is_pending = true;
                        return hops;
                    }
                    match self.next_try(target, below.at, hop.attempts, last_sent, most, now) {
                        // It does not answer this flow: what lies before it stays unknown.
                        None => {}
                        Some(at) if at > self.latest(target, now) => {}
                        Some(at) if at > now => {
                            todo.later(at);
                            return hops;
                        }
                        Some(_) => {
                            todo.ask(below.at, hop.question, true);
                            return hops;
                        }
                    }
                }
                Verdict::Ask {
                    question,
                    confirming,
                } => {
                    todo.ask(ttl, question, confirming);
                    if todo.room == 0 {
                        return hops;
                    }
                }
            }
        }
        if is_open {
            return hops; // what is found yet may explain the silence beyond
        }
        let mut retried = None;
        for (ttl, standing) in doubtful.into_iter().rev() {
            let is_behind_retried = retried.is_some_and(|below: u8| below + 1 == ttl);
            if self.settle_silence(target, ttl, standing, &hops, is_behind_retried, now, todo) {
                retried = Some(ttl);
            }
        }
        for index in 0..hops.len() {
            if let Hop::Reply(reply) = hops[index] {
                let node = match index.checked_sub(1).map(|below| hops[below]) {
                    None => Some(None),
                    Some(Hop::Reply(below)) => Some(Some(below.address)),
                    Some(Hop::NoReply) => None,
                };
                if let Some(node) = node {
                    let ttl = u8::try_from(index).unwrap_or(u8::MAX);
                    self.knowledge.follows(node, ttl, reply.address, now);
                }
            }
        }
        hops
    }

    /// Asks a disputed `question` when it is the target's turn. True if the walk should stop there until it is answered.
    fn take_turn(
        &mut self,
        target: &Target,
        ttl: u8,
        question: Question,
        now: MonotonicTime,
        todo: &mut Todo,
    ) -> bool {
        let hop = target.hop(ttl);
        let patience = target.timeout(self.slowest, self.config.initial_timeout);
        let turn = match hop.turn {
            Some(at) => Turn::At(at),
            None if hop.attempts >= MAX_ATTEMPTS => return false,
            None => {
                let latest = now.after(target.deadline.since(now).saturating_sub(patience));
                self.knowledge.turn(question, hop.attempts > 0, latest, now)
            }
        };
        match turn {
            Turn::Free => {
                let most = self.config.attempts;
                match self.next_try(target, ttl, hop.attempts, hop.last_sent, most, now) {
                    None => return false,
                    Some(at) if at > now => todo.later(at),
                    Some(_) => {
                        todo.ask(ttl, None, false);
                        return true;
                    }
                }
            }
            Turn::At(at) => {
                todo.turns.push((ttl, at));
                if at <= now {
                    todo.ask(ttl, None, false);
                    return true;
                }
                todo.later(at);
            }
            Turn::None { since } => {
                // Unless the routers turn out to answer everybody.
                let hope = since.after(patience);
                if now < hope {
                    todo.later(hope);
                }
            }
        }
        false
    }

    /// A hop kept silent for as often as is usual. If what follows its predecessor looks rate-limited, it is asked
    /// again as long as there is time (true); otherwise the silence is shared.
    #[expect(clippy::too_many_arguments, reason = "the state of one walk")]
    fn settle_silence(
        &mut self,
        target: &Target,
        ttl: u8,
        standing: Option<Standing>,
        hops: &[Hop],
        is_behind_retried: bool,
        now: MonotonicTime,
        todo: &mut Todo,
    ) -> bool {
        let hop = target.hop(ttl);
        let question = self.question(standing, ttl);
        let may_ask = standing.is_none_or(|standing| standing.is_own);
        let known = question.map(|question| self.knowledge.known(question, target.address, now));
        let (tries, last_sent) = match known {
            Some(Known::Silent) => return false,
            Some(Known::Nothing { tries, last_sent }) => (tries, last_sent),
            _ => (hop.attempts, hop.last_sent),
        };
        let before = match ttl.checked_sub(2).map(|index| hops[usize::from(index)]) {
            None => Some(None),
            Some(Hop::Reply(reply)) => Some(Some(reply.address)),
            Some(Hop::NoReply) => None,
        };
        let is_limited = is_behind_retried
            || before.is_some_and(|node| self.knowledge.limited_behind(node, ttl - 1, last_sent));
        if is_limited {
            // Spread over a second: of those who ask in step, a router with one reply per second would always answer
            // the same one.
            let again = last_sent.after(self.limited_wait(target, ttl, 1000));
            if !may_ask || hop.attempts >= MAX_ATTEMPTS {
                // Others go on asking; their answer is worth waiting for.
                let patience = last_sent.after(self.config.limited_retry * 3);
                if question.is_some() && now < patience {
                    todo.later(patience);
                    if let Some(question) = question {
                        self.knowledge.wait(question, target.address);
                    }
                    return true;
                }
                return false;
            }
            if again <= now {
                todo.ask(ttl, question, false);
            } else {
                todo.later(again);
            }
            return true;
        }
        if let Some(question) = question
            && tries > 0
        {
            let woken = self.knowledge.silent(question, now);
            self.ready.extend(woken);
        }
        false
    }

    /// What is to be done about a TTL below the base, where others may help.
    fn verdict(
        &self,
        target: &Target,
        ttl: u8,
        standing: Option<Standing>,
        now: MonotonicTime,
    ) -> Verdict {
        let hop = target.hop(ttl);
        if let Some(answer) = hop.answer {
            return seen(answer);
        }
        let is_interior = self.is_interior(target, ttl) || standing.is_some();
        let (Sharing::Verified { confirmations }, Some(question), Some(standing)) =
            (self.config.sharing, self.question(standing, ttl), standing)
        else {
            return self.own_verdict(target, ttl, is_interior, now);
        };
        if hop.in_flight(now) {
            return Verdict::InFlight;
        }
        match self.knowledge.known(question, target.address, now) {
            Known::Agreed {
                address,
                rtt,
                flows,
            } => {
                let is_confirmed =
                    flows.len() >= usize::from(confirmations.max(1)) || hop.attempts > 0;
                if is_confirmed || !standing.is_own || !self.knowledge.can_confirm(address, now) {
                    Verdict::Seen {
                        address,
                        rtt,
                        shared: true,
                        has_scout: flows.iter().any(|flow| self.targets.contains_key(flow)),
                    }
                } else {
                    Verdict::Ask {
                        question: Some(question),
                        confirming: true,
                    }
                }
            }
            Known::Silent => Verdict::Silent,
            Known::Claimed { until } => Verdict::Wait(question, until),
            Known::Disputed => Verdict::TakeTurns(question),
            _ if !standing.is_own && standing.has_scout && self.window() == 1 => {
                Verdict::Wait(question, now.after(SCOUT_PATIENCE))
            }
            _ if !standing.is_own => Verdict::StandFirst,
            Known::Nothing { tries, last_sent } => {
                let most = self.config.attempts;
                match self.next_try(target, ttl, tries, last_sent, most, now) {
                    None => Verdict::Silent,
                    Some(at) if at > self.latest(target, now) => Verdict::TooLate,
                    Some(at) if at > now => Verdict::Later(at, true),
                    Some(_) => Verdict::Ask {
                        question: Some(question),
                        confirming: false,
                    },
                }
            }
        }
    }
}
