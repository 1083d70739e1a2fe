//! The forecasters that any other has to beat.

use std::collections::VecDeque;

use crate::forecaster::{Forecaster, bounded, number, setting};

/// What was last is what will be.
#[derive(Clone, Debug, Default)]
pub struct LastValue {
    last: f64,
}

impl Forecaster for LastValue {
    fn name(&self) -> &'static str {
        "last value"
    }

    fn observe(&mut self, count: u64) {
        self.last = number(count);
    }

    fn path(&self, steps: &mut [f64]) {
        steps.fill(bounded(self.last));
    }

    fn mean(&self, _steps: usize) -> f64 {
        bounded(self.last)
    }
}

/// What was a season ago is what will be; before a season is over, the last value.
#[derive(Clone, Debug)]
pub struct SeasonalNaive {
    season: usize,
    /// The last season's counts, the oldest first.
    counts: VecDeque<f64>,
}

impl SeasonalNaive {
    /// For seasons of so many steps; 0 counts as 1.
    pub fn new(season: usize) -> Self {
        Self {
            season: season.max(1),
            counts: VecDeque::new(),
        }
    }
}

impl Forecaster for SeasonalNaive {
    fn name(&self) -> &'static str {
        "seasonal naive"
    }

    fn observe(&mut self, count: u64) {
        if self.counts.len() == self.season {
            self.counts.pop_front();
        }
        self.counts.push_back(number(count));
    }

    fn path(&self, steps: &mut [f64]) {
        let last = self.counts.back().copied().unwrap_or(0.0);
        let is_known = self.counts.len() == self.season;
        for (step, phase) in steps.iter_mut().zip((0..self.season).cycle()) {
            let known = self.counts.get(phase).filter(|_| is_known);
            *step = bounded(known.copied().unwrap_or(last));
        }
    }
}

/// An exponentially weighted mean of all that was.
#[derive(Clone, Debug)]
pub struct Ewma {
    weight: f64,
    level: Option<f64>,
}

impl Ewma {
    /// With the weight of the newest count, 0 to 1 (beyond that as the nearer of both; not a number as 1).
    pub const fn new(weight: f64) -> Self {
        Self {
            weight: setting(weight, 0.0, 1.0, 1.0),
            level: None,
        }
    }
}

impl Forecaster for Ewma {
    fn name(&self) -> &'static str {
        "EWMA"
    }

    fn observe(&mut self, count: u64) {
        let count = number(count);
        let level = self.level.unwrap_or(count);
        self.level = Some(level + self.weight * (count - level));
    }

    fn path(&self, steps: &mut [f64]) {
        steps.fill(bounded(self.level.unwrap_or(0.0)));
    }

    fn mean(&self, _steps: usize) -> f64 {
        bounded(self.level.unwrap_or(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(mut forecaster: impl Forecaster, counts: &[u64]) -> impl Forecaster {
        for count in counts {
            forecaster.observe(*count);
        }
        forecaster
    }

    #[test]
    fn the_last_value_stays() {
        let forecaster = after(LastValue::default(), &[3, 9]);
        assert_eq!([1, 2, 50].map(|ahead| forecaster.forecast(ahead)), [9.0; 3]);
    }

    #[test]
    fn a_season_repeats() {
        let forecaster = after(SeasonalNaive::new(3), &[7, 1, 2, 3]);
        let ahead = [1, 2, 3, 4, 0].map(|ahead| forecaster.forecast(ahead));
        assert_eq!(ahead, [1.0, 2.0, 3.0, 1.0, 1.0]);
        assert_eq!(after(SeasonalNaive::new(3), &[7, 1]).forecast(5), 1.0);
    }

    #[test]
    fn a_mean_moves_by_its_weight() {
        assert_eq!(after(Ewma::new(0.5), &[8, 4, 4]).forecast(9), 5.0);
    }
}
