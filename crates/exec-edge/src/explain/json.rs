//! The account for machines: one object, with the same words where the text has words.

use edge_discovery::{
    AddressOutcome, AnswerName, IepCandidate, InstanceOutcome, Lookup, ServiceTrail, SiteOutcome,
    SiteTrail, Trail, ZoneDecision, ZoneTrail,
};
use serde_json::{Value, json};

use super::text;

/// The whole account.
pub(super) fn object(trail: &Trail) -> Value {
    json!({
        "addresses": trail.addresses.iter().map(|found| json!({
            "address": found.address.to_string(),
            "names": match &found.outcome {
                AddressOutcome::NotAllowed(refusal) => json!({"refused": refusal.to_string()}),
                AddressOutcome::Ptr(found) => looked_up(found, |found| json!(
                    found.names.iter().map(name).collect::<Vec<_>>()
                )),
            },
        })).collect::<Vec<_>>(),
        "zones": trail.zones.iter().map(zone).collect::<Vec<_>>(),
    })
}

/// `{"records": …}`, or `{"none": why}`.
fn looked_up<T>(found: &Lookup<T>, records: impl FnOnce(&T) -> Value) -> Value {
    match found {
        Lookup::Records(found) => json!({"records": records(found)}),
        other => json!({"none": text::none(other, "records")}),
    }
}

fn name(found: &edge_discovery::NameTrail) -> Value {
    let zones = match &found.zones {
        Err(refusal) => json!({"refused": refusal.to_string()}),
        Ok(steps) => json!(
            steps
                .iter()
                .map(|step| json!({
                    "zone": step.zone.to_string(),
                    "standing": step.standing.to_string(),
                    "decision": match &step.decision {
                        ZoneDecision::Asked => "asked",
                        ZoneDecision::Waiting => "waiting",
                        ZoneDecision::NotACut { .. } => "no zone cut",
                    },
                }))
                .collect::<Vec<_>>()
        ),
    };
    json!({"name": found.name.as_ref().map(ToString::to_string), "zones": zones})
}

fn zone(zone: &ZoneTrail) -> Value {
    let instances = zone.instances.as_ref().map(|found| {
        looked_up(found, |found| {
            let instances = found.instances.iter().map(|instance| {
                let name = match &instance.name {
                    AnswerName::Name(name) => Some(name.to_string()),
                    AnswerName::Root | AnswerName::Unacceptable { .. } => None,
                };
                match &instance.outcome {
                    InstanceOutcome::Refused(refusal) => {
                        json!({"name": name, "refused": refusal.to_string()})
                    }
                    InstanceOutcome::Followed {
                        service: found,
                        profile,
                    } => json!({
                        "name": name,
                        "service": looked_up(found, service),
                        "profile": looked_up(profile, |found| match found {
                            Ok(profile) => json!({
                                "path": profile.path,
                                "api": profile.api,
                                "protocols": profile.protocols,
                                "unknown": profile.unknown,
                                "security": text::security(profile.security),
                            }),
                            Err(refusal) => json!({"refused": refusal.to_string()}),
                        }),
                    }),
                }
            });
            json!({
                "control": text::control(&found.control),
                "instances": instances.collect::<Vec<_>>(),
                "over_limit": found.over_limit,
            })
        })
    });
    json!({
        "zone": zone.zone.to_string(),
        "configured": zone.is_configured,
        "service": looked_up(&zone.service, service),
        "instances": instances,
        "routers": zone.routers.iter().map(|router| json!({
            "address": router.address.to_string(),
            "name": router.name.to_string(),
            "leads_back": matches!(router.confirmed, Lookup::Records(true)),
        })).collect::<Vec<_>>(),
    })
}

fn service(found: &ServiceTrail) -> Value {
    json!({
        "security": text::security(found.security),
        "control": text::control(&found.control),
        "sites": found.sites.iter().map(site).collect::<Vec<_>>(),
        "over_limit": found.over_limit,
    })
}

fn site(site: &SiteTrail) -> Value {
    let (verdict, reason, found) = match &site.outcome {
        SiteOutcome::Pending => ("pending", None, None),
        SiteOutcome::Listed => ("listed", None, None),
        SiteOutcome::Candidate(found) => ("candidate", None, Some(candidate(found))),
        SiteOutcome::Rejected(rejection) => ("dropped", Some(rejection.to_string()), None),
    };
    let keys = site.keys_refused.iter();
    json!({
        "entry_point": text::entry_point(&site.record),
        "priority": site.record.priority,
        "weight": site.record.weight,
        "verdict": verdict,
        "reason": reason,
        "candidate": found,
        "addresses_refused": site.addresses_refused.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "keys_refused": keys.map(|(_, refusal)| refusal.to_string()).collect::<Vec<_>>(),
        "tls_keys_refused": site.pins_refused.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn candidate(found: &IepCandidate) -> Value {
    let trust = text::by_dns(found).map(|assessment| {
        json!({
            "tier": assessment.tier.to_string(),
            "signs": assessment.signs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    });
    json!({
        "addresses": found.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "addresses_security": text::security(found.evidence.addresses),
        "key": found.key.as_ref().map(|key| json!({
            "address": key.address.to_string(),
            "chain": key.chain.0,
            "authenticated": key.authenticated,
            "published_at": key.published_at.to_string(),
        })),
        "tls_keys": found.pins.iter().map(text::tls_key).collect::<Vec<_>>(),
        "trust_by_dns": trust,
    })
}
