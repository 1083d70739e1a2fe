//! What sites measured of the way to their clients, and how far it is believed.
//!
//! The tree tells how far a client is from a site only as far as both ways are known from the cloud. A site that serves knows better: its
//! kernel measures every connection. But it is also the one that gains by being near, so its word counts within what we measured
//! ourselves: the cloud is as far from the client as it is, and by the triangle the site cannot be nearer to it than the difference of the
//! two ways from the cloud. What is shorter than that is not believed, and neither is what clients contradict that were bounced off the
//! site: a bounce can only take longer than the way, but if none of several came near to what the site says, the site is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use edge_negotiation::{FEWEST_OF_ONE, is_too_short};
use edge_topology::{AggregateTree, Attachment};
use edge_types::{IepId, IpNet, MonotonicTime, PrefixGrouping, Rtt};

/// What is older says nothing of now.
const FRESH_FOR: Duration = Duration::from_mins(10);

/// Most that is kept, of all sites together.
const MOST: usize = 100_000;

/// By this much, a report may be shorter than the triangle allows: measured at different times by different means.
const SLACK: Duration = Duration::from_millis(2);

/// Reports of sites.
#[derive(Debug, Default)]
pub struct Measured {
    reports: BTreeMap<(IepId, IpNet), (Rtt, MonotonicTime)>,
    bounces: BTreeMap<(IepId, IpNet), Bounces>,
}

/// Bounces of the clients of one network off one site.
#[derive(Debug)]
struct Bounces {
    count: usize,
    shortest: Rtt,
    latest: MonotonicTime,
}

/// Measurements that a plan may use, and those that it may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usable {
    /// Round trips by site and client prefix.
    pub round_trips: BTreeMap<(IepId, IpNet), Rtt>,
    /// How many were shorter than the ways from the cloud allow.
    pub too_short: usize,
    /// How many were much shorter than what clients themselves took.
    pub contradicted: usize,
}

impl Measured {
    /// Takes a site's report on client networks; is any of it news?
    pub fn report(
        &mut self,
        site: &IepId,
        grouping: PrefixGrouping,
        reported: impl IntoIterator<Item = (IpNet, Rtt)>,
        now: MonotonicTime,
    ) -> bool {
        self.reports.retain(|_, (_, at)| now.since(*at) < FRESH_FOR);
        let mut shortest: BTreeMap<IpNet, Rtt> = BTreeMap::new();
        for (network, rtt) in reported {
            let prefix = grouping.group(network.addr());
            // A part of what was reported on may be further or nearer.
            if prefix.prefix_len() > network.prefix_len() {
                continue;
            }
            let known = shortest.entry(prefix).or_insert(rtt);
            *known = rtt.min(*known);
        }
        let mut is_news = false;
        for (prefix, rtt) in shortest {
            let key = (site.clone(), prefix);
            if self.reports.len() >= MOST && !self.reports.contains_key(&key) {
                continue;
            }
            let before = self.reports.insert(key, (rtt, now));
            is_news |= before.is_none_or(|(before, _)| before != rtt);
        }
        is_news
    }

    /// A client of this network was bounced off the site: its round trip is at most `bound`.
    pub fn bounced(
        &mut self,
        site: &IepId,
        grouping: PrefixGrouping,
        network: IpNet,
        bound: Rtt,
        now: MonotonicTime,
    ) {
        let prefix = grouping.group(network.addr());
        if prefix.prefix_len() > network.prefix_len() {
            return;
        }
        let key = (site.clone(), prefix);
        if self.bounces.len() >= MOST && !self.bounces.contains_key(&key) {
            self.bounces
                .retain(|_, bounces| now.since(bounces.latest) < FRESH_FOR);
            if self.bounces.len() >= MOST {
                return;
            }
        }
        let bounces = self.bounces.entry(key).or_insert(Bounces {
            count: 0,
            shortest: bound,
            latest: now,
        });
        if now.since(bounces.latest) >= FRESH_FOR {
            (bounces.count, bounces.shortest) = (0, bound);
        }
        bounces.count += 1;
        bounces.shortest = bounces.shortest.min(bound);
        bounces.latest = now;
    }

    fn is_contradicted(&self, site: &IepId, prefix: IpNet, rtt: Rtt, now: MonotonicTime) -> bool {
        let bounces = self.bounces.get(&(site.clone(), prefix));
        bounces.is_some_and(|bounces| {
            bounces.count >= FEWEST_OF_ONE
                && now.since(bounces.latest) < FRESH_FOR
                && is_too_short(rtt, bounces.shortest)
        })
    }

    /// What of it can be believed of sites that hang on this tree.
    pub fn usable<'a>(
        &self,
        tree: &AggregateTree,
        sites: impl IntoIterator<Item = (&'a IepId, &'a Attachment)>,
        now: MonotonicTime,
    ) -> Usable {
        let mut usable = Usable::default();
        if self.reports.is_empty() {
            return usable;
        }
        for (site, attachment) in sites {
            let of_site = self
                .reports
                .range((site.clone(), IpNet::default())..)
                .take_while(|((other, _), _)| other == site);
            for ((_, prefix), (rtt, at)) in of_site {
                let Some(client) = tree.client(*prefix) else {
                    continue;
                };
                if now.since(*at) >= FRESH_FOR {
                    continue;
                }
                if rtt.0 + SLACK < attachment.rtt.0.abs_diff(client.rtt.rtt.0) {
                    usable.too_short += 1;
                    continue;
                }
                if self.is_contradicted(site, *prefix, *rtt, now) {
                    usable.contradicted += 1;
                    continue;
                }
                usable.round_trips.insert((site.clone(), *prefix), *rtt);
            }
        }
        usable
    }
}

#[cfg(test)]
mod tests {
    use edge_topology::{ClientDemand, Limits, Observations};
    use edge_types::{Generation, Hop, HopReply, PathEnd, PathObservation};

    use super::*;

    const NOW: MonotonicTime = MonotonicTime(Duration::from_secs(1000));

    const fn ms(ms: u64) -> Rtt {
        Rtt(Duration::from_millis(ms))
    }

    fn path(target: &str, ms_to_target: u64) -> PathObservation {
        let reply = |address: &str, at| Hop::Reply(HopReply::new(address.parse().unwrap(), ms(at)));
        PathObservation {
            target: target.parse().unwrap(),
            observed_at: NOW,
            hops: vec![reply("240.0.0.1", 40), reply(target, ms_to_target)],
            further: Vec::new(),
            end: PathEnd::Reached,
            probes_sent: 2,
        }
    }

    /// A client 60 ms away.
    fn tree() -> AggregateTree {
        let mut observations = Observations::new(Limits::default());
        observations.insert(&path("240.1.1.1", 60)).unwrap();
        let client = ClientDemand {
            target: "240.1.1.1".parse().unwrap(),
            milli_requests_per_second: 1000,
        };
        let demand = BTreeMap::from([(net("240.1.1.0/24"), client)]);
        observations.tree(Generation(1), PrefixGrouping::SITE, &demand)
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn site(host: &str) -> IepId {
        IepId {
            host: host.parse().unwrap(),
            port: 80,
        }
    }

    /// What is believed of a site 43 ms away that reports this.
    fn believed(grouping: PrefixGrouping, reported: &[(&str, u64)]) -> Usable {
        let (tree, site) = (tree(), site("a.example"));
        let attachment = tree.attach(&path("240.2.1.1", 43));
        let mut measured = Measured::default();
        let reported = reported.iter().map(|(clients, at)| (net(clients), ms(*at)));
        measured.report(&site, grouping, reported, NOW);
        measured.usable(&tree, [(&site, &attachment)], NOW)
    }

    #[test]
    fn what_is_possible_is_believed_and_what_is_too_short_is_not() {
        let of = |at| believed(PrefixGrouping::SITE, &[("240.1.1.0/24", at)]);
        let key = (site("a.example"), net("240.1.1.0/24"));
        assert_eq!(of(24).round_trips[&key], ms(24));
        assert_eq!(of(300).round_trips[&key], ms(300));
        // 60 - 43 ms, and what measuring may be off.
        assert_eq!(of(15).round_trips[&key], ms(15));
        assert_eq!((of(14).round_trips.len(), of(14).too_short), (0, 1));
        assert_eq!(of(0).too_short, 1);
    }

    #[test]
    fn reports_are_put_together_as_clients_are() {
        let parts = [("240.1.1.0/26", 30), ("240.1.1.64/26", 25)];
        let usable = believed(PrefixGrouping::SITE, &parts);
        let key = (site("a.example"), net("240.1.1.0/24"));
        assert_eq!(usable.round_trips, BTreeMap::from([(key, ms(25))]));
        let finer = PrefixGrouping::new(26, 48).unwrap();
        assert_eq!(
            believed(finer, &[("240.1.1.0/24", 30)]),
            Usable::default(),
            "of a part nothing is known"
        );
        assert_eq!(
            believed(PrefixGrouping::SITE, &[("240.7.7.0/24", 30)]),
            Usable::default(),
            "no client"
        );
    }

    #[test]
    fn a_site_is_not_nearer_than_its_clients_find_it() {
        let (tree, a) = (tree(), site("a.example"));
        let attachment = tree.attach(&path("240.2.1.1", 43));
        let clients = net("240.1.1.0/24");
        let mut measured = Measured::default();
        measured.report(&a, PrefixGrouping::SITE, [(clients, ms(20))], NOW);
        let believed = |measured: &Measured, now| {
            let usable = measured.usable(&tree, [(&a, &attachment)], now);
            (usable.round_trips.len(), usable.contradicted)
        };
        let mut bounce = |bound, count| {
            for _ in 0..count {
                measured.bounced(&a, PrefixGrouping::SITE, clients, ms(bound), NOW);
            }
            believed(&measured, NOW)
        };
        assert_eq!(bounce(300, 2), (1, 0), "two may be slow");
        assert_eq!(bounce(300, 1), (0, 1));
        assert_eq!(bounce(44, 1), (1, 0), "one was nearly as near as it says");
    }

    #[test]
    fn reports_are_of_one_site_and_of_a_while() {
        let tree = tree();
        let attachment = tree.attach(&path("240.2.1.1", 43));
        let (a, b) = (site("a.example"), site("b.example"));
        let report = || [(net("240.1.1.0/24"), ms(30))];
        let mut measured = Measured::default();
        assert!(measured.report(&a, PrefixGrouping::SITE, report(), NOW));
        assert!(!measured.report(&a, PrefixGrouping::SITE, report(), NOW));
        let of = |site, now| measured.usable(&tree, [(site, &attachment)], now);
        assert_eq!(of(&a, NOW).round_trips.len(), 1);
        assert_eq!(of(&b, NOW), Usable::default());
        assert_eq!(of(&a, NOW.after(FRESH_FOR)), Usable::default());
    }
}
