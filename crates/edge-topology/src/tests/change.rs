//! What counts as a change, and how much.

use super::*;
use crate::change;

fn check(old: &AggregateTree, new: &AggregateTree, expected: f64) {
    let value = change(old, new);
    assert!((value - expected).abs() < 1e-3, "{value} is not {expected}");
}

fn both_ways(old: &AggregateTree, new: &AggregateTree, expected: f64) {
    check(old, new, expected);
    check(new, old, expected);
}

#[test]
fn clients_that_come_and_go_count_whole_and_others_by_what_they_ask() {
    let both = [path(A, "R1@1 R2@5 !@9"), path(B, "R1@1 R3@7 !@8")];
    let old = tree(&both, &[(A, 2999), (B, 999)]);
    both_ways(&old, &old, 0.0);
    both_ways(&old, &tree(&both, &[(A, 2999)]), 0.25);
    let flash_crowd = tree(&both, &[(A, 2999), (B, 9999)]);
    both_ways(&old, &flash_crowd, 9000.0 / 13000.0);
    both_ways(&old, &tree(&both, &[(A, 5999), (B, 1999)]), 0.5);
    let none = tree(&[], &[]);
    both_ways(&old, &none, 1.0);
    both_ways(&none, &none, 0.0);
}

#[test]
fn a_client_reached_another_way_counts_whole() {
    let demand = [(A, 7000), (B, 3000)];
    let old = tree(
        &[path(A, "R1@1 R2@5 !@9"), path(B, "R1@1 R3@7 !@8")],
        &demand,
    );
    let rerouted = [path(A, "R1@1 R2@5 !@9"), path(B, "R1@1 R4@7 !@8")];
    both_ways(&old, &tree(&rerouted, &demand), 0.3);
    let over_known = [path(A, "R1@1 R2@5 !@9"), path(B, "R1@1 R2@7 !@8")];
    both_ways(&old, &tree(&over_known, &demand), 0.3);
    let longer = [path(A, "R1@1 R2@5 !@9"), path(B, "R1@1 R4@7 R5@8 !@9")];
    both_ways(&old, &tree(&longer, &demand), 0.3);
    let turned = [path(A, "R2@1 R1@5 !@9"), path(B, "R1@1 R3@7 !@8")];
    check(&old, &tree(&turned, &demand), 0.7);
}

#[test]
fn part_of_the_demand_behind_a_router_may_be_rerouted() {
    let demand = [(A, 7000), (B, 3000)];
    let old = tree(
        &[path(A, "R1@1 R2@2 R5@3 !@4"), path(B, "R1@1 R2@2 R5@3 !@4")],
        &demand,
    );
    let new = tree(
        &[path(A, "R1@1 R2@2 R5@3 !@4"), path(B, "R1@1 R3@2 R5@3 !@4")],
        &demand,
    );
    check(&old, &new, 0.3);
    check(&new, &old, 0.0); // now both ways are known
}

#[test]
fn flows_that_are_hashed_anew_are_no_change() {
    let diamond = |a: &str, b: &str, c: &str| {
        let through = |arm: &str| format!("R1@1 {arm} R4@4 !@5");
        let paths = [
            path(A, &through(a)),
            path(B, &through(b)),
            path(C, &through(c)),
        ];
        tree(&paths, &[(A, 1000), (B, 2000), (C, 3000)])
    };
    let old = diamond("R2@2", "R3@2", "R3@2");
    for (a, b, c) in [
        ("R3@2", "R2@2", "R3@2"),
        ("R3@2", "R3@2", "R2@2"),
        ("R3@2", "R3@2", "R3@2"),
        ("R2@2", "R2@2", "R2@2"),
    ] {
        check(&old, &diamond(a, b, c), 0.0);
    }
    // Arms need not be of equal length.
    let uneven = diamond("R2@2", "R3@2 R6@3", "R2@2");
    check(&uneven, &diamond("R3@2 R6@3", "R2@2", "R2@2"), 0.0);
    // What lies behind the diamond is no arm of it.
    let paths = [
        path(A, "R1@1 R2@2 R7@4 !@5"),
        path(B, "R1@1 R3@2 R4@4 !@5"),
        path(C, "R1@1 R3@2 R4@4 !@5"),
    ];
    let moved = tree(&paths, &[(A, 1000), (B, 2000), (C, 3000)]);
    check(&old, &moved, 1.0 / 6.0);
}

#[test]
fn per_packet_balancing_is_no_change() {
    let other = |mut path: PathObservation, number| {
        let reply = HopReply::new(router(number), Rtt(Duration::from_millis(2)));
        path.further.push((2, reply));
        path
    };
    let old = other(path(A, "R1@1 R2@2 R4@4 !@5"), 3);
    let new = other(path(A, "R1@1 R3@2 R4@4 !@5"), 2);
    both_ways(&tree(&[old], &[(A, 1)]), &tree(&[new], &[(A, 1)]), 0.0);
}

#[test]
fn another_flow_to_the_same_prefix_may_take_another_arm() {
    let neighbour = "241.0.1.77";
    let old = tree(&[path(A, "R1@1 R2@2 R4@4 !@5")], &[(A, 1)]);
    let arm = tree(&[path(neighbour, "R1@1 R3@2 R4@4 !@5")], &[(neighbour, 1)]);
    both_ways(&old, &arm, 0.0);
    let way = tree(
        &[path(neighbour, "R1@1 R3@2 R5@3 R4@4 !@5")],
        &[(neighbour, 1)],
    );
    both_ways(&old, &way, 1.0);
}

#[test]
fn silence_is_no_evidence() {
    let demand = [(A, 2999), (B, 999)];
    let old = tree(
        &[path(A, "R1@1 R2@5 !@9"), path(B, "R1@1 R3@7 !@8")],
        &demand,
    );
    let silent = [path(A, "R1@1 * !@9"), path(B, "* R3@7 *")];
    both_ways(&old, &tree(&silent, &demand), 0.0);
    let cut = [path(A, "R1@1 *"), path(B, "* * *")];
    both_ways(&old, &tree(&cut, &demand), 0.0);
    let cut_elsewhere = [path(A, "R1@1 R9@4 * *"), path(B, "R1@1 R3@7 !@8")];
    both_ways(&old, &tree(&cut_elsewhere, &demand), 0.75);
}

/// `count` clients behind router 2 of which the last is answered for by `end`, and one behind router 3.
fn together(count: u8, ends: impl Fn(u8) -> &'static str) -> AggregateTree {
    let targets: Vec<String> = (0..count)
        .map(|number| format!("241.7.{number}.9"))
        .collect();
    let mut paths = vec![path(B, "R1@1 R3@7 !@8")];
    let mut demand = vec![(B, 1000 * u64::from(count))];
    for (number, target) in (0..count).zip(&targets) {
        paths.push(path(target, ends(number)));
        demand.push((target.as_str(), 1000));
    }
    tree(&paths, &demand)
}

#[test]
fn silence_of_a_router_and_of_all_behind_it_is_an_outage() {
    let there = "R1@1 R2@5 R4@7 !@9";
    let gone = "R1@1 * * *";
    let old = together(8, |_| there);
    both_ways(&old, &together(8, |_| gone), 0.5);
    // One that still answers, or a router still on the way to one, shows that what is before it works.
    let one_answers = together(8, |number| if number == 3 { "R1@1 * * !@9" } else { gone });
    check(&old, &one_answers, 0.0);
    let router_is_there = together(8, |_| "R1@1 R2@5 R4@7 *");
    check(&old, &router_is_there, 0.0);
    // Too few for evidence, and nobody at all left to tell a failing network from a failing measurement.
    both_ways(&together(7, |_| there), &together(7, |_| gone), 0.0);
    let all_there = [path(A, there), path(B, there), path(C, there)];
    let all_gone = [path(A, "*"), path(B, "*"), path(C, "*")];
    let demand = [(A, 1000), (B, 1000), (C, 1000)];
    both_ways(&tree(&all_there, &demand), &tree(&all_gone, &demand), 0.0);
}
