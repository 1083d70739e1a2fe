//! Registries on loopback: RDAP and whois servers that the tests make, good and bad.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use edge_discovery::{
    Absence, Answer, Bootstrap, NoOwner, OriginRanges, OwnerAnswer, OwnerSource, Question,
    RecordData, RecordKind, Security,
};
use edge_ports::{BoxFuture, NameLookup, PrefixOwner, SystemClock};
use edge_resolver::{Limited, PlainHttp, Registries};
use edge_types::AddressPolicy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Every host is at loopback.
#[derive(Debug)]
struct Loopback;

impl NameLookup for Loopback {
    fn lookup<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        let answer = if question.kind == RecordKind::A {
            Answer::Records {
                records: vec![RecordData::Address([127, 0, 0, 1].into())],
                ttl_seconds: 60,
                security: Security::Indeterminate,
            }
        } else {
            Answer::Absent {
                absence: Absence::NoData,
                soa: None,
                security: Security::Indeterminate,
            }
        };
        Box::pin(async { answer })
    }
}

/// Answers every connection after its first octets; the port, and how many connections there were.
async fn serve(answer: Vec<u8>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let mut question = [0; 2048];
            let _ = stream.read(&mut question).await;
            let _ = stream.write_all(&answer).await;
        }
    });
    (port, count)
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

fn registries(rdap: Option<u16>, whois: Option<u16>, allowed: &str) -> Registries {
    let mut bootstrap = Bootstrap::default();
    if let Some(port) = rdap {
        let file = format!(r#"{{"services":[[["240.0.0.0/8"],["http://rdap.example:{port}/"]]]}}"#);
        bootstrap.read(file.as_bytes()).unwrap();
    }
    let policy = AddressPolicy::new(vec![allowed.parse().unwrap()]);
    Registries {
        table: None,
        bootstrap,
        http: Some(Arc::new(PlainHttp {
            lookup: Arc::new(Loopback),
            policy: policy.clone(),
        })),
        whois: whois.map(|_| "whois.example".parse().unwrap()),
        whois_port: whois.unwrap_or(43),
        lookup: Arc::new(Loopback),
        policy,
        clock: Arc::new(SystemClock::start()),
        limited: Limited::default(),
    }
}

async fn ask(registries: &Registries) -> OwnerAnswer {
    registries.owner("240.1.2.3".parse().unwrap()).await
}

const NETWORK: &str = r#"{"objectClassName":"ip network","startAddress":"240.1.0.0",
    "endAddress":"240.1.255.255","name":"ISP","entities":[{"roles":["registrant"],
    "vcardArray":["vcard",[["email",{},"text","noc@isp.example"]]]}]}"#;
const WHOIS: &str = "inetnum: 240.1.0.0 - 240.1.255.255\norg-name: ISP\ne-mail: noc@isp.example\n";

#[tokio::test]
async fn an_rdap_server_tells_the_holder() {
    let (port, _) = serve(http("200 OK", "", NETWORK)).await;
    let OwnerAnswer::Found(owner) = ask(&registries(Some(port), None, "127.0.0.0/8")).await else {
        panic!("not found");
    };
    assert_eq!(owner.prefix, "240.1.0.0/16".parse().unwrap());
    assert_eq!(owner.domains, ["isp.example".parse().unwrap()]);
    assert_eq!(owner.source, OwnerSource::Rdap);
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_not_asked_again() {
    let limited = http("429 Too Many Requests", "Retry-After: 120\r\n", "");
    let (port, asked) = serve(limited).await;
    let registries = registries(Some(port), None, "127.0.0.0/8");
    let wait = Duration::from_secs(120);
    assert_eq!(
        ask(&registries).await,
        OwnerAnswer::Unanswered(NoOwner::RateLimited { wait })
    );
    let OwnerAnswer::Unanswered(NoOwner::RateLimited { wait: left }) = ask(&registries).await
    else {
        panic!("asked again");
    };
    assert!(left <= wait && left > Duration::from_secs(60));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn whois_answers_where_rdap_does_not() {
    let (rdap, _) = serve(http("500 Broken", "", "")).await;
    let (whois, _) = serve(WHOIS.into()).await;
    let found = ask(&registries(Some(rdap), Some(whois), "127.0.0.0/8")).await;
    let OwnerAnswer::Found(owner) = found else {
        panic!("{found:?}");
    };
    assert_eq!(owner.source, OwnerSource::Whois);
}

#[tokio::test]
async fn referrals_end() {
    // Every name leads to the same server, which names another each time it is read.
    let text = format!("refer: whois.example\n{WHOIS}");
    let (port, asked) = serve(text.into()).await;
    let found = ask(&registries(None, Some(port), "127.0.0.0/8")).await;
    assert!(matches!(found, OwnerAnswer::Found(_)), "{found:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "no server is asked twice");
    let text = format!("refer: other.example\n{WHOIS}");
    let (port, asked) = serve(text.into()).await;
    ask(&registries(None, Some(port), "127.0.0.0/8")).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn refused_addresses_get_no_connection() {
    let (rdap, asked_rdap) = serve(http("200 OK", "", NETWORK)).await;
    let (whois, asked_whois) = serve(WHOIS.into()).await;
    let found = ask(&registries(Some(rdap), Some(whois), "10.0.0.0/8")).await;
    assert!(matches!(
        found,
        OwnerAnswer::Unanswered(NoOwner::Unreachable(_))
    ));
    for asked in [asked_rdap, asked_whois] {
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn endless_answers_are_cut() {
    let (whois, _) = serve("a: b\n".repeat(1 << 20).into()).await;
    let found = ask(&registries(None, Some(whois), "127.0.0.0/8")).await;
    let too_long = OwnerAnswer::Unanswered(NoOwner::Malformed("too long"));
    assert_eq!(found, too_long);
    let (rdap, _) = serve(http("200 OK", "", &" ".repeat(300_000))).await;
    let found = ask(&registries(Some(rdap), None, "127.0.0.0/8")).await;
    assert!(matches!(
        found,
        OwnerAnswer::Unanswered(NoOwner::Malformed(_))
    ));
}

#[tokio::test]
async fn the_table_comes_first_and_is_what_is_left() {
    let (port, asked) = serve(http("404 Not Found", "", "")).await;
    let mut registries = registries(Some(port), None, "127.0.0.0/8");
    registries.table = Some(Arc::new(OriginRanges::read(
        "240.0.0.0/8 64500 isp.example ISP",
    )));
    let OwnerAnswer::Found(owner) = ask(&registries).await else {
        panic!("not found");
    };
    assert_eq!((owner.source, owner.domains.len()), (OwnerSource::Table, 1));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    registries.table = Some(Arc::new(OriginRanges::read("240.0.0.0/8 64500 - ISP")));
    let OwnerAnswer::Found(owner) = ask(&registries).await else {
        panic!("not found");
    };
    assert_eq!((owner.source, owner.domains.len()), (OwnerSource::Table, 0));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
