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
    use std::time::Duration;

    use edge_placement::{Algorithm, Application, Effort, Policy, Trust, Whereabouts};
    use edge_topology::{ClientDemand, Limits, Observations};
    use edge_types::{
        Amount, Generation, Hop, HopReply, IpNet, MonotonicTime, OfferId, PathEnd, PathObservation,
        PrefixGrouping, Rtt, Slot, UtcTime,
    };

    use super::*;

    /// Behind one router 40 ms away the client and sites, each so many ms further.
    fn path(target: &str, further: u64) -> PathObservation {
        let reply = |address: &str, ms| {
            let rtt = Rtt(Duration::from_millis(ms));
            Hop::Reply(HopReply::new(address.parse().unwrap(), rtt))
        };
        PathObservation {
            target: target.parse().unwrap(),
            observed_at: MonotonicTime::ZERO,
            hops: vec![reply("240.0.0.1", 40), reply(target, 40 + further)],
            further: Vec::new(),
            end: PathEnd::Reached,
            probes_sent: 0,
        }
    }

    fn site(number: usize) -> IepId {
        IepId {
            host: format!("edge{number}.example").parse().unwrap(),
            port: 5060,
        }
    }

    /// Which site is kept of those at these distances, if the last one's lease ends.
    fn kept(further: &[u64]) -> Option<IepId> {
        let client: IpNet = "241.0.0.0/24".parse().unwrap();
        let mut observations = Observations::new(Limits::default());
        observations.insert(&path("241.0.0.9", 10)).unwrap();
        let demand = ClientDemand {
            target: "241.0.0.9".parse().unwrap(),
            milli_requests_per_second: 1000,
        };
        let grouping = PrefixGrouping::new(24, 48).unwrap();
        let tree = observations.tree(Generation(1), grouping, &[(client, demand)].into());
        let offered = further.iter().zip(1..).map(|(ms, number)| Candidate {
            site: site(number),
            offer: Some(OfferId([u8::try_from(number).unwrap(); 32])),
            attachment: tree.attach(&path(&format!("242.0.{number}.9"), *ms)),
            price_per_second: Amount::wei(1),
            slot: Slot {
                start: UtcTime(0),
                end: UtcTime(10),
            },
            already_running: false,
            capacity: None,
            trust: Trust::Named,
            whereabouts: Whereabouts::default(),
            outlook_percent: 100,
        });
        let candidates: Vec<Candidate> = offered.collect();
        let input = PlanInput {
            generation: Generation(1),
            tree: &tree,
            sites_found: candidates.len(),
            candidates: &candidates,
            excluded: &BTreeSet::new(),
            measured: &Default::default(),
            application: Application::default(),
            policy: Policy {
                max_sites: 1,
                ..Policy::within(Amount::wei(100))
            },
            algorithm: Algorithm::Auto,
            effort: Effort::default(),
        };
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
