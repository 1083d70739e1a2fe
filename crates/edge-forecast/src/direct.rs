//! A forecast of a whole window of steps at once.

use std::collections::VecDeque;

use crate::forecaster::{Forecaster, bounded, number};
use crate::holt_winters::Scale;
use crate::learner::LONGEST_SEASON;
use crate::least_squares::LeastSquares;

/// Weights of the newest count in the means that it sees.
const MEANS: [f64; 3] = [0.3, 0.1, 1.0 / 60.0];

/// The mean by which the last season is compared with this one.
const COMPARED: usize = 1;

/// What an observation still weighs after the next: for minutes, two weeks make it 1/e.
const MEMORY: f64 = 1.0 - 1.0 / 20_160.0;

/// Sine waves of the season that it sees: the season itself and its half.
const WAVES: usize = 2;

/// One; the last count; the means; the mean a season before, and that of the window that followed it; sine waves.
const FEATURES: usize = 2 + MEANS.len() + 2 + 2 * WAVES;

/// Longest window.
const LONGEST_WINDOW: usize = 1 << 14;

/// Expects the mean of a window of steps ahead to be a linear function of what it sees, on logarithms: the direct strategy, which
/// learns the window as such and does not go there step by step (Ben Taieb et al., "A review and comparison of strategies for multi-step
/// ahead time series forecasting", 2012).
///
/// Until two seasons and a window are over, it expects its fastest mean to stay.
#[derive(Clone, Debug)]
pub struct Direct {
    window: usize,
    season: usize,
    line: LeastSquares,
    last: f64,
    means: [f64; MEANS.len()],
    /// Sums of all counts before each of the last steps, the newest last; so many as a season and a window ask for.
    sums: VecDeque<u128>,
    /// The mean that is compared with, by step; as many as a season has.
    compared: VecDeque<f64>,
    /// What was seen before each of the last steps, of a window.
    seen: VecDeque<[f64; FEATURES]>,
    steps: usize,
}

impl Direct {
    /// For windows of so many steps, 1 to 2^14, and seasons of at most 2^20; beyond that as the nearest within.
    pub fn new(window: usize, season: usize) -> Self {
        Self {
            window: window.clamp(1, LONGEST_WINDOW),
            season: season.clamp(1, LONGEST_SEASON),
            line: LeastSquares::new(FEATURES, 2, MEMORY),
            last: 0.0,
            means: [0.0; MEANS.len()],
            sums: VecDeque::from([0]),
            compared: VecDeque::new(),
            seen: VecDeque::new(),
            steps: 0,
        }
    }

    /// The mean count of steps from `back` steps ago on, at most `window` of them, in logarithms.
    fn mean_since(&self, back: usize) -> f64 {
        let newest = self.sums.len() - 1;
        let from = newest - back;
        let to = (from + self.window).min(newest);
        let sum = self.sums[to] - self.sums[from];
        Scale::Logarithmic.of(sum as f64 / (to - from).max(1) as f64)
    }

    /// What it sees now; `None` before there was a season.
    fn features(&self) -> Option<[f64; FEATURES]> {
        let a_season_ago = *self.compared.front()?;
        if self.compared.len() < self.season {
            return None;
        }
        let mut features = [0.0; FEATURES];
        features[0] = 1.0;
        features[1] = Scale::Logarithmic.of(self.last);
        for (feature, mean) in features[2..].iter_mut().zip(self.means) {
            *feature = Scale::Logarithmic.of(mean);
        }
        let at = 2 + MEANS.len();
        features[at] = Scale::Logarithmic.of(a_season_ago);
        features[at + 1] = self.mean_since(self.season);
        let turn = (self.steps % self.season) as f64 / self.season as f64;
        for wave in 0..WAVES {
            let angle = turn * (wave + 1) as f64 * std::f64::consts::TAU;
            (features[at + 2 + 2 * wave], features[at + 3 + 2 * wave]) = angle.sin_cos();
        }
        Some(features)
    }
}

impl Forecaster for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn observe(&mut self, count: u64) {
        let value = number(count);
        if let Some(features) = self.features() {
            self.seen.push_back(features);
        }
        self.last = value;
        for (mean, weight) in self.means.iter_mut().zip(MEANS) {
            let before = if self.steps == 0 { value } else { *mean };
            *mean = before + weight * (value - before);
        }
        if self.compared.len() == self.season {
            self.compared.pop_front();
        }
        self.compared.push_back(self.means[COMPARED]);
        let sum = self.sums.back().copied().unwrap_or(0);
        self.sums
            .push_back(sum + u128::from(count.min(crate::MAX_COUNT)));
        if self.sums.len() > self.season.max(self.window) + 1 {
            self.sums.pop_front();
        }
        self.steps += 1;
        // The window that began with what was seen then is over.
        if self.seen.len() == self.window
            && let Some(features) = self.seen.pop_front()
        {
            let value = self.mean_since(self.window);
            self.line.learn(&features, value);
        }
    }

    fn path(&self, steps: &mut [f64]) {
        let mean = match self.features() {
            // Something was learned.
            Some(features) if self.steps > 2 * self.season + self.window => {
                let most = Scale::Logarithmic.of(crate::MAX_COUNT as f64);
                Scale::Logarithmic.back(self.line.expected(&features).clamp(0.0, most))
            }
            _ => self.means[0],
        };
        steps.fill(bounded(mean));
    }

    fn mean(&self, _steps: usize) -> f64 {
        let mut mean = [0.0];
        self.path(&mut mean);
        mean[0]
    }
}
