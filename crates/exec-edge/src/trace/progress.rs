//! How far a run has come, on standard error.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use super::table::counted;
use edge_console::output;

/// Characters of the bar.
const BAR: usize = 24;
/// Time between two looks, drawn and as lines.
const DRAWN_EVERY: Duration = Duration::from_millis(200);
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// How progress is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Not at all.
    None,
    /// By a line that is drawn again and again.
    Bar,
    /// By a line each second.
    Lines,
}

impl Style {
    pub(super) fn choose(lines: bool, quiet: bool) -> Self {
        match (lines, quiet) {
            (true, _) => Self::Lines,
            (false, false) if io::stderr().is_terminal() => Self::Bar,
            _ => Self::None,
        }
    }
}

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Targets to be traced in this run.
    pub(super) total: usize,
    /// Of these, traced.
    pub(super) traced: usize,
    /// Of these, reached.
    pub(super) reached: usize,
    /// Not traced, for a reason.
    pub(super) refused: usize,
    /// Targets that wait for the budget of their prefix.
    pub(super) waiting: usize,
    /// Probes sent.
    pub(super) probes: u64,
}

/// Tells it.
#[derive(Debug)]
pub(super) struct Progress {
    style: Style,
    started: Instant,
    told: Instant,
    is_drawn: bool,
    /// When the recent rate counts from, and the probes then.
    recent: (Instant, u64),
}

impl Progress {
    pub(super) fn start(style: Style) -> Self {
        let now = Instant::now();
        Self {
            style,
            started: now,
            told: now,
            is_drawn: false,
            recent: (now, 0),
        }
    }

    /// Tells how far it has come, if it is time to.
    pub(super) fn tick(&mut self, counts: Counts) {
        let every = match self.style {
            Style::None => return,
            Style::Bar => DRAWN_EVERY,
            Style::Lines => TOLD_EVERY,
        };
        let now = Instant::now();
        if now.duration_since(self.told) < every {
            return;
        }
        self.told = now;
        let since = now.duration_since(self.recent.0);
        let rate = (counts.probes - self.recent.1) as f64 / since.as_secs_f64().max(1e-3);
        if since > 5 * TOLD_EVERY {
            self.recent = (now, counts.probes);
        }
        let text = line(counts, rate, now.duration_since(self.started));
        if self.style == Style::Bar {
            output::status(&format!("\r{} {text}\x1b[K", bar(counts)));
            self.is_drawn = true;
        } else {
            output::error(&text);
        }
    }

    /// Takes the bar away, so that something else can be written in its place.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            output::status("\r\x1b[K");
        }
    }

    /// The last word about a run.
    pub(super) fn summary(&self, counts: Counts, backend: &str) -> String {
        let took = self.started.elapsed().as_secs_f64();
        let mut text = format!(
            "{} of {} traced",
            counts.traced,
            counted(counts.total as u64, "target")
        );
        let _infallible = write!(text, ", {} reached", counts.reached);
        if counts.refused > 0 {
            let _infallible = write!(text, ", {} refused", counts.refused);
        }
        let each = counts.probes as f64 / (counts.traced.max(1)) as f64;
        let _infallible = write!(
            text,
            "; {} ({each:.1} per target) in {took:.1} s; {backend}",
            counted(counts.probes, "probe"),
        );
        text
    }
}

/// Share of the targets that are done, 0 to 1.
fn share(counts: Counts) -> f64 {
    let done = counts.traced + counts.refused;
    (done as f64 / counts.total.max(1) as f64).clamp(0.0, 1.0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of the bar is between zero and its length"
)]
fn bar(counts: Counts) -> String {
    let full = (share(counts) * BAR as f64) as usize;
    format!("[{}{}]", "#".repeat(full), "-".repeat(BAR - full))
}

fn line(counts: Counts, rate: f64, elapsed: Duration) -> String {
    let done = counts.traced + counts.refused;
    let mut text = format!("{done}/{} targets, {rate:.0} probes/s", counts.total);
    if counts.waiting > 0 {
        let _infallible = write!(text, ", {} waiting for their prefix", counts.waiting);
    }
    let share = share(counts);
    if share > 0.0 {
        let left = elapsed.as_secs_f64() * (1.0 - share) / share;
        let _infallible = write!(text, ", about {} left", clock(left));
    }
    text
}

/// A time for people: `7 s`, `3:05 min` or `2:00 h`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounded before"
)]
fn clock(seconds: f64) -> String {
    let seconds = seconds.clamp(0.0, 1e9).round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_share_rate_and_time_left() {
        let counts = Counts {
            total: 400,
            traced: 90,
            refused: 10,
            waiting: 3,
            ..Counts::default()
        };
        assert_eq!(bar(counts), "[######------------------]");
        assert_eq!(
            line(counts, 499.6, Duration::from_secs(61)),
            "100/400 targets, 500 probes/s, 3 waiting for their prefix, about 3:03 min left"
        );
        assert_eq!(
            line(Counts::default(), 0.0, TOLD_EVERY),
            "0/0 targets, 0 probes/s"
        );
        assert_eq!(clock(7320.0), "2:02 h");
    }
}
