//! A hard cap on the packet rate.

use std::time::Duration;

use edge_types::MonotonicTime;

/// Packets that may go out back to back after a pause.
const BURST: u32 = 8;

/// Grants sending times on absolute deadlines: a late wake-up neither lowers the rate nor lets a long burst through.
#[derive(Debug)]
pub(crate) struct Pacer {
    interval: Duration,
    next: MonotonicTime,
}

impl Pacer {
    pub(crate) fn new(packets_per_second: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / packets_per_second.max(1),
            next: MonotonicTime::ZERO,
        }
    }

    /// When the next packet may go out; in the past if at once.
    pub(crate) const fn next(&self) -> MonotonicTime {
        self.next
    }

    /// Takes a sending slot if there is one.
    pub(crate) fn take(&mut self, now: MonotonicTime) -> bool {
        if self.next > now {
            return false;
        }
        let earliest = MonotonicTime(now.0.saturating_sub(self.interval * (BURST - 1)));
        self.next = self.next.max(earliest).after(self.interval);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_exceeds_the_rate_by_more_than_a_burst() {
        let mut pacer = Pacer::new(1000);
        let mut sent = 0;
        // Woken every 3.7 ms only: the rate holds on average, and no window sees more than rate * time + burst.
        for step in 0..1000_u64 {
            let now = MonotonicTime(Duration::from_micros(3700 * step));
            while pacer.take(now) {
                sent += 1;
            }
            assert!(sent <= 3700 * step / 1000 + u64::from(BURST));
        }
        assert!(sent >= 3690, "{sent}");
    }

    #[test]
    fn a_pause_saves_no_more_than_a_burst() {
        let mut pacer = Pacer::new(10);
        let now = MonotonicTime(Duration::from_hours(1));
        let burst = (0..100).filter(|_| pacer.take(now)).count();
        assert_eq!(burst, BURST as usize);
    }
}
