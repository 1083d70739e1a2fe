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
