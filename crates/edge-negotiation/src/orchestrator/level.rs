//! The service level by receipt interval: how far clients were from the site as they saw it, and whether that is what was promised.
//!
//! ## Rule
//! The promise is kept if it holds for half of the client networks: the round trip of a network is the median of its clients' bounces,
//! and the median of the networks is compared with the promise. Fewer than half of the networks cannot change the verdict, whatever
//! they say. Counted are clients for whom the plan expected a shorter round trip than the promised one, since the site does not choose
//! who is sent to it. With too few bounces, or from too few networks, nothing is judged and the promise counts as kept.
//!
//! What was served within an interval that missed the promise is not paid, as an outage is not: the availability that is promised
//! covers both.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use edge_types::{IpNet, Rtt, UtcTime};

/// Fewer bounces than this in an interval judge nothing …
const FEWEST_BOUNCES: usize = 5;
/// … and neither do bounces of clients in fewer networks.
const FEWEST_NETWORKS: usize = 3;
/// Intervals that are remembered.
const MOST_INTERVALS: usize = 32;

/// Networks heard of in one interval; of more, the first count.
const MOST_NETWORKS: usize = 512;
/// Bounces of one network in one interval; of more, the first count.
const MOST_OF_NETWORK: usize = 16;

/// What clients tell of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A client was sent to bounce off the site.
    Sent,
    /// It came back.
    Bounce {
        /// The client's network.
        network: IpNet,
        /// The round trip between client and site is at most this.
        bound: Rtt,
        /// Does the promise hold for the client: did the plan expect less than is promised?
        is_promised: bool,
    },
    /// A client's browser says that a request to the site failed (Network Error Logging).
    Failure {
        /// The client's network.
        network: IpNet,
    },
    /// The site says how far clients are.
    Reported {
        /// The clients' network.
        network: IpNet,
        /// By the site's own sockets.
        rtt: Rtt,
    },
}

/// What an interval came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No round trip is promised.
    NothingPromised,
    /// Too few clients came back from too few networks to judge.
    TooFew,
    /// The promise was kept.
    Kept,
    /// It was not; what was served is not paid.
    Missed,
}

/// One receipt interval that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Its begin …
    pub from: UtcTime,
    /// … and end.
    pub until: UtcTime,
    /// Service in it, by the health checks.
    pub served: Duration,
    /// Clients sent to bounce.
    pub sent: u32,
    /// Bounces that came back.
    pub bounces: u32,
    /// Networks that they were from.
    pub networks: u32,
    /// The median of the networks for which the promise holds, or of all where nothing is promised.
    pub median: Option<Rtt>,
    /// The longest of all bounces but one in twenty.
    pub p95: Option<Rtt>,
    /// What that means for the payment.
    pub verdict: Verdict,
    /// Failures that clients reported.
    pub failures: u32,
    /// Networks that they were from.
    pub failing_networks: u32,
    /// Median over networks of the round trips that the site reports itself.
    pub reported: Option<Rtt>,
    /// Networks for which the site reports less than half of what any bounce took.
    pub doubted: u32,
}

/// The interval under way and those before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Levels {
    from: Option<UtcTime>,
    /// Service measured before the interval.
    served_before: Duration,
    sent: u32,
    bounces: BTreeMap<IpNet, Vec<(Rtt, bool)>>,
    failures: BTreeMap<IpNet, u32>,
    reported: BTreeMap<IpNet, Rtt>,
    past: VecDeque<Interval>,
}

impl Levels {
    /// After a restart: nothing was heard yet of the interval under way.
    pub(super) fn resume(past: Vec<Interval>, served: Duration) -> Self {
        Self {
            from: past.last().map(|interval| interval.until),
            served_before: served,
            past: past.into(),
            ..Self::default()
        }
    }

    pub(super) fn past(&self) -> impl Iterator<Item = &Interval> {
        self.past.iter()
    }

    pub(super) fn hear(&mut self, heard: Heard) {
        let is_full = |known: usize, is_new: bool| known >= MOST_NETWORKS && is_new;
        match heard {
            Heard::Sent => self.sent = self.sent.saturating_add(1),
            Heard::Bounce {
                network,
                bound,
                is_promised,
            } => {
                if !is_full(self.bounces.len(), !self.bounces.contains_key(&network)) {
                    let of_network = self.bounces.entry(network).or_default();
                    if of_network.len() < MOST_OF_NETWORK {
                        of_network.push((bound, is_promised));
                    }
                }
            }
            Heard::Failure { network } => {
                if !is_full(self.failures.len(), !self.failures.contains_key(&network)) {
                    let count = self.failures.entry(network).or_default();
                    *count = count.saturating_add(1);
                }
            }
            Heard::Reported { network, rtt } => {
                if !is_full(self.reported.len(), !self.reported.contains_key(&network)) {
                    self.reported.insert(network, rtt);
                }
            }
        }
    }

    /// Ends the interval: how much of the service, of which `served` was measured in all since the beginning, is not paid.
    pub(super) fn close(
        &mut self,
        promise: Option<Rtt>,
        start: UtcTime,
        now: UtcTime,
        served: Duration,
    ) -> Duration {
        let from = self.from.unwrap_or(start).max(start);
        let in_interval = served.saturating_sub(self.served_before);
        let promised_to = |is_promised: bool| promise.is_none() || is_promised;
        let judged = self.medians(promised_to);
        let count: usize = self
            .bounces
            .values()
            .flatten()
            .filter(|(_, is_promised)| promised_to(*is_promised))
            .count();
        let median = median(judged.values().copied().collect());
        let verdict = match (promise, median) {
            (None, _) => Verdict::NothingPromised,
            (Some(promise), Some(median))
                if count >= FEWEST_BOUNCES && judged.len() >= FEWEST_NETWORKS =>
            {
                if median <= promise {
                    Verdict::Kept
                } else {
                    Verdict::Missed
                }
            }
            _ => Verdict::TooFew,
        };
        let whole = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let all: Vec<Rtt> = self
            .bounces
            .values()
            .flatten()
            .map(|(rtt, _)| *rtt)
            .collect();
        let interval = Interval {
            from,
            until: now,
            served: in_interval,
            sent: self.sent,
            bounces: whole(all.len()),
            networks: whole(self.bounces.len()),
            median,
            p95: longest_but_one_in_20(all),
            verdict,
            failures: self
                .failures
                .values()
                .fold(0, |sum, n| sum.saturating_add(*n)),
            failing_networks: whole(self.failures.len()),
            reported: self::median(self.reported.values().copied().collect()),
            doubted: whole(self.doubted()),
        };
        if self.past.len() >= MOST_INTERVALS {
            self.past.pop_front();
        }
        let past = std::mem::take(&mut self.past);
        let unpaid = if verdict == Verdict::Missed {
            in_interval
        } else {
            Duration::ZERO
        };
        *self = Self {
            from: Some(now),
            served_before: served.saturating_sub(unpaid),
            past,
            ..Self::default()
        };
        self.past.push_back(interval);
        unpaid
    }

    /// The median round trip of each network, over the bounces for which the promise holds.
    fn medians(&self, promised_to: impl Fn(bool) -> bool) -> BTreeMap<IpNet, Rtt> {
        let of = |bounces: &Vec<(Rtt, bool)>| {
            let counted = bounces
                .iter()
                .filter(|(_, is_promised)| promised_to(*is_promised));
            median(counted.map(|(rtt, _)| *rtt).collect())
        };
        let networks = self.bounces.iter();
        networks
            .filter_map(|(network, bounces)| Some((*network, of(bounces)?)))
            .collect()
    }

    /// A site that says less than half of the shortest bounce of several, for the same clients, says too little.
    fn doubted(&self) -> usize {
        let of_network = |(network, rtt): (&IpNet, &Rtt)| {
            let bounces = self.bounces.get(network)?;
            let shortest = bounces.iter().map(|(bound, _)| *bound).min()?;
            (bounces.len() >= FEWEST_OF_ONE && is_too_short(*rtt, shortest)).then_some(())
        };
        self.reported.iter().filter_map(of_network).count()
    }
}

/// So many bounces of one network say that a site's report on it is too short.
pub const FEWEST_OF_ONE: usize = 3;

/// Is this report on a network shorter than the `shortest` of its bounces allow? A bounce is an upper bound; but that no client of
/// several came near to what the site says, with room for as much again, is not believed.
pub fn is_too_short(reported: Rtt, shortest: Rtt) -> bool {
    const SLACK: Duration = Duration::from_millis(5);
    reported.0 * 2 + SLACK < shortest.0
}

/// The middle one; of an even number the lower one, in doubt for the site.
fn median(mut all: Vec<Rtt>) -> Option<Rtt> {
    all.sort_unstable();
    let at = all.len().checked_sub(1)? / 2;
    all.get(at).copied()
}

fn longest_but_one_in_20(mut all: Vec<Rtt>) -> Option<Rtt> {
    all.sort_unstable();
    let at = (all.len() * 19).div_ceil(20).checked_sub(1)?;
    all.get(at).copied()
}

#[cfg(test)]
mod tests;
