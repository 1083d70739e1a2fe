use super::*;

fn with_truth<T>(text: &str, check: impl FnOnce(Truth<'_>) -> T) -> T {
    let scenario = Scenario::parse("scenario.toml", text).unwrap();
    let network = Network::compile(&scenario);
    check(Truth::new(&scenario, &network))
}

fn two_continents<T>(check: impl FnOnce(Truth<'_>) -> T) -> T {
    with_truth(
        include_str!("../../../../scenarios/two-continents.toml"),
        check,
    )
}

fn iep(host: &str) -> IepId {
    IepId {
        host: host.parse().unwrap(),
        port: 80,
    }
}

#[test]
fn paths_name_silent_routers_without_an_address() {
    two_continents(|truth| {
        let path = |cable: &str, cable_address: &str| -> Vec<TrueHop> {
            [
                ("iad", Some("240.1.0.1")),
                ("nyc", Some("240.1.1.1")),
                (cable, Some(cable_address)),
                ("lon", Some("240.1.6.1")),
                ("par", None),
                ("mad", Some("240.1.8.1")),
            ]
            .map(|(router, address)| TrueHop {
                router: router.to_owned(),
                address: address.map(|text| text.parse().unwrap()),
            })
            .to_vec()
        };
        assert_eq!(
            truth.forward_paths("240.16.3.10".parse().unwrap()),
            BTreeSet::from([
                path("cable-north", "240.1.4.1"),
                path("cable-south", "240.1.5.1")
            ])
        );
    });
}

#[test]
fn round_trips_add_up_both_ways() {
    two_continents(|truth| {
        let rtt = |from: &str, to: &str| {
            let rtt = truth.rtt(from.parse().unwrap(), to.parse().unwrap());
            rtt.map(|rtt| rtt.as_micros())
        };
        // 0.2 + 2 + 28 + 2 + 6 + 3 there, the same back
        assert_eq!(rtt("240.0.0.10", "240.16.3.10"), Some(82_400));
        assert_eq!(rtt("240.16.2.10", "240.32.1.1"), Some(800));
        assert_eq!(rtt("240.16.2.10", "240.99.1.1"), None);
    });
}

#[test]
fn only_zones_of_answering_routers_on_the_way_count() {
    two_continents(|truth| {
        let with = |prefixes: &[&str]| {
            truth.true_ieps(&prefixes.iter().map(|text| text.parse().unwrap()).collect())
        };
        let american = iep("edge1.eastlink.example");
        let european = [iep("edge1.nordlink.example"), iep("edge2.nordlink.example")];
        assert_eq!(
            with(&[]),
            TrueIeps {
                discoverable: BTreeSet::new(),
                undiscoverable: european.iter().cloned().chain([american.clone()]).collect(),
            }
        );
        assert_eq!(
            with(&["240.16.0.0/24"]),
            TrueIeps {
                discoverable: BTreeSet::from([american.clone()]),
                undiscoverable: BTreeSet::from(european.clone()),
            }
        );
        assert_eq!(
            with(&["240.16.3.0/24"]).discoverable,
            european.into_iter().chain([american]).collect()
        );
    });
}

#[test]
fn an_unlisted_zone_is_undiscoverable() {
    let text = include_str!("../../../../scenarios/two-continents.toml").replace(
        "domain = \"nordlink.example\"\n",
        "domain = \"nordlink.example\"\nlisted = false\n",
    );
    with_truth(&text, |truth| {
        let ieps = truth.true_ieps(&BTreeSet::from(["240.16.3.0/24".parse().unwrap()]));
        assert_eq!(
            ieps.discoverable,
            BTreeSet::from([iep("edge1.eastlink.example")])
        );
        assert_eq!(ieps.undiscoverable.len(), 2);
    });
}

#[test]
fn the_document_lists_everything() {
    two_continents(|truth| {
        let json = truth.to_json(None);
        let count = |field: &str| json[field].as_array().map(Vec::len);
        assert_eq!(count("routers"), Some(10));
        assert_eq!(count("links"), Some(2 * (10 + 3 + 6 + 3)));
        assert_eq!(count("prefixes"), Some(6));
        assert_eq!(
            json["ieps"][2],
            json!({
                "zone": "nordlink.example", "listed": true, "host": "edge2.nordlink.example", "port": 80,
                "addresses": ["240.32.2.1", "3fff:32:2::1"], "router": "mad", "rtt_ms": 76.8,
            })
        );
        assert_eq!(json["prefixes"][4]["rtt_ms"], json!(60.8));
        assert_eq!(json["prefixes"][5]["target"], json!("3fff:16:5::a"));
    });
}

#[test]
fn a_flow_takes_one_of_the_possible_paths_and_flows_differ() {
    two_continents(|truth| {
        let target = "240.16.3.10".parse().unwrap();
        let path = |port: u16| {
            let flow: Flow = format!("udp:{port}:33434").parse().unwrap();
            truth.flow_path(flow, target).unwrap()
        };
        let taken: BTreeSet<_> = (40_000..40_064).map(path).collect();
        assert_eq!(taken, truth.forward_paths(target));
        assert_eq!(path(40_000), path(40_000));
        let json = truth.to_json(Some("udp:40000:33434".parse().unwrap()));
        let prefixes = json["prefixes"].as_array().unwrap();
        let here = prefixes
            .iter()
            .find(|prefix| prefix["target"] == "240.16.3.10");
        let hops = here.unwrap()["path"].as_array().unwrap();
        assert_eq!(hops.len(), path(40_000).len());
        assert_eq!(hops[4]["address"], Value::Null);
    });
}
