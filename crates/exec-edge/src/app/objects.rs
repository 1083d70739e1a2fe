//! What the application answers, wherever it runs.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

/// Largest object, in octets.
const LARGEST: usize = 1_000_000;
const DEFAULT_SIZE: usize = 25_000;
/// Tells clients who answered: `cloud`, or `edge` and the site's name.
pub(crate) const SERVED_BY: &str = "x-served-by";

/// Every object is the start of this one.
static CONTENT: LazyLock<Bytes> = LazyLock::new(|| {
    const LINE: &[u8] = b"ExEC lets anyone be an edge provider, and clouds move closer.. \n";
    LINE.iter().copied().cycle().take(LARGEST).collect()
});

/// Answers `/object?size=25k|1m`, `/dynamic` and `/healthz` as the cloud does.
#[expect(clippy::unused_async, reason = "handlers are asynchronous")]
pub(crate) async fn respond<B>(request: Request<B>) -> Response<Full<Bytes>> {
    let mut response = answer_static(
        request.method(),
        request.uri().path(),
        request.uri().query(),
    )
    .unwrap_or_else(|| match request.uri().path() {
        "/dynamic" => text(StatusCode::OK, "made by the cloud for this request\n"),
        _ => text(StatusCode::NOT_FOUND, "there is no such thing\n"),
    });
    served_by(&mut response, "cloud");
    response
}

/// What needs no back end: objects, health, and refusals.
pub(super) fn answer_static(
    method: &Method,
    path: &str,
    query: Option<&str>,
) -> Option<Response<Full<Bytes>>> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(response);
    }
    match path {
        "/healthz" => Some(text(StatusCode::OK, "ok\n")),
        "/object" => Some(match object_size(query) {
            Some(size) => {
                let mut response = Response::new(Full::new(CONTENT.slice(..size)));
                response.headers_mut().insert(
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/octet-stream"),
                );
                response
            }
            None => text(
                StatusCode::BAD_REQUEST,
                "size is a number of octets up to 1m, such as 25k\n",
            ),
        }),
        _ => None,
    }
}

fn object_size(query: Option<&str>) -> Option<usize> {
    let Some(size) = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("size="))
    else {
        return Some(DEFAULT_SIZE);
    };
    let (digits, unit) = match size.as_bytes().last()? {
        b'k' => (&size[..size.len() - 1], 1000),
        b'm' => (&size[..size.len() - 1], 1_000_000),
        _ => (size, 1),
    };
    let size = digits.parse::<usize>().ok()?.checked_mul(unit)?;
    (size <= LARGEST).then_some(size)
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

pub(super) fn served_by(response: &mut Response<Full<Bytes>>, who: &str) {
    let value = HeaderValue::from_str(who).unwrap_or(HeaderValue::from_static("edge"));
    response.headers_mut().insert(SERVED_BY, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_and_bounded() {
        let cases = [
            (None, Some(25_000)),
            (Some("size=25k"), Some(25_000)),
            (Some("a=b&size=1m"), Some(1_000_000)),
            (Some("size=7"), Some(7)),
            (Some("size=0"), Some(0)),
            (Some("size=2m"), None),
            (Some("size="), None),
            (Some("size=k"), None),
            (Some("size=-1"), None),
            (Some("size=99999999999999999999"), None),
            (Some("size=9999999999999999999m"), None),
            (Some("size=1\u{e9}"), None),
        ];
        for (query, size) in cases {
            assert_eq!(object_size(query), size, "{query:?}");
        }
    }

    #[tokio::test]
    async fn the_cloud_answers_everything() {
        for (path, status) in [
            ("/object?size=25k", 200),
            ("/dynamic", 200),
            ("/healthz", 200),
            ("/else", 404),
            ("/object?size=9m", 400),
        ] {
            let response = respond(Request::get(path).body(()).unwrap()).await;
            assert_eq!(response.status().as_u16(), status, "{path}");
            assert_eq!(response.headers()[SERVED_BY], "cloud");
        }
        let response = respond(Request::post("/object").body(()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
