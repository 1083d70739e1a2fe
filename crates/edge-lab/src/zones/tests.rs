use super::*;

fn records(name: &str) -> Vec<RecordData> {
    let text = include_str!("../../../../scenarios/two-continents.toml");
    let scenario = Scenario::parse("two-continents.toml", text).unwrap();
    let keys = BTreeMap::from([(
        "nordlink.example".parse().unwrap(),
        ChainAddress([0xab; 20]),
    )]);
    let zones = Zones::build(&scenario, ChainId(1337), &keys);
    let json = serde_json::to_string(&zones).unwrap();
    assert_eq!(serde_json::from_str::<Zones>(&json).unwrap(), zones);
    let all = zones.zones.into_iter().flat_map(|zone| zone.records);
    all.filter(|record| record.name == name)
        .map(|record| record.data)
        .collect()
}

fn ptr(target: &str) -> Vec<RecordData> {
    vec![RecordData::Ptr(target.to_owned())]
}

#[test]
fn reverse_names_follow_the_rfcs() {
    assert_eq!(
        reverse_name("240.1.9.1".parse().unwrap()),
        "1.9.1.240.in-addr.arpa"
    );
    assert_eq!(
        reverse_name("3fff:1:9::1".parse().unwrap()),
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.0.0.0.1.0.0.0.f.f.f.3.ip6.arpa"
    );
}

#[test]
fn wildcards_cover_whole_client_networks() {
    let owners = |prefix: &str| reverse_owners(prefix.parse().unwrap());
    assert_eq!(owners("240.16.2.0/24"), ["*.2.16.240.in-addr.arpa"]);
    assert_eq!(
        owners("240.16.2.0/23"),
        ["*.2.16.240.in-addr.arpa", "*.3.16.240.in-addr.arpa"]
    );
    assert_eq!(owners("240.16.2.7/32"), ["7.2.16.240.in-addr.arpa"]);
    assert_eq!(owners("240.16.0.0/16"), ["*.16.240.in-addr.arpa"]);
    assert_eq!(owners("3fff:16::/32"), ["*.6.1.0.0.f.f.f.3.ip6.arpa"]);
}

#[test]
fn routers_clients_and_sites_have_ptr_records_where_the_scenario_says_so() {
    assert_eq!(
        records("1.9.1.240.in-addr.arpa"),
        ptr("core1.fra.nordlink.example")
    );
    assert_eq!(records("1.3.1.240.in-addr.arpa"), []); // sfo
    assert_eq!(
        records("*.2.16.240.in-addr.arpa"),
        ptr("customer.home.nordlink.example")
    );
    assert_eq!(
        records("1.2.32.240.in-addr.arpa"),
        ptr("edge2.nordlink.example")
    );
}

#[test]
fn providers_list_their_sites_and_key() {
    let srv = |priority, target: &str| RecordData::Srv {
        priority,
        weight: 10,
        port: 80,
        target: target.to_owned(),
    };
    let key = format!("v=1 key=eip155:1337:0x{}", "ab".repeat(20));
    assert_eq!(
        records("_edge._tcp.nordlink.example"),
        [
            srv(10, "edge1.nordlink.example"),
            srv(20, "edge2.nordlink.example"),
            RecordData::Txt(vec![key])
        ]
    );
    assert_eq!(
        records("_edge._tcp.eastlink.example"),
        [srv(10, "edge1.eastlink.example")]
    );
    assert_eq!(
        records("edge1.nordlink.example"),
        ["240.32.1.1", "3fff:32:1::1"].map(|address| RecordData::Address(address.parse().unwrap()))
    );
}
