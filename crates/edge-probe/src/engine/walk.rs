//! What one target asks next: from the base outwards to the end of the path, and back towards us.

use edge_types::{Hop, MonotonicTime, PathEnd};

use super::knowledge::{Answers, Known, Question};
use super::target::{Answer, Target};
use super::trail;
use super::{Engine, IpAddr, Rtt, Sharing};

mod backward;
mod outward;
mod recall;

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
    /// What others found there does not fit what this flow found nearer to us.
    Unclear,
    /// A probe of this target is out.
    InFlight,
    /// Another target's probe will tell by then.
    Wait(Question, MonotonicTime),
    /// To be asked again, not before then. True if the walk should not go on without it.
    Later(MonotonicTime, bool),
    /// To be asked again only when the target's time is up. Perhaps what lies beyond can still be learnt.
    TooLate,
    /// Asked without answer. What lies beyond tells whether it is worth asking again.
    Doubtful,
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
    /// Answers taken over from others, by TTL.
    takes: Vec<(u8, Question)>,
    /// Turns taken to ask limited routers again, by TTL.
    turns: Vec<(u8, MonotonicTime)>,
    /// Largest TTL that is asked although nothing nearer has answered.
    reach: u8,
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
        if !is_over && !target.walks {
            self.ask_distance(target, now);
            return None;
        }
        if !is_over && !self.locate(target, now) {
            return None;
        }
        target.pass_silent_router(now);
        let farthest = target.max_ttl();
        let busy = target
            .hops()
            .filter(|(ttl, hop)| *ttl != farthest && hop.in_flight(now))
            .count();
        let window = self.window(target);
        let mut todo = Todo {
            room: window.saturating_sub(u8::try_from(busy).unwrap_or(u8::MAX)),
            asks: Vec::new(),
            wakes: Vec::new(),
            takes: Vec::new(),
            turns: Vec::new(),
            reach: if target.is_solo { window } else { 0 },
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
        for (ttl, question) in todo.takes {
            if !std::mem::replace(&mut target.hop_mut(ttl).took, true) {
                self.knowledge.took(question);
                self.note_taken(target, ttl, question, near.get(usize::from(ttl) - 1), now);
            }
        }
        for (ttl, turn) in todo.turns {
            let hop = target.hop_mut(ttl);
            (hop.turn, hop.turns) = (turn, hop.turns + 1);
        }
        if !todo.is_pending {
            return Some(assemble(target, end, near));
        }
        for (ttl, question, confirming) in todo.asks {
            let hop = target.hop_mut(ttl);
            hop.question = question;
            hop.confirming = confirming;
            match question {
                Some(question) if confirming => {
                    let known = self.knowledge.known(question, target.address, now);
                    if let Known::Agreed { address, .. } = known {
                        self.knowledge.spend(address, ttl, now);
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

    /// Notes from whom the answer at a hop was taken over, if that is to be told.
    fn note_taken(
        &self,
        target: &mut Target,
        ttl: u8,
        question: Question,
        hop: Option<&Hop>,
        now: MonotonicTime,
    ) {
        let Some(Hop::Reply(reply)) = hop else { return };
        if target.trail.is_none() {
            return;
        }
        let flows = match self.knowledge.known(question, target.address, now) {
            Known::Agreed { flows, .. } => flows,
            _ => &[],
        };
        target.note(now, || trail::taken_over(ttl, reply.address, flows));
    }

    /// Until when a probe of `target` can be answered in its time.
    fn latest(&self, target: &Target, now: MonotonicTime) -> MonotonicTime {
        let patience = target.timeout(self.slowest, self.config.initial_timeout);
        now.after(target.deadline.since(now).saturating_sub(patience))
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

    /// What is to be done about a TTL with the target's own flow alone, which asks at `most` so often.
    fn own_verdict(&self, target: &Target, ttl: u8, most: u8, now: MonotonicTime) -> Verdict {
        let hop = target.hop(ttl);
        if let Some(answer) = hop.answer {
            return seen(answer);
        }
        if hop.in_flight(now) {
            return Verdict::InFlight;
        }
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
        Some(answer) => Hop::Reply(answer.reply()),
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
        .min_by_key(|answer| answer.rtt)
        .unwrap_or(first);
    let reply = fastest.reply();
    hops.pop();
    let is_known =
        matches!(hops.last(), Some(Hop::Reply(before)) if before.address == first.address);
    if end == PathEnd::Reached || !is_known {
        hops.push(Hop::Reply(reply));
    }
    (hops, end)
}
