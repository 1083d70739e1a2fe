//! How much one source may ask for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edge_types::{IpNet, MonotonicTime, PrefixGrouping};

/// Sources remembered; above this new ones are refused until old ones are forgotten.
const SOURCES: usize = 8192;
/// Seconds' worth of requests that may come at once.
const BURST_SECONDS: u32 = 10;

/// Connections and requests by source: an IPv4 address, or an IPv6 /48, since anybody has 2^64 addresses.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    shared: Arc<Mutex<BTreeMap<IpNet, Source>>>,
    connections_per_source: u32,
    requests_per_second: u32,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    connections: u32,
    /// When the source will have its whole burst again (a leaky bucket, kept as one time).
    idle_at: MonotonicTime,
}

/// An open connection of a source; gives its place back when dropped.
#[derive(Debug)]
pub(super) struct Connection {
    sources: Sources,
    source: IpNet,
}

impl Sources {
    pub(super) fn new(connections_per_source: u32, requests_per_second: u32) -> Self {
        Self {
            shared: Arc::default(),
            connections_per_source,
            requests_per_second: requests_per_second.max(1),
        }
    }

    /// A place for a connection; `None` if the source has as many as it may.
    pub(super) fn connect(&self, address: IpAddr) -> Option<Connection> {
        let source = group(address)?;
        let mut sources = self.lock();
        if sources.len() >= SOURCES && !sources.contains_key(&source) {
            sources.retain(|_, source| source.connections > 0);
            if sources.len() >= SOURCES {
                return None;
            }
        }
        let entry = sources.entry(source).or_insert(Source {
            connections: 0,
            idle_at: MonotonicTime::ZERO,
        });
        if entry.connections >= self.connections_per_source {
            return None;
        }
        entry.connections += 1;
        Some(Connection {
            sources: self.clone(),
            source,
        })
    }

    /// Counts a request; if it is one too many, the seconds to wait.
    pub(super) fn request(&self, address: IpAddr, now: MonotonicTime) -> Result<(), u64> {
        let cost = Duration::from_secs(1) / self.requests_per_second;
        let burst = Duration::from_secs(BURST_SECONDS.into());
        let mut sources = self.lock();
        let Some(source) = group(address).and_then(|source| sources.get_mut(&source)) else {
            return Ok(()); // only connections make requests, and they are counted
        };
        let idle_at = source.idle_at.max(now).after(cost);
        let excess = idle_at.since(now).saturating_sub(burst);
        if excess > Duration::ZERO {
            return Err(excess.as_secs() + 1);
        }
        source.idle_at = idle_at;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpNet, Source>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(source) = self.sources.lock().get_mut(&self.source) {
            source.connections = source.connections.saturating_sub(1);
        }
    }
}

fn group(address: IpAddr) -> Option<IpNet> {
    PrefixGrouping::new(32, 48).map(|grouping| grouping.group(address.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_capped_per_source_and_given_back() {
        let sources = Sources::new(2, 1);
        let [a, b, c]: [IpAddr; 3] =
            ["3fff::1", "3fff::2", "3fff:0:1::1"].map(|text| text.parse().unwrap());
        let first = sources.connect(a).unwrap();
        let _second = sources.connect(b).unwrap();
        assert!(sources.connect(a).is_none(), "the same /48");
        let _other = sources.connect(c).unwrap();
        drop(first);
        assert!(sources.connect(a).is_some());
    }

    #[test]
    fn requests_are_capped_per_second_with_a_burst() {
        let sources = Sources::new(1, 2);
        let address = "240.0.0.1".parse().unwrap();
        let _connection = sources.connect(address).unwrap();
        let at = |ms| MonotonicTime(Duration::from_millis(ms));
        for _ in 0..20 {
            assert_eq!(sources.request(address, at(0)), Ok(()));
        }
        assert_eq!(sources.request(address, at(0)), Err(1));
        assert_eq!(sources.request(address, at(500)), Ok(()));
        assert_eq!(sources.request(address, at(500)), Err(1));
    }
}
