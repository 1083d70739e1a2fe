//! Does the workload answer?

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use edge_types::HealthCheck;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

const ATTEMPT: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Asks at `address` until it answers 200; false when it did not in time.
pub(crate) async fn becomes_healthy(address: SocketAddr, check: &HealthCheck) -> bool {
    let deadline = Instant::now() + check.start_timeout;
    let attempts = async {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Ok(Some(StatusCode::OK)) = timeout(ATTEMPT, ask(address, &check.path)).await {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    };
    timeout_at(deadline, attempts).await.is_ok()
}

async fn ask(address: SocketAddr, path: &str) -> Option<StatusCode> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    let request = Request::get(path)
        .header(HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .ok()?;
    tokio::select! {
        answer = sender.send_request(request) => answer.ok().map(|answer| answer.status()),
        _ = connection => None,
    }
}
