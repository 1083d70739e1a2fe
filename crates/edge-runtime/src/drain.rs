//! "Go back to the cloud": the answer of a site whose lease ends (security rule 18).

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use edge_dispatch::mark_returning;
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// `origin` as `scheme://authority`, if it is nothing else.
pub(crate) fn check_origin(origin: &str) -> Option<String> {
    let uri: Uri = origin.parse().ok()?;
    let scheme = uri
        .scheme_str()
        .filter(|s| matches!(*s, "http" | "https"))?;
    let authority = uri.authority().filter(|a| !a.as_str().contains('@'))?;
    let bare = uri.query().is_none() && matches!(uri.path(), "" | "/");
    bare.then(|| format!("{scheme}://{authority}"))
}

/// Answers every request on a connection with 307 to the same path at `origin`, marked so that the cloud does not send
/// the client here again.
pub(crate) async fn redirect(client: TcpStream, origin: &str) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = Ok::<_, Infallible>(answer(request.uri(), origin));
        async move { answer }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(client), service);
    // However it ends, the client has been told or has gone.
    let _ended = timeout(CONNECTION_TIMEOUT, connection).await;
}

fn answer(target: &Uri, origin: &str) -> Response<Empty<Bytes>> {
    let path = target.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path } else { "/" };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    if let Ok(location) = HeaderValue::from_str(&format!("{origin}{}", mark_returning(path))) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_and_authority_only() {
        assert_eq!(
            check_origin("http://240.0.0.1:80/").as_deref(),
            Some("http://240.0.0.1:80")
        );
        for bad in [
            "",
            "/x",
            "ftp://a",
            "http://a/b",
            "http://u@a",
            "http://a?x",
            "a:80",
        ] {
            assert_eq!(check_origin(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_redirect_keeps_path_and_query_and_is_not_stored() {
        let response = answer(
            &Uri::from_static("/object?size=25k"),
            "http://cloud.example",
        );
        assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(
            response.headers()[LOCATION],
            "http://cloud.example/object?size=25k&exec-edge-return=1"
        );
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        let absolute = answer(
            &Uri::from_static("http://evil.example/x"),
            "http://cloud.example",
        );
        assert_eq!(
            absolute.headers()[LOCATION],
            "http://cloud.example/x?exec-edge-return=1"
        );
    }
}
