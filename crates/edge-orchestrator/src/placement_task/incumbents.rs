//! Sites whose leases end are kept where others would hardly serve better: to move costs clients a redirect and sites a deployment.

use std::collections::BTreeSet;

use edge_placement::{Candidate, Plan, PlanInput, plan};
use edge_types::IepId;

use super::told::new_sites;

/// By how much a plan may be worse for the sake of keeping a site, in percent of the cost of the best.
const HYSTERESIS_PERCENT: u128 = 2;

/// Exchanges that are tried.
const MOST_TRIES: usize = 64;

/// The best plan, with new sites exchanged for those of `incumbents` that it leaves, as long as that makes it hardly worse. With it, if
/// anything was exchanged, the candidates among which it is the best.
pub(super) fn keep(
    input: &PlanInput<'_>,
    best: &Plan,
    incumbents: &BTreeSet<IepId>,
) -> Option<(Plan, Vec<Candidate>)> {
    let most = best.certificate.cost / 100 * (100 + HYSTERESIS_PERCENT);
    let mut kept = None;
    let mut now = best.clone();
    let mut tries = MOST_TRIES;
    for incumbent in incumbents {
        let newcomers = new_sites(&now);
        if now.chosen.iter().any(|chosen| chosen.site == *incumbent) {
            continue;
        }
        for newcomer in newcomers.iter().rev() {
            if incumbents.contains(newcomer) {
                continue;
            }
            let Some(left) = tries.checked_sub(1) else {
                return kept;
            };
            tries = left;
            let stays = |site: &IepId| {
                site == incumbent
                    || (site != newcomer && now.chosen.iter().any(|chosen| chosen.site == *site))
            };
            let candidates: Vec<Candidate> = input
                .candidates
                .iter()
                .filter(|candidate| candidate.already_running || stays(&candidate.site))
                .cloned()
                .collect();
            let other = plan(&PlanInput {
                candidates: &candidates,
                ..input.clone()
            });
            let has_it = other.chosen.iter().any(|chosen| chosen.site == *incumbent);
            if has_it && other.certificate.cost <= most {
                now = other.clone();
                kept = Some((other, candidates));
                break;
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::testing::{candidates, input, site, tree};
    use super::*;

    /// Which site is kept of those at these distances, if the last one's lease ends.
    fn kept(further: &[u64]) -> Option<IepId> {
        let tree = tree(1000);
        let candidates = candidates(&tree, further);
        let input = input(&tree, &candidates);
        let incumbent = site(further.len());
        let best = plan(&input);
        let (plan, among) = keep(&input, &best, &[incumbent].into())?;
        assert_eq!(among.len(), 1, "the plan can be made again from these");
        Some(plan.chosen[0].site.clone())
    }

    #[test]
    fn a_site_is_kept_unless_another_is_clearly_better() {
        assert_eq!(kept(&[5, 9, 5]), Some(site(3)), "as good");
        assert_eq!(kept(&[1, 9, 5]), None, "4 of 15 ms more");
        assert_eq!(kept(&[9, 5]), None, "it is the best");
    }
}
