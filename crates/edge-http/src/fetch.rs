//! Documents from strangers' web servers, fetched with care.
//!
//! The host is looked up here, each address is checked and used as it is, redirects are not followed, and size and time are
//! bounded (security rules 4 and 5). Over `https` the server has to show a certificate for the host (WebPKI).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge_discovery::{Answer, Question, RecordData, RecordKind};
use edge_ports::NameLookup;
use edge_types::{AddressPolicy, AddressRefusal, DnsName};
use http::Request;
use http::header::{ACCEPT, HOST, RETRY_AFTER, USER_AGENT};
use http_body_util::Full;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::exchange::{BoxError, exchange};

/// Addresses of a host that are tried.
const ADDRESSES: usize = 4;
/// For one connection, and for everything.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);

/// `http://host[:port]/path` or the same with `https`; no account, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WebAddress {
    is_https: bool,
    host: DnsName,
    port: u16,
    path: String,
}

/// A text is not a [`WebAddress`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not http:// or https://, a host name and a path: {0:?}")]
pub struct WebAddressError(String);

impl WebAddress {
    /// The document at an absolute path of a host's https server.
    pub fn https(host: DnsName, path: &str) -> Self {
        Self {
            is_https: true,
            host,
            port: 443,
            path: path.to_owned(),
        }
    }

    /// The same by plain HTTP.
    #[must_use]
    pub fn without_tls(mut self) -> Self {
        if self.is_https {
            self.port = 80;
        }
        self.is_https = false;
        self
    }

    /// The same at another port.
    #[must_use]
    pub fn at_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Its host.
    pub const fn host(&self) -> &DnsName {
        &self.host
    }
}

impl FromStr for WebAddress {
    type Err = WebAddressError;

    fn from_str(text: &str) -> Result<Self, WebAddressError> {
        let refuse = || WebAddressError(text.chars().take(80).collect());
        let (is_https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(refuse()),
        };
        let (authority, path) = rest.split_once('/').ok_or_else(refuse)?;
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| refuse())?),
            None => (authority, if is_https { 443 } else { 80 }),
        };
        let is_plain = path
            .bytes()
            .all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'?' | b'#'));
        if !is_plain || port == 0 {
            return Err(refuse());
        }
        Ok(Self {
            is_https,
            host: host.parse().map_err(|_| refuse())?,
            port,
            path: format!("/{path}"),
        })
    }
}

impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.is_https {
            ("https", 443)
        } else {
            ("http", 80)
        };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port != usual {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)
    }
}

/// A document could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Plain HTTP is not allowed.
    #[error("{0} is not https, and plain HTTP is not allowed")]
    Plain(WebAddress),
    /// The host has no address, as far as was answered.
    #[error("{0} has no address")]
    NoAddress(DnsName),
    /// None of its addresses may be contacted; the first refusal.
    #[error("{host} may not be contacted")]
    NotAllowed {
        /// The host.
        host: DnsName,
        /// Why.
        #[source]
        cause: AddressRefusal,
    },
    /// No address took a connection; the last failure.
    #[error("connecting to {0} failed")]
    Connect(WebAddress, #[source] io::Error),
    /// The server's certificate is not one for the host.
    #[error("{0} does not prove who it is")]
    Tls(WebAddress, #[source] io::Error),
    /// The exchange broke off, or the answer was too long.
    #[error("reading {0} failed")]
    Exchange(WebAddress, #[source] BoxError),
    /// Anything but 200, redirects included: they are not followed.
    #[error("{address} answered with status {status}")]
    Status {
        /// What was asked for.
        address: WebAddress,
        /// The status.
        status: u16,
    },
    /// Not in time.
    #[error("{0} did not answer within {FETCH_TIMEOUT:?}")]
    Timeout(WebAddress),
}

/// What a server answered, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The status.
    pub status: u16,
    /// For how long the server asked not to be asked again, where it said so in seconds.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Bytes,
}

/// Certificates could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file cannot be read or is not PEM.
    #[error("reading the certificates in {}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        cause: rustls_pki_types::pem::Error,
    },
    /// It holds none that can be used.
    #[error("{} holds no usable certificate", .0.display())]
    Empty(PathBuf),
}

/// Fetches documents.
#[derive(Clone)]
pub struct Fetcher {
    lookup: Arc<dyn NameLookup>,
    policy: AddressPolicy,
    tls: TlsConnector,
    allows_plain: bool,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("policy", &self.policy)
            .field("allows_plain", &self.allows_plain)
            .finish_non_exhaustive()
    }
}

/// The certificate authorities in a PEM file, such as `/etc/ssl/certs/ca-certificates.crt`. Those that cannot be understood are left out.
///
/// # Errors
/// The file cannot be read, or holds none.
pub fn read_roots(file: &Path) -> Result<RootCertStore, RootsError> {
    let refuse = |cause| RootsError::File {
        file: file.to_owned(),
        cause,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(refuse)? {
        let _not_understood = roots.add(certificate.map_err(refuse)?);
    }
    if roots.is_empty() {
        return Err(RootsError::Empty(file.to_owned()));
    }
    Ok(roots)
}

impl Fetcher {
    /// Looks hosts up by `lookup`, contacts only what `policy` allows, and believes certificates of `roots`. Plain HTTP is used
    /// only if `allows_plain`.
    ///
    /// # Panics
    /// Never: the cryptography is a part of this program and has the protocol's versions.
    pub fn new(
        lookup: Arc<dyn NameLookup>,
        policy: AddressPolicy,
        roots: RootCertStore,
        allows_plain: bool,
    ) -> Self {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the built-in cryptography has all versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            lookup,
            policy,
            tls: TlsConnector::from(Arc::new(config)),
            allows_plain,
        }
    }

    /// Is plain HTTP allowed?
    pub const fn allows_plain(&self) -> bool {
        self.allows_plain
    }

    /// The body of the document, at most `most` octets.
    pub async fn fetch(&self, address: &WebAddress, most: usize) -> Result<Bytes, FetchError> {
        let fetched = self.get(address, "application/json", most).await?;
        match fetched.status {
            200 => Ok(fetched.body),
            status => Err(FetchError::Status {
                address: address.clone(),
                status,
            }),
        }
    }

    /// The answer to a request for a document of the type `accept`, with at most `most` octets of body.
    ///
    /// # Errors
    /// Any but [`FetchError::Status`].
    pub async fn get(
        &self,
        address: &WebAddress,
        accept: &'static str,
        most: usize,
    ) -> Result<Fetched, FetchError> {
        if !address.is_https && !self.allows_plain {
            return Err(FetchError::Plain(address.clone()));
        }
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.get_now(address, accept, most));
        fetched
            .await
            .unwrap_or_else(|_| Err(FetchError::Timeout(address.clone())))
    }

    async fn get_now(
        &self,
        address: &WebAddress,
        accept: &'static str,
        most: usize,
    ) -> Result<Fetched, FetchError> {
        let stream = self.connect(address).await?;
        let broke = |cause: BoxError| FetchError::Exchange(address.clone(), cause);
        let is_usual = address.port == if address.is_https { 443 } else { 80 };
        let host = if is_usual {
            address.host.to_string()
        } else {
            format!("{}:{}", address.host, address.port)
        };
        let request = Request::get(&address.path)
            .header(HOST, host)
            .header(USER_AGENT, concat!("exec-edge/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, accept)
            .body(Full::new(Bytes::new()))
            .map_err(|cause| broke(cause.into()))?;
        let answered = if address.is_https {
            let refused = |cause| FetchError::Tls(address.clone(), cause);
            let name = ServerName::try_from(address.host.to_string())
                .map_err(|cause| refused(io::Error::new(io::ErrorKind::InvalidInput, cause)))?;
            let stream = self.tls.connect(name, stream).await.map_err(refused)?;
            exchange(stream, request, most).await
        } else {
            exchange(stream, request, most).await
        };
        let (head, body) = answered.map_err(broke)?;
        let retry_after = head.headers.get(RETRY_AFTER);
        Ok(Fetched {
            status: head.status.as_u16(),
            retry_after: retry_after
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .map(Duration::from_secs),
            body,
        })
    }

    async fn connect(&self, address: &WebAddress) -> Result<TcpStream, FetchError> {
        let mut failed = None;
        for candidate in self.allowed_addresses(&address.host).await? {
            let connecting = TcpStream::connect(SocketAddr::new(candidate, address.port));
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(cause)) => failed = Some(cause),
                Err(_) => failed = Some(io::ErrorKind::TimedOut.into()),
            }
        }
        let cause = failed.unwrap_or_else(|| io::ErrorKind::NotFound.into());
        Err(FetchError::Connect(address.clone(), cause))
    }

    /// The addresses of a host that may be contacted, at least one.
    ///
    /// # Errors
    /// It has none, or only such as may not.
    pub async fn allowed_addresses(&self, host: &DnsName) -> Result<Vec<IpAddr>, FetchError> {
        let mut allowed = Vec::new();
        let mut refused = None;
        for kind in [RecordKind::A, RecordKind::Aaaa] {
            let answer = self.lookup.lookup(&Question::new(host.clone(), kind)).await;
            let Answer::Records { records, .. } = answer else {
                continue;
            };
            for record in records {
                let RecordData::Address(address) = record else {
                    continue;
                };
                match self.policy.check(address) {
                    Ok(()) => allowed.push(address),
                    Err(refusal) => {
                        refused.get_or_insert(refusal);
                    }
                }
            }
        }
        allowed.truncate(ADDRESSES);
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some(cause)) => Err(FetchError::NotAllowed {
                host: host.clone(),
                cause,
            }),
            (true, None) => Err(FetchError::NoAddress(host.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_addresses_are_read_and_written() {
        for text in [
            "https://isp.example/feed",
            "http://isp.example:8080/",
            "https://isp.example:8443/a/b.jsonl",
        ] {
            assert_eq!(text.parse::<WebAddress>().unwrap().to_string(), text);
        }
        for text in [
            "isp.example/",
            "ftp://isp.example/",
            "https://isp.example",
            "https://u@isp.example/",
            "https://isp.example:0/",
            "https://isp.example/?a",
            "https://isp.example/a b",
            "https://[::1]/",
        ] {
            assert!(text.parse::<WebAddress>().is_err(), "{text}");
        }
    }
}
