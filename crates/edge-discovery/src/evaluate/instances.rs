//! The instances of a zone's service, by DNS-SD (RFC 6763): PTR records of the service's name, then SRV and TXT of each.

use std::collections::BTreeSet;

use edge_types::DnsName;

use super::site::{ZoneView, key_in};
use super::{controls, srv_records};
use crate::cache::Records;
use crate::key_record::{KeyBinding, KeyRefusal};
use crate::profile::{Profile, ProfileRefusal, read_profile};
use crate::question::{AnswerName, Question, RecordData, RecordKind, Security};
use crate::trail::{
    ControlOutcome, InstanceOutcome, InstanceRefusal, InstanceTrail, InstancesTrail, Lookup,
    ServiceTrail, SiteOutcome, SiteTrail,
};

/// Follows every instance. Profiles of instances at an entry point that `plain` has already are added to it.
pub(super) fn find<'a>(
    view: &dyn Fn(Security) -> ZoneView<'a>,
    controls: &[Question],
    plain: &mut [SiteTrail],
    wanted: &mut Vec<Question>,
) -> Lookup<InstancesTrail> {
    let zone = view(Security::Indeterminate);
    let question = Question::new(zone.service_name.clone(), RecordKind::Ptr);
    wanted.push(question.clone());
    zone.cache.lookup(&question).map(|answer| {
        let names = names_in(&answer);
        let is_usable = names
            .iter()
            .any(|name| is_instance(name, zone.service_name).is_ok());
        let control = if is_usable {
            // A key of the whole zone, which is not asked for yet if the zone has no record of its own.
            wanted.push(Question::new(zone.service_name.clone(), RecordKind::Txt));
            let made_up = controls.iter().map(|control| {
                let question = Question::new(control.name.clone(), RecordKind::Ptr);
                wanted.push(question.clone());
                let found = zone.cache.lookup(&question);
                found.map(|answer| names_in(&answer))
            });
            controls::outcome(&names, made_up.collect())
        } else {
            ControlOutcome::Explicit
        };
        let mut listed: BTreeSet<(AnswerName, u16)> = plain
            .iter()
            .map(|site| (site.record.target.clone(), site.record.port))
            .collect();
        let instances = names
            .into_iter()
            .map(|name| {
                let outcome = match is_instance(&name, zone.service_name) {
                    Ok(instance) => follow(
                        view,
                        instance,
                        &control,
                        answer.security,
                        plain,
                        &mut listed,
                        wanted,
                    ),
                    Err(refusal) => InstanceOutcome::Refused(refusal),
                };
                InstanceTrail { name, outcome }
            })
            .collect();
        InstancesTrail {
            control,
            instances,
            over_limit: answer.over_limit,
        }
    })
}

fn names_in(answer: &Records<'_>) -> BTreeSet<AnswerName> {
    answer
        .data
        .iter()
        .filter_map(|record| match record {
            RecordData::Ptr(name) => Some(name.clone()),
            _ => None,
        })
        .collect()
}

/// An instance of this zone's service is one label in front of the service's name. Of another zone's nobody here may
/// speak.
fn is_instance<'n>(
    name: &'n AnswerName,
    service: &DnsName,
) -> Result<&'n DnsName, InstanceRefusal> {
    match name {
        AnswerName::Name(name) if name.parent().as_ref() == Some(service) => Ok(name),
        AnswerName::Name(_) | AnswerName::Root => Err(InstanceRefusal::NotOfThisService),
        AnswerName::Unacceptable { why, .. } => Err(InstanceRefusal::UnacceptableName(why.clone())),
    }
}

fn follow<'a>(
    view: &dyn Fn(Security) -> ZoneView<'a>,
    instance: &DnsName,
    control: &ControlOutcome,
    listing: Security,
    plain: &mut [SiteTrail],
    listed: &mut BTreeSet<(AnswerName, u16)>,
    wanted: &mut Vec<Question>,
) -> InstanceOutcome {
    let cache = view(listing).cache;
    let [service, text] =
        [RecordKind::Srv, RecordKind::Txt].map(|kind| Question::new(instance.clone(), kind));
    wanted.extend([service.clone(), text.clone()]);
    let text = cache.lookup(&text);
    let key = match &text {
        Lookup::Records(answer) => key_in(answer).map(|found| {
            found.map(|(chain, address)| KeyBinding {
                address,
                chain,
                authenticated: answer.security.min(listing) == Security::Secure,
                published_at: instance.clone(),
            })
        }),
        _ => Ok(None),
    };
    let profile = text.map(|answer| {
        let records: Vec<&[Vec<u8>]> = answer
            .data
            .iter()
            .filter_map(|record| match record {
                RecordData::Txt(strings) => Some(strings.as_slice()),
                _ => None,
            })
            .collect();
        read_profile(instance, &records, answer.security.min(listing))
    });
    let service = cache.lookup(&service).map(|answer| {
        let security = answer.security.min(listing);
        let view = view(security);
        let sites = srv_records(&answer).into_iter().map(|record| {
            let entry_point = (record.target.clone(), record.port);
            let known = plain.iter_mut().find(|site| {
                (&site.record.target, site.record.port) == (&entry_point.0, entry_point.1)
            });
            if let Some(site) = known {
                describe(site, instance, &profile, &key);
            }
            if !listed.insert(entry_point) {
                return SiteTrail::new(record, SiteOutcome::Listed);
            }
            let mut site = view.site(record, control, wanted);
            describe(&mut site, instance, &profile, &key);
            site
        });
        ServiceTrail {
            control: control.clone(),
            sites: sites.collect(),
            over_limit: answer.over_limit,
            security,
        }
    });
    InstanceOutcome::Followed { service, profile }
}

/// Adds an instance's profile and key to the candidate. A key that differs from the one found otherwise makes both
/// useless, since nobody can tell which is meant.
fn describe(
    site: &mut SiteTrail,
    instance: &DnsName,
    profile: &Lookup<Result<Profile, ProfileRefusal>>,
    key: &Result<Option<KeyBinding>, KeyRefusal>,
) {
    let SiteOutcome::Candidate(found) = &mut site.outcome else {
        return;
    };
    if found.profile.is_some() {
        return;
    }
    if let Lookup::Records(Ok(profile)) = profile {
        found.profile = Some(profile.clone());
    }
    let refusal = match (key, &found.key) {
        (Err(refusal), _) => Some(refusal.clone()),
        (Ok(Some(key)), Some(other))
            if (key.chain, key.address) != (other.chain, other.address) =>
        {
            Some(KeyRefusal::Several(2))
        }
        (Ok(Some(key)), None) if site.keys_refused.is_empty() => {
            found.key = Some(key.clone());
            None
        }
        (Ok(_), _) => None,
    };
    if let Some(refusal) = refusal {
        found.key = None;
        site.keys_refused.push((instance.clone(), refusal));
    }
}
