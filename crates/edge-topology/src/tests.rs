//! Trees from observations.

mod change;
mod latency;
mod saved;
mod simulator;
mod views;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use edge_types::{
    Generation, Hop, HopReply, IpNet, MonotonicTime, PathEnd, PathObservation, PrefixGrouping, Rtt,
};
use proptest::prelude::*;

use crate::{
    AggregateTree, Attachment, ClientDemand, Demand, InsertError, Limits, NodeId, NodeIndex,
    Observations, RttBasis,
};

/// A path in short: `R<n>@<ms>` a router, `*` silence, `!@<ms>` the target's answer.
fn path(target: &str, hops: &str) -> PathObservation {
    path_at(0, target, hops)
}

fn path_at(second: u64, target: &str, hops: &str) -> PathObservation {
    let target: IpAddr = target.parse().unwrap();
    let hops: Vec<Hop> = hops
        .split_whitespace()
        .map(|hop| match hop.split_once('@') {
            None => Hop::NoReply,
            Some((name, ms)) => {
                let address = match name.strip_prefix('R') {
                    Some(number) => router(number.parse().unwrap()),
                    None => target,
                };
                let rtt = Rtt(Duration::from_millis(ms.parse().unwrap()));
                Hop::Reply(HopReply::new(address, rtt))
            }
        })
        .collect();
    let reached = matches!(hops.last(), Some(Hop::Reply(reply)) if reply.address == target);
    PathObservation {
        target,
        observed_at: MonotonicTime(Duration::from_secs(second)),
        hops,
        further: Vec::new(),
        end: if reached {
            PathEnd::Reached
        } else {
            PathEnd::Silent
        },
        probes_sent: 0,
    }
}

fn router(number: u8) -> IpAddr {
    [240, 0, number, 1].into()
}

fn group(number: u8) -> NodeId {
    NodeId::Group(PrefixGrouping::SITE.group(router(number)).into())
}

fn prefix(target: &str) -> IpNet {
    PrefixGrouping::SITE.group(target.parse().unwrap())
}

fn demand(clients: &[(&str, u64)]) -> Demand {
    let client = |(target, rate): &(&str, u64)| {
        let demand = ClientDemand {
            target: target.parse().unwrap(),
            milli_requests_per_second: *rate,
        };
        (prefix(target), demand)
    };
    clients.iter().map(client).collect()
}

fn store(paths: &[PathObservation]) -> Observations {
    let mut observations = Observations::new(Limits::default());
    for path in paths {
        observations.insert(path).unwrap();
    }
    observations
}

fn tree(paths: &[PathObservation], clients: &[(&str, u64)]) -> AggregateTree {
    store(paths).tree(Generation(1), PrefixGrouping::SITE, &demand(clients))
}

/// The tree as lines of identity, parent's identity, round trip in ms and demand, in order of identity.
fn check(tree: &AggregateTree, expected: &[&str]) {
    let mut lines: Vec<String> = tree
        .nodes()
        .iter()
        .filter_map(|node| {
            let parent = tree.node(node.parent?)?;
            assert_eq!(node.depth, parent.depth + 1);
            let ms = node.rtt.rtt.as_ms();
            Some(format!(
                "{} < {}: {ms} ms, {}",
                node.id, parent.id, node.demand
            ))
        })
        .collect();
    lines.sort();
    assert_eq!(lines, expected);
}

const A: &str = "241.0.1.9";
const B: &str = "241.0.2.9";
const C: &str = "241.0.3.9";

#[test]
fn paths_with_a_common_part_share_its_nodes() {
    let tree = tree(
        &[
            path(A, "R1@1 R2@5 !@9"),
            path(B, "R1@2 R3@7 !@8"),
            path(C, "R1@1 R3@7 * R4@11 * *"),
        ],
        &[(A, 100), (B, 200), (C, 300)],
    );
    check(
        &tree,
        &[
            "240.0.1.0/24 < cloud: 1 ms, 600",
            "240.0.2.0/24 < 240.0.1.0/24: 5 ms, 100",
            "240.0.3.0/24 < 240.0.1.0/24: 7 ms, 500",
            "240.0.4.0/24 < silent between 240.0.3.0/24 and 240.0.4.0/24: 11 ms, 300",
            "241.0.1.0/24 < 240.0.2.0/24: 9 ms, 100",
            "241.0.2.0/24 < 240.0.3.0/24: 8 ms, 200",
            // Never answered: hangs below the last router that did, with its round trip.
            "241.0.3.0/24 < 240.0.4.0/24: 11 ms, 300",
            "silent between 240.0.3.0/24 and 240.0.4.0/24 < 240.0.3.0/24: 9 ms, 300",
        ],
    );
    assert!(!tree.client(prefix(C)).unwrap().client.unwrap().answered);
    let basis = |prefix| tree.client(prefix).unwrap().rtt.basis;
    assert_eq!(basis(prefix(C)), RttBasis::Inherited);
    assert_eq!(tree.total_demand(), 600);
}

#[test]
fn silence_is_keyed_by_its_neighbours() {
    let tree = tree(
        &[
            path(A, "R1@2 * * !@8"),
            path(B, "R1@2 * R2@4 !@6"),
            path(C, "R1@2 * R2@4 !@6"),
        ],
        &[(A, 1), (B, 1), (C, 1)],
    );
    let silent: Vec<NodeId> = tree
        .nodes()
        .iter()
        .map(|node| node.id.clone())
        .filter(|id| matches!(id, NodeId::Silent { .. }))
        .collect();
    let NodeId::Group(r1) = group(1) else {
        unreachable!()
    };
    let NodeId::Group(r2) = group(2) else {
        unreachable!()
    };
    let hop = |before, length, position| NodeId::Silent {
        after: Some(r1.clone()),
        before,
        length,
        position,
    };
    let expected = [
        hop(r2, 1, 0),
        hop(prefix(A).into(), 2, 0),
        hop(prefix(A).into(), 2, 1),
    ];
    let mut sorted = silent.clone();
    sorted.sort();
    assert_eq!(sorted, expected, "B and C share theirs");
    let rtt = |id| tree.node(tree.find(id).unwrap()).unwrap().rtt.rtt;
    let between = [&expected[1], &expected[2]].map(rtt);
    assert_eq!(between, [4, 6].map(|ms| Rtt(Duration::from_millis(ms))));
}

#[test]
fn the_parent_is_where_most_demand_comes_from() {
    let diamond = [
        path(A, "R1@1 R2@2 R4@4 !@5"),
        path(B, "R1@1 R3@2 R4@4 !@5"),
        path(C, "R1@1 R3@2 R5@3 R4@4 !@5"),
    ];
    let parent = |clients: &[(&str, u64)]| {
        let tree = tree(&diamond, clients);
        let node = tree.node(tree.find(&group(4)).unwrap()).unwrap();
        tree.node(node.parent.unwrap()).unwrap().id.clone()
    };
    assert_eq!(parent(&[(A, 3), (B, 2)]), group(2));
    assert_eq!(parent(&[(A, 2), (B, 3)]), group(3));
    assert_eq!(parent(&[(A, 2), (B, 2)]), group(2), "the smaller");
    assert_eq!(parent(&[(A, 2), (C, 2)]), group(5), "the deeper");
    assert_eq!(parent(&[(A, 1), (B, 1), (C, 3)]), group(5));
}

#[test]
fn cycles_between_groups_are_broken() {
    let tree = tree(
        &[
            path(A, "R1@1 R2@2 R3@3 !@5"),
            path(B, "R1@1 R3@2 R2@3 !@5"),
            path(C, "R1@1 R2@2 R3@3 R2@4 !@5"),
        ],
        &[(A, 3), (B, 2), (C, 1)],
    );
    check(
        &tree,
        &[
            "240.0.1.0/24 < cloud: 1 ms, 6",
            "240.0.2.0/24 < 240.0.1.0/24: 2 ms, 6",
            "240.0.3.0/24 < 240.0.2.0/24: 2 ms, 3",
            "241.0.1.0/24 < 240.0.3.0/24: 5 ms, 3",
            "241.0.2.0/24 < 240.0.2.0/24: 5 ms, 2",
            "241.0.3.0/24 < 240.0.2.0/24: 5 ms, 1",
        ],
    );
}

#[test]
fn a_slow_router_is_no_longer_away_than_what_lies_behind() {
    let tree = tree(&[path(A, "R1@70 R2@4 !@90")], &[(A, 1)]);
    let node = tree.node(tree.find(&group(1)).unwrap()).unwrap();
    assert_eq!(node.rtt.rtt, Rtt(Duration::from_millis(4)));
    let own = Rtt(Duration::from_millis(70));
    assert_eq!(node.rtt.basis, RttBasis::Measured { own });
}

#[test]
fn a_newer_path_replaces_and_an_older_does_not() {
    let mut observations = store(&[path_at(5, A, "R1@1 R2@2 !@3")]);
    let old = path_at(4, A, "R9@1 !@3");
    let error = InsertError::Older {
        target: A.parse().unwrap(),
        newer_by: Duration::from_secs(1),
    };
    assert_eq!(observations.insert(&old), Err(error));
    observations
        .insert(&path_at(6, A, "R1@1 R3@2 !@3"))
        .unwrap();
    let target = A.parse().unwrap();
    let routers: Vec<IpAddr> = observations.routers_towards(target).collect();
    assert_eq!(routers, [router(1), router(3)]);
    let known: Vec<IpAddr> = observations.interfaces().collect();
    assert_eq!(known, [router(1), router(3), target], "R2 is forgotten");
    observations.remove(target);
    assert_eq!(observations.interfaces().count(), 0);
}

#[test]
fn a_hop_erased_with_a_loop_is_no_sample() {
    let looping = path(A, "R7@1 R1@1 R7@1 !@3");
    let straight = path(B, "R1@4 !@5");
    for paths in [[&looping, &straight], [&straight, &looping]] {
        let observations = store(&paths.map(Clone::clone));
        assert_eq!(
            observations.rtt(router(1)),
            Some(Rtt(Duration::from_millis(4)))
        );
    }
}

#[test]
fn sizes_are_bounded() {
    let mut observations = Observations::new(Limits {
        max_targets: 1,
        max_hops: 3,
        ..Limits::default()
    });
    let target = A.parse().unwrap();
    let long = path(A, "* * * *");
    assert_eq!(
        observations.insert(&long),
        Err(InsertError::TooLong {
            target,
            hops: 4,
            limit: 3
        })
    );
    observations.insert(&path(A, "R1@1 !@2")).unwrap();
    observations.insert(&path(A, "R1@1 !@2")).unwrap();
    let full = InsertError::TooManyTargets {
        target: B.parse().unwrap(),
        limit: 1,
    };
    assert_eq!(observations.insert(&path(B, "R1@1 !@2")), Err(full));
}

#[test]
fn an_untraced_client_is_listed_and_an_unknown_path_hangs_on_the_origin() {
    let tree = tree(&[path(A, "* * *")], &[(A, 1), (B, 1)]);
    assert_eq!(tree.untraced(), [prefix(B)]);
    check(&tree, &["241.0.1.0/24 < cloud: 0 ms, 1"]);
}

#[test]
fn a_site_hangs_on_the_last_node_of_its_path() {
    let tree = tree(
        &[path(A, "R1@1 R2@5 !@9"), path(B, "R1@1 R3@7 !@8")],
        &[(A, 1), (B, 1)],
    );
    let index = |id: NodeId| tree.find(&id).unwrap();
    let attach = |hops| tree.attach(&path("242.0.0.1", hops));
    let ms = |ms| Rtt(Duration::from_millis(ms));
    let attachment = |node, rtt, beyond, reached| Attachment {
        generation: Generation(1),
        node: index(node),
        rtt: ms(rtt),
        beyond: ms(beyond),
        reached,
    };
    let near_a = attach("R1@1 R2@5 !@6");
    assert_eq!(near_a, attachment(group(2), 6, 1, true));
    assert_eq!(
        attach("R1@1 R7@5 !@6"),
        attachment(group(1), 6, 5, true),
        "off the tree behind R1"
    );
    assert_eq!(attach("R1@1 R7@5 *"), attachment(group(1), 5, 4, false));
    assert_eq!(attach("!@6"), attachment(NodeId::Origin, 6, 6, true));

    let distance = |client| {
        let client = index(NodeId::Client(prefix(client)));
        tree.distance(client, &near_a).unwrap().rtt
    };
    assert_eq!(distance(A), ms(9 - 5 + 1));
    assert_eq!(distance(B), ms((8 - 1) + (5 - 1) + 1));
    let elsewhere = Attachment {
        generation: Generation(2),
        ..near_a
    };
    assert_eq!(tree.distance(NodeIndex(0), &elsewhere), None);
}

/// Any hops at all over few routers, so that paths meet, split, loop and contradict each other.
fn any_paths() -> impl Strategy<Value = Vec<(PathObservation, u64)>> {
    let hop = prop_oneof![
        3 => (1u8..8, 0u64..50).prop_map(|(number, ms)| format!("R{number}@{ms}")),
        1 => Just("*".to_owned()),
    ];
    let one = (
        prop::collection::vec(hop, 0..8),
        any::<bool>(),
        0u64..50,
        0u64..9,
    );
    prop::collection::vec(one, 0..12).prop_map(|paths| {
        (0u8..)
            .zip(paths)
            .map(|(number, (mut hops, reached, ms, demand))| {
                if reached {
                    hops.push(format!("!@{ms}"));
                }
                let target = IpAddr::from([241, 0, number, 9]).to_string();
                (path(&target, &hops.join(" ")), demand)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn any_observations_give_a_sound_tree(paths in any_paths()) {
        let targets: Vec<String> = paths.iter().map(|(path, _)| path.target.to_string()).collect();
        let clients: Vec<(&str, u64)> =
            targets.iter().zip(&paths).map(|(target, (_, rate))| (target.as_str(), *rate)).collect();
        let observed: Vec<PathObservation> = paths.iter().map(|(path, _)| path.clone()).collect();
        let one = tree(&observed, &clients);

        let reversed: Vec<PathObservation> = observed.iter().rev().cloned().collect();
        prop_assert_eq!(&one, &tree(&reversed, &clients), "the order of insertion does not matter");
        prop_assert!(crate::change(&one, &one).abs() < 1e-12);

        prop_assert_eq!(one.clients().count(), clients.len());
        let mut below: BTreeMap<usize, u64> = BTreeMap::new();
        for (index, node) in one.nodes().iter().enumerate().rev() {
            let own = node.client.map_or(0, |client| client.demand);
            let behind = below.get(&index).copied().unwrap_or(0);
            prop_assert_eq!(node.demand, own + behind);
            let Some(parent) = node.parent else {
                prop_assert_eq!(index, 0);
                continue;
            };
            prop_assert!(parent.0 < index);
            let before = &one.nodes()[parent.0];
            prop_assert!(before.rtt.rtt <= node.rtt.rtt, "no link is negative");
            prop_assert!(before.client.is_none(), "clients are leaves");
            *below.entry(parent.0).or_default() += node.demand;
        }

        for (site, _) in &paths {
            let site = one.attach(site);
            let each = (0..one.nodes().len()).map(|node| one.distance(NodeIndex(node), &site).unwrap().rtt);
            prop_assert_eq!(one.distances(&site).unwrap(), each.collect::<Vec<_>>());
        }
        prop_assert_eq!(one.total_demand(), clients.iter().map(|(_, rate)| rate).sum::<u64>());
    }
}

#[test]
fn ten_thousand_targets_share_their_routers() {
    let mut observations = Observations::new(Limits::default());
    let mut clients = Demand::new();
    for number in 0..10_000u32 {
        let target = IpAddr::V4((0xf100_0000 + (number << 8) + 9).into());
        let hops = (0..15u32).map(|depth| {
            // Branches fivefold every third hop.
            let branch = number % 5u32.pow(depth / 3 + 1);
            let address = IpAddr::V4((0xf000_0000 + (depth << 16) + branch).into());
            Hop::Reply(HopReply::new(
                address,
                Rtt(Duration::from_millis(u64::from(depth))),
            ))
        });
        let path = PathObservation {
            target,
            observed_at: MonotonicTime::ZERO,
            hops: hops.collect(),
            further: Vec::new(),
            end: PathEnd::Silent,
            probes_sent: 0,
        };
        observations.insert(&path).unwrap();
        let client = ClientDemand {
            target,
            milli_requests_per_second: 1,
        };
        clients.insert(PrefixGrouping::SITE.group(target), client);
    }
    let by_address = PrefixGrouping::new(32, 128).unwrap();
    let tree = observations.tree(Generation(1), by_address, &clients);
    assert_eq!(tree.clients().count(), 10_000);
    let routers = tree.nodes().len() - 1 - 10_000;
    assert_eq!(routers, 3 * (5 + 25 + 125 + 625 + 3125));
    assert_eq!(tree.total_demand(), 10_000);
}

/// A path to a silent client whose own connections took so long.
fn connected(target: &str, hops: &str, ms: u64) -> PathObservation {
    let mut path = path(target, hops);
    let rtt = Rtt(Duration::from_millis(ms));
    path.further.push((0, HopReply::new(path.target, rtt)));
    path
}

#[test]
fn a_silent_client_is_as_far_away_as_its_own_connections_show() {
    let clients = [("240.9.0.1", 1), ("240.8.0.1", 1)];
    let paths = [
        connected("240.9.0.1", "R1@10 R2@20 *", 70),
        path("240.8.0.1", "R1@10 R2@20 *"),
    ];
    let tree = tree(&paths, &clients);
    let client = |target| tree.client(prefix(target)).unwrap();
    assert_eq!(client("240.9.0.1").rtt.rtt.as_ms(), 70.0);
    assert!(
        client("240.8.0.1").rtt.rtt.as_ms() < 30.0,
        "nothing is known"
    );
    // A proxy that takes its connections is not the client.
    let proxied = store(&[connected("240.9.0.1", "R1@10 R2@20 *", 1)]);
    let silent = store(&[path("240.9.0.1", "R1@10 R2@20 *")]);
    let [proxied, silent] = [proxied, silent].map(|store| {
        let clients = demand(&clients[..1]);
        store.tree(Generation(1), PrefixGrouping::SITE, &clients)
    });
    assert_eq!(proxied, silent);
    // What probes showed of a client that answers them is not replaced by it.
    let answered = connected("240.9.0.1", "R1@10 R2@20 !@40", 70);
    let answered =
        store(&[answered]).tree(Generation(1), PrefixGrouping::SITE, &demand(&clients[..1]));
    let client = answered.client(prefix("240.9.0.1")).unwrap();
    assert_eq!(client.rtt.rtt.as_ms(), 40.0);
}

#[test]
fn what_connections_showed_is_saved_and_goes_with_the_path() {
    let mut known = store(&[connected("240.9.0.1", "R1@10 *", 70)]);
    let text: Vec<String> = known.snapshot().collect();
    let text = text.join("\n");
    assert!(text.contains("\"connected_ns\":70000000"), "{text}");
    let loaded = Observations::load(text.as_bytes(), Limits::default()).unwrap();
    assert_eq!(loaded, known);
    let reached = text.replace("\"reached\":false", "\"reached\":true");
    assert!(Observations::load(reached.as_bytes(), Limits::default()).is_err());
    known.insert(&path_at(1, "240.9.0.1", "R1@10 *")).unwrap();
    assert_ne!(loaded, known);
}
