//! Entry points that nobody names any more.

use std::collections::{BTreeMap, BTreeSet};

use edge_discovery::{
    AnswerName, InstanceOutcome, Lookup, NoAnswer, ServiceTrail, SiteOutcome, SiteRejection,
    ZoneTrail,
};
use edge_types::{DnsName, IepId, IepOrigin};

use super::PlacementTask;
use crate::sites::KnownSite;

/// Entry points known at once.
pub(super) const MOST_KNOWN: usize = 16_384;

impl PlacementTask {
    /// Forgets entry points that their zone no longer names.
    pub(super) fn forget_unnamed(&mut self) {
        let zones = self.discovery.trail().zones;
        let zones: BTreeMap<&DnsName, &ZoneTrail> =
            zones.iter().map(|zone| (&zone.zone, zone)).collect();
        self.forget(|site| match &site.candidate.origin {
            IepOrigin::Zone(zone) => {
                let zone = zones.get(zone);
                zone.is_some_and(|zone| !may_name(zone, &site.candidate.id))
            }
            _ => false,
        });
    }

    /// Forgets entry points that their list no longer names.
    pub(super) fn forget_unlisted(&mut self, named: &BTreeMap<IepOrigin, BTreeSet<IepId>>) {
        self.forget(|site| {
            let named = named.get(&site.candidate.origin);
            named.is_some_and(|named| !named.contains(&site.candidate.id))
        });
    }

    /// Those with an agreement stay until it is over.
    fn forget(&mut self, is_gone: impl Fn(&KnownSite) -> bool) {
        let agreements = &self.agreements;
        let gone = self
            .memory
            .known
            .extract_if(.., |id, site| is_gone(site) && !agreements.deals_with(id));
        let gone: Vec<IepId> = gone.map(|(id, _)| id).collect();
        for id in gone {
            self.status
                .event(self.at_ms(), format!("{id} is no longer named"));
        }
    }
}

/// Could the zone still mean this entry point, by all that is known? Silence says nothing; signatures that do not hold, and
/// wildcards, mean nothing.
fn may_name(zone: &ZoneTrail, site: &IepId) -> bool {
    let own = match &zone.service {
        Lookup::Records(service) => has(service, site),
        other => is_open(other),
    };
    own || match &zone.instances {
        None => false,
        Some(Lookup::Records(found)) => {
            found.over_limit > 0
                || found
                    .instances
                    .iter()
                    .any(|instance| match &instance.outcome {
                        InstanceOutcome::Refused(_) => false,
                        InstanceOutcome::Followed { service, .. } => match service {
                            Lookup::Records(service) => has(service, site),
                            other => is_open(other),
                        },
                    })
        }
        Some(other) => is_open(other),
    }
}

fn is_open<T>(lookup: &Lookup<T>) -> bool {
    match lookup {
        Lookup::Records(_) | Lookup::Absent { .. } => false,
        Lookup::Unanswered(reason) => !matches!(reason, NoAnswer::Bogus { .. }),
        Lookup::Pending | Lookup::NotAsked(_) => true,
    }
}

fn has(service: &ServiceTrail, site: &IepId) -> bool {
    let mut sites = service.sites.iter();
    service.over_limit > 0
        || sites.any(|found| {
            let is_it = matches!(&found.record.target, AnswerName::Name(name) if *name == site.host)
                && found.record.port == site.port;
            is_it && found.outcome != SiteOutcome::Rejected(SiteRejection::Wildcard)
        })
}

#[cfg(test)]
mod tests {
    use edge_discovery::{
        Absence, Answer, Discovery, DiscoveryConfig, Limits, Question, RecordData, RecordKind,
        Security, SrvRecord,
    };
    use edge_types::{AddressPolicy, MonotonicTime};

    use super::*;

    /// What is known of `isp.example` once all that it asks is answered so.
    fn zone(answer: impl Fn(&Question) -> Answer) -> ZoneTrail {
        let policy = AddressPolicy::default();
        let config =
            DiscoveryConfig::new(DiscoveryConfig::SERVICE, "t0ken", policy, Limits::default());
        let mut discovery = Discovery::new(config.unwrap());
        let now = MonotonicTime::ZERO;
        discovery.start_run(now);
        discovery.observe_zone("isp.example".parse().unwrap(), now);
        while let Some(question) = discovery.poll_question(now) {
            discovery.handle_answer(&question, answer(&question), now);
        }
        discovery.trail().zones.remove(0)
    }

    fn names(host: &str) -> Answer {
        Answer::Records {
            records: vec![RecordData::Srv(SrvRecord {
                priority: 0,
                weight: 0,
                port: 80,
                target: AnswerName::parse(host),
            })],
            ttl_seconds: 60,
            security: Security::Secure,
        }
    }

    fn nothing() -> Answer {
        Answer::Absent {
            absence: Absence::NoData,
            soa: None,
            security: Security::Secure,
        }
    }

    #[test]
    fn only_a_zone_that_answered_and_does_not_name_a_site_is_believed_to_have_given_it_up() {
        let may_name = |service: Answer, instances: Answer| {
            let zone = zone(|question| {
                let is_service = question.name.as_str() == "_edge._tcp.isp.example";
                match question.kind {
                    RecordKind::Srv if is_service => service.clone(),
                    RecordKind::Ptr if is_service => instances.clone(),
                    _ => nothing(),
                }
            });
            let site = IepId {
                host: "a.isp.example".parse().unwrap(),
                port: 80,
            };
            may_name(&zone, &site)
        };
        let lost = || Answer::Unanswered(NoAnswer::Unreachable);
        let bogus = Answer::Unanswered(NoAnswer::Bogus {
            reason: "expired".to_owned(),
        });
        let instance = Answer::Records {
            records: vec![RecordData::Ptr(AnswerName::parse(
                "one._edge._tcp.isp.example",
            ))],
            ttl_seconds: 60,
            security: Security::Secure,
        };
        // It has no address, but the zone names it.
        assert!(may_name(names("a.isp.example"), nothing()));
        assert!(!may_name(names("b.isp.example"), nothing()));
        assert!(may_name(names("b.isp.example"), lost()));
        assert!(!may_name(nothing(), nothing()));
        assert!(!may_name(nothing(), instance), "one that has no place");
        assert!(may_name(lost(), nothing()));
        assert!(!may_name(bogus, nothing()));
    }
}
