//! A provider that only dials out, its relay, and clients, over real connections.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge_chain::LocalKey;
use edge_http::relay::{Admission, Relay, RelayAgent, RelayError, RelayLimits};
use edge_ports::{Signer, SystemClock};
use edge_wire::relay::RelayRefusal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(10);

/// A service that answers each line with its name and the line.
async fn service(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut text = Vec::new();
                let _ = stream.read_to_end(&mut text).await;
                let _ = stream.write_all(format!("{name}: ").as_bytes()).await;
                let _ = stream.write_all(&text).await;
            });
        }
    });
    address
}

/// Clients and providers connect from another address, so that none of them takes a port meanwhile.
const HOST: &str = "127.0.0.2";

async fn free_port() -> u16 {
    TcpListener::bind((HOST, 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

struct World {
    relay: Arc<Relay>,
    address: SocketAddr,
    _serving: JoinHandle<()>,
}

async fn relay(admission: Admission, limits: RelayLimits) -> World {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let relay = Arc::new(Relay::new(
        address,
        address.ip(),
        admission,
        limits,
        Arc::new(SystemClock::start()),
    ));
    let serving = tokio::spawn(relay.clone().serve(listener));
    World {
        relay,
        address,
        _serving: serving,
    }
}

/// The provider's end; hears of each success (`None`) and failure.
fn agent(
    relay: SocketAddr,
    key: &LocalKey,
    services: BTreeMap<u16, SocketAddr>,
) -> (JoinHandle<()>, mpsc::UnboundedReceiver<Option<RelayError>>) {
    let agent = RelayAgent::new(
        relay,
        services,
        Arc::new(key.clone()),
        Arc::new(SystemClock::start()),
    );
    let (tell, told) = mpsc::unbounded_channel();
    let running = tokio::spawn(async move { agent.run(move |news| drop(tell.send(news))).await });
    (running, told)
}

async fn next(told: &mut mpsc::UnboundedReceiver<Option<RelayError>>) -> Option<RelayError> {
    tokio::time::timeout(PATIENCE, told.recv())
        .await
        .unwrap()
        .unwrap()
}

async fn ask(port: u16, text: &[u8]) -> std::io::Result<Vec<u8>> {
    let asked = async {
        let mut stream = TcpStream::connect((HOST, port)).await?;
        stream.write_all(text).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap()
}

fn admit(key: &LocalKey, ports: &[u16]) -> Admission {
    [(
        key.address(),
        ports.iter().copied().collect::<BTreeSet<_>>(),
    )]
    .into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_reach_each_service_and_both_ends_finish() {
    let key = LocalKey::generate().unwrap();
    let (api, site) = (free_port().await, free_port().await);
    let world = relay(admit(&key, &[api, site]), RelayLimits::default()).await;
    let services = [(api, service("api").await), (site, service("site").await)].into();
    let (running, mut told) = agent(world.address, &key, services);
    assert!(next(&mut told).await.is_none());
    assert_eq!(ask(api, b"hello").await.unwrap(), b"api: hello");
    let large = vec![b'x'; 1 << 20];
    let clients = (0..8).map(|_| ask(site, &large));
    for answer in futures_join(clients.collect()).await {
        let answer = answer.unwrap();
        assert_eq!(
            (&answer[..6], answer.len()),
            (&b"site: "[..], 6 + large.len())
        );
    }
    assert_eq!(world.relay.providers(), 1);

    // When the provider goes, so do its ports.
    running.abort();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while world.relay.providers() > 0 || TcpStream::connect((HOST, api)).await.is_ok() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the relay still listens"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn futures_join<T>(mut futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut answers = Vec::new();
    for future in futures.drain(..) {
        answers.push(future.await);
    }
    answers
}

#[tokio::test]
async fn only_admitted_keys_get_only_their_ports() {
    let (key, stranger) = (LocalKey::generate().unwrap(), LocalKey::generate().unwrap());
    let (own, foreign) = (free_port().await, free_port().await);
    let world = relay(admit(&key, &[own]), RelayLimits::default()).await;
    let target = service("own").await;
    for (key, port, expected) in [
        (&stranger, own, RelayRefusal::NotAdmitted),
        (&key, foreign, RelayRefusal::Port),
    ] {
        let (running, mut told) = agent(world.address, key, [(port, target)].into());
        match next(&mut told).await {
            Some(RelayError::Refused { reason, .. }) => assert_eq!(reason, expected),
            other => panic!("{other:?}"),
        }
        running.abort();
        assert!(
            TcpStream::connect((HOST, port)).await.is_err(),
            "nobody listens at {port}"
        );
    }
    // Somebody else listens there.
    let taken = TcpListener::bind((HOST, own)).await.unwrap();
    let (running, mut told) = agent(world.address, &key, [(own, target)].into());
    match next(&mut told).await {
        Some(RelayError::Refused { reason, .. }) => assert_eq!(reason, RelayRefusal::PortInUse),
        other => panic!("{other:?}"),
    }
    drop(taken);
    // It is tried again, and then goes well.
    while let Some(error) = next(&mut told).await {
        assert!(matches!(error, RelayError::Refused { .. }), "{error:?}");
    }
    assert_eq!(ask(own, b"x").await.unwrap(), b"own: x");
    running.abort();
}

#[tokio::test]
async fn a_registration_for_one_relay_is_no_good_at_another() {
    let key = LocalKey::generate().unwrap();
    let port = free_port().await;
    let world = relay(admit(&key, &[port]), RelayLimits::default()).await;
    // A relay in the middle passes on what the provider signs for it.
    let middle = TcpListener::bind((HOST, 0)).await.unwrap();
    let middle_address = middle.local_addr().unwrap();
    let real = world.address;
    tokio::spawn(async move {
        while let Ok((mut provider, _)) = middle.accept().await {
            let mut relay = TcpStream::connect(real).await.unwrap();
            tokio::spawn(async move {
                drop(tokio::io::copy_bidirectional(&mut provider, &mut relay).await)
            });
        }
    });
    let (running, mut told) = agent(middle_address, &key, [(port, service("own").await)].into());
    match next(&mut told).await {
        Some(RelayError::Refused { reason, .. }) => assert_eq!(reason, RelayRefusal::Signature),
        other => panic!("{other:?}"),
    }
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn octets_time_and_clients_are_bounded() {
    let key = LocalKey::generate().unwrap();
    let port = free_port().await;
    let limits = RelayLimits {
        octets: 1000,
        idle: Duration::from_millis(300),
        clients_per_source: 2,
        ..RelayLimits::default()
    };
    let world = relay(admit(&key, &[port]), limits).await;
    let (running, mut told) = agent(world.address, &key, [(port, service("own").await)].into());
    assert!(next(&mut told).await.is_none());
    assert_eq!(ask(port, &[b'x'; 900]).await.unwrap().len(), 905);
    let cut = ask(port, &[b'x'; 5000]).await;
    assert!(cut.is_err() || cut.unwrap().len() < 1000);

    let mut idle = Vec::new();
    for _ in 0..2 {
        idle.push(TcpStream::connect((HOST, port)).await.unwrap());
    }
    // Both places are taken, a third is closed at once and those two after the idle time.
    let third = ask(port, b"x").await;
    assert!(third.is_err() || third.unwrap().is_empty());
    for mut stream in idle {
        let mut octets = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut octets)).await;
        assert!(ended.is_ok(), "an idle connection is closed");
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if ask(port, b"y")
            .await
            .is_ok_and(|answer| answer == b"own: y")
        {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the places come back"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.abort();
}

#[tokio::test]
async fn garbage_and_silence_cost_a_relay_little() {
    let limits = RelayLimits {
        line_timeout: Duration::from_millis(200),
        ..RelayLimits::default()
    };
    let world = relay(Admission::new(), limits).await;
    let seen = Mutex::new(0);
    for garbage in [
        &b""[..],
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        &[b'x'; 10_000],
        b"{\"stream\":{\"session\":\"0x00\",\"stream\":\"0x00\"}}\n",
    ] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let _ = stream.write_all(garbage).await;
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{garbage:?} is hung up on");
        *seen.lock().unwrap() += 1;
    }
    assert_eq!((world.relay.providers(), *seen.lock().unwrap()), (0, 5));
}
