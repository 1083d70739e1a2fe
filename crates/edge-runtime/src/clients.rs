//! How far clients are, by what the kernel measures of their connections.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use edge_types::{IpNet, PrefixGrouping, Rtt};

/// Client networks that are remembered; when there are more, the one is forgotten that was not seen for longest.
const MOST: usize = 1024;

/// What is older says nothing of now.
const FRESH_FOR: Duration = Duration::from_mins(5);

/// The latest round trips between a site and its clients, by network (/24 and /48).
#[derive(Debug, Default)]
pub(crate) struct ClientRoundTrips {
    known: Mutex<BTreeMap<IpNet, (Rtt, Instant)>>,
}

impl ClientRoundTrips {
    /// A client's connection had this round trip. The shortest of a while counts.
    pub(crate) fn note(&self, client: IpAddr, rtt: Rtt, now: Instant) {
        let network = PrefixGrouping::SITE.group(client.to_canonical());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST
            && !known.contains_key(&network)
            && let Some(oldest) = known.iter().min_by_key(|(_, (_, at))| *at)
        {
            let oldest = *oldest.0;
            known.remove(&oldest);
        }
        let entry = known.entry(network).or_insert((rtt, now));
        if rtt <= entry.0 || now.duration_since(entry.1) >= FRESH_FOR {
            *entry = (rtt, now);
        }
    }

    /// What is known and fresh, in order of network.
    pub(crate) fn fresh(&self, now: Instant) -> Vec<(IpNet, Rtt)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .filter(|(_, (_, at))| now.duration_since(*at) < FRESH_FOR)
            .map(|(network, (rtt, _))| (*network, *rtt))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Rtt {
        Rtt(Duration::from_millis(ms))
    }

    #[test]
    fn the_shortest_of_a_while_counts_for_a_network() {
        let (known, begun) = (ClientRoundTrips::default(), Instant::now());
        known.note("240.1.2.3".parse().unwrap(), ms(9), begun);
        known.note("::ffff:240.1.2.4".parse().unwrap(), ms(7), begun);
        known.note("240.1.2.3".parse().unwrap(), ms(8), begun);
        assert_eq!(
            known.fresh(begun),
            [("240.1.2.0/24".parse().unwrap(), ms(7))]
        );
        let later = begun + FRESH_FOR;
        assert_eq!(known.fresh(later), []);
        known.note("240.1.2.3".parse().unwrap(), ms(20), later);
        assert_eq!(known.fresh(later)[0].1, ms(20));
    }

    #[test]
    fn so_many_networks_are_remembered_and_no_more() {
        let (known, begun) = (ClientRoundTrips::default(), Instant::now());
        for number in 0..2000_u32 {
            let client = IpAddr::from((0xf000_0000 + (number << 8)).to_be_bytes());
            known.note(client, ms(1), begun + Duration::from_millis(number.into()));
        }
        let fresh = known.fresh(begun + Duration::from_secs(2));
        assert_eq!(fresh.len(), MOST);
        assert_eq!(fresh[0].0, "240.3.208.0/24".parse().unwrap());
    }
}
