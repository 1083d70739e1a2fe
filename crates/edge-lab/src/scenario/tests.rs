use super::*;

const SMALL: &str = r#"format = 1
name = "small"
seed = 1
cloud = { router = "a", addresses = ["240.0.0.10"], host = "app.cloud.example" }
dns = { router = "a", addresses = ["240.0.0.53"] }
chain = { router = "a", addresses = ["240.0.0.80"] }
routers = [
  { id = "a", addresses = ["240.1.0.1"] },
  { id = "b", addresses = ["240.1.1.1"], name = "b.isp.example", zone = "isp.example" },
]
links = [
  { a = "a", b = "b", delay_ms = 10 },
]
clients = [
  { prefix = "240.16.0.0/24", router = "b" },
  { prefix = "240.17.0.0/24", router = "b" },
]
[[providers]]
domain = "isp.example"
sites = [
  { host = "edge1.isp.example", router = "b", addresses = ["240.32.0.1"], price_wei_per_second = "5" },
]
"#;

#[test]
fn what_is_written_is_read_again() {
    let text = include_str!("../../../../scenarios/two-continents.toml");
    let scenario = Scenario::parse("two-continents.toml", text).unwrap();
    let written = toml::to_string(&scenario).unwrap();
    assert_eq!(Scenario::parse("written", &written).unwrap(), scenario);
}

/// Each row: what to replace in [`SMALL`], by what, and the whole error.
#[test]
fn every_mistake_is_named_with_its_remedy() {
    Scenario::parse("s.toml", SMALL).unwrap();
    for (from, to, expected) in [
        (
            "format = 1",
            "format = 2",
            "s.toml: format: format 2 is not known; write format = 1",
        ),
        (
            "delay_ms = 10",
            "delay_ms = 10, colour = 3",
            "s.toml:12: unknown field `colour`, expected one of `a`, `b`, `delay_ms`, `reverse_delay_ms`, \
             `jitter_ms`, `loss`, `bandwidth_mbps`, `cost`, `reverse_cost`; correct this line",
        ),
        (
            "b = \"b\", delay_ms",
            "b = \"a\", delay_ms",
            "s.toml: links[0].b: a cycle: a is linked to itself; remove the link or name another router",
        ),
        (
            "delay_ms = 10",
            "delay_ms = 10, cost = 0",
            "s.toml: links[0].cost: cost 0 allows packets to travel in a cycle; give a cost of at least 1",
        ),
        (
            "b = \"b\", delay_ms",
            "b = \"c\", delay_ms",
            "s.toml: links[0].b: no router \"c\"; add it to routers or correct the name",
        ),
        (
            "  { a = \"a\", b = \"b\", delay_ms = 10 },\n",
            "",
            "s.toml: links: router \"b\" has no way to the cloud; add a link",
        ),
        (
            "delay_ms = 10 },",
            "delay_ms = 10 }, { a = \"b\", b = \"a\", delay_ms = 1 },",
            "s.toml: links[1]: b and a are linked twice; remove one link or put a router in between",
        ),
        (
            "240.17.0.0/24",
            "240.16.0.0/20",
            "s.toml: clients[0].prefix: 240.16.0.0/24 overlaps 240.16.0.0/20; give networks that share no address",
        ),
        (
            "240.17.0.0/24",
            "240.32.0.0/24",
            "s.toml: clients[1].prefix: 240.32.0.0/24 overlaps 240.32.0.1 of providers[0].sites[0]; give networks \
             that share no address",
        ),
        (
            "240.17.0.0/24",
            "240.17.0.1/24",
            "s.toml: clients[1].prefix: 240.17.0.1/24 is not a client network; give the network's first address \
             and /16 to /32 (IPv6: /32 to /64)",
        ),
        (
            "240.17.0.0/24",
            "10.17.0.0/24",
            "s.toml: clients[1].prefix: 10.17.0.0/24 is outside the lab's ranges; use 240.0.0.0/4 or 3fff::/20",
        ),
        (
            "240.17.0.0/24",
            "3fff:17::/48",
            "s.toml: clients[1].prefix: the cloud has no IPv6 address, so nothing here can reach it; add one to \
             cloud.addresses",
        ),
        (
            "240.1.1.1",
            "240.1.0.1",
            "s.toml: routers[1].addresses: 240.1.0.1 is used twice, also by router a; give each its own",
        ),
        (
            "240.0.0.53",
            "192.0.2.53",
            "s.toml: dns.addresses: 192.0.2.53 is outside the lab's ranges; use 240.0.0.0/4 or 3fff::/20",
        ),
        (
            "id = \"b\"",
            "id = \"a\"",
            "s.toml: routers[1].id: \"a\" is used twice; rename one",
        ),
        (
            ", zone = \"isp.example\"",
            "",
            "s.toml: routers[1].name: name and zone belong together; give both or none",
        ),
        (
            "zone = \"isp.example\"",
            "zone = \"other.example\"",
            "s.toml: routers[1].name: b.isp.example is not within other.example; use a name that ends in \
             .other.example",
        ),
        (
            "delay_ms = 10",
            "delay_ms = -1",
            "s.toml: links[0].delay_ms: -1 is out of range; give a number from 0 to 10000",
        ),
        (
            "delay_ms = 10",
            "delay_ms = nan",
            "s.toml: links[0].delay_ms: NaN is out of range; give a number from 0 to 10000",
        ),
        (
            "price_wei_per_second = \"5\"",
            "price_wei_per_second = \"-5\"",
            "s.toml:21: \"-5\": invalid digit found in string; correct this line",
        ),
        (
            "domain = \"isp.example\"",
            "domain = \"isp example\"",
            "s.toml:19: \"isp example\": character ' ' is not allowed in a name; correct this line",
        ),
        (
            "240.1.0.1\"]",
            "240.1.0.1\"], quote = 9",
            "s.toml:8: invalid value: integer `9`, expected 8, 28 or \"full\"; correct this line",
        ),
    ] {
        assert!(SMALL.contains(from), "{from}");
        let text = SMALL.replacen(from, to, 1);
        let error = Scenario::parse("s.toml", &text).unwrap_err().to_string();
        assert_eq!(error, expected);
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Scenario::load(Path::new("/nonexistent/x.toml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/nonexistent/x.toml: cannot read the scenario; give the path of a readable TOML file"
    );
}
