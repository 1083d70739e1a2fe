//! Asking authoritative servers directly, where some are silent, lame, or lead astray. All on loopback, at one port.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use edge_discovery::{
    Absence, Answer, AnswerName, NoAnswer, Question, RecordData, RecordKind, Security,
};
use edge_ports::NameLookup;
use edge_resolver::{Mode, Resolver, ResolverConfig};
use edge_types::AddressPolicy;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, PTR, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

const ROOT: u8 = 1;
const TOP: u8 = 2;
const ISP: u8 = 3;
/// Answers nothing.
const SILENT: u8 = 4;
/// Serves no zone.
const LAME: u8 = 5;
/// Serves the provider's zone with other records than its sibling.
const OTHER: u8 = 6;
/// Must never be asked.
const FORBIDDEN: u8 = 9;
const TIMEOUT: Duration = Duration::from_secs(2);

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

const fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

/// A line of a zone: `owner type value`.
fn record(line: &str) -> Record {
    let parts: Vec<&str> = line.split(' ').collect();
    let [owner, kind, value] = parts[..] else {
        panic!("{line}");
    };
    let data = match kind {
        "A" => RData::A(A(value.parse().unwrap())),
        "NS" => RData::NS(NS(name(value))),
        "PTR" => RData::PTR(PTR(name(value))),
        "CNAME" => RData::CNAME(CNAME(name(value))),
        "SOA" => RData::SOA(SOA::new(name(value), name("a."), 1, 1, 1, 1, 60)),
        _ => panic!("{line}"),
    };
    Record::from_rdata(name(owner), 300, data)
}

/// The zones of one server: apex and records.
type Zones = Vec<(Name, Vec<Record>)>;

fn zone(apex: &str, lines: &[&str]) -> (Name, Vec<Record>) {
    let mut records: Vec<Record> = lines.iter().map(|line| record(line)).collect();
    records.push(record(&format!("{apex} SOA ns.")));
    (name(apex), records)
}

/// What an honest server of the zones says.
fn respond(zones: &Zones, query: &Message) -> Message {
    let mut answer = query.clone().into_response();
    let question = query.queries[0].clone();
    let (asked, kind) = (question.name(), question.query_type());
    let Some((apex, records)) = zones
        .iter()
        .filter(|(apex, _)| apex.zone_of(asked))
        .max_by_key(|(apex, _)| apex.num_labels())
    else {
        answer.metadata.response_code = ResponseCode::Refused;
        return answer;
    };
    let cut = records
        .iter()
        .find(|record| {
            record.record_type() == RecordType::NS
                && record.name != *apex
                && record.name.zone_of(asked)
        })
        .map(|record| &record.name);
    if let Some(cut) = cut {
        for record in records.iter().filter(|record| record.name == *cut) {
            answer.add_authority(record.clone());
        }
        for record in records {
            if record.record_type() == RecordType::A {
                answer.add_additional(record.clone());
            }
        }
        return answer;
    }
    answer.metadata.authoritative = true;
    let mut exists = false;
    for record in records.iter().filter(|record| record.name == *asked) {
        exists = true;
        if record.record_type() == kind || record.record_type() == RecordType::CNAME {
            let mut found = record.clone();
            found.name = asked.clone();
            answer.add_answer(found);
        }
    }
    if answer.answers.is_empty() {
        if !exists {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        answer.add_authority(record(&format!("{apex} SOA ns.")));
    }
    answer
}

/// Servers at 127.0.0.x, all at one port, and how often each was asked.
struct World {
    sockets: Vec<(u8, UdpSocket)>,
    asked: Arc<[AtomicUsize; 10]>,
    port: u16,
}

impl World {
    async fn new() -> Self {
        'port: loop {
            let first = UdpSocket::bind((ip(ROOT), 0)).await.unwrap();
            let port = first.local_addr().unwrap().port();
            let mut sockets = vec![(ROOT, first)];
            for last in 2..10 {
                match UdpSocket::bind((ip(last), port)).await {
                    Ok(socket) => sockets.push((last, socket)),
                    Err(_) => continue 'port,
                }
            }
            return Self {
                sockets,
                asked: Arc::default(),
                port,
            };
        }
    }

    /// Serves by a function of server and query, and gives a resolver that may ask all but the forbidden one.
    fn serve(
        self,
        respond: impl Fn(u8, &Message) -> Option<Message> + Clone + Send + 'static,
    ) -> Served {
        for (last, socket) in self.sockets {
            let respond = respond.clone();
            let asked = Arc::clone(&self.asked);
            tokio::spawn(async move {
                let mut buffer = [0; 2048];
                while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                    asked[usize::from(last)].fetch_add(1, Ordering::Relaxed);
                    let query = Message::from_vec(&buffer[..length]).unwrap();
                    assert!(!query.metadata.recursion_desired);
                    if let Some(answer) = respond(last, &query) {
                        let octets = answer.to_vec().unwrap();
                        socket.send_to(&octets, from).await.unwrap();
                    }
                }
            });
        }
        let allowed = (1..FORBIDDEN).map(|last| format!("127.0.0.{last}/32").parse().unwrap());
        let policy = AddressPolicy::new(allowed.collect());
        let root = SocketAddr::from((ip(ROOT), self.port));
        let config = ResolverConfig {
            first_timeout: TIMEOUT,
            mode: Mode::Direct {
                policy: policy.clone(),
                port: self.port,
            },
            ..ResolverConfig::direct(vec![root], policy)
        };
        Served {
            resolver: Resolver::new(config.clone()).unwrap(),
            config,
            asked: self.asked,
        }
    }
}

struct Served {
    resolver: Resolver,
    config: ResolverConfig,
    asked: Arc<[AtomicUsize; 10]>,
}

impl Served {
    fn asked(&self, last: u8) -> usize {
        self.asked[usize::from(last)].load(Ordering::Relaxed)
    }

    async fn lookup(&self, owner: &str, kind: RecordKind) -> Answer {
        let question = Question::new(owner.parse().unwrap(), kind);
        self.resolver.lookup(&question).await
    }
}

/// Zones of the root's, the top level's and the provider's server.
fn zones(last: u8, top: &[&str], isp: &[&str]) -> Zones {
    match last {
        ROOT => vec![zone(
            ".",
            &[
                "example. NS ns.example.",
                "ns.example. A 127.0.0.2",
                "in-addr.arpa. NS ns.in-addr.arpa.",
                "ns.in-addr.arpa. A 127.0.0.2",
            ],
        )],
        TOP => vec![zone("example.", top), zone("in-addr.arpa.", top)],
        ISP => vec![
            zone("isp.example.", isp),
            zone("1.0.240.in-addr.arpa.", isp),
            zone("other.example.", isp),
        ],
        _ => vec![],
    }
}

/// A world of honest servers with these lines, one silent and one that serves nothing.
async fn world(top: &'static [&str], isp: &'static [&str]) -> Served {
    World::new()
        .await
        .serve(move |last, query| (last != SILENT).then(|| respond(&zones(last, top, isp), query)))
}

fn is_address(answer: &Answer) -> bool {
    let want = [RecordData::Address("240.0.0.1".parse().unwrap())];
    matches!(answer, Answer::Records { records, .. } if records[..] == want)
}

const DELEGATED: &[&str] = &[
    "isp.example. NS ns.isp.example.",
    "ns.isp.example. A 127.0.0.3",
    "1.0.240.in-addr.arpa. NS ns.1.0.240.in-addr.arpa.",
    "ns.1.0.240.in-addr.arpa. A 127.0.0.3",
];

#[tokio::test]
async fn many_questions_share_the_way_down() {
    let served = world(
        DELEGATED,
        &[
            "7.1.0.240.in-addr.arpa. PTR r7.isp.example.",
            "host.isp.example. A 240.0.0.1",
        ],
    )
    .await;
    let owners: Vec<String> = (0..50)
        .map(|number| format!("{number}.1.0.240.in-addr.arpa"))
        .collect();
    let lookups = owners
        .iter()
        .map(|owner| served.lookup(owner, RecordKind::Ptr));
    let answers = futures_util::future::join_all(lookups).await;
    for (number, answer) in answers.iter().enumerate() {
        match answer {
            Answer::Records {
                records, security, ..
            } if number == 7 => {
                assert_eq!(
                    records[..],
                    [RecordData::Ptr(AnswerName::parse("r7.isp.example"))]
                );
                assert_eq!(*security, Security::Indeterminate);
            }
            Answer::Absent { absence, soa, .. } if number != 7 => {
                assert_eq!(*absence, Absence::NxDomain);
                let apex = soa.as_ref().unwrap().apex.as_str();
                assert_eq!(apex, "1.0.240.in-addr.arpa");
            }
            other => panic!("{number}: {other:?}"),
        }
    }
    // Without sharing it were 50; a busy machine may make a server look late, so that it is asked again.
    assert!(served.asked(ROOT) < 5 && served.asked(TOP) < 5);
    assert!(is_address(
        &served.lookup("host.isp.example", RecordKind::A).await
    ));
    assert!(served.asked(ROOT) < 10 && served.asked(TOP) < 10);
    assert!(served.asked(ISP) >= 51);
}

#[tokio::test]
async fn a_silent_server_costs_its_sibling_little() {
    let served = world(
        &[
            "isp.example. NS ns1.isp.example.",
            "isp.example. NS ns2.isp.example.",
            "ns1.isp.example. A 127.0.0.3",
            "ns2.isp.example. A 127.0.0.4",
        ],
        &["host.isp.example. A 240.0.0.1"],
    )
    .await;
    let started = Instant::now();
    for _ in 0..8 {
        assert!(is_address(
            &served.lookup("host.isp.example", RecordKind::A).await
        ));
    }
    assert!(started.elapsed() < TIMEOUT, "{:?}", started.elapsed());
    let silent = served.asked(SILENT);
    assert!(silent <= 2, "the silent server was asked {silent} times");
}

#[tokio::test]
async fn lame_servers_are_passed_over_at_once_and_remembered() {
    let lame_ways: [fn(&mut Message); 4] = [
        |answer| answer.metadata.response_code = ResponseCode::Refused,
        // upwards
        |answer| {
            answer.metadata.response_code = ResponseCode::NoError;
            answer.add_authority(record(". NS ns.evil.example."));
        },
        // an answer out of somebody's cache
        |answer| {
            answer.metadata.response_code = ResponseCode::NoError;
            answer.add_answer(record("host.isp.example. A 240.6.6.6"));
        },
        // a denial by one who does not serve the zone
        |answer| answer.metadata.response_code = ResponseCode::NXDomain,
    ];
    for make_lame in lame_ways {
        let top = &[
            "isp.example. NS ns1.isp.example.",
            "isp.example. NS ns2.isp.example.",
            "ns1.isp.example. A 127.0.0.3",
            "ns2.isp.example. A 127.0.0.5",
        ];
        let served = World::new().await.serve(move |last, query| {
            let mut answer = respond(&zones(last, top, &["host.isp.example. A 240.0.0.1"]), query);
            if last == LAME {
                make_lame(&mut answer);
                for record in &mut answer.answers {
                    record.name = query.queries[0].name().clone();
                }
            }
            Some(answer)
        });
        for _ in 0..8 {
            assert!(is_address(
                &served.lookup("host.isp.example", RecordKind::A).await
            ));
        }
        assert!(served.asked(LAME) <= 1);
    }
}

#[tokio::test]
async fn a_zone_whose_servers_are_all_lame_is_not_empty() {
    let served = world(
        &[
            "isp.example. NS ns.isp.example.",
            "ns.isp.example. A 127.0.0.5",
        ],
        &[],
    )
    .await;
    assert_eq!(
        served.lookup("host.isp.example", RecordKind::A).await,
        Answer::Unanswered(NoAnswer::Failed { response_code: 5 })
    );
    let again = served.lookup("host.isp.example", RecordKind::A).await;
    assert!(matches!(again, Answer::Unanswered(_)), "{again:?}");
    assert_eq!(served.asked(LAME), 1);
}

#[tokio::test]
async fn addresses_that_did_not_come_along_are_asked_for() {
    let served = world(
        &[
            "isp.example. NS ns.other.example.",
            "other.example. NS ns.isp-of-other.example.",
            "other.example. NS deep.other.example.",
            "deep.other.example. A 127.0.0.3",
        ],
        &[
            "host.isp.example. A 240.0.0.1",
            "ns.other.example. A 127.0.0.3",
        ],
    )
    .await;
    assert!(is_address(
        &served.lookup("host.isp.example", RecordKind::A).await
    ));
}

#[tokio::test]
async fn servers_that_are_named_only_in_each_others_zones_end_the_search() {
    let served = world(
        &[
            "isp.example. NS ns.other.example.",
            "other.example. NS ns.isp.example.",
        ],
        &[],
    )
    .await;
    let started = Instant::now();
    let answer = served.lookup("host.isp.example", RecordKind::A).await;
    assert!(
        matches!(answer, Answer::Unanswered(NoAnswer::Malformed { .. })),
        "{answer:?}"
    );
    assert!(started.elapsed() < TIMEOUT);
    assert!(served.asked(TOP) < 40);
}

#[tokio::test]
async fn forbidden_addresses_are_never_asked() {
    let served = world(
        &[
            "isp.example. NS ns.isp.example.",
            "ns.isp.example. A 127.0.0.9",
            "far.example. NS ns.other.example.",
            "other.example. NS deep.other.example.",
            "deep.other.example. A 127.0.0.3",
        ],
        &["ns.other.example. A 127.0.0.9"],
    )
    .await;
    for owner in ["host.isp.example", "host.far.example"] {
        let answer = served.lookup(owner, RecordKind::A).await;
        assert!(matches!(answer, Answer::Unanswered(_)), "{answer:?}");
    }
    assert_eq!(served.asked(FORBIDDEN), 0);
    assert!(served.asked(ISP) > 0, "the way to the second was walked");
}

#[tokio::test]
async fn aliases_are_followed_from_zone_to_zone_and_bounded() {
    let served = world(
        &[
            "isp.example. NS ns.isp.example.",
            "ns.isp.example. A 127.0.0.3",
            "other.example. NS deep.other.example.",
            "deep.other.example. A 127.0.0.3",
        ],
        &[
            "alias.isp.example. CNAME host.other.example.",
            "host.other.example. A 240.0.0.1",
            "loop.isp.example. CNAME loop.other.example.",
            "loop.other.example. CNAME loop.isp.example.",
        ],
    )
    .await;
    assert!(is_address(
        &served.lookup("alias.isp.example", RecordKind::A).await
    ));
    let answer = served.lookup("loop.isp.example", RecordKind::A).await;
    assert!(
        matches!(answer, Answer::Unanswered(NoAnswer::Malformed { .. })),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_referral_without_end_is_left() {
    let served = World::new().await.serve(|last, query| {
        // Each server refers to a zone one label deeper than the last, and then to itself again.
        let asked = query.queries[0].name().to_lowercase();
        let labels = usize::from(asked.num_labels());
        let mut answer = query.clone().into_response();
        let cut = asked.trim_to(usize::from(last).min(labels));
        answer.add_authority(Record::from_rdata(cut, 300, RData::NS(NS(name("ns.")))));
        answer.add_additional(Record::from_rdata(
            name("ns."),
            300,
            RData::A(A(ip(last % 8 + 1))),
        ));
        Some(answer)
    });
    let owner = "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.example";
    let answer = served.lookup(owner, RecordKind::A).await;
    assert!(matches!(answer, Answer::Unanswered(_)), "{answer:?}");
    let asked: usize = (1..10).map(|last| served.asked(last)).sum();
    assert!(asked < 60, "{asked} queries");
}

#[tokio::test]
async fn a_lame_server_whose_address_is_asked_for_has_siblings_too() {
    for dead in ["127.0.0.4", "127.0.0.5"] {
        let top: Vec<String> = [
            "isp.example. NS a.example.",
            "isp.example. NS b.example.",
            "a.example. A 127.0.0.3",
            &format!("b.example. A {dead}"),
        ]
        .map(str::to_owned)
        .into();
        let served = World::new().await.serve(move |last, query| {
            let top: Vec<&str> = top.iter().map(String::as_str).collect();
            // The addresses do not come along, since they are asked for at the top level's own names.
            let mut answer = respond(
                &zones(last, &top, &["host.isp.example. A 240.0.0.1"]),
                query,
            );
            if last == TOP {
                answer.additionals.clear();
            }
            (last != SILENT).then_some(answer)
        });
        let started = Instant::now();
        for _ in 0..4 {
            assert!(is_address(
                &served.lookup("host.isp.example", RecordKind::A).await
            ));
        }
        assert!(started.elapsed() < TIMEOUT, "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn servers_that_tell_different_things_are_believed_one_at_a_time() {
    const VIEWS: [&[&str]; 2] = [
        &[
            "host.isp.example. A 240.0.0.1",
            "host.isp.example. A 240.0.0.2",
        ],
        &[
            "host.isp.example. A 240.0.0.3",
            "host.isp.example. A 240.0.0.4",
        ],
    ];
    let top = &[
        "isp.example. NS ns1.isp.example.",
        "isp.example. NS ns2.isp.example.",
        "ns1.isp.example. A 127.0.0.3",
        "ns2.isp.example. A 127.0.0.6",
    ];
    let served = World::new().await.serve(move |last, query| {
        let zones = match last {
            OTHER => zones(ISP, top, VIEWS[1]),
            _ => zones(last, top, VIEWS[0]),
        };
        Some(respond(&zones, query))
    });
    let mut seen = std::collections::BTreeSet::new();
    // Which one is asked first is a matter of chance where nothing is known of either.
    for _ in 0..32 {
        let resolver = Resolver::new(served.config.clone()).unwrap();
        let question = Question::new("host.isp.example".parse().unwrap(), RecordKind::A);
        let Answer::Records { mut records, .. } = resolver.lookup(&question).await else {
            panic!("no answer");
        };
        records.sort();
        let address = |last: u8| RecordData::Address([240, 0, 0, last].into());
        let view = [[1, 2], [3, 4]].map(|view| view.map(address));
        let known = view.iter().position(|view| records == view);
        seen.insert(known.unwrap_or_else(|| panic!("a mixture: {records:?}")));
    }
    assert_eq!(seen.len(), 2, "both are asked");
}
