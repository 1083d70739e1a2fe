//! The dispatch table: realised deployments, by client prefix.

use std::net::{IpAddr, SocketAddr};

use edge_types::{Generation, IepId, IpNet, UtcTime};

use crate::bounce::BounceTarget;
use crate::lookup::PrefixMap;

/// Where clients of one prefix are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteTarget {
    /// The site.
    pub site: IepId,
    /// Where its service answers clients.
    pub address: SocketAddr,
    /// First second in which no client may use it any more: the end of the paid slot, less the notice period that the site
    /// needs to send stragglers back.
    pub usable_until: UtcTime,
    /// Where its clients can be bounced; none where how far they are is not asked.
    pub bounce: Option<BounceTarget>,
}

/// For how long redirects hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectPolicy {
    /// Longest life of a redirect in seconds. Longer spares clients trips to the cloud; shorter lets a new plan reach them
    /// sooner. Default 60. At 0 nobody is redirected.
    pub max_age_secs: u64,
    /// A site that is usable for less than this is not worth a redirect. Default 2; at 0 counts as 1, since a redirect
    /// that is over at once helps nobody.
    pub min_lifetime_secs: u64,
}

impl Default for RedirectPolicy {
    fn default() -> Self {
        Self {
            max_age_secs: 60,
            min_lifetime_secs: 2,
        }
    }
}

/// What to do with one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send it to a site.
    Redirect {
        /// The site.
        site: IepId,
        /// Where its service answers.
        address: SocketAddr,
        /// How long the client may remember this; within the policy and the paid time.
        lifetime_secs: u64,
    },
    /// The cloud serves it.
    Cloud(UnservedReason),
}

/// Why no site serves a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnservedReason {
    /// No site is planned for the client's prefix: it was never seen, or the cloud is nearer.
    NoSite,
    /// The site can be used for too short a time.
    LeaseEnding {
        /// Seconds left; 0 if it is over.
        seconds_left: u64,
    },
    /// The policy allows no lifetime that is worth a redirect.
    RedirectsOff,
}

/// A table cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Two sites for one prefix.
    #[error("client prefix {0} has two sites")]
    DuplicatePrefix(IpNet),
}

/// A table is not newer than the one in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dispatch table {offered} is not newer than {current}")]
pub struct StaleTable {
    /// The table offered.
    pub offered: Generation,
    /// The table in force.
    pub current: Generation,
}

/// Which site serves which client prefix; immutable and numbered.
///
/// A lookup is a binary search: well under a microsecond at 10^5 prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchTable {
    generation: Generation,
    sites: PrefixMap<SiteTarget>,
}

impl DispatchTable {
    /// The table before any plan: the cloud serves all.
    pub const fn empty() -> Self {
        Self {
            generation: Generation(0),
            sites: PrefixMap::empty(),
        }
    }

    /// A table of realised deployments. Host bits of prefixes are ignored.
    pub fn new(
        generation: Generation,
        sites: impl IntoIterator<Item = (IpNet, SiteTarget)>,
    ) -> Result<Self, TableError> {
        let sites =
            PrefixMap::new(sites).map_err(|duplicate| TableError::DuplicatePrefix(duplicate.0))?;
        Ok(Self { generation, sites })
    }

    /// Its number.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Number of client prefixes with a site.
    pub fn len(&self) -> usize {
        self.sites.len()
    }

    /// Does the cloud serve all?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All prefixes with their sites, IPv4 first, in order.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, &SiteTarget)> {
        self.sites.iter()
    }

    /// Puts `next` in force, if it is newer. The check must be made where the swap is: behind an atomic pointer, call
    /// this on a copy inside the compare-and-swap, or keep one writer.
    pub fn replace(&mut self, next: Self) -> Result<(), StaleTable> {
        if next.generation <= self.generation {
            return Err(StaleTable {
                offered: next.generation,
                current: self.generation,
            });
        }
        *self = next;
        Ok(())
    }

    /// The prefix and site that serve a client, whatever the time.
    pub fn find(&self, client: IpAddr) -> Option<(IpNet, &SiteTarget)> {
        self.sites.find(client)
    }

    /// Where a client goes at `now`.
    pub fn decide(&self, client: IpAddr, now: UtcTime, policy: &RedirectPolicy) -> Decision {
        let Some((_, target)) = self.find(client) else {
            return Decision::Cloud(UnservedReason::NoSite);
        };
        let shortest = policy.min_lifetime_secs.max(1);
        if policy.max_age_secs < shortest {
            return Decision::Cloud(UnservedReason::RedirectsOff);
        }
        let seconds_left = target.usable_until.seconds_since(now);
        if seconds_left < shortest {
            return Decision::Cloud(UnservedReason::LeaseEnding { seconds_left });
        }
        Decision::Redirect {
            site: target.site.clone(),
            address: target.address,
            lifetime_secs: seconds_left.min(policy.max_age_secs),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(until: u64) -> SiteTarget {
        SiteTarget {
            site: IepId {
                host: "edge.isp.example".parse().unwrap(),
                port: 5060,
            },
            address: "240.5.0.1:8080".parse().unwrap(),
            usable_until: UtcTime(until),
            bounce: None,
        }
    }

    fn table(until: u64) -> DispatchTable {
        let prefix = "240.9.0.0/16".parse().unwrap();
        DispatchTable::new(Generation(1), [(prefix, target(until))]).unwrap()
    }

    proptest! {
        #[test]
        fn a_redirect_never_outlives_the_lease(
            until: u64,
            now: u64,
            max_age_secs: u64,
            min_lifetime_secs: u64,
        ) {
            let policy = RedirectPolicy { max_age_secs, min_lifetime_secs };
            let client = "240.9.1.2".parse().unwrap();
            match table(until).decide(client, UtcTime(now), &policy) {
                Decision::Redirect { lifetime_secs, .. } => {
                    prop_assert!(now.checked_add(lifetime_secs).is_some_and(|end| end <= until));
                    prop_assert!((1..=max_age_secs).contains(&lifetime_secs));
                    prop_assert!(lifetime_secs >= min_lifetime_secs);
                }
                Decision::Cloud(UnservedReason::LeaseEnding { seconds_left }) => {
                    prop_assert_eq!(seconds_left, until.saturating_sub(now));
                    prop_assert!(seconds_left < min_lifetime_secs.max(1));
                }
                Decision::Cloud(reason) => {
                    prop_assert_eq!(reason, UnservedReason::RedirectsOff);
                    prop_assert!(max_age_secs < min_lifetime_secs.max(1));
                }
            }
        }
    }

    #[test]
    fn decides_by_prefix_and_time_left() {
        let policy = RedirectPolicy::default();
        let decide =
            |client: &str, now| table(1000).decide(client.parse().unwrap(), UtcTime(now), &policy);
        let redirect = |lifetime_secs| Decision::Redirect {
            site: target(0).site,
            address: target(0).address,
            lifetime_secs,
        };
        assert_eq!(decide("240.9.1.2", 100), redirect(60));
        assert_eq!(decide("240.9.1.2", 990), redirect(10));
        for (now, seconds_left) in [(999, 1), (1000, 0), (5000, 0)] {
            let ending = UnservedReason::LeaseEnding { seconds_left };
            assert_eq!(decide("240.9.1.2", now), Decision::Cloud(ending));
        }
        assert_eq!(
            decide("240.10.1.2", 100),
            Decision::Cloud(UnservedReason::NoSite)
        );
    }

    #[test]
    fn only_a_newer_table_replaces() {
        let mut current = table(1000);
        for offered in [Generation(0), Generation(1)] {
            let stale = StaleTable {
                offered,
                current: Generation(1),
            };
            let next = DispatchTable::new(offered, []).unwrap();
            assert_eq!(current.replace(next), Err(stale));
            assert_eq!(current, table(1000));
        }
        let next = DispatchTable::new(Generation(2), []).unwrap();
        assert_eq!(current.replace(next.clone()), Ok(()));
        assert_eq!(current, next);
    }
}
