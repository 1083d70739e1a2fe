//! How much will be asked for, and what to do about it over time (the future work of the paper's section 6).
//!
//! Demand comes as counts of equal steps of time. A [`Forecaster`] is told one count after the other and says what it expects
//! of the steps to come. Forecasts are never negative and always a number.
//!
//! There is no IO here, no clock and no random number. What has to be equal everywhere is counted in integers.

mod forecaster;
mod rent;
mod simple;

pub use forecaster::{Forecaster, MAX_COUNT};
pub use rent::{Account, Hysteresis, MAX_GAIN, Policy, Reactive, Terms, TimeToLive, least_cost};
pub use simple::{Ewma, LastValue, SeasonalNaive};
