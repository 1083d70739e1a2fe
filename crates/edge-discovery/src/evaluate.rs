//! What the answers known so far mean, and what is still to be asked. Nothing here changes anything.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::task::Poll;

use edge_types::{ChainAddress, ChainId, DnsName, IepId, IepOrigin};

use crate::cache::{Cache, Records};
use crate::config::DiscoveryConfig;
use crate::key_record::{KeyBinding, KeyRefusal, read_keys};
use crate::question::{AnswerName, Question, RecordData, RecordKind, Security, SrvRecord};
use crate::trail::{
    ControlOutcome, IepCandidate, Lookup, NotAsked, ServiceTrail, SiteOutcome, SiteRejection,
    SiteTrail, ZoneDecision, ZoneStep,
};
use crate::zones::CandidateZone;

/// The SRV question of a zone; `None` if the name would be too long.
pub(crate) fn service_question(config: &DiscoveryConfig, zone: &DnsName) -> Option<Question> {
    prefixed(&config.service, zone, RecordKind::Srv)
}

fn prefixed(prefix: &DnsName, zone: &DnsName, kind: RecordKind) -> Option<Question> {
    zone.with_prefix(prefix.as_str())
        .ok()
        .map(|name| Question::new(name, kind))
}

/// Decides about the candidate zones of a name, most specific first.
///
/// The first and the last are asked at once. Those between are asked one after the other, since the SOA record of each
/// negative answer names the enclosing zone and with it those in between where no zone starts.
pub(crate) fn ladder(
    config: &DiscoveryConfig,
    cache: &Cache,
    zones: &[CandidateZone],
) -> Vec<ZoneStep> {
    let mut steps: Vec<ZoneStep> = zones
        .iter()
        .map(|found| ZoneStep {
            zone: found.zone.clone(),
            standing: found.standing,
            decision: ZoneDecision::Waiting,
        })
        .collect();
    let Some(last) = zones.len().checked_sub(1) else {
        return steps;
    };
    steps[last].decision = ZoneDecision::Asked;
    let mut index = 0;
    while index < last {
        steps[index].decision = ZoneDecision::Asked;
        let found = service_question(config, &zones[index].zone)
            .map_or(Lookup::NotAsked(NotAsked::NameTooLong), |question| {
                cache.lookup(&question)
            });
        if !found.is_settled() {
            break;
        }
        let next = match found {
            Lookup::Absent {
                apex: Some(apex), ..
            } if zones[index].zone.is_within(&apex) && apex != zones[index].zone => {
                let cut = zones
                    .iter()
                    .position(|found| found.zone == apex)
                    .unwrap_or(last)
                    .max(index + 1);
                for step in &mut steps[index + 1..cut] {
                    step.decision = ZoneDecision::NotACut { apex: apex.clone() };
                }
                cut
            }
            _ => index + 1,
        };
        index = next;
    }
    steps
}

/// What is known about a zone, and the questions that would tell more.
pub(crate) fn zone(
    config: &DiscoveryConfig,
    cache: &Cache,
    zone: &DnsName,
) -> (Lookup<ServiceTrail>, Vec<Question>) {
    let controls: Option<Vec<Question>> = config
        .controls
        .iter()
        .map(|control| prefixed(control, zone, RecordKind::Srv))
        .collect();
    let (Some(service), Some(controls)) = (service_question(config, zone), controls) else {
        return (Lookup::NotAsked(NotAsked::NameTooLong), Vec::new());
    };
    let mut wanted = vec![service.clone()];
    let found = cache.lookup(&service).map(|answer| {
        let records = srv_records(&answer);
        let view = ZoneView {
            config,
            cache,
            zone,
            service_name: &service.name,
            security: answer.security,
        };
        let is_usable = records.iter().any(|record| target_of(record).is_ok());
        let control = if is_usable {
            wanted.extend(controls.iter().cloned());
            wanted.push(Question::new(service.name.clone(), RecordKind::Txt));
            let answers: Vec<_> = controls
                .iter()
                .map(|control| cache.lookup(control))
                .collect();
            control_outcome(&records, &answers)
        } else {
            ControlOutcome::Explicit
        };
        let sites = records
            .into_iter()
            .map(|record| view.site(record, &control, &mut wanted))
            .collect();
        ServiceTrail {
            control,
            sites,
            over_limit: answer.over_limit,
        }
    });
    (found, wanted)
}

fn srv_records(answer: &Records<'_>) -> Vec<SrvRecord> {
    let mut records: Vec<SrvRecord> = answer
        .data
        .iter()
        .filter_map(|record| match record {
            RecordData::Srv(srv) => Some(srv.clone()),
            _ => None,
        })
        .collect();
    records.sort_by(|a, b| {
        (a.priority, b.weight, &a.target, a.port).cmp(&(b.priority, a.weight, &b.target, b.port))
    });
    let mut seen = BTreeSet::new();
    records.retain(|record| seen.insert((record.target.clone(), record.port)));
    records
}

fn target_of(record: &SrvRecord) -> Result<&DnsName, SiteRejection> {
    match &record.target {
        AnswerName::Root => Err(SiteRejection::NotAvailable),
        AnswerName::Unacceptable(why) => Err(SiteRejection::UnacceptableTarget(why.clone())),
        AnswerName::Name(_) if record.port == 0 => Err(SiteRejection::PortZero),
        AnswerName::Name(name) => Ok(name),
    }
}

/// Compares with what made-up names answered. Wildcards may hand out their targets in turn, so several are asked: one
/// target in common tells a wildcard, and so do answers that differ among themselves.
fn control_outcome(records: &[SrvRecord], controls: &[Lookup<Records<'_>>]) -> ControlOutcome {
    if !controls.iter().all(Lookup::is_settled) {
        return ControlOutcome::Pending;
    }
    let targets = |records: &[SrvRecord]| -> BTreeSet<(AnswerName, u16)> {
        records
            .iter()
            .filter(|record| target_of(record).is_ok())
            .map(|record| (record.target.clone(), record.port))
            .collect()
    };
    let mut made_up = Vec::new();
    let mut silent = None;
    for control in controls {
        match control {
            Lookup::Records(answer) => made_up.push(targets(&srv_records(answer))),
            Lookup::Unanswered(reason) => silent = Some(ControlOutcome::Unanswered(reason.clone())),
            Lookup::NotAsked(reason) => silent = Some(ControlOutcome::NotAsked(*reason)),
            Lookup::Pending | Lookup::Absent { .. } => made_up.push(BTreeSet::new()),
        }
    }
    let asked = targets(records);
    let shared = made_up
        .iter()
        .map(|found| found.intersection(&asked).count());
    match shared.max() {
        Some(shared) if shared > 0 => ControlOutcome::Wildcard { shared },
        _ if made_up.windows(2).any(|pair| pair[0] != pair[1]) => ControlOutcome::Rotating,
        _ => silent.unwrap_or(ControlOutcome::Explicit),
    }
}

struct ZoneView<'a> {
    config: &'a DiscoveryConfig,
    cache: &'a Cache,
    zone: &'a DnsName,
    service_name: &'a DnsName,
    security: Security,
}

impl ZoneView<'_> {
    fn site(
        &self,
        record: SrvRecord,
        control: &ControlOutcome,
        wanted: &mut Vec<Question>,
    ) -> SiteTrail {
        let mut trail = SiteTrail {
            record,
            outcome: SiteOutcome::Pending,
            addresses_refused: Vec::new(),
            addresses_over_limit: 0,
            keys_refused: Vec::new(),
        };
        let target = match target_of(&trail.record) {
            Ok(target) => target.clone(),
            Err(rejection) => {
                trail.outcome = SiteOutcome::Rejected(rejection);
                return trail;
            }
        };
        let rejection = match control {
            ControlOutcome::Wildcard { .. } | ControlOutcome::Rotating => {
                Some(SiteRejection::Wildcard)
            }
            ControlOutcome::Unanswered(_) | ControlOutcome::NotAsked(_) => {
                Some(SiteRejection::ControlUnanswered)
            }
            ControlOutcome::Pending | ControlOutcome::Explicit => None,
        };
        if let Some(rejection) = rejection {
            trail.outcome = SiteOutcome::Rejected(rejection);
            return trail;
        }
        for kind in [RecordKind::A, RecordKind::Aaaa, RecordKind::Txt] {
            wanted.push(Question::new(target.clone(), kind));
        }
        let v4 = self.addresses(&target, RecordKind::A, &mut trail);
        let v6 = self.addresses(&target, RecordKind::Aaaa, &mut trail);
        let key = self.key(&target, &mut trail);
        let (true, Poll::Ready(key)) = (
            v4.is_settled() && v6.is_settled() && *control == ControlOutcome::Explicit,
            key,
        ) else {
            return trail;
        };
        let addresses: Vec<IpAddr> = [&v4, &v6]
            .into_iter()
            .filter_map(|found| match found {
                Lookup::Records(addresses) => Some(addresses),
                _ => None,
            })
            .flatten()
            .copied()
            .collect();
        trail.outcome = if !addresses.is_empty() {
            SiteOutcome::Candidate(IepCandidate {
                id: IepId {
                    host: target,
                    port: trail.record.port,
                },
                zone: self.zone.clone(),
                origin: IepOrigin::Zone(self.zone.clone()),
                addresses,
                priority: trail.record.priority,
                weight: trail.record.weight,
                key,
                seen_on: BTreeSet::new(),
            })
        } else if trail.addresses_refused.is_empty() {
            SiteOutcome::Rejected(SiteRejection::NoAddress {
                v4: v4.map(drop),
                v6: v6.map(drop),
            })
        } else {
            SiteOutcome::Rejected(SiteRejection::NoAllowedAddress {
                count: trail.addresses_refused.len(),
            })
        };
        trail
    }

    /// The allowed addresses of one family.
    fn addresses(
        &self,
        target: &DnsName,
        kind: RecordKind,
        trail: &mut SiteTrail,
    ) -> Lookup<Vec<IpAddr>> {
        let question = Question::new(target.clone(), kind);
        self.cache.lookup(&question).map(|answer| {
            trail.addresses_over_limit += answer.over_limit;
            let mut allowed = Vec::new();
            for record in answer.data {
                let RecordData::Address(address) = *record else {
                    continue;
                };
                match self.config.policy.check(address) {
                    Ok(()) => allowed.push(address),
                    Err(refusal) => trail.addresses_refused.push(refusal),
                }
            }
            allowed
        })
    }

    /// The key of the target, or else of the zone; pending while a TXT question is.
    fn key(&self, target: &DnsName, trail: &mut SiteTrail) -> Poll<Option<KeyBinding>> {
        let names = [target, self.service_name];
        let found = names.map(|name| Question::new(name.clone(), RecordKind::Txt));
        let found = found.each_ref().map(|question| self.cache.lookup(question));
        if !found.iter().all(Lookup::is_settled) {
            return Poll::Pending;
        }
        for (name, found) in names.into_iter().zip(found) {
            let Lookup::Records(answer) = found else {
                continue;
            };
            match key_in(&answer) {
                Ok(Some((chain, address))) => {
                    return Poll::Ready(Some(KeyBinding {
                        address,
                        chain,
                        authenticated: self.security.min(answer.security) == Security::Secure,
                        published_at: name.clone(),
                    }));
                }
                Ok(None) => {}
                Err(refusal) => {
                    // A key that is there but unclear is not replaced by a less specific one.
                    trail.keys_refused.push((name.clone(), refusal));
                    return Poll::Ready(None);
                }
            }
        }
        Poll::Ready(None)
    }
}

fn key_in(answer: &Records<'_>) -> Result<Option<(ChainId, ChainAddress)>, KeyRefusal> {
    read_keys(answer.data.iter().filter_map(|record| match record {
        RecordData::Txt(strings) => Some(strings.as_slice()),
        _ => None,
    }))
}
