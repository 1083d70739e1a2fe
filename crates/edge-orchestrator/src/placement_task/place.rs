//! One plan: from what is known to what is rented.

use std::collections::BTreeSet;
use std::time::Duration;

use edge_placement::{
    Application, Assignment, Candidate, Effort, PlanBasis, PlanInput, Service, Severity, Trust,
    Whereabouts, check_plan, plan,
};
use edge_topology::AggregateTree;
use edge_types::{IepId, PathEnd, PathObservation, Rtt};

use super::incumbents::keep;
use super::outlook::Outlook;
use super::told::new_sites;
use super::{OFFER_FRESH_FOR, PlacementTask};
use crate::config::Mode;
use crate::record::{Recorded, RecordedPlan};

/// A site that rejected or failed is left out of plans for this long.
const EXCLUDED_FOR: Duration = Duration::from_secs(120);

impl PlacementTask {
    /// Plans, checks, and starts what the plan adds.
    pub(super) fn place(&mut self, tree: &AggregateTree) {
        let now = self.clock.monotonic();
        // Leases that a plan no longer needs run on, and count.
        let policy = &self.settings.config.policy;
        let found = self.memory.known.len();
        let share = (found * usize::from(policy.max_share_percent) / 100).max(1);
        let open = self.agreements.open();
        let room = policy.max_sites.min(share).saturating_sub(open);
        let most = open + room;
        let candidates = self.candidates(tree);
        // Our own sites cost nothing, so they take no room from rented ones: neither of their number nor of their share.
        let own = self.predeployed.len();
        if found + open + own == 0 {
            return;
        }
        let measured = self.agreements.measured(tree, &candidates).round_trips;
        let excluded: BTreeSet<IepId> = self.agreements.failed_within(now, EXCLUDED_FOR);
        let mut input = PlanInput {
            generation: self.memory.generation.next(),
            tree,
            sites_found: found + open + own,
            candidates: &candidates,
            excluded: &excluded,
            measured: &measured,
            application: Application {
                service: Service::AnyNearest,
                calls_per_thousand: self.settings.edge_service.calls_per_thousand,
            },
            policy: edge_placement::Policy {
                max_sites: most + own,
                // The share was taken above.
                max_share_percent: 100,
                value_per_second: self.settings.value_per_second,
                min_saving: Rtt(Duration::from_millis(
                    self.settings.config.policy.min_saving_ms,
                )),
                countries: self.settings.countries.clone(),
                asns: self.allowed_systems(),
                ..edge_placement::Policy::within(self.agreements.budget_left())
            },
            algorithm: self.algorithm,
            effort: Effort::default(),
        };
        let ideal = plan(&input);
        let lease = Duration::from_secs(policy.lease_s);
        let outlook = self
            .memory
            .outlook
            .get_or_insert_with(|| Outlook::new(lease));
        outlook.note(&ideal, now);
        let kept = keep(&input, &ideal, &self.agreements.sites_ending());
        let (aim, among) = kept
            .as_ref()
            .map_or((&ideal, candidates.as_slice()), |(plan, among)| {
                (plan, among.as_slice())
            });
        input.candidates = among;
        let wanted = new_sites(aim);
        let (added, waiting) = wanted.split_at(room.min(wanted.len()));
        // What is rented stays, so a plan that counts on leaving it would promise what does not come.
        let possible: Vec<Candidate> = among
            .iter()
            .filter(|candidate| candidate.already_running || added.contains(&candidate.site))
            .cloned()
            .collect();
        let planned = if waiting.is_empty() {
            aim.clone()
        } else {
            let running = possible.iter().filter(|site| site.already_running).count();
            input.policy.max_sites = input.policy.max_sites.max(running);
            input.candidates = &possible;
            plan(&input)
        };
        // Of plans that are equally good the one at hand is kept.
        let is_better = aim.certificate.cost < planned.certificate.cost;
        let waiting = if is_better { waiting } else { &[] };
        let notes = check_plan(&input, &planned);
        if let Some(fatal) = notes.iter().find(|note| note.severity == Severity::Fatal) {
            tracing::error!(note = ?fatal, "the plan fails its check and is not carried out");
            return;
        }
        self.memory.generation = planned.generation;
        if let Some(recorder) = &self.recorder {
            recorder.tell(Recorded::Plan(Box::new(RecordedPlan {
                at: now,
                basis: PlanBasis::of(&input, |site| self.path_to(site)),
                plan: planned.clone(),
            })));
        }
        let added = new_sites(&planned);
        let added: Vec<&Assignment> = added
            .iter()
            .filter_map(|site| planned.chosen.iter().find(|chosen| chosen.site == *site))
            .collect();
        tracing::debug!(
            plan = %planned.generation,
            known = self.memory.known.len(),
            measured = self.memory.known.values().filter(|site| site.rtt().is_some()).count(),
            green_listed = self.memory.known.values().filter(|site| site.offers().next().is_some()).count(),
            under_way = self.memory.under_way.len(),
            candidates = candidates.len(),
            chosen = planned.chosen.len(),
            added = added.len(),
            waiting = waiting.len(),
            planned_ms = planned.prediction.planned_mean().as_ms(),
            "planned"
        );
        let mode = self.settings.config.placement.mode;
        self.publish(&planned, &added, &ideal, waiting, mode);
        if mode != Mode::Act {
            return;
        }
        for assignment in added {
            let Some(site) = self.memory.known.get(&assignment.site) else {
                continue;
            };
            let Some(inquiry) = assignment.offer.and_then(|offer| site.green_listed(offer)) else {
                continue;
            };
            let Some(path) = &site.path else { continue };
            if let Err(refusal) = self.agreements.start(site, inquiry, path.clone()) {
                self.status.event(
                    self.at_ms(),
                    format!("{} is not rented: {refusal}", assignment.site),
                );
            }
        }
    }

    fn candidates(&self, tree: &AggregateTree) -> Vec<Candidate> {
        let mut candidates = self.agreements.as_candidates(tree);
        candidates.extend(self.predeployed.serving(tree).0);
        let held: BTreeSet<IepId> = candidates
            .iter()
            .map(|candidate| candidate.site.clone())
            .collect();
        for (id, site) in &self.memory.known {
            let Some(path) = &site.path else { continue };
            if held.contains(id) || path.path.end != PathEnd::Reached {
                continue;
            }
            if site.offer_is_older_than(self.clock.monotonic(), 2 * OFFER_FRESH_FOR) {
                continue;
            }
            let attachment = tree.attach(&path.path);
            let key = site.candidate.key.as_ref();
            let is_bound = key.is_some_and(|key| key.authenticated);
            let (trust, trial) = (&self.settings.trust, self.settings.units_per_trial);
            let payable = site
                .offers()
                .filter(|offer| site.may_be_rented(offer, trust, trial).is_ok());
            candidates.extend(payable.map(|offer| Candidate {
                site: id.clone(),
                offer: Some(offer.id),
                attachment,
                price_per_second: offer.price_per_second,
                slot: offer.slot,
                already_running: false,
                capacity: self.settings.edge_service.capacity,
                trust: if is_bound { Trust::Bound } else { Trust::Named },
                whereabouts: Whereabouts::default(),
                outlook_percent: 100,
            }));
        }
        let incumbents = self.agreements.sites_ending();
        for candidate in &mut candidates {
            if let Some(path) = self.path_to(&candidate.site) {
                candidate.whereabouts = self.places.of(path.target);
            }
            if let Some(outlook) = &self.memory.outlook {
                let serves = candidate.already_running || incumbents.contains(&candidate.site);
                candidate.outlook_percent = outlook.percent(&candidate.site, serves);
            }
        }
        candidates
    }

    fn allowed_systems(&self) -> Option<BTreeSet<u32>> {
        let allowed = &self.settings.config.policy.autonomous_systems;
        let allowed = allowed.as_ref()?;
        Some(allowed.iter().copied().collect())
    }

    /// By what candidates are hung on the tree.
    pub(super) fn path_to(&self, site: &IepId) -> Option<PathObservation> {
        let known = || Some(self.memory.known.get(site)?.path.as_ref()?.path.clone());
        self.agreements
            .path_to(site)
            .or_else(|| self.predeployed.path_to(site))
            .or_else(known)
    }
}
