//! What is inside a certificate, as far as TLSA needs it.

use std::path::Path;

use anyhow::Context as _;
use edge_provider::SiteConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use edge_console::exit::Failure;

/// What others have to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// SHA-256 of its key (RFC 6698: selector 1, matching type 1), in hexadecimal digits.
    pub(crate) key_digest: String,
    /// Does no authority stand above it? Then nobody believes it but by a TLSA record.
    pub(crate) is_self_issued: bool,
}

impl Certificate {
    /// The first one in a PEM file.
    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        let shown = file.display();
        let read = || -> anyhow::Result<Self> {
            let certificate = CertificateDer::from_pem_file(file)
                .with_context(|| format!("reading the certificate {shown}"))?;
            Self::parse(&certificate).with_context(|| format!("{shown} holds no X.509 certificate"))
        };
        read().map_err(|error| {
            Failure::usage(error)
                .with_hint("give a PEM file that begins with the site's certificate")
        })
    }

    /// That of a site, if it serves TLS.
    pub(crate) fn of(site: &SiteConfig) -> Result<Option<Self>, Failure> {
        let files = site.tls.as_ref();
        files
            .map(|files| Self::read(&files.certificates))
            .transpose()
    }

    /// By RFC 5280 section 4.1; `None` if it is none.
    fn parse(certificate: &[u8]) -> Option<Self> {
        let (certificate, _) = element(certificate, SEQUENCE)?;
        let (mut rest, _) = element(certificate, SEQUENCE)?;
        if rest.first() == Some(&EXPLICIT_VERSION) {
            rest = skip(rest)?;
        }
        // Serial number and signature algorithm.
        rest = skip(skip(rest)?)?;
        let (issuer, _) = element(rest, SEQUENCE)?;
        // Issuer and validity.
        rest = skip(skip(rest)?)?;
        let (subject, _) = element(rest, SEQUENCE)?;
        let (_, key) = element(skip(rest)?, SEQUENCE)?;
        let digest = Sha256::digest(key);
        Some(Self {
            key_digest: digest.iter().map(|octet| format!("{octet:02x}")).collect(),
            is_self_issued: issuer == subject,
        })
    }
}

const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;

/// The content of the first DER element, which must have this tag, and the whole of it.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, header, length) = header(input)?;
    let end = header.checked_add(length)?;
    (found == tag).then_some(())?;
    Some((input.get(header..end)?, input.get(..end)?))
}

fn skip(input: &[u8]) -> Option<&[u8]> {
    let (_, header, length) = header(input)?;
    input.get(header.checked_add(length)?..)
}

/// Tag, length of the header and length of the content.
fn header(input: &[u8]) -> Option<(u8, usize, usize)> {
    let (&tag, &first) = (input.first()?, input.get(1)?);
    let count = usize::from(first & 0x7f);
    if first & 0x80 == 0 {
        return Some((tag, 2, count));
    }
    if !(1..=4).contains(&count) {
        return None;
    }
    let octets = input.get(2..2 + count)?;
    let length = octets
        .iter()
        .fold(0, |length, octet| length << 8 | usize::from(*octet));
    Some((tag, 2 + count, length))
}
