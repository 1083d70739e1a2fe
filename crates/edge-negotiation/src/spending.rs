//! How much may be put into escrow, and how much was (security rule 13).

use std::collections::VecDeque;

use edge_types::UtcTime;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Caps on what is put into escrow, each in units of the one asset that is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpendingCaps {
    /// Within any hour.
    pub per_hour: u128,
    /// Within any day.
    pub per_day: u128,
    /// For one agreement with a site.
    pub per_site: u128,
}

/// Why nothing is put into escrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpendingRefusal {
    /// The operator stopped all spending.
    #[error("spending is stopped; `exec-edge agreement resume` allows it again")]
    Stopped,
    /// One agreement costs too much.
    #[error(
        "a deposit of {deposit} is above the cap of {cap} for one site (budget.units_per_site)"
    )]
    SiteCap {
        /// What it would cost.
        deposit: u128,
        /// The cap.
        cap: u128,
    },
    /// Too much in escrow at once with a provider that has not served us to the end yet.
    #[error(
        "a deposit of {deposit} beside {pending} is above the cap of {cap} for a provider that is new to us (budget.units_per_new_provider)"
    )]
    NewProvider {
        /// What it would cost.
        deposit: u128,
        /// What is in escrow with the provider, or about to be.
        pending: u128,
        /// The cap.
        cap: u128,
    },
    /// Too much within an hour.
    #[error(
        "a deposit of {deposit} is above the {left} that the hourly cap leaves (budget.units_per_hour)"
    )]
    HourCap {
        /// What it would cost.
        deposit: u128,
        /// What the cap leaves.
        left: u128,
    },
    /// Too much within a day.
    #[error(
        "a deposit of {deposit} is above the {left} that the daily cap leaves (budget.units_per_day)"
    )]
    DayCap {
        /// What it would cost.
        deposit: u128,
        /// What the cap leaves.
        left: u128,
    },
}

/// What was spent of late, and whether more may be.
#[derive(Clone, Debug)]
pub struct Spending {
    caps: SpendingCaps,
    is_stopped: bool,
    /// Deposits of the last day, by time.
    spent: VecDeque<(UtcTime, u128)>,
}

impl Spending {
    /// Nothing was spent.
    pub const fn new(caps: SpendingCaps) -> Self {
        Self {
            caps,
            is_stopped: false,
            spent: VecDeque::new(),
        }
    }

    /// Stops all spending, or allows it again: the kill switch.
    pub const fn stop(&mut self, is_stopped: bool) {
        self.is_stopped = is_stopped;
    }

    /// Is all spending stopped?
    pub const fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// May this be put into escrow?
    pub fn check(&self, deposit: u128, now: UtcTime) -> Result<(), SpendingRefusal> {
        let (hour, day) = (self.left_of_hour(now), self.left_of_day(now));
        if self.is_stopped {
            Err(SpendingRefusal::Stopped)
        } else if deposit > self.caps.per_site {
            let cap = self.caps.per_site;
            Err(SpendingRefusal::SiteCap { deposit, cap })
        } else if deposit > hour {
            Err(SpendingRefusal::HourCap {
                deposit,
                left: hour,
            })
        } else if deposit > day {
            Err(SpendingRefusal::DayCap { deposit, left: day })
        } else {
            Ok(())
        }
    }

    /// Counts a deposit made, or about to be made, at `at`.
    pub fn count(&mut self, deposit: u128, at: UtcTime, now: UtcTime) {
        self.spent.retain(|(at, _)| now.seconds_since(*at) < DAY);
        self.spent.push_back((at, deposit));
    }

    /// What may still be put into escrow now; nothing if spending is stopped.
    pub fn left(&self, now: UtcTime) -> u128 {
        if self.is_stopped {
            0
        } else {
            self.left_of_hour(now).min(self.left_of_day(now))
        }
    }

    fn left_of_hour(&self, now: UtcTime) -> u128 {
        let spent = self.spent_within(HOUR, now);
        self.caps.per_hour.saturating_sub(spent)
    }

    fn left_of_day(&self, now: UtcTime) -> u128 {
        let spent = self.spent_within(DAY, now);
        self.caps.per_day.saturating_sub(spent)
    }

    fn spent_within(&self, seconds: u64, now: UtcTime) -> u128 {
        self.spent
            .iter()
            .filter(|(at, _)| now.seconds_since(*at) < seconds)
            .fold(0, |sum: u128, (_, deposit)| sum.saturating_add(*deposit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Security rule 13.
    #[test]
    fn caps_and_the_kill_switch_hold() {
        let at = |seconds| UtcTime(1_000_000 + seconds);
        let mut spending = Spending::new(SpendingCaps {
            per_hour: 100,
            per_day: 150,
            per_site: 60,
        });
        assert_eq!(
            spending.check(61, at(0)),
            Err(SpendingRefusal::SiteCap {
                deposit: 61,
                cap: 60
            })
        );
        for _ in 0..2 {
            spending.check(50, at(0)).unwrap();
            spending.count(50, at(0), at(0));
        }
        assert_eq!(
            spending.check(1, at(3599)),
            Err(SpendingRefusal::HourCap {
                deposit: 1,
                left: 0
            })
        );
        assert_eq!(
            spending.check(51, at(3600)),
            Err(SpendingRefusal::DayCap {
                deposit: 51,
                left: 50
            })
        );
        assert_eq!(spending.check(50, at(3600)), Ok(()));
        spending.stop(true);
        assert_eq!(spending.check(1, at(3600)), Err(SpendingRefusal::Stopped));
        assert_eq!(spending.left(at(3600)), 0);
        spending.stop(false);
        assert_eq!(spending.left(at(DAY)), 100);
    }
}
