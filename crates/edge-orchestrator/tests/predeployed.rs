//! Own sites and listed ones, over a scripted path source and real connections.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use edge_discovery::{
    Absence, Answer, IepCandidate, Question, RecordData, RecordKind, Security, TlsPin,
};
use edge_orchestrator::lists::{better, read};
use edge_orchestrator::predeployed::{Predeployed, Watch};
use edge_orchestrator::topology_task::TopologySnapshot;
use edge_ports::{
    BoxFuture, FixedList, Listing, NameLookup, PathSource, SiteList, SystemClock, TraceError,
    TracePriority,
};
use edge_types::{
    AddressPolicy, ChainAddress, ChainId, Hop, HopReply, IepId, IepOrigin, ListedSite,
    MonotonicTime, PathEnd, PathObservation, PrefixGrouping, Rtt,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

const PATIENCE: Duration = Duration::from_secs(10);

/// Every target is 5 ms away.
#[derive(Debug, Default)]
struct Paths(AtomicUsize);

impl PathSource for Paths {
    fn trace(
        &self,
        target: IpAddr,
        _: TracePriority,
    ) -> BoxFuture<'_, Result<PathObservation, TraceError>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(PathObservation {
            target,
            observed_at: MonotonicTime::ZERO,
            hops: vec![Hop::Reply(HopReply::new(
                target,
                Rtt(Duration::from_millis(5)),
            ))],
            further: Vec::new(),
            end: PathEnd::Reached,
            probes_sent: 1,
        })))
    }
}

/// A site that answers its health check with 200 while `serves` is set.
async fn site(serves: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 512];
            let _ = stream.read(&mut head).await;
            let status = if serves.load(Ordering::SeqCst) {
                "200 OK"
            } else {
                "503 No"
            };
            let _ = stream
                .write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes())
                .await;
        }
    });
    address
}

#[tokio::test]
async fn own_sites_are_candidates_while_they_serve() {
    let serves = Arc::new(AtomicBool::new(true));
    let address = site(serves.clone()).await;
    let changed = Arc::new(Notify::new());
    let predeployed = Arc::new(Predeployed::new(
        &[("pop1.app.example".parse().unwrap(), address)],
        Watch {
            health_path: "/healthz".to_owned(),
            health_interval: Duration::from_millis(20),
            refresh_after: Duration::from_mins(5),
        },
        Arc::new(Paths::default()),
        Arc::new(SystemClock::start()),
        changed.clone(),
    ));
    let tree = TopologySnapshot::empty(PrefixGrouping::SITE).tree;
    assert!(predeployed.serving(&tree).0.is_empty(), "not looked at yet");
    let running = tokio::spawn(predeployed.clone().run());

    tokio::time::timeout(PATIENCE, changed.notified())
        .await
        .unwrap();
    let (candidates, serving) = predeployed.serving(&tree);
    let id = IepId {
        host: "pop1.app.example".parse().unwrap(),
        port: address.port(),
    };
    assert_eq!(
        (candidates.len(), candidates[0].site.clone()),
        (1, id.clone())
    );
    assert!(candidates[0].already_running && candidates[0].offer.is_none());
    assert_eq!(candidates[0].price_per_second.units, 0);
    assert_eq!(serving[&id].address, address);

    serves.store(false, Ordering::SeqCst);
    tokio::time::timeout(PATIENCE, changed.notified())
        .await
        .unwrap();
    assert!(predeployed.serving(&tree).0.is_empty());
    serves.store(true, Ordering::SeqCst);
    tokio::time::timeout(PATIENCE, changed.notified())
        .await
        .unwrap();
    assert_eq!(predeployed.serving(&tree).0.len(), 1, "back again");
    running.abort();
}

/// `home*.edges.example` is at 240.9.0.1, `inside.edges.example` at 10.0.0.1.
#[derive(Debug)]
struct Names;

impl NameLookup for Names {
    fn lookup<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        let security = Security::Insecure;
        let address = match question.name.as_str() {
            "inside.edges.example" => "10.0.0.1",
            _ => "240.9.0.1",
        };
        let answer =
            if question.kind == RecordKind::A && question.name.as_str() != "none.edges.example" {
                let records = vec![RecordData::Address(address.parse().unwrap())];
                Answer::Records {
                    records,
                    ttl_seconds: 60,
                    security,
                }
            } else {
                Answer::Absent {
                    absence: Absence::NoData,
                    soa: None,
                    security,
                }
            };
        Box::pin(std::future::ready(answer))
    }
}

#[derive(Debug)]
struct Unproven(Vec<ListedSite>);

impl SiteList for Unproven {
    fn origin(&self) -> IepOrigin {
        IepOrigin::WellKnown("edges.example".parse().unwrap())
    }

    fn read(&self) -> BoxFuture<'_, Listing> {
        Box::pin(std::future::ready(Listing {
            sites: self.0.clone(),
            is_authentic: false,
            was_read: true,
            problems: vec!["line 2: nonsense".to_owned()],
        }))
    }
}

fn listed(host: &str) -> ListedSite {
    ListedSite {
        id: IepId {
            host: host.parse().unwrap(),
            port: 80,
        },
        addresses: Vec::new(),
        key: Some((ChainId(1), ChainAddress([1; 20]))),
        tls: false,
    }
}

fn policy() -> AddressPolicy {
    AddressPolicy::new(vec!["240.0.0.0/4".parse().unwrap()])
}

#[tokio::test]
async fn listed_sites_are_looked_up_and_checked_and_say_who_named_them() {
    let hosts = [
        "home1.edges.example",
        "inside.edges.example",
        "none.edges.example",
    ];
    let lists: Vec<Arc<dyn SiteList>> = vec![
        Arc::new(FixedList(vec![listed("home2.edges.example")])),
        Arc::new(Unproven(hosts.map(listed).to_vec())),
    ];
    let found = read(&lists, &Names, &policy()).await;
    let told: Vec<_> = found
        .candidates
        .iter()
        .map(|found| {
            (
                found.id.to_string(),
                found.origin.to_string(),
                found.key.as_ref().unwrap().authenticated,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "home2.edges.example:80".to_owned(),
                "the configuration".to_owned(),
                true
            ),
            (
                "home1.edges.example:80".to_owned(),
                "the list of edges.example".to_owned(),
                false
            ),
        ]
    );
    assert_eq!(
        found.problems,
        [
            "the list of edges.example: line 2: nonsense",
            "the list of edges.example: inside.edges.example:80: none of its addresses may be contacted: 10.0.0.1 is private and not allowed by prefix",
            "the list of edges.example: none.edges.example:80: it has no address",
        ]
    );
}

#[test]
fn of_two_who_name_a_site_the_one_whose_key_is_bound_better_counts() {
    let candidate = |origin: IepOrigin, is_authentic| {
        let addresses = ["240.9.0.1".parse().unwrap()];
        IepCandidate::listed(
            &listed("a.example"),
            &addresses,
            origin,
            is_authentic,
            &policy(),
        )
        .unwrap()
    };
    let zone = || IepOrigin::Zone("example".parse().unwrap());
    let plain = candidate(zone(), false);
    let configured = candidate(IepOrigin::Configured, true);
    assert_eq!(better(&plain, configured.clone()), configured);
    assert_eq!(better(&configured, plain.clone()), configured);
    let without_key = IepCandidate {
        key: None,
        ..plain.clone()
    };
    assert_eq!(
        better(&plain, without_key.clone()),
        without_key,
        "the zone changed its mind"
    );
    assert_eq!(better(&configured, without_key), configured);

    // What signed records say of TLS is not lost by another's silence, and the newest keys count.
    let pin = |octet: &str| {
        format!("3 1 1 {}", octet.repeat(32))
            .parse::<TlsPin>()
            .unwrap()
    };
    let pinned = |octet: &str| IepCandidate {
        pins: vec![pin(octet)],
        announces_tls: true,
        ..plain.clone()
    };
    for (known, new, want) in [
        (pinned("aa"), configured.clone(), "aa"),
        (configured.clone(), pinned("aa"), "aa"),
        (better(&configured, pinned("aa")), pinned("bb"), "bb"),
    ] {
        let found = better(&known, new);
        assert_eq!((found.pins, found.announces_tls), (vec![pin(want)], true));
        assert_eq!(found.origin, IepOrigin::Configured);
    }
    let over_tls = IepCandidate {
        announces_tls: true,
        ..configured
    };
    assert!(better(&over_tls, plain).announces_tls);
}
