//! HTTP/2 on the API: chosen where both sides speak it, and bounded in what one connection may cost.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[expect(dead_code, reason = "helpers of other tests")]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge_http::client::{ClientTimeouts, ContactBudget, IepClient};
use edge_http::entry_tls::{Proof, TlsPolicy, Transport};
use edge_types::{IepId, MonotonicTime};
use h2::client::SendRequest;
use http::{Method, Request, StatusCode};
use rustls_pki_types::ServerName;
use support::{HOST, Issued, serve};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

/// As long as a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(10);

type Ended = tokio::task::JoinHandle<Result<(), h2::Error>>;

/// A connection by a client of another make, and how it ends.
async fn connect(identity: &Issued, address: SocketAddr) -> (SendRequest<Bytes>, Ended) {
    let mut config = ClientConfig::builder_with_provider(Arc::new(
        tokio_rustls::rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(identity.roots())
    .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(HOST).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn greeting() -> Request<()> {
    let uri = format!("https://{HOST}/exec/v1/");
    Request::builder().uri(uri).body(()).unwrap()
}

async fn status(sender: SendRequest<Bytes>, request: Request<()>) -> Result<StatusCode, h2::Error> {
    let mut sender = sender.ready().await?;
    let (answer, _) = sender.send_request(request, true)?;
    Ok(answer.await?.status())
}

async fn greet_as_a_buyer(identity: &Issued, address: SocketAddr, site: IepId) {
    let policy = TlsPolicy::new(identity.roots(), true);
    let client = IepClient::new(address, site, ClientTimeouts::default())
        .over(policy.over(&Transport::Authorities));
    let budget = ContactBudget::default();
    let contact = client.contact(&budget, MonotonicTime::ZERO).await.unwrap();
    assert_eq!(contact.proof, Some(Proof::WebPki));
    assert!(contact.time.is_some(), "the answer's head was read");
}

#[tokio::test]
async fn both_sides_speak_http2_to_each_other_and_to_others() {
    let identity = Issued::issued_to(HOST);
    let (address, site) = serve(Some(identity.acceptor())).await;
    greet_as_a_buyer(&identity, address, site).await;
    let (sender, _ended) = connect(&identity, address).await;
    let several = (0..8).map(|_| status(sender.clone(), greeting()));
    let mut answers = tokio::task::JoinSet::new();
    several.for_each(|answer| drop(answers.spawn(answer)));
    while let Some(answer) = answers.join_next().await {
        assert_eq!(answer.unwrap().unwrap(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_connection_opens_no_more_than_16_requests_at_once() {
    let identity = Issued::issued_to(HOST);
    let (address, _) = serve(Some(identity.acceptor())).await;
    let (sender, _ended) = connect(&identity, address).await;
    assert_eq!(
        status(sender.clone(), greeting()).await.unwrap(),
        StatusCode::OK
    );
    assert_eq!(sender.current_max_send_streams(), 16);
}

#[tokio::test]
async fn overlong_heads_are_refused() {
    let identity = Issued::issued_to(HOST);
    let (address, _) = serve(Some(identity.acceptor())).await;
    let (sender, _ended) = connect(&identity, address).await;
    let mut long = greeting();
    for n in 0..40 {
        let name: http::HeaderName = format!("x-{n}").parse().unwrap();
        long.headers_mut()
            .insert(name, "a".repeat(1_000).parse().unwrap());
    }
    let refused = status(sender.clone(), long).await;
    let is_refused = match &refused {
        Ok(status) => *status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Err(_) => true,
    };
    assert!(is_refused, "{refused:?}");
}

/// CVE-2023-44487: requests that are given up as soon as they are made.
#[tokio::test]
async fn a_flood_of_resets_ends_the_connection_and_harms_nobody_else() {
    let identity = Issued::issued_to(HOST);
    let (address, site) = serve(Some(identity.acceptor())).await;
    let (mut sender, mut ended) = connect(&identity, address).await;
    let mut begun = 0;
    let flood = async {
        loop {
            let mut open = match sender.clone().ready().await {
                Ok(open) => open,
                Err(_) => return,
            };
            // Its body never comes, so that it is open when it is given up.
            let request = Request::builder()
                .method(Method::POST)
                .uri(format!("https://{HOST}/exec/v1/hello"));
            let Ok((_, mut body)) = open.send_request(request.body(()).unwrap(), false) else {
                return;
            };
            begun += 1;
            // By turns before and after the other side has seen it.
            if begun % 2 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            body.send_reset(h2::Reason::CANCEL);
            sender = open;
        }
    };
    let over = tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            () = flood => {}
            _ = &mut ended => {}
        }
    });
    over.await.expect("the connection ends");
    assert!((16..2_000).contains(&begun), "{begun} requests were begun");
    greet_as_a_buyer(&identity, address, site).await;
}

/// One who is told that there are too many and goes on is not served for ever.
#[tokio::test]
async fn a_flood_of_requests_ends_the_connection() {
    let identity = Issued::issued_to(HOST);
    let (address, _) = serve(Some(identity.acceptor())).await;
    let (sender, _ended) = connect(&identity, address).await;
    let mut answered = 0;
    let asked = tokio::time::timeout(PATIENCE, async {
        while status(sender.clone(), greeting()).await.is_ok() {
            answered += 1;
        }
    });
    asked.await.expect("the connection ends");
    assert!((200..600).contains(&answered), "{answered} were answered");
}
