//! An alarm for demand that changes all of a sudden.

use crate::forecaster::{number, setting};

/// When the alarm is raised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlarmSettings {
    /// Changes of the mean by less than twice this many standard deviations are let pass.
    pub allowance: f64,
    /// How many standard deviations beyond that have to come together.
    pub threshold: f64,
    /// Over how many steps mean and deviation are learned; at least 2.
    pub memory: f64,
    /// Steps until it is first raised, and until it is raised again, so that a new level is learned before.
    pub settle: u32,
}

impl Default for AlarmSettings {
    /// On steady Poisson counts less than one false alarm in 10,000 steps.
    fn default() -> Self {
        Self {
            allowance: 1.0,
            threshold: 8.0,
            memory: 30.0,
            settle: 10,
        }
    }
}

/// Which way demand went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surge {
    /// A flash crowd.
    Up,
    /// Demand that went away.
    Down,
}

/// Page's cumulative sums (CUSUM, 1954) of counts against a slowly learned mean, up and down.
///
/// The deviation is at least what chance gives counts of that size (their square root), and at least a tenth of the mean, for demand is
/// never as steady as chance alone. Constant time and memory.
#[derive(Clone, Copy, Debug)]
pub struct Alarm {
    settings: AlarmSettings,
    mean: f64,
    variance: f64,
    up: f64,
    down: f64,
    /// Steps since the start or the last alarm.
    since: u32,
}

/// A single step adds at most this many deviations, for it might be a glitch: the default threshold takes at least two.
const MOST_OF_A_STEP: f64 = 6.0;

impl Alarm {
    /// An alarm that knows nothing yet. Settings beyond their ranges count as the nearest within.
    pub const fn new(settings: AlarmSettings) -> Self {
        Self {
            settings: AlarmSettings {
                allowance: setting(settings.allowance, 0.0, 1e6, 1.0),
                threshold: setting(settings.threshold, 0.0, 1e6, 8.0),
                memory: setting(settings.memory, 2.0, 1e9, 30.0),
                settle: settings.settle,
            },
            mean: 0.0,
            variance: 0.0,
            up: 0.0,
            down: 0.0,
            since: 0,
        }
    }

    /// Takes the count of the step that just ended; tells if demand changed all of a sudden.
    pub fn observe(&mut self, count: u64) -> Option<Surge> {
        let count = number(count);
        if self.since < self.settings.settle.max(1) {
            self.settle(count);
            return None;
        }
        let least = self.mean.max(1.0).sqrt().max(self.mean / 10.0);
        let deviation = self.variance.sqrt().max(least);
        let off = (count - self.mean) / deviation;
        let off = off.clamp(-MOST_OF_A_STEP, MOST_OF_A_STEP);
        self.up = (self.up + off - self.settings.allowance).max(0.0);
        self.down = (self.down - off - self.settings.allowance).max(0.0);
        let surge = if self.up > self.settings.threshold {
            Some(Surge::Up)
        } else if self.down > self.settings.threshold {
            Some(Surge::Down)
        } else {
            None
        };
        if surge.is_some() {
            (self.up, self.down, self.since) = (0.0, 0.0, 0);
            self.settle(count);
        } else {
            self.learn(count, 1.0 / self.settings.memory);
        }
        surge
    }

    /// Learns a new level fast: the mean of what came since.
    fn settle(&mut self, count: f64) {
        if self.since == 0 {
            (self.mean, self.variance) = (count, 0.0);
        }
        self.since += 1;
        self.learn(count, 1.0 / f64::from(self.since));
    }

    fn learn(&mut self, count: f64, weight: f64) {
        let off = count - self.mean;
        self.mean += weight * off;
        self.variance = (1.0 - weight) * (self.variance + weight * off * off);
    }
}
