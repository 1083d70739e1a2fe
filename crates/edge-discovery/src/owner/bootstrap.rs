//! Which RDAP server knows an address: IANA's files `ipv4.json` and `ipv6.json` (RFC 9224).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use edge_types::IpNet;
use serde::Deserialize;

/// Longest file read, in octets. IANA's have some tens of thousands.
const MAX_OCTETS: usize = 1024 * 1024;
/// Most prefixes kept.
const MAX_PREFIXES: usize = 20_000;
/// Longest address of a server, in octets.
const MAX_URL_OCTETS: usize = 200;

/// A bootstrap file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// Larger than a megabyte.
    #[error("{octets} octets are too many")]
    TooLong {
        /// How many it has.
        octets: usize,
    },
    /// Not the JSON of RFC 9224 section 3.
    #[error("not a bootstrap file")]
    Malformed(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct File {
    services: Vec<(Vec<String>, Vec<String>)>,
}

/// Servers by prefix.
#[derive(Clone, Debug, Default)]
pub struct Bootstrap {
    servers: BTreeMap<IpNet, Arc<str>>,
}

impl Bootstrap {
    /// Reads a file and adds what it tells. Entries that are not prefixes, and servers that are not HTTP, are left out.
    ///
    /// # Errors
    /// The file is too long or no such file.
    pub fn read(&mut self, file: &[u8]) -> Result<(), BootstrapError> {
        if file.len() > MAX_OCTETS {
            return Err(BootstrapError::TooLong { octets: file.len() });
        }
        let file: File = serde_json::from_slice(file)?;
        for (prefixes, urls) in file.services {
            // Section 4.1: secure ones first.
            let usable = |scheme: &'static str| {
                urls.iter()
                    .find(move |url| url.starts_with(scheme) && url.len() <= MAX_URL_OCTETS)
            };
            let Some(url) = usable("https://").or_else(|| usable("http://")) else {
                continue;
            };
            let url: Arc<str> = Arc::from(url.trim_end_matches('/'));
            for prefix in prefixes.iter().filter_map(|text| text.parse().ok()) {
                if self.servers.len() < MAX_PREFIXES {
                    self.servers.insert(prefix, Arc::clone(&url));
                }
            }
        }
        Ok(())
    }

    /// The base address of the server for `address`, by the longest prefix, without a slash at the end.
    pub fn server(&self, address: IpAddr) -> Option<&str> {
        let address = address.to_canonical();
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (0..=longest).rev().find_map(|length| {
            let prefix = IpNet::new(address, length).ok()?.trunc();
            self.servers.get(&prefix).map(|url| &**url)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_and_the_secure_server_count() {
        let mut bootstrap = Bootstrap::default();
        let file = br#"{"version":"1.0","services":[
            [["240.0.0.0/8","nonsense"],["http://one.example/","https://one.example/rdap/"]],
            [["240.7.0.0/16"],["http://two.example/"]],
            [["241.0.0.0/8"],["ftp://no.example/"]],
            [["3fff::/20"],["https://six.example"]]]}"#;
        bootstrap.read(file).unwrap();
        let server = |text: &str| bootstrap.server(text.parse().unwrap());
        assert_eq!(server("240.1.2.3"), Some("https://one.example/rdap"));
        assert_eq!(server("::ffff:240.7.0.1"), Some("http://two.example"));
        assert_eq!(server("3fff::1"), Some("https://six.example"));
        assert_eq!((server("241.0.0.1"), server("9.9.9.9")), (None, None));
        assert!(bootstrap.read(b"[]").is_err());
        assert!(bootstrap.read(&vec![b' '; MAX_OCTETS + 1]).is_err());
    }
}
