//! Holders of addresses that have no name, against scripted worlds.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod world;

use std::time::Duration;

use edge_discovery::{
    AddressOutcome, Discovery, DiscoveryConfig, Limits, Lookup, NoOwner, Owner, OwnerAnswer,
    OwnerSource, RecordKind,
};

use world::{World, address, at, listing_1, name, policy, sighting, srv};

fn asking() -> Discovery {
    let config = DiscoveryConfig::new("_edge._tcp", "t0ken", policy(), Limits::default());
    Discovery::new(config.unwrap().asking_owners())
}

fn holder(domains: &[&str]) -> OwnerAnswer {
    OwnerAnswer::Found(Owner {
        prefix: "240.0.0.0/16".parse().unwrap(),
        organisation: "Example ISP".to_owned(),
        domains: domains.iter().map(|domain| name(domain)).collect(),
        source: OwnerSource::Rdap,
    })
}

/// A zone with a site, and no router that has a name.
fn nameless() -> World {
    World::default()
        .records(
            "_edge._tcp.isp.example",
            RecordKind::Srv,
            vec![srv(0, 0, 80, "s.isp.example")],
        )
        .host("s.isp.example", "240.0.9.30")
}

#[test]
fn the_holders_domain_is_asked_where_no_name_leads_to_a_zone() {
    let world = nameless();
    let mut discovery = asking();
    discovery.start_run(at(0));
    for router in ["240.0.1.1", "240.0.2.1"] {
        discovery.observe_hop(sighting(router, "240.9.9.9", 3), at(0));
    }
    world.run(&mut discovery, at(0));
    assert_eq!(discovery.candidates(), []);
    let asked = discovery.poll_owner(at(0)).unwrap();
    assert_eq!(discovery.poll_owner(at(0)), None, "one serves both");
    discovery.handle_owner(asked, holder(&["isp.example"]), at(0));
    world.run(&mut discovery, at(0));
    let found = discovery.candidates();
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].seen_on,
        [address("240.0.1.1"), address("240.0.2.1")].into()
    );
    assert!(found[0].evidence.routers_confirmed.is_empty());
}

#[test]
fn nobody_asks_for_the_holder_of_an_address_with_a_good_name_or_no_answer() {
    let mut discovery = asking();
    discovery.start_run(at(0));
    discovery.observe_hop(sighting("240.0.1.1", "240.9.9.9", 3), at(0));
    assert_eq!(
        discovery.poll_owner(at(0)),
        None,
        "the name is not known yet"
    );
    listing_1().run(&mut discovery, at(0));
    assert_eq!(discovery.poll_owner(at(0)), None, "it has a good one");
}

#[test]
fn a_name_that_leads_nowhere_is_as_none() {
    let world = nameless().router("240.0.1.1", "unknown.isp.example");
    let mut discovery = asking();
    discovery.start_run(at(0));
    discovery.observe_hop(sighting("240.0.1.1", "240.9.9.9", 3), at(0));
    world.run(&mut discovery, at(0));
    assert_eq!(discovery.poll_owner(at(0)), Some(address("240.0.1.1")));
    let limited = OwnerAnswer::Unanswered(NoOwner::RateLimited {
        wait: Duration::from_hours(1),
    });
    discovery.handle_owner(address("240.0.1.1"), limited.clone(), at(0));
    let trail = discovery.trail();
    assert_eq!(trail.addresses[0].owner, Some(limited));
    assert!(matches!(
        trail.addresses[0].outcome,
        AddressOutcome::Ptr(Lookup::Records(_))
    ));
    discovery.start_run(at(3599));
    world.run(&mut discovery, at(3599));
    assert_eq!(discovery.poll_owner(at(3599)), None, "as the server asked");
}

#[test]
fn without_being_told_to_no_holder_is_asked_for() {
    let mut discovery = world::machine(Limits::default());
    discovery.start_run(at(0));
    discovery.observe_hop(sighting("240.0.1.1", "240.9.9.9", 3), at(0));
    World::default().run(&mut discovery, at(0));
    assert_eq!(discovery.poll_owner(at(0)), None);
}
