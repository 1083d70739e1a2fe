//! HTTP to the node, with limits on what is read and how long that takes: a node is a stranger too.

use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower_service::Service;

/// Largest answer that is read, octets. Receipts and blocks of one transaction take a few thousand.
const MAX_ANSWER: usize = 1024 * 1024;

/// An idle connection is closed after this long.
const IDLE: Duration = Duration::from_secs(60);

/// Sends each request or batch as one POST.
#[derive(Clone, Debug)]
pub(super) struct BoundedHttp {
    client: Client<HttpConnector, Full<Bytes>>,
    node: Uri,
    /// For a whole exchange.
    timeout: Duration,
}

impl BoundedHttp {
    pub(super) fn new(node: Uri, timeout: Duration) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(HttpConnector::new());
        Self {
            client,
            node,
            timeout,
        }
    }

    async fn post(self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let body = serde_json::to_vec(&request).map_err(TransportError::ser_err)?;
        let exchange = self.exchange(body.into());
        let (status, body) = tokio::time::timeout(self.timeout, exchange)
            .await
            .map_err(TransportErrorKind::custom)??;
        if !status.is_success() {
            return Err(TransportErrorKind::http_error(
                status.as_u16(),
                String::from_utf8_lossy(&body).chars().take(256).collect(),
            ));
        }
        serde_json::from_slice(&body)
            .map_err(|cause| TransportError::deser_err(cause, String::from_utf8_lossy(&body)))
    }

    async fn exchange(&self, body: Bytes) -> Result<(http::StatusCode, Bytes), TransportError> {
        let request = Request::post(self.node.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(TransportErrorKind::custom)?;
        let response = self.client.request(request).await;
        let response = response.map_err(TransportErrorKind::custom)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|cause| match cause.downcast::<LengthLimitError>() {
                Ok(_) => TransportErrorKind::custom_str("the answer is too long"),
                Err(cause) => TransportErrorKind::custom(BrokenOff(cause)),
            })?;
        Ok((status, body.to_bytes()))
    }
}

/// The answer did not come to its end.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
struct BrokenOff(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A node is named by its address, so that no name has to be trusted or resolved.
pub(super) fn node(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let host = uri.host()?.trim_matches(['[', ']']);
    let is_address = host.parse::<IpAddr>().is_ok();
    let has_user = uri.authority()?.as_str().contains('@');
    (uri.scheme_str() == Some("http") && is_address && !has_user).then_some(uri)
}

impl Service<RequestPacket> for BoundedHttp {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        Box::pin(self.clone().post(request))
    }
}
