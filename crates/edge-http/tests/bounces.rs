//! Bounced requests over real connections: what they tell, and what attacks on them come to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use edge_dispatch::{
    BounceTarget, DispatchTable, HostClass, HostPolicy, MAX_WANTED_OCTETS, RedirectPolicy,
    SiteTarget,
};
use edge_http::front_end::{
    BounceSettings, ClientWord, FrontEnd, FrontEndConfig, FrontEndCounters, REPORTS_PATH,
};
use edge_ports::{Clock as _, SystemClock};
use edge_types::{AgreementId, Generation, IepId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

const AGREEMENT: AgreementId = AgreementId([7; 32]);
const ENTRY: &str = "http://240.5.0.1:5060";
const SITE: &str = "http://240.5.0.1:20000";
const OFTEN: BounceSettings = BounceSettings {
    one_in: 1,
    apart: Duration::ZERO,
};

/// A front end whose clients on loopback are redirected to a site.
struct Cloud {
    address: SocketAddr,
    words: mpsc::Receiver<ClientWord>,
    counters: Arc<FrontEndCounters>,
    table: Arc<ArcSwap<DispatchTable>>,
}

impl Cloud {
    async fn start(settings: BounceSettings) -> Self {
        let hosts = [
            ("app.example", HostClass::Redirected),
            ("control.example", HostClass::HeldBack),
        ];
        let config = FrontEndConfig {
            hosts: HostPolicy::new(hosts).unwrap(),
            redirects: RedirectPolicy::default(),
            upstream: "127.0.0.1:9".parse().unwrap(),
            max_connections: 16,
            header_timeout: Duration::from_secs(2),
            upstream_timeout: Duration::from_secs(2),
        };
        let clock = SystemClock::start();
        let target = SiteTarget {
            site: IepId {
                host: "edge.isp.example".parse().unwrap(),
                port: 5060,
            },
            address: "240.5.0.1:20000".parse().unwrap(),
            usable_until: clock.utc().plus_seconds(600),
            bounce: Some(BounceTarget {
                agreement: AGREEMENT,
                entry_point: ENTRY.to_owned(),
                is_promised: true,
            }),
        };
        let clients = "127.0.0.0/8".parse().unwrap();
        let table = DispatchTable::new(Generation(1), [(clients, target)]).unwrap();
        let table = Arc::new(ArcSwap::from_pointee(table));
        let (sightings, _nobody_listens) = mpsc::channel(1);
        let (says, words) = mpsc::channel(64);
        let front_end = FrontEnd::new(config, Arc::clone(&table), sightings, Arc::new(clock));
        let front_end = Arc::new(front_end.hearing(settings, says));
        let counters = front_end.counters();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(front_end.serve(listener));
        Self {
            address,
            words,
            counters,
            table,
        }
    }

    async fn connect(&self, from: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Where a client is sent that asks for this by a connection of its own.
    async fn sends(&self, from: &str, target: &str) -> String {
        let mut stream = self.connect(from).await;
        ask(&mut stream, target, "").await
    }

    fn returned(&self) -> u64 {
        self.counters.returned.load(Ordering::Relaxed)
    }

    fn refused(&self) -> u64 {
        self.counters.tokens_refused.load(Ordering::Relaxed)
    }

    /// How far the client is, as the next word says; words that a client was sent are skipped.
    fn bound(&mut self) -> Option<Duration> {
        loop {
            match self.words.try_recv().ok()? {
                ClientWord::Returned {
                    agreement,
                    network,
                    bound,
                    is_promised,
                } => {
                    assert_eq!((agreement, is_promised), (AGREEMENT, true));
                    assert_eq!(network.prefix_len(), 24);
                    return Some(bound.0);
                }
                ClientWord::Sent { agreement } => assert_eq!(agreement, AGREEMENT),
                word @ ClientWord::Failed { .. } => panic!("{word:?}"),
            }
        }
    }
}

/// The `Location` of the answer to a GET, and the connection goes on.
async fn ask(stream: &mut TcpStream, target: &str, header: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nhost: app.example\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 302"), "{answer}");
    let is_bounce = answer.contains("/bounce/");
    assert_eq!(
        answer.contains("cache-control: no-store"),
        is_bounce,
        "{answer}"
    );
    let location = answer
        .lines()
        .find_map(|line| line.strip_prefix("location: "));
    location.unwrap().to_owned()
}

/// Where a client comes back to that was sent there, if it was.
fn back(location: &str) -> Option<String> {
    let start = format!("{ENTRY}/exec/v1/agreements/{AGREEMENT}/bounce/");
    let token = location.strip_prefix(&start)?;
    Some(format!("/.exec/bounced/{token}"))
}

#[tokio::test]
async fn a_bounce_tells_the_time_spent_with_the_site_and_leads_where_the_client_wanted() {
    let mut cloud = Cloud::start(OFTEN).await;
    let away = Duration::from_millis(60);
    for is_kept in [true, false] {
        let mut stream = cloud.connect("127.0.0.1").await;
        let first = ask(&mut stream, "/page?x=%201", "").await;
        let back = back(&first).unwrap();
        tokio::time::sleep(away).await;
        if !is_kept {
            stream = cloud.connect("127.0.0.1").await;
        }
        let last = ask(&mut stream, &back, "").await;
        assert_eq!(last, format!("{SITE}/page?x=%201"));
        // Two round trips.
        let bound = cloud.bound().unwrap();
        assert!(bound >= away / 2 - Duration::from_millis(5), "{bound:?}");
        assert!(bound < Duration::from_secs(2), "{bound:?}");
    }
    assert_eq!((cloud.returned(), cloud.refused()), (2, 0));
}

#[tokio::test]
async fn a_replayed_token_counts_once_and_still_leads_on() {
    let mut cloud = Cloud::start(OFTEN).await;
    let back = back(&cloud.sends("127.0.0.1", "/page").await).unwrap();
    for _ in 0..5 {
        assert_eq!(
            cloud.sends("127.0.0.1", &back).await,
            format!("{SITE}/page")
        );
    }
    assert!(cloud.bound().is_some() && cloud.bound().is_none());
    assert_eq!((cloud.returned(), cloud.refused()), (1, 4));
}

/// An edge that wants to look near would answer in the name of its client; it has the token, but not the client's network, and cannot
/// make one that says otherwise.
#[tokio::test]
async fn an_edge_that_answers_in_its_clients_name_is_not_counted() {
    let mut cloud = Cloud::start(OFTEN).await;
    let back = back(&cloud.sends("127.0.0.1", "/page").await).unwrap();
    assert_eq!(
        cloud.sends("127.7.7.7", &back).await,
        format!("{SITE}/page")
    );
    // "Sent later": the first octets are the time.
    let (path, token) = back.split_at("/.exec/bounced/".len());
    let forged = format!("{path}00000000ffffffff{}", &token[16..]);
    assert_eq!(
        cloud.sends("127.0.0.1", &forged).await,
        format!("{SITE}/page")
    );
    assert_eq!(cloud.bound(), None);
    assert_eq!((cloud.returned(), cloud.refused()), (0, 2));
    // The client itself still counts.
    cloud.sends("127.0.0.1", &back).await;
    assert!(cloud.bound().is_some());
}

#[tokio::test]
async fn no_token_leads_anywhere_else() {
    let cloud = Cloud::start(OFTEN).await;
    let hex = |path: &str| -> String {
        let octets = [vec![0; 53], path.as_bytes().to_vec(), vec![0; 16]].concat();
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    };
    for (wanted, leads_to) in [
        ("//evil.example/", format!("{SITE}//evil.example/")),
        ("http://evil.example/", format!("{SITE}/")),
        ("@evil.example/", format!("{SITE}/")),
        ("/a\r\nset-cookie: b", format!("{SITE}/")),
    ] {
        let target = format!("/.exec/bounced/{}", hex(wanted));
        assert_eq!(
            cloud.sends("127.0.0.1", &target).await,
            leads_to,
            "{wanted}"
        );
    }
    // Where the site serves no longer, the cloud's own host.
    cloud.table.store(Arc::new(DispatchTable::empty()));
    for (wanted, leads_to) in [
        ("//evil.example/", "http://app.example//evil.example/"),
        ("/page?x", "http://app.example/page?x"),
        ("garbage", "http://app.example/"),
    ] {
        let target = format!("/.exec/bounced/{}", hex(wanted));
        let mut stream = cloud.connect("127.0.0.1").await;
        let request =
            format!("GET {target} HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.contains(&format!("location: {leads_to}\r\n")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn one_in_n_is_bounced_and_no_client_twice_within_a_while() {
    let cloud = Cloud::start(BounceSettings {
        one_in: 3,
        apart: Duration::from_secs(600),
    })
    .await;
    let mut bounced = Vec::new();
    for number in 1..=9 {
        let location = cloud.sends("127.0.0.1", "/").await;
        if back(&location).is_some() {
            bounced.push(number);
        }
    }
    assert_eq!(bounced, [3], "the sixth and ninth are the same client");
    cloud.sends("127.0.0.1", "/").await;
    cloud.sends("127.0.0.1", "/").await;
    assert!(back(&cloud.sends("127.0.0.2", "/").await).is_some());
}

#[tokio::test]
async fn what_could_suffer_is_not_bounced() {
    let cloud = Cloud::start(OFTEN).await;
    let long = format!("/{}", "a".repeat(MAX_WANTED_OCTETS));
    assert_eq!(back(&cloud.sends("127.0.0.1", &long).await), None);
    let mut stream = cloud.connect("127.0.0.1").await;
    let cors = ask(&mut stream, "/", "sec-fetch-mode: cors\r\n").await;
    assert_eq!(back(&cors), None);
    let navigation = ask(&mut stream, "/", "sec-fetch-mode: navigate\r\n").await;
    assert!(back(&navigation).is_some());
    let off = Cloud::start(BounceSettings { one_in: 0, ..OFTEN }).await;
    assert_eq!(back(&off.sends("127.0.0.1", "/").await), None);
    // What is sent is never sent twice, and what has no body of its own is no page.
    for method in ["HEAD", "POST"] {
        let mut stream = cloud.connect("127.0.0.3").await;
        let request = format!(
            "{method} / HTTP/1.1\r\nhost: app.example\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(!answer.contains("/bounce/"), "{answer}");
    }
}

#[tokio::test]
async fn browsers_report_failures_to_the_front_end() {
    let mut cloud = Cloud::start(OFTEN).await;
    let body = r#"[{"type":"network-error","age":0,"url":"http://240.5.0.1:20000/","body":{"type":"tcp.reset"}}]"#;
    let post = async |host: &str| {
        let mut stream = cloud.connect("127.0.0.1").await;
        let request = format!(
            "POST {REPORTS_PATH} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/reports+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(post("evil.example").await, "421");
    assert_eq!(post("app.example").await, "204");
    let failed = ClientWord::Failed {
        server: "240.5.0.1:20000".parse().unwrap(),
        network: "127.0.0.0/24".parse().unwrap(),
    };
    assert_eq!(cloud.words.try_recv().ok(), Some(failed));
    assert!(cloud.words.try_recv().is_err());
}
