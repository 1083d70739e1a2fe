//! The HTTP front end beside the cloud application (Algorithm 1, lines 14-19).
//!
//! Every request is either redirected with a 302 by the dispatch table, or handed to the application. The table is read
//! through an [`ArcSwap`]: a request never waits on DNS, disk, chain, or a lock that a task holds. Each request is also
//! reported as a sighting of its client; when the queue of sightings is full the report is dropped and counted.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use edge_dispatch::{
    Answer, BOUNCED_PATH, BounceKey, DispatchTable, HostPolicy, RedirectPolicy, answer,
    strip_return_mark,
};
use edge_ports::Clock;
use edge_types::{MonotonicTime, Rtt};
use http::header::{CACHE_CONTROL, CONNECTION, HOST, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::passive::shortest_round_trip;

mod bounces;
mod reports;

pub use bounces::{BounceSettings, ClientWord};
use bounces::{Bounces, Connection};
use reports::Collector;
pub use reports::REPORTS_PATH;

/// A client that completed a TCP handshake with us and sent a request (security rule 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its address, as the kernel gave it.
    pub client: IpAddr,
    /// When the request arrived.
    pub at: MonotonicTime,
    /// Round trip of the connection's handshake, if the kernel knows it.
    pub rtt: Option<Rtt>,
}

/// How the front end behaves.
#[derive(Clone, Debug)]
pub struct FrontEndConfig {
    /// Which `Host` names are redirected, never redirected, or refused.
    pub hosts: HostPolicy,
    /// How long a redirect may be kept.
    pub redirects: RedirectPolicy,
    /// The application's own server, for everything that is not redirected.
    pub upstream: SocketAddr,
    /// Most connections at once; further ones wait in the listen queue.
    pub max_connections: usize,
    /// Longest time for a client to send a request's head.
    pub header_timeout: Duration,
    /// Longest time for the application to begin an answer.
    pub upstream_timeout: Duration,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct FrontEndCounters {
    /// Requests answered with a redirect.
    pub redirected: AtomicU64,
    /// Requests answered by the application.
    pub served: AtomicU64,
    /// Requests refused: unknown host or malformed target.
    pub refused: AtomicU64,
    /// Requests that the application failed to answer.
    pub failed: AtomicU64,
    /// Sightings dropped because the queue was full.
    pub sightings_dropped: AtomicU64,
    /// Redirected requests that went by the site's entry point first.
    pub bounced: AtomicU64,
    /// Of these, how many came back and counted.
    pub returned: AtomicU64,
    /// Tokens that counted for nothing: forged, used before, too late, or another client's.
    pub tokens_refused: AtomicU64,
}

/// The front end's parts, shared by all connections.
#[derive(Debug)]
pub struct FrontEnd {
    config: FrontEndConfig,
    table: Arc<ArcSwap<DispatchTable>>,
    sightings: mpsc::Sender<Sighting>,
    clock: Arc<dyn Clock>,
    counters: Arc<FrontEndCounters>,
    upstream: Client<HttpConnector, Incoming>,
    bounces: Option<Bounces>,
    collector: Option<Collector>,
}

type Body = BoxBody<Bytes, hyper::Error>;

impl FrontEnd {
    /// A front end that follows `table` and reports to `sightings`.
    pub fn new(
        config: FrontEndConfig,
        table: Arc<ArcSwap<DispatchTable>>,
        sightings: mpsc::Sender<Sighting>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let upstream = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build_http();
        Self {
            config,
            table,
            sightings,
            clock,
            counters: Arc::default(),
            upstream,
            bounces: None,
            collector: None,
        }
    }

    /// The same, which bounces some of its clients off their sites, collects reports of requests that failed there, and tells what
    /// clients say. Without random numbers from the machine it does neither.
    #[must_use]
    pub fn hearing(self, settings: BounceSettings, words: mpsc::Sender<ClientWord>) -> Self {
        let mut random = [0; 16];
        if getrandom::fill(&mut random).is_err() {
            tracing::error!("no random numbers: no client is bounced");
            return self;
        }
        Self {
            collector: Some(Collector::new(words.clone())),
            bounces: Some(Bounces::new(settings, BounceKey::new(random), words)),
            ..self
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> Arc<FrontEndCounters> {
        Arc::clone(&self.counters)
    }

    /// Serves connections until the future is dropped.
    ///
    /// # Errors
    /// The listener broke; failures of single connections are not errors.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> std::io::Result<()> {
        let slots = Arc::new(Semaphore::new(self.config.max_connections));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return Ok(());
            };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => return Err(error),
            };
            let _without_delay = stream.set_nodelay(true);
            let connection = Connection {
                client: peer.ip(),
                rtt: shortest_round_trip(&stream),
                accepted: self.clock.monotonic(),
            };
            let front_end = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let front_end = Arc::clone(&front_end);
                    async move { Ok::<_, Infallible>(front_end.respond(request, &connection).await) }
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(front_end.config.header_timeout)
                    .max_buf_size(16 * 1024)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                if let Err(error) = served {
                    tracing::trace!(%error, "client connection ended");
                }
                drop(slot);
            });
        }
    }

    async fn respond(&self, request: Request<Incoming>, connection: &Connection) -> Response<Body> {
        let Connection { client, rtt, .. } = *connection;
        let mut hosts = request.headers().get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().ok(),
            _ => None,
        };
        let facts = edge_dispatch::Request {
            client,
            host,
            path_and_query: request
                .uri()
                .path_and_query()
                .map_or("/", |target| target.as_str()),
            is_get_or_head: matches!(*request.method(), Method::GET | Method::HEAD),
        };
        if let Some(token) = facts.path_and_query.strip_prefix(BOUNCED_PATH)
            && let Some(bounces) = &self.bounces
        {
            return self.bounced(bounces, token, &facts, connection);
        }
        if facts.path_and_query == REPORTS_PATH
            && let Some(collector) = &self.collector
        {
            if self.config.hosts.classify(facts.host).is_err() {
                return misdirected();
            }
            let taken = collector.take(request, client, self.clock.monotonic());
            return taken.await.map(|()| empty());
        }
        let table = self.table.load();
        let decided = self.decide(&table, &facts);
        if let Answer::Refuse(refusal) = decided {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%refusal, %client, "request refused");
            return misdirected();
        }
        let sighting = Sighting {
            client,
            at: self.clock.monotonic(),
            rtt,
        };
        if self.sightings.try_send(sighting).is_err() {
            self.counters
                .sightings_dropped
                .fetch_add(1, Ordering::Relaxed);
        }
        if let Answer::Redirect {
            location,
            cache_control,
            ..
        } = &decided
            && let Some(response) = self
                .bounce(&table, &request, &facts, connection)
                .or_else(|| redirect(location, cache_control))
        {
            self.counters.redirected.fetch_add(1, Ordering::Relaxed);
            return response;
        }
        drop(table);
        self.forward(request, client).await
    }

    fn decide(&self, table: &DispatchTable, facts: &edge_dispatch::Request<'_>) -> Answer {
        let FrontEndConfig {
            hosts, redirects, ..
        } = &self.config;
        answer(table, hosts, redirects, facts, self.clock.utc())
    }

    /// The redirect to the entry point of the client's site, for one in N of those that are redirected.
    fn bounce(
        &self,
        table: &DispatchTable,
        request: &Request<Incoming>,
        facts: &edge_dispatch::Request<'_>,
        connection: &Connection,
    ) -> Option<Response<Body>> {
        let bounces = self.bounces.as_ref()?;
        if request.method() != Method::GET || !bounces.is_turn() {
            return None;
        }
        // A second change of origin would take the page's name from its request.
        let mode = request.headers().get("sec-fetch-mode");
        if mode.is_some_and(|mode| mode.as_bytes() == b"cors") {
            return None;
        }
        let target = table.find(connection.client)?.1.bounce.as_ref()?;
        let now = self.clock.monotonic();
        let location = bounces.send(target, connection, facts.path_and_query, now)?;
        let response = redirect(&location, "no-store")?;
        self.counters.bounced.fetch_add(1, Ordering::Relaxed);
        Some(response)
    }

    /// A client comes back from an entry point: it goes where it wanted to go, whatever its token is worth.
    fn bounced(
        &self,
        bounces: &Bounces,
        token: &str,
        facts: &edge_dispatch::Request<'_>,
        connection: &Connection,
    ) -> Response<Body> {
        let (wanted, counts) = bounces.receive(token, connection, self.clock.monotonic());
        let counter = if counts {
            &self.counters.returned
        } else {
            &self.counters.tokens_refused
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let wanted = edge_dispatch::Request {
            path_and_query: &wanted,
            ..*facts
        };
        let response = match self.decide(&self.table.load(), &wanted) {
            Answer::Redirect {
                location,
                cache_control,
                ..
            } => redirect(&location, &cache_control),
            Answer::Refuse(_) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                return misdirected();
            }
            // The host is one of ours, or it would have been refused.
            Answer::Cloud(_) => {
                let host = facts.host.unwrap_or_default();
                let location = format!("http://{host}{}", wanted.path_and_query);
                redirect(&location, "no-store")
            }
        };
        response.unwrap_or_else(|| text(StatusCode::BAD_REQUEST, "malformed target\n"))
    }

    async fn forward(&self, mut request: Request<Incoming>, client: IpAddr) -> Response<Body> {
        let target = strip_return_mark(
            request
                .uri()
                .path_and_query()
                .map_or("/", |target| target.as_str()),
        );
        let Ok(uri) = format!("http://{}{target}", self.config.upstream).parse::<Uri>() else {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return text(StatusCode::BAD_REQUEST, "malformed target\n");
        };
        *request.uri_mut() = uri;
        request.headers_mut().remove(CONNECTION);
        if let Ok(value) = HeaderValue::from_str(&client.to_string()) {
            request.headers_mut().insert("x-forwarded-for", value);
        }
        match tokio::time::timeout(self.config.upstream_timeout, self.upstream.request(request))
            .await
        {
            Ok(Ok(response)) => {
                self.counters.served.fetch_add(1, Ordering::Relaxed);
                response.map(BodyExt::boxed)
            }
            Ok(Err(error)) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the application did not answer"
                );
                text(StatusCode::BAD_GATEWAY, "the application did not answer\n")
            }
            Err(_) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("the application took too long");
                text(
                    StatusCode::GATEWAY_TIMEOUT,
                    "the application took too long\n",
                )
            }
        }
    }
}

fn misdirected() -> Response<Body> {
    text(
        StatusCode::MISDIRECTED_REQUEST,
        "this server does not serve that host\n",
    )
}

fn redirect(location: &str, cache_control: &str) -> Option<Response<Body>> {
    let mut response = text(StatusCode::FOUND, "");
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_str(location).ok()?);
    headers.insert(CACHE_CONTROL, HeaderValue::from_str(cache_control).ok()?);
    Some(response)
}

/// Errors of `accept` that concern the connection being accepted, not the listener.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionAborted | ConnectionReset
    )
}

fn empty() -> Body {
    Full::new(Bytes::new())
        .map_err(|never| match never {})
        .boxed()
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    let body = Full::new(Bytes::from_static(text.as_bytes()))
        .map_err(|never| match never {})
        .boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
