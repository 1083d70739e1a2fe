//! How many ICMP errors a router sends.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::network::{Ration, RouterIndex};
use crate::scenario::RateScope;

/// Token buckets kept; full ones are forgotten when there are more.
const MAX_BUCKETS: usize = 1 << 16;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled: Duration,
}

/// The token buckets of all routers; also for networks that are only calculated.
#[derive(Debug, Default)]
pub struct Rations {
    buckets: HashMap<(RouterIndex, Option<IpAddr>), Bucket>,
}

impl Rations {
    /// May `router` send an error to `destination` now? Takes a token if so.
    pub fn take(
        &mut self,
        now: Duration,
        router: RouterIndex,
        ration: Ration,
        destination: IpAddr,
    ) -> bool {
        let (burst, per_second, scope) = match ration {
            Ration::Silent => return false,
            Ration::Unlimited => return true,
            Ration::Limited {
                burst,
                per_second,
                scope,
            } => (f64::from(burst), per_second, scope),
        };
        let key = match scope {
            RateScope::Router => (router, None),
            RateScope::Destination => (router, Some(destination)),
        };
        if self.buckets.len() >= MAX_BUCKETS && !self.buckets.contains_key(&key) {
            self.forget(now);
        }
        let bucket = self.buckets.entry(key).or_insert(Bucket {
            tokens: burst,
            filled: now,
        });
        let since = now.saturating_sub(bucket.filled).as_secs_f64();
        bucket.tokens = since.mul_add(per_second, bucket.tokens).min(burst);
        bucket.filled = bucket.filled.max(now);
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    /// Forgets buckets unused for a minute, which are as good as new for any ration in use; all if that is not enough.
    fn forget(&mut self, now: Duration) {
        let minute = Duration::from_mins(1);
        self.buckets
            .retain(|_, bucket| now.saturating_sub(bucket.filled) < minute);
        if self.buckets.len() >= MAX_BUCKETS {
            self.buckets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINUX: Ration = Ration::Limited {
        burst: 6,
        per_second: 1.0,
        scope: RateScope::Destination,
    };

    fn sent(rations: &mut Rations, at_ms: u64, ration: Ration, destination: u8, tries: u32) -> u32 {
        let to = IpAddr::from([240, 0, 0, destination]);
        (0..tries)
            .map(|_| {
                u32::from(rations.take(Duration::from_millis(at_ms), RouterIndex(1), ration, to))
            })
            .sum()
    }

    #[test]
    fn linux_sends_six_then_one_a_second_to_each_destination() {
        let mut rations = Rations::default();
        assert_eq!(sent(&mut rations, 0, LINUX, 1, 20), 6);
        assert_eq!(sent(&mut rations, 0, LINUX, 2, 20), 6);
        assert_eq!(sent(&mut rations, 999, LINUX, 1, 20), 0);
        assert_eq!(sent(&mut rations, 1000, LINUX, 1, 20), 1);
        assert_eq!(sent(&mut rations, 3500, LINUX, 1, 20), 2);
        assert_eq!(sent(&mut rations, 60_000, LINUX, 1, 20), 6);
    }

    #[test]
    fn a_router_wide_ration_is_shared() {
        let ration = Ration::Limited {
            burst: 2,
            per_second: 10.0,
            scope: RateScope::Router,
        };
        let mut rations = Rations::default();
        assert_eq!(sent(&mut rations, 0, ration, 1, 5), 2);
        assert_eq!(sent(&mut rations, 0, ration, 2, 5), 0);
        assert_eq!(sent(&mut rations, 150, ration, 2, 5), 1);
    }

    #[test]
    fn silent_and_unlimited() {
        let mut rations = Rations::default();
        assert_eq!(sent(&mut rations, 0, Ration::Silent, 1, 9), 0);
        assert_eq!(sent(&mut rations, 0, Ration::Unlimited, 1, 9), 9);
    }
}
