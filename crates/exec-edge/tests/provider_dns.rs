//! `exec-edge provider dns-records`: what it prints is what servers load and discovery finds.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
#[expect(dead_code, reason = "helpers of other tests")]
mod program;
#[path = "support/zone_server.rs"]
mod zone_server;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use edge_discovery::{Discovery, DiscoveryConfig, IepCandidate, Limits};
use edge_ports::{Clock as _, SystemClock};
use edge_provider::config::TEMPLATE;
use edge_resolver::{Resolver, ResolverConfig, drive};
use edge_types::{AddressPolicy, ChainId};
use program::{Answer, program, run};
use zone_server::{APEX, ZoneServer};

const ACCOUNT: &str = "0x00000000000000000000000000000000000000aa";
const PATIENCE: Duration = Duration::from_secs(20);

/// The template, with a second site.
fn config(directory: &Path) -> PathBuf {
    let second = "[[site]]\nhost = \"edge2.isp.example\"\nport = 8080\nlisten = \"[2001:db8::2]:8080\"\n\
                  service_address = \"2001:db8::2\"\nservice_ports = [20000, 20099]\nmilli_cpu = 1\n\
                  memory_mib = 1\npids = 1\nprice_per_second_wei = \"1\"\n";
    let file = directory.join("provider.toml");
    fs::write(&file, format!("{TEMPLATE}\n{second}")).unwrap();
    file
}

fn dns_records(config: &Path, more: &[&str]) -> Answer {
    let config = config.to_str().unwrap();
    let mut arguments = vec!["provider", "dns-records", "--config", config];
    arguments.extend(more);
    run(&mut program(&arguments), PATIENCE)
}

fn discover(server: &ZoneServer, zone: &str) -> Vec<IepCandidate> {
    let policy = AddressPolicy::new(vec![
        "192.0.2.0/24".parse().unwrap(),
        "2001:db8::/32".parse().unwrap(),
    ]);
    let limits = Limits {
        run_time: PATIENCE,
        ..Limits::default()
    };
    let config = DiscoveryConfig::new(DiscoveryConfig::SERVICE, "t0ken", policy, limits).unwrap();
    let mut discovery = Discovery::new(config);
    let clock = SystemClock::start();
    let resolver = Resolver::new(ResolverConfig {
        first_timeout: Duration::from_secs(2),
        ..ResolverConfig::new(vec![server.address])
    })
    .unwrap();
    discovery.start_run(clock.monotonic());
    discovery.observe_zone(zone.parse().unwrap(), clock.monotonic());
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let parallelism = NonZeroUsize::new(64).unwrap();
    executor.block_on(drive(
        &mut discovery,
        &resolver,
        &clock,
        parallelism,
        |_| {},
    ));
    discovery.candidates()
}

#[test]
fn printed_records_are_found_as_candidates_with_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let printed = dns_records(&config(directory.path()), &["--account", ACCOUNT]);
    assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
    let server = ZoneServer::start(&[("isp.example", &printed.out)]);
    let found = discover(&server, "isp.example");
    let sites: Vec<_> = found
        .iter()
        .map(|found| (found.id.to_string(), found.addresses.clone()))
        .collect();
    assert_eq!(
        sites,
        [
            (
                "edge.isp.example:80".to_owned(),
                vec!["192.0.2.1".parse().unwrap()]
            ),
            (
                "edge2.isp.example:8080".to_owned(),
                vec!["2001:db8::2".parse().unwrap()]
            ),
        ]
    );
    for found in found {
        let key = found.key.unwrap();
        assert_eq!(
            (key.address, key.chain),
            (ACCOUNT.parse().unwrap(), ChainId(1337))
        );
    }
}

#[test]
fn in_an_aggregators_zone_the_key_stands_at_the_host() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--account", ACCOUNT, "--zone", "edges.example"];
    let printed = dns_records(&config(directory.path()), &arguments);
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    let (of_hosts, of_zone): (Vec<&str>, Vec<&str>) = printed
        .out
        .lines()
        .filter(|line| !line.starts_with(';'))
        .partition(|line| line.starts_with("edge.isp.") || line.starts_with("edge2.isp."));
    let server = ZoneServer::start(&[
        ("edges.example", &format!("{}\n", of_zone.join("\n"))),
        ("isp.example", &format!("{}\n", of_hosts.join("\n"))),
    ]);
    let found = discover(&server, "edges.example");
    assert_eq!(found.len(), 2);
    for found in found {
        assert_eq!(found.key.unwrap().published_at, found.id.host);
    }
}

#[test]
fn the_tls_key_is_bound_to_the_port_of_each_site() {
    let directory = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["edge.isp.example".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let file = directory.path().join("certificate.pem");
    fs::write(&file, certificate.pem()).unwrap();
    let config = config(directory.path());
    let arguments = [
        "--account",
        ACCOUNT,
        "--tls-certificate",
        file.to_str().unwrap(),
    ];
    let printed = dns_records(&config, &arguments);
    let digest = {
        use sha2::Digest as _;
        let octets = sha2::Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(&key));
        octets
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect::<String>()
    };
    for owner in [
        "_80._tcp.edge.isp.example.",
        "_8080._tcp.edge2.isp.example.",
    ] {
        let line = printed
            .out
            .lines()
            .find(|line| line.starts_with(owner))
            .unwrap();
        assert!(line.ends_with(&format!("TLSA  3 1 1 {digest}")), "{line}");
    }

    let no_certificate = config.to_str().unwrap();
    let refused = dns_records(
        &config,
        &["--account", ACCOUNT, "--tls-certificate", no_certificate],
    );
    assert_eq!(refused.code, Some(64));
    assert!(refused.err.contains("give a PEM file"), "{}", refused.err);
}

#[test]
fn a_site_that_serves_tls_itself_publishes_what_it_shows() {
    let directory = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let named = || rcgen::CertificateParams::new(vec!["edge.isp.example".to_owned()]).unwrap();
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = named();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let mut name = rcgen::DistinguishedName::new();
    name.push(rcgen::DnType::CommonName, "an authority");
    authority.distinguished_name = name;
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let issued = named().signed_by(&key, &issuer).unwrap().pem();
    let self_issued = named().self_signed(&key).unwrap().pem();
    let file = directory.path().join("site.pem");
    let config = config(directory.path());
    let tls = format!("tls = {{ certificates = {file:?}, key = \"unread\" }}\nmilli_cpu = 2000");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("milli_cpu = 2000", &tls)).unwrap();
    for (pem, is_issued) in [(issued, true), (self_issued, false)] {
        fs::write(&file, pem).unwrap();
        let printed = dns_records(&config, &["--account", ACCOUNT]).out;
        assert!(printed.contains("_80._tcp.edge.isp.example."), "{printed}");
        assert!(!printed.contains("_8080._tcp"), "only the one that does");
        let told = printed.matches("\"proto=https\"").count();
        assert_eq!(told, usize::from(is_issued), "{printed}");

        let arguments = ["provider", "well-known", "--account", ACCOUNT, "--config"];
        let mut command = program(&arguments);
        let listed = run(command.arg(&config), PATIENCE);
        assert_eq!(
            listed.out.matches("\"https\":true").count(),
            1,
            "{listed:?}"
        );
        assert_eq!(listed.err.contains("no authority"), !is_issued);
    }
}

#[test]
fn another_service_is_published_under_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--account", ACCOUNT, "--service", "_fog._tcp"];
    let printed = dns_records(&config(directory.path()), &arguments).out;
    assert!(printed.contains("edge._fog._tcp.isp.example."), "{printed}");
    assert!(!printed.contains("_edge._tcp"), "{printed}");
}

#[test]
fn without_the_key_file_the_remedy_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let refused = dns_records(&config(directory.path()), &[]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.err.contains("--account"), "{}", refused.err);
    assert_eq!(refused.err.lines().count(), 1, "{}", refused.err);
}

#[test]
fn peer_named_checkzone_takes_the_printed_records() {
    let directory = tempfile::tempdir().unwrap();
    let printed = dns_records(&config(directory.path()), &["--account", ACCOUNT]);
    let zone = directory.path().join("zone");
    fs::write(&zone, format!("{APEX}{}", printed.out)).unwrap();
    let checked = Command::new("named-checkzone")
        .arg("isp.example")
        .arg(&zone)
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "named-checkzone does not start ({error}); it is in the Debian package bind9-utils"
            )
        });
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}");
    assert!(
        said.contains("loaded serial 1") && said.trim_end().ends_with("OK"),
        "{said}"
    );
}
