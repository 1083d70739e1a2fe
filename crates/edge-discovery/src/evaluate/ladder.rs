//! Which candidate zones of a name are asked.

use super::service_question;
use crate::cache::Cache;
use crate::config::DiscoveryConfig;
use crate::trail::{Lookup, NotAsked, ZoneDecision, ZoneStep};
use crate::zones::CandidateZone;

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
