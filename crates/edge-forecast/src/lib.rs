//! How much will be asked for, and what to do about it over time (what the paper's conclusion leaves to future work: an online decision
//! that predicts what users do).
//!
//! Demand comes as counts of equal steps of time. A [`Forecaster`] is told one count after the other and says what it expects
//! of the steps to come; forecasts are never negative and always a number. [`examine`] says how good one is, [`Alarm`] tells sudden
//! changes at once. A [`Policy`] says when to rent a site and when to leave it, an [`Account`] what that costs, [`least_cost`] what it
//! would have cost at best.
//!
//! There is no IO here, no clock and no random number. Money and decisions about it are integers.

mod accuracy;
mod alarm;
mod demand;
mod direct;
mod forecaster;
mod holt_winters;
mod learner;
mod least_squares;
mod mix;
mod rent;
mod simple;

#[cfg(test)]
mod tests;

pub use accuracy::{Accuracy, Examination, examine};
pub use alarm::{Alarm, AlarmSettings, Surge};
pub use demand::{Demand, PrefixDemand};
pub use direct::Direct;
pub use forecaster::{Forecaster, MAX_AHEAD, MAX_COUNT};
pub use holt_winters::{HoltWinters, Scale, Smoothing};
pub use learner::{Learner, Learning};
pub use mix::Mix;
pub use rent::{
    ALLOWANCE, Account, Expecting, ForecastDriven, Hysteresis, MAX_GAIN, Planned, Policy, Reactive,
    Terms, TimeToLive, least_cost,
};
pub use simple::{Ewma, LastValue, SeasonalNaive};
