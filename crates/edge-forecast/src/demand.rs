//! Who asks, and how often: client prefixes and their request rates.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use edge_types::{IpNet, MonotonicTime, PrefixGrouping};

/// Over which time requests are forgotten: after it a count has fallen to 1/e.
const FORGETTING: Duration = Duration::from_secs(30);

/// Request counts per client prefix, with exponential forgetting.
///
/// Bounded: when `most_prefixes` are known, a new one displaces the prefix that was silent for longest, if that was
/// silent for at least [`FORGETTING`]; otherwise the new one is not taken in.
#[derive(Debug)]
pub struct Demand {
    grouping: PrefixGrouping,
    most_prefixes: usize,
    prefixes: BTreeMap<IpNet, PrefixDemand>,
}

/// What is known of one client prefix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrefixDemand {
    /// The client of the latest request; traces go there.
    pub representative: IpAddr,
    /// First request.
    pub first_seen: MonotonicTime,
    /// Latest request.
    pub last_seen: MonotonicTime,
    /// Requests since the start.
    pub requests: u64,
    /// Decayed count at `last_seen`.
    weight: f64,
}

impl PrefixDemand {
    /// Requests per second over the last half minute or so, in thousandths; at least 1 for a prefix that ever asked.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to a small positive range"
    )]
    pub fn milli_requests_per_second(&self, now: MonotonicTime) -> u64 {
        let seen_for = now
            .since(self.first_seen)
            .as_secs_f64()
            .clamp(1.0, FORGETTING.as_secs_f64());
        let weight = self.weight * decay(now.since(self.last_seen));
        (weight / seen_for * 1e3).round().clamp(1.0, 1e12) as u64
    }
}

impl Demand {
    /// Counts by `grouping`, for at most `most_prefixes` prefixes.
    pub const fn new(grouping: PrefixGrouping, most_prefixes: usize) -> Self {
        Self {
            grouping,
            most_prefixes,
            prefixes: BTreeMap::new(),
        }
    }

    /// Counts a request; the prefix and its demand after it, or `None` if there is no room for a new prefix.
    pub fn record(&mut self, client: IpAddr, at: MonotonicTime) -> Option<(IpNet, &PrefixDemand)> {
        self.record_many(client, 1, at)
    }

    /// Counts so many requests that one client made at the same time, as [`Demand::record`] does one.
    pub fn record_many(
        &mut self,
        client: IpAddr,
        count: u64,
        at: MonotonicTime,
    ) -> Option<(IpNet, &PrefixDemand)> {
        let prefix = self.grouping.group(client);
        if !self.prefixes.contains_key(&prefix) && self.prefixes.len() >= self.most_prefixes {
            self.displace(at)?;
        }
        let entry = self.prefixes.entry(prefix).or_insert(PrefixDemand {
            representative: client,
            first_seen: at,
            last_seen: at,
            requests: 0,
            weight: 0.0,
        });
        entry.weight = entry.weight * decay(at.since(entry.last_seen)) + count as f64;
        entry.requests = entry.requests.saturating_add(count);
        entry.representative = client;
        entry.last_seen = entry.last_seen.max(at);
        Some((prefix, entry))
    }

    /// All known prefixes.
    pub fn iter(&self) -> impl Iterator<Item = (&IpNet, &PrefixDemand)> {
        self.prefixes.iter()
    }

    /// What is known of one prefix.
    pub fn get(&self, prefix: &IpNet) -> Option<&PrefixDemand> {
        self.prefixes.get(prefix)
    }

    fn displace(&mut self, now: MonotonicTime) -> Option<()> {
        let (&oldest, entry) = self
            .prefixes
            .iter()
            .min_by_key(|(prefix, entry)| (entry.last_seen, **prefix))?;
        if now.since(entry.last_seen) < FORGETTING {
            return None;
        }
        self.prefixes.remove(&oldest);
        Some(())
    }
}

fn decay(elapsed: Duration) -> f64 {
    (-elapsed.as_secs_f64() / FORGETTING.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime(Duration::from_secs(seconds))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_steady_client_is_measured_at_its_rate() {
        let mut demand = Demand::new(PrefixGrouping::SITE, 10);
        for second in 0..300 {
            demand.record(address("240.0.0.1"), at(second));
            demand.record(address("240.0.0.2"), at(second));
        }
        let (_, entry) = demand.iter().next().unwrap();
        let rate = entry.milli_requests_per_second(at(299));
        assert!((1900..2200).contains(&rate), "{rate}");
        assert_eq!(entry.requests, 600);
        assert!(entry.milli_requests_per_second(at(600)) < 10);
    }

    #[test]
    fn a_full_table_keeps_the_active_and_drops_the_silent() {
        let mut demand = Demand::new(PrefixGrouping::SITE, 2);
        assert!(demand.record(address("240.0.1.1"), at(0)).is_some());
        assert!(demand.record(address("240.0.2.1"), at(1)).is_some());
        assert!(demand.record(address("240.0.3.1"), at(2)).is_none());
        assert!(demand.record(address("240.0.3.1"), at(40)).is_some());
        let kept: Vec<String> = demand
            .iter()
            .map(|(prefix, _)| prefix.to_string())
            .collect();
        assert_eq!(kept, ["240.0.2.0/24", "240.0.3.0/24"]);
    }
}
