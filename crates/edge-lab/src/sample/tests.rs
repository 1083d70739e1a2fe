use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::*;
use crate::network::Network;
use crate::truth::Truth;

const SHIPPED: &str = include_str!("../../../../scenarios/paper-240.toml");

fn shipped() -> Scenario {
    Scenario::parse("paper-240.toml", SHIPPED).unwrap()
}

#[test]
fn the_shipped_sample_is_written_as_it_would_be_again() {
    assert_eq!(render(&shipped(), HEADING).unwrap(), SHIPPED);
    assert_eq!(shipped().seed, PAPER_SEED);
}

#[test]
fn the_shipped_sample_has_the_papers_size() {
    let scenario = shipped();
    assert_eq!((scenario.routers.len(), scenario.clients.len()), (240, 186));
    let sites: usize = scenario.providers.iter().map(|p| p.sites.len()).sum();
    assert_eq!(sites, 48);
    assert!(scenario.providers.len() >= 20);
    let mut children: BTreeMap<&str, usize> = BTreeMap::new();
    for link in &scenario.links {
        *children.entry(&link.a).or_default() += 1;
    }
    assert!(children.values().any(|count| *count >= 20));
}

#[test]
fn the_shipped_sample_has_what_the_internet_has() {
    let scenario = shipped();
    let count = |is: fn(&Router) -> bool| scenario.routers.iter().filter(|r| is(r)).count();
    assert_eq!(count(|router| router.icmp == Some(Icmp::Silent)), 9);
    assert_eq!(count(|router| router.name.is_none()), 19);
    assert!(count(|router| router.icmp.is_none()) > 200);
    let zones: BTreeSet<&DnsName> = scenario
        .routers
        .iter()
        .filter_map(|r| r.zone.as_ref())
        .collect();
    let providers: BTreeSet<&DnsName> = scenario.providers.iter().map(|p| &p.domain).collect();
    assert!(zones.difference(&providers).count() >= 5);
    let of = |is: fn(&Provider) -> bool| scenario.providers.iter().filter(|p| is(p)).count();
    assert_eq!(of(|provider| !provider.listed), 1);
    assert_eq!(of(|provider| provider.decision == Decision::Reject), 1);
    assert_eq!(
        of(|provider| provider.settlement == SettlementKind::Contact),
        2
    );
}

#[test]
fn the_shipped_sample_has_the_papers_distances() {
    let scenario = shipped();
    let network = Network::compile(&scenario);
    let truth = Truth::new(&scenario, &network);
    let targets = truth.targets();
    let total: f64 = targets
        .iter()
        .map(|target| truth.rtt_from_cloud(*target).unwrap().as_secs_f64())
        .sum();
    let mean_ms = total * 1000.0 / targets.len() as f64;
    assert!((90.0..=110.0).contains(&mean_ms), "{mean_ms}");
    let mut hops: Vec<usize> = targets
        .iter()
        .map(|target| truth.forward_paths(*target).first().unwrap().len())
        .collect();
    hops.sort_unstable();
    assert!((8..=16).contains(&hops[hops.len() / 2]), "{hops:?}");
    assert!(*hops.last().unwrap() <= 28, "{hops:?}");
    let several = targets
        .iter()
        .filter(|target| truth.forward_paths(**target).len() > 1);
    assert!(several.count() > 20);
}

#[test]
fn at_most_fifteen_percent_are_undiscoverable() {
    let scenario = shipped();
    let network = Network::compile(&scenario);
    let everywhere = scenario.clients.iter().map(|client| client.prefix);
    let ieps = Truth::new(&scenario, &network).true_ieps(&everywhere.collect());
    assert_eq!(ieps.discoverable.len() + ieps.undiscoverable.len(), 48);
    assert!(ieps.undiscoverable.len() <= 7, "{:?}", ieps.undiscoverable);
}

/// A square lattice of cities with New York in a corner.
fn lattice(side: u32) -> Vec<u8> {
    let at = |x: u32, y: u32| y * side + x;
    let mut nodes = Vec::new();
    let mut edges = Vec::new();
    for y in 0..side {
        for x in 0..side {
            let name = if at(x, y) == 0 {
                "New York".to_owned()
            } else {
                format!("Town {x} Å {y}")
            };
            nodes.push(json!({"id": at(x, y), "type": "City", "name": name, "pos": [x, y]}));
            for (to_x, to_y) in [(x + 1, y), (x, y + 1)] {
                if to_x < side && to_y < side {
                    edges.push(json!({"source": at(x, y), "target": at(to_x, to_y), "dist": 300 + (x * 7 + y) % 11}));
                }
            }
        }
    }
    serde_json::to_vec(&json!({"nodes": nodes, "edges": edges})).unwrap()
}

#[test]
fn equal_seeds_give_equal_samples_and_others_do_not() {
    let world = lattice(20);
    let first = from_topohub(&world, 1).unwrap();
    assert_eq!((first.routers.len(), first.clients.len()), (240, 186));
    assert_eq!(from_topohub(&world, 1).unwrap(), first);
    assert_ne!(from_topohub(&world, 2).unwrap(), first);
    let text = render(&first, "A test.").unwrap();
    assert_eq!(Scenario::parse("rendered", &text).unwrap(), first);
}

#[test]
fn unusable_maps_are_refused() {
    assert!(matches!(
        from_topohub(b"{}", 1),
        Err(SampleError::Map(MapError::Json(_)))
    ));
    assert!(matches!(
        from_topohub(&lattice(8), 1),
        Err(SampleError::TooSmall { wanted: 240 })
    ));
    let nowhere = json!({"nodes": [], "edges": [{"source": 1, "target": 2, "dist": 3}]});
    assert!(matches!(
        from_topohub(nowhere.to_string().as_bytes(), 1),
        Err(SampleError::Map(MapError::Edge(0)))
    ));
}
