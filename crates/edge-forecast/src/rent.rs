//! Rent a site or leave it: the economics of leases over time.
//!
//! Time goes in equal steps. A lease is paid in advance and runs for a fixed number of steps; its end is where it can be renewed
//! without an interruption. A service that starts anew is deployed first, and serves nobody meanwhile. In every step the site would
//! gain something against the cloud: milliseconds saved × requests × what a millisecond is worth. What it gains while it does not
//! serve is forgone. The cost of a policy is what it paid and what it let go, so that the cloud alone costs all gains, and a site that is
//! always there costs its leases.
//!
//! All sums are integers of one unit, which is the caller's choice.

mod clairvoyant;
mod driven;
mod expecting;
mod policies;

#[cfg(test)]
mod driven_tests;
#[cfg(test)]
mod tests;

pub use clairvoyant::least_cost;
pub use driven::{ALLOWANCE, ForecastDriven, Planned};
pub use expecting::Expecting;
pub use policies::{Hysteresis, Policy, Reactive, TimeToLive};

/// Largest gain of a step and largest price that are told apart; more counts as that.
pub const MAX_GAIN: u64 = 1 << 44;

/// What a site is rented for, and how long it takes to start there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Steps of a lease; 0 counts as 1.
    pub lease_steps: usize,
    /// What a whole lease costs.
    pub price: u64,
    /// How long it takes to deploy the service, in thousandths of a step.
    pub deploy_millisteps: u64,
}

impl Terms {
    /// Terms whose numbers are within the ranges that the rest counts on.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self {
            lease_steps: self.lease_steps.max(1),
            price: self.price.min(MAX_GAIN),
            deploy_millisteps: self.deploy_millisteps,
        }
    }

    /// The part of a step's gain that is lost to deploying: `age` is the step's position in the lease, from 0.
    pub(crate) fn lost(&self, gain: u64, age: usize) -> u64 {
        let before = (age as u64).saturating_mul(1000);
        let lost = self.deploy_millisteps.saturating_sub(before).min(1000);
        // A product of at most 2^44 and 1000.
        gain.min(MAX_GAIN) * lost / 1000
    }

    /// A step's share of a lease's price, in thousandths.
    pub(crate) fn share(&self) -> u128 {
        u128::from(self.price) * 1000 / self.lease_steps as u128
    }

    /// Steps of which at least a part is lost to deploying.
    pub(crate) fn deploy_steps(&self) -> usize {
        usize::try_from(self.deploy_millisteps.div_ceil(1000)).unwrap_or(usize::MAX)
    }
}

/// A lease that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lease {
    /// Steps of it that are over.
    age: usize,
    /// Was the service started with it, or did it run already?
    is_fresh: bool,
}

/// What became of a site under some policy so far: its lease, and all that it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    terms: Terms,
    lease: Option<Lease>,
    paid: u128,
    forgone: u128,
    leases: u64,
    deployments: u64,
}

impl Account {
    /// A site that is not rented.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms: terms.bounded(),
            lease: None,
            paid: 0,
            forgone: 0,
            leases: 0,
            deployments: 0,
        }
    }

    /// The terms.
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Is there something to decide before the next step? There is not while a lease runs.
    pub fn is_open(&self) -> bool {
        self.lease
            .is_none_or(|lease| lease.age >= self.terms.lease_steps)
    }

    /// Does the service run, so that renting means to renew?
    pub const fn is_running(&self) -> bool {
        self.lease.is_some()
    }

    /// Rents for a lease from the next step on, or leaves the site; without effect while a lease runs.
    pub fn decide(&mut self, rent: bool) {
        if !self.is_open() {
            return;
        }
        if !rent {
            self.lease = None;
            return;
        }
        let is_fresh = self.lease.is_none();
        self.lease = Some(Lease { age: 0, is_fresh });
        self.paid += u128::from(self.terms.price);
        self.leases += 1;
        self.deployments += u64::from(is_fresh);
    }

    /// A step went by, in which the site would have gained so much if it had served all the time.
    pub fn step(&mut self, gain: u64) {
        let gain = gain.min(MAX_GAIN);
        let forgone = match &mut self.lease {
            None => gain,
            Some(lease) => {
                let age = lease.age;
                lease.age += 1;
                if lease.is_fresh {
                    self.terms.lost(gain, age)
                } else {
                    0
                }
            }
        };
        self.forgone += u128::from(forgone);
        // A lease that was not renewed in time has ended.
        if self
            .lease
            .is_some_and(|lease| lease.age > self.terms.lease_steps)
        {
            self.lease = None;
        }
    }

    /// What the next step would cost more, if it gained so much, than the better of paying for it and letting it go; in thousandths. The price
    /// counts in equal parts over the lease. This is what policies differ in; the rest none of them can avoid.
    pub(crate) fn excess(&self, gain: u64) -> u128 {
        let gain = gain.min(MAX_GAIN);
        let (asked, share) = (u128::from(gain) * 1000, self.terms.share());
        let lease = self
            .lease
            .filter(|lease| lease.age < self.terms.lease_steps);
        match lease {
            None => asked.saturating_sub(share),
            Some(lease) => {
                let lost = if lease.is_fresh {
                    self.terms.lost(gain, lease.age)
                } else {
                    0
                };
                share.saturating_sub(asked) + u128::from(lost) * 1000
            }
        }
    }

    /// What was paid and what was forgone.
    pub const fn cost(&self) -> u128 {
        self.paid + self.forgone
    }

    /// What was paid.
    pub const fn paid(&self) -> u128 {
        self.paid
    }

    /// Leases bought.
    pub const fn leases(&self) -> u64 {
        self.leases
    }

    /// How often the service was started where it did not run: migrations.
    pub const fn deployments(&self) -> u64 {
        self.deployments
    }
}
