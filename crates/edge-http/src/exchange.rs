//! One request and its answer over a connection of their own.

use std::future::Future;

use bytes::Bytes;
use http::header::HOST;
use http::response::Parts;
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::tasks::Tasks;

/// Why an exchange broke off, from whatever layer.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Longest head of an answer, in octets.
const MAX_HEAD_BYTES: u32 = 64 * 1024;

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
        .max_buf_size(MAX_HEAD_BYTES as usize)
        .handshake(TokioIo::new(stream))
        .await?;
    let answer = async { read(sender.send_request(request).await?, most).await };
    until_answered(answer, connection).await
}

/// The same over HTTP/2.
pub(crate) async fn exchange_over_http2<S>(
    stream: S,
    mut request: Request<Full<Bytes>>,
    most: usize,
) -> Result<(Parts, Bytes), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // What the host is, the URI says here.
    if let Some(host) = request.headers_mut().remove(HOST) {
        let mut parts = request.uri().clone().into_parts();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(host.to_str()?.parse()?);
        *request.uri_mut() = Uri::from_parts(parts)?;
    }
    let tasks = Tasks::default();
    let window = u32::try_from(most)?;
    let (mut sender, connection) = http2::Builder::new(tasks.executor())
        .max_header_list_size(MAX_HEAD_BYTES)
        .initial_stream_window_size(window)
        .initial_connection_window_size(window)
        .handshake(TokioIo::new(stream))
        .await?;
    let answer = async { read(sender.send_request(request).await?, most).await };
    until_answered(answer, connection).await
}

async fn read(answer: Response<Incoming>, most: usize) -> Result<(Parts, Bytes), BoxError> {
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, most).collect().await?.to_bytes();
    Ok((head, body))
}

async fn until_answered<T>(
    answer: impl Future<Output = Result<T, BoxError>>,
    connection: impl Future<Output = hyper::Result<()>>,
) -> Result<T, BoxError> {
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
