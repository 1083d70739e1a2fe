//! What all forecasters have in common.

use std::fmt;

/// The largest count of a step that is told apart; more counts as that. It keeps sums of squares within what doubles hold.
pub const MAX_COUNT: u64 = 1 << 40;

/// The furthest step ahead that [`Forecaster::forecast`] is asked for; further counts as that.
pub const MAX_AHEAD: usize = 1 << 16;

/// Expects counts of steps to come from those that were.
pub trait Forecaster: fmt::Debug + Send {
    /// Its name in options and reports.
    fn name(&self) -> &'static str;

    /// The count of the step that just ended; above [`MAX_COUNT`] as that.
    fn observe(&mut self, count: u64);

    /// What it expects of the next steps, one by one: each from 0 to [`MAX_COUNT`], and 0 before anything was observed.
    fn path(&self, steps: &mut [f64]);

    /// What it expects of the mean of the next `steps` steps, from 1 (0 counts as 1) to [`MAX_AHEAD`].
    fn mean(&self, steps: usize) -> f64 {
        let mut path = vec![0.0; steps.clamp(1, MAX_AHEAD)];
        self.path(&mut path);
        path.iter().sum::<f64>() / path.len() as f64
    }

    /// What it expects of the `ahead`th step from now, from 1 (0 counts as 1) to [`MAX_AHEAD`].
    fn forecast(&self, ahead: usize) -> f64 {
        let mut steps = vec![0.0; ahead.clamp(1, MAX_AHEAD)];
        self.path(&mut steps);
        steps.last().copied().unwrap_or(0.0)
    }
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

/// A setting within its range; what is not a number becomes `otherwise`.
pub(crate) const fn setting(value: f64, least: f64, most: f64, otherwise: f64) -> f64 {
    if value.is_nan() {
        return otherwise;
    }
    value.clamp(least, most)
}
