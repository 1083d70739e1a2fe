//! Level, trend and season by exponential smoothing.

use crate::forecaster::{Forecaster, bounded, number, setting};

/// Whether what a season adds, and what a trend does, is a number of requests or a factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Counts as they are.
    Additive,
    /// Logarithms of counts plus one: for demand that grows and falls by factors.
    Logarithmic,
}

impl Scale {
    pub(crate) fn of(self, count: f64) -> f64 {
        match self {
            Self::Additive => count,
            Self::Logarithmic => count.ln_1p(),
        }
    }

    pub(crate) fn back(self, value: f64) -> f64 {
        match self {
            Self::Additive => value,
            Self::Logarithmic => value.exp_m1(),
        }
    }
}

/// How Holt-Winters smooths; all weights from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smoothing {
    /// Weight of the newest count in the level.
    pub level: f64,
    /// Weight of the newest change of level in the trend.
    pub trend: f64,
    /// What is left of the trend with each step ahead; 1 lets it go on for ever.
    pub damping: f64,
    /// Weight of the newest count in its part of the season.
    pub season: f64,
}

impl Default for Smoothing {
    /// For minutes: a level of a quarter of an hour, hardly any trend, a season of some days.
    fn default() -> Self {
        Self {
            level: 0.1,
            trend: 0.005,
            damping: 0.98,
            season: 0.3,
        }
    }
}

/// The damped Holt-Winters method with an additive season (Hyndman and Athanasopoulos, *Forecasting*, chapter 8), on either scale.
///
/// The first season gives the season's parts, as differences to its mean; until it is over, only level and trend count.
#[derive(Clone, Debug)]
pub struct HoltWinters {
    smoothing: Smoothing,
    scale: Scale,
    level: Option<f64>,
    trend: f64,
    /// Parts of the season by phase; the counts of the first season until it is over.
    season: Vec<f64>,
    length: usize,
    seen: usize,
}

/// No state gets further from zero than this; it would have to by absurd smoothing only.
const FURTHEST: f64 = 1e15;

impl HoltWinters {
    /// For seasons of so many steps; 0 or 1 for none. Weights beyond 0 to 1 count as the nearer of both.
    pub fn new(season: usize, smoothing: Smoothing, scale: Scale) -> Self {
        let within = |weight: f64| setting(weight, 0.0, 1.0, 0.0);
        Self {
            smoothing: Smoothing {
                level: within(smoothing.level),
                trend: within(smoothing.trend),
                damping: within(smoothing.damping),
                season: within(smoothing.season),
            },
            scale,
            level: None,
            trend: 0.0,
            season: Vec::new(),
            length: if season > 1 { season } else { 0 },
            seen: 0,
        }
    }

    fn is_seasonal(&self) -> bool {
        self.length > 0 && self.seen >= self.length
    }

    fn part(&self, step: usize) -> f64 {
        if self.is_seasonal() {
            self.season[step % self.length]
        } else {
            0.0
        }
    }

    /// Turns the first season's counts into its parts.
    fn end_first_season(&mut self) {
        let mean = self.season.iter().sum::<f64>() / self.length as f64;
        for part in &mut self.season {
            *part -= mean;
        }
        let last = self.season.last().copied().unwrap_or(0.0);
        self.level = self.level.map(|level| level - last);
        self.trend = 0.0;
    }
}

impl Forecaster for HoltWinters {
    fn name(&self) -> &'static str {
        "Holt-Winters"
    }

    fn observe(&mut self, count: u64) {
        let value = self.scale.of(number(count));
        let smoothing = self.smoothing;
        let part = self.part(self.seen);
        let before = self.level.unwrap_or(value - part);
        let damped = smoothing.damping * self.trend;
        let expected = before + damped;
        let level = expected + smoothing.level * (value - part - expected);
        let trend = damped + smoothing.trend * (level - before - damped);
        self.level = Some(level.clamp(-FURTHEST, FURTHEST));
        self.trend = trend.clamp(-FURTHEST, FURTHEST);
        if self.is_seasonal() {
            let phase = self.seen % self.length;
            let moved = part + smoothing.season * (value - level - part);
            self.season[phase] = moved.clamp(-FURTHEST, FURTHEST);
        } else if self.length > 0 {
            self.season.push(value);
        }
        self.seen += 1;
        if self.seen == self.length {
            self.end_first_season();
        }
    }

    fn path(&self, steps: &mut [f64]) {
        let level = self.level.unwrap_or(0.0);
        let (mut trend, mut factor) = (0.0, 1.0);
        for (ahead, step) in steps.iter_mut().enumerate() {
            factor *= self.smoothing.damping;
            trend += factor * self.trend;
            let expected = level + trend + self.part(self.seen + ahead);
            *step = bounded(self.scale.back(expected));
        }
    }
}
