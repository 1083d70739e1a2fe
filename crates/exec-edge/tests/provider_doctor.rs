//! `exec-edge provider doctor`: every fault that it is for, each told with its remedy.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/iep.rs"]
#[expect(dead_code, reason = "helpers of other tests")]
mod iep;
#[path = "support/program.rs"]
#[expect(dead_code, reason = "helpers of other tests")]
mod program;
#[path = "support/zone_server.rs"]
mod zone_server;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edge_http::entry_tls::Identity;
use edge_types::{ChainAddress, IepId};
use iep::Iep;
use program::{program, run};
use serde_json::Value;
use zone_server::ZoneServer;

const PATIENCE: Duration = Duration::from_secs(30);
const ACCOUNT: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn iep() -> Iep {
    Iep {
        provider: ChainAddress([0xaa; 20]),
        site: IepId {
            host: "site.isp.example".parse().unwrap(),
            port: 0,
        },
        listing: None,
    }
}

fn entry_point() -> u16 {
    iep().start().port()
}

/// Checks that are not ok, by name, and the exit code.
fn examine(records: &str, more: &[&str]) -> (Vec<(String, String)>, Option<i32>, Value) {
    let server = ZoneServer::start(&[("isp.example", records)]);
    let resolver = server.address.to_string();
    let mut arguments = vec![
        "provider",
        "doctor",
        "isp.example",
        "--json",
        "--resolver",
        &resolver,
    ];
    arguments.extend(["--allow", "127.0.0.0/8"]);
    arguments.extend(more);
    let answer = run(&mut program(&arguments), PATIENCE);
    let report: Value =
        serde_json::from_str(&answer.out).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    let checks = report["checks"].as_array().unwrap();
    let bad = checks.iter().filter(|check| check["verdict"] != "ok");
    let bad: Vec<_> = bad
        .map(|check| {
            assert!(
                check["remedy"]
                    .as_str()
                    .is_some_and(|remedy| !remedy.is_empty()),
                "{check}"
            );
            (
                check["verdict"].as_str().unwrap().to_owned(),
                check["check"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    (bad, answer.code, report)
}

fn problems(bad: &[(String, String)]) -> Vec<&str> {
    let problems = bad.iter().filter(|(verdict, _)| verdict == "problem");
    problems.map(|(_, check)| check.as_str()).collect()
}

fn good(port: u16) -> String {
    format!(
        "_edge._tcp 60 IN SRV 10 0 {port} site\n_edge._tcp 60 IN TXT \"v=1 key=eip155:1337:{ACCOUNT}\"\nsite 60 IN A 127.0.0.1\n"
    )
}

#[test]
fn a_good_provider_has_no_problem_but_an_unsigned_zone_and_no_tls() {
    let (bad, code, report) = examine(&good(entry_point()), &["--account", ACCOUNT]);
    assert_eq!(
        bad,
        ["signed", "tls"].map(|check| ("warning".to_owned(), check.to_owned())),
        "{report}"
    );
    assert_eq!(code, Some(0));
}

#[test]
fn each_fault_is_told() {
    let port = entry_point();
    let good = good(port);
    let other = "0xbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for (records, expected) in [
        (String::new(), &["entry points"][..]),
        (
            good.replace("_edge._tcp", "*._tcp"),
            &["wildcard", "usable"],
        ),
        (
            good.replace("127.0.0.1", "10.0.0.1"),
            &["address", "usable"],
        ),
        (good.replace(ACCOUNT, other), &["key"]),
        (good.replace("eip155:1337", "eip155:1"), &["chain"]),
        (good.replace("eip155:1337", "eip155:x"), &["key record"]),
        (
            good.replace(&port.to_string(), &nobody.to_string()),
            &["greeting"],
        ),
        (good.replace("site", "place"), &["site"]),
        (good.replace("site 60 IN A", "else 60 IN A"), &["usable"]),
    ] {
        let (bad, code, report) = examine(&records, &[]);
        assert_eq!(problems(&bad), expected, "{records}{report:#}");
        assert_eq!(code, Some(1));
    }
    let (bad, ..) = examine(&good, &["--account", other]);
    assert_eq!(problems(&bad), ["expected key", "expected key"]);
}

#[test]
fn over_tls_the_certificate_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(vec!["site.isp.example".to_owned()]).unwrap();
        let own = own.self_signed(&key).unwrap().pem();
        (
            write(&format!("{name}.pem"), own),
            write(&format!("{name}.key"), key.serialize_pem()),
        )
    };
    let (certificate, key) = issue("shown");
    let (other, _) = issue("other");
    let identity = Identity::read(certificate.clone(), key).unwrap();
    let port = iep().start_over(Some(Arc::new(identity))).port();
    let instance = |port: u16| {
        format!(
            "{}_edge._tcp 60 IN PTR one._edge._tcp\none._edge._tcp 60 IN SRV 10 0 {port} site\n\
             one._edge._tcp 60 IN TXT \"v=1\" \"proto=https\"\n",
            good(port)
        )
    };
    let judge = |port: u16, authorities: &Path| {
        let authorities = ["--certificates", authorities.to_str().unwrap()];
        let (bad, code, report) = examine(&instance(port), &authorities);
        let problems = problems(&bad).into_iter().map(str::to_owned);
        (problems.collect::<Vec<_>>(), code, report)
    };
    let (problems, code, report) = judge(port, &certificate);
    assert!(problems.is_empty() && code == Some(0), "{report:#}");
    let checks = report["checks"].as_array().unwrap();
    let tls = checks.iter().find(|check| check["check"] == "tls").unwrap();
    assert_eq!(tls["verdict"], "ok");
    assert!(tls.to_string().contains("certificate authority"), "{tls}");
    // Another authority; a server without TLS; authorities that cannot be read.
    assert_eq!(judge(port, &other).0, ["tls"]);
    assert_eq!(judge(entry_point(), &certificate).0, ["tls"]);
    let server = ZoneServer::start(&[("isp.example", &good(port))]);
    let resolver = server.address.to_string();
    let arguments = ["provider", "doctor", "isp.example", "--resolver", &resolver];
    let mut command = program(&arguments);
    let refused = run(command.args(["--certificates", "/nowhere"]), PATIENCE);
    assert_eq!(refused.code, Some(64), "{refused:?}");
}

#[test]
fn what_the_configuration_has_and_the_zone_has_not_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let port = entry_point();
    let template = edge_provider::config::TEMPLATE;
    let config = directory.path().join("provider.toml");
    let expect = [
        "--account",
        ACCOUNT,
        "--expect-config",
        config.to_str().unwrap(),
    ];
    fs::write(&config, template).unwrap();
    let (bad, ..) = examine(&good(port), &expect);
    assert_eq!(problems(&bad), ["expected site"]);

    let same = template
        .replace("edge.isp.example\"", "site.isp.example\"")
        .replace("port = 80", &format!("port = {port}"))
        .replace("192.0.2.1", "127.0.0.1");
    fs::write(&config, same).unwrap();
    let (bad, code, report) = examine(&good(port), &expect);
    assert_eq!(problems(&bad), Vec::<&str>::new(), "{report:#}");
    assert_eq!(code, Some(0));
}

#[test]
fn people_get_a_line_for_each_check() {
    let server = ZoneServer::start(&[("isp.example", &good(entry_point()))]);
    let resolver = server.address.to_string();
    let answer = run(
        &mut program(&[
            "provider",
            "doctor",
            "isp.example",
            "--resolver",
            &resolver,
            "--allow",
            "127.0.0.0/8",
        ]),
        PATIENCE,
    );
    assert!(
        answer
            .out
            .starts_with("isp.example\n  ok       entry points  site.isp.example:"),
        "{}",
        answer.out
    );
    assert!(
        answer
            .out
            .contains("  warning  signed        it is not known whether"),
        "{}",
        answer.out
    );
    assert!(
        answer
            .out
            .ends_with("isp.example: no problems, 2 warnings\n"),
        "{}",
        answer.out
    );
}

#[test]
fn zones_in_unicode_and_other_services_are_looked_at() {
    let records = good(entry_point()).replace("_edge._tcp", "_fog._tcp");
    let server = ZoneServer::start(&[("xn--bcher-kva.example", &records)]);
    let resolver = server.address.to_string();
    let examine = |more: &[&str]| {
        let arguments = ["provider", "doctor", "b\u{fc}cher.example"];
        let mut command = program(&arguments);
        command.args(["--resolver", &resolver, "--allow", "127.0.0.0/8"]);
        run(command.args(more), PATIENCE)
    };
    let answer = examine(&["--service", "_fog._tcp"]);
    let last = "xn--bcher-kva.example (b\u{fc}cher.example): ";
    assert!(answer.out.contains(last), "{answer:?}");
    assert!(answer.out.contains("greeting"), "{answer:?}");
    let usual = examine(&[]);
    assert!(
        usual.out.contains("_edge._tcp.xn--bcher-kva.example SRV"),
        "{usual:?}"
    );
    assert_eq!(examine(&["--service", "fog"]).code, Some(64));
}
