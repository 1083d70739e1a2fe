//! Zones that every authoritative server serves in these tests, and what must come back.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use edge_discovery::{
    Absence, Answer, AnswerName, Discovery, DiscoveryConfig, HopSighting, KeyBinding, Limits,
    NegativeSoa, NoAnswer, Question, RecordData, RecordKind, Security, SrvRecord,
};
use edge_ports::{Clock, NameLookup, SystemClock};
use edge_resolver::{Resolver, ResolverConfig, drive};
use edge_types::{AddressPolicy, ChainId};

/// Apex and text of each zone. `separator` stands between address and length in the name of the zone that RFC 2317
/// makes for a part of a /24: its examples have `/`, which not every reader of zone files takes.
pub(crate) fn zones(separator: char) -> Vec<(String, String)> {
    let soa = "$TTL 600\n@ IN SOA ns.isp.example. admin.isp.example. 1 3600 600 86400 120\n@ IN NS ns.isp.example.\n";
    let zone = |records: &str| format!("{soa}{records}");
    let many: Vec<String> = (0..60)
        .map(|n| format!("_edge._tcp IN SRV 10 {n} 8080 a-rather-long-host-name-{n}\n"))
        .collect();
    vec![
        (
            "isp.example".to_owned(),
            zone(
                "ns IN A 127.0.0.1\n\
                 _edge._tcp IN SRV 10 30 8080 site1\n\
                 _edge._tcp IN SRV 10 10 8080 site2\n\
                 _edge._tcp IN TXT \"v=1\" \"key=eip155:31337:0x00000000000000000000000000000000000000aa\"\n\
                 site1 IN A 240.0.1.30\n\
                 site1 IN AAAA 3fff::30\n\
                 site2 IN A 240.0.1.31\n\
                 _edge._tcp.none IN SRV 0 0 0 .\n\
                 MiXeD IN A 240.0.1.32\n\
                 alias IN CNAME site1\n\
                 loop1 IN CNAME loop2\n\
                 loop2 IN CNAME loop1\n",
            ),
        ),
        (
            "wild.example".to_owned(),
            zone("*._tcp IN SRV 0 0 80 site\nsite IN A 240.0.2.1\n"),
        ),
        ("big.example".to_owned(), zone(&many.concat())),
        (
            "1.0.240.in-addr.arpa".to_owned(),
            zone(&format!(
                "1 IN PTR cr1.fra.isp.example.\n\
                 2 IN PTR cr2.wild.example.\n\
                 128{separator}25 IN NS ns.isp.example.\n\
                 130 IN CNAME 130.128{separator}25\n",
            )),
        ),
        (
            format!("128{separator}25.1.0.240.in-addr.arpa"),
            zone("130 IN PTR cust.isp.example.\n"),
        ),
    ]
}

fn question(name: &str, kind: RecordKind) -> Question {
    Question::new(name.parse().unwrap(), kind)
}

fn reverse(address: &str) -> Question {
    Question::reverse(address.parse().unwrap())
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RecordData {
    RecordData::Srv(SrvRecord {
        priority,
        weight,
        port,
        target: AnswerName::parse(target),
    })
}

fn absent(absence: Absence, apex: &str) -> Answer {
    Answer::Absent {
        absence,
        soa: Some(NegativeSoa {
            apex: apex.parse().unwrap(),
            negative_ttl_seconds: 120,
        }),
        security: Security::Indeterminate,
    }
}

/// A resolver with time for a busy machine.
fn resolver(server: SocketAddr) -> Resolver {
    Resolver::new(ResolverConfig {
        first_timeout: Duration::from_secs(2),
        ..ResolverConfig::new(vec![server])
    })
    .unwrap()
}

/// Waits until the server answers from its zones.
async fn wait_until_served(resolver: &Resolver) {
    let question = question("_edge._tcp.big.example", RecordKind::Srv);
    let started = std::time::Instant::now();
    loop {
        let answer = resolver.lookup(&question).await;
        if matches!(answer, Answer::Records { .. }) {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "the server does not serve its zones: {answer:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asks a server with the [`zones`] one question of each sort, then runs a whole discovery.
pub(crate) async fn check_server(server: SocketAddr) {
    let resolver = resolver(server);
    wait_until_served(&resolver).await;

    let records = |records: Vec<RecordData>| Answer::Records {
        records,
        ttl_seconds: 600,
        security: Security::Indeterminate,
    };
    let address = |text: &str| records(vec![RecordData::Address(text.parse().unwrap())]);
    let name = |text: &str| records(vec![RecordData::Ptr(AnswerName::parse(text))]);
    for (question, want) in [
        (
            question("_edge._tcp.isp.example", RecordKind::Srv),
            records(vec![
                srv(10, 10, 8080, "site2.isp.example"),
                srv(10, 30, 8080, "site1.isp.example"),
            ]),
        ),
        (
            question("_edge._tcp.none.isp.example", RecordKind::Srv),
            records(vec![srv(0, 0, 0, ".")]),
        ),
        (
            question("_edge._tcp.nowhere.isp.example", RecordKind::Srv),
            absent(Absence::NxDomain, "isp.example"),
        ),
        (
            question("site1.isp.example", RecordKind::Txt),
            absent(Absence::NoData, "isp.example"),
        ),
        (
            question("_x._tcp.wild.example", RecordKind::Srv),
            records(vec![srv(0, 0, 80, "site.wild.example")]),
        ),
        (
            question("site1.isp.example", RecordKind::Aaaa),
            address("3fff::30"),
        ),
        (
            question("mixed.isp.example", RecordKind::A),
            address("240.0.1.32"),
        ),
        (
            question("alias.isp.example", RecordKind::A),
            address("240.0.1.30"),
        ),
        (reverse("240.0.1.1"), name("cr1.fra.isp.example")),
        (reverse("240.0.1.130"), name("cust.isp.example")),
        (
            reverse("240.0.1.99"),
            absent(Absence::NxDomain, "1.0.240.in-addr.arpa"),
        ),
        (
            question("elsewhere.test", RecordKind::A),
            Answer::Unanswered(NoAnswer::Failed { response_code: 5 }),
        ),
    ] {
        let mut found = resolver.lookup(&question).await;
        if let Answer::Records { records, .. } = &mut found {
            records.sort();
        }
        assert_eq!(found, want, "{question:?}");
    }
    match resolver
        .lookup(&question("_edge._tcp.big.example", RecordKind::Srv))
        .await
    {
        Answer::Records { records, .. } => assert_eq!(records.len(), 60, "truncated over UDP"),
        other => panic!("{other:?}"),
    }
    match resolver
        .lookup(&question("loop1.isp.example", RecordKind::A))
        .await
    {
        Answer::Unanswered(NoAnswer::Malformed { .. } | NoAnswer::Failed { .. }) => {}
        other => panic!("a loop of aliases gave {other:?}"),
    }

    check_discovery(&resolver).await;
}

async fn check_discovery(resolver: &Resolver) {
    let policy = AddressPolicy::new(vec![
        "240.0.0.0/4".parse().unwrap(),
        "3fff::/20".parse().unwrap(),
    ]);
    let limits = Limits {
        run_time: Duration::from_secs(20),
        ..Limits::default()
    };
    let mut discovery = Discovery::new(
        DiscoveryConfig::new(DiscoveryConfig::SERVICE, "t0ken", policy, limits).unwrap(),
    );
    let clock = SystemClock::start();
    discovery.start_run(clock.monotonic());
    for (ttl, router) in (1..).zip(["240.0.1.1", "240.0.1.2", "240.0.1.99", "240.0.1.130"]) {
        discovery.observe_hop(
            HopSighting {
                address: router.parse().unwrap(),
                path: "240.9.9.9".parse().unwrap(),
                ttl,
            },
            clock.monotonic(),
        );
    }
    let mut told = 0;
    let parallelism = NonZeroUsize::new(64).unwrap();
    drive(&mut discovery, resolver, &clock, parallelism, |_| told += 1).await;
    let found: Vec<_> = discovery
        .candidates()
        .into_iter()
        .map(|found| {
            (
                found.id.to_string(),
                found.addresses,
                found.key,
                found.seen_on.len(),
            )
        })
        .collect();
    let key = Some(KeyBinding {
        address: "0x00000000000000000000000000000000000000aa"
            .parse()
            .unwrap(),
        chain: ChainId(31337),
        authenticated: false,
        published_at: "_edge._tcp.isp.example".parse().unwrap(),
    });
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(
        found,
        [
            (
                "site1.isp.example:8080".to_owned(),
                addresses(&["240.0.1.30", "3fff::30"]),
                key.clone(),
                2
            ),
            (
                "site2.isp.example:8080".to_owned(),
                addresses(&["240.0.1.31"]),
                key,
                2
            ),
        ],
        "{:#?}",
        discovery.trail()
    );
    assert_eq!(told, 2);
}
