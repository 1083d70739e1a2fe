//! Which domain the names of routers are in, for trees in which all routers of a domain are one place.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use edge_discovery::{Answer, AnswerName, Question, RecordData, candidate_zones};
use edge_ports::NameLookup;
use edge_topology::Grouping;
use edge_types::{AddressPolicy, DnsName, MonotonicTime, PathObservation, PrefixGrouping};
use tokio::task::JoinSet;

/// Addresses known at a time; further ones go by their prefix.
const ADDRESSES: usize = 65_536;
/// Questions under way at a time.
const PARALLEL: usize = 64;
/// For how long a name or its absence holds, whatever its time to live says.
const HOLDS: (Duration, Duration) = (Duration::from_hours(1), Duration::from_hours(24));
/// When to ask again after no answer.
const RETRY_AFTER: Duration = Duration::from_mins(5);
/// An address that was on no path for so long is forgotten.
const RETENTION: Duration = Duration::from_hours(24);

/// The domains of the addresses on paths. Until an address's name is known it goes by its prefix, as one without a name does.
#[derive(Debug)]
pub struct Domains {
    lookup: Arc<dyn NameLookup>,
    policy: AddressPolicy,
    known: BTreeMap<IpAddr, Known>,
    /// When which of them is to be asked for.
    due: BTreeSet<(MonotonicTime, IpAddr)>,
    under_way: JoinSet<(IpAddr, Answer)>,
    /// Until something changes.
    grouping: Option<Grouping>,
}

#[derive(Debug)]
struct Known {
    domain: Option<DnsName>,
    last_seen: MonotonicTime,
}

impl Domains {
    /// Asks `lookup` for the names of addresses that `policy` allows; those of private networks say nothing.
    pub fn new(lookup: Arc<dyn NameLookup>, policy: AddressPolicy) -> Self {
        Self {
            lookup,
            policy,
            known: BTreeMap::new(),
            due: BTreeSet::new(),
            under_way: JoinSet::new(),
            grouping: None,
        }
    }

    /// Wants to know the domains of all on this path.
    pub(super) fn see(&mut self, path: &PathObservation, now: MonotonicTime) {
        let replies = path.replies().map(|(_, reply)| reply.address);
        let further = path.further.iter().map(|(_, reply)| reply.address);
        for address in replies.chain(further) {
            let address = address.to_canonical();
            if let Some(known) = self.known.get_mut(&address) {
                known.last_seen = now;
            } else if self.known.len() < ADDRESSES && self.policy.check(address).is_ok() {
                let unknown = Known {
                    domain: None,
                    last_seen: now,
                };
                self.known.insert(address, unknown);
                self.due.insert((now, address));
            }
        }
    }

    /// Takes the answers that have come, and asks what is due. To be called now and then.
    pub(super) fn advance(&mut self, now: MonotonicTime) {
        while let Some(done) = self.under_way.try_join_next() {
            if let Ok((address, answer)) = done {
                self.take(address, &answer, now);
            }
        }
        while self.under_way.len() < PARALLEL
            && let Some((at, address)) = self.due.first().copied()
            && at <= now
        {
            self.due.remove(&(at, address));
            let is_old = |known: &Known| now.since(known.last_seen) > RETENTION;
            if self.known.get(&address).is_none_or(is_old) {
                self.known.remove(&address);
                self.grouping = None;
                continue;
            }
            let lookup = Arc::clone(&self.lookup);
            self.under_way.spawn(async move {
                let answer = lookup.lookup(&Question::reverse(address)).await;
                (address, answer)
            });
        }
    }

    fn take(&mut self, address: IpAddr, answer: &Answer, now: MonotonicTime) {
        let Some(known) = self.known.get_mut(&address) else {
            return;
        };
        let (least, most) = HOLDS;
        let holds = match answer {
            Answer::Records { ttl_seconds, .. } => {
                Duration::from_secs((*ttl_seconds).into()).clamp(least, most)
            }
            Answer::Absent { .. } => least,
            // That nobody answers takes away nothing.
            Answer::Unanswered(_) => RETRY_AFTER,
        };
        self.due.insert((now.after(holds), address));
        let domain = match answer {
            Answer::Records { records, .. } => records.iter().filter_map(domain).min(),
            Answer::Absent { .. } => None,
            Answer::Unanswered(_) => return,
        };
        if known.domain != domain {
            known.domain = domain;
            self.grouping = None;
        }
    }

    /// Addresses by domain as far as known, the others by prefix.
    pub(super) fn grouping(&mut self, otherwise: PrefixGrouping) -> Grouping {
        let known = &self.known;
        let grouping = self.grouping.get_or_insert_with(|| {
            let named = known.iter();
            let named = named.filter_map(|(at, known)| Some((*at, known.domain.clone()?)));
            Grouping::by_domain(named, otherwise)
        });
        grouping.clone()
    }
}

/// The domain that somebody registered, of the host that a PTR record names. Under a private suffix it is that of the suffix's
/// owner, in whose network the host is.
fn domain(record: &RecordData) -> Option<DnsName> {
    let RecordData::Ptr(name) = record else {
        return None;
    };
    let name = match name {
        AnswerName::Name(name) => name,
        AnswerName::Unacceptable { above, .. } => above.as_ref()?,
        AnswerName::Root => return None,
    };
    let zones = candidate_zones(name, 1).ok()?;
    zones.into_iter().next_back().map(|found| found.zone)
}

#[cfg(test)]
mod tests {
    use edge_discovery::{Absence, NoAnswer, Security};
    use edge_ports::BoxFuture;
    use edge_types::{Hop, HopReply, PathEnd, Rtt};

    use super::*;

    /// Names by address.
    #[derive(Debug)]
    struct Names(BTreeMap<String, Answer>);

    impl NameLookup for Names {
        fn lookup<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
            let known = self.0.get(question.name.as_str()).cloned();
            Box::pin(async move { known.unwrap_or(Answer::Unanswered(NoAnswer::Unreachable)) })
        }
    }

    fn named(names: &[&str]) -> Answer {
        let names = names.iter();
        Answer::Records {
            records: names
                .map(|name| RecordData::Ptr(AnswerName::parse(name)))
                .collect(),
            ttl_seconds: 1,
            security: Security::Insecure,
        }
    }

    fn path(routers: &[&str]) -> PathObservation {
        let reply =
            |address: &&str| Hop::Reply(HopReply::new(address.parse().unwrap(), Rtt::default()));
        PathObservation {
            target: "240.9.0.1".parse().unwrap(),
            observed_at: MonotonicTime::ZERO,
            hops: routers.iter().map(reply).collect(),
            further: Vec::new(),
            end: PathEnd::Silent,
            probes_sent: 1,
        }
    }

    async fn advance(domains: &mut Domains, now: MonotonicTime) {
        domains.advance(now);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        domains.advance(now);
    }

    fn grouping(domains: &[(&str, &str)]) -> Grouping {
        let domains = domains.iter();
        let domains = domains.map(|(at, name)| (at.parse().unwrap(), name.parse().unwrap()));
        Grouping::by_domain(domains, PrefixGrouping::SITE)
    }

    #[tokio::test]
    async fn routers_are_in_the_domain_of_their_name_however_odd_their_own_labels() {
        let absent = Answer::Absent {
            absence: Absence::NxDomain,
            soa: None,
            security: Security::Insecure,
        };
        let names = [
            ("1.0.1.240", named(&["r1.fra.isp.example."])),
            ("1.0.2.240", named(&["ge-0.-.isp.example."])),
            ("1.0.3.240", named(&["z.example.", "core.a.co.uk."])),
            ("1.0.4.240", named(&["localhost."])),
            ("1.0.5.240", absent),
            ("1.0.0.10", named(&["r1.isp.example."])),
        ];
        let names = names.map(|(name, answer)| (format!("{name}.in-addr.arpa"), answer));
        let policy = AddressPolicy::new(vec!["240.0.0.0/4".parse().unwrap()]);
        let mut domains = Domains::new(Arc::new(Names(names.into())), policy);
        let now = MonotonicTime::ZERO;
        let routers = [
            "240.1.0.1",
            "240.2.0.1",
            "240.3.0.1",
            "240.4.0.1",
            "240.5.0.1",
            "240.6.0.1",
            "10.0.0.1",
        ];
        domains.see(&path(&routers), now);
        assert_eq!(domains.grouping(PrefixGrouping::SITE), grouping(&[]));
        advance(&mut domains, now).await;
        let want = [
            ("240.1.0.1", "isp.example"),
            ("240.2.0.1", "isp.example"),
            ("240.3.0.1", "a.co.uk"),
        ];
        assert_eq!(domains.grouping(PrefixGrouping::SITE), grouping(&want));
        assert_eq!(domains.known.len(), 6, "private ones are not asked for");
        // Nothing is asked before its time, and who was on no path for a day is forgotten.
        advance(&mut domains, now.after(RETRY_AFTER / 2)).await;
        assert_eq!(domains.due.len(), 6);
        domains.see(&path(&routers[..1]), now.after(RETENTION));
        advance(&mut domains, now.after(RETENTION + HOLDS.1)).await;
        assert_eq!(domains.grouping(PrefixGrouping::SITE), grouping(&want[..1]));
    }
}
