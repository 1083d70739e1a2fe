//! Which certificate authorities commands believe.

use std::path::Path;

use edge_http::entry_tls::RootCertStore;
use edge_http::fetch::{RootsError, read_roots};

/// Those of the system.
const OF_THE_SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The authorities in the file, or else those of the system.
pub(crate) fn read(named: Option<&Path>) -> Result<RootCertStore, RootsError> {
    read_roots(named.unwrap_or(Path::new(OF_THE_SYSTEM)))
}

/// The same; a system may do without any, since TLSA records need none.
pub(crate) fn read_if_any(named: Option<&Path>) -> Result<RootCertStore, RootsError> {
    match read(named) {
        Err(_) if named.is_none() => Ok(RootCertStore::empty()),
        read => read,
    }
}
