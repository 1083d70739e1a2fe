//! The front end over real connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use edge_dispatch::{DispatchTable, HostClass, HostPolicy, RedirectPolicy, SiteTarget};
use edge_http::front_end::{FrontEnd, FrontEndConfig, Sighting};
use edge_ports::{Clock, SystemClock};
use edge_types::{Generation, IepId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

struct Bench {
    address: SocketAddr,
    table: Arc<ArcSwap<DispatchTable>>,
    sightings: mpsc::Receiver<Sighting>,
    clock: SystemClock,
}

impl Bench {
    /// A front end before an application that answers every request with its own target as body.
    async fn start() -> Self {
        let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = application.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = application.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut head = vec![0; 4096];
                    let read = stream.read(&mut head).await.unwrap();
                    let text = String::from_utf8_lossy(&head[..read]).into_owned();
                    let target = text.split(' ').nth(1).unwrap_or_default().to_owned();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{target}",
                        target.len()
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                });
            }
        });
        let hosts = [
            ("app.example", HostClass::Redirected),
            ("control.example", HostClass::HeldBack),
        ];
        let config = FrontEndConfig {
            hosts: HostPolicy::new(hosts).unwrap(),
            redirects: RedirectPolicy::default(),
            upstream,
            max_connections: 16,
            header_timeout: Duration::from_secs(2),
            upstream_timeout: Duration::from_secs(2),
        };
        let clock = SystemClock::start();
        let table = Arc::new(ArcSwap::from_pointee(DispatchTable::empty()));
        let (sender, sightings) = mpsc::channel(16);
        let front_end = Arc::new(FrontEnd::new(
            config,
            Arc::clone(&table),
            sender,
            Arc::new(clock),
        ));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(front_end.serve(listener));
        Self {
            address,
            table,
            sightings,
            clock,
        }
    }

    /// Sends loopback clients to 240.5.0.1 for so many seconds.
    fn redirect_for(&self, seconds: u64) {
        let site = IepId {
            host: "edge.isp.example".parse().unwrap(),
            port: 80,
        };
        let usable_until = self.clock.utc().plus_seconds(seconds);
        let target = SiteTarget {
            site,
            address: "240.5.0.1:20000".parse().unwrap(),
            usable_until,
            bounce: None,
        };
        let prefix = "127.0.0.0/8".parse().unwrap();
        self.table.store(Arc::new(
            DispatchTable::new(Generation(1), [(prefix, target)]).unwrap(),
        ));
    }

    async fn get(&self, host: &str, target: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test]
async fn without_a_table_the_cloud_serves_and_the_client_is_seen() {
    let mut bench = Bench::start().await;
    assert!(bench.sightings.try_recv().is_err());
    let answer = bench.get("app.example", "/a?b=c").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("/a?b=c"),
        "{answer}"
    );
    let sighting = bench.sightings.try_recv().unwrap();
    assert_eq!(
        sighting.client,
        "127.0.0.1".parse::<std::net::IpAddr>().unwrap()
    );
    let rtt = sighting.rtt.unwrap().0;
    assert!(
        rtt > Duration::ZERO && rtt < Duration::from_secs(1),
        "{rtt:?}"
    );
}

#[tokio::test]
async fn a_connection_without_a_request_is_no_sighting() {
    let mut bench = Bench::start().await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    stream.write_all(b"GET / HT").await.unwrap();
    drop(stream);
    let answer = bench.get("evil.example", "/").await;
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    assert!(
        bench.sightings.try_recv().is_err(),
        "neither half a request nor a foreign host counts"
    );
}

#[tokio::test]
async fn a_redirect_is_private_temporary_and_only_for_redirected_hosts() {
    let bench = Bench::start().await;
    bench.redirect_for(30);
    let answer = bench.get("app.example", "/a?b=c").await;
    assert!(answer.starts_with("HTTP/1.1 302"), "{answer}");
    assert!(
        answer.contains("location: http://240.5.0.1:20000/a?b=c\r\n"),
        "{answer}"
    );
    let lifetime = answer
        .split("cache-control: private, max-age=")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next())
        .and_then(|seconds| seconds.parse::<u64>().ok());
    assert!(
        lifetime.is_some_and(|seconds| (28..=30).contains(&seconds)),
        "{answer}"
    );
    assert!(
        bench
            .get("control.example", "/a")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn a_client_that_a_site_sent_back_is_served_and_the_mark_removed() {
    let bench = Bench::start().await;
    bench.redirect_for(30);
    let answer = bench.get("app.example", "/a?b=c&exec-edge-return=1").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("/a?b=c"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_lease_that_is_over_redirects_nobody() {
    let bench = Bench::start().await;
    bench.redirect_for(0);
    assert!(
        bench
            .get("app.example", "/")
            .await
            .starts_with("HTTP/1.1 200")
    );
}
