//! The provider's side of the IEP API.
//!
//! Serves one [`IepService`] on one listener. Requests are bounded in size, time and number per source; all but the
//! greeting, services, texts, hello, health, bounces and the OpenAPI document must be signed, for this provider and chain, with a fresh nonce (security rule 12: reads
//! too). Refusals are RFC 9457 problems.

mod connection;
mod nonces;
mod sources;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge_dispatch::BOUNCED_PATH;
use edge_ports::Clock;
use edge_types::agreement::detail;
use edge_types::{AgreementId, ChainAddress, RejectReason, UtcTime};
use edge_wire::message::{Hello, VERSION};
use edge_wire::signing::{
    EXPIRES_HEADER, MAX_REQUEST_SECONDS, NONCE_HEADER, RequestToSign, SIGNATURE_HEADER,
    verify_request,
};
use edge_wire::{BASE, JSON, MAX_BODY_BYTES, MAX_BOUNCE_TOKEN, Message, Problem, WireError};
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, LOCATION, RETRY_AFTER,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::api::IepService;
use crate::entry_tls::{self, Identity};
pub use nonces::NonceCache;
use sources::Sources;

/// Bounds of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiLimits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one source (address, or /48).
    pub connections_per_source: u32,
    /// Requests a second from one source, on average; ten seconds' worth may come at once.
    pub requests_per_second: u32,
    /// Longest time for a request's head.
    pub header_timeout: Duration,
    /// Longest time for a request's body.
    pub body_timeout: Duration,
    /// Longest time for an answer.
    pub answer_timeout: Duration,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_source: 32,
            requests_per_second: 20,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
        }
    }
}

/// One site's API on one listener.
#[derive(Debug)]
pub struct IepServer {
    service: Arc<dyn IepService>,
    clock: Arc<dyn Clock>,
    nonces: Arc<NonceCache>,
    limits: ApiLimits,
    sources: Sources,
}

impl IepServer {
    /// Sites with the same key must share `nonces`, or else a request to one could be replayed to another.
    pub fn new(
        service: Arc<dyn IepService>,
        clock: Arc<dyn Clock>,
        nonces: Arc<NonceCache>,
        limits: ApiLimits,
    ) -> Self {
        Self {
            service,
            clock,
            nonces,
            limits,
            sources: Sources::new(limits.connections_per_source, limits.requests_per_second),
        }
    }

    /// Serves by plain HTTP until it is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        self.serve_over(listener, None).await;
    }

    /// Serves until it is dropped, over TLS if there is how; HTTP/2 to clients that choose it by ALPN, HTTP/1.1 to all others.
    pub async fn serve_over(self: Arc<Self>, listener: TcpListener, tls: Option<Arc<Identity>>) {
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, or the peer is gone already: neither is the listener's end.
                    tracing::debug!(%error, "accepting a connection failed");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let Some(connection) = self.sources.connect(peer.ip()) else {
                continue;
            };
            let server = self.clone();
            let tls = tls.as_ref().map(|identity| identity.acceptor());
            connections.spawn(async move {
                let _held = (slot, connection);
                let _ = stream.set_nodelay(true);
                match tls {
                    None => server.talk(stream, peer, false).await,
                    Some(tls) => {
                        let greeted =
                            tokio::time::timeout(server.limits.header_timeout, tls.accept(stream));
                        match greeted.await {
                            Ok(Ok(stream)) => {
                                let is_http2 = entry_tls::is_http2(stream.get_ref().1);
                                server.talk(stream, peer, is_http2).await;
                            }
                            Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
                            Err(_) => tracing::debug!(%peer, "no TLS in time"),
                        }
                    }
                }
            });
        }
    }

    /// Answers the requests of one connection.
    async fn talk<S>(self: Arc<Self>, stream: S, peer: SocketAddr, is_http2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let patience = self.limits.header_timeout;
        let answer = |request| {
            let server = self.clone();
            async move { server.handle(peer, request).await }
        };
        connection::serve(stream, peer, is_http2, patience, answer).await;
    }

    async fn handle(&self, peer: SocketAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
        // Pages of any origin may show what is offered nearby; it is the same for everybody.
        let is_for_pages = request.uri().path().strip_prefix(BASE) == Some("/services");
        let answer = tokio::time::timeout(self.limits.answer_timeout, async {
            self.sources
                .request(peer.ip(), self.clock.monotonic())
                .map_err(|retry_after_seconds| Problem::TooManyRequests {
                    retry_after_seconds,
                })?;
            let (head, body) = request.into_parts();
            if let Some(bounced) = self.bounce(&head) {
                return bounced;
            }
            let body = self.read_body(body).await?;
            let answered = self.route(peer.ip(), &head, &body).await;
            answered.map(|body| respond(StatusCode::OK, JSON, body))
        });
        let answer = answer.await.unwrap_or_else(|_| {
            Err(Problem::Unavailable {
                detail: "no answer in time".to_owned(),
            })
        });
        let mut response = match answer {
            Ok(response) => response,
            Err(problem) => refuse(&problem),
        };
        if is_for_pages {
            let anyone = HeaderValue::from_static("*");
            response
                .headers_mut()
                .insert(ACCESS_CONTROL_ALLOW_ORIGIN, anyone);
        }
        response
    }

    /// A client of a buyer on its way from the buyer's cloud service and back (see `edge_dispatch::BounceTarget`); `None` for other
    /// requests. It goes back to where the buyer deployed from and nowhere else, and the connection is closed, since the buyer counts
    /// on a new one.
    fn bounce(&self, head: &Parts) -> Option<Result<Response<Full<Bytes>>, Problem>> {
        let path = head.uri.path().strip_prefix(BASE)?;
        let (id, token) = path
            .strip_prefix("/agreements/")?
            .split_once("/bounce/")
            .filter(|_| head.method == Method::GET)?;
        let may_stand = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        let is_token =
            (1..=MAX_BOUNCE_TOKEN).contains(&token.len()) && token.bytes().all(may_stand);
        let origin = id
            .parse()
            .ok()
            .filter(|_| is_token)
            .and_then(|id| self.service.origin(id));
        let location = origin.and_then(|origin| {
            HeaderValue::from_str(&format!("{origin}{BOUNCED_PATH}{token}")).ok()
        });
        let Some(location) = location else {
            return Some(Err(Problem::NotFound));
        };
        let mut response = respond(StatusCode::FOUND, JSON, Vec::new());
        let headers = response.headers_mut();
        headers.insert(LOCATION, location);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.remove(CONTENT_TYPE);
        Some(Ok(response))
    }

    async fn read_body(&self, body: Incoming) -> Result<Bytes, Problem> {
        let read = Limited::new(body, MAX_BODY_BYTES).collect();
        match tokio::time::timeout(self.limits.body_timeout, read).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::TooLarge),
            Ok(Err(_)) => Err(malformed("the body broke off")),
            Err(_) => Err(malformed("the body did not arrive in time")),
        }
    }

    async fn route(&self, source: IpAddr, head: &Parts, body: &[u8]) -> Result<Vec<u8>, Problem> {
        let path = head
            .uri
            .path()
            .strip_prefix(BASE)
            .ok_or(Problem::NotFound)?;
        let service = &*self.service;
        match (&head.method, path) {
            (&Method::GET, "" | "/") => return Ok(edge_wire::encode(&service.greeting())),
            (&Method::GET, "/healthz") => {
                return Ok(format!("{{\"healthy\":true,\"version\":{VERSION}}}").into_bytes());
            }
            (&Method::GET, "/openapi.json") => {
                return Ok(edge_wire::openapi::text().into_bytes());
            }
            (&Method::GET, "/services") => {
                return service.services().map(|it| edge_wire::encode(&it));
            }
            (&Method::POST, "/hello") => {
                let Hello(preferences) = read(body)?;
                return service
                    .hello(preferences)
                    .await
                    .map(|it| edge_wire::encode(&it));
            }
            (&Method::POST, "/reservations") => {
                let caller = self.caller(head, body)?;
                let reply = service.reserve(caller, source, read(body)?).await;
                return reply.map(|it| edge_wire::encode(&it));
            }
            (&Method::POST, "/agreements") => {
                let caller = self.caller(head, body)?;
                let reply = service.acknowledge(caller, read(body)?).await;
                return reply.map(|it| edge_wire::encode(&it));
            }
            _ => {}
        }
        if let Some(hash) = path.strip_prefix("/texts/")
            && head.method == Method::GET
        {
            let hash = hash.parse().map_err(|_| Problem::NotFound)?;
            return service.text(hash).map(|it| edge_wire::encode(&it));
        }
        let of_agreement = path.strip_prefix("/agreements/").ok_or(Problem::NotFound)?;
        let (id, part) = of_agreement.split_once('/').unwrap_or((of_agreement, ""));
        let id: AgreementId = id.parse().map_err(|_| Problem::NotFound)?;
        match (&head.method, part) {
            (&Method::GET, "") => {
                let caller = self.caller(head, body)?;
                let reply = service.agreement(caller, id).await;
                reply.map(|it| edge_wire::encode(&it))
            }
            (&Method::PUT, "deployment") => {
                let caller = self.caller(head, body)?;
                let reply = service.deploy(caller, id, read(body)?).await;
                reply.map(|it| edge_wire::encode(&it))
            }
            (&Method::GET, "deployment") => {
                let caller = self.caller(head, body)?;
                let reply = service.deployment(caller, id).await;
                reply.map(|it| edge_wire::encode(&it))
            }
            (&Method::POST, "receipts") => {
                let caller = self.caller(head, body)?;
                let reply = service.receipt(caller, id, read(body)?).await;
                reply.map(|it| edge_wire::encode(&it))
            }
            (&Method::POST, "close") => {
                let caller = self.caller(head, body)?;
                let reply = service.close(caller, id, read(body)?).await;
                reply.map(|it| edge_wire::encode(&it))
            }
            _ => Err(Problem::NotFound),
        }
    }

    /// Who signed the request, provided that it is fresh.
    fn caller(&self, head: &Parts, body: &[u8]) -> Result<ChainAddress, Problem> {
        let unauthorised = |detail| Problem::Rejected(RejectReason::NotAuthorised { detail });
        let (Some(signature), Some(nonce), Some(expires)) = (
            header(&head.headers, SIGNATURE_HEADER),
            header(&head.headers, NONCE_HEADER),
            header::<u64>(&head.headers, EXPIRES_HEADER).map(UtcTime),
        ) else {
            return Err(unauthorised(detail::SIGNATURE));
        };
        let now = self.clock.utc();
        if expires < now || expires > now.plus_seconds(MAX_REQUEST_SECONDS) {
            return Err(unauthorised(detail::EXPIRY));
        }
        let greeting = self.service.greeting();
        let request = RequestToSign {
            method: head.method.as_str(),
            path: head.uri.path(),
            body,
            nonce,
            expires,
            provider: greeting.provider,
            chain: greeting.chain,
        };
        let caller =
            verify_request(&request, &signature).map_err(|_| unauthorised(detail::SIGNATURE))?;
        self.nonces.use_once(caller, nonce, expires, now)?;
        Ok(caller)
    }
}

fn header<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn read<T: Message>(body: &[u8]) -> Result<T, Problem> {
    edge_wire::decode(body).map_err(|error| match error {
        WireError::TooLarge { .. } => Problem::TooLarge,
        WireError::Json(cause) => malformed(&cause.to_string()),
        WireError::Field { .. } => malformed(&error.to_string()),
    })
}

fn malformed(detail: &str) -> Problem {
    Problem::Malformed {
        detail: detail.chars().take(200).collect(),
    }
}

fn refuse(problem: &Problem) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    let body = edge_wire::problem::write_problem(problem);
    let mut response = respond(status, edge_wire::problem::PROBLEM_JSON, body);
    if let Problem::TooManyRequests {
        retry_after_seconds,
    } = problem
    {
        let seconds = HeaderValue::from(*retry_after_seconds);
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}

fn respond(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
