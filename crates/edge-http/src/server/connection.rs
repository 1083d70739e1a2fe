//! One connection of the API: HTTP/1.1 or HTTP/2, bounded in what may be open, given up and idle on it.
//!
//! ## Rule
//! A connection of HTTP/2 carries several requests at once, and a client may give one up at no cost and ask for the next:
//! what is open is bounded, but not what was begun (CVE-2023-44487). So a connection ends once too many of its requests were
//! given up before their answers, or refused because there are too many from its source. An idle one is closed, too.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use edge_wire::MAX_BODY_BYTES;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use crate::tasks::Tasks;

/// Longest head of a request, in octets.
const MOST_HEAD_BYTES: u32 = 16 * 1024;
/// Requests open at once on one connection of HTTP/2.
const MOST_STREAMS: u32 = 16;
/// Requests of one connection that may be given up or refused for their number before it ends.
const MOST_WASTED: u32 = 64;
/// Requests that may be given up before we have even seen them.
const MOST_RESETS_PENDING: usize = 16;
/// Octets of all requests of one connection that may be under way.
const CONNECTION_WINDOW: u32 = 4 * BODY_BYTES;
/// Octets of one request.
const BODY_BYTES: u32 = 64 * 1024;
const _: () = assert!(BODY_BYTES as usize == MAX_BODY_BYTES);

/// What happens on one connection.
#[derive(Debug, Default)]
struct Traffic {
    begun: AtomicU64,
    open: AtomicU32,
    wasted: AtomicU32,
    is_flooded: Notify,
}

impl Traffic {
    fn begin(self: &Arc<Self>) -> Begun {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Begun {
            traffic: Arc::clone(self),
            was_of_use: false,
        }
    }
}

/// A request until its answer is there, or nobody waits for it any longer.
struct Begun {
    traffic: Arc<Traffic>,
    was_of_use: bool,
}

impl Begun {
    fn answered(mut self, status: StatusCode) {
        self.was_of_use = status != StatusCode::TOO_MANY_REQUESTS;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.traffic.open.fetch_sub(1, Ordering::Relaxed);
        if !self.was_of_use && self.traffic.wasted.fetch_add(1, Ordering::Relaxed) >= MOST_WASTED {
            self.traffic.is_flooded.notify_one();
        }
    }
}

/// Answers the requests of one connection by `answer`. `patience` is for a request's head, and for an idle connection.
pub(super) async fn serve<S, F>(
    stream: S,
    peer: SocketAddr,
    is_http2: bool,
    patience: Duration,
    answer: impl Fn(Request<Incoming>) -> F,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let traffic = Arc::new(Traffic::default());
    let service = service_fn(|request| {
        let begun = traffic.begin();
        let answer = answer(request);
        async move {
            let answer = answer.await;
            begun.answered(answer.status());
            Ok::<_, Infallible>(answer)
        }
    });
    let io = TokioIo::new(stream);
    let flooded = async {
        traffic.is_flooded.notified().await;
        tracing::debug!(%peer, "a connection wastes requests");
    };
    if !is_http2 {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience)
            .max_buf_size(MOST_HEAD_BYTES as usize)
            .serve_connection(io, service);
        tokio::select! {
            served = connection => tell(peer, served),
            () = flooded => {}
        }
        return;
    }
    let tasks = Tasks::default();
    let connection = http2::Builder::new(tasks.executor())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_HEAD_BYTES)
        .max_pending_accept_reset_streams(MOST_RESETS_PENDING)
        .max_local_error_reset_streams(MOST_WASTED as usize)
        .initial_stream_window_size(BODY_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(MAX_BODY_BYTES)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut flooded = pin!(flooded);
    let (mut begun, mut is_closing) = (0, false);
    loop {
        tokio::select! {
            served = connection.as_mut() => return tell(peer, served),
            () = &mut flooded => return,
            () = tokio::time::sleep(patience) => {
                let now = traffic.begun.load(Ordering::Relaxed);
                let is_idle = now == begun && traffic.open.load(Ordering::Relaxed) == 0;
                begun = now;
                if is_idle && is_closing {
                    return;
                }
                if is_idle {
                    connection.as_mut().graceful_shutdown();
                    is_closing = true;
                }
            }
        }
    }
}

fn tell(peer: SocketAddr, served: hyper::Result<()>) {
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "connection ended early");
    }
}
