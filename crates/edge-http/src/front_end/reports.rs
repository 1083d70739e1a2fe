//! The collector of browsers' reports on requests that failed at sites (Network Error Logging). Hostile as all that clients send:
//! bounded in size, time and rate, and worth no more than a count by client network.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use edge_dispatch::client_network;
use edge_types::MonotonicTime;
use edge_wire::nel::{MAX_REPORTS_BYTES, REPORTS, failed_servers};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW,
    CONTENT_TYPE,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use tokio::sync::mpsc;

use super::bounces::ClientWord;

/// Where reports are sent.
pub const REPORTS_PATH: &str = "/.exec/reports";

/// Bodies looked at in a second, of all clients together.
const MOST_PER_SECOND: u64 = 100;
/// Longest time for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The collector of one front end.
#[derive(Debug)]
pub(super) struct Collector {
    words: mpsc::Sender<ClientWord>,
    /// The second, and how many bodies came in it: the upper and lower half.
    this_second: AtomicU64,
}

impl Collector {
    pub(super) const fn new(words: mpsc::Sender<ClientWord>) -> Self {
        Self {
            words,
            this_second: AtomicU64::new(0),
        }
    }

    /// Answers a request for [`REPORTS_PATH`]: the status, and what goes with it.
    pub(super) async fn take<B>(
        &self,
        request: Request<B>,
        client: IpAddr,
        now: MonotonicTime,
    ) -> Response<()>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut response = Response::new(());
        let status = match *request.method() {
            Method::POST => self.read(request, client, now).await,
            // Browsers ask before they send reports from another origin, such as a site's.
            Method::OPTIONS => StatusCode::NO_CONTENT,
            _ => {
                let allowed = HeaderValue::from_static("POST, OPTIONS");
                response.headers_mut().insert(ALLOW, allowed);
                StatusCode::METHOD_NOT_ALLOWED
            }
        };
        *response.status_mut() = status;
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (ACCESS_CONTROL_ALLOW_METHODS, "POST"),
            (ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        ] {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }

    async fn read<B>(&self, request: Request<B>, client: IpAddr, now: MonotonicTime) -> StatusCode
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let kind = request.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.split(';').next().map(str::trim) != Some(REPORTS) {
            return StatusCode::UNSUPPORTED_MEDIA_TYPE;
        }
        if !self.is_within_rate(now) {
            return StatusCode::TOO_MANY_REQUESTS;
        }
        let body = Limited::new(request.into_body(), MAX_REPORTS_BYTES).collect();
        let Ok(Ok(body)) = tokio::time::timeout(BODY_TIMEOUT, body).await else {
            return StatusCode::BAD_REQUEST;
        };
        let Ok(servers) = failed_servers(&body.to_bytes()) else {
            return StatusCode::BAD_REQUEST;
        };
        for server in servers {
            let _counts_for_less_if_full = self.words.try_send(ClientWord::Failed {
                server,
                network: client_network(client),
            });
        }
        StatusCode::NO_CONTENT
    }

    fn is_within_rate(&self, now: MonotonicTime) -> bool {
        let second = now.0.as_secs() << 32;
        let counted =
            self.this_second
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |known| {
                    let is_same = known & !0xffff_ffff == second;
                    let next = if is_same { known + 1 } else { second + 1 };
                    (next & 0xffff_ffff <= MOST_PER_SECOND).then_some(next)
                });
        counted.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    const NOW: MonotonicTime = MonotonicTime(Duration::from_secs(7));
    const FAILURE: &str = r#"[{"type":"network-error","age":0,"url":"http://240.5.0.1:20000/","body":{"type":"tcp.reset"}}]"#;

    async fn post(collector: &Collector, kind: &str, body: &str, now: MonotonicTime) -> u16 {
        let request = Request::post(REPORTS_PATH)
            .header(CONTENT_TYPE, kind)
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .unwrap();
        let client = "240.9.1.2".parse().unwrap();
        collector.take(request, client, now).await.status().as_u16()
    }

    #[tokio::test]
    async fn failures_are_passed_on_and_all_else_is_refused() {
        let (words, mut said) = mpsc::channel(8);
        let collector = Collector::new(words);
        let long = " ".repeat(MAX_REPORTS_BYTES + 1);
        assert_eq!(post(&collector, REPORTS, FAILURE, NOW).await, 204);
        assert_eq!(post(&collector, "text/plain", FAILURE, NOW).await, 415);
        for bad in ["", "{}", &long] {
            assert_eq!(post(&collector, REPORTS, bad, NOW).await, 400);
        }
        let word = ClientWord::Failed {
            server: "240.5.0.1:20000".parse().unwrap(),
            network: "240.9.1.0/24".parse().unwrap(),
        };
        assert_eq!(said.try_recv().ok(), Some(word));
        assert!(said.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_flood_of_reports_is_turned_away_and_nobody_waits() {
        let (words, _said) = mpsc::channel(1);
        let collector = Collector::new(words);
        for _ in 0..MOST_PER_SECOND {
            assert_eq!(post(&collector, REPORTS, FAILURE, NOW).await, 204);
        }
        assert_eq!(post(&collector, REPORTS, FAILURE, NOW).await, 429);
        let later = NOW.after(Duration::from_secs(1));
        assert_eq!(post(&collector, REPORTS, FAILURE, later).await, 204);
    }

    #[tokio::test]
    async fn pages_of_sites_may_ask_first() {
        let collector = Collector::new(mpsc::channel(1).0);
        let client: IpAddr = "240.9.1.2".parse().unwrap();
        for (method, status) in [("OPTIONS", 204), ("GET", 405), ("DELETE", 405)] {
            let request = Request::builder().method(method).uri(REPORTS_PATH);
            let request = request.body(Full::new(Bytes::new())).unwrap();
            let response = collector.take(request, client, NOW).await;
            assert_eq!(response.status().as_u16(), status, "{method}");
            assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        }
    }
}
