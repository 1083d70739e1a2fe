//! The driver over a simulated DNS with 20 ms round trips, in virtual time.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use edge_discovery::{
    Absence, Answer, AnswerName, Discovery, DiscoveryConfig, HopSighting, Limits, NegativeSoa,
    Question, RecordData, RecordKind, Security, SrvRecord, Trail,
};
use edge_ports::{BoxFuture, Clock, NameLookup};
use edge_resolver::{drive, drive_stream};
use edge_types::{
    AddressPolicy, Hop, HopReply, MonotonicTime, PathEnd, PathObservation, Rtt, UtcTime,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

const N_ROUTERS: u8 = 240;
const ROUND_TRIP: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn monotonic(&self) -> MonotonicTime {
        MonotonicTime(self.0.elapsed())
    }

    fn utc(&self) -> UtcTime {
        UtcTime(0)
    }
}

/// Router n is named in zone n % 24; every zone has two sites. Zone 23 never answers.
#[derive(Debug, Default)]
struct Simulated {
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

impl NameLookup for Simulated {
    fn lookup<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let under_way = 1 + self.under_way.fetch_add(1, Ordering::Relaxed);
            self.most_under_way.fetch_max(under_way, Ordering::Relaxed);
            if question.name.as_str().contains("isp23.") {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(ROUND_TRIP).await;
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            answer(question)
        })
    }
}

fn answer(question: &Question) -> Answer {
    let name = question.name.as_str();
    let zone = name
        .rsplit('.')
        .nth(1)
        .map(|label| format!("{label}.example"))
        .unwrap_or_default();
    let records = match question.kind {
        RecordKind::Ptr if name.ends_with(".arpa") => {
            let number: u8 = name.split('.').next().unwrap().parse().unwrap();
            vec![RecordData::Ptr(AnswerName::parse(&format!(
                "r{number}.pop.isp{}.example",
                number % 24
            )))]
        }
        RecordKind::Srv if name == format!("_edge._tcp.{zone}") => (1..=2)
            .map(|site| {
                RecordData::Srv(SrvRecord {
                    priority: 0,
                    weight: site,
                    port: 80,
                    target: AnswerName::parse(&format!("site{site}.{zone}")),
                })
            })
            .collect(),
        RecordKind::A => vec![RecordData::Address(IpAddr::V4(Ipv4Addr::new(240, 1, 0, 1)))],
        _ => {
            return Answer::Absent {
                absence: Absence::NxDomain,
                soa: Some(NegativeSoa {
                    apex: zone.parse().unwrap(),
                    negative_ttl_seconds: 300,
                }),
                security: Security::Indeterminate,
            };
        }
    };
    Answer::Records {
        records,
        ttl_seconds: 300,
        security: Security::Indeterminate,
    }
}

fn discovery() -> Discovery {
    let policy = AddressPolicy::new(vec!["240.0.0.0/4".parse().unwrap()]);
    Discovery::new(DiscoveryConfig::new("_edge._tcp", "t0ken", policy, Limits::default()).unwrap())
}

fn router(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(240, 0, 0, number))
}

fn parallelism() -> NonZeroUsize {
    NonZeroUsize::new(64).unwrap()
}

fn n_asked(trail: &Trail) -> (usize, usize) {
    (trail.addresses.len(), trail.zones.len())
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_routers_take_a_fraction_of_a_second() {
    let clock = VirtualClock(Instant::now());
    let lookup = Simulated::default();
    let mut discovery = discovery();
    discovery.start_run(clock.monotonic());
    for number in 0..N_ROUTERS {
        if number % 24 != 23 {
            discovery.observe_hop(
                HopSighting {
                    address: router(number),
                    path: router(250),
                    ttl: 1,
                },
                clock.monotonic(),
            );
        }
    }
    let mut first = None;
    drive(&mut discovery, &lookup, &clock, parallelism(), |_| {
        first.get_or_insert(clock.monotonic());
    })
    .await;
    assert_eq!(discovery.candidates().len(), 23 * 2);
    assert_eq!(
        n_asked(&discovery.trail()),
        (230, 23 * 2),
        "pop and registrable zone"
    );
    let took = clock.monotonic().0;
    assert!(took < Duration::from_millis(300), "took {took:?}");
    let first = first.unwrap().0;
    assert!(
        first <= 3 * ROUND_TRIP + Duration::from_millis(5),
        "first candidate after {first:?}"
    );
    assert_eq!(lookup.most_under_way.load(Ordering::Relaxed), 64);
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_never_answers_costs_the_run_time_and_nothing_else() {
    let clock = VirtualClock(Instant::now());
    let lookup = Simulated::default();
    let mut discovery = discovery();
    discovery.start_run(clock.monotonic());
    for number in 0..N_ROUTERS {
        discovery.observe_hop(
            HopSighting {
                address: router(number),
                path: router(250),
                ttl: 1,
            },
            clock.monotonic(),
        );
    }
    let mut last = MonotonicTime::ZERO;
    drive(&mut discovery, &lookup, &clock, parallelism(), |_| {
        last = clock.monotonic();
    })
    .await;
    assert_eq!(discovery.candidates().len(), 23 * 2);
    assert!(
        last.0 < Duration::from_millis(400),
        "last candidate at {last:?}"
    );
    let over = Limits::default().run_time;
    assert!(clock.monotonic().0 < over + Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn paths_are_taken_as_they_come() {
    let clock = VirtualClock(Instant::now());
    let lookup = Simulated::default();
    let mut discovery = discovery();
    let (sender, mut paths) = mpsc::channel(4);
    // Router 23's zone never answers, so the first run lasts until well after the last path.
    let tracing = async {
        for number in [1, 23, 2, 3, 4] {
            let path = PathObservation {
                target: router(250),
                observed_at: MonotonicTime::ZERO,
                hops: vec![Hop::Reply(HopReply::new(router(number), Rtt::default()))],
                further: Vec::new(),
                end: PathEnd::Silent,
                probes_sent: 1,
            };
            sender.send(path).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        drop(sender);
    };
    let mut told = Vec::new();
    let driving = async {
        while let Some(path) = paths.recv().await {
            discovery.start_run(clock.monotonic());
            discovery.observe_path(&path, clock.monotonic());
            drive_stream(
                &mut discovery,
                &lookup,
                &clock,
                parallelism(),
                &mut paths,
                |_| told.push(clock.monotonic().0),
            )
            .await;
        }
    };
    tokio::join!(tracing, driving);
    let want: Vec<Duration> = [0, 200, 300, 400]
        .into_iter()
        .flat_map(|start| [Duration::from_millis(start) + 3 * ROUND_TRIP; 2])
        .collect();
    let late = told
        .iter()
        .zip(&want)
        .map(|(told, want)| told.saturating_sub(*want));
    assert_eq!(told.len(), want.len());
    assert!(late.max() < Some(Duration::from_millis(8)), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn without_an_open_run_nothing_is_asked() {
    let clock = VirtualClock(Instant::now());
    let lookup = Simulated::default();
    let mut discovery = discovery();
    discovery.observe_zone("isp1.example".parse().unwrap(), clock.monotonic());
    drive(&mut discovery, &lookup, &clock, parallelism(), |_| {}).await;
    assert_eq!(lookup.most_under_way.load(Ordering::Relaxed), 0);
}
