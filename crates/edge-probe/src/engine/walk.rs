//! What one target asks next: from the base outwards to the end of the path, and back towards us.

use std::time::Duration;

use edge_types::{Hop, HopReply, MonotonicTime, PathEnd};

use super::knowledge::{Known, Question, Turn};
use super::target::{Answer, Target};
use super::{Engine, IpAddr, Rtt, Sharing};
use crate::config::MAX_ATTEMPTS;

/// How long to wait for another flow to ask before looking again.
const SCOUT_PATIENCE: Duration = Duration::from_millis(300);

/// The nearest known router beyond the TTL in question.
#[derive(Clone, Copy)]
struct Standing {
    node: IpAddr,
    at: u8,
    /// The target's own flow was answered by it. Otherwise it was taken over from other flows, and what this flow
    /// would find before it says nothing about that router.
    is_own: bool,
    /// One of the flows that it was taken over from is still at work, and will ask what is to be asked.
    has_scout: bool,
}

/// What is to be done about one TTL.
enum Verdict {
    /// Somebody is known to be there.
    Seen {
        address: IpAddr,
        rtt: Rtt,
        shared: bool,
        has_scout: bool,
    },
    /// Nobody answers, for good.
    Silent,
    /// A probe of this target is out.
    InFlight,
    /// Another target's probe will tell by then.
    Wait(Question, MonotonicTime),
    /// To be asked again, not before then. True if the walk should not go on without it.
    Later(MonotonicTime, bool),
    /// To be asked again only when the target's time is up. Perhaps what lies beyond can still be learnt.
    TooLate,
    /// Flows differ there: to be asked with the target's own flow when it is its turn. The walk goes on without it.
    TakeTurns(Question),
    /// The router stood on has to be seen with the target's own flow first.
    StandFirst,
    /// To be asked now.
    Ask {
        question: Option<Question>,
        confirming: bool,
    },
}

/// Probes to enqueue and instants to wake up at, collected in one walk.
struct Todo {
    /// Probes that may still go out.
    room: u8,
    asks: Vec<(u8, Option<Question>, bool)>,
    wakes: Vec<MonotonicTime>,
    /// Turns that were reserved, by TTL.
    turns: Vec<(u8, MonotonicTime)>,
    is_pending: bool,
}

impl Todo {
    fn ask(&mut self, ttl: u8, question: Option<Question>, confirming: bool) {
        self.is_pending = true;
        if self.room > 0 {
            self.room -= 1;
            self.asks.push((ttl, question, confirming));
        }
    }

    fn later(&mut self, at: MonotonicTime) {
        self.is_pending = true;
        self.wakes.push(at);
    }
}

impl Engine {
    /// Decides the next probes of `target`, or that its path is complete.
    pub(super) fn advance(
        &mut self,
        target: &mut Target,
        now: MonotonicTime,
    ) -> Option<(Vec<Hop>, PathEnd)> {
        let is_over = now >= target.deadline || target.exhausted;
        if !is_over && !self.locate(target, now) {
            return None;
        }
        let farthest = target.max_ttl();
        let busy = target
            .hops()
            .filter(|(ttl, hop)| *ttl != farthest && hop.in_flight(now))
            .count();
        let mut todo = Todo {
            room: self
                .window()
                .saturating_sub(u8::try_from(busy).unwrap_or(u8::MAX)),
            asks: Vec::new(),
            wakes: Vec::new(),
            turns: Vec::new(),
            is_pending: false,
        };
        let end = self.walk_out(target, now, &mut todo);
        let base = target.base();
        let top = target.end().map_or(base, |(ttl, _)| ttl.min(base));
        if is_over {
            let near = self.recall(target, top, now);
            return Some(assemble(target, end, near));
        }
        let near = self.walk_back(target, top, now, &mut todo);
        if !todo.is_pending {
            return Some(assemble(target, end, near));
        }
        for (ttl, turn) in todo.turns {
            target.hop_mut(ttl).turn = Some(turn);
        }
        for (ttl, question, confirming) in todo.asks {
            let hop = target.hop_mut(ttl);
            hop.question = question;
            hop.confirming = confirming;
            match question {
                Some(question) if confirming => {
                    let known = self.knowledge.known(question, target.address, now);
                    if let Known::Agreed { address, .. } = known {
                        self.knowledge.spend(address, now);
                    }
                }
                Some(question) => {
                    self.knowledge
                        .claim(question, target.address, target.deadline, now);
                }
                None => {}
            }
            self.enqueue(target, ttl);
        }
        self.timers.extend(
            todo.wakes
                .into_iter()
                .filter(|at| *at > now)
                .map(|at| (at, target.address)),
        );
        None
    }

    /// Asks the target for its distance: its answer to a probe with a large TTL quotes the TTL that was left. True once
    /// that is known or not worth waiting for.
    fn locate(&mut self, target: &mut Target, now: MonotonicTime) -> bool {
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
    fn walk_out(
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
                if is_open && target.hint.is_some() {
                    return None; // one after the other: the hint is nearly always right
                }
            }
            ttl += 1;
        };
        (!is_open).then_some(found)
    }

    /// Walks from below `top` back to us. Returns the hops at TTL 1 to `top - 1` as far as known.
    fn walk_back(
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
                        address,
                        rtt,
                        shared,
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

    /// Until when a probe of `target` can be answered in its time.
    fn latest(&self, target: &Target, now: MonotonicTime) -> MonotonicTime {
        let patience = target.timeout(self.slowest, self.config.initial_timeout);
        now.after(target.deadline.since(now).saturating_sub(patience))
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

    /// The hops at TTL 1 to `top - 1` as far as they are known without asking.
    fn recall(&self, target: &Target, top: u8, now: MonotonicTime) -> Vec<Hop> {
        let mut hops = vec![Hop::NoReply; usize::from(top.saturating_sub(1))];
        let mut nodes: Vec<_> = first_standing(target, top).into_iter().collect();
        for ttl in (1..top).rev() {
            let own = target.hop(ttl).answer.map(|answer| HopReply {
                address: answer.address,
                rtt: answer.rtt,
                shared: false,
            });
            let Some(reply) = own.or_else(|| self.recall_hop(target, ttl, &nodes, now)) else {
                continue;
            };
            hops[usize::from(ttl) - 1] = Hop::Reply(reply);
            nodes.push(Standing {
                node: reply.address,
                at: ttl,
                is_own: !reply.shared,
                has_scout: false,
            });
        }
        hops
    }

    /// What others know about `ttl`, by the nearest of `nodes` (the last) that anything is known about. Those farther
    /// away need as many witnesses as there may be.
    fn recall_hop(
        &self,
        target: &Target,
        ttl: u8,
        nodes: &[Standing],
        now: MonotonicTime,
    ) -> Option<HopReply> {
        let Sharing::Verified { confirmations } = self.config.sharing else {
            return None;
        };
        for (farther, node) in nodes.iter().rev().enumerate() {
            let question = self.question(Some(*node), ttl)?;
            match self.knowledge.known(question, target.address, now) {
                Known::Agreed {
                    address,
                    rtt,
                    flows,
                } if farther == 0 || flows.len() >= usize::from(confirmations) => {
                    return Some(HopReply {
                        address,
                        rtt,
                        shared: true,
                    });
                }
                Known::Disputed => return None,
                _ => {}
            }
        }
        None
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

    fn question(&self, standing: Option<Standing>, ttl: u8) -> Option<Question> {
        match self.config.sharing {
            Sharing::Off => None,
            Sharing::Verified { .. } => {
                standing.map(|Standing { node, at, .. }| Question { node, at, ttl })
            }
        }
    }

    fn is_interior(&self, target: &Target, ttl: u8) -> bool {
        (ttl + 1..=self.config.max_ttl).any(|above| target.hop(above).answer.is_some())
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

    /// What is to be done about a TTL with the target's own flow alone.
    fn own_verdict(
        &self,
        target: &Target,
        ttl: u8,
        is_interior: bool,
        now: MonotonicTime,
    ) -> Verdict {
        let hop = target.hop(ttl);
        if let Some(answer) = hop.answer {
            return seen(answer);
        }
        if hop.in_flight(now) {
            return Verdict::InFlight;
        }
        let most = if is_interior {
            self.config.attempts
        } else {
            self.config.attempts.min(2)
        };
        match self.next_try(target, ttl, hop.attempts, hop.last_sent, most, now) {
            None => Verdict::Silent,
            Some(at) if at > self.latest(target, now) => Verdict::TooLate,
            Some(at) if at > now => Verdict::Later(at, true),
            Some(_) => Verdict::Ask {
                question: None,
                confirming: false,
            },
        }
    }
}

const fn seen(answer: Answer) -> Verdict {
    Verdict::Seen {
        address: answer.address,
        rtt: answer.rtt,
        shared: false,
        has_scout: false,
    }
}

/// The nearest router at `top` or beyond, before the end, that answered the target's own flow.
fn first_standing(target: &Target, top: u8) -> Option<Standing> {
    (top..=target.max_ttl())
        .find_map(|at| {
            Some(Standing {
                node: target.router(at)?,
                at,
                is_own: true,
                has_scout: false,
            })
        })
        .filter(|standing| target.end().is_none_or(|(end, _)| standing.at < end))
}

/// Puts a path together from the hops near us, the target's own hops beyond, and its end.
fn assemble(
    target: &Target,
    end: Option<(u8, PathEnd)>,
    mut hops: Vec<Hop>,
) -> (Vec<Hop>, PathEnd) {
    let answer = target.end();
    let (length, end) = end.unwrap_or_else(|| match (answer, target.hint) {
        (Some((at, answer)), Some(hint)) if hint <= at => {
            (hint, answer.end().unwrap_or(PathEnd::TimedOut))
        }
        _ => {
            let last = target
                .hops()
                .filter(|(ttl, _)| target.router(*ttl).is_some())
                .map(|(ttl, _)| ttl)
                .filter(|ttl| *ttl < target.max_ttl())
                .last();
            (last.unwrap_or(0), PathEnd::TimedOut)
        }
    });
    hops.truncate(usize::from(length));
    let own = |ttl: u8| match target.hop(ttl).answer {
        Some(answer) => Hop::Reply(HopReply {
            address: answer.address,
            rtt: answer.rtt,
            shared: false,
        }),
        None => Hop::NoReply,
    };
    while let Ok(known) = u8::try_from(hops.len())
        && known < length
    {
        hops.push(own(known + 1));
    }
    if !matches!(end, PathEnd::Reached | PathEnd::Unreachable(_)) {
        return (hops, end);
    }
    // The last hop is the one that ended the path; its fastest answer may be to the probe that asked for the distance.
    let Some((_, first)) = answer else {
        return (hops, end);
    };
    let fastest = target
        .hops()
        .filter_map(|(_, hop)| hop.answer)
        .filter(|answer| answer.address == first.address && answer.speaker == first.speaker)
        .map(|answer| answer.rtt)
        .min()
        .unwrap_or(first.rtt);
    let reply = HopReply {
        address: first.address,
        rtt: fastest,
        shared: false,
    };
    hops.pop();
    let is_known =
        matches!(hops.last(), Some(Hop::Reply(before)) if before.address == first.address);
    if end == PathEnd::Reached || !is_known {
        hops.push(Hop::Reply(reply));
    }
    (hops, end)
}
