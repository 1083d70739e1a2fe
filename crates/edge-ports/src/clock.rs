//! Time as an argument.

use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use edge_types::{MonotonicTime, UtcTime};

/// Where a program reads the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since the clock was made; never goes back.
    fn monotonic(&self) -> MonotonicTime;
    /// Wall-clock time.
    fn utc(&self) -> UtcTime;
}

/// The clocks of the machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero now.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> MonotonicTime {
        MonotonicTime(self.started.elapsed())
    }

    fn utc(&self) -> UtcTime {
        UtcTime(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        )
    }
}
