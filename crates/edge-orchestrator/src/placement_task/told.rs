//! What a plan adds, and how that is told.

use std::collections::BTreeSet;

use edge_placement::{Assignment, Plan};
use edge_types::{IepId, PathEnd, Rtt};

use super::{OFFER_FRESH_FOR, PlacementTask};
use crate::config::Mode;
use crate::plan_report::PlanReport;
use crate::sites::KnownSite;
use crate::status::{DiscoveryStatus, FoundSite, OfferStatus, PlanStatus};

/// Sites that a plan wants to rent, those that save most first.
pub(super) fn new_sites(planned: &Plan) -> Vec<IepId> {
    let mut new: Vec<&Assignment> = planned
        .chosen
        .iter()
        .filter(|assignment| !assignment.already_running)
        .collect();
    new.sort_by_key(|assignment| std::cmp::Reverse(assignment.saving));
    new.iter()
        .map(|assignment| assignment.site.clone())
        .collect()
}

/// Why a site should be rented, in words.
pub(super) fn recommendation(site: &Assignment) -> String {
    let mean_ms = site.saving as f64 / (site.demand.max(1) as f64) / 1e3;
    let worth = site
        .worth
        .map_or_else(String::new, |worth| format!(", worth {worth}"));
    format!(
        "rent {} from {} to {} for {}: {} prefixes with {:.1} requests/s, each {mean_ms:.1} ms faster{worth}",
        site.site,
        site.slot.start.0,
        site.slot.end.0,
        site.cost,
        site.clients,
        site.demand as f64 / 1e3,
    )
}

impl PlacementTask {
    pub(super) fn publish(
        &mut self,
        planned: &Plan,
        added: &[&Assignment],
        ideal: &Plan,
        waiting: &[IepId],
        mode: Mode,
    ) {
        let names: Vec<IepId> = added.iter().map(|site| site.site.clone()).collect();
        let error = Rtt(planned.prediction.planned_error());
        let gap = planned.certificate.gap_ppm();
        let gap_percent = gap.map(|ppm| ppm as f64 / 1e4);
        // What is not acted on would be told with every plan again.
        if !added.is_empty() && (mode == Mode::Act || self.memory.told != names) {
            let proven = gap_percent.map_or_else(String::new, |percent| {
                format!(", at most {percent:.1} % above the best possible")
            });
            let text = format!(
                "plan {}: {} sites, {} of them {}, mean round trip {:.1} ± {:.1} ms instead of {:.1} ms{proven}, for {}",
                planned.generation,
                planned.chosen.len(),
                added.len(),
                if mode == Mode::Act {
                    "new"
                } else {
                    "to rent, which the mode leaves to others"
                },
                planned.prediction.planned_mean().as_ms(),
                error.as_ms(),
                planned.prediction.cloud_only_mean().as_ms(),
                planned.cost,
            );
            self.status.event(self.at_ms(), text);
            if mode == Mode::Recommend {
                for site in added {
                    self.status.event(self.at_ms(), recommendation(site));
                }
            }
        }
        let waiting: Vec<String> = waiting.iter().map(ToString::to_string).collect();
        if !waiting.is_empty() && self.memory.waiting != waiting {
            let text = format!(
                "plan {}: {} would serve better than what is rented, {:.1} ms instead of {:.1}, and waits for a lease to end",
                planned.generation,
                waiting.join(", "),
                ideal.prediction.planned_mean().as_ms(),
                planned.prediction.planned_mean().as_ms(),
            );
            self.status.event(self.at_ms(), text);
        }
        self.memory.waiting.clone_from(&waiting);
        let recommended = if mode == Mode::Act {
            Vec::new()
        } else {
            names.clone()
        };
        self.memory.told = names;
        // The ideal plan had all candidates to say no to.
        let chosen: BTreeSet<&IepId> = planned.chosen.iter().map(|site| &site.site).collect();
        let rejected = ideal.rejected.iter().chain(&planned.rejected);
        let rejected = rejected
            .filter(|no| !chosen.contains(&no.site))
            .map(|no| (no.site.to_string(), no.reason.to_string()));
        let waits = waiting.iter().cloned();
        let waits = waits.map(|site| (site, "it waits for a lease to end".to_owned()));
        let plan = PlanStatus {
            generation: planned.generation.0,
            algorithm: planned.algorithm.to_string(),
            sites: planned
                .chosen
                .iter()
                .map(|assignment| assignment.site.to_string())
                .collect(),
            rejected: rejected.chain(waits).collect(),
            cloud_only_ms: planned.prediction.cloud_only_mean().as_ms(),
            planned_ms: planned.prediction.planned_mean().as_ms(),
            planned_error_ms: error.as_ms(),
            gap_percent,
            recommended: recommended.iter().map(ToString::to_string).collect(),
            waiting,
        };
        self.status.update(|report| report.plan = Some(plan));
        self.status.set_plan(PlanReport::of(
            planned,
            ideal,
            &self.memory.waiting,
            self.without_offer(),
        ));
    }

    /// Sites that are known and came to no offer to plan with, and why.
    fn without_offer(&self) -> Vec<(String, String)> {
        let verdict = |site: &KnownSite| {
            let lost = site
                .path
                .as_ref()
                .is_none_or(|path| path.path.end != PathEnd::Reached);
            let is_old = site.offer_is_older_than(self.clock.monotonic(), 2 * OFFER_FRESH_FOR);
            if lost {
                "its distance is unknown: no trace reached it".to_owned()
            } else if is_old {
                "its offer is too old to plan with, and is asked for anew".to_owned()
            } else {
                site.verdict(&self.settings.trust, self.settings.units_per_trial)
            }
        };
        let known = self.memory.known.values();
        known
            .map(|site| (site.candidate.id.to_string(), verdict(site)))
            .collect()
    }

    pub(super) fn report(&self) {
        let trail = self.discovery.trail();
        let asked = |site: &&KnownSite| site.inquiry.is_some();
        let sites: Vec<&KnownSite> = self.memory.known.values().collect();
        let offers = OfferStatus {
            asked: sites.iter().copied().filter(asked).count(),
            offered: sites.iter().filter(|site| site.made_an_offer()).count(),
            green_listed: sites
                .iter()
                .filter(|site| site.offers().next().is_some())
                .count(),
        };
        let found = sites.iter().map(|site| FoundSite {
            site: site.candidate.id.to_string(),
            zone: site.candidate.zone.to_string(),
            address: Some(site.entry_point()),
            rtt_ms: site.rtt().map(Rtt::as_ms),
            trust: site.assessment.tier.to_string(),
            verdict: site.verdict(&self.settings.trust, self.settings.units_per_trial),
        });
        let discovery = DiscoveryStatus {
            addresses: trail.addresses.len(),
            zones_asked: trail.zones.len(),
            sites: found.collect(),
        };
        self.status.update(|report| {
            report.discovery = discovery;
            report.offers = offers;
        });
    }
}
