//! Fetching by plain HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edge_discovery::NoOwner;
use edge_ports::{BoxFuture, NameLookup};
use edge_types::{AddressPolicy, DnsName};
use http::header::{ACCEPT, HOST, RETRY_AFTER, USER_AGENT};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{HttpAnswer, HttpGet, addresses_of};

/// Octets of headers taken.
const MOST_HEAD_OCTETS: usize = 16 * 1024;

/// Plain HTTP to hosts that are looked up and checked here. For registries in one's own network; public ones speak HTTPS.
#[derive(Debug)]
pub struct PlainHttp {
    /// Looks up hosts.
    pub lookup: Arc<dyn NameLookup>,
    /// What may be contacted.
    pub policy: AddressPolicy,
}

impl HttpGet for PlainHttp {
    fn get<'a>(
        &'a self,
        url: &'a str,
        accept: &'static str,
        most: usize,
    ) -> BoxFuture<'a, Result<HttpAnswer, NoOwner>> {
        Box::pin(self.fetch(url, accept, most))
    }
}

impl PlainHttp {
    async fn fetch(
        &self,
        url: &str,
        accept: &'static str,
        most: usize,
    ) -> Result<HttpAnswer, NoOwner> {
        let unreachable =
            |cause: &dyn std::error::Error| NoOwner::Unreachable(format!("{url}: {cause}"));
        let (authority, path) = split(url)
            .ok_or_else(|| NoOwner::Unreachable(format!("{url} is not an http:// address")))?;
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().unwrap_or(0)),
            None => (authority, 80),
        };
        let host: DnsName = host
            .parse()
            .map_err(|error| unreachable(&error as &dyn std::error::Error))?;
        let addresses = addresses_of(&host, &*self.lookup, &self.policy).await?;
        let mut connected = Err(NoOwner::NoServer);
        for address in addresses {
            connected = TcpStream::connect(SocketAddr::new(address, port))
                .await
                .map_err(|cause| unreachable(&cause));
            if connected.is_ok() {
                break;
            }
        }
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MOST_HEAD_OCTETS)
            .handshake(TokioIo::new(connected?))
            .await
            .map_err(|cause| unreachable(&cause))?;
        let request = http::Request::get(path)
            .header(HOST, authority)
            .header(ACCEPT, accept)
            .header(USER_AGENT, concat!("exec-edge/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|cause| unreachable(&cause))?;
        let answer = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|cause| unreachable(&cause))?;
            let retry_after = response.headers().get(RETRY_AFTER);
            let retry_after = retry_after
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .map(Duration::from_secs);
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), most)
                .collect()
                .await
                .map_err(|_| NoOwner::Malformed("too long or cut off"))?;
            Ok(HttpAnswer {
                status,
                retry_after,
                body: body.to_bytes().to_vec(),
            })
        };
        // The connection makes progress only while it is polled.
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(cause) => Err(unreachable(&cause)),
            },
        }
    }
}

/// Authority and path of an `http://` address.
fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let slash = rest.find('/')?;
    Some((&rest[..slash], &rest[slash..]))
}
