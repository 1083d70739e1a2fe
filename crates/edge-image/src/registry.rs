//! A read-only registry over an OCI image layout (OCI distribution specification 1.1, section "pull").
//!
//! Files are streamed; nothing of a request decides a path but a checked digest or a tag looked up in the index.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::any;
use bytes::Bytes;
use edge_types::ImageDigest;
use http::header::{
    ACCEPT_RANGES, ALLOW, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, ReadBuf};

use crate::digest::hex;
use crate::manifest::{Descriptor, INDEX, Index, MANIFEST, REF_NAME};

const CHUNK: usize = 64 * 1024;
const INDEX_LIMIT: u64 = 1024 * 1024;

/// Who may read: everyone, or who shows one of these bearer tokens (security rule 12).
#[derive(Clone, Debug, Default)]
pub struct ReadAccess {
    tokens: Option<Arc<RwLock<BTreeSet<String>>>>,
}

impl ReadAccess {
    /// Everyone may read.
    pub fn open() -> Self {
        Self::default()
    }

    /// Only holders of a granted token; at first there is none.
    pub fn by_token() -> Self {
        Self {
            tokens: Some(Arc::default()),
        }
    }

    /// Lets the holder of `token` read, for example for the time of an agreement.
    pub fn grant(&self, token: String) {
        if let Some(tokens) = &self.tokens {
            tokens
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .insert(token);
        }
    }

    /// No longer lets the holder of `token` read.
    pub fn revoke(&self, token: &str) {
        if let Some(tokens) = &self.tokens {
            tokens
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .remove(token);
        }
    }

    fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(tokens) = &self.tokens else {
            return true;
        };
        let shown = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        shown.is_some_and(|(_, token)| {
            tokens
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .contains(token.trim())
        })
    }
}

/// A layout to serve.
#[derive(Clone, Debug)]
pub struct Registry {
    layout: Arc<PathBuf>,
    repository: Arc<str>,
    access: ReadAccess,
}

impl Registry {
    /// Serves the layout directory `layout` as the repository `repository`.
    pub fn new(layout: PathBuf, repository: &str, access: ReadAccess) -> Self {
        Self {
            layout: Arc::new(layout),
            repository: repository.into(),
            access,
        }
    }

    /// Routes for everything below `/v2/`.
    pub fn router(self) -> Router {
        let handler =
            async |State(registry): State<Self>, method: Method, uri: Uri, headers: HeaderMap| {
                registry.respond(&method, uri.path(), &headers).await
            };
        Router::new()
            .route("/v2", any(handler))
            .route("/v2/", any(handler))
            .route("/v2/{*rest}", any(handler))
            .with_state(self)
    }

    /// Answers one request.
    pub async fn respond(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Response<Body> {
        let head = method == Method::HEAD;
        if !head && method != Method::GET {
            let mut response = error(
                StatusCode::METHOD_NOT_ALLOWED,
                "UNSUPPORTED",
                "this registry is read-only",
            );
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if !self.access.allows(headers) {
            let mut response = error(
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "a bearer token is needed",
            );
            response.headers_mut().insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"exec\""),
            );
            return response;
        }
        let path = path.to_owned();
        let range = headers
            .get(RANGE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let registry = self.clone();
        // Files are opened and read on threads that may block.
        let answer = tokio::task::spawn_blocking(move || registry.find(&path)).await;
        match answer {
            Ok(Ok(Answer::Version)) => full(StatusCode::OK, "application/json", "{}".into()),
            Ok(Ok(Answer::Blob(blob))) => stream(blob, range.as_deref(), head),
            Ok(Err(refusal)) => error(refusal.0, refusal.1, refusal.2),
            Err(_) => error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "UNKNOWN",
                "the answer could not be prepared",
            ),
        }
    }

    fn find(&self, path: &str) -> Result<Answer, Refusal> {
        const NO_BLOB: Refusal = Refusal(
            StatusCode::NOT_FOUND,
            "BLOB_UNKNOWN",
            "no blob of this digest",
        );
        const NO_MANIFEST: Refusal = Refusal(
            StatusCode::NOT_FOUND,
            "MANIFEST_UNKNOWN",
            "no manifest of this reference",
        );
        const NO_NAME: Refusal = Refusal(
            StatusCode::NOT_FOUND,
            "NAME_UNKNOWN",
            "no repository of this name",
        );
        let rest = path.strip_prefix("/v2").unwrap_or(path);
        if rest.is_empty() || rest == "/" {
            return Ok(Answer::Version);
        }
        let rest = rest
            .strip_prefix('/')
            .and_then(|rest| rest.strip_prefix(&*self.repository))
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or(NO_NAME)?;
        if let Some(digest) = rest.strip_prefix("blobs/") {
            let digest = digest.parse().map_err(|_| {
                Refusal(
                    StatusCode::BAD_REQUEST,
                    "DIGEST_INVALID",
                    "not a sha256 digest",
                )
            })?;
            return self
                .open(digest, "application/octet-stream".to_owned())
                .ok_or(NO_BLOB)
                .map(Answer::Blob);
        }
        let reference = rest.strip_prefix("manifests/").ok_or(NO_NAME)?;
        let manifests = self.manifests().ok_or(NO_MANIFEST)?;
        let manifest = manifests
            .into_iter()
            .find(|manifest| {
                manifest.digest == reference
                    || manifest
                        .annotations
                        .get(REF_NAME)
                        .is_some_and(|tag| tag == reference)
            })
            .ok_or(NO_MANIFEST)?;
        let digest = manifest.digest.parse().map_err(|_| NO_MANIFEST)?;
        self.open(digest, MANIFEST.to_owned())
            .ok_or(NO_MANIFEST)
            .map(Answer::Blob)
    }

    fn manifests(&self) -> Option<Vec<Descriptor>> {
        let mut text = Vec::new();
        File::open(self.layout.join("index.json"))
            .ok()?
            .take(INDEX_LIMIT)
            .read_to_end(&mut text)
            .ok()?;
        let index: Index = serde_json::from_slice(&text).ok()?;
        (index.media_type == INDEX).then_some(index.manifests)
    }

    fn open(&self, digest: ImageDigest, media_type: String) -> Option<Blob> {
        let file = File::open(self.layout.join("blobs/sha256").join(hex(&digest))).ok()?;
        let size = file.metadata().ok()?.len();
        Some(Blob {
            file,
            size,
            digest,
            media_type,
        })
    }
}

enum Answer {
    Version,
    Blob(Blob),
}

struct Blob {
    file: File,
    size: u64,
    digest: ImageDigest,
    media_type: String,
}

struct Refusal(StatusCode, &'static str, &'static str);

fn stream(mut blob: Blob, range: Option<&str>, head: bool) -> Response<Body> {
    let (status, start, length) = match range.map(|text| parse_range(text, blob.size)) {
        None | Some(Range::Ignored) => (StatusCode::OK, 0, blob.size),
        Some(Range::Part { start, length }) => (StatusCode::PARTIAL_CONTENT, start, length),
        Some(Range::Unsatisfiable) => {
            let mut response = error(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "RANGE_INVALID",
                "the range lies outside of the blob",
            );
            put(
                &mut response,
                CONTENT_RANGE,
                &format!("bytes */{}", blob.size),
            );
            return response;
        }
    };
    let digest = blob.digest;
    let media_type = blob.media_type.clone();
    let size = blob.size;
    let body = if head {
        Body::empty()
    } else {
        // Seeking a regular file does not block.
        if blob.file.seek(SeekFrom::Start(start)).is_err() {
            return error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "UNKNOWN",
                "the blob could not be read",
            );
        }
        Body::new(FileBody {
            file: tokio::fs::File::from_std(blob.file),
            left: length,
        })
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    put(&mut response, CONTENT_TYPE, &media_type);
    put(&mut response, CONTENT_LENGTH, &length.to_string());
    put(&mut response, ACCEPT_RANGES, "bytes");
    if status == StatusCode::PARTIAL_CONTENT {
        let end = start + length - 1;
        put(
            &mut response,
            CONTENT_RANGE,
            &format!("bytes {start}-{end}/{size}"),
        );
    }
    response.headers_mut().insert(
        "docker-content-digest",
        HeaderValue::from_str(&digest.to_string()).unwrap_or(HeaderValue::from_static("")),
    );
    response
}

fn put(response: &mut Response<Body>, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// Not one range of octets; answered with the whole (RFC 9110, section 14.2).
    Ignored,
    Part {
        start: u64,
        length: u64,
    },
    Unsatisfiable,
}

fn parse_range(text: &str, size: u64) -> Range {
    let Some((first, last)) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Range::Ignored;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (start, end) = match (first.trim().is_empty(), last.trim().is_empty()) {
        (true, false) => match number(last) {
            Some(suffix) => (size.saturating_sub(suffix), size),
            None => return Range::Ignored,
        },
        (false, true) => match number(first) {
            Some(start) => (start, size),
            None => return Range::Ignored,
        },
        (false, false) => match (number(first), number(last)) {
            (Some(start), Some(last)) if start <= last => (start, last.saturating_add(1).min(size)),
            _ => return Range::Ignored,
        },
        (true, true) => return Range::Ignored,
    };
    if start >= end {
        return Range::Unsatisfiable;
    }
    Range::Part {
        start,
        length: end - start,
    }
}

fn full(status: StatusCode, media_type: &'static str, text: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(text)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(
        "docker-distribution-api-version",
        HeaderValue::from_static("registry/2.0"),
    );
    response
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let text = serde_json::json!({"errors": [{"code": code, "message": message}]}).to_string();
    full(status, "application/json", text.into())
}

/// Part of a file. Holds no thread while the client is slow.
struct FileBody {
    file: tokio::fs::File,
    left: u64,
}

impl hyper::body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let size = usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK));
        let mut chunk = vec![0; size];
        let mut buffer = ReadBuf::new(&mut chunk);
        std::task::ready!(Pin::new(&mut self.file).poll_read(context, &mut buffer))?;
        let read = buffer.filled().len();
        if read == 0 {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        chunk.truncate(read);
        self.left -= read as u64;
        Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
