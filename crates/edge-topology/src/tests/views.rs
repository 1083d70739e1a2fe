//! The graph of paths, and the trees that are views of it.

use super::*;
use crate::{Grouping, Parents, PathGraph, Place};

fn graph(paths: &[PathObservation], clients: &[(&str, u64)]) -> PathGraph {
    store(paths).graph(PrefixGrouping::SITE, &demand(clients))
}

/// The links as lines of both ends, demand and paths.
fn check_links(graph: &PathGraph, expected: &[&str]) {
    let nodes = graph.nodes();
    let mut lines: Vec<String> = nodes
        .iter()
        .flat_map(|node| {
            node.links.iter().map(|link| {
                let from = &nodes[link.from.0].id;
                format!("{from} > {}: {} of {}", node.id, link.demand, link.paths)
            })
        })
        .collect();
    lines.sort();
    assert_eq!(lines, expected);
}

fn check_parents(tree: &AggregateTree, expected: &[(&str, &str)]) {
    let name = |index: NodeIndex| tree.nodes()[index.0].id.to_string();
    let mut parents: Vec<(String, String)> = tree
        .nodes()
        .iter()
        .filter_map(|node| Some((node.id.to_string(), name(node.parent?))))
        .collect();
    parents.sort();
    let parents: Vec<(&str, &str)> = parents
        .iter()
        .map(|(node, parent)| (node.as_str(), parent.as_str()))
        .collect();
    assert_eq!(parents, expected);
}

fn rtt_of(tree: &AggregateTree, id: &NodeId) -> (u128, RttBasis) {
    let node = tree.node(tree.find(id).unwrap()).unwrap();
    (node.rtt.rtt.0.as_millis(), node.rtt.basis)
}

#[test]
fn links_carry_demand_and_paths() {
    let graph = graph(
        &[
            path(A, "R1@1 R2@2 R4@4 !@5"),
            path(B, "R1@1 R3@2 R4@4 !@5"),
            path(C, "R1@1 R3@2 R4@4 !@5"),
        ],
        &[(A, 5), (B, 2), (C, 1)],
    );
    check_links(
        &graph,
        &[
            "240.0.1.0/24 > 240.0.2.0/24: 5 of 1",
            "240.0.1.0/24 > 240.0.3.0/24: 3 of 2",
            "240.0.2.0/24 > 240.0.4.0/24: 5 of 1",
            "240.0.3.0/24 > 240.0.4.0/24: 3 of 2",
            "240.0.4.0/24 > 241.0.1.0/24: 5 of 1",
            "240.0.4.0/24 > 241.0.2.0/24: 2 of 1",
            "240.0.4.0/24 > 241.0.3.0/24: 1 of 1",
            "cloud > 240.0.1.0/24: 8 of 3",
        ],
    );
}

#[test]
fn both_trees_of_a_diamond_have_the_same_nodes() {
    let graph = graph(
        &[path(A, "R1@1 R2@2 R4@4 !@5"), path(B, "R1@1 R3@2 R4@4 !@5")],
        &[(A, 5), (B, 2)],
    );
    let heaviest = graph.tree(Generation(1), Parents::Heaviest);
    let dominators = graph.tree(Generation(1), Parents::Dominators);
    let others = [
        ("240.0.1.0/24", "cloud"),
        ("240.0.2.0/24", "240.0.1.0/24"),
        ("240.0.3.0/24", "240.0.1.0/24"),
    ];
    let clients = [
        ("241.0.1.0/24", "240.0.4.0/24"),
        ("241.0.2.0/24", "240.0.4.0/24"),
    ];
    let with = |parent| [&others[..], &[("240.0.4.0/24", parent)], &clients].concat();
    check_parents(&heaviest, &with("240.0.2.0/24"));
    check_parents(&dominators, &with("240.0.1.0/24"));

    let demand_at = |tree: &AggregateTree, number| {
        tree.node(tree.find(&group(number)).unwrap())
            .unwrap()
            .demand
    };
    assert_eq!(
        [1, 2, 3, 4].map(|number| demand_at(&heaviest, number)),
        [7, 7, 0, 7]
    );
    assert_eq!(
        [1, 2, 3, 4].map(|number| demand_at(&dominators, number)),
        [7, 0, 0, 7]
    );

    let client = heaviest.find(&NodeId::Client(prefix(B))).unwrap();
    let names = |indices: Vec<NodeIndex>| -> Vec<String> {
        indices
            .iter()
            .map(|index| heaviest.nodes()[index.0].id.to_string())
            .collect()
    };
    assert_eq!(
        names(heaviest.path(client).collect()),
        [
            "240.0.1.0/24",
            "240.0.3.0/24",
            "240.0.4.0/24",
            "241.0.2.0/24"
        ],
        "the trace went there, though the tree does not"
    );
    assert_eq!(
        names(
            heaviest
                .dominators(client)
                .map(|(index, _)| index)
                .collect()
        ),
        ["241.0.2.0/24", "240.0.4.0/24", "240.0.1.0/24", "cloud"]
    );
}

#[test]
fn an_interface_is_no_dominator_where_others_answered_beside_it() {
    let mut balanced = path(A, "R1@1 R2@2 R4@4 !@5");
    let again = |number| HopReply::new(router(number), Rtt(Duration::from_millis(1)));
    balanced.further = vec![(2, again(2)), (2, again(3)), (1, again(1))];
    let graph = graph(&[balanced], &[(A, 1)]);
    assert_eq!(graph.bypasses().len(), 1);
    let tree = graph.tree(Generation(1), Parents::Dominators);
    check_parents(
        &tree,
        &[
            ("240.0.1.0/24", "cloud"),
            ("240.0.2.0/24", "240.0.1.0/24"),
            ("240.0.4.0/24", "240.0.1.0/24"),
            ("241.0.1.0/24", "240.0.4.0/24"),
        ],
    );
    assert_eq!(rtt_of(&tree, &group(2)).0, 1, "a further reply is a sample");
}

/// Hops as addresses, a millisecond apart.
fn addresses(target: &str, hops: &[&str]) -> PathObservation {
    let mut path = path(target, "");
    path.hops = (1..)
        .zip(hops)
        .map(|(ms, hop)| {
            let rtt = Rtt(Duration::from_millis(ms));
            Hop::Reply(HopReply::new(hop.parse().unwrap(), rtt))
        })
        .collect();
    path
}

#[test]
fn private_addresses_are_told_apart_by_where_they_are() {
    let paths = [
        addresses(A, &["10.0.0.1", "240.0.1.1", "10.0.0.1", "10.0.1.1"]),
        addresses(B, &["10.0.0.1", "240.0.2.1", "10.0.0.1", "100.64.0.1"]),
        addresses(C, &["10.0.0.1", "240.0.2.1", "10.0.0.1"]),
    ];
    check_parents(
        &tree(&paths, &[(A, 1), (B, 1), (C, 1)]),
        &[
            ("10.0.0.0/24", "cloud"),
            ("10.0.0.0/24 behind 240.0.1.0/24", "240.0.1.0/24"),
            ("10.0.0.0/24 behind 240.0.2.0/24", "240.0.2.0/24"),
            (
                "10.0.1.0/24 behind 240.0.1.0/24",
                "10.0.0.0/24 behind 240.0.1.0/24",
            ),
            (
                "100.64.0.0/24 behind 240.0.2.0/24",
                "10.0.0.0/24 behind 240.0.2.0/24",
            ),
            ("240.0.1.0/24", "10.0.0.0/24"),
            ("240.0.2.0/24", "10.0.0.0/24"),
            ("241.0.1.0/24", "10.0.1.0/24 behind 240.0.1.0/24"),
            ("241.0.2.0/24", "100.64.0.0/24 behind 240.0.2.0/24"),
            ("241.0.3.0/24", "10.0.0.0/24 behind 240.0.2.0/24"),
        ],
    );
    let nearest = store(&paths).rtt("10.0.0.1".parse().unwrap());
    assert_eq!(nearest, Some(Rtt(Duration::from_millis(1))));
}

#[test]
fn places_may_be_domains() {
    let names = [
        ("240.0.1.1", "a.example"),
        ("240.0.2.1", "a.example"),
        ("240.0.4.1", "b.example"),
    ];
    let names = names.map(|(address, name)| (address.parse().unwrap(), name.parse().unwrap()));
    let grouping = Grouping::by_domain(names, PrefixGrouping::SITE);
    let observations = store(&[path(A, "R1@1 R2@2 R3@3 R4@4 !@5")]);
    let tree = observations.tree(Generation(1), grouping, &demand(&[(A, 1)]));
    check_parents(
        &tree,
        &[
            ("240.0.3.0/24", "a.example"),
            ("241.0.1.0/24", "b.example"),
            ("a.example", "cloud"),
            ("b.example", "240.0.3.0/24"),
        ],
    );
    let site = tree.attach(&path("242.0.0.1", "R1@1 R2@2 !@3"));
    let place = Place::Domain(std::sync::Arc::new("a.example".parse().unwrap()));
    assert_eq!(tree.find(&NodeId::Group(place)), Some(site.node));
}

#[test]
fn a_router_that_forwards_what_expired_shows_its_successor_twice() {
    let tree = tree(&[path(A, "R1@1 R3@3 R3@3 !@5")], &[(A, 1)]);
    check_parents(
        &tree,
        &[
            ("240.0.1.0/24", "cloud"),
            ("240.0.3.0/24", "240.0.1.0/24"),
            ("241.0.1.0/24", "240.0.3.0/24"),
        ],
    );
}

#[test]
fn hops_inside_a_tunnel_lie_evenly_between_its_ends() {
    let mut tunnel = path(A, "R1@2 R2@11 R3@10 R4@10 R5@10 !@12");
    for hop in &mut tunnel.hops[1..4] {
        if let Hop::Reply(reply) = hop {
            reply.in_tunnel = true;
        }
    }
    let mut open_end = path(B, "R1@2 R6@8");
    if let Hop::Reply(reply) = &mut open_end.hops[1] {
        reply.in_tunnel = true;
    }
    let tree = tree(&[tunnel, open_end], &[(A, 1), (B, 1)]);
    for (number, ms) in [(2, 4), (3, 6), (4, 8)] {
        assert_eq!(rtt_of(&tree, &group(number)), (ms, RttBasis::Interpolated));
    }
    assert_eq!(rtt_of(&tree, &group(6)), (5, RttBasis::Interpolated));
    let link = tree.link(tree.find(&group(3)).unwrap()).unwrap();
    assert_eq!(link.rtt, Rtt(Duration::from_millis(2)));
    assert!(link.error >= Duration::from_millis(2), "{:?}", link.error);
    let to_bounded = tree.link(tree.find(&group(6)).unwrap()).unwrap();
    assert!(to_bounded.error >= Duration::from_millis(3));
}

#[test]
fn a_link_to_where_nothing_answered_is_unknown() {
    let tree = tree(&[path(A, "R1@2 * *")], &[(A, 1)]);
    let client = tree.find(&NodeId::Client(prefix(A))).unwrap();
    assert_eq!(tree.link(client), None);
    assert_eq!(tree.link(NodeIndex(0)), None);
}

/// Can `to` be reached from the origin without passing `without`?
fn is_reachable(graph: &PathGraph, to: NodeIndex, without: NodeIndex) -> bool {
    let mut reached = vec![false; graph.nodes().len()];
    reached[0] = without != NodeIndex(0);
    // Cycles need several rounds.
    for _ in graph.nodes() {
        for (index, node) in graph.nodes().iter().enumerate() {
            let bypasses = graph.bypasses().iter().filter(|(_, end)| end.0 == index);
            let from = node
                .links
                .iter()
                .map(|link| link.from)
                .chain(bypasses.map(|(from, _)| *from));
            let is_next = from.into_iter().any(|from| reached[from.0]);
            reached[index] |= is_next && index != without.0;
        }
    }
    reached[to.0]
}

proptest! {
    #[test]
    fn dominators_are_what_no_way_gets_around(paths in any_paths()) {
        let targets: Vec<String> = paths.iter().map(|(path, _)| path.target.to_string()).collect();
        let clients: Vec<(&str, u64)> =
            targets.iter().zip(&paths).map(|(target, (_, rate))| (target.as_str(), *rate)).collect();
        let observed: Vec<PathObservation> = paths.iter().map(|(path, _)| path.clone()).collect();
        let graph = graph(&observed, &clients);
        let tree = graph.tree(Generation(1), Parents::Dominators);
        for (index, node) in tree.nodes().iter().enumerate() {
            let index = NodeIndex(index);
            prop_assert_eq!(node.parent, node.dominator);
            prop_assert!(node.parent.is_none_or(|parent| parent < index));
            let above: Vec<NodeIndex> = tree.dominators(index).skip(1).map(|(above, _)| above).collect();
            for other in (0..tree.nodes().len()).map(NodeIndex).filter(|other| *other != index) {
                let dominates = !is_reachable(&graph, index, other);
                prop_assert_eq!(above.contains(&other), dominates);
            }
            if let Some(link) = tree.link(index) {
                let parent = &tree.nodes()[node.parent.unwrap().0];
                prop_assert_eq!(parent.rtt.rtt.0 + link.rtt.0, node.rtt.rtt.0);
            }
        }
    }
}
