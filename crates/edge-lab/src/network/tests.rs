use std::collections::BTreeSet;

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
