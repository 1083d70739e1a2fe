//! `exec-edge discover`, with name servers and entry points in the test's process, and in a lab.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/iep.rs"]
mod iep;
#[path = "support/program.rs"]
mod program;
#[path = "support/zone_server.rs"]
mod zone_server;

use std::sync::Arc;
use std::time::Duration;

use edge_http::entry_tls::Identity;
use edge_types::{ChainAddress, IepId};
use edge_wire::services::ServiceListing;
use iep::{Iep, Recorder};
use program::{Answer, BINARY, program, run, scenario};
use serde_json::Value;
use zone_server::ZoneServer;

const PATIENCE: Duration = Duration::from_secs(30);
const PROVIDER: ChainAddress = ChainAddress([0xaa; 20]);

fn entry_point(listing: Option<Vec<ServiceListing>>) -> u16 {
    let site = IepId {
        host: "site.isp.example".parse().unwrap(),
        port: 0,
    };
    let iep = Iep {
        provider: PROVIDER,
        site,
        listing,
    };
    iep.start().port()
}

fn discover(server: &ZoneServer, arguments: &[&str]) -> Answer {
    let resolver = server.address.to_string();
    let mut all = vec![
        "discover",
        "--resolver",
        &resolver,
        "--allow",
        "127.0.0.0/8",
    ];
    all.extend(arguments);
    run(&mut program(&all), PATIENCE)
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.out).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[test]
fn a_discovery_only_run_sends_no_octet_to_a_site() {
    let recorder = Recorder::start();
    let port = recorder.address.port();
    let zone = format!("_edge._tcp 60 IN SRV 10 0 {port} site\nsite 60 IN A 127.0.0.1\n");
    let server = ZoneServer::start(&[("isp.example", &zone)]);
    let found = discover(&server, &["--zone", "isp.example", "--json"]);
    assert_eq!(found.code, Some(0), "{found:?}");
    let found = json(&found);
    assert_eq!(
        found["sites"][0]["site"],
        format!("site.isp.example:{port}")
    );
    assert!(
        found["sites"][0]["rtt_ms"].as_f64().unwrap() >= 0.0,
        "{found}"
    );
    assert_eq!(found["sites"][0]["services"], Value::Null);
    assert_eq!(recorder.seen(), (1, 0), "connections and octets");

    // The same recorder does see a greeting.
    let asked = discover(&server, &["--zone", "isp.example", "--services", "--json"]);
    assert!(json(&asked)["sites"][0]["problem"].is_string(), "{asked:?}");
    let (connections, octets) = recorder.seen();
    assert!(
        connections == 2 && octets > 0,
        "{connections} connections, {octets} octets"
    );
}

#[test]
fn services_are_told_on_request_unless_the_owner_says_no() {
    let view = ServiceListing {
        name: "pitch view".to_owned(),
        description: "The game from every seat".to_owned(),
        url: "http://site.isp.example/view".to_owned(),
    };
    let (open, closed) = (entry_point(Some(vec![view])), entry_point(None));
    let zone = format!(
        "_edge._tcp 60 IN SRV 10 0 {open} open\n_edge._tcp 60 IN SRV 10 0 {closed} closed\n\
         open 60 IN A 127.0.0.1\nclosed 60 IN A 127.0.0.1\n"
    );
    let server = ZoneServer::start(&[("isp.example", &zone)]);
    let found = discover(&server, &["--zone", "isp.example", "--services"]);
    assert_eq!(found.code, Some(0), "{found:?}");
    assert!(
        found.out.starts_with("   RTT  ENTRY POINT") || found.out.contains("RTT  ENTRY POINT"),
        "{}",
        found.out
    );
    assert!(
        found
            .out
            .contains("- pitch view  http://site.isp.example/view  The game from every seat"),
        "{}",
        found.out
    );
    assert!(
        found
            .out
            .contains("services not told: refused by policy: this site does not list its services"),
        "{}",
        found.out
    );
}

#[test]
fn services_are_asked_over_tls_where_it_is_announced_and_only_there_if_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name));
    let pair = rcgen::KeyPair::generate().unwrap();
    let named = rcgen::CertificateParams::new(vec!["site.isp.example".to_owned()]).unwrap();
    let named = named.self_signed(&pair).unwrap();
    std::fs::write(&certificate, named.pem()).unwrap();
    std::fs::write(&key, pair.serialize_pem()).unwrap();
    let secure = Iep {
        provider: PROVIDER,
        site: IepId {
            host: "site.isp.example".parse().unwrap(),
            port: 0,
        },
        listing: Some(Vec::new()),
    };
    let secure = secure.start_over(Some(Arc::new(
        Identity::read(certificate.clone(), key).unwrap(),
    )));
    let (secure, plain) = (secure.port(), entry_point(Some(Vec::new())));
    let zone = format!(
        "_edge._tcp 60 IN SRV 10 0 {secure} site\n_edge._tcp 60 IN SRV 10 0 {plain} plain\n\
         _edge._tcp 60 IN PTR one._edge._tcp\none._edge._tcp 60 IN SRV 10 0 {secure} site\n\
         one._edge._tcp 60 IN TXT \"v=1\" \"proto=https\"\n\
         site 60 IN A 127.0.0.1\nplain 60 IN A 127.0.0.1\n"
    );
    let server = ZoneServer::start(&[("isp.example", &zone)]);
    let authorities = certificate.to_str().unwrap();
    let wanted = ["--zone", "isp.example", "--services", "--json"];
    let ask = |more: &[&str]| json(&discover(&server, &[&wanted, more].concat()));
    let of = |found: &Value, name: &str| {
        let sites = found["sites"].as_array().unwrap().iter();
        let mut sites = sites.filter(|site| site["site"].as_str().unwrap().starts_with(name));
        sites.next().unwrap().clone()
    };

    let found = ask(&["--certificates", authorities]);
    assert_eq!(of(&found, "site")["proven_by"], "webpki", "{found}");
    let other = of(&found, "plain");
    assert!(
        other["proven_by"].is_null() && other["rtt_ms"].is_number(),
        "{found}"
    );

    let found = ask(&["--certificates", authorities, "--require-tls"]);
    assert_eq!(of(&found, "site")["proven_by"], "webpki", "{found}");
    let problem = of(&found, "plain")["problem"].clone();
    assert!(
        problem.as_str().unwrap().contains("refused by policy"),
        "{found}"
    );

    // The system's authorities do not know the certificate.
    let found = ask(&[]);
    let problem = of(&found, "site")["problem"].clone();
    assert!(
        problem.as_str().unwrap().contains("does not prove to be"),
        "{found}"
    );
}

#[test]
fn sites_that_share_an_address_share_its_one_connection() {
    let recorder = Recorder::start();
    let port = recorder.address.port();
    let zone = format!(
        "_edge._tcp 60 IN SRV 10 0 {port} a\n_edge._tcp 60 IN SRV 10 0 {port} b\n\
         a 60 IN A 127.0.0.1\nb 60 IN A 127.0.0.1\n"
    );
    let server = ZoneServer::start(&[("isp.example", &zone)]);
    let found = json(&discover(&server, &["--zone", "isp.example", "--json"]));
    let sites = found["sites"].as_array().unwrap();
    assert_eq!(sites.len(), 2);
    assert_eq!(sites[0]["rtt_ms"], sites[1]["rtt_ms"], "{found}");
    assert_eq!(recorder.seen(), (1, 0), "connections and octets");
}

#[test]
fn a_clients_own_domains_are_its_names_and_what_its_subnet_says_to_browse() {
    let zone = "_edge._tcp 60 IN SRV 10 0 9 site\nsite 60 IN A 127.0.0.1\n";
    let server = ZoneServer::start(&[
        ("isp.example", zone),
        ("stadium.example", zone),
        (
            "7.9.127.in-addr.arpa",
            "5 60 IN PTR host-5.cust.isp.example.\nb._dns-sd._udp.0 60 IN PTR stadium.example.\n",
        ),
    ]);
    let found = discover(&server, &["--here", "--address", "127.9.7.5", "--json"]);
    let found = json(&found);
    let told: Vec<_> = found["sites"]
        .as_array()
        .unwrap()
        .iter()
        .map(|site| {
            (
                site["site"].as_str().unwrap(),
                site["found_by"][0].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("site.isp.example:9", "name of 127.9.7.5"),
            (
                "site.stadium.example:9",
                "browsing domain of 0.7.9.127.in-addr.arpa"
            ),
        ],
        "{found}"
    );
}

#[test]
fn what_is_left_out_is_told_with_its_reason_and_what_is_found_with_its_trust() {
    let zone = "_edge._tcp 60 IN SRV 10 0 9 site\n_edge._tcp 60 IN SRV 10 0 9 inside\n_edge._tcp 60 IN SRV 10 0 0 port\n\
                site 60 IN A 127.0.0.1\ninside 60 IN A 10.0.0.1\nport 60 IN A 127.0.0.1\n";
    let parking = "*._tcp 60 IN SRV 10 0 9 site\nsite 60 IN A 127.0.0.1\n";
    let server = ZoneServer::start(&[("isp.example", zone), ("parking.example", parking)]);
    let asked = ["--zone", "isp.example", "--zone", "parking.example"];
    let found = discover(&server, &asked);
    for line in [
        "not used, 3 in all:",
        "inside.isp.example:9 (isp.example): none of the target's 1 addresses may be contacted (10.0.0.1 is private and not allowed by prefix)",
        "port.isp.example:0 (isp.example): port 0",
        "site.parking.example:9 (parking.example): a wildcard answers for every service",
    ] {
        assert!(found.out.contains(line), "{line}: {}", found.out);
    }
    assert!(found.out.contains("unverified"), "{}", found.out);
    let found = json(&discover(&server, &[&asked[..], &["--json"]].concat()));
    let mut reasons: Vec<&str> = found["dropped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|dropped| dropped["reason"].as_str().unwrap())
        .collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["no_allowed_address", "port_zero", "wildcard"]);
    let trust = &found["sites"][0]["trust"];
    assert_eq!(trust["tier"], "unverified");
    assert_eq!(trust["objection"], Value::Null);
}

#[test]
fn an_address_without_a_name_leads_to_its_holders_sites_which_one_network_speaks_for() {
    let zone = "_edge._tcp 60 IN SRV 10 0 9 site\nsite 60 IN A 127.9.0.1\n";
    let server = ZoneServer::start(&[("isp.example", zone), ("7.9.127.in-addr.arpa", "")]);
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    std::fs::write(&table, "127.9.0.0/16 64500 isp.example Example ISP\n").unwrap();
    let here = ["--here", "--address", "127.9.7.5", "--json"];
    let without = json(&discover(&server, &here));
    assert_eq!(without["sites"], Value::Array(Vec::new()), "{without}");
    let origins = ["--origins", table.to_str().unwrap()];
    let found = json(&discover(&server, &[&here[..], &origins].concat()));
    let site = &found["sites"][0];
    assert_eq!(site["found_by"][0], "holder of 127.9.7.5", "{found}");
    assert_eq!(site["trust"]["tier"], "measured");
    assert_eq!(
        site["trust"]["signs"][0],
        "AS64500 announces it and router 127.9.7.5"
    );
}

#[test]
fn the_sites_of_a_signed_feed_are_found_and_one_that_may_not_be_contacted_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let command = |arguments: &[&str]| run(&mut program(arguments), PATIENCE);
    let account = command(&["chain", "key", &path("key")]).out;
    let list = r#"{"version":1,"sites":[
        {"entry_point":{"host":"home.crowd.example","port":9},"addresses":["127.0.0.1"]},
        {"entry_point":{"host":"inside.crowd.example","port":9},"addresses":["10.0.0.1"]}]}"#;
    std::fs::write(path("list"), list).unwrap();
    let feed = command(&["aggregator", "sign", "--key", &path("key"), &path("list")]).out;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "http://edges.example:{}/feed",
        listener.local_addr().unwrap().port()
    );
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 2048];
            let _read = std::io::Read::read(&mut stream, &mut request);
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{feed}",
                feed.len()
            );
            let _written = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
    let server = ZoneServer::start(&[("edges.example", "@ 60 IN A 127.0.0.1\n")]);
    let account = account.trim();
    let refused = discover(&server, &["--feed", &url, account]);
    assert_eq!(refused.code, Some(64), "{refused:?}");
    assert!(refused.err.contains("--plain-http"), "{}", refused.err);
    let asked = ["--feed", &url, account, "--plain-http", "--json"];
    let found = json(&discover(&server, &asked));
    let site = &found["sites"][0];
    assert_eq!(site["site"], "home.crowd.example:9", "{found}");
    let origin = format!("the feed of {account}");
    assert_eq!(
        (&site["origin"], &site["found_by"][0]),
        (&origin.clone().into(), &origin.into())
    );
    let problem = found["problems"][0].as_str().unwrap();
    assert!(problem.contains("inside.crowd.example:9"), "{problem}");
    // Lines that another signed count for nothing.
    let other = [
        "--feed",
        &url,
        "0x00000000000000000000000000000000000000bb",
        "--plain-http",
        "--json",
    ];
    let found = json(&discover(&server, &other));
    assert_eq!(found["sites"], Value::Array(Vec::new()), "{found}");
}

#[test]
fn finding_nothing_tells_where_was_looked() {
    let server = ZoneServer::start(&[("isp.example", "")]);
    let found = discover(&server, &["--zone", "isp.example"]);
    assert_eq!(found.code, Some(1));
    assert_eq!(found.out, "no edge provider found\n");
    assert_eq!(
        found.err,
        "looked in\n  isp.example (asked for): no such name\n"
    );
    let refused = discover(
        &server,
        &["--zone", "isp.example", "--address", "127.0.0.1"],
    );
    assert_eq!(refused.code, Some(64));
}

#[test]
fn netns_clients_and_clouds_find_the_sites_of_a_lab() {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), "two-continents.toml", |text| text);
    let discover = |at: &str, arguments: &[&str]| {
        let mut command = program(&["lab", "run"]);
        command
            .arg(&file)
            .args(["--at", at, "--", BINARY, "discover"]);
        command.args([
            "--resolver",
            "240.0.0.53",
            "--allow",
            "240.0.0.0/4",
            "--allow",
            "3fff::/20",
            "--json",
        ]);
        let answer = run(command.args(arguments), PATIENCE);
        let found = json(&answer);
        let sites = found["sites"].as_array().unwrap().iter();
        sites
            .map(|site| {
                (
                    site["site"].as_str().unwrap().to_owned(),
                    site["found_by"][0].as_str().unwrap().to_owned(),
                )
            })
            .collect::<Vec<_>>()
    };
    let here = discover("clients", &["--here", "--address", "240.16.2.10"]);
    assert!(!here.is_empty(), "the client's own operator has a site");
    for (site, led_by) in &here {
        assert!(site.contains(".nordlink.example:"), "{site}");
        assert_eq!(led_by, "name of 240.16.2.10");
    }
    let on_path = discover("cloud", &["--path-to", "240.16.2.10"]);
    let has = |operator: &str| on_path.iter().any(|(site, _)| site.contains(operator));
    assert!(
        has(".eastlink.example:") && has(".nordlink.example:"),
        "{on_path:?}"
    );
    assert!(
        on_path
            .iter()
            .all(|(_, led_by)| led_by.starts_with("router ")),
        "{on_path:?}"
    );
}
