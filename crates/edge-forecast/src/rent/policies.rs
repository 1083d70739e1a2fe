//! Policies that know the past only.

use std::fmt;

use super::{MAX_GAIN, Terms};

/// Decides whether to rent for another lease, knowing what went by.
pub trait Policy: fmt::Debug {
    /// Its name in options and reports.
    fn name(&self) -> &'static str;

    /// Rent now? `running` says that the service runs and would be renewed, otherwise it has to be deployed.
    fn wants(&mut self, running: bool) -> bool;

    /// Does it remember what it decided, so that it can be followed only by doing always as it did? Otherwise it can be asked about any
    /// site, rented or not.
    fn has_a_mind_of_its_own(&self) -> bool {
        false
    }

    /// A step went by, in which the site would have gained so much.
    fn observe(&mut self, gain: u64);
}

/// Rents if the lease would pay were all its steps as the last one.
#[derive(Clone, Debug)]
pub struct Reactive {
    terms: Terms,
    last: u64,
}

impl Reactive {
    /// For a site on these terms.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms: terms.bounded(),
            last: 0,
        }
    }
}

impl Policy for Reactive {
    fn name(&self) -> &'static str {
        "reactive"
    }

    fn wants(&mut self, running: bool) -> bool {
        let steps = self.terms.lease_steps as u128 * 1000;
        let lost = if running {
            0
        } else {
            u128::from(self.terms.deploy_millisteps).min(steps)
        };
        u128::from(self.last) * (steps - lost) > u128::from(self.terms.price) * 1000
    }

    fn observe(&mut self, gain: u64) {
        self.last = gain.min(MAX_GAIN);
    }
}

/// Rents if the lease would pay by any of the last steps: keeps a site until it did not pay for a while.
#[derive(Clone, Debug)]
pub struct TimeToLive {
    reactive: Reactive,
    steps: usize,
    /// Steps since the last one that would have paid.
    idle: Option<usize>,
}

impl TimeToLive {
    /// For a site on these terms, which is kept for `steps` after the last that paid.
    pub fn new(terms: Terms, steps: usize) -> Self {
        Self {
            reactive: Reactive::new(terms),
            steps,
            idle: None,
        }
    }
}

impl Policy for TimeToLive {
    fn name(&self) -> &'static str {
        "TTL"
    }

    fn wants(&mut self, _running: bool) -> bool {
        self.idle.is_some_and(|idle| idle < self.steps)
    }

    fn observe(&mut self, gain: u64) {
        self.reactive.observe(gain);
        self.idle = if self.reactive.wants(true) {
            Some(0)
        } else {
            self.idle.map(|idle| idle.saturating_add(1))
        };
    }
}

/// Changes its mind if hindsight says so, after `RetroRenting` (Narayana et al., "On Renting Edge Resources for Service Hosting"):
/// if having rented, or having left, from some step of the window on would have been better by more than what the change costs.
///
/// What a change costs is what deploying forgoes at a busy time, times 1 + hysteresis, and a share of the lease's price, because a
/// lease commits. The least time on either side is a lease.
#[derive(Clone, Debug)]
pub struct Hysteresis {
    terms: Terms,
    percent: u64,
    /// Decayed mean gain, in thousandths, of the steps that would have paid.
    busy: i128,
    /// The best that renting since some step would have brought over leaving, in thousandths; never below 0.
    for_renting: i128,
    /// The same the other way round.
    for_leaving: i128,
    rented: bool,
}

/// The busy mean forgets to 1/e in so many busy steps.
const BUSY_STEPS: i128 = 64;

/// Deploying for longer than so many thousandths of a step makes no difference.
const LONGEST_DEPLOYMENT: u64 = 1 << 32;

impl Hysteresis {
    /// For a site on these terms. A change of mind has to be better by `percent` of what it commits to.
    pub fn new(terms: Terms, percent: u64) -> Self {
        let terms = terms.bounded();
        Self {
            terms,
            percent: percent.min(1000),
            busy: share(&terms),
            for_renting: 0,
            for_leaving: 0,
            rented: false,
        }
    }

    /// What a change of mind costs, in thousandths.
    fn change(&self) -> i128 {
        let deploy = i128::from(self.terms.deploy_millisteps.min(LONGEST_DEPLOYMENT));
        let percent = i128::from(self.percent);
        let committed = i128::from(self.terms.price) * 10 * percent;
        self.busy * deploy / 1000 * (100 + percent) / 100 + committed
    }
}

/// A step's share of a lease's price, in thousandths.
fn share(terms: &Terms) -> i128 {
    i128::from(terms.price) * 1000 / terms.lease_steps as i128
}

impl Policy for Hysteresis {
    fn name(&self) -> &'static str {
        "hysteresis"
    }

    fn has_a_mind_of_its_own(&self) -> bool {
        true
    }

    fn wants(&mut self, running: bool) -> bool {
        if self.rented != running {
            // Somebody else decided.
            (self.rented, self.for_renting, self.for_leaving) = (running, 0, 0);
        }
        let change = self.change();
        if !running && self.for_renting > change {
            (self.rented, self.for_leaving) = (true, 0);
        } else if running && self.for_leaving > change {
            (self.rented, self.for_renting) = (false, 0);
        }
        self.rented
    }

    fn observe(&mut self, gain: u64) {
        let gain = gain.min(MAX_GAIN);
        let ahead = i128::from(gain) * 1000 - share(&self.terms);
        if ahead > 0 {
            self.busy += (i128::from(gain) * 1000 - self.busy) / BUSY_STEPS;
        }
        self.for_renting = (self.for_renting + ahead).max(0);
        self.for_leaving = (self.for_leaving - ahead).max(0);
    }
}
