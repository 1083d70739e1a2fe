//! An online learner: autoregression with harmonics by recursive least squares.

use std::collections::VecDeque;

use crate::forecaster::{Forecaster, bounded, number, setting};
use crate::holt_winters::Scale;
use crate::least_squares::LeastSquares;

/// What the learner sees, and how fast it forgets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// How many of the last counts it sees, 1 to 32.
    pub lags: usize,
    /// Steps of a season, at most 2^20; it also sees the count a season before. 0 or 1 for none.
    pub season: usize,
    /// How many sine waves of the season it sees, 0 to 16: the season itself, its half, its third, ...
    pub harmonics: usize,
    /// What an observation still weighs after each step, 0.9 to 1.
    pub memory: f64,
}

/// Expects the next count to be a linear function of what it sees, learned by recursive least squares, on
/// logarithms. Steps further ahead take its own expectations for what is not known yet.
#[derive(Clone, Debug)]
pub struct Learner {
    learning: Learning,
    line: LeastSquares,
    /// The last counts on the logarithmic scale, the newest last; a season of them, or as many as there are lags.
    past: VecDeque<f64>,
    /// Sine and cosine of each step of a season.
    turns: Vec<(f64, f64)>,
    seen: usize,
}

/// Longest season.
pub(crate) const LONGEST_SEASON: usize = 1 << 20;

/// Steps ahead do not leave what logarithms of counts can be.
const LARGEST_LOGARITHM: f64 = 28.0;

impl Learner {
    /// A learner that expects the last count until it knows better. Settings beyond their ranges count as the nearest within.
    pub fn new(learning: Learning) -> Self {
        let learning = Learning {
            lags: learning.lags.clamp(1, 32),
            season: if learning.season > 1 {
                learning.season.min(LONGEST_SEASON)
            } else {
                0
            },
            harmonics: if learning.season > 1 {
                learning.harmonics.min(16)
            } else {
                0
            },
            memory: setting(learning.memory, 0.9, 1.0, 1.0),
        };
        let size = 2 + learning.lags + 2 * learning.harmonics;
        Self {
            line: LeastSquares::new(size, 2, learning.memory),
            learning,
            past: VecDeque::new(),
            turns: (0..learning.season)
                .map(|step| {
                    let turn = step as f64 / learning.season as f64;
                    (turn * std::f64::consts::TAU).sin_cos()
                })
                .collect(),
            seen: 0,
        }
    }

    /// What it sees before step `step`; `back(n)` gives the value n steps before it.
    fn features(&self, step: usize, back: impl Fn(usize) -> f64, features: &mut [f64]) {
        let Learning {
            lags,
            season,
            harmonics,
            ..
        } = self.learning;
        features[0] = 1.0;
        features[1] = if season > 0 { back(season) } else { 0.0 };
        for lag in 1..=lags {
            features[1 + lag] = back(lag);
        }
        for wave in 1..=harmonics {
            let (sine, cosine) = self.turns[step % season * wave % season];
            features[lags + 2 * wave] = sine;
            features[lags + 2 * wave + 1] = cosine;
        }
    }

    fn keeps(&self) -> usize {
        self.learning.lags.max(self.learning.season)
    }
}

impl Forecaster for Learner {
    fn name(&self) -> &'static str {
        "learner"
    }

    fn observe(&mut self, count: u64) {
        let value = Scale::Logarithmic.of(number(count));
        if self.past.len() >= self.keeps() {
            let mut features = vec![0.0; self.line.size()];
            let known = self.past.len();
            self.features(self.seen, |back| self.past[known - back], &mut features);
            self.line.learn(&features, value);
            self.past.pop_front();
        }
        self.past.push_back(value);
        self.seen += 1;
    }

    fn path(&self, steps: &mut [f64]) {
        let known = self.past.len();
        let last = self.past.back().copied().unwrap_or(0.0);
        if known < self.keeps() {
            steps.fill(bounded(Scale::Logarithmic.back(last)));
            return;
        }
        let mut features = vec![0.0; self.line.size()];
        let mut expected: Vec<f64> = Vec::with_capacity(steps.len());
        for (ahead, step) in steps.iter_mut().enumerate() {
            let back = |back: usize| {
                if back > ahead {
                    self.past[known + ahead - back]
                } else {
                    expected[ahead - back]
                }
            };
            self.features(self.seen + ahead, back, &mut features);
            let value = self.line.expected(&features).clamp(0.0, LARGEST_LOGARITHM);
            expected.push(value);
            *step = bounded(Scale::Logarithmic.back(value));
        }
    }
}
