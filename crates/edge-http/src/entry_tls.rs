//! TLS at entry points: who has to show which certificate, and who may do without.
//!
//! Where DNSSEC proves TLSA records of an entry point, these decide (DANE: RFC 6698, RFC 7671, RFC 7673) and plain HTTP is never
//! used, since whoever can drop packets could else undo them. Where the records are none that is understood, or an instance's
//! profile says `proto=https`, certificate authorities decide (WebPKI). All others are spoken to in the clear, unless the policy
//! refuses that; of a signed zone whose answer about this is missing there is no candidate at all.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use edge_discovery::{CertificateUsage, IepCandidate, Matching, Selector, TlsPin};
use edge_wire::BASE;
use edge_wire::message::VERSION;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256, Sha512};
pub use tokio_rustls::TlsAcceptor;
use tokio_rustls::TlsConnector;
pub use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, Error, ServerConfig,
    SignatureScheme,
};

/// Certificates of a server that are looked at.
const MAX_CHAIN: usize = 8;

/// What an entry point proved itself by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// TLSA records that DNSSEC proves.
    Dane,
    /// A certificate that an authority issued for its host.
    WebPki,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dane => "TLS, by its zone's signed TLSA records",
            Self::WebPki => "TLS, by a certificate authority",
        })
    }
}

/// Why an entry point is not spoken to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContactRefusal {
    /// Its zone announces no TLS, and the policy wants it.
    #[error("it announces neither TLSA records nor https, and plain HTTP is refused by policy")]
    Plain,
    /// Its profile says that its API begins elsewhere.
    #[error("its API begins at {path}, and not at {BASE}")]
    OtherPath {
        /// Where.
        path: String,
    },
    /// Its profile says that it speaks another version.
    #[error("it speaks version {api} of the API, and not {VERSION}")]
    OtherVersion {
        /// Which.
        api: u16,
    },
}

/// How an entry point is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In the clear.
    Plain,
    /// Over TLS with a certificate that an authority issued for its host.
    Authorities,
    /// Over TLS with a certificate that one of these is about; at least one.
    Pins(Vec<TlsPin>),
}

/// Which entry points are spoken to how.
#[derive(Clone, Debug)]
pub struct TlsPolicy {
    roots: Arc<RootCertStore>,
    allows_plain: bool,
}

impl TlsPolicy {
    /// Believes certificates that `roots` issued; speaks in the clear to entry points that announce no TLS if `allows_plain`.
    pub fn new(roots: RootCertStore, allows_plain: bool) -> Self {
        Self {
            roots: Arc::new(roots),
            allows_plain,
        }
    }

    /// How an entry point is to be spoken to, by what its zone says of it.
    ///
    /// # Errors
    /// It announces no TLS, and that is refused; or another API than ours.
    pub fn decide(&self, site: &IepCandidate) -> Result<Transport, ContactRefusal> {
        if let Some(profile) = &site.profile {
            let path = profile.path.as_deref().unwrap_or(BASE);
            if path.trim_end_matches('/') != BASE {
                let path = path.to_owned();
                return Err(ContactRefusal::OtherPath { path });
            }
            match profile.api {
                Some(api) if u32::from(api) != VERSION => {
                    return Err(ContactRefusal::OtherVersion { api });
                }
                _ => {}
            }
        }
        if !site.pins.is_empty() {
            return Ok(Transport::Pins(site.pins.clone()));
        }
        // Signed records of which none is understood still say that there is TLS.
        if site.wants_tls() {
            return Ok(Transport::Authorities);
        }
        if self.allows_plain {
            Ok(Transport::Plain)
        } else {
            Err(ContactRefusal::Plain)
        }
    }

    /// What carries out a decision; `None` is plain HTTP.
    pub fn over(&self, transport: &Transport) -> Option<EntryTls> {
        let pins = match transport {
            Transport::Plain => return None,
            Transport::Authorities => Vec::new(),
            Transport::Pins(pins) => pins.clone(),
        };
        Some(EntryTls::new(Verifier::new(pins, &self.roots)))
    }

    /// How to speak to an entry point; `None` is plain HTTP.
    ///
    /// # Errors
    /// As for [`Self::decide`].
    pub fn transport(&self, site: &IepCandidate) -> Result<Option<EntryTls>, ContactRefusal> {
        Ok(self.over(&self.decide(site)?))
    }
}

const HTTP2: &[u8] = b"h2";

/// What both sides speak over TLS, the best first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];

/// Did the two sides choose HTTP/2?
pub(crate) fn is_http2(connection: &CommonState) -> bool {
    connection.alpn_protocol() == Some(HTTP2)
}

/// TLS towards one entry point.
#[derive(Clone)]
pub struct EntryTls {
    config: Arc<ClientConfig>,
    proof: Proof,
}

impl fmt::Debug for EntryTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EntryTls").field(&self.proof).finish()
    }
}

impl EntryTls {
    fn new(verifier: Verifier) -> Self {
        let proof = if verifier.pins.is_empty() {
            Proof::WebPki
        } else {
            Proof::Dane
        };
        let provider = Arc::clone(&verifier.provider);
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the built-in cryptography has all versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Self {
            config: Arc::new(config),
            proof,
        }
    }

    /// What a server has proved itself by once a handshake is done.
    pub const fn proof(&self) -> Proof {
        self.proof
    }

    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.config))
    }
}

/// What an entry point's server needs for TLS could not be read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or is not PEM.
    #[error("reading {}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        cause: pem::Error,
    },
    /// They do not belong together, or are not understood.
    #[error("using the key in {} with the certificate in {}", key.display(), certificates.display())]
    Unusable {
        /// The file with the certificates.
        certificates: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// Why.
        #[source]
        cause: Error,
    },
}

/// The server's side: PEM files with its certificate, those of the authorities above it if any, and its private key.
pub struct Identity {
    certificates: PathBuf,
    key: PathBuf,
    acceptor: ArcSwap<ServerConfig>,
    /// When the files that are used were written.
    written: Mutex<Option<[SystemTime; 2]>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.certificates).finish()
    }
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be read, or do not belong together.
    pub fn read(certificates: PathBuf, key: PathBuf) -> Result<Self, IdentityError> {
        // Before they are read: what is written meanwhile is read again.
        let written = written(&certificates, &key);
        let config = server_config(&certificates, &key)?;
        Ok(Self {
            certificates,
            key,
            acceptor: ArcSwap::new(config),
            written: Mutex::new(written),
        })
    }

    /// Reads the files again if others have been written since, for connections from then on; were there others? Bad ones leave
    /// everything as it was, and are read again the next time.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn refresh(&self) -> Result<bool, IdentityError> {
        let newest = written(&self.certificates, &self.key);
        let mut known = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.is_some() && newest == *known {
            return Ok(false);
        }
        self.acceptor
            .store(server_config(&self.certificates, &self.key)?);
        *known = newest;
        Ok(true)
    }

    /// For connections from now on.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.acceptor.load_full())
    }
}

fn written(certificates: &Path, key: &Path) -> Option<[SystemTime; 2]> {
    let written = |file: &Path| file.metadata().and_then(|about| about.modified()).ok();
    Some([written(certificates)?, written(key)?])
}

fn server_config(certificates: &Path, key: &Path) -> Result<Arc<ServerConfig>, IdentityError> {
    let file = |file: &Path| {
        let file = file.to_owned();
        move |cause| IdentityError::File { file, cause }
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificates).and_then(Iterator::collect);
    let chain = chain.map_err(file(certificates))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(file(key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the built-in cryptography has all versions")
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|cause| IdentityError::Unusable {
            certificates: certificates.to_owned(),
            key: key.to_owned(),
            cause,
        })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

/// Judges certificates by pins, or without any by authorities.
#[derive(Debug)]
struct Verifier {
    pins: Vec<TlsPin>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

/// A certificate as it was shown, with the others that came along.
struct Shown<'a> {
    own: &'a CertificateDer<'a>,
    others: &'a [CertificateDer<'a>],
    name: &'a ServerName<'a>,
    now: UnixTime,
}

impl Verifier {
    fn new(pins: Vec<TlsPin>, roots: &Arc<RootCertStore>) -> Self {
        Self {
            pins,
            roots: Arc::clone(roots),
            provider: Arc::new(ring::default_provider()),
        }
    }

    /// Is the certificate for the host, and issued by one of `roots`?
    fn check_chain(&self, shown: &Shown<'_>, roots: &RootCertStore) -> Result<(), Error> {
        let own = ParsedCertificate::try_from(shown.own)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &own,
            roots,
            shown.others,
            shown.now,
            algorithms,
        )?;
        verify_server_name(&own, shown.name)
    }

    /// Does the certificate satisfy one pin? RFC 7671 section 5 says what each usage leaves out: with the server's own key
    /// pinned, neither names nor dates count.
    fn check_pin(&self, pin: &TlsPin, shown: &Shown<'_>) -> Result<(), Error> {
        let wrong = || Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        match pin.usage {
            CertificateUsage::DaneEe if matches(pin, shown.own) => Ok(()),
            CertificateUsage::PkixEe if matches(pin, shown.own) => {
                self.check_chain(shown, &self.roots)
            }
            CertificateUsage::DaneEe | CertificateUsage::PkixEe => Err(wrong()),
            CertificateUsage::DaneTa | CertificateUsage::PkixTa => {
                let mut authorities = RootCertStore::empty();
                let pinned = shown.others.iter().filter(|other| matches(pin, other));
                for authority in pinned {
                    authorities.add(authority.clone().into_owned())?;
                }
                // An authority that is in the record as a whole need not come along.
                if let (Selector::Certificate, Matching::Exact(octets)) =
                    (pin.selector, &pin.matching)
                {
                    authorities.add(CertificateDer::from(octets.clone()))?;
                }
                if authorities.is_empty() {
                    return Err(wrong());
                }
                self.check_chain(shown, &authorities)?;
                if pin.usage == CertificateUsage::PkixTa {
                    self.check_chain(shown, &self.roots)?;
                }
                Ok(())
            }
        }
    }
}

/// Is the part of the certificate that a pin is about the one that it has?
fn matches(pin: &TlsPin, certificate: &CertificateDer<'_>) -> bool {
    let key;
    let part: &[u8] = match pin.selector {
        Selector::Certificate => certificate,
        Selector::PublicKey => {
            let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
                return false;
            };
            key = parsed.subject_public_key_info();
            &key
        }
    };
    match &pin.matching {
        Matching::Exact(octets) => part == octets,
        Matching::Sha256(digest) => Sha256::digest(part).as_slice() == digest,
        Matching::Sha512(digest) => Sha512::digest(part).as_slice() == digest.as_slice(),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let others = &others[..others.len().min(MAX_CHAIN)];
        let shown = Shown {
            own,
            others,
            name,
            now,
        };
        let mut judged = if self.pins.is_empty() {
            self.check_chain(&shown, &self.roots)
        } else {
            Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ))
        };
        for pin in &self.pins {
            if judged.is_ok() {
                break;
            }
            judged = self.check_pin(pin, &shown);
        }
        judged.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
