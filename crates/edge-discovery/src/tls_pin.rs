//! Which TLS keys an entry point has, as its zone says (DANE: RFC 6698, RFC 7671, and RFC 7673 for SRV targets).
//!
//! Nothing is checked against a handshake here. A pin binds only where the SRV record that named the target and the TLSA
//! record are both signed; otherwise whoever forges one forges the other.

use std::fmt;
use std::str::FromStr;

use crate::question::TlsaRecord;

/// Longest certificate or key taken in full, in octets.
const MAX_DATA_OCTETS: usize = 4096;

/// A TLS key or certificate that an entry point is to show.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsPin {
    /// What the certificate has to be.
    pub usage: CertificateUsage,
    /// Which part of it is compared.
    pub selector: Selector,
    /// With what.
    pub matching: Matching,
}

/// RFC 6698 section 2.1.1, with the names of RFC 7218.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateUsage {
    /// An authority in the chain, which has to be publicly trusted too.
    PkixTa,
    /// The server's own certificate, which has to be publicly trusted too.
    PkixEe,
    /// An authority in the chain, trusted by this record alone.
    DaneTa,
    /// The server's own certificate or key, trusted by this record alone.
    DaneEe,
}

/// RFC 6698 section 2.1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// The whole certificate.
    Certificate,
    /// Its public key.
    PublicKey,
}

/// RFC 6698 section 2.1.3.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Matching {
    /// The part itself.
    Exact(Vec<u8>),
    /// Its digest.
    Sha256([u8; 32]),
    /// Its digest.
    Sha512(Box<[u8; 64]>),
}

impl fmt::Display for TlsPin {
    /// As in the presentation of a TLSA record (RFC 6698 section 2.2): `3 1 1` and hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usage = match self.usage {
            CertificateUsage::PkixTa => 0,
            CertificateUsage::PkixEe => 1,
            CertificateUsage::DaneTa => 2,
            CertificateUsage::DaneEe => 3,
        };
        let selector = match self.selector {
            Selector::Certificate => 0,
            Selector::PublicKey => 1,
        };
        let (matching, octets): (_, &[u8]) = match &self.matching {
            Matching::Exact(octets) => (0, octets),
            Matching::Sha256(digest) => (1, digest),
            Matching::Sha512(digest) => (2, digest.as_slice()),
        };
        write!(f, "{usage} {selector} {matching} ")?;
        octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// Text that is no [`TlsPin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinTextError {
    /// Not three numbers and hexadecimal digits.
    #[error("not in the form 3 1 1 HEXADECIMAL")]
    Form,
    /// No pin that can be used.
    #[error("no usable TLSA record")]
    Refused(#[source] PinRefusal),
}

impl FromStr for TlsPin {
    type Err = PinTextError;

    fn from_str(text: &str) -> Result<Self, PinTextError> {
        let mut words = text.split(' ');
        let mut number = || words.next().and_then(|word| word.parse().ok());
        let (usage, selector, matching) = (number(), number(), number());
        let digits = words.next().filter(|_| words.next().is_none());
        let (Some(usage), Some(selector), Some(matching), Some(digits)) =
            (usage, selector, matching, digits)
        else {
            return Err(PinTextError::Form);
        };
        if digits.len() > 2 * MAX_DATA_OCTETS || !digits.len().is_multiple_of(2) {
            return Err(PinTextError::Form);
        }
        let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
        let octet = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
        let data = digits.as_bytes().chunks_exact(2).map(octet);
        let record = TlsaRecord {
            usage,
            selector,
            matching,
            data: data.collect::<Option<_>>().ok_or(PinTextError::Form)?,
        };
        read_pin(&record).map_err(PinTextError::Refused)
    }
}

/// Why a TLSA record gives no pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum PinRefusal {
    /// A number that no standard gives a meaning.
    #[error("{field} {value} is not known")]
    UnknownParameter {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u8,
    },
    /// The digest has another length than its kind.
    #[error("{octets} octets are no such digest")]
    WrongLength {
        /// How many it has.
        octets: usize,
    },
    /// A key or certificate in full that is empty or longer than is looked at.
    #[error("a key of {octets} octets is not taken")]
    UnacceptableLength {
        /// How many it has.
        octets: usize,
    },
    /// The record came without DNSSEC's word.
    #[error("the record is not signed")]
    NotSigned,
}

/// Reads one record.
pub(crate) fn read_pin(record: &TlsaRecord) -> Result<TlsPin, PinRefusal> {
    let unknown = |field, value| PinRefusal::UnknownParameter { field, value };
    let usage = match record.usage {
        0 => CertificateUsage::PkixTa,
        1 => CertificateUsage::PkixEe,
        2 => CertificateUsage::DaneTa,
        3 => CertificateUsage::DaneEe,
        other => return Err(unknown("certificate usage", other)),
    };
    let selector = match record.selector {
        0 => Selector::Certificate,
        1 => Selector::PublicKey,
        other => return Err(unknown("selector", other)),
    };
    let octets = record.data.len();
    let matching = match record.matching {
        0 if (1..=MAX_DATA_OCTETS).contains(&octets) => Matching::Exact(record.data.clone()),
        0 => return Err(PinRefusal::UnacceptableLength { octets }),
        1 => Matching::Sha256(
            <[u8; 32]>::try_from(record.data.as_slice())
                .map_err(|_| PinRefusal::WrongLength { octets })?,
        ),
        2 => Matching::Sha512(Box::new(
            <[u8; 64]>::try_from(record.data.as_slice())
                .map_err(|_| PinRefusal::WrongLength { octets })?,
        )),
        other => return Err(unknown("matching type", other)),
    };
    Ok(TlsPin {
        usage,
        selector,
        matching,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(usage: u8, selector: u8, matching: u8, octets: usize) -> Result<TlsPin, PinRefusal> {
        read_pin(&TlsaRecord {
            usage,
            selector,
            matching,
            data: vec![7; octets],
        })
    }

    #[test]
    fn known_forms_are_read() {
        let pin = read(3, 1, 1, 32).unwrap();
        assert_eq!(
            pin,
            TlsPin {
                usage: CertificateUsage::DaneEe,
                selector: Selector::PublicKey,
                matching: Matching::Sha256([7; 32]),
            }
        );
        assert!(read(0, 0, 2, 64).is_ok() && read(2, 0, 0, 1200).is_ok());
    }

    #[test]
    fn pins_survive_as_text_and_other_text_is_none() {
        for pin in [
            read(3, 1, 1, 32).unwrap(),
            read(2, 0, 2, 64).unwrap(),
            read(1, 1, 0, 3).unwrap(),
            read(0, 0, 0, 4096).unwrap(),
        ] {
            assert_eq!(pin.to_string().parse(), Ok(pin));
        }
        assert_eq!(read(1, 1, 0, 3).unwrap().to_string(), "1 1 0 070707");
        let refused = |text: &str| text.parse::<TlsPin>().unwrap_err();
        for text in [
            "",
            "3 1 1",
            "3 1 0 0",
            "3 1 0 0g",
            "3 1 0 00 00",
            "3 1 0 +1",
            "3 1 0 é",
            "256 1 0 00",
        ] {
            assert_eq!(refused(text), PinTextError::Form, "{text}");
        }
        assert_eq!(
            refused(&format!("3 1 0 {}", "00".repeat(4097))),
            PinTextError::Form
        );
        assert!(matches!(refused("9 1 0 00"), PinTextError::Refused(_)));
        assert!(matches!(refused("3 1 1 00"), PinTextError::Refused(_)));
    }

    #[test]
    fn anything_else_is_refused() {
        let unknown = |field, value| Err(PinRefusal::UnknownParameter { field, value });
        assert_eq!(read(4, 1, 1, 32), unknown("certificate usage", 4));
        assert_eq!(read(3, 2, 1, 32), unknown("selector", 2));
        assert_eq!(read(3, 1, 3, 32), unknown("matching type", 3));
        for (matching, octets) in [(1, 31), (1, 64), (2, 32), (1, 0)] {
            let refusal = Err(PinRefusal::WrongLength { octets });
            assert_eq!(read(3, 1, matching, octets), refusal);
        }
        for octets in [0, 4097] {
            let refusal = Err(PinRefusal::UnacceptableLength { octets });
            assert_eq!(read(3, 1, 0, octets), refusal);
        }
    }
}
