//! Prices against what time is worth, calls back to the cloud, measurements, capacities, and where sites may be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edge_types::{Amount, Rtt};

use crate::testing::{World, client_prefix, input, site_id};
use crate::{Algorithm, Plan, PlanInput, Reason, ServedBy, Service, Trust, check_plan, plan};

/// One client prefix with a request per second, 26 ms from the cloud; 0 is 21 ms nearer for 10 wei a second, 1 16 ms for 1.
fn world() -> World {
    World {
        routers: vec![(0, 1), (1, 10), (2, 10)],
        clients: vec![(3, 5, 1000)],
        sites: vec![(3, 0, 10), (2, 0, 1)],
    }
}

fn planned(input: &PlanInput<'_>) -> Plan {
    let plan = plan(input);
    assert_eq!(check_plan(input, &plan), []);
    plan
}

fn chosen(plan: &Plan) -> Vec<usize> {
    let sites = 0..3;
    sites
        .filter(|site| {
            plan.chosen
                .iter()
                .any(|chosen| chosen.site == site_id(*site))
        })
        .collect()
}

#[test]
fn a_site_is_rented_only_if_what_it_saves_is_worth_more() {
    let world = world();
    let tree = world.tree();
    let candidates = world.candidates(&tree);
    let none = BTreeSet::new();
    // A request a second, 21 ms and 11 ms faster: 0.021 and 0.011 client-seconds each second.
    for algorithm in [Algorithm::Auto, Algorithm::Betweenness, Algorithm::Celf] {
        let mut input = input(&tree, &candidates, &none, algorithm);
        let mut sites_at = |value| {
            input.policy.value_per_second = Some(value);
            chosen(&planned(&input))
        };
        assert_eq!(sites_at(0), [0usize; 0]);
        // 1 / 0.011 = 90.9: at 90 nothing is worth it, at 91 the cheap site is.
        assert_eq!(sites_at(90), [0usize; 0]);
        assert_eq!(sites_at(91), [1]);
        // The dear one saves 10 ms more for 9 wei more: worth it from 900 on.
        if algorithm == Algorithm::Auto {
            assert_eq!(sites_at(890), [1]);
            assert_eq!(sites_at(901), [0]);
        }
    }
    let mut input = input(&tree, &candidates, &none, Algorithm::Auto);
    input.policy.value_per_second = Some(500);
    let plan = planned(&input);
    assert_eq!(
        plan.chosen[0].worth,
        Some(Amount::wei(55)),
        "0.011 · 10 s · 500"
    );
    assert_eq!(plan.chosen[0].cost, Amount::wei(10));
    assert_eq!(
        plan.rejected[0].reason,
        Reason::NotWorthIt {
            cost: Amount::wei(100),
            worth: Amount::wei(50)
        }
    );
    assert_eq!(plan.rejected[0].would_save, 1000 * 10_000);
    assert_eq!(plan.rejected[0].cost, Some(Amount::wei(100)));
}

#[test]
fn calls_back_to_the_cloud_are_charged() {
    let world = world();
    let tree = world.tree();
    let candidates = world.candidates(&tree);
    let none = BTreeSet::new();
    let mut input = input(&tree, &candidates, &none, Algorithm::Auto);
    // Site 0 is 21 ms from the cloud and 5 from the client; half a call a request makes that 15.5.
    input.application.calls_per_thousand = 500;
    let plan = planned(&input);
    assert_eq!(chosen(&plan), [0]);
    let service = &plan.clients[&client_prefix(0)];
    assert_eq!(service.predicted, Rtt(Duration::from_micros(15_500)));
    // With one call each nothing is saved anywhere.
    input.application.calls_per_thousand = 1000;
    let plan = planned(&input);
    assert_eq!(chosen(&plan), [0usize; 0]);
    let lacking = Duration::from_micros(1);
    assert_eq!(plan.rejected[0].reason, Reason::SlowerThanCloud { lacking });
}

#[test]
fn what_was_measured_replaces_what_the_tree_says() {
    let world = world();
    let tree = world.tree();
    let candidates = world.candidates(&tree);
    let none = BTreeSet::new();
    let ms = |ms| Rtt(Duration::from_millis(ms));
    let measured = BTreeMap::from([
        ((site_id(0), client_prefix(0)), ms(40)),
        ((site_id(1), client_prefix(0)), ms(7)),
    ]);
    for algorithm in [Algorithm::Auto, Algorithm::Betweenness] {
        let mut input = input(&tree, &candidates, &none, algorithm);
        assert_eq!(chosen(&planned(&input)), [0]);
        input.measured = &measured;
        let plan = planned(&input);
        assert_eq!(chosen(&plan), [1]);
        let service = &plan.clients[&client_prefix(0)];
        assert_eq!((service.predicted, service.error), (ms(7), Duration::ZERO));
    }
}

#[test]
fn a_site_takes_no_more_than_it_can() {
    let world = World {
        clients: vec![(3, 5, 1000), (3, 6, 2000), (3, 7, 1500)],
        ..world()
    };
    let tree = world.tree();
    let mut candidates = world.candidates(&tree);
    candidates[0].capacity = Some(3000);
    let none = BTreeSet::new();
    let input = input(&tree, &candidates, &none, Algorithm::Auto);
    let plan = planned(&input);
    assert_eq!(chosen(&plan), [0, 1]);
    let at_0 = plan
        .clients
        .values()
        .filter(|service| service.served_by == ServedBy::Site(site_id(0)));
    assert_eq!(at_0.map(|service| service.demand).sum::<u64>(), 3000);
    assert!(plan.certificate.at_least <= plan.certificate.cost);
}

#[test]
fn on_path_only_sites_on_the_way_serve() {
    let world = World {
        routers: vec![(0, 1), (1, 10), (1, 10)],
        clients: vec![(2, 5, 1000), (3, 20, 1000)],
        sites: vec![(2, 0, 1)],
    };
    let tree = world.tree();
    let candidates = world.candidates(&tree);
    let none = BTreeSet::new();
    let mut input = input(&tree, &candidates, &none, Algorithm::Auto);
    input.policy.min_saving = Rtt::default();
    input.application.service = Service::OnPath;
    let plan = planned(&input);
    assert_eq!(
        plan.clients[&client_prefix(0)].served_by,
        ServedBy::Site(site_id(0))
    );
    assert_eq!(plan.clients[&client_prefix(1)].served_by, ServedBy::Cloud);
}

#[test]
fn what_demand_is_expected_to_become_decides_with_the_price() {
    let world = world();
    let tree = world.tree();
    let mut candidates = world.candidates(&tree);
    let none = BTreeSet::new();
    let mut chosen_at = |value, outlook| {
        candidates[1].outlook_percent = outlook;
        let mut input = input(&tree, &candidates, &none, Algorithm::Auto);
        input.policy.value_per_second = Some(value);
        let plan = planned(&input);
        let worth = plan.chosen.first().and_then(|site| site.worth);
        (chosen(&plan), worth.map(|worth| worth.units))
    };
    // As it is 91 is the least; twice the demand is worth twice as much.
    assert_eq!(chosen_at(46, 100), (vec![], None));
    assert_eq!(chosen_at(45, 200).0, [0usize; 0]);
    let (site, worth) = chosen_at(46, 200);
    assert_eq!(
        (site, worth.unwrap()),
        (vec![1], chosen_at(92, 100).1.unwrap())
    );
    // And half of it half.
    assert_eq!(chosen_at(181, 50).0, [0usize; 0]);
    assert_eq!(chosen_at(182, 50).0, [1]);
    // What is beyond all sense counts as the nearest sensible.
    assert_eq!(chosen_at(91, 0).0, [0usize; 0]);
    assert_eq!(chosen_at(1, u32::MAX).0, [1]);
}

#[test]
fn trust_country_and_as_are_required_where_the_policy_says() {
    let world = world();
    let tree = world.tree();
    let mut candidates = world.candidates(&tree);
    candidates[0].trust = Trust::Named;
    candidates[1].whereabouts.country = Some("FI".parse().unwrap());
    candidates[1].whereabouts.asn = Some(64_500);
    let none = BTreeSet::new();
    let base = input(&tree, &candidates, &none, Algorithm::Auto);
    let mut input = base.clone();
    input.policy.min_trust = Trust::Bound;
    let plan = planned(&input);
    assert_eq!(chosen(&plan), [1]);
    let reason = Reason::TooLittleTrust {
        found: Trust::Named,
        required: Trust::Bound,
    };
    assert_eq!(plan.rejected[0].reason, reason);

    let mut input = base.clone();
    input.policy.countries = Some(["FI", "SE"].map(|code| code.parse().unwrap()).into());
    let plan = planned(&input);
    assert_eq!(chosen(&plan), [1]);
    assert_eq!(plan.rejected[0].reason, Reason::OtherCountry);

    let mut input = base;
    input.policy.asns = Some(BTreeSet::from([64_501]));
    let plan = planned(&input);
    assert_eq!(chosen(&plan), [0usize; 0]);
    assert_eq!(plan.rejected[1].reason, Reason::OtherAs);
}

#[test]
fn what_cannot_be_exact_is_still_planned_and_says_by_what() {
    let world = world();
    let tree = world.tree();
    let mut candidates = world.candidates(&tree);
    let none = BTreeSet::new();
    let exact = planned(&input(&tree, &candidates, &none, Algorithm::Exact));
    assert_eq!(exact.made_by, Algorithm::Exact);
    candidates[0].capacity = Some(5000);
    let bounded = planned(&input(&tree, &candidates, &none, Algorithm::Exact));
    assert_eq!(
        (bounded.algorithm, bounded.made_by),
        (Algorithm::Exact, Algorithm::Celf)
    );
    assert_eq!(chosen(&bounded), [0]);
}

#[test]
fn the_gap_of_other_rules_is_told() {
    // Betweenness prefers the middle; the only demand that counts is at the edge of it.
    let world = World {
        routers: vec![(0, 10), (1, 10), (1, 10), (2, 50)],
        clients: vec![(2, 1, 1), (3, 1, 1), (4, 1, 1000)],
        sites: vec![(1, 0, 1), (4, 0, 1)],
    };
    let tree = world.tree();
    let candidates = world.candidates(&tree);
    let none = BTreeSet::new();
    let gap = |algorithm| {
        let mut input = input(&tree, &candidates, &none, algorithm);
        input.policy.max_sites = 1;
        planned(&input).certificate.gap_ppm().unwrap()
    };
    assert_eq!(gap(Algorithm::Auto), 0);
    assert!(gap(Algorithm::CloudOnly) > 1_000_000);
}
