//! What all forecasters have in common.

use std::fmt;

/// The largest count of a step that is told apart; more counts as that. It keeps sums of squares within what doubles hold.
pub const MAX_COUNT: u64 = 1 << 40;

/// Expects counts of steps to come from those that were.
pub trait Forecaster: fmt::Debug {
    /// Its name in options and reports.
    fn name(&self) -> &'static str;

    /// The count of the step that just ended; above [`MAX_COUNT`] as that.
    fn observe(&mut self, count: u64);

    /// What it expects for the `ahead`th step after the last observed one, `ahead` from 1 (0 counts as 1): from 0 to
    /// [`MAX_COUNT`], and 0 before anything was observed.
    fn forecast(&self, ahead: usize) -> f64;
}

/// A count as a number.
pub(crate) fn number(count: u64) -> f64 {
    count.min(MAX_COUNT) as f64
}

/// A forecast as it may be given out.
pub(crate) fn bounded(forecast: f64) -> f64 {
    if forecast.is_nan() {
        return 0.0;
    }
    forecast.clamp(0.0, MAX_COUNT as f64)
}
