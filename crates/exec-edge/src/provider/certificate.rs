//! The public key inside a certificate, as far as TLSA needs it.

use std::path::Path;

use anyhow::Context as _;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use crate::exit::Failure;

/// SHA-256, in hexadecimal digits, of the key of the first certificate in a PEM file (RFC 6698: selector 1, matching
/// type 1).
pub(crate) fn key_digest_of_file(file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    let read = || -> anyhow::Result<String> {
        let certificate = CertificateDer::from_pem_file(file)
            .with_context(|| format!("reading the certificate {shown}"))?;
        key_digest(&certificate).with_context(|| format!("{shown} holds no X.509 certificate"))
    };
    read().map_err(|error| {
        Failure::usage(error).with_hint("give a PEM file that begins with the site's certificate")
    })
}

/// SHA-256 of the `SubjectPublicKeyInfo` of a certificate (RFC 5280 section 4.1); `None` if it is none.
pub(crate) fn key_digest(certificate: &[u8]) -> Option<String> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if rest.first() == Some(&EXPLICIT_VERSION) {
        rest = skip(rest)?;
    }
    // Serial number, signature algorithm, issuer, validity, subject.
    for _ in 0..5 {
        rest = skip(rest)?;
    }
    let (_, whole) = element(rest, SEQUENCE)?;
    let digest = Sha256::digest(whole);
    Some(digest.iter().map(|octet| format!("{octet:02x}")).collect())
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
