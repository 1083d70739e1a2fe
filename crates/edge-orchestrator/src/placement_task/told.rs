//! What a plan adds, and how that is told.

use edge_placement::{Assignment, Plan};
use edge_types::IepId;

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
