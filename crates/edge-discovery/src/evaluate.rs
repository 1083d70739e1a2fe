//! What the answers known so far mean, and what is still to be asked. Nothing here changes anything.

mod controls;
mod instances;
mod ladder;
mod site;
mod tls;

use std::collections::BTreeSet;

use edge_types::DnsName;

pub(crate) use ladder::ladder;

use crate::cache::{Cache, Records};
use crate::config::DiscoveryConfig;
use crate::question::{Absence, AnswerName, Question, RecordData, RecordKind, SrvRecord};
use crate::trail::{
    ControlOutcome, InstanceOutcome, InstancesTrail, Lookup, NotAsked, ServiceTrail, SiteRejection,
};
use site::ZoneView;

/// The SRV question of a zone; `None` if the name would be too long.
pub(crate) fn service_question(config: &DiscoveryConfig, zone: &DnsName) -> Option<Question> {
    prefixed(&config.service, zone, RecordKind::Srv)
}

fn prefixed(prefix: &DnsName, zone: &DnsName, kind: RecordKind) -> Option<Question> {
    zone.with_prefix(prefix.as_str())
        .ok()
        .map(|name| Question::new(name, kind))
}

/// What is known about a zone.
#[derive(Debug)]
pub(crate) struct ZoneFindings {
    /// Its SRV records.
    pub(crate) service: Lookup<ServiceTrail>,
    /// The instances of the service, where there can be any.
    pub(crate) instances: Option<Lookup<InstancesTrail>>,
    /// The questions that would tell more.
    pub(crate) wanted: Vec<Question>,
}

impl ZoneFindings {
    /// The SRV answers of the zone: its own, then those of its instances.
    pub(crate) fn services(&mut self) -> impl Iterator<Item = &mut ServiceTrail> {
        let own = match &mut self.service {
            Lookup::Records(service) => Some(service),
            _ => None,
        };
        let instances = match &mut self.instances {
            Some(Lookup::Records(found)) => found.instances.as_mut_slice(),
            _ => &mut [],
        };
        let described = instances
            .iter_mut()
            .filter_map(|instance| match &mut instance.outcome {
                InstanceOutcome::Followed {
                    service: Lookup::Records(service),
                    ..
                } => Some(service),
                _ => None,
            });
        own.into_iter().chain(described)
    }
}

/// What is known about a zone, and the questions that would tell more.
pub(crate) fn zone(config: &DiscoveryConfig, cache: &Cache, zone: &DnsName) -> ZoneFindings {
    let controls: Option<Vec<Question>> = config
        .controls
        .iter()
        .map(|control| prefixed(control, zone, RecordKind::Srv))
        .collect();
    let (Some(service), Some(controls)) = (service_question(config, zone), controls) else {
        return ZoneFindings {
            service: Lookup::NotAsked(NotAsked::NameTooLong),
            instances: None,
            wanted: Vec::new(),
        };
    };
    let mut wanted = vec![service.clone()];
    let found = cache.lookup(&service);
    let view = |security| ZoneView {
        config,
        cache,
        zone,
        service_name: &service.name,
        security,
    };
    // Where the name of the service does not exist, nothing below it does (RFC 8020), so there are no instances either.
    let may_have_instances = matches!(
        found,
        Lookup::Records(_)
            | Lookup::Absent {
                absence: Absence::NoData,
                ..
            }
    );
    let mut service_trail = found.map(|answer| {
        let records = srv_records(&answer);
        let is_usable = records.iter().any(|record| target_of(record).is_ok());
        let control = if is_usable {
            wanted.extend(controls.iter().cloned());
            wanted.push(Question::new(service.name.clone(), RecordKind::Txt));
            let answers = controls.iter().map(|control| {
                cache
                    .lookup(control)
                    .map(|answer| targets(&srv_records(&answer)))
            });
            controls::outcome(&targets(&records), answers.collect())
        } else {
            ControlOutcome::Explicit
        };
        let view = view(answer.security);
        let sites = records
            .into_iter()
            .map(|record| view.site(record, &control, &mut wanted))
            .collect();
        ServiceTrail {
            control,
            sites,
            over_limit: answer.over_limit,
            security: answer.security,
        }
    });
    let instances = may_have_instances.then(|| {
        let plain = match &mut service_trail {
            Lookup::Records(service) => service.sites.as_mut_slice(),
            _ => &mut [],
        };
        instances::find(&view, &controls, plain, &mut wanted)
    });
    let mut findings = ZoneFindings {
        service: service_trail,
        instances,
        wanted,
    };
    tls::withhold(&service.name, &mut findings);
    findings
}

/// The records of an SRV answer in order of priority, each target and port once.
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

fn targets(records: &[SrvRecord]) -> BTreeSet<(AnswerName, u16)> {
    records
        .iter()
        .filter(|record| target_of(record).is_ok())
        .map(|record| (record.target.clone(), record.port))
        .collect()
}

fn target_of(record: &SrvRecord) -> Result<&DnsName, SiteRejection> {
    match &record.target {
        AnswerName::Root => Err(SiteRejection::NotAvailable),
        AnswerName::Unacceptable { why, .. } => Err(SiteRejection::UnacceptableTarget(why.clone())),
        AnswerName::Name(_) if record.port == 0 => Err(SiteRejection::PortZero),
        AnswerName::Name(name) => Ok(name),
    }
}
