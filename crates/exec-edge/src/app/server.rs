//! The application's HTTP/1.1 server.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use edge_http::challenge::{ChallengeKey, KEY_VARIABLE};
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::objects::{self, answer_static, served_by, text};

const CONNECTIONS: usize = 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
const BACKEND_TIMEOUT: Duration = Duration::from_secs(10);
const BACKEND_BODY: usize = 1024 * 1024;

/// Where it shows that it is the container that was deployed.
pub(crate) const CHALLENGE_PATH: &str = "/.exec/challenge";

/// How long browsers report, seconds.
const REPORTS_MAX_AGE: u32 = 600;

/// Where browsers report requests that failed, as they are told (Network Error Logging). They listen only over `https`, so that elsewhere
/// these headers do nothing.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    report_to: HeaderValue,
    nel: HeaderValue,
}

impl Reports {
    fn to(collector: &str) -> anyhow::Result<Self> {
        let group = "exec-edge";
        let report_to = json!({
            "group": group, "max_age": REPORTS_MAX_AGE, "endpoints": [{ "url": collector }],
        });
        let nel = json!({ "report_to": group, "max_age": REPORTS_MAX_AGE });
        let header = |value: serde_json::Value| HeaderValue::try_from(value.to_string());
        Ok(Self {
            report_to: header(report_to).context("REPORTS is not a URL")?,
            nel: header(nel)?,
        })
    }
}

/// Where the application runs.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// In the cloud.
    Origin,
    /// At a site.
    Edge {
        /// What it calls itself in its answers.
        name: Arc<str>,
        /// Who makes what is dynamic; without one such requests fail.
        backend: Option<SocketAddr>,
        /// Tells browsers where to report requests that fail here, if anybody wants to know.
        reports: Option<Reports>,
        /// With which it shows that it is the container that was deployed.
        key: Option<ChallengeKey>,
    },
    /// Answers everything with this text.
    Report(Arc<str>),
}

impl Role {
    /// An edge service as `SITE`, `BACKEND`, `REPORTS` and `CHALLENGE_KEY` say.
    pub(crate) fn edge_from_environment() -> anyhow::Result<Self> {
        let site = std::env::var("SITE").unwrap_or_default();
        let backend = match std::env::var("BACKEND") {
            Ok(text) => Some(
                text.parse()
                    .context("BACKEND is not an address and a port")?,
            ),
            Err(_) => None,
        };
        Ok(Self::Edge {
            name: format!("edge {site}").trim_end().into(),
            backend,
            reports: std::env::var("REPORTS")
                .ok()
                .map(|collector| Reports::to(&collector))
                .transpose()?,
            key: std::env::var(KEY_VARIABLE)
                .ok()
                .map(|key| key.parse().context(KEY_VARIABLE))
                .transpose()?,
        })
    }
}

/// Serves until the process ends.
pub(crate) async fn serve(listen: SocketAddr, role: Role) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let role = role.clone();
        tokio::spawn(async move {
            let _best_effort = stream.set_nodelay(true);
            let service = service_fn(|request| {
                let role = role.clone();
                async move { Ok::<_, Infallible>(respond(&role, request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(place);
        });
    }
}

async fn respond(role: &Role, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (name, backend, reports, key) = match role {
        Role::Origin => return objects::respond(request).await,
        Role::Report(text) => return Response::new(Full::new(text.to_string().into())),
        Role::Edge {
            name,
            backend,
            reports,
            key,
        } => (name, backend, reports, key),
    };
    let (path, query) = (request.uri().path(), request.uri().query());
    if path == CHALLENGE_PATH {
        let nonce = query.and_then(|query| query.strip_prefix("nonce="));
        let answer = key
            .as_ref()
            .zip(nonce)
            .and_then(|(key, nonce)| key.answer(nonce));
        return match answer {
            Some(answer) => Response::new(Full::new(answer.into())),
            None => text(StatusCode::BAD_REQUEST, "no key, or no nonce\n"),
        };
    }
    let mut response = match (answer_static(request.method(), path, query), backend) {
        (Some(response), _) => response,
        (None, Some(backend)) => {
            let target = request.uri().path_and_query().map_or("/", |p| p.as_str());
            match timeout(BACKEND_TIMEOUT, ask(*backend, target)).await {
                Ok(Ok(response)) => response,
                _ => text(StatusCode::BAD_GATEWAY, "the cloud did not answer\n"),
            }
        }
        (None, None) => text(StatusCode::NOT_FOUND, "there is no back end\n"),
    };
    served_by(&mut response, name);
    if let Some(Reports { report_to, nel }) = reports {
        let headers = response.headers_mut();
        headers.insert("report-to", report_to.clone());
        headers.insert("nel", nel.clone());
    }
    response
}

async fn ask(backend: SocketAddr, target: &str) -> anyhow::Result<Response<Full<Bytes>>> {
    let stream = TcpStream::connect(backend).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let request = Request::get(target)
        .header(HOST, backend.to_string())
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, BACKEND_BODY)
            .collect()
            .await
            .map_err(anyhow::Error::from_boxed)?
            .to_bytes();
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = head.status;
        if let Some(kind) = head.headers.get(http::header::CONTENT_TYPE) {
            response
                .headers_mut()
                .insert(http::header::CONTENT_TYPE, kind.clone());
        }
        Ok(response)
    };
    tokio::pin!(exchange);
    tokio::select! {
        response = &mut exchange => response,
        _ = connection => exchange.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_told_where_to_report() {
        let told = Reports::to("https://shop.example/.exec/reports").unwrap();
        let read = |value: &HeaderValue| -> serde_json::Value {
            serde_json::from_slice(value.as_bytes()).unwrap()
        };
        let (report_to, nel) = (read(&told.report_to), read(&told.nel));
        let url = &report_to["endpoints"][0]["url"];
        assert_eq!(url, "https://shop.example/.exec/reports");
        assert_eq!(report_to["group"], nel["report_to"]);
    }
}
