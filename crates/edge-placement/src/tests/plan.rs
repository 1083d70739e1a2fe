//! Planner and checker against each other, against brute force and against the paper.

use std::collections::BTreeSet;
use std::time::Duration;

use edge_topology::{NodeId, NodeIndex};
use edge_types::{Amount, Asset, ChainAddress, Generation, IepId, Rtt, UtcTime};
use proptest::prelude::*;

use crate::testing::{World, client_prefix, input, site_id};
use crate::{
    Algorithm, Assignment, ClientService, Finding, Plan, PlanInput, Prediction, Proof, Reason,
    ServedBy, Service, Severity, Trust, check_plan, plan,
};

/// Largest saving of any set of candidates within the limits, by trying all.
fn best_saving(input: &PlanInput<'_>) -> u128 {
    let candidates = input.candidates;
    assert!(candidates.len() <= 12, "brute force");
    let limit = (input.sites_found * usize::from(input.policy.max_share_percent) / 100)
        .min(input.policy.max_sites);
    let margin = input.policy.min_saving.0.as_micros().max(1);
    (0u32..1 << candidates.len())
        .filter(|set| set.count_ones() as usize <= limit)
        .filter_map(|set| {
            let members: Vec<_> = candidates
                .iter()
                .enumerate()
                .filter(|(index, _)| set >> index & 1 == 1)
                .map(|(_, candidate)| candidate)
                .collect();
            let cost: u128 = members
                .iter()
                .map(|site| site.price_per_second.units * u128::from(site.slot.seconds()))
                .sum();
            if cost > input.policy.budget.units {
                return None;
            }
            let saving = |(index, leaf): (NodeIndex, (u64, u128))| {
                let (demand, cloud) = leaf;
                members
                    .iter()
                    .map(|site| {
                        let rtt = input.tree.distance(index, &site.attachment).unwrap().rtt;
                        rtt.0.as_micros()
                    })
                    .filter(|micros| micros + margin <= cloud)
                    .map(|micros| (cloud - micros) * u128::from(demand))
                    .max()
                    .unwrap_or(0)
            };
            let clients = input.tree.clients();
            Some(
                clients
                    .map(|(index, node, leaf)| (index, (leaf.demand, node.rtt.rtt.0.as_micros())))
                    .map(saving)
                    .sum(),
            )
        })
        .max()
        .unwrap_or(0)
}

fn saving(plan: &Plan) -> u128 {
    plan.prediction.cloud_only - plan.prediction.planned
}

proptest! {
    #[test]
    fn every_plan_passes_the_independent_check(
        world in World::any(10, 8, 8),
        max_sites in 0usize..6,
        max_share_percent in 0u8..=100,
        budget in 0u128..300,
        min_saving in 0u64..20,
        excluded in prop::collection::btree_set(0usize..8, 0..3),
        running in 0usize..8,
        value in prop_oneof![Just(None), (0u128..2_000_000).prop_map(Some)],
        calls in prop_oneof![Just(0u32), 0u32..1500],
        service in prop_oneof![Just(Service::AnyNearest), Just(Service::OnPath)],
        measured in prop::collection::btree_map((0usize..8, 0usize..8), 0u64..40, 0..4),
        capacity in prop_oneof![3 => Just(None), 1 => (0u64..100).prop_map(Some)],
    ) {
        let tree = world.tree();
        let mut candidates = world.candidates(&tree);
        if let Some(candidate) = candidates.get_mut(running) {
            candidate.already_running = true;
            candidate.capacity = capacity;
        }
        let measured = measured.into_iter().map(|((site, client), ms)| {
            ((site_id(site), client_prefix(client)), Rtt(Duration::from_millis(ms)))
        });
        let measured = measured.collect();
        let excluded = excluded.into_iter().map(site_id).collect();
        for algorithm in Algorithm::ALL {
            let mut input = input(&tree, &candidates, &excluded, algorithm);
            input.policy.max_sites = max_sites;
            input.policy.max_share_percent = max_share_percent;
            input.policy.value_per_second = value;
            input.application.calls_per_thousand = calls;
            input.application.service = service;
            input.policy.budget = Amount::wei(budget);
            input.policy.min_saving = Rtt(Duration::from_millis(min_saving));
            input.measured = &measured;
            let plan = plan(&input);
            prop_assert_eq!(check_plan(&input, &plan), vec![]);
            prop_assert!(plan.prediction.planned <= plan.prediction.cloud_only);
            for chosen in &plan.chosen {
                prop_assert!(!excluded.contains(&chosen.site));
                prop_assert!(chosen.clients > 0);
            }
        }
    }

    #[test]
    fn the_order_of_candidates_does_not_matter(
        (world, seed) in (World::any(8, 8, 8), any::<u64>()),
    ) {
        let tree = world.tree();
        let candidates = world.candidates(&tree);
        let mut shuffled = candidates.clone();
        shuffled.sort_by_key(|candidate| {
            let number = u64::from(candidate.offer.unwrap().0[0]);
            (number ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        let none = BTreeSet::new();
        for algorithm in [Algorithm::Betweenness, Algorithm::Celf] {
            let mut one = input(&tree, &candidates, &none, algorithm);
            one.policy.max_sites = 3;
            let other = PlanInput { candidates: &shuffled, ..one.clone() };
            prop_assert_eq!(plan(&one), plan(&other));
        }
    }

    #[test]
    fn saving_is_within_1_less_1_over_e_for_a_number_of_sites(
        world in World::any(10, 8, 9),
        max_sites in 1usize..5,
    ) {
        let tree = world.tree();
        let candidates = world.candidates(&tree);
        let none = BTreeSet::new();
        let mut input = input(&tree, &candidates, &none, Algorithm::Celf);
        input.policy.max_sites = max_sites;
        let (ours, best) = (saving(&plan(&input)), best_saving(&input));
        prop_assert!(ours <= best);
        prop_assert!(ours * 1_000_000 >= best * 632_120, "{} of {}", ours, best);
    }

    #[test]
    fn saving_is_within_half_of_that_for_a_budget(
        world in World::any(10, 8, 9),
        budget in 0u128..300,
    ) {
        let tree = world.tree();
        let candidates = world.candidates(&tree);
        let none = BTreeSet::new();
        let mut input = input(&tree, &candidates, &none, Algorithm::Celf);
        input.policy.budget = Amount::wei(budget);
        let (ours, best) = (saving(&plan(&input)), best_saving(&input));
        prop_assert!(ours <= best);
        prop_assert!(ours * 1_000_000 >= best * 316_060, "{} of {}", ours, best);
    }

    #[test]
    fn without_limits_both_rules_reach_the_best(world in World::any(10, 8, 8)) {
        let tree = world.tree();
        let candidates = world.candidates(&tree);
        let none = BTreeSet::new();
        for algorithm in [Algorithm::Betweenness, Algorithm::Celf] {
            let input = input(&tree, &candidates, &none, algorithm);
            prop_assert_eq!(saving(&plan(&input)), best_saving(&input));
        }
    }
}

/// The paper's Figure 3 in small: 1 is the first hop; behind it 2 = C, 3 = D in a row, then two clients; one client beside.
fn figure_3() -> World {
    World {
        routers: vec![(0, 1), (1, 10), (2, 10)],
        clients: vec![(3, 5, 1000), (3, 5, 2000), (1, 30, 3000)],
        sites: vec![(2, 0, 1), (3, 0, 1)],
    }
}

#[test]
fn of_c_and_d_of_figure_3_d_is_taken() {
    let world = World {
        clients: vec![(3, 5, 3000), (1, 30, 3000)],
        ..figure_3()
    };
    let tree = world.tree();
    let candidates = world.candidates(&tree);
    let none = BTreeSet::new();
    let mut input = input(&tree, &candidates, &none, Algorithm::Betweenness);
    input.policy.max_sites = 1;
    let plan = plan(&input);
    let sites: Vec<&IepId> = plan.chosen.iter().map(|chosen| &chosen.site).collect();
    assert_eq!(sites, [&site_id(1)], "D, nearer to the clients");
    assert_eq!(plan.chosen[0].betweenness, 9_000_000);
}

#[test]
fn a_plan_in_full() {
    let world = World {
        clients: vec![(3, 5, 3000), (1, 30, 1000)],
        ..figure_3()
    };
    let tree = world.tree();
    let candidates = world.candidates(&tree);
    let none = BTreeSet::new();
    let mut input = input(&tree, &candidates, &none, Algorithm::Betweenness);
    input.policy.budget = Amount::wei(15);
    let plan = plan(&input);
    assert_eq!(
        plan.chosen,
        [Assignment {
            site: site_id(1),
            offer: candidates[1].offer,
            slot: candidates[1].slot,
            already_running: false,
            cost: Amount::wei(10),
            worth: None,
            betweenness: 3_000_000,
            clients: 1,
            demand: 3000,
            saving: 3000 * 21_000,
            marginal: 3000 * 21_000,
        }]
    );
    let ms = |ms| Rtt(Duration::from_millis(ms));
    let leaf = |prefix| tree.find(&NodeId::Client(client_prefix(prefix))).unwrap();
    let to_site = tree.distance(leaf(0), &candidates[1].attachment);
    let (site_error, cloud_error) = (
        to_site.unwrap().error,
        tree.node(leaf(1)).unwrap().rtt.error,
    );
    let services: Vec<_> = plan.clients.clone().into_iter().collect();
    assert_eq!(
        services,
        [
            (
                client_prefix(0),
                ClientService {
                    demand: 3000,
                    cloud: ms(26),
                    served_by: ServedBy::Site(site_id(1)),
                    predicted: ms(5),
                    error: site_error,
                }
            ),
            (
                client_prefix(1),
                ClientService {
                    demand: 1000,
                    cloud: ms(31),
                    served_by: ServedBy::Cloud,
                    predicted: ms(31),
                    error: cloud_error,
                }
            ),
        ]
    );
    assert_eq!(
        plan.prediction,
        Prediction {
            demand: 4000,
            cloud_only: 3000 * 26_000 + 1000 * 31_000,
            planned: 3000 * 5_000 + 1000 * 31_000,
            error: 3000 * site_error.as_micros() + 1000 * cloud_error.as_micros(),
        }
    );
    assert_eq!(
        plan.prediction.planned_mean(),
        Rtt(Duration::from_micros(11_500))
    );
    assert_eq!(plan.cost, Amount::wei(10));
    assert_eq!(plan.rejected.len(), 1);
    assert_eq!(plan.rejected[0].reason, Reason::NothingToAdd);
    assert_eq!(plan.runner_ups[0].site, site_id(0));
    assert_eq!(plan.certificate.proof, Proof::Exact);
    assert_eq!(plan.certificate.gap_ppm(), Some(0), "D is the best, too");
}

#[test]
fn every_rejection_has_its_reason() {
    let world = World {
        routers: vec![(0, 1), (1, 10), (1, 10)],
        clients: vec![(2, 5, 1000), (3, 5, 1000)],
        // 0 and 1 near the clients, 2 and 3 far beyond the first hop, 4.. spoilt below.
        sites: vec![
            (2, 0, 1),
            (3, 0, 9),
            (1, 100, 1),
            (2, 0, 1),
            (2, 0, 1),
            (2, 0, 1),
            (2, 0, 1),
            (2, 0, u128::MAX),
        ],
    };
    let tree = world.tree();
    let mut candidates = world.candidates(&tree);
    candidates[3].attachment.reached = false;
    candidates[4].attachment.generation = Generation(2);
    candidates[5].slot.end = UtcTime(0);
    candidates[6].price_per_second.asset = Asset::Token(ChainAddress([1; 20]));
    let excluded = BTreeSet::from([site_id(9)]);
    candidates.push(crate::Candidate {
        site: site_id(9),
        ..candidates[0].clone()
    });
    candidates.push(candidates[0].clone());

    let reasons = |max_sites, budget| {
        let mut input = input(&tree, &candidates, &excluded, Algorithm::Betweenness);
        input.policy.max_sites = max_sites;
        input.policy.budget = Amount::wei(budget);
        let plan = plan(&input);
        assert_eq!(check_plan(&input, &plan), []);
        let rejected = plan.rejected.into_iter();
        rejected
            .map(|rejected| (rejected.site, rejected.reason))
            .collect::<Vec<_>>()
    };
    let spoilt = [
        (
            2,
            Reason::SlowerThanCloud {
                lacking: Duration::from_micros(100_000 + 15_000 - 16_000 + 1),
            },
        ),
        (3, Reason::Unreached),
        (
            4,
            Reason::OtherTopology {
                attached: Generation(2),
                planned: Generation(3),
            },
        ),
        (5, Reason::EmptySlot),
        (6, Reason::OtherAsset),
        (7, Reason::PriceOutOfRange),
        (9, Reason::Excluded),
    ];
    let with = |first: Vec<(usize, Reason)>| -> Vec<(IepId, Reason)> {
        let all = first.into_iter().chain(spoilt);
        all.map(|(site, reason)| (site_id(site), reason)).collect()
    };
    let limit = Reason::TooManySites { limit: 1 };
    let dear = Reason::OverBudget {
        cost: Amount::wei(90),
        left: Amount::wei(40),
    };
    assert_eq!(
        reasons(1, 1000),
        with(vec![(0, Reason::Duplicate), (1, limit)])
    );
    assert_eq!(
        reasons(9, 50),
        with(vec![(0, Reason::Duplicate), (1, dear)])
    );
}

#[test]
fn a_rejected_site_is_replaced_and_a_paid_one_costs_nothing() {
    let world = figure_3();
    let tree = world.tree();
    let mut candidates = world.candidates(&tree);
    let chosen = |candidates: &[crate::Candidate], excluded: &BTreeSet<IepId>, budget| {
        let mut input = input(&tree, candidates, excluded, Algorithm::Betweenness);
        input.policy.max_sites = 1;
        input.policy.budget = Amount::wei(budget);
        let plan = plan(&input);
        let sites = plan.chosen.into_iter();
        sites.map(|site| site.site).collect::<Vec<_>>()
    };
    let none = BTreeSet::new();
    assert_eq!(chosen(&candidates, &none, 100), [site_id(1)]);
    let rejected = BTreeSet::from([site_id(1)]);
    assert_eq!(chosen(&candidates, &rejected, 100), [site_id(0)]);
    assert_eq!(chosen(&candidates, &none, 0), []);
    candidates[0].already_running = true;
    assert_eq!(chosen(&candidates, &none, 0), [site_id(0)]);
}

#[test]
fn at_most_one_offer_per_site_and_the_share_of_found_sites_is_kept() {
    let world = World {
        routers: vec![(0, 1), (1, 10), (1, 10)],
        clients: vec![(2, 5, 1000), (3, 5, 1000)],
        sites: vec![(2, 0, 5), (2, 0, 1), (3, 0, 1)],
    };
    let tree = world.tree();
    let mut candidates = world.candidates(&tree);
    candidates[1].site = site_id(0);
    let none = BTreeSet::new();
    for algorithm in [Algorithm::Betweenness, Algorithm::Celf] {
        let mut input = input(&tree, &candidates, &none, algorithm);
        input.sites_found = 2;
        let both = plan(&input);
        let offers: Vec<_> = both.chosen.iter().map(|chosen| chosen.offer).collect();
        assert_eq!(
            offers,
            [candidates[1].offer, candidates[2].offer],
            "the cheaper offer"
        );
        assert_eq!(both.rejected[0].reason, Reason::OtherOfferBetter);
        input.policy.max_share_percent = 50;
        assert_eq!(plan(&input).chosen.len(), 1);
    }
}

#[test]
fn without_clients_or_candidates_the_cloud_serves() {
    let world = World {
        sites: vec![],
        ..figure_3()
    };
    let tree = world.tree();
    let none = BTreeSet::new();
    for algorithm in [Algorithm::Betweenness, Algorithm::Celf] {
        let input = input(&tree, &[], &none, algorithm);
        let plan = plan(&input);
        assert_eq!(plan.chosen, []);
        assert_eq!(plan.prediction.planned, plan.prediction.cloud_only);
        assert_eq!(check_plan(&input, &plan), []);
    }
}

#[test]
fn the_check_finds_every_kind_of_tampering() {
    let world = World {
        routers: vec![(0, 1), (1, 10), (1, 10)],
        clients: vec![(2, 5, 1000), (3, 5, 1000)],
        sites: vec![(2, 0, 1), (3, 0, 1)],
    };
    let tree = world.tree();
    let candidates = world.candidates(&tree);
    let none = BTreeSet::new();
    let input = input(&tree, &candidates, &none, Algorithm::Betweenness);
    let good = plan(&input);
    assert_eq!(good.chosen.len(), 2);

    let found = |input: &PlanInput<'_>, tamper: fn(&mut Plan), expected: fn(&Finding) -> bool| {
        let mut bad = good.clone();
        tamper(&mut bad);
        let notes = check_plan(input, &bad);
        assert!(
            notes.iter().any(|note| expected(&note.finding)),
            "{notes:?}"
        );
        notes
    };
    found(
        &input,
        |plan| plan.generation = Generation(6),
        |finding| matches!(finding, Finding::OtherInput { .. }),
    );
    found(
        &input,
        |plan| plan.chosen[0].cost = Amount::wei(1),
        |finding| matches!(finding, Finding::NotOffered(_)),
    );
    found(
        &input,
        |plan| drop(plan.chosen.remove(0)),
        |finding| matches!(finding, Finding::Unaccounted(_)),
    );
    found(
        &input,
        |plan| {
            for client in plan.clients.values_mut() {
                client.served_by = ServedBy::Cloud;
            }
        },
        |finding| matches!(finding, Finding::Idle(_)),
    );
    found(
        &input,
        |plan| plan.chosen.push(plan.chosen[0].clone()),
        |finding| matches!(finding, Finding::ChosenTwice(_)),
    );
    found(
        &input,
        |plan| plan.chosen[0].saving += 1,
        |finding| matches!(finding, Finding::WrongNumber { .. }),
    );
    found(
        &input,
        |plan| plan.prediction.planned -= 1,
        |finding| matches!(finding, Finding::WrongNumber { .. }),
    );
    found(
        &input,
        |plan| drop(plan.clients.pop_first()),
        |finding| matches!(finding, Finding::ClientMismatch(_)),
    );
    found(
        &input,
        |plan| plan.clients.get_mut(&client_prefix(0)).unwrap().served_by = ServedBy::Cloud,
        |finding| matches!(finding, Finding::BetterSite { .. }),
    );
    found(
        &input,
        |plan| {
            let client = plan.clients.get_mut(&client_prefix(0)).unwrap();
            client.served_by = ServedBy::Site(site_id(1));
        },
        |finding| matches!(finding, Finding::WrongSite { .. }),
    );
    found(
        &input,
        |plan| drop(plan.chosen.remove(0)),
        |finding| matches!(finding, Finding::WrongSite { .. }),
    );
    found(
        &input,
        |plan| plan.certificate.at_least = plan.certificate.cost + 1,
        |finding| matches!(finding, Finding::FalseBound { .. }),
    );
    found(
        &input,
        |plan| plan.certificate.cost += 1,
        |finding| matches!(finding, Finding::WrongNumber { .. }),
    );
    found(
        &input,
        |plan| plan.chosen[0].marginal -= 1,
        |finding| matches!(finding, Finding::WrongNumber { .. }),
    );
    found(
        &input,
        |plan| plan.clients.get_mut(&client_prefix(0)).unwrap().error += Duration::from_millis(1),
        |finding| matches!(finding, Finding::WrongNumber { .. }),
    );
    found(
        &input,
        |plan| plan.topology = Generation(99),
        |finding| matches!(finding, Finding::OtherInput { .. }),
    );
    let mut low = candidates.clone();
    low[0].capacity = Some(999);
    let full = PlanInput {
        candidates: &low,
        ..input.clone()
    };
    found(
        &full,
        |_| {},
        |finding| matches!(finding, Finding::Overloaded { .. }),
    );
    let mut thrifty = input.clone();
    thrifty.policy.value_per_second = Some(1);
    found(
        &thrifty,
        |_| {},
        |finding| matches!(finding, Finding::NotWorthIt(_)),
    );
    let mut wary = input.clone();
    wary.policy.min_trust = Trust::Proven;
    found(
        &wary,
        |_| {},
        |finding| matches!(finding, Finding::NotOffered(_)),
    );
    let mut local = input.clone();
    local.policy.countries = Some(BTreeSet::from(["FI".parse().unwrap()]));
    found(
        &local,
        |_| {},
        |finding| matches!(finding, Finding::NotOffered(_)),
    );
    let mut poor = input.clone();
    poor.policy.budget = Amount::wei(19);
    found(
        &poor,
        |_| {},
        |finding| matches!(finding, Finding::OverBudget { .. }),
    );
    let mut few = input.clone();
    few.policy.max_sites = 1;
    let notes = found(
        &few,
        |_| {},
        |finding| {
            matches!(
                finding,
                Finding::TooManySites {
                    chosen: 2,
                    limit: 1
                }
            )
        },
    );
    assert!(notes.iter().all(|note| note.severity == Severity::Fatal));
}
