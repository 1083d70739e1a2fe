//! `exec-edge explain`: what became of every record of a zone, and why.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
#[expect(dead_code, reason = "helpers of other tests")]
mod program;
#[path = "support/zone_server.rs"]
mod zone_server;

use std::time::Duration;

use program::{Answer, program, run};
use zone_server::ZoneServer;

const PATIENCE: Duration = Duration::from_secs(20);

const RECORDS: &str = "\
_edge._tcp 600 IN SRV 10 30 443 one.isp.example.
_edge._tcp 600 IN SRV 20 0 80 inside.isp.example.
_edge._tcp 600 IN SRV 30 0 0 zero.isp.example.
_edge._tcp 600 IN TXT \"v=1\" \"key=eip155:1337:0x00000000000000000000000000000000000000aa\"
_edge._tcp 600 IN PTR one._edge._tcp.isp.example.
_edge._tcp 600 IN PTR one._edge._tcp.other.example.
one._edge._tcp 600 IN SRV 0 0 443 one.isp.example.
one._edge._tcp 600 IN TXT \"v=1\" \"path=/exec/v1\" \"rt=oci\"
one 600 IN A 192.0.2.1
inside 600 IN A 127.0.0.1
";

fn explain(server: &ZoneServer, arguments: &[&str]) -> Answer {
    let resolver = server.address.to_string();
    let mut all = vec!["explain"];
    all.extend(arguments);
    all.extend(["--resolver", &resolver, "--allow", "192.0.2.0/24"]);
    run(&mut program(&all), PATIENCE)
}

#[test]
fn every_record_of_a_zone_has_its_verdict() {
    let server = ZoneServer::start(&[("isp.example", RECORDS)]);
    let told = explain(&server, &["zone", "isp.example"]);
    assert_eq!(
        (told.code, told.err.as_str()),
        (Some(0), ""),
        "{}",
        told.out
    );
    for line in [
        "zone isp.example, asked by you",
        "one.isp.example:443, priority 10, weight 30: yes",
        "at 192.0.2.1 (signatures not checked)",
        "inside.isp.example:80, priority 20, weight 0: no, none of the target's 1 addresses",
        "zero.isp.example:0, priority 30, weight 0: no, port 0",
        "one._edge._tcp.other.example: no, not an instance of this zone's service",
        "profile: path /exec/v1; unknown keys rt",
        "trust by DNS alone: unverified",
        "1 of 3 entry points to contact, 2 dropped",
    ] {
        assert!(told.out.contains(line), "{line:?} is not in\n{}", told.out);
    }
}

#[test]
fn a_zone_without_sites_says_so_and_ends_with_1() {
    let server = ZoneServer::start(&[("isp.example", "")]);
    let told = explain(&server, &["zone", "isp.example"]);
    assert_eq!(told.code, Some(1));
    assert!(
        told.out.contains("edge service (SRV): no such name"),
        "{}",
        told.out
    );
}

#[test]
fn the_account_is_json_too() {
    let server = ZoneServer::start(&[("isp.example", RECORDS)]);
    let told = explain(&server, &["zone", "isp.example", "--json"]);
    let object: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    let sites = &object["zones"][0]["service"]["records"]["sites"];
    assert_eq!(sites[0]["verdict"], "candidate");
    assert_eq!(sites[0]["candidate"]["addresses"][0], "192.0.2.1");
    assert_eq!(sites[2]["reason"], "port 0");
}

#[test]
fn wrong_input_names_the_remedy() {
    let wrong = run(&mut program(&["explain", "zone", "a b"]), PATIENCE);
    assert_eq!(wrong.code, Some(64));
    let wrong = run(
        &mut program(&["explain", "zone", "isp.example", "--resolver", "nobody"]),
        PATIENCE,
    );
    assert_eq!(wrong.code, Some(64));
    assert!(wrong.err.contains("ADDRESS:PORT"), "{}", wrong.err);
}
