//! One request and its answer over a connection of their own.

use bytes::Bytes;
use http::Request;
use http::response::Parts;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Why an exchange broke off, from whatever layer.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Longest head of an answer, in octets.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Sends `request`; the answer's head, and its body if that has at most `most` octets. The caller bounds the time.
pub(crate) async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<(Parts, Bytes), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, most).collect().await?.to_bytes();
        Ok((head, body))
    };
    // The connection makes progress only while it is polled, and is dropped with the answer complete.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(cause) => Err(cause.into()),
        },
    }
}
