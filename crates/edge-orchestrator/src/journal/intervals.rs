//! Receipt intervals of an agreement, as they are written down.

use std::time::Duration;

use edge_negotiation::{Interval, Verdict};
use edge_types::{Rtt, UtcTime};
use serde::{Deserialize, Serialize};

/// See [`Interval`]; times in the unit that the name ends in, or UTC seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IntervalEntry {
    from: u64,
    until: u64,
    served_ms: u64,
    #[serde(default)]
    sent: u32,
    #[serde(default)]
    bounces: u32,
    #[serde(default)]
    networks: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    median_us: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p95_us: Option<u64>,
    verdict: VerdictEntry,
    #[serde(default)]
    failures: u32,
    #[serde(default)]
    failing_networks: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reported_us: Option<u64>,
    #[serde(default)]
    doubted: u32,
}

/// See [`Verdict`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum VerdictEntry {
    NothingPromised,
    TooFew,
    Kept,
    Missed,
}

impl IntervalEntry {
    pub(super) fn of(interval: &Interval) -> Self {
        let whole = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        let micros = |rtt: Option<Rtt>| rtt.map(|rtt| whole(rtt.0.as_micros()));
        Self {
            from: interval.from.0,
            until: interval.until.0,
            served_ms: whole(interval.served.as_millis()),
            sent: interval.sent,
            bounces: interval.bounces,
            networks: interval.networks,
            median_us: micros(interval.median),
            p95_us: micros(interval.p95),
            verdict: match interval.verdict {
                Verdict::NothingPromised => VerdictEntry::NothingPromised,
                Verdict::TooFew => VerdictEntry::TooFew,
                Verdict::Kept => VerdictEntry::Kept,
                Verdict::Missed => VerdictEntry::Missed,
            },
            failures: interval.failures,
            failing_networks: interval.failing_networks,
            reported_us: micros(interval.reported),
            doubted: interval.doubted,
        }
    }

    pub(super) fn read(self) -> Interval {
        let rtt = |micros: Option<u64>| micros.map(|micros| Rtt(Duration::from_micros(micros)));
        Interval {
            from: UtcTime(self.from),
            until: UtcTime(self.until),
            served: Duration::from_millis(self.served_ms),
            sent: self.sent,
            bounces: self.bounces,
            networks: self.networks,
            median: rtt(self.median_us),
            p95: rtt(self.p95_us),
            verdict: match self.verdict {
                VerdictEntry::NothingPromised => Verdict::NothingPromised,
                VerdictEntry::TooFew => Verdict::TooFew,
                VerdictEntry::Kept => Verdict::Kept,
                VerdictEntry::Missed => Verdict::Missed,
            },
            failures: self.failures,
            failing_networks: self.failing_networks,
            reported: rtt(self.reported_us),
            doubted: self.doubted,
        }
    }
}
