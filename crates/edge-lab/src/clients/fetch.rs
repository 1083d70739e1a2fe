//! One GET as a browser does it: resolve, connect, follow redirects, remember those that may be remembered.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::header::{CACHE_CONTROL, HOST, LOCATION};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;
use tokio::time::Instant;

/// Redirects followed before giving up.
const MOST_REDIRECTS: u32 = 5;

/// Largest body accepted.
const MOST_OCTETS: u64 = 16 * 1024 * 1024;

/// The network as one client sees it.
#[derive(Debug)]
pub(super) struct Network {
    /// Resolved names.
    pub(super) hosts: BTreeMap<String, Vec<IpAddr>>,
    /// The client's own address.
    pub(super) source: IpAddr,
    /// Longest wait for an answer, redirects included.
    pub(super) timeout: Duration,
}

/// Redirects that may be reused, by the URL that was asked.
#[derive(Debug, Default)]
pub(super) struct RedirectCache(BTreeMap<String, (String, Instant)>);

/// A good answer.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Who gave it.
    pub(super) served_by: SocketAddr,
    /// Redirects followed on the network.
    pub(super) redirects: u32,
    /// Octets of its body.
    pub(super) body_octets: u64,
}

/// There was no good answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("malformed URL {0}")]
    Url(String),
    #[error("no address for {0}")]
    Host(String),
    #[error("connecting to {address} failed: {cause}")]
    Connect {
        address: SocketAddr,
        cause: std::io::Error,
    },
    #[error("{address} broke off: {cause}")]
    Exchange {
        address: SocketAddr,
        cause: hyper::Error,
    },
    #[error("{address} answered {status}")]
    Status {
        address: SocketAddr,
        status: StatusCode,
    },
    #[error("{address} sent more than {MOST_OCTETS} octets")]
    TooLarge { address: SocketAddr },
    #[error("more than {MOST_REDIRECTS} redirects")]
    Loop,
    #[error("no answer in time")]
    Timeout,
}

/// Gets `url`, from where a cached redirect leads if there is one; if that fails, forgets it and asks again.
pub(super) async fn get(
    network: &Network,
    cache: &mut RedirectCache,
    url: &str,
    now: Instant,
) -> Result<Fetched, FetchError> {
    let within = tokio::time::timeout(network.timeout, async {
        cache.0.retain(|_, (_, until)| *until > now);
        if let Some((location, _)) = cache.0.get(url).cloned() {
            match follow(network, cache, url, location, now).await {
                Ok(fetched) => return Ok(fetched),
                Err(_) => cache.0.remove(url),
            };
        }
        match follow(network, cache, url, url.to_owned(), now).await {
            // A site that fails right after the redirect: the redirect is dropped, and the cloud asked once more.
            Err(_) if cache.0.remove(url).is_some() => {
                follow(network, cache, url, url.to_owned(), now).await
            }
            outcome => outcome,
        }
    });
    within.await.unwrap_or(Err(FetchError::Timeout))
}

async fn follow(
    network: &Network,
    cache: &mut RedirectCache,
    asked: &str,
    first: String,
    now: Instant,
) -> Result<Fetched, FetchError> {
    let mut url = first;
    for redirects in 0..=MOST_REDIRECTS {
        let (address, response) = exchange(network, &url).await?;
        let status = response.status();
        if !status.is_redirection() {
            if status != StatusCode::OK {
                return Err(FetchError::Status { address, status });
            }
            let body_octets = drain(address, response.into_body()).await?;
            return Ok(Fetched {
                served_by: address,
                redirects,
                body_octets,
            });
        }
        let text = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let location = text(LOCATION)
            .ok_or(FetchError::Status { address, status })?
            .to_owned();
        match (status, text(CACHE_CONTROL).and_then(max_age)) {
            (StatusCode::FOUND, Some(lifetime)) => {
                cache
                    .0
                    .insert(asked.to_owned(), (location.clone(), now + lifetime));
            }
            // A site that sends clients back says that its redirect is over.
            _ => drop(cache.0.remove(asked)),
        }
        url = location;
    }
    Err(FetchError::Loop)
}

async fn exchange(
    network: &Network,
    url: &str,
) -> Result<(SocketAddr, http::Response<Incoming>), FetchError> {
    let malformed = || FetchError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| malformed())?;
    let authority = uri.authority().ok_or_else(malformed)?;
    let host = authority.host().trim_matches(['[', ']']);
    let ip = match host.parse::<IpAddr>() {
        Ok(ip) => ip,
        Err(_) => {
            let known = network.hosts.get(host).into_iter().flatten();
            // A client reaches only addresses of its own family.
            let reachable = known
                .copied()
                .find(|ip| ip.is_ipv4() == network.source.is_ipv4());
            reachable.ok_or_else(|| FetchError::Host(host.to_owned()))?
        }
    };
    let address = SocketAddr::new(ip, authority.port_u16().unwrap_or(80));
    let stream = connect(network.source, address)
        .await
        .map_err(|cause| FetchError::Connect { address, cause })?;
    let broke = |cause| FetchError::Exchange { address, cause };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broke)?;
    tokio::spawn(connection);
    let request = Request::get(uri.path_and_query().map_or("/", |target| target.as_str()))
        .header(HOST, host_header(host, authority.port_u16()))
        .header("user-agent", "exec-edge-lab-client")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| malformed())?;
    let response = sender.send_request(request).await.map_err(broke)?;
    Ok((address, response))
}

async fn connect(source: IpAddr, address: SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.bind(SocketAddr::new(source, 0))?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn drain(address: SocketAddr, mut body: Incoming) -> Result<u64, FetchError> {
    let mut octets = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| FetchError::Exchange { address, cause })?;
        octets += frame.data_ref().map_or(0, |data| data.len() as u64);
        if octets > MOST_OCTETS {
            return Err(FetchError::TooLarge { address });
        }
    }
    Ok(octets)
}

fn host_header(host: &str, port: Option<u16>) -> String {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    match port {
        None | Some(80) => host,
        Some(port) => format!("{host}:{port}"),
    }
}

/// The freshness lifetime that a `Cache-Control` value gives; `None` if there is none, or storing is forbidden.
fn max_age(value: &str) -> Option<Duration> {
    let mut lifetime = None;
    for directive in value.split(',').map(str::trim) {
        match directive.split_once('=') {
            Some(("max-age", seconds)) => {
                lifetime = seconds
                    .trim_matches('"')
                    .parse()
                    .ok()
                    .map(Duration::from_secs)
            }
            None if directive == "no-store" || directive == "no-cache" => return None,
            _ => {}
        }
    }
    lifetime
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stated_lifetime_is_kept() {
        assert_eq!(
            max_age("private, max-age=30"),
            Some(Duration::from_secs(30))
        );
        assert_eq!(max_age("max-age=30, no-store"), None);
        assert_eq!(max_age("private"), None);
        assert_eq!(max_age("max-age=x"), None);
    }
}
