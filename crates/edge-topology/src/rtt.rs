//! Round trips of one interface.

use std::collections::VecDeque;
use std::time::Duration;

use edge_types::{MonotonicTime, Rtt};

/// How many samples are remembered per purpose. A handful of probes spread in time finds the minimum; this holds two
/// rounds of eight.
pub(crate) const REMEMBERED: usize = 16;

/// Fewest samples whose spread says how far their minimum may be above the truth.
const ENOUGH: u32 = 4;

/// A sample, in bounded space: when, and how long; at times later than any before it.
pub(crate) type Sample = (MonotonicTime, Rtt);

/// Recent round trips of one interface, in bounded space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RttWindow {
    /// Candidates for the minimum: later ones are larger, so the front is the minimum of the window.
    minima: VecDeque<Sample>,
    /// The latest round trips, for the median.
    latest: VecDeque<Sample>,
}

/// What a window says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RttSummary {
    /// The smallest round trip of the window: the propagation delay, there and back.
    pub(crate) minimum: Rtt,
    /// Median less minimum.
    pub(crate) jitter: Duration,
    /// How many samples the median is of.
    pub(crate) samples: u32,
}

impl RttSummary {
    /// Mean of what is added to single replies, if the median is that of an exponential law: jitter / ln 2. `None` if there are
    /// too few samples to say.
    pub(crate) fn mean_excess(&self) -> Option<Duration> {
        (self.samples >= ENOUGH).then(|| self.jitter.saturating_mul(1443) / 1000)
    }
}

impl RttWindow {
    /// Takes a sample; forgets those more than `window` older. One that is older than the newest counts as of the same time.
    pub(crate) fn record(&mut self, at: MonotonicTime, rtt: Rtt, window: Duration) {
        let at = self.latest.back().map_or(at, |(newest, _)| at.max(*newest));
        for samples in [&mut self.minima, &mut self.latest] {
            while samples
                .front()
                .is_some_and(|(time, _)| at.since(*time) > window)
            {
                samples.pop_front();
            }
        }
        while self.minima.back().is_some_and(|(_, larger)| *larger >= rtt) {
            self.minima.pop_back();
        }
        if self.minima.len() < REMEMBERED {
            self.minima.push_back((at, rtt));
        }
        if self.latest.len() == REMEMBERED {
            self.latest.pop_front();
        }
        self.latest.push_back((at, rtt));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }

    /// Minimum and jitter; `None` before the first sample.
    pub(crate) fn summary(&self) -> Option<RttSummary> {
        let (_, minimum) = *self.minima.front()?;
        let mut sorted: Vec<Rtt> = self.latest.iter().map(|(_, rtt)| *rtt).collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied()?;
        Some(RttSummary {
            minimum,
            jitter: median.0.saturating_sub(minimum.0),
            samples: u32::try_from(sorted.len()).unwrap_or(u32::MAX),
        })
    }

    /// Candidates for the minimum, and the latest: all that is remembered.
    pub(crate) fn parts(&self) -> [impl Iterator<Item = Sample>; 2] {
        [self.minima.iter().copied(), self.latest.iter().copied()]
    }

    /// What had these parts; `None` if no window can have them.
    pub(crate) fn from_parts(minima: Vec<Sample>, latest: Vec<Sample>) -> Option<Self> {
        let is_bounded = |samples: &[Sample]| samples.len() <= REMEMBERED;
        let is_in_order = |samples: &[Sample]| samples.is_sorted_by_key(|(at, _)| *at);
        let sound = is_bounded(&minima)
            && is_bounded(&latest)
            && is_in_order(&minima)
            && is_in_order(&latest)
            && minima.is_empty() == latest.is_empty()
            && minima.is_sorted_by(|(_, a), (_, b)| a < b);
        sound.then(|| Self {
            minima: minima.into(),
            latest: latest.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(window: &mut RttWindow, second: u64, ms: u64) {
        window.record(
            MonotonicTime(Duration::from_secs(second)),
            Rtt(Duration::from_millis(ms)),
            Duration::from_mins(1),
        );
    }

    #[test]
    fn minimum_of_the_window_and_median_above_it() {
        let mut window = RttWindow::default();
        assert_eq!(window.summary(), None);
        for (second, ms) in [(0, 10), (1, 14), (2, 12), (3, 30)] {
            record(&mut window, second, ms);
        }
        let expected = RttSummary {
            minimum: Rtt(Duration::from_millis(10)),
            jitter: Duration::from_millis(4),
            samples: 4,
        };
        assert_eq!(window.summary(), Some(expected));

        record(&mut window, 61, 40);
        let summary = window.summary().unwrap();
        assert_eq!(
            summary.minimum,
            Rtt(Duration::from_millis(12)),
            "the ten left the window"
        );
        assert_eq!(summary.samples, 4);
    }

    #[test]
    fn a_sample_that_comes_late_does_not_stay_longer() {
        let mut window = RttWindow::default();
        record(&mut window, 100, 10);
        record(&mut window, 50, 5);
        record(&mut window, 161, 20);
        assert_eq!(
            window.summary().unwrap().minimum,
            Rtt(Duration::from_millis(20))
        );
    }

    #[test]
    fn space_is_bounded() {
        let mut window = RttWindow::default();
        for step in 0..1000 {
            window.record(
                MonotonicTime::ZERO,
                Rtt(Duration::from_millis(step)),
                Duration::MAX,
            );
        }
        assert!(window.minima.len() <= REMEMBERED && window.latest.len() <= REMEMBERED);
        assert_eq!(window.summary().unwrap().minimum, Rtt(Duration::ZERO));
    }

    #[test]
    fn parts_that_no_window_has_are_refused() {
        let mut window = RttWindow::default();
        for (second, ms) in [(0, 10), (1, 14), (2, 12), (3, 30)] {
            record(&mut window, second, ms);
        }
        let [minima, latest] = window.parts().map(Iterator::collect::<Vec<_>>);
        assert_eq!(
            RttWindow::from_parts(minima.clone(), latest.clone()),
            Some(window)
        );
        let backwards: Vec<_> = latest.iter().copied().rev().collect();
        assert_eq!(RttWindow::from_parts(minima.clone(), backwards), None);
        assert_eq!(RttWindow::from_parts(latest.clone(), latest.clone()), None);
        let many = latest.repeat(5).into_iter().take(1).cycle().take(17);
        assert_eq!(RttWindow::from_parts(minima, many.collect()), None);
    }
}
