//! Round trips of one interface.

use std::collections::VecDeque;
use std::time::Duration;

use edge_types::{MonotonicTime, Rtt};

/// How many samples are remembered per purpose. A handful of probes spread in time finds the minimum; this holds two
/// rounds of eight.
const REMEMBERED: usize = 16;

/// Recent round trips of one interface, in bounded space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RttWindow {
    /// Candidates for the minimum: later ones are larger, so the front is the minimum of the window.
    minima: VecDeque<(MonotonicTime, Rtt)>,
    /// The latest round trips, for the median.
    latest: VecDeque<Rtt>,
}

/// What a window says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RttSummary {
    /// The smallest round trip of the window: the propagation delay, there and back.
    pub(crate) minimum: Rtt,
    /// Median less minimum.
    pub(crate) jitter: Duration,
}

impl RttWindow {
    /// Takes a sample; forgets those more than `window` older.
    pub(crate) fn record(&mut self, at: MonotonicTime, rtt: Rtt, window: Duration) {
        while self
            .minima
            .front()
            .is_some_and(|(time, _)| at.since(*time) > window)
        {
            self.minima.pop_front();
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
        self.latest.push_back(rtt);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }

    /// Minimum and jitter; `None` before the first sample.
    pub(crate) fn summary(&self) -> Option<RttSummary> {
        let (_, minimum) = *self.minima.front()?;
        let mut sorted: Vec<Rtt> = self.latest.iter().copied().collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied()?;
        Some(RttSummary {
            minimum,
            jitter: median.0.saturating_sub(minimum.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minimum_of_the_window_and_median_above_it() {
        let mut window = RttWindow::default();
        assert_eq!(window.summary(), None);
        for (second, ms) in [(0, 10), (1, 14), (2, 12), (3, 30)] {
            window.record(
                MonotonicTime(Duration::from_secs(second)),
                Rtt(Duration::from_millis(ms)),
                Duration::from_mins(1),
            );
        }
        let expected = RttSummary {
            minimum: Rtt(Duration::from_millis(10)),
            jitter: Duration::from_millis(4),
        };
        assert_eq!(window.summary(), Some(expected));

        window.record(
            MonotonicTime(Duration::from_secs(61)),
            Rtt(Duration::from_millis(40)),
            Duration::from_mins(1),
        );
        assert_eq!(
            window.summary().unwrap().minimum,
            Rtt(Duration::from_millis(12)),
            "the ten left the window"
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
}
