//! Worlds of DNS answers in memory, and a machine that is run over them.

#![allow(dead_code, reason = "not every test file uses every helper")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use edge_discovery::{
    Absence, Answer, AnswerName, Discovery, DiscoveryConfig, HopSighting, Limits, Lookup,
    NegativeSoa, Question, RecordData, RecordKind, Security, SiteOutcome, SrvRecord, ZoneTrail,
};
use edge_types::{AddressPolicy, DnsName, MonotonicTime};

pub(crate) fn name(text: &str) -> DnsName {
    text.parse().unwrap()
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn at(seconds: u64) -> MonotonicTime {
    MonotonicTime(Duration::from_secs(seconds))
}

pub(crate) fn policy() -> AddressPolicy {
    AddressPolicy::new(vec![
        "240.0.0.0/4".parse().unwrap(),
        "3fff::/20".parse().unwrap(),
    ])
}

pub(crate) fn machine(limits: Limits) -> Discovery {
    Discovery::new(
        DiscoveryConfig::new(DiscoveryConfig::SERVICE, "t0ken", policy(), limits).unwrap(),
    )
}

pub(crate) fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RecordData {
    RecordData::Srv(SrvRecord {
        priority,
        weight,
        port,
        target: AnswerName::parse(target),
    })
}

pub(crate) fn ptr(host: &str) -> RecordData {
    RecordData::Ptr(AnswerName::parse(host))
}

pub(crate) fn absent(apex: &str) -> Answer {
    Answer::Absent {
        absence: Absence::NxDomain,
        soa: Some(NegativeSoa {
            apex: name(apex),
            negative_ttl_seconds: 300,
        }),
        security: Security::Indeterminate,
    }
}

/// Answers by question; everything else is NXDOMAIN without SOA.
#[derive(Default)]
pub(crate) struct World {
    answers: BTreeMap<Question, Answer>,
}

impl World {
    pub(crate) fn set(mut self, owner: &str, kind: RecordKind, answer: Answer) -> Self {
        self.answers
            .insert(Question::new(name(owner), kind), answer);
        self
    }

    pub(crate) fn records(self, owner: &str, kind: RecordKind, records: Vec<RecordData>) -> Self {
        self.set(
            owner,
            kind,
            Answer::Records {
                records,
                ttl_seconds: 600,
                security: Security::Secure,
            },
        )
    }

    pub(crate) fn no_data(self, owner: &str, kind: RecordKind) -> Self {
        let answer = Answer::Absent {
            absence: Absence::NoData,
            soa: None,
            security: Security::Secure,
        };
        self.set(owner, kind, answer)
    }

    pub(crate) fn router(self, router: &str, host: &str) -> Self {
        let owner = edge_discovery::reverse_name(address(router));
        self.records(owner.as_str(), RecordKind::Ptr, vec![ptr(host)])
    }

    pub(crate) fn host(self, host: &str, at: &str) -> Self {
        self.records(host, RecordKind::A, vec![RecordData::Address(address(at))])
    }

    pub(crate) fn answer(&self, question: &Question) -> Answer {
        self.answers
            .get(question)
            .cloned()
            .unwrap_or(Answer::Absent {
                absence: Absence::NxDomain,
                soa: None,
                security: Security::Indeterminate,
            })
    }

    /// Answers until nothing is asked any more; the questions in the order asked.
    pub(crate) fn run(&self, discovery: &mut Discovery, now: MonotonicTime) -> Vec<Question> {
        let mut asked = Vec::new();
        while let Some(question) = discovery.poll_question(now) {
            discovery.handle_answer(&question, self.answer(&question), now);
            asked.push(question);
        }
        asked
    }
}

pub(crate) fn sighting(router: &str, path: &str, ttl: u8) -> HopSighting {
    HopSighting {
        address: address(router),
        path: address(path),
        ttl,
    }
}

/// One router of one provider with two sites, as in the paper's Listing 1.
pub(crate) fn listing_1() -> World {
    World::default()
        .router("240.0.1.1", "cr1.domaina.example")
        .records(
            "_edge._tcp.domaina.example",
            RecordKind::Srv,
            vec![
                srv(10, 10, 5060, "edgeplatformb.domaina.example"),
                srv(10, 30, 5060, "mecservera.domaina.example"),
            ],
        )
        .host("mecservera.domaina.example", "240.0.1.30")
        .host("edgeplatformb.domaina.example", "240.0.1.31")
}

pub(crate) fn discover(world: &World, routers: &[&str]) -> Discovery {
    let mut discovery = machine(Limits::default());
    discovery.start_run(at(0));
    for router in routers {
        discovery.observe_hop(sighting(router, "240.9.9.9", 3), at(0));
    }
    world.run(&mut discovery, at(0));
    assert!(discovery.is_settled());
    discovery
}

pub(crate) fn zone_trail(discovery: &Discovery, zone: &str) -> ZoneTrail {
    let found = discovery
        .trail()
        .zones
        .into_iter()
        .find(|trail| trail.zone == name(zone));
    found.unwrap()
}

/// The verdict on the only SRV record of a zone.
pub(crate) fn verdict(discovery: &Discovery, zone: &str) -> SiteOutcome {
    match zone_trail(discovery, zone).service {
        Lookup::Records(service) => service.sites[0].outcome.clone(),
        other => panic!("no records but {other:?}"),
    }
}
