//! Zones that do not say the same to everybody, always and everywhere: each answer is legal by itself, and what comes of them
//! has to be one that somebody gave, never a mixture.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use edge_discovery::{Discovery, DiscoveryConfig, Limits};
use edge_lab::network::PartyId;
use edge_lab::sandbox::Inside;
use edge_ports::{Clock as _, SystemClock};
use edge_resolver::{Resolver, drive};

use crate::account;
use crate::dig;
use crate::place::{self, Host};
use crate::zones::Split;

/// By whom it is asked, BIND's by views, PowerDNS's by a program in the record.
const BY_ASKER: [&str; 2] = ["asker-bind.example", "asker-pdns.example"];
/// By when; its records hold for a second.
const BY_TIME: &str = "turn.example";
/// By which of two servers: each names an entry point of its own.
const BY_SERVER: &str = "disagree.example";
/// By which of two servers: one name, two addresses.
const BY_ADDRESS: &str = "differ.example";
/// PowerDNS has the zone, and still an old copy of the zone that its target is in, which is Knot's now. (None of the servers adds addresses
/// from another zone by itself.)
const STALE: &str = "stale.example";
const MOVED: &str = "moved.example";

/// How long the second answer may take to be seen.
const PATIENCE: Duration = Duration::from_secs(10);

fn site(name: &str, last: u8) -> String {
    format!("_edge._tcp 1 IN SRV 10 10 8080 {name}\n{name} 1 IN A 240.99.8.{last}\n")
}

fn turned(has_turned: bool) -> String {
    if has_turned {
        site("new", 41)
    } else {
        site("old", 40)
    }
}

fn splits() -> Vec<Split> {
    let unbound = Host::Unbound.address();
    let [by_bind, by_pdns] = BY_ASKER;
    let split = |apex, servers, copies| Split {
        apex,
        servers,
        copies,
        for_unbound: None,
    };
    vec![
        Split {
            for_unbound: Some(site("unbounds", 31)),
            ..split(
                by_bind,
                &[Host::Bind],
                vec![(Host::Bind, site("clouds", 30))],
            )
        },
        split(
            by_pdns,
            &[Host::Pdns],
            vec![(
                Host::Pdns,
                format!(
                    "_edge._tcp IN LUA SRV \";if netmask({{'{unbound}/32'}}) then return '10 10 8080 unbounds.{by_pdns}.' \
                     else return '10 10 8080 clouds.{by_pdns}.' end\"\n\
                     clouds IN A 240.99.8.30\nunbounds IN A 240.99.8.31\n"
                ),
            )],
        ),
        split(BY_TIME, &[Host::Knot], vec![(Host::Knot, turned(false))]),
        split(
            BY_SERVER,
            &[Host::Bind, Host::Knot],
            vec![
                (Host::Bind, site("binds", 32)),
                (Host::Knot, site("knots", 33)),
            ],
        ),
        split(
            BY_ADDRESS,
            &[Host::Nsd, Host::Pdns],
            vec![
                (Host::Nsd, site("site", 34)),
                (Host::Pdns, site("site", 35)),
            ],
        ),
        split(
            STALE,
            &[Host::Pdns],
            vec![(
                Host::Pdns,
                format!("_edge._tcp IN SRV 10 10 8080 site.{MOVED}.\n"),
            )],
        ),
        split(
            MOVED,
            &[Host::Knot],
            vec![
                (Host::Pdns, "site IN A 240.99.8.36\n".to_owned()),
                (Host::Knot, "site IN A 240.99.8.37\n".to_owned()),
            ],
        ),
    ]
}

/// A line of an account.
fn candidate(name: &str, last: u8) -> String {
    format!("{name}:8080 candidate 240.99.8.{last}")
}

pub(crate) fn each_is_taken_as_given(inside: Inside) {
    let lab = place::start(inside, 1.0);
    let splits = splits();
    let (served, servers) = crate::serve_with(&lab, &[], &Host::PEERS, &[], &splits);
    let _unbound = crate::start_unbound(&lab, &served);
    let cloud = lab.party(PartyId::Cloud).unwrap();
    let asker = Host::Unbound.party(&lab);

    // What the servers say.
    let target = |name: &str| vec![format!("SRV 10 10 8080 {name}.")];
    for (apex, host) in BY_ASKER.into_iter().zip([Host::Bind, Host::Pdns]) {
        let service = format!("_edge._tcp.{apex}");
        let ask = |from| dig::records(from, host, &service, "SRV");
        assert_eq!(ask(cloud), target(&format!("clouds.{apex}")));
        assert_eq!(ask(asker), target(&format!("unbounds.{apex}")));
    }
    let service = format!("_edge._tcp.{BY_SERVER}");
    for host in [Host::Bind, Host::Knot] {
        let said = dig::records(cloud, host, &service, "SRV");
        assert_eq!(said, target(&format!("{}s.{BY_SERVER}", host.name())));
    }
    let address = |host, name: &str| dig::records(cloud, host, name, "A");
    let site = format!("site.{BY_ADDRESS}");
    assert_eq!(address(Host::Nsd, &site), ["A 240.99.8.34"]);
    assert_eq!(address(Host::Pdns, &site), ["A 240.99.8.35"]);
    let old = address(Host::Pdns, &format!("site.{MOVED}"));
    assert_eq!(old, ["A 240.99.8.36"]);
    let moved = address(Host::Knot, &format!("site.{MOVED}"));
    assert_eq!(moved, ["A 240.99.8.37"]);

    // What discovery makes of it.
    let direct = crate::direct_resolver(&served);
    let unbound = crate::resolver(Host::Unbound);
    crate::in_cloud(&lab, async {
        for (resolver, asker) in [(&direct, "clouds"), (&unbound, "unbounds")] {
            let mut discovery = Looking::new();
            discovery.look(resolver).await;
            for apex in BY_ASKER {
                let last = if asker == "clouds" { 30 } else { 31 };
                let expected = [candidate(&format!("{asker}.{apex}"), last)];
                assert_eq!(discovery.account(apex), expected);
            }
            assert_eq!(
                discovery.account(STALE),
                [candidate(&format!("site.{MOVED}"), 37)]
            );
            let legal = |apex: &str, sites: [(&str, u8); 2], may_be_lost: bool| {
                let mut lines = BTreeSet::new();
                for (name, last) in sites {
                    let name = format!("{name}.{apex}");
                    lines.insert(candidate(&name, last));
                    if may_be_lost {
                        lines.insert(format!("{name}:8080 refused NoAddress"));
                    }
                }
                lines
            };
            // Whoever names the entry point of one server and asks the other for it hears that there is none.
            let account = discovery.account(BY_SERVER);
            let sites = legal(BY_SERVER, [("binds", 32), ("knots", 33)], true);
            assert!(
                account.len() == 1 && sites.contains(&account[0]),
                "{account:?}"
            );
            let account = discovery.account(BY_ADDRESS);
            let sites = legal(BY_ADDRESS, [("site", 34), ("site", 35)], false);
            assert!(
                account.len() == 1 && sites.contains(&account[0]),
                "{account:?}"
            );
        }
    });

    // The zone changes while both remember the old one.
    let knot = served
        .zones
        .keys()
        .position(|host| *host == Host::Knot)
        .unwrap();
    let turn = splits.iter().find(|split| split.apex == BY_TIME).unwrap();
    crate::in_cloud(&lab, async {
        let old = [candidate(&format!("old.{BY_TIME}"), 40)];
        let new = [candidate(&format!("new.{BY_TIME}"), 41)];
        let mut looking = [(&direct, Looking::new()), (&unbound, Looking::new())];
        for (resolver, discovery) in &mut looking {
            discovery.look(resolver).await;
            assert_eq!(discovery.account(BY_TIME), old);
        }
        turn.write(Host::Knot, &turned(true), &lab.inside().directory);
        servers[knot].reload();
        for (resolver, discovery) in &mut looking {
            let started = Instant::now();
            while discovery.account(BY_TIME) != new {
                assert_eq!(discovery.account(BY_TIME), old);
                assert!(started.elapsed() < PATIENCE, "the old answer is kept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                discovery.look(resolver).await;
            }
        }
    });
    let service = format!("_edge._tcp.{BY_TIME}");
    let said = dig::records(cloud, Host::Knot, &service, "SRV");
    assert_eq!(said, target(&format!("new.{BY_TIME}")));
    lab.stop().unwrap();
}

/// A discovery that goes on from look to look, as an orchestrator's does.
struct Looking {
    discovery: Discovery,
    clock: SystemClock,
}

impl Looking {
    fn new() -> Self {
        let limits = Limits {
            // As short as the records of the zone that changes say.
            record_lifetime: (Duration::ZERO, Duration::from_hours(24)),
            ..crate::limits()
        };
        let policy = account::lab_policy();
        let config = DiscoveryConfig::new(DiscoveryConfig::SERVICE, "t0ken", policy, limits);
        let mut discovery = Discovery::new(config.unwrap());
        let clock = SystemClock::start();
        for split in splits() {
            discovery.observe_zone(split.apex.parse().unwrap(), clock.monotonic());
        }
        Self { discovery, clock }
    }

    async fn look(&mut self, resolver: &Resolver) {
        self.discovery.start_run(self.clock.monotonic());
        let parallelism = NonZeroUsize::new(64).unwrap();
        drive(
            &mut self.discovery,
            resolver,
            &self.clock,
            parallelism,
            |_| {},
        )
        .await;
    }

    fn account(&self, apex: &str) -> Vec<String> {
        account::of_zones(&self.discovery.trail(), apex)
    }
}
