//! What targets learn for one another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use edge_types::{MonotonicTime, Rtt};

use super::nearby::Distances;

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
/// Time between the turns of those who wait for one router's replies, which come back one per second.
const TURN: Duration = Duration::from_millis(1000);
/// Waited after a reply should be there: its time is only known from when answers arrived here.
const TURN_MARGIN: Duration = Duration::from_millis(50);
/// So many targets have to find silence behind a router before others take it for granted.
const QUIET: usize = 3;
/// Flows that have to ask before no further answer is to be expected, with 95 % confidence, where so many (counted from
/// 1) are known and each flow gets any of them with equal chance (Veitch et al., "Failure control in multipath
/// route tracing", INFOCOM 2009).
const STOPPING: [usize; 8] = [6, 11, 16, 21, 27, 33, 38, 44];

/// Stands for us where a router is meant.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

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
        /// Targets that took it over.
        takers: u32,
    },
    /// Flows differ: there are routers in parallel.
    Disputed {
        answers: Answers<'a>,
        /// So many flows have asked that all of the routers should be known.
        is_complete: bool,
    },
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
    /// Targets that took over an answer without asking.
    takers: u32,
    /// Flows that got an answer.
    asked: usize,
    touched: MonotonicTime,
}

#[derive(Debug)]
struct Answer {
    address: IpAddr,
    rtt: Rtt,
    flows: Vec<IpAddr>,
    at: MonotonicTime,
}

/// Routers in parallel, of which each flow passes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers<'a>(&'a [Answer]);

impl Answers<'_> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpAddr, Rtt)> {
        self.0.iter().map(|answer| (answer.address, answer.rtt))
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.iter().any(|(known, _)| known == address)
    }
}

impl PartialEq for Answers<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

/// A model of a router's reply limiter with Linux' defaults.
#[derive(Clone, Copy, Debug)]
struct Limiter {
    tokens: f64,
    at: MonotonicTime,
    /// Until then it had, or has, hardly any replies left.
    low_until: MonotonicTime,
    proven_unlimited: bool,
    /// The first turn that nobody has taken.
    next_turn: MonotonicTime,
    /// The one distance at which it was met; `None` if there are several.
    place: Option<u8>,
}

impl Limiter {
    fn tokens(&self, now: MonotonicTime) -> f64 {
        (self.tokens + now.since(self.at).as_secs_f64()).min(BURST)
    }

    /// The next turn.
    fn turn(&self, now: MonotonicTime) -> MonotonicTime {
        let missing = (1.0 - self.tokens(now)).max(0.0);
        let regained = now.after(Duration::from_secs_f64(missing));
        self.next_turn.max(regained.after(TURN_MARGIN))
    }

    /// Had it hardly any replies left when a probe was sent at `asked`?
    fn was_low(&self, asked: MonotonicTime) -> bool {
        !self.proven_unlimited && self.low_until >= asked
    }
}

/// Answers shared between targets, who is asking what, and how much routers can still say.
#[derive(Debug)]
pub(crate) struct Knowledge {
    lifetime: Duration,
    inquiries: BTreeMap<Question, Inquiry>,
    waiting: BTreeMap<Question, BTreeSet<IpAddr>>,
    limiters: BTreeMap<IpAddr, Limiter>,
    /// Routers that had hardly any replies left, by distance.
    exhausted: BTreeMap<u8, BTreeSet<IpAddr>>,
    /// Routers seen right behind a router at a distance.
    behind: BTreeMap<(IpAddr, u8), (MonotonicTime, BTreeSet<IpAddr>)>,
    /// Flows that found silence right behind a router at a distance.
    quiet: BTreeMap<(IpAddr, u8), (MonotonicTime, Vec<IpAddr>)>,
    /// Routers right before a target that was reached.
    access: BTreeMap<IpAddr, MonotonicTime>,
    distances: Distances,
}

impl Knowledge {
    pub(crate) const fn new(lifetime: Duration) -> Self {
        Self {
            lifetime,
            inquiries: BTreeMap::new(),
            waiting: BTreeMap::new(),
            limiters: BTreeMap::new(),
            exhausted: BTreeMap::new(),
            behind: BTreeMap::new(),
            quiet: BTreeMap::new(),
            access: BTreeMap::new(),
            distances: Distances::new(),
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
        match inquiry.answers.as_slice() {
            [answer] if is_fresh(answer.at) => {
                return Known::Agreed {
                    address: answer.address,
                    rtt: answer.rtt,
                    flows: &answer.flows,
                    takers: inquiry.takers,
                };
            }
            answers @ [_, _, ..] if answers.iter().any(|answer| is_fresh(answer.at)) => {
                return Known::Disputed {
                    answers: Answers(answers),
                    is_complete: inquiry.asked >= STOPPING[answers.len().min(STOPPING.len()) - 1],
                };
            }
            _ => {}
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
        if !inquiry
            .answers
            .iter()
            .any(|answer| answer.flows.contains(&flow))
        {
            inquiry.asked += 1;
        }
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

    /// Takes one reply off what `router` at distance `ttl` can say.
    pub(crate) fn spend(&mut self, router: IpAddr, ttl: u8, now: MonotonicTime) {
        let limiter = self.limiters.entry(router).or_insert(Limiter {
            tokens: BURST,
            at: now,
            low_until: MonotonicTime::ZERO,
            proven_unlimited: false,
            next_turn: MonotonicTime::ZERO,
            place: Some(ttl),
        });
        limiter.place = limiter.place.filter(|place| *place == ttl);
        limiter.tokens = limiter.tokens(now) - 1.0;
        limiter.at = now;
        if limiter.tokens < LOW {
            limiter.low_until = now.after(Duration::from_secs_f64(LOW - limiter.tokens));
            self.exhausted.entry(ttl).or_default().insert(router);
        }
        // It said more than a limited router can, with some margin for jitter.
        limiter.proven_unlimited |= limiter.tokens < -1.5;
    }

    /// The distance at which all flows so far met `router`.
    pub(crate) fn place_of(&self, router: IpAddr) -> Option<u8> {
        self.limiters.get(&router)?.place
    }

    /// A target takes over the answer to `question`.
    pub(crate) fn took(&mut self, question: Question) {
        if let Some(inquiry) = self.inquiries.get_mut(&question) {
            inquiry.takers = inquiry.takers.saturating_add(1);
        }
    }

    /// Notes that a target was reached right behind `router`.
    pub(crate) fn host_behind(&mut self, router: IpAddr, now: MonotonicTime) {
        self.access.insert(router, now);
    }

    /// Notes that `target` said that it is `distance` hops away.
    pub(crate) fn is_at(&mut self, target: IpAddr, distance: u8, now: MonotonicTime) {
        self.distances.note(target, distance, now);
    }

    /// How far away the nearest neighbour of `target` in the address space is, if one is known.
    pub(crate) fn distance_nearby(&self, target: IpAddr) -> Option<u8> {
        self.distances.nearby(target)
    }

    /// Was a target reached right behind `router`?
    pub(crate) fn has_hosts_behind(&self, router: IpAddr) -> bool {
        self.access.contains_key(&router)
    }

    /// Notes that the flow to `flow` found silence behind `node` at distance `ttl`.
    pub(crate) fn quiet_behind(
        &mut self,
        node: Option<IpAddr>,
        ttl: u8,
        flow: IpAddr,
        now: MonotonicTime,
    ) {
        let (at, flows) = self.quiet.entry((node.unwrap_or(HERE), ttl)).or_default();
        *at = now;
        if flows.len() < QUIET && !flows.contains(&flow) {
            flows.push(flow);
        }
    }

    /// Did several flows find silence behind `node` at distance `ttl`, and none a router?
    pub(crate) fn is_quiet_behind(&self, node: Option<IpAddr>, ttl: u8) -> bool {
        let place = (node.unwrap_or(HERE), ttl);
        let is_quiet = |(_, flows): &(MonotonicTime, Vec<IpAddr>)| flows.len() >= QUIET;
        self.quiet.get(&place).is_some_and(is_quiet) && !self.behind.contains_key(&place)
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
        let node = node.unwrap_or(HERE);
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
        let node = node.unwrap_or(HERE);
        self.behind
            .get(&(node, ttl))
            .is_some_and(|(_, routers)| routers.iter().any(|router| self.was_low(*router, asked)))
    }

    /// A turn, before `latest`, to ask the router that [`Knowledge::limited_behind`] speaks of: when it should have a reply
    /// to give that nobody else waits for.
    pub(crate) fn take_turn_behind(
        &mut self,
        node: Option<IpAddr>,
        ttl: u8,
        asked: MonotonicTime,
        latest: MonotonicTime,
        now: MonotonicTime,
    ) -> Option<MonotonicTime> {
        let (_, routers) = self.behind.get(&(node.unwrap_or(HERE), ttl))?;
        let mut routers = routers.iter().copied();
        let router = routers.find(|router| self.was_low(*router, asked))?;
        self.take_turn(router, latest, now)
    }

    /// The same of a router anywhere at distance `ttl`: of those that lack replies, the one that most wait for if a router
    /// is `beyond`, as behind a hub, else the one that fewest wait for, as among many that hosts are behind.
    pub(crate) fn take_turn_at(
        &mut self,
        ttl: u8,
        beyond: bool,
        asked: MonotonicTime,
        latest: MonotonicTime,
        now: MonotonicTime,
    ) -> Option<MonotonicTime> {
        let routers = self.exhausted.get(&ttl)?.iter().copied();
        let low = routers.filter(|router| self.was_low(*router, asked));
        let turn = |router: &IpAddr| self.limiters.get(router).map(|limiter| limiter.turn(now));
        let router = if beyond {
            low.max_by_key(turn)?
        } else {
            low.min_by_key(turn)?
        };
        self.take_turn(router, latest, now)
    }

    fn was_low(&self, router: IpAddr, asked: MonotonicTime) -> bool {
        self.limiters
            .get(&router)
            .is_some_and(|limiter| limiter.was_low(asked))
    }

    fn take_turn(
        &mut self,
        router: IpAddr,
        latest: MonotonicTime,
        now: MonotonicTime,
    ) -> Option<MonotonicTime> {
        let limiter = self.limiters.get_mut(&router)?;
        let turn = limiter.turn(now);
        (turn <= latest).then(|| {
            limiter.next_turn = turn.after(TURN);
            turn
        })
    }

    /// Is there nothing that a new trace could take over?
    pub(crate) fn is_blank(&self, now: MonotonicTime) -> bool {
        let is_fresh = |at: MonotonicTime| now.since(at) < self.lifetime;
        !self.behind.values().any(|(at, _)| is_fresh(*at))
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
        if self.quiet.len() > MAX_ENTRIES {
            self.quiet.retain(|_, (at, _)| is_fresh(*at));
            if self.quiet.len() > MAX_ENTRIES {
                self.quiet.clear();
            }
        }
        if self.access.len() > MAX_ENTRIES {
            self.access.retain(|_, at| is_fresh(*at));
            if self.access.len() > MAX_ENTRIES {
                self.access.clear();
            }
        }
        self.distances.prune(MAX_ENTRIES, is_fresh);
        if self.limiters.len() > MAX_ENTRIES {
            self.limiters
                .retain(|_, limiter| limiter.tokens(now) < BURST);
            if self.limiters.len() > MAX_ENTRIES {
                self.limiters.clear();
            }
            self.exhausted.clear();
        }
    }
}
