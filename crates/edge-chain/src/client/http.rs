//! HTTP to the node, with a limit on what is read: a node is a stranger too.

use std::task::{Context, Poll};

use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use reqwest::{Client, Url};
use tower_service::Service;

/// Largest answer that is read, octets. Receipts and blocks of one transaction take a few thousand.
const MAX_ANSWER: usize = 1024 * 1024;

/// Sends each request or batch as one POST.
#[derive(Clone, Debug)]
pub(super) struct BoundedHttp {
    client: Client,
    url: Url,
}

impl BoundedHttp {
    /// `client` brings the time limits.
    pub(super) const fn new(client: Client, url: Url) -> Self {
        Self { client, url }
    }

    async fn post(self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let mut response = self
            .client
            .post(self.url)
            .json(&request)
            .send()
            .await
            .map_err(TransportErrorKind::custom)?;
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(TransportErrorKind::custom)? {
            if body.len() + part.len() > MAX_ANSWER {
                return Err(TransportErrorKind::custom_str("the answer is too long"));
            }
            body.extend_from_slice(&part);
        }
        let status = response.status();
        if !status.is_success() {
            return Err(TransportErrorKind::http_error(
                status.as_u16(),
                String::from_utf8_lossy(&body).chars().take(256).collect(),
            ));
        }
        serde_json::from_slice(&body)
            .map_err(|cause| TransportError::deser_err(cause, String::from_utf8_lossy(&body)))
    }
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
