//! How far away targets are, for those that keep silent and have neighbours that do not.

use std::collections::BTreeMap;
use std::net::IpAddr;

use edge_types::MonotonicTime;

/// /24 or /48 apart, up to which targets are taken to be equally far away (the proximity span of FlashRoute: Huang et al.,
/// IMC 2020).
const SPAN: u128 = 5;

/// Distances of targets that answered, by address.
#[derive(Debug)]
pub(super) struct Distances(BTreeMap<IpAddr, (u8, MonotonicTime)>);

impl Distances {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn note(&mut self, target: IpAddr, distance: u8, now: MonotonicTime) {
        self.0.insert(target, (distance, now));
    }

    /// The distance of the nearest neighbour, if there is one within the span.
    pub(super) fn nearby(&self, target: IpAddr) -> Option<u8> {
        let below = self.0.range(..target).next_back();
        let above = self.0.range(target..).next();
        let neighbours = below.into_iter().chain(above);
        neighbours
            .filter_map(|(address, (distance, _))| {
                let apart = sites_apart(*address, target)?;
                (apart <= SPAN).then_some((apart, *distance))
            })
            .min()
            .map(|(_, distance)| distance)
    }

    /// Drops what is old once there are more than `most`, and everything if that does not help.
    pub(super) fn prune(&mut self, most: usize, is_fresh: impl Fn(MonotonicTime) -> bool) {
        if self.0.len() > most {
            self.0.retain(|_, (_, at)| is_fresh(*at));
            if self.0.len() > most {
                self.0.clear();
            }
        }
    }
}

/// How many /24 or /48 two addresses are apart; `None` if they are of different IP versions.
fn sites_apart(a: IpAddr, b: IpAddr) -> Option<u128> {
    let site = |address| match address {
        IpAddr::V4(address) => u128::from(address.to_bits() >> 8),
        IpAddr::V6(address) => address.to_bits() >> 80,
    };
    (a.is_ipv4() == b.is_ipv4()).then(|| site(a).abs_diff(site(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_neighbour_within_the_span_counts() {
        let mut distances = Distances::new();
        for (target, distance) in [("240.0.10.1", 7), ("240.0.13.1", 9), ("3fff:0:1::1", 3)] {
            distances.note(target.parse().unwrap(), distance, MonotonicTime::ZERO);
        }
        let nearby = |target: &str| distances.nearby(target.parse().unwrap());
        assert_eq!(nearby("240.0.11.200"), Some(7));
        assert_eq!(nearby("240.0.12.1"), Some(9));
        assert_eq!(nearby("240.0.18.1"), Some(9));
        assert_eq!(nearby("240.0.19.1"), None);
        assert_eq!(nearby("240.0.4.1"), None);
        assert_eq!(nearby("3fff:0:6::1"), Some(3));
        assert_eq!(nearby("::1"), None, "no neighbour of its own kind");
    }
}
