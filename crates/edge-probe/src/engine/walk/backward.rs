//! From the base back towards us, where others may help.

use std::time::Duration;

use edge_types::{Hop, HopReply, MonotonicTime};

use super::{Engine, Known, Sharing, Standing, Target, Todo, Verdict, first_standing, seen};
use crate::config::MAX_ATTEMPTS;

/// Turns of a limited router that a silent hop is asked at before its silence is believed.
const MAX_TURNS: u8 = 2;
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
                Verdict::Seen { .. } | Verdict::Silent | Verdict::Doubtful | Verdict::Unclear
            );
            match verdict {
                Verdict::Seen {
                    address,
                    rtt,
                    shared,
                    has_scout,
                } => {
                    let own = target.hop(ttl).answer.map(|answer| answer.reply());
                    hops[usize::from(ttl) - 1] = Hop::Reply(own.unwrap_or(HopReply {
                        shared,
                        ..HopReply::new(address, rtt)
                    }));
                    if shared && let Some(question) = self.question(standing, ttl) {
                        todo.takes.push((ttl, question));
                    }
                    standing = Some(Standing {
                        node: address,
                        at: ttl,
                        is_own: !shared,
                        has_scout,
                    });
                }
                Verdict::Doubtful if self.awaits_turn(target, ttl, standing, now, todo) => {
                    return hops;
                }
                Verdict::Silent | Verdict::Doubtful => doubtful.push((ttl, standing)),
                Verdict::InFlight => {
                    todo.is_pending = true;
                    if self.window(target) == 1 {
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
                    if holds_up && self.window(target) == 1 {
                        return hops;
                    }
                }
                Verdict::TooLate | Verdict::Unclear => {}
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
        let mut retried: Option<(u8, MonotonicTime)> = None;
        for (ttl, standing) in doubtful.into_iter().rev() {
            let below = retried.filter(|(below, _)| below + 1 == ttl);
            let below = below.map(|(_, again)| again);
            let again = self.settle_silence(target, ttl, standing, &hops, below, now, todo);
            retried = again.map(|again| (ttl, again)).or(retried);
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

    /// A hop was asked without answer, and a router at its distance looks as if it had used up its replies: it is asked again when
    /// its turn comes (true), before what lies nearer to us, so that others' routers are not asked in vain.
    fn awaits_turn(
        &mut self,
        target: &Target,
        ttl: u8,
        standing: Option<Standing>,
        now: MonotonicTime,
        todo: &mut Todo,
    ) -> bool {
        let hop = target.hop(ttl);
        let is_own = standing.is_none_or(|standing| standing.is_own);
        if !is_own || !self.is_shared() || hop.turns >= MAX_TURNS || hop.attempts >= MAX_ATTEMPTS {
            return false;
        }
        let question = self.question(standing, ttl);
        let turn = if hop.turns > 0 && hop.turn > hop.last_sent {
            hop.turn
        } else {
            let asked = match question.map(|q| self.knowledge.known(q, target.address, now)) {
                Some(Known::Nothing { last_sent, .. }) => last_sent.max(hop.last_sent),
                _ => hop.last_sent,
            };
            let latest = self.latest(target, now);
            let beyond = standing.is_some();
            let turn = self.knowledge.take_turn_at(ttl, beyond, asked, latest, now);
            let Some(turn) = turn else {
                return false;
            };
            todo.turns.push((ttl, turn));
            if let Some(question) = question {
                let until = turn.after(self.config.limited_retry);
                self.knowledge.claim(question, target.address, until, now);
            }
            turn
        };
        if turn <= now {
            todo.ask(ttl, question, false);
        } else {
            todo.later(turn);
        }
        true
    }

    /// A hop was asked without answer. If what follows its predecessor looks rate-limited, it is asked again when its
    /// turn comes. If it may as well have been lost, it is asked as often as is usual, unless others have found silence at the
    /// same place. Otherwise the silence is shared. Returns when it will be asked again; `below`, when the hop before it
    /// will.
    #[expect(clippy::too_many_arguments, reason = "the state of one walk")]
    fn settle_silence(
        &mut self,
        target: &Target,
        ttl: u8,
        standing: Option<Standing>,
        hops: &[Hop],
        below: Option<MonotonicTime>,
        now: MonotonicTime,
        todo: &mut Todo,
    ) -> Option<MonotonicTime> {
        let hop = target.hop(ttl);
        let question = self.question(standing, ttl);
        let may_ask = standing.is_none_or(|standing| standing.is_own);
        let known = question.map(|question| self.knowledge.known(question, target.address, now));
        let (tries, last_sent) = match known {
            Some(Known::Silent) => return None,
            // Its own flow may have asked before it was clear what for.
            Some(Known::Nothing { tries, last_sent }) => {
                (tries.max(hop.attempts), last_sent.max(hop.last_sent))
            }
            _ => (hop.attempts, hop.last_sent),
        };
        let before = match ttl.checked_sub(2).map(|index| hops[usize::from(index)]) {
            None => Some(None),
            Some(Hop::Reply(reply)) => Some(Some(reply.address)),
            Some(Hop::NoReply) => None,
        };
        let is_limited = below.is_some()
            || before.is_some_and(|node| self.knowledge.limited_behind(node, ttl - 1, last_sent));
        if is_limited && hop.turns < MAX_TURNS {
            if !may_ask || hop.attempts >= MAX_ATTEMPTS {
                // Others go on asking; their answer is worth waiting for.
                let patience = last_sent.after(self.config.limited_retry * 3);
                let question = question.filter(|_| now < patience)?;
                todo.later(patience);
                self.knowledge.wait(question, target.address);
                return Some(patience);
            }
            let turn = if !self.is_shared() {
                // Every flow asks for itself, which is more than there are turns. Spread over a second: of those who ask in
                // step, a router with one reply per second would always answer the same one.
                last_sent.after(self.limited_wait(target, ttl, 1000))
            } else if hop.turns > 0 && hop.turn > hop.last_sent {
                hop.turn
            } else {
                let latest = self.latest(target, now);
                let turn = below.or_else(|| {
                    self.knowledge
                        .take_turn_behind(before?, ttl - 1, last_sent, latest, now)
                })?;
                todo.turns.push((ttl, turn));
                turn
            };
            if turn <= now {
                todo.ask(ttl, question, false);
            } else {
                todo.later(turn);
            }
            return Some(turn);
        }
        let is_quiet = self.is_shared()
            && before.is_some_and(|node| self.knowledge.is_quiet_behind(node, ttl - 1));
        if may_ask && !is_quiet && tries < self.attempts(target) && hop.attempts < MAX_ATTEMPTS {
            todo.ask(ttl, question, false);
            return Some(now);
        }
        if let Some(node) = before
            && hop.attempts > 0
        {
            self.knowledge
                .quiet_behind(node, ttl - 1, target.address, now);
        }
        if let Some(question) = question
            && tries > 0
        {
            let woken = self.knowledge.silent(question, now);
            self.ready.extend(woken);
        }
        None
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
        let (Sharing::Verified { confirmations }, Some(question), Some(standing)) =
            (self.config.sharing, self.question(standing, ttl), standing)
        else {
            return match self.own_verdict(target, ttl, 1, now) {
                Verdict::Silent => Verdict::Doubtful,
                verdict => verdict,
            };
        };
        if hop.in_flight(now) {
            return Verdict::InFlight;
        }
        match self.knowledge.known(question, target.address, now) {
            Known::Agreed {
                address,
                rtt,
                flows,
                takers,
            } => {
                let is_confirmed =
                    flows.len() >= wanted_flows(takers, confirmations) || hop.attempts > 0;
                if is_confirmed || !standing.is_own || !self.knowledge.can_confirm(address, now) {
                    if self.fits(target, ttl, address, now) == Some(false) {
                        return Verdict::Unclear;
                    }
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
            Known::Disputed {
                is_complete: false, ..
            } if standing.is_own && hop.attempts == 0 => Verdict::Ask {
                question: Some(question),
                confirming: true,
            },
            Known::Disputed { answers, .. } => match self.arm_of(target, ttl, answers, now) {
                Some((address, rtt)) => Verdict::Seen {
                    address,
                    rtt,
                    shared: true,
                    has_scout: false,
                },
                None => Verdict::Unclear,
            },
            _ if !standing.is_own && standing.has_scout && self.window(target) == 1 => {
                Verdict::Wait(question, now.after(SCOUT_PATIENCE))
            }
            _ if !standing.is_own => Verdict::StandFirst,
            Known::Nothing { tries: 0, .. } if hop.attempts == 0 => Verdict::Ask {
                question: Some(question),
                confirming: false,
            },
            Known::Nothing { .. } => Verdict::Doubtful,
        }
    }
}

/// Flows that have to have asked before another takes over their answer without asking, after so many `takers`. The first
/// that comes along does so; then more have to agree, two if no more are wanted and one more each time that their number
/// has grown fourfold.
fn wanted_flows(takers: u32, most: u8) -> usize {
    let grown = takers.checked_ilog2().map_or(1, |grown| grown / 2 + 2);
    usize::try_from(grown)
        .unwrap_or(usize::MAX)
        .min(usize::from(most.max(1)))
}
