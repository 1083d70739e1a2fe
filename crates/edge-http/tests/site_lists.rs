//! Lists of entry points over real connections, with and without TLS.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use edge_chain::LocalKey;
use edge_discovery::{Absence, Answer, Question, RecordData, RecordKind, Security};
use edge_http::fetch::{FetchError, Fetched, Fetcher};
use edge_http::site_lists::{FeedList, WellKnownList};
use edge_ports::{BoxFuture, Clock, Listing, NameLookup, Signer, SiteList, SystemClock};
use edge_types::{AddressPolicy, ChainAddress, ChainId, IepId, ListedSite};
use edge_wire::listing::{WellKnown, write_entry};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Every host has this address.
#[derive(Debug)]
struct OneAddress(IpAddr);

impl NameLookup for OneAddress {
    fn lookup<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        let answer = if question.kind == RecordKind::A {
            Answer::Records {
                records: vec![RecordData::Address(self.0)],
                ttl_seconds: 60,
                security: Security::Insecure,
            }
        } else {
            Answer::Absent {
                absence: Absence::NoData,
                soa: None,
                security: Security::Insecure,
            }
        };
        Box::pin(std::future::ready(answer))
    }
}

/// A web server that answers everything the same; its port, and how often it was connected to.
async fn serve(answer: Vec<u8>, tls: Option<TlsAcceptor>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let (answer, tls) = (answer.clone(), tls.clone());
            tokio::spawn(async move {
                let mut head = [0; 2048];
                match tls {
                    Some(tls) => {
                        let Ok(mut stream) = tls.accept(stream).await else {
                            return;
                        };
                        let _ = stream.read(&mut head).await;
                        let _ = stream.write_all(&answer).await;
                        let _ = stream.shutdown().await;
                    }
                    None => {
                        let _ = stream.read(&mut head).await;
                        let _ = stream.write_all(&answer).await;
                    }
                }
            });
        }
    });
    (port, connections)
}

fn ok(body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend(body);
    answer
}

/// A server's side of TLS for `host`, and the authorities that believe it.
fn certificate(host: &str) -> (TlsAcceptor, RootCertStore) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![host.to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), roots)
}

fn fetcher(roots: RootCertStore, allows_plain: bool) -> Fetcher {
    let loopback = AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]);
    Fetcher::new(
        Arc::new(OneAddress([127, 0, 0, 1].into())),
        loopback,
        roots,
        allows_plain,
    )
}

fn site(host: &str) -> ListedSite {
    ListedSite {
        id: IepId {
            host: host.parse().unwrap(),
            port: 8080,
        },
        addresses: vec!["240.9.0.1".parse().unwrap()],
        key: Some((ChainId(1337), ChainAddress([0xaa; 20]))),
        tls: false,
    }
}

fn document() -> Vec<u8> {
    edge_wire::encode(&WellKnown::of(&[
        site("edge.isp.example"),
        site("edge.bank.example"),
    ]))
}

async fn well_known(fetcher: Fetcher, https: u16, http: u16) -> Listing {
    let list = WellKnownList::new("isp.example".parse().unwrap(), fetcher);
    list.at_ports(https, http).read().await
}

/// A port where nobody listens.
async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[tokio::test]
async fn a_list_with_a_certificate_speaks_for_its_domain_and_for_nobody_else() {
    let (acceptor, roots) = certificate("isp.example");
    let (port, _) = serve(ok(&document()), Some(acceptor)).await;
    let listing = well_known(fetcher(roots, false), port, closed_port().await).await;
    assert!(listing.is_authentic, "{listing:?}");
    let keys: Vec<_> = listing
        .sites
        .iter()
        .map(|site| (site.id.host.as_str(), site.key.is_some()))
        .collect();
    assert_eq!(
        keys,
        [("edge.isp.example", true), ("edge.bank.example", false)]
    );
    assert_eq!(
        listing.problems,
        ["the key of edge.bank.example:8080 is not taken from isp.example"]
    );
}

#[tokio::test]
async fn a_server_with_a_certificate_for_another_host_is_not_believed_nor_asked_without() {
    let (acceptor, roots) = certificate("other.example");
    let (https, _) = serve(ok(&document()), Some(acceptor)).await;
    let (http, connections) = serve(ok(&document()), None).await;
    let listing = well_known(fetcher(roots, true), https, http).await;
    assert!(
        listing.sites.is_empty() && listing.problems[0].contains("does not prove who it is"),
        "{listing:?}"
    );
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn plain_http_is_used_only_where_allowed_and_proves_nothing() {
    let (http, connections) = serve(ok(&document()), None).await;
    let (_, roots) = certificate("isp.example");
    let closed = closed_port().await;
    let refused = well_known(fetcher(roots.clone(), false), closed, http).await;
    assert!(
        refused.sites.is_empty() && connections.load(Ordering::SeqCst) == 0,
        "{refused:?}"
    );
    let allowed = well_known(fetcher(roots, true), closed, http).await;
    assert_eq!(
        (allowed.sites.len(), allowed.is_authentic),
        (2, false),
        "{allowed:?}"
    );
}

#[tokio::test]
async fn internal_hosts_are_not_connected_to() {
    let (http, connections) = serve(ok(&document()), None).await;
    let (_, roots) = certificate("isp.example");
    let address = format!("http://isp.example:{http}/feed").parse().unwrap();
    for internal in ["127.0.0.1", "169.254.169.254", "10.0.0.1"] {
        let lookup = Arc::new(OneAddress(internal.parse().unwrap()));
        let strict = Fetcher::new(lookup, AddressPolicy::default(), roots.clone(), true);
        let refused = strict.fetch(&address, 1000).await.unwrap_err();
        assert!(
            matches!(refused, FetchError::NotAllowed { .. }),
            "{refused:?}"
        );
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    // The same server is reached where its address is allowed.
    assert!(fetcher(roots, true).fetch(&address, 1000).await.is_ok());
}

#[tokio::test]
async fn redirects_are_not_followed_and_long_answers_not_read() {
    let (_, roots) = certificate("isp.example");
    let (elsewhere, connections) = serve(ok(&document()), None).await;
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://isp.example:{elsewhere}/\r\ncontent-length: 0\r\n\r\n"
    );
    let (port, _) = serve(redirect.into_bytes(), None).await;
    let fetch = async |port: u16, most| {
        let address = format!("http://isp.example:{port}/").parse().unwrap();
        fetcher(roots.clone(), true).fetch(&address, most).await
    };
    let refused = fetch(port, 1000).await.unwrap_err();
    assert!(
        matches!(refused, FetchError::Status { status: 302, .. }),
        "{refused:?}"
    );
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    let (long, _) = serve(ok(&[b' '; 1001]), None).await;
    assert!(matches!(
        fetch(long, 1000).await,
        Err(FetchError::Exchange(..))
    ));
    assert!(fetch(long, 1001).await.is_ok());
}

#[tokio::test]
async fn a_feed_is_believed_by_its_signatures_wherever_it_comes_from() {
    let key = LocalKey::generate().unwrap();
    let clock = SystemClock::start();
    let expires = clock.utc().plus_seconds(3600);
    let sign = |digest| key.sign_digest(digest);
    let good = write_entry(&site("home1.edges.example"), expires, sign);
    let forged = write_entry(&site("home2.edges.example"), expires, sign).replace("home2", "home3");
    let (port, _) = serve(ok(format!("{good}\n{forged}\n").as_bytes()), None).await;
    let (_, roots) = certificate("isp.example");
    let address = format!("http://edges.example:{port}/feed").parse().unwrap();
    let feed = FeedList::new(
        address,
        key.address(),
        fetcher(roots, true),
        Arc::new(clock),
    );
    let listing = feed.read().await;
    assert!(listing.is_authentic);
    assert_eq!(listing.sites, [site("home1.edges.example")]);
    assert_eq!(listing.problems.len(), 1);
    assert!(
        listing.problems[0].starts_with("line 2: not signed by the aggregator"),
        "{listing:?}"
    );
}

#[test]
fn fixed_lists_are_the_operators_word() {
    let executor = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let listing = executor.block_on(edge_ports::FixedList(vec![site("a.example")]).read());
    let by_host: BTreeMap<_, _> = listing
        .sites
        .iter()
        .map(|site| (&site.id.host, site.key))
        .collect();
    assert_eq!((by_host.len(), listing.is_authentic), (1, true));
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_heard_over_tls() {
    let (acceptor, roots) = certificate("rdap.example");
    let answer =
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 120\r\ncontent-length: 2\r\n\r\nno";
    let (port, _) = serve(answer.into(), Some(acceptor)).await;
    let address = format!("https://rdap.example:{port}/ip/240.1.2.3");
    let fetched = fetcher(roots, false)
        .get(&address.parse().unwrap(), "application/rdap+json", 1024)
        .await
        .unwrap();
    assert_eq!(
        fetched,
        Fetched {
            status: 429,
            retry_after: Some(Duration::from_secs(120)),
            body: "no".into(),
        }
    );
}
