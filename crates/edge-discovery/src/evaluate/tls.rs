//! Entry points of signed zones that may be spoken to in the clear only once nothing is left that could say otherwise.

use std::collections::BTreeMap;

use edge_types::DnsName;

use super::ZoneFindings;
use crate::question::{AnswerName, Security};
use crate::trail::{InstanceOutcome, Lookup, SiteOutcome, SiteRejection};

/// What keeps an entry point from being spoken to in the clear: something pending, or that there was no answer.
type Doubts = BTreeMap<Option<(AnswerName, u16)>, SiteOutcome>;

/// Withholds candidates that announce no TLS while an answer is missing that might (`proto=https` of an instance): in a signed
/// zone, where it could have been proven, else whoever drops the answer has the entry point spoken to in the clear.
pub(super) fn withhold(service_name: &DnsName, findings: &mut ZoneFindings) {
    let Some(instances) = &findings.instances else {
        return;
    };
    let mut doubts = Doubts::new();
    note(&mut doubts, None, service_name, instances);
    if let Lookup::Records(found) = instances {
        for instance in &found.instances {
            let (AnswerName::Name(name), InstanceOutcome::Followed { service, profile }) =
                (&instance.name, &instance.outcome)
            else {
                continue;
            };
            // An instance whose place is unknown may be at any entry point of the zone.
            note(&mut doubts, None, name, service);
            if let Lookup::Records(service) = service {
                for site in &service.sites {
                    let entry_point = (site.record.target.clone(), site.record.port);
                    note(&mut doubts, Some(entry_point), name, profile);
                }
            }
        }
    }
    if doubts.is_empty() {
        return;
    }
    for site in findings.services().flat_map(|service| &mut service.sites) {
        let SiteOutcome::Candidate(candidate) = &site.outcome else {
            continue;
        };
        if candidate.evidence.service != Security::Secure || candidate.wants_tls() {
            continue;
        }
        let own = Some((site.record.target.clone(), site.record.port));
        if let Some(doubt) = doubts.get(&None).or_else(|| doubts.get(&own)) {
            site.outcome = doubt.clone();
        }
    }
}

/// Notes what an answer still leaves open about an entry point, or without one about all of them.
fn note<T>(
    doubts: &mut Doubts,
    entry_point: Option<(AnswerName, u16)>,
    name: &DnsName,
    found: &Lookup<T>,
) {
    let found = match found {
        Lookup::Records(_) | Lookup::Absent { .. } => return,
        Lookup::Pending => {
            // What may still be answered is waited for.
            doubts.insert(entry_point, SiteOutcome::Pending);
            return;
        }
        Lookup::Unanswered(reason) => Lookup::Unanswered(reason.clone()),
        Lookup::NotAsked(reason) => Lookup::NotAsked(*reason),
    };
    let name = name.clone();
    doubts
        .entry(entry_point)
        .or_insert_with(|| SiteOutcome::Rejected(SiteRejection::TlsUnknown { name, found }));
}
