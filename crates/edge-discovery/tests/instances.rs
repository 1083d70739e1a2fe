//! Instances of the service by DNS-SD, TLS keys, and routers that lead back, against scripted worlds.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use edge_discovery::{
    Answer, AnswerName, CertificateUsage, ControlOutcome, InstanceOutcome, InstanceRefusal,
    InstancesTrail, Limits, Lookup, NoAnswer, PinRefusal, ProfileRefusal, Question, RecordData,
    RecordKind, Security, SiteOutcome, SiteRejection, TlsaRecord,
};

use world::{
    World, address, at, discover, listing_1, machine, name, ptr, sighting, srv, verdict, zone_trail,
};

const KEY: &str = "key=eip155:1:0x00000000000000000000000000000000000000aa";
const OTHER_KEY: &str = "key=eip155:1:0x00000000000000000000000000000000000000bb";
const ZONE: &str = "_edge._tcp.isp.example";

fn text(strings: &[&str]) -> Vec<RecordData> {
    let strings = strings.iter().map(|string| string.as_bytes().to_vec());
    vec![RecordData::Txt(strings.collect())]
}

/// A zone with no SRV record of its own, and instances by these names.
fn with_instances(instances: &[&str]) -> World {
    let records = instances.iter().map(|instance| ptr(instance)).collect();
    World::default()
        .router("240.0.1.1", "r.isp.example")
        .no_data(ZONE, RecordKind::Srv)
        .records(ZONE, RecordKind::Ptr, records)
}

fn one_instance() -> World {
    with_instances(&["one._edge._tcp.isp.example"])
        .records(
            "one._edge._tcp.isp.example",
            RecordKind::Srv,
            vec![srv(0, 0, 8080, "s.isp.example")],
        )
        .host("s.isp.example", "240.0.1.30")
}

fn instances(world: &World) -> InstancesTrail {
    let discovery = discover(world, &["240.0.1.1"]);
    match zone_trail(&discovery, "isp.example").instances {
        Some(Lookup::Records(found)) => found,
        other => panic!("no instances but {other:?}"),
    }
}

#[test]
fn an_instance_is_a_site_with_a_profile() {
    let world = one_instance().records(
        "one._edge._tcp.isp.example",
        RecordKind::Txt,
        text(&["v=1", "path=/exec/v1", "api=1", "proto=h2", KEY, "rt=oci"]),
    );
    let found = discover(&world, &["240.0.1.1"]).candidates();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id.to_string(), "s.isp.example:8080");
    let profile = found[0].profile.as_ref().unwrap();
    assert_eq!(profile.instance, name("one._edge._tcp.isp.example"));
    assert_eq!(profile.path.as_deref(), Some("/exec/v1"));
    assert!(profile.unknown.iter().eq(["rt"]));
    let key = found[0].key.as_ref().unwrap();
    assert!(key.authenticated);
    assert_eq!(key.published_at, profile.instance);
}

#[test]
fn a_profile_is_added_to_the_zones_own_record() {
    let world = listing_1()
        .records(
            "_edge._tcp.domaina.example",
            RecordKind::Ptr,
            vec![ptr("m._edge._tcp.domaina.example")],
        )
        .records(
            "m._edge._tcp.domaina.example",
            RecordKind::Srv,
            vec![srv(0, 0, 5060, "mecservera.domaina.example")],
        )
        .records(
            "m._edge._tcp.domaina.example",
            RecordKind::Txt,
            text(&["v=1", "path=/m"]),
        );
    let found = discover(&world, &["240.0.1.1"]).candidates();
    let paths: Vec<_> = found
        .iter()
        .map(|found| {
            found
                .profile
                .as_ref()
                .and_then(|profile| profile.path.clone())
        })
        .collect();
    assert_eq!(paths, [Some("/m".to_owned()), None]);
    assert_eq!(found[0].priority, 10, "as the zone's own record says");
}

#[test]
fn a_profile_with_another_key_leaves_none() {
    let world = one_instance()
        .records(
            "one._edge._tcp.isp.example",
            RecordKind::Txt,
            text(&["v=1", KEY]),
        )
        .records("s.isp.example", RecordKind::Txt, text(&["v=1", OTHER_KEY]));
    let found = discover(&world, &["240.0.1.1"]).candidates();
    assert_eq!(found[0].key, None);
    assert!(found[0].profile.is_some());
}

#[test]
fn an_unreadable_profile_is_told_and_the_site_stays() {
    let world = one_instance().records(
        "one._edge._tcp.isp.example",
        RecordKind::Txt,
        text(&["v=1", "path=up"]),
    );
    let found = discover(&world, &["240.0.1.1"]).candidates();
    assert_eq!((found.len(), &found[0].profile), (1, &None));
    let InstanceOutcome::Followed { profile, .. } = &instances(&world).instances[0].outcome else {
        panic!("not followed");
    };
    assert!(matches!(
        profile,
        Lookup::Records(Err(ProfileRefusal::Value { key: "path", .. }))
    ));
}

#[test]
fn instances_of_others_and_strange_names_are_refused() {
    let world = with_instances(&[
        "one._edge._tcp.victim.example",
        "deep.er._edge._tcp.isp.example",
        "Kitchen\\032Edge._edge._tcp.isp.example",
    ]);
    let outcomes: BTreeSet<bool> = instances(&world)
        .instances
        .into_iter()
        .map(|instance| match (instance.name, instance.outcome) {
            (AnswerName::Name(_), InstanceOutcome::Refused(refusal)) => {
                refusal == InstanceRefusal::NotOfThisService
            }
            (_, InstanceOutcome::Refused(InstanceRefusal::UnacceptableName(_))) => true,
            _ => false,
        })
        .collect();
    assert_eq!(outcomes, [true].into());
}

#[test]
fn a_wildcard_for_instances_is_none() {
    let world =
        ["_t0ken", "_t0ken2", "_t0ken3"]
            .into_iter()
            .fold(one_instance(), |world, label| {
                world.records(
                    &format!("{label}._tcp.isp.example"),
                    RecordKind::Ptr,
                    vec![ptr("one._edge._tcp.isp.example")],
                )
            });
    let found = instances(&world);
    assert_eq!(found.control, ControlOutcome::Wildcard { shared: 1 });
    let InstanceOutcome::Followed {
        service: Lookup::Records(service),
        ..
    } = &found.instances[0].outcome
    else {
        panic!("not followed");
    };
    assert_eq!(
        service.sites[0].outcome,
        SiteOutcome::Rejected(SiteRejection::Wildcard)
    );
}

#[test]
fn instances_are_counted_and_cut() {
    let many: Vec<String> = (0..40)
        .map(|n| format!("i{n}._edge._tcp.isp.example"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let found = instances(&with_instances(&many));
    assert_eq!((found.instances.len(), found.over_limit), (16, 24));
}

#[test]
fn where_the_name_of_the_service_does_not_exist_no_instance_is_asked_for() {
    let world = World::default().router("240.0.1.1", "r.isp.example");
    let mut discovery = machine(Limits::default());
    discovery.start_run(at(0));
    discovery.observe_hop(sighting("240.0.1.1", "240.9.9.9", 3), at(0));
    let asked = world.run(&mut discovery, at(0));
    assert_eq!(asked.len(), 2, "PTR of the router and SRV: {asked:?}");
    assert_eq!(zone_trail(&discovery, "isp.example").instances, None);
}

fn tlsa(usage: u8, data: usize) -> RecordData {
    RecordData::Tlsa(TlsaRecord {
        usage,
        selector: 1,
        matching: 1,
        data: vec![7; data],
    })
}

#[test]
fn tls_keys_count_where_every_step_is_signed() {
    let owner = "_5060._tcp.mecservera.domaina.example";
    let records = vec![tlsa(3, 32), tlsa(3, 31), tlsa(9, 32)];
    let world = listing_1().records(owner, RecordKind::Tlsa, records.clone());
    let discovery = discover(&world, &["240.0.1.1"]);
    let found = discovery.candidates();
    assert_eq!(found[0].pins.len(), 1);
    assert_eq!(found[0].pins[0].usage, CertificateUsage::DaneEe);
    let Lookup::Records(service) = zone_trail(&discovery, "domaina.example").service else {
        panic!("no records");
    };
    assert_eq!(service.sites[0].pins_refused.len(), 2);

    let unsigned = Answer::Records {
        records,
        ttl_seconds: 60,
        security: Security::Insecure,
    };
    let world = listing_1().set(owner, RecordKind::Tlsa, unsigned);
    let discovery = discover(&world, &["240.0.1.1"]);
    assert!(discovery.candidates()[0].pins.is_empty());
    let Lookup::Records(service) = zone_trail(&discovery, "domaina.example").service else {
        panic!("no records");
    };
    assert_eq!(service.sites[0].pins_refused, [PinRefusal::NotSigned]);
}

#[test]
fn tls_keys_are_not_even_asked_for_where_the_service_is_not_signed() {
    let world = listing_1().set(
        "_edge._tcp.domaina.example",
        RecordKind::Srv,
        Answer::Records {
            records: vec![srv(0, 0, 5060, "mecservera.domaina.example")],
            ttl_seconds: 60,
            security: Security::Insecure,
        },
    );
    let mut discovery = machine(Limits::default());
    discovery.start_run(at(0));
    discovery.observe_hop(sighting("240.0.1.1", "240.9.9.9", 3), at(0));
    let asked = world.run(&mut discovery, at(0));
    assert!(
        asked
            .iter()
            .all(|question| question.kind != RecordKind::Tlsa)
    );
    assert_eq!(discovery.candidates().len(), 1);
}

#[test]
fn a_router_is_confirmed_by_its_name_leading_back() {
    let routers = ["240.0.1.1", "240.0.1.2", "240.0.1.3"];
    let world = listing_1()
        .router("240.0.1.2", "cr2.domaina.example")
        .router("240.0.1.3", "cr3.domaina.example")
        .host("cr2.domaina.example", "240.0.1.2")
        .host("cr3.domaina.example", "240.0.1.99");
    let discovery = discover(&world, &routers);
    let found = discovery.candidates();
    assert_eq!(found[0].seen_on.len(), 3);
    assert_eq!(
        found[0].evidence.routers_confirmed,
        [address("240.0.1.2")].into()
    );
    let outcomes: Vec<Option<bool>> = zone_trail(&discovery, "domaina.example")
        .routers
        .iter()
        .map(|router| match router.confirmed {
            Lookup::Records(confirmed) => Some(confirmed),
            _ => None,
        })
        .collect();
    assert_eq!(outcomes, [None, Some(true), Some(false)]);
}

#[test]
fn a_router_with_many_links_is_confirmed_by_the_last_of_its_addresses() {
    let links = (1..=20).map(|n| RecordData::Address(address(&format!("240.0.1.{n}"))));
    let links: Vec<RecordData> = links.collect();
    let world = World::default()
        .router("240.0.1.20", "r.isp.example")
        .records("r.isp.example", RecordKind::A, links.clone())
        .records("s.isp.example", RecordKind::A, links)
        .records(ZONE, RecordKind::Srv, vec![srv(0, 0, 80, "s.isp.example")]);
    let discovery = discover(&world, &["240.0.1.20"]);
    let found = discovery.candidates();
    let router = address("240.0.1.20");
    assert_eq!(found[0].evidence.routers_confirmed, [router].into());
    assert_eq!(found[0].addresses.len(), 4, "a site needs no more");
    let Lookup::Records(service) = zone_trail(&discovery, "isp.example").service else {
        panic!("no records");
    };
    assert_eq!(service.sites[0].addresses_over_limit, 16);
}

#[test]
fn of_a_large_zone_only_some_routers_are_asked_for() {
    let routers: Vec<String> = (1..=40).map(|n| format!("240.0.1.{n}")).collect();
    let world = routers.iter().fold(listing_1(), |world, router| {
        let host = format!("r{}.domaina.example", router.replace('.', "-"));
        world.router(router, &host).host(&host, router)
    });
    let mut discovery = machine(Limits::default());
    discovery.start_run(at(0));
    for router in &routers {
        discovery.observe_hop(sighting(router, "240.9.9.9", 3), at(0));
    }
    let asked = world.run(&mut discovery, at(0));
    let forward = |question: &&Question| {
        question.kind == RecordKind::A && question.name.as_str().starts_with("r240")
    };
    assert_eq!(asked.iter().filter(forward).count(), 4);
    assert_eq!(
        discovery.candidates()[0].evidence.routers_confirmed.len(),
        4
    );
}

#[test]
fn where_nobody_says_whether_it_has_tls_keys_there_is_no_candidate() {
    let owner = "_5060._tcp.mecservera.domaina.example";
    let bogus = NoAnswer::Bogus {
        reason: "no such signature".to_owned(),
    };
    for lost in [
        NoAnswer::TimedOut {
            after: Duration::from_secs(1),
        },
        NoAnswer::Failed { response_code: 2 },
        bogus,
    ] {
        let world = listing_1().set(owner, RecordKind::Tlsa, Answer::Unanswered(lost.clone()));
        let discovery = discover(&world, &["240.0.1.1"]);
        let found = discovery.candidates();
        assert_eq!(found.len(), 1, "the other one: {lost:?}");
        assert_eq!(found[0].id.host, name("edgeplatformb.domaina.example"));
        assert_eq!(
            verdict(&discovery, "domaina.example"),
            SiteOutcome::Rejected(SiteRejection::TlsUnknown {
                name: name(owner),
                found: Lookup::Unanswered(lost),
            })
        );
    }
    // What was not asked was not denied either, wherever the run's questions end.
    let other = "_5060._tcp.edgeplatformb.domaina.example";
    let world = [owner, other]
        .into_iter()
        .fold(listing_1(), |world, owner| {
            world.records(owner, RecordKind::Tlsa, vec![tlsa(3, 32)])
        });
    let mut counts = BTreeSet::new();
    for questions_per_run in 1..40 {
        let limits = Limits {
            questions_per_run,
            ..Limits::default()
        };
        let mut discovery = machine(limits);
        discovery.start_run(at(0));
        discovery.observe_hop(sighting("240.0.1.1", "240.9.9.9", 3), at(0));
        world.run(&mut discovery, at(0));
        let found = discovery.candidates();
        assert!(found.iter().all(|found| found.announces_tls));
        counts.insert(found.len());
    }
    assert_eq!(
        counts.last(),
        Some(&2),
        "with enough of them both are found"
    );
}

#[test]
fn signed_tls_keys_that_nobody_understands_still_announce_tls() {
    let owner = "_5060._tcp.mecservera.domaina.example";
    let world = listing_1().records(owner, RecordKind::Tlsa, vec![tlsa(9, 32)]);
    let found = discover(&world, &["240.0.1.1"]).candidates();
    let told: Vec<_> = found
        .iter()
        .map(|found| (found.announces_tls, found.pins.len()))
        .collect();
    assert_eq!(told, [(true, 0), (false, 0)]);
}

/// The zone's own record of a site, and an instance at the same place that says `proto=https`.
fn https_instance() -> World {
    one_instance()
        .records(
            ZONE,
            RecordKind::Srv,
            vec![srv(0, 0, 8080, "s.isp.example")],
        )
        .records(
            "one._edge._tcp.isp.example",
            RecordKind::Txt,
            text(&["v=1", "proto=https"]),
        )
}

#[test]
fn a_signed_zone_whose_instances_are_unanswered_for_is_not_spoken_to_in_the_clear() {
    let says_https = |world: &World| {
        let found = discover(world, &["240.0.1.1"]).candidates();
        let profiles = found.iter().map(|found| found.profile.as_ref());
        profiles
            .map(|profile| profile.is_some_and(edge_discovery::Profile::says_https))
            .collect::<Vec<_>>()
    };
    assert_eq!(says_https(&https_instance()), [true]);
    let lost = || Answer::Unanswered(NoAnswer::Failed { response_code: 2 });
    let one = "one._edge._tcp.isp.example";
    for (owner, kind) in [
        (ZONE, RecordKind::Ptr),
        (one, RecordKind::Srv),
        (one, RecordKind::Txt),
    ] {
        let world = https_instance().set(owner, kind, lost());
        let discovery = discover(&world, &["240.0.1.1"]);
        assert_eq!(discovery.candidates(), [], "{kind:?}");
        assert_eq!(
            verdict(&discovery, "isp.example"),
            SiteOutcome::Rejected(SiteRejection::TlsUnknown {
                name: name(owner),
                found: Lookup::Unanswered(NoAnswer::Failed { response_code: 2 }),
            }),
            "{kind:?}"
        );
        // With a signed key of its own nothing of an instance could make it weaker.
        let tlsa = vec![tlsa(3, 32)];
        let pinned = world.records("_8080._tcp.s.isp.example", RecordKind::Tlsa, tlsa);
        let found = discover(&pinned, &["240.0.1.1"]).candidates();
        assert_eq!(found[0].pins.len(), 1, "{kind:?}");
        // What is not signed could be made up as well as dropped.
        let unsigned = Answer::Records {
            records: vec![srv(0, 0, 8080, "s.isp.example")],
            ttl_seconds: 60,
            security: Security::Insecure,
        };
        let world = https_instance()
            .set(ZONE, RecordKind::Srv, unsigned)
            .set(owner, kind, lost());
        assert_eq!(
            discover(&world, &["240.0.1.1"]).candidates().len(),
            1,
            "{kind:?}"
        );
    }
}

#[test]
fn no_site_of_a_signed_zone_is_told_before_its_instances_are_known() {
    let world = https_instance();
    let mut discovery = machine(Limits::default());
    discovery.start_run(at(0));
    discovery.observe_hop(sighting("240.0.1.1", "240.9.9.9", 3), at(0));
    while let Some(question) = discovery.poll_question(at(0)) {
        for candidate in discovery.candidates() {
            assert!(candidate.profile.is_some(), "before {question:?}");
        }
        discovery.handle_answer(&question, world.answer(&question), at(0));
    }
    assert_eq!(discovery.candidates().len(), 1);
}
