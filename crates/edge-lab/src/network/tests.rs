use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn two_continents() -> Network {
    let text = include_str!("../../../../scenarios/two-continents.toml");
    Network::compile(&Scenario::parse("two-continents.toml", text).unwrap())
}

fn ids(network: &Network, route: &Route) -> Vec<String> {
    route
        .routers
        .iter()
        .map(|router| network.router(*router).id.clone())
        .collect()
}

fn route(network: &Network, from: &str, to: &str, flow_hash: u64) -> Arc<Route> {
    let at = |address: &str| network.locate(address.parse().unwrap()).unwrap().router;
    network.path(at(from), at(to), flow_hash)
}

#[test]
fn finds_hosts_and_client_networks() {
    let network = two_continents();
    let party = |address: &str| {
        network
            .locate(address.parse().unwrap())
            .map(|location| location.party)
    };
    assert_eq!(party("240.0.0.10"), Some(PartyId::Cloud));
    assert_eq!(party("240.0.0.53"), Some(PartyId::Dns));
    assert_eq!(party("240.32.2.1"), Some(PartyId::Provider(1)));
    assert_eq!(party("240.16.4.255"), Some(PartyId::Clients));
    assert_eq!(party("3fff:16:5:9::1"), Some(PartyId::Clients));
    assert_eq!(party("240.16.5.0"), None);
    assert_eq!(party("3fff:16:6::"), None);
    assert_eq!(party("240.1.0.1"), None);
    assert_eq!(
        network.router_at("240.1.0.1".parse().unwrap()),
        Some(RouterIndex(0))
    );
    assert!(
        !network
            .locate("240.16.4.9".parse().unwrap())
            .unwrap()
            .answers_probes
    );
    let names: Vec<&str> = network.parties().iter().map(|p| p.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "cloud",
            "dns",
            "chain",
            "eastlink.example",
            "nordlink.example",
            "clients"
        ]
    );
}

#[test]
fn flows_are_spread_over_equal_paths_and_stay_on_theirs() {
    let network = two_continents();
    let mut seen = BTreeSet::new();
    for flow in 0..64 {
        let first = route(&network, "240.0.0.10", "240.16.3.7", flow);
        assert_eq!(first, route(&network, "240.0.0.10", "240.16.3.7", flow));
        assert_eq!(network.route_delay(&first), Duration::from_millis(38));
        seen.insert(ids(&network, &first));
    }
    let path = |cable: &str| {
        ["iad", "nyc", cable, "lon", "par", "mad"]
            .map(str::to_owned)
            .to_vec()
    };
    assert_eq!(
        seen,
        BTreeSet::from([path("cable-north"), path("cable-south")])
    );
    let (cloud, clients) = (RouterIndex(0), RouterIndex(8));
    let possible: BTreeSet<_> = network
        .possible_paths(cloud, clients, 10)
        .iter()
        .map(|route| ids(&network, route))
        .collect();
    assert_eq!(possible, seen);
}

#[test]
fn the_way_back_can_be_another() {
    let network = two_continents();
    for flow in 0..64 {
        let back = route(&network, "240.16.3.7", "240.0.0.10", flow);
        let expected = ["mad", "par", "lon", "cable-north", "nyc", "iad"];
        assert_eq!(ids(&network, &back), expected);
    }
}

#[test]
fn a_path_to_itself_is_one_router() {
    let network = two_continents();
    let here = RouterIndex(3);
    let expected = Route {
        routers: vec![here],
        links: vec![],
    };
    assert_eq!(*network.path(here, here, 1), expected);
}

#[test]
fn another_seed_spreads_differently() {
    let text = include_str!("../../../../scenarios/two-continents.toml");
    let mut scenario = Scenario::parse("two-continents.toml", text).unwrap();
    let choices = |scenario: &Scenario| -> Vec<Vec<String>> {
        let network = Network::compile(scenario);
        (0..64)
            .map(|flow| ids(&network, &route(&network, "240.0.0.10", "240.16.3.7", flow)))
            .collect()
    };
    let first = choices(&scenario);
    assert_eq!(first, choices(&scenario));
    scenario.seed += 1;
    assert_ne!(first, choices(&scenario));
}

/// Routers in a random tree plus random further links; small costs, so that many paths are equal.
fn random_links() -> impl Strategy<Value = (usize, Vec<(RouterIndex, RouterIndex, u32)>)> {
    let tree = prop::collection::vec((any::<prop::sample::Index>(), 1..4u32, 1..4u32), 1..12);
    let more = prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            any::<prop::sample::Index>(),
            1..4u32,
        ),
        0..12,
    );
    (tree, more).prop_map(|(tree, more)| {
        let count = tree.len() + 1;
        let router = |i: usize| RouterIndex(u16::try_from(i).unwrap());
        let mut links = Vec::new();
        for (i, (parent, cost, back)) in (1..).zip(tree) {
            let parent = router(parent.index(i));
            links.push((router(i), parent, cost));
            links.push((parent, router(i), back));
        }
        for (from, to, cost) in more {
            let (from, to) = (router(from.index(count)), router(to.index(count)));
            if from != to {
                links.push((from, to, cost));
            }
        }
        (count, links)
    })
}

/// The least costs by Floyd and Warshall, which shares nothing with the code under test.
#[expect(clippy::needless_range_loop, reason = "the textbook's three indices")]
fn least_costs(count: usize, links: &[(RouterIndex, RouterIndex, u32)]) -> Vec<Vec<u32>> {
    let mut least = vec![vec![u32::MAX / 2; count]; count];
    for (i, row) in least.iter_mut().enumerate() {
        row[i] = 0;
    }
    for (from, to, cost) in links {
        let cell = &mut least[usize::from(from.0)][usize::from(to.0)];
        *cell = (*cell).min(*cost);
    }
    for middle in 0..count {
        for from in 0..count {
            for to in 0..count {
                let through = least[from][middle] + least[middle][to];
                least[from][to] = least[from][to].min(through);
            }
        }
    }
    least
}

proptest! {
    #[test]
    fn every_flow_takes_a_connected_path_of_least_cost((count, links) in random_links(), flow: u64) {
        let routing = Routing::new(1, count, &links, RouterIndex(0));
        let least = least_costs(count, &links);
        for from in 0..count {
            for to in 0..count {
                let index = |i: usize| RouterIndex(u16::try_from(i).unwrap());
                let route = routing.path(index(from), index(to), flow);
                prop_assert_eq!(route.routers[0], index(from));
                prop_assert_eq!(*route.routers.last().unwrap(), index(to));
                prop_assert_eq!(route.links.len() + 1, route.routers.len());
                let mut cost = 0;
                for (ends, link) in route.routers.windows(2).zip(&route.links) {
                    let (a, b, link_cost) = links[link.0 as usize];
                    prop_assert_eq!(ends, [a, b]);
                    cost += link_cost;
                }
                prop_assert_eq!(cost, least[from][to]);
                let possible = routing.possible_paths(index(from), index(to), 100_000);
                prop_assert!(possible.contains(&route));
            }
        }
    }

    #[test]
    fn paths_do_not_depend_on_the_hub((count, links) in random_links(), flow: u64) {
        let index = |i: usize| RouterIndex(u16::try_from(i).unwrap());
        let [one, other] = [0, count - 1].map(|hub| Routing::new(1, count, &links, index(hub)));
        for hub in [0, count - 1].map(index) {
            for to in (0..count).map(index) {
                prop_assert_eq!(one.path(hub, to, flow), other.path(hub, to, flow));
                prop_assert_eq!(one.possible_paths(hub, to, 1000), other.possible_paths(hub, to, 1000));
            }
        }
    }
}
