//! The topology task against a scripted path source, in paused time.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge_discovery::{Absence, Answer, AnswerName, Question, RecordData, Security};
use edge_http::front_end::Sighting;
use edge_orchestrator::topology_task::{Domains, TopologySettings, TopologySnapshot, TopologyTask};
use edge_ports::{BoxFuture, Clock, NameLookup, PathSource, TraceError, TracePriority};
use edge_topology::NodeId;
use edge_types::{
    AddressPolicy, Hop, HopReply, MonotonicTime, PathEnd, PathObservation, PrefixGrouping, Rtt,
    UtcTime,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

/// Every target is 20 ms behind router 240.1.0.1, which is 5 ms away; targets in 240.9.0.0/16 are refused, those in 240.5.0.0/16
/// are behind another router each time, for those in 240.6.0.0/16 the time runs out, those in 240.7.0.0/16 are silent, a router
/// before those in 240.8.0.0/16 always is, and one before those in 240.10.0.0/16 the first time.
#[derive(Debug)]
struct Scripted {
    clock: TestClock,
    asked: Mutex<Vec<(IpAddr, TracePriority)>>,
}

impl PathSource for Scripted {
    fn trace(
        &self,
        target: IpAddr,
        priority: TracePriority,
    ) -> BoxFuture<'_, Result<PathObservation, TraceError>> {
        let mut asked = self.asked.lock().unwrap();
        let is_within = move |prefix: &str| target.to_string().starts_with(prefix);
        let before = asked.iter().filter(|(known, _)| *known == target).count();
        let router = if is_within("240.5.") { 1 + before } else { 1 };
        let router: IpAddr = format!("240.1.0.{router}").parse().unwrap();
        asked.push((target, priority));
        drop(asked);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if is_within("240.9.") {
                return Err(TraceError::OptedOut(target));
            }
            let reply = |address: IpAddr, ms| {
                Hop::Reply(HopReply::new(address, Rtt(Duration::from_millis(ms))))
            };
            Ok(PathObservation {
                target,
                observed_at: self.clock.monotonic(),
                hops: vec![
                    if is_within("240.8.") || (is_within("240.10.") && before == 0) {
                        Hop::NoReply
                    } else {
                        reply(router, 5)
                    },
                    if is_within("240.7.") {
                        Hop::NoReply
                    } else {
                        reply(target, 25)
                    },
                ],
                further: Vec::new(),
                end: if is_within("240.6.") {
                    PathEnd::TimedOut
                } else if is_within("240.7.") {
                    PathEnd::Silent
                } else {
                    PathEnd::Reached
                },
                probes_sent: 2,
            })
        })
    }
}

/// Follows the runtime's paused time.
#[derive(Clone, Copy, Debug)]
struct TestClock(Instant);

impl Clock for TestClock {
    fn monotonic(&self) -> MonotonicTime {
        MonotonicTime(self.0.elapsed())
    }

    fn utc(&self) -> UtcTime {
        UtcTime(1_800_000_000 + self.0.elapsed().as_secs())
    }
}

fn settings(change_threshold: f64) -> TopologySettings {
    TopologySettings {
        grouping: PrefixGrouping::SITE,
        router_grouping: PrefixGrouping::new(32, 128).unwrap(),
        max_prefixes: 100,
        requests_before_trace: 2,
        interval: Duration::from_millis(100),
        change_threshold,
        refresh_after: Duration::from_secs(60),
    }
}

/// The name of 240.1.0.1 is in isp.example; nobody else has one.
#[derive(Debug)]
struct OneName;

impl NameLookup for OneName {
    fn lookup<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        let security = Security::Insecure;
        let answer = if question.name.as_str() == "1.0.1.240.in-addr.arpa" {
            Answer::Records {
                records: vec![RecordData::Ptr(AnswerName::parse("r1.fra.isp.example."))],
                ttl_seconds: 60,
                security,
            }
        } else {
            Answer::Absent {
                absence: Absence::NxDomain,
                soa: None,
                security,
            }
        };
        Box::pin(std::future::ready(answer))
    }
}

struct Bench {
    clock: TestClock,
    paths: Arc<Scripted>,
    sightings: mpsc::Sender<Sighting>,
    snapshots: watch::Receiver<Arc<TopologySnapshot>>,
    signals: Arc<AtomicUsize>,
}

impl Bench {
    fn start() -> Self {
        Self::start_with(0.02)
    }

    fn start_with(change_threshold: f64) -> Self {
        Self::start_as(settings(change_threshold))
    }

    fn start_as(settings: TopologySettings) -> Self {
        Self::start_by(settings, None)
    }

    fn start_by(settings: TopologySettings, domains: Option<Domains>) -> Self {
        let clock = TestClock(Instant::now());
        let paths = Arc::new(Scripted {
            clock,
            asked: Mutex::default(),
        });
        let (sightings, seen) = mpsc::channel(64);
        let (publish, snapshots) =
            watch::channel(Arc::new(TopologySnapshot::empty(PrefixGrouping::SITE)));
        let changed = Arc::new(Notify::new());
        let task = TopologyTask::new(
            settings,
            Arc::clone(&paths) as Arc<dyn PathSource>,
            Arc::new(clock),
            publish,
            Arc::clone(&changed),
        );
        tokio::spawn(task.by_domain(domains).run(seen));
        let signals = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&signals);
        tokio::spawn(async move {
            loop {
                changed.notified().await;
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            clock,
            paths,
            sightings,
            snapshots,
            signals,
        }
    }

    async fn request(&self, client: &str) {
        self.request_over(client, None).await;
    }

    async fn request_over(&self, client: &str, rtt: Option<Rtt>) {
        let sighting = Sighting {
            client: client.parse().unwrap(),
            at: self.clock.monotonic(),
            rtt,
        };
        self.sightings.send(sighting).await.unwrap();
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn asked(&self) -> Vec<(String, TracePriority)> {
        let asked = self.paths.asked.lock().unwrap();
        asked
            .iter()
            .map(|(target, priority)| (target.to_string(), *priority))
            .collect()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn clients_hang_on_the_domain_of_their_routers_where_that_is_wanted() {
    let router = |bench: &Bench| {
        let snapshot = Arc::clone(&bench.snapshots.borrow());
        let groups = snapshot
            .tree
            .nodes()
            .iter()
            .filter_map(|node| match &node.id {
                NodeId::Group(place) => Some(place.to_string()),
                _ => None,
            });
        groups.collect::<Vec<_>>()
    };
    let policy = AddressPolicy::new(vec!["240.0.0.0/4".parse().unwrap()]);
    let domains = Domains::new(Arc::new(OneName), policy);
    for (domains, expected) in [(None, "240.1.0.1/32"), (Some(domains), "isp.example")] {
        let bench = Bench::start_by(settings(0.02), domains);
        for _ in 0..2 {
            bench.request("240.2.0.8").await;
        }
        bench.pass(SECOND).await;
        assert_eq!(router(&bench), [expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_prefix_is_traced_once_after_enough_requests() {
    let bench = Bench::start();
    bench.request("240.2.0.7").await;
    bench.pass(SECOND).await;
    assert_eq!(
        bench.asked(),
        [],
        "one request is not enough (security rule 2)"
    );

    bench.request("240.2.0.8").await;
    for _ in 0..5 {
        bench.request("240.2.0.9").await;
    }
    bench.pass(SECOND).await;
    assert_eq!(
        bench.asked(),
        [("240.2.0.8".to_owned(), TracePriority::New)]
    );

    let snapshot = Arc::clone(&bench.snapshots.borrow());
    let leaf = snapshot
        .tree
        .client("240.2.0.0/24".parse().unwrap())
        .unwrap();
    assert_eq!(leaf.rtt.rtt, Rtt(Duration::from_millis(25)));
    assert_eq!((snapshot.prefixes_seen, snapshot.traces_done), (1, 1));
    assert_eq!(snapshot.tracing_since, None);
    assert!(
        bench.signals.load(Ordering::Relaxed) > 0,
        "new demand is a change"
    );
}

#[tokio::test(start_paused = true)]
async fn the_target_s_own_connections_are_further_samples_of_it() {
    let bench = Bench::start();
    for (client, rtt_ms) in [
        ("240.2.0.8", 24),
        ("240.2.0.8", 21),
        ("240.2.0.8", 23),
        ("240.2.0.9", 1),
    ] {
        let rtt = Rtt(Duration::from_millis(rtt_ms));
        bench.request_over(client, Some(rtt)).await;
    }
    bench.pass(SECOND).await;
    let target = "240.2.0.8".parse().unwrap();
    let snapshot = Arc::clone(&bench.snapshots.borrow());
    let shortest = Rtt(Duration::from_millis(21));
    assert_eq!(
        snapshot.paths[&target].further,
        [(2, HopReply::new(target, shortest))]
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_s_own_connections_tell_how_far_it_is() {
    let bench = Bench::start();
    let rtt = Rtt(Duration::from_millis(60));
    for client in ["240.7.0.8", "240.7.0.8"] {
        bench.request_over(client, Some(rtt)).await;
    }
    bench.pass(SECOND).await;
    let snapshot = Arc::clone(&bench.snapshots.borrow());
    let prefix = "240.7.0.0/24".parse().unwrap();
    assert_eq!(snapshot.tree.client(prefix).unwrap().rtt.rtt, rtt);
}

#[tokio::test(start_paused = true)]
async fn what_stays_as_it_was_raises_no_signal() {
    let bench = Bench::start();
    let ask_for = async |seconds: u32| {
        // So many that one more or less is far below the threshold of change.
        for _ in 0..20 * seconds {
            bench.request("240.2.0.7").await;
            bench.pass(SECOND / 20).await;
        }
    };
    // Eight times the forgetting time: the rate has settled.
    ask_for(240).await;
    let generation = bench.snapshots.borrow().tree.generation();
    let mut signals_in = Vec::new();
    for _ in 0..3 {
        let before = bench.signals.load(Ordering::Relaxed);
        ask_for(20).await;
        signals_in.push(bench.signals.load(Ordering::Relaxed) - before);
    }
    // What was left of its rise may still have been just below the threshold.
    let late: usize = signals_in.iter().sum();
    assert!(late <= 1 && signals_in.contains(&0), "{signals_in:?}");
    assert!(
        bench.snapshots.borrow().tree.generation() > generation,
        "snapshots are numbered"
    );
}

#[tokio::test(start_paused = true)]
async fn a_flash_crowd_raises_the_signal_whatever_the_threshold() {
    // No change of paths or demand is above this.
    let bench = Bench::start_with(1.0);
    let ask = async |seconds: u32, per_second: u32| {
        for _ in 0..per_second * seconds {
            bench.request("240.2.0.7").await;
            bench.pass(SECOND / per_second).await;
        }
        bench.signals.load(Ordering::Relaxed)
    };
    assert_eq!(ask(60, 20).await, 0, "steady demand is no alarm");
    assert_eq!(ask(4, 200).await, 1, "a crowd is, once");
    assert_eq!(ask(60, 200).await, 1, "its level is learned");
    assert_eq!(ask(5, 20).await, 2, "and its end is one too");
}

#[tokio::test(start_paused = true)]
async fn a_refused_trace_is_counted_and_not_repeated_at_once() {
    let bench = Bench::start();
    for _ in 0..20 {
        bench.request("240.9.0.7").await;
        bench.pass(Duration::from_millis(300)).await;
    }
    assert_eq!(bench.asked().len(), 1);
    assert_eq!(bench.snapshots.borrow().traces_refused, 1);
    bench.pass(10 * SECOND).await;
    bench.request("240.9.0.7").await;
    bench.pass(SECOND).await;
    assert_eq!(bench.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn only_active_prefixes_are_refreshed() {
    let bench = Bench::start();
    for client in ["240.2.0.7", "240.3.0.7"] {
        bench.request(client).await;
        bench.request(client).await;
    }
    bench.pass(40 * SECOND).await;
    bench.request("240.2.0.7").await;
    bench.pass(25 * SECOND).await;
    let refreshed: Vec<_> = bench.asked().split_off(2);
    assert_eq!(
        refreshed,
        [("240.2.0.7".to_owned(), TracePriority::Refresh)]
    );
}

#[tokio::test(start_paused = true)]
async fn what_changed_or_was_cut_short_goes_before_routine_refreshes() {
    let bench = Bench::start();
    let clients = ["240.2.0.7", "240.5.0.7", "240.6.0.7"];
    for _ in 0..130 {
        for client in clients {
            bench.request(client).await;
        }
        bench.pass(SECOND).await;
    }
    let of = |client: &str| -> Vec<TracePriority> {
        let asked = bench.asked().into_iter();
        let asked = asked.filter(|(target, _)| target == client);
        asked.map(|(_, priority)| priority).collect()
    };
    use TracePriority::{New, Refresh, Unstable};
    assert_eq!(of(clients[0]), [New, Refresh, Refresh]);
    assert_eq!(of(clients[1]), [New, Refresh, Unstable]);
    assert_eq!(of(clients[2])[..4], [New, Unstable, Unstable, Unstable]);
}

#[tokio::test(start_paused = true)]
async fn refreshes_leave_half_of_the_traces_to_new_prefixes() {
    let bench = Bench::start_as(TopologySettings {
        grouping: PrefixGrouping::SITE,
        router_grouping: PrefixGrouping::new(32, 128).unwrap(),
        max_prefixes: 3000,
        requests_before_trace: 1,
        interval: Duration::from_secs(40),
        change_threshold: 1.0,
        refresh_after: Duration::from_secs(60),
    });
    let ask_all = async || {
        for number in 0..3000 {
            let client = format!("240.2{}.{}.7", number / 250, number % 250);
            bench.request(&client).await;
        }
    };
    ask_all().await;
    bench.pass(50 * SECOND).await;
    ask_all().await;
    assert_eq!(bench.asked().len(), 3000);
    bench.pass(31 * SECOND).await;
    assert_eq!(bench.asked().len(), 3000 + 2048);
}

#[tokio::test(start_paused = true)]
async fn a_path_with_gaps_is_looked_at_once_more() {
    let bench = Bench::start();
    for _ in 0..2 {
        for client in ["240.2.0.10", "240.8.0.10", "240.10.0.10"] {
            bench.request(client).await;
        }
    }
    bench.pass(20 * SECOND).await;
    let of = |client: &str| -> Vec<TracePriority> {
        let asked = bench.asked().into_iter();
        let asked = asked.filter(|(target, _)| target == client);
        asked.map(|(_, priority)| priority).collect()
    };
    let again = vec![TracePriority::New, TracePriority::Unstable];
    assert_eq!(of("240.2.0.10"), [TracePriority::New]);
    assert_eq!(of("240.10.0.10"), again, "complete now");
    assert_eq!(of("240.8.0.10"), again, "the same gap twice stays");
}
