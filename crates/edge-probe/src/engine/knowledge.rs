//! What targets learn for one another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use edge_types::{MonotonicTime, Rtt};

/// Entries of any kind kept before old ones are dropped.
const MAX_ENTRIES: usize = 100_000;
/// Flows remembered for one answer.
const MAX_FLOWS: usize = 8;
/// Different answers remembered for one question.
const MAX_ANSWERS: usize = 8;
/// What a Linux router answers in a burst; it regains one reply per second.
const BURST: f64 = 6.0;
/// Replies that a router must have left before it is asked only to confirm what is known.
const KEPT_FOR_QUESTIONS: f64 = 4.0;
/// With fewer replies left a router may well have kept silent for want of them.
const LOW: f64 = 2.0;
/// Probes that a router is sent beyond the replies it should have left: should it answer them, it is not limited.
const TRIAL: f64 = 3.0;

/// "What is at distance `ttl` on paths that pass `node` at distance `at`?"
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    pub(crate) node: IpAddr,
    pub(crate) at: u8,
    pub(crate) ttl: u8,
}

/// What is known about a [`Question`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Known<'a> {
    /// Nobody has an answer; asked `tries` times, last at `last_sent`.
    Nothing { tries: u8, last_sent: MonotonicTime },
    /// Another target waits for an answer until then.
    Claimed { until: MonotonicTime },
    /// All flows that asked saw this responder.
    Agreed {
        address: IpAddr,
        rtt: Rtt,
        flows: &'a [IpAddr],
    },
    /// Flows differ: each has to ask for itself.
    Disputed,
    /// Nobody answers there.
    Silent,
}

#[derive(Debug, Default)]
struct Inquiry {
    answers: Vec<Answer>,
    tries: u8,
    last_sent: MonotonicTime,
    claim: Option<(IpAddr, MonotonicTime)>,
    silent_since: Option<MonotonicTime>,
    turns: Option<Turns>,
    touched: MonotonicTime,
}

/// Replies that routers in parallel have left for the flows that each have to ask for themselves.
#[derive(Clone, Copy, Debug)]
struct Turns {
    since: MonotonicTime,
    left: f64,
    at: MonotonicTime,
}

/// When a flow that has to ask for itself may do so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// No router there is short of replies.
    Free,
    /// From then on; that reply is reserved.
    At(MonotonicTime),
    /// All replies in the time are reserved. Since then have the flows been taking turns.
    None { since: MonotonicTime },
}

#[derive(Debug)]
struct Answer {
    address: IpAddr,
    rtt: Rtt,
    flows: Vec<IpAddr>,
    at: MonotonicTime,
}

/// A model of a router's reply limiter with Linux' defaults.
#[derive(Clone, Copy, Debug)]
struct Limiter {
    tokens: f64,
    at: MonotonicTime,
    /// Until then it had, or has, hardly any replies left.
    low_until: MonotonicTime,
    proven_unlimited: bool,
}

impl Limiter {
    fn tokens(&self, now: MonotonicTime) -> f64 {
        (self.tokens + now.since(self.at).as_secs_f64()).min(BURST)
    }
}

/// Answers shared between targets, who is asking what, and how much routers can still say.
#[derive(Debug)]
pub(crate) struct Knowledge {
    lifetime: Duration,
    inquiries: BTreeMap<Question, Inquiry>,
    waiting: BTreeMap<Question, BTreeSet<IpAddr>>,
    limiters: BTreeMap<IpAddr, Limiter>,
    /// Routers seen right behind a router at a distance.
    behind: BTreeMap<(IpAddr, u8), (MonotonicTime, BTreeSet<IpAddr>)>,
}

impl Knowledge {
    pub(crate) const fn new(lifetime: Duration) -> Self {
        Self {
            lifetime,
            inquiries: BTreeMap::new(),
            waiting: BTreeMap::new(),
            limiters: BTreeMap::new(),
            behind: BTreeMap::new(),
        }
    }

    /// What `asker` may take as known.
    pub(crate) fn known(&self, question: Question, asker: IpAddr, now: MonotonicTime) -> Known<'_> {
        let Some(inquiry) = self.inquiries.get(&question) else {
            return Known::Nothing {
                tries: 0,
                last_sent: MonotonicTime::ZERO,
            };
        };
        let is_fresh = |at: MonotonicTime| now.since(at) < self.lifetime;
        let mut fresh = inquiry.answers.iter().filter(|answer| is_fresh(answer.at));
        match (fresh.next(), fresh.next()) {
            (Some(_), Some(_)) => return Known::Disputed,
            (Some(answer), None) => {
                return Known::Agreed {
                    address: answer.address,
                    rtt: answer.rtt,
                    flows: &answer.flows,
                };
            }
            (None, _) => {}
        }
        if inquiry.silent_since.is_some_and(is_fresh) {
            return Known::Silent;
        }
        match inquiry.claim {
            Some((owner, until)) if owner != asker && until > now => Known::Claimed { until },
            _ if is_fresh(inquiry.last_sent) => Known::Nothing {
                tries: inquiry.tries,
                last_sent: inquiry.last_sent,
            },
            _ => Known::Nothing {
                tries: 0,
                last_sent: MonotonicTime::ZERO,
            },
        }
    }

    /// `owner` is about to ask; nobody else needs to until `until`.
    pub(crate) fn claim(
        &mut self,
        question: Question,
        owner: IpAddr,
        until: MonotonicTime,
        now: MonotonicTime,
    ) {
        let inquiry = self.inquiries.entry(question).or_default();
        if now.since(inquiry.touched) >= self.lifetime {
            *inquiry = Inquiry::default();
        }
        inquiry.touched = now;
        inquiry.claim = Some((owner, until));
    }

    /// `owner` has asked and waits until `until`; returns who waits with it.
    pub(crate) fn asked(
        &mut self,
        question: Question,
        owner: IpAddr,
        until: MonotonicTime,
        now: MonotonicTime,
    ) -> BTreeSet<IpAddr> {
        self.claim(question, owner, until, now);
        if let Some(inquiry) = self.inquiries.get_mut(&question) {
            inquiry.tries = inquiry.tries.saturating_add(1);
            inquiry.last_sent = now;
        }
        self.waiting.remove(&question).unwrap_or_default()
    }

    /// `owner` will not ask after all; returns who was waiting for it.
    pub(crate) fn release(&mut self, question: Question, owner: IpAddr) -> BTreeSet<IpAddr> {
        match self.inquiries.get_mut(&question) {
            Some(inquiry) if inquiry.claim.is_some_and(|(by, _)| by == owner) => {
                inquiry.claim = None;
                self.waiting.remove(&question).unwrap_or_default()
            }
            _ => BTreeSet::new(),
        }
    }

    /// `who` wants to hear when something changes.
    pub(crate) fn wait(&mut self, question: Question, who: IpAddr) {
        self.waiting.entry(question).or_default().insert(who);
    }

    /// The flow to `flow` got an answer; returns who was waiting for it.
    pub(crate) fn answer(
        &mut self,
        question: Question,
        address: IpAddr,
        rtt: Rtt,
        flow: IpAddr,
        now: MonotonicTime,
    ) -> BTreeSet<IpAddr> {
        let lifetime = self.lifetime;
        let inquiry = self.inquiries.entry(question).or_default();
        inquiry.touched = now;
        inquiry.claim = None;
        inquiry.silent_since = None;
        inquiry
            .answers
            .retain(|answer| now.since(answer.at) < lifetime);
        let room = inquiry.answers.len() < MAX_ANSWERS;
        let same = inquiry
            .answers
            .iter_mut()
            .find(|answer| answer.address == address);
        if let Some(answer) = same {
            answer.at = now;
            answer.rtt = answer.rtt.min(rtt);
            if !answer.flows.contains(&flow) && answer.flows.len() < MAX_FLOWS {
                answer.flows.push(flow);
            }
        } else if room {
            inquiry.answers.push(Answer {
                address,
                rtt,
                flows: vec![flow],
                at: now,
            });
        }
        self.waiting.remove(&question).unwrap_or_default()
    }

    /// Nobody answers; returns who was waiting to hear that.
    pub(crate) fn silent(&mut self, question: Question, now: MonotonicTime) -> BTreeSet<IpAddr> {
        let inquiry = self.inquiries.entry(question).or_default();
        inquiry.touched = now;
        inquiry.claim = None;
        inquiry.silent_since = Some(now);
        self.waiting.remove(&question).unwrap_or_default()
    }

    /// Takes one reply off what `router` can say.
    pub(crate) fn spend(&mut self, router: IpAddr, now: MonotonicTime) {
        let limiter = self.limiters.entry(router).or_insert(Limiter {
            tokens: BURST,
            at: now,
            low_until: MonotonicTime::ZERO,
            proven_unlimited: false,
        });
        limiter.tokens = limiter.tokens(now) - 1.0;
        limiter.at = now;
        if limiter.tokens < LOW {
            limiter.low_until = now.after(Duration::from_secs_f64(LOW - limiter.tokens));
        }
        // It said more than a limited router can, with some margin for jitter.
        limiter.proven_unlimited |= limiter.tokens < -1.5;
    }

    /// The next turn before `latest` to ask a question that is disputed. `again` if the flow has asked without success.
    pub(crate) fn turn(
        &mut self,
        question: Question,
        again: bool,
        latest: MonotonicTime,
        now: MonotonicTime,
    ) -> Turn {
        let Some(inquiry) = self.inquiries.get_mut(&question) else {
            return Turn::Free;
        };
        let limiters: Vec<_> = inquiry
            .answers
            .iter()
            .filter_map(|answer| self.limiters.get(&answer.address))
            .collect();
        let limited = || limiters.iter().filter(|limiter| !limiter.proven_unlimited);
        let per_second: f64 = limited().map(|_| 1.0).sum();
        // One that answers everybody has not answered this flow: it passes another.
        if limited().next().is_none() || (limited().count() < inquiry.answers.len() && !again) {
            return Turn::Free;
        }
        let turns = inquiry.turns.get_or_insert_with(|| Turns {
            since: now,
            left: limited().map(|limiter| limiter.tokens(now) + TRIAL).sum(),
            at: now,
        });
        turns.left = now
            .since(turns.at)
            .as_secs_f64()
            .mul_add(per_second, turns.left)
            .min((BURST + TRIAL) * per_second);
        turns.at = now;
        let wait = ((1.0 - turns.left) / per_second).max(0.0);
        let at = now.after(Duration::from_secs_f64(wait));
        if at > latest {
            return Turn::None { since: turns.since };
        }
        turns.left -= 1.0;
        Turn::At(at)
    }

    /// Can `router` be asked to confirm without losing replies to questions that are open?
    pub(crate) fn can_confirm(&self, router: IpAddr, now: MonotonicTime) -> bool {
        self.limiters.get(&router).is_none_or(|limiter| {
            limiter.proven_unlimited || limiter.tokens(now) > KEPT_FOR_QUESTIONS
        })
    }

    /// Notes that `router` at distance `ttl + 1` follows `node` at distance `ttl`; `None` is us.
    pub(crate) fn follows(
        &mut self,
        node: Option<IpAddr>,
        ttl: u8,
        router: IpAddr,
        now: MonotonicTime,
    ) {
        let node = node.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let (at, routers) = self.behind.entry((node, ttl)).or_default();
        *at = now;
        if routers.len() < MAX_ANSWERS {
            routers.insert(router);
        }
    }

    /// Did one of the routers seen behind `node` at distance `ttl` look as if it had used up its replies when it was
    /// last asked?
    pub(crate) fn limited_behind(
        &self,
        node: Option<IpAddr>,
        ttl: u8,
        asked: MonotonicTime,
    ) -> bool {
        let node = node.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.behind.get(&(node, ttl)).is_some_and(|(_, routers)| {
            routers.iter().any(|router| {
                self.limiters
                    .get(router)
                    .is_some_and(|limiter| !limiter.proven_unlimited && limiter.low_until >= asked)
            })
        })
    }

    /// Drops what is old once there is much of it, and everything if that does not help. Nobody waits when
    /// no trace is on.
    pub(crate) fn prune(&mut self, is_idle: bool, now: MonotonicTime) {
        if is_idle {
            self.waiting.clear();
        }
        let lifetime = self.lifetime;
        let is_fresh = |at: MonotonicTime| now.since(at) < lifetime;
        if self.inquiries.len() > MAX_ENTRIES {
            self.inquiries
                .retain(|_, inquiry| is_fresh(inquiry.touched));
            if self.inquiries.len() > MAX_ENTRIES {
                self.inquiries.clear();
            }
        }
        if self.behind.len() > MAX_ENTRIES {
            self.behind.retain(|_, (at, _)| is_fresh(*at));
            if self.behind.len() > MAX_ENTRIES {
                self.behind.clear();
            }
        }
        if self.limiters.len() > MAX_ENTRIES {
            self.limiters
                .retain(|_, limiter| limiter.tokens(now) < BURST);
            if self.limiters.len() > MAX_ENTRIES {
                self.limiters.clear();
            }
        }
    }
}
