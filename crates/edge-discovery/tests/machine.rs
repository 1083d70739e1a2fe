//! The machine against scripted worlds of DNS answers.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use edge_discovery::{
    Absence, AddressOutcome, Answer, AnswerName, ControlOutcome, DnsEvidence, IepCandidate,
    KeyBinding, Limits, Lookup, NegativeSoa, NoAnswer, NotAsked, PathSegment, Question, RecordData,
    RecordKind, Security, SiteOutcome, SiteRejection, SrvRecord, ZoneDecision,
};
use edge_types::{
    AddressPolicy, ChainId, Hop, HopReply, IepId, IepOrigin, PathEnd, PathObservation, Rtt,
};
use proptest::prelude::*;

use world::{
    World, absent, address, at, discover, listing_1, machine, name, policy, ptr, sighting, srv,
    verdict, zone_trail,
};

const KEY: &str = "0x00000000000000000000000000000000000000aa";

#[test]
fn finds_the_sites_of_listing_1() {
    let world = listing_1();
    let mut discovery = discover(&world, &["240.0.1.1"]);
    let site = |host: &str, weight, at: &str| IepCandidate {
        id: IepId {
            host: name(host),
            port: 5060,
        },
        zone: name("domaina.example"),
        origin: IepOrigin::Zone(name("domaina.example")),
        addresses: vec![address(at)],
        priority: 10,
        weight,
        key: None,
        pins: Vec::new(),
        announces_tls: false,
        profile: None,
        evidence: DnsEvidence {
            service: Security::Secure,
            addresses: Security::Secure,
            routers_confirmed: BTreeSet::new(),
        },
        seen_on: [address("240.0.1.1")].into(),
    };
    let want = vec![
        site("mecservera.domaina.example", 30, "240.0.1.30"),
        site("edgeplatformb.domaina.example", 10, "240.0.1.31"),
    ];
    assert_eq!(discovery.candidates(), want);
    let mut told: Vec<_> = std::iter::from_fn(|| discovery.poll_candidate()).collect();
    told.sort_by_key(|found| u16::MAX - found.weight);
    assert_eq!(told, want, "each is told once");
}

#[test]
fn asks_nothing_twice_while_answers_hold() {
    let world = listing_1();
    let mut discovery = discover(&world, &["240.0.1.1"]);
    discovery.observe_hop(sighting("240.0.1.1", "240.9.9.8", 4), at(1));
    assert_eq!(world.run(&mut discovery, at(1)), []);
    discovery.start_run(at(20));
    assert_eq!(world.run(&mut discovery, at(20)), []);
    // AAAA, TXT, TLSA, instances, the router's own address and controls were absent without SOA and hold the shortest
    // time; the records hold 600 s.
    discovery.start_run(at(40));
    let asked = world.run(&mut discovery, at(40));
    let hosts = [
        "mecservera.domaina.example",
        "edgeplatformb.domaina.example",
    ];
    for question in &asked {
        let name = question.name.as_str();
        let is_of_a_host = hosts.iter().any(|host| name.ends_with(host));
        assert!(question.kind != RecordKind::A || !is_of_a_host, "{name}");
        assert!(
            question.kind != RecordKind::Srv || name.starts_with("_t0ken"),
            "{name}"
        );
    }
    assert_eq!(asked.len(), 2 + 3 + 2 + 1 + 1 + 3);
    assert_eq!(discovery.candidates().len(), 2);
}

#[test]
fn an_address_not_seen_for_long_is_forgotten() {
    let world = listing_1();
    let mut discovery = discover(&world, &["240.0.1.1"]);
    discovery.start_run(at(4000));
    assert_eq!(world.run(&mut discovery, at(4000)), []);
    assert_eq!(discovery.candidates(), []);
    assert_eq!(discovery.trail().addresses, []);
}

#[test]
fn the_negative_answers_soa_saves_questions_in_between() {
    let world = World::default()
        .router("240.0.1.1", "ae1.cr1.fra.de.isp.example")
        .set(
            "_edge._tcp.cr1.fra.de.isp.example",
            RecordKind::Srv,
            absent("de.isp.example"),
        )
        .set(
            "_edge._tcp.de.isp.example",
            RecordKind::Srv,
            absent("de.isp.example"),
        )
        .set(
            "_edge._tcp.isp.example",
            RecordKind::Srv,
            absent("isp.example"),
        );
    let mut discovery = machine(Limits::default());
    discovery.start_run(at(0));
    discovery.observe_hop(sighting("240.0.1.1", "240.9.9.9", 1), at(0));
    let asked: Vec<String> = world
        .run(&mut discovery, at(0))
        .into_iter()
        .filter(|question| question.kind == RecordKind::Srv)
        .map(|question| question.name.to_string())
        .collect();
    assert_eq!(
        asked,
        [
            "_edge._tcp.cr1.fra.de.isp.example",
            "_edge._tcp.isp.example",
            "_edge._tcp.de.isp.example"
        ]
    );
    let trail = discovery.trail();
    let AddressOutcome::Ptr(Lookup::Records(names)) = &trail.addresses[0].outcome else {
        panic!("no names in {trail:?}");
    };
    let decisions: Vec<ZoneDecision> = names.names[0]
        .zones
        .as_ref()
        .unwrap()
        .iter()
        .map(|step| step.decision.clone())
        .collect();
    assert_eq!(
        decisions,
        [
            ZoneDecision::Asked,
            ZoneDecision::NotACut {
                apex: name("de.isp.example")
            },
            ZoneDecision::Asked,
            ZoneDecision::Asked
        ]
    );
}

#[test]
fn a_wildcard_is_no_site() {
    let world = listing_1().records(
        "_t0ken._tcp.domaina.example",
        RecordKind::Srv,
        vec![srv(0, 0, 5060, "mecservera.domaina.example")],
    );
    let discovery = discover(&world, &["240.0.1.1"]);
    assert_eq!(discovery.candidates(), []);
    assert_eq!(
        verdict(&discovery, "domaina.example"),
        SiteOutcome::Rejected(SiteRejection::Wildcard)
    );
    let Lookup::Records(service) = zone_trail(&discovery, "domaina.example").service else {
        panic!("no records");
    };
    assert_eq!(service.control, ControlOutcome::Wildcard { shared: 1 });
}

#[test]
fn explicit_records_beside_a_wildcard_that_denies_count() {
    let world = listing_1().records(
        "_t0ken._tcp.domaina.example",
        RecordKind::Srv,
        vec![srv(0, 0, 0, ".")],
    );
    assert_eq!(discover(&world, &["240.0.1.1"]).candidates().len(), 2);
}

#[test]
fn a_wildcard_that_hands_out_its_targets_in_turn_is_no_site() {
    let targets = [
        "a.domaina.example",
        "b.domaina.example",
        "c.domaina.example",
    ];
    let rotating = ["_t0ken", "_t0ken2", "_t0ken3"].into_iter().zip(targets);
    let world = rotating.fold(listing_1(), |world, (label, target)| {
        world.records(
            &format!("{label}._tcp.domaina.example"),
            RecordKind::Srv,
            vec![srv(0, 0, 5060, target)],
        )
    });
    let discovery = discover(&world, &["240.0.1.1"]);
    let Lookup::Records(service) = zone_trail(&discovery, "domaina.example").service else {
        panic!("no records");
    };
    assert_eq!(service.control, ControlOutcome::Rotating);
    assert_eq!(discovery.candidates(), []);

    // One of several controls gives the zone's own target.
    let world = listing_1().records(
        "_t0ken3._tcp.domaina.example",
        RecordKind::Srv,
        vec![srv(0, 0, 5060, "mecservera.domaina.example")],
    );
    assert_eq!(discover(&world, &["240.0.1.1"]).candidates(), []);
}

#[test]
fn a_site_with_ipv6_alone_is_found() {
    let world = World::default()
        .router("3fff::1", "r.isp.example")
        .records(
            "_edge._tcp.isp.example",
            RecordKind::Srv,
            vec![srv(0, 0, 80, "six.isp.example")],
        )
        .records(
            "six.isp.example",
            RecordKind::Aaaa,
            vec![RecordData::Address(address("3fff::30"))],
        );
    let found = discover(&world, &["3fff::1"]).candidates();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].addresses, [address("3fff::30")]);
}

#[test]
fn every_name_of_a_router_is_followed() {
    let owner = edge_discovery::reverse_name(address("240.0.1.1"));
    let world = listing_1().records(
        owner.as_str(),
        RecordKind::Ptr,
        vec![
            ptr("unassigned.domainb.example"),
            ptr("router"),
            ptr("cr1.domaina.example"),
            ptr("cust7.domainc.example"),
        ],
    );
    let discovery = discover(&world, &["240.0.1.1"]);
    assert_eq!(discovery.candidates().len(), 2);
    let zones: Vec<String> = discovery
        .trail()
        .zones
        .iter()
        .map(|trail| trail.zone.to_string())
        .collect();
    assert_eq!(zones, ["domaina.example", "domainc.example"]);
}

#[test]
fn an_unanswered_control_question_leaves_the_zone_unused() {
    let world = listing_1().set(
        "_t0ken._tcp.domaina.example",
        RecordKind::Srv,
        Answer::Unanswered(NoAnswer::TimedOut {
            after: Duration::from_secs(1),
        }),
    );
    let discovery = discover(&world, &["240.0.1.1"]);
    assert_eq!(
        verdict(&discovery, "domaina.example"),
        SiteOutcome::Rejected(SiteRejection::ControlUnanswered)
    );
}

#[test]
fn records_that_give_no_candidate_say_why() {
    let refused = AddressPolicy::default()
        .check(address("127.0.0.1"))
        .unwrap_err();
    for (record, addresses, want) in [
        (srv(0, 0, 0, "."), vec![], SiteRejection::NotAvailable),
        (
            srv(0, 0, 80, "a b.isp.example"),
            vec![],
            SiteRejection::UnacceptableTarget("character ' ' is not allowed in a name".to_owned()),
        ),
        (
            srv(0, 0, 0, "s.isp.example"),
            vec![],
            SiteRejection::PortZero,
        ),
        (
            srv(0, 0, 80, "s.isp.example"),
            vec!["127.0.0.1"],
            SiteRejection::NoAllowedAddress { count: 1 },
        ),
        (
            srv(0, 0, 80, "s.isp.example"),
            vec![],
            SiteRejection::NoAddress {
                v4: Lookup::Absent {
                    absence: Absence::NxDomain,
                    apex: None,
                },
                v6: Lookup::Absent {
                    absence: Absence::NxDomain,
                    apex: None,
                },
            },
        ),
    ] {
        let mut world = World::default()
            .router("240.0.1.1", "r.isp.example")
            .records("_edge._tcp.isp.example", RecordKind::Srv, vec![record]);
        for at in &addresses {
            world = world.host("s.isp.example", at);
        }
        let discovery = discover(&world, &["240.0.1.1"]);
        assert_eq!(
            verdict(&discovery, "isp.example"),
            SiteOutcome::Rejected(want)
        );
        if !addresses.is_empty()
            && let Lookup::Records(service) = zone_trail(&discovery, "isp.example").service
        {
            assert_eq!(service.sites[0].addresses_refused, [refused]);
        }
    }
}

#[test]
fn the_key_nearest_to_the_site_counts_and_needs_authenticated_answers() {
    let key = |chain: u64| {
        vec![RecordData::Txt(vec![
            format!("v=1 key=eip155:{chain}:{KEY}").into_bytes(),
        ])]
    };
    let world = listing_1()
        .records("_edge._tcp.domaina.example", RecordKind::Txt, key(1))
        .set(
            "mecservera.domaina.example",
            RecordKind::Txt,
            Answer::Records {
                records: key(7),
                ttl_seconds: 60,
                security: Security::Indeterminate,
            },
        );
    let keys: Vec<_> = discover(&world, &["240.0.1.1"])
        .candidates()
        .into_iter()
        .map(|found| found.key.unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            KeyBinding {
                address: KEY.parse().unwrap(),
                chain: ChainId(7),
                authenticated: false,
                published_at: name("mecservera.domaina.example"),
            },
            KeyBinding {
                address: KEY.parse().unwrap(),
                chain: ChainId(1),
                authenticated: true,
                published_at: name("_edge._tcp.domaina.example"),
            }
        ]
    );
}

#[test]
fn silence_is_not_absence_and_is_asked_again_soon() {
    let silent = Answer::Unanswered(NoAnswer::TimedOut {
        after: Duration::from_secs(3),
    });
    let world = World::default().router("240.0.1.1", "r.isp.example").set(
        "_edge._tcp.isp.example",
        RecordKind::Srv,
        silent,
    );
    let mut discovery = discover(&world, &["240.0.1.1"]);
    assert!(matches!(
        zone_trail(&discovery, "isp.example").service,
        Lookup::Unanswered(NoAnswer::TimedOut { .. })
    ));
    discovery.start_run(at(16));
    assert_eq!(
        discovery.poll_question(at(16)),
        Some(Question::new(
            name("_edge._tcp.isp.example"),
            RecordKind::Srv
        ))
    );
}

#[test]
fn a_run_ends_with_what_is_known() {
    let world = listing_1();
    let mut discovery = machine(Limits::default());
    discovery.start_run(at(0));
    discovery.observe_hop(sighting("240.0.1.1", "240.9.9.9", 3), at(0));
    let mut late = None;
    while let Some(question) = discovery.poll_question(at(0)) {
        if question.kind == RecordKind::Txt && question.name.as_str().starts_with("mecservera") {
            late = Some(question);
        } else {
            discovery.handle_answer(&question, world.answer(&question), at(0));
        }
    }
    assert_eq!(discovery.candidates().len(), 1);
    assert_eq!(discovery.deadline(), Some(at(4)));
    discovery.observe_hop(sighting("240.0.1.2", "240.9.9.9", 4), at(4));
    assert_eq!(discovery.poll_question(at(4)), None, "the time is over");
    discovery.end_run(at(4));
    assert_eq!(discovery.candidates().len(), 2, "only its key is unknown");
    let late = late.unwrap();
    discovery.handle_answer(&late, world.answer(&late), at(5));
    assert_eq!(discovery.candidates().len(), 2);
    assert_eq!(
        discovery.trail().addresses[1].outcome,
        AddressOutcome::Ptr(Lookup::NotAsked(NotAsked::RunOver))
    );
}

#[test]
fn a_new_address_extends_the_run_but_a_known_one_does_not() {
    let mut discovery = machine(Limits::default());
    discovery.start_run(at(0));
    discovery.observe_hop(sighting("240.0.1.1", "240.9.9.9", 3), at(1));
    assert_eq!(discovery.deadline(), Some(at(5)));
    discovery.observe_hop(sighting("240.0.1.1", "240.9.9.8", 3), at(2));
    assert_eq!(discovery.deadline(), Some(at(5)));
    discovery.observe_hop(sighting("240.0.1.2", "240.9.9.8", 4), at(5));
    assert_eq!(discovery.deadline(), Some(at(5)), "it is over");
}

#[test]
fn questions_stay_within_the_budget() {
    let world = listing_1();
    let mut discovery = machine(Limits {
        questions_per_run: 2,
        ..Limits::default()
    });
    discovery.start_run(at(0));
    discovery.observe_hop(sighting("240.0.1.1", "240.9.9.9", 3), at(0));
    assert_eq!(world.run(&mut discovery, at(0)).len(), 2);
    assert_eq!(discovery.candidates(), []);
    let Lookup::Records(service) = zone_trail(&discovery, "domaina.example").service else {
        panic!("no records");
    };
    assert_eq!(
        service.control,
        ControlOutcome::NotAsked(NotAsked::OverBudget { limit: 2 })
    );
    // The next run goes on where this one stopped.
    discovery.start_run(at(1));
    assert_eq!(world.run(&mut discovery, at(1)).len(), 2);
    discovery.start_run(at(2));
    while !discovery.is_settled() {
        world.run(&mut discovery, at(2));
        discovery.start_run(at(3));
    }
    assert_eq!(discovery.candidates().len(), 2);
}

#[test]
fn internal_addresses_are_not_asked_for() {
    let mut discovery = machine(Limits::default());
    discovery.start_run(at(0));
    discovery.observe_hop(sighting("10.0.0.1", "240.9.9.9", 1), at(0));
    assert_eq!(discovery.poll_question(at(0)), None);
    assert!(matches!(
        discovery.trail().addresses[0].outcome,
        AddressOutcome::NotAllowed(_)
    ));
}

#[test]
fn a_zone_covers_a_segment_of_a_path_without_its_target() {
    let world = World::default()
        .router("240.0.1.1", "a.isp.example")
        .router("240.0.1.2", "b.isp.example");
    let reply = |at: &str| Hop::Reply(HopReply::new(address(at), Rtt::default()));
    let mut discovery = machine(Limits::default());
    discovery.start_run(at(0));
    discovery.observe_path(
        &PathObservation {
            target: address("240.9.9.9"),
            observed_at: at(0),
            hops: vec![
                reply("240.0.0.1"),
                reply("240.0.1.1"),
                Hop::NoReply,
                reply("240.0.1.2"),
                reply("240.9.9.9"),
            ],
            further: Vec::new(),
            end: PathEnd::Reached,
            probes_sent: 5,
        },
        at(0),
    );
    world.run(&mut discovery, at(0));
    assert_eq!(
        discovery.segments(&name("isp.example")),
        [PathSegment {
            path: address("240.9.9.9"),
            first_ttl: 2,
            last_ttl: 4
        }]
    );
    assert_eq!(discovery.trail().addresses.len(), 3);
}

#[test]
fn too_many_records_are_cut_and_counted() {
    let records = (0..100)
        .map(|n| srv(n, 0, 80, &format!("s{n}.isp.example")))
        .collect();
    let world = World::default()
        .router("240.0.1.1", "r.isp.example")
        .records("_edge._tcp.isp.example", RecordKind::Srv, records);
    let discovery = discover(&world, &["240.0.1.1"]);
    let Lookup::Records(service) = zone_trail(&discovery, "isp.example").service else {
        panic!("no records");
    };
    assert_eq!((service.sites.len(), service.over_limit), (64, 36));
}

fn any_name() -> impl Strategy<Value = AnswerName> {
    prop_oneof![
        Just(AnswerName::Root),
        "[a-d_]{1,2}(\\.[a-d]{1,2}){0,6}\\.(example|co\\.uk|arpa|github\\.io)"
            .prop_map(|text| AnswerName::parse(&text)),
        "\\PC{0,12}".prop_map(|text| AnswerName::parse(&text)),
    ]
}

fn any_record() -> impl Strategy<Value = RecordData> {
    prop_oneof![
        any_name().prop_map(RecordData::Ptr),
        (any::<u16>(), any::<u16>(), 0u16..3, any_name()).prop_map(
            |(priority, weight, port, target)| RecordData::Srv(SrvRecord {
                priority,
                weight,
                port,
                target
            })
        ),
        any::<u32>().prop_map(|v4| RecordData::Address(std::net::Ipv4Addr::from(v4).into())),
        any::<u128>().prop_map(|v6| RecordData::Address(std::net::Ipv6Addr::from(v6).into())),
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..3)
            .prop_map(RecordData::Txt),
    ]
}

fn any_security() -> impl Strategy<Value = Security> {
    prop_oneof![
        Just(Security::Indeterminate),
        Just(Security::Insecure),
        Just(Security::Secure)
    ]
}

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => (prop::collection::vec(any_record(), 0..12), any::<u32>(), any_security()).prop_map(
            |(records, ttl_seconds, security)| Answer::Records { records, ttl_seconds, security }
        ),
        1 => (any::<bool>(), any_name(), any::<u32>()).prop_map(|(exists, apex, negative_ttl_seconds)| {
            Answer::Absent {
                absence: if exists { Absence::NoData } else { Absence::NxDomain },
                soa: match apex {
                    AnswerName::Name(apex) => Some(NegativeSoa { apex, negative_ttl_seconds }),
                    _ => None,
                },
                security: Security::Indeterminate,
            }
        }),
        1 => Just(Answer::Unanswered(NoAnswer::Unreachable)),
        1 => Just(Answer::Unanswered(NoAnswer::Bogus { reason: String::new() })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn hostile_answers_are_bounded_and_never_leak_refused_addresses(
        answers in prop::collection::vec(any_answer(), 1..40),
        routers in prop::collection::vec(any::<u8>(), 1..20),
        ends_early in any::<bool>(),
    ) {
        let limits = Limits { questions_per_run: 300, ..Limits::default() };
        let mut discovery = machine(limits);
        discovery.start_run(at(0));
        for router in routers {
            discovery.observe_hop(sighting(&format!("240.0.0.{router}"), "240.9.9.9", 1), at(0));
        }
        let mut answers = answers.into_iter().cycle();
        let mut asked = 0;
        while let Some(question) = discovery.poll_question(at(0)) {
            asked += 1;
            prop_assert!(asked <= 300);
            if ends_early && asked == 20 {
                discovery.end_run(at(0));
            }
            discovery.handle_answer(&question, answers.next().unwrap(), at(0));
        }
        discovery.end_run(at(1));
        prop_assert!(discovery.is_settled());
        for found in discovery.candidates() {
            prop_assert!(!found.addresses.is_empty());
            for address in found.addresses {
                prop_assert!(policy().check(address).is_ok());
            }
        }
        let _ = discovery.trail();
    }
}
