//! DNS names, as far as this system accepts them.

use std::fmt;
use std::str::FromStr;

/// A host or zone name: lower case, without the final dot, labels of letters, digits, `-` and `_`, at most 63 octets
/// each and 253 in all (RFC 1035 section 2.3.4, with the underscore of RFC 8552).
///
/// Anything else that DNS could carry is refused, since names come from strangers and end up in reports.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(String);

/// A string is not an acceptable DNS name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsNameError {
    /// Longer than 253 octets, or empty.
    #[error("a name has 1 to 253 octets, not {0}")]
    Length(usize),
    /// A label is empty, longer than 63 octets, or starts or ends with a hyphen.
    #[error("malformed label {0:?}")]
    Label(String),
    /// A character outside letters, digits, hyphen and underscore.
    #[error("character {0:?} is not allowed in a name")]
    Character(char),
}

impl DnsName {
    /// The name as text, without the final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Labels from the most specific to the top.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// The name without its first label; `None` at a single label.
    pub fn parent(&self) -> Option<Self> {
        self.0
            .split_once('.')
            .map(|(_, rest)| Self(rest.to_owned()))
    }

    /// Is this name `ancestor` or below it?
    pub fn is_within(&self, ancestor: &Self) -> bool {
        self.0 == ancestor.0
            || self
                .0
                .strip_suffix(&ancestor.0)
                .is_some_and(|head| head.ends_with('.'))
    }

    /// `prefix.self`, e.g. `_edge._tcp` in front of a zone.
    pub fn with_prefix(&self, prefix: &str) -> Result<Self, DnsNameError> {
        format!("{prefix}.{}", self.0).parse()
    }
}

impl FromStr for DnsName {
    type Err = DnsNameError;

    fn from_str(text: &str) -> Result<Self, DnsNameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() || text.len() > 253 {
            return Err(DnsNameError::Length(text.len()));
        }
        if let Some(bad) = text
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
        {
            return Err(DnsNameError::Character(bad));
        }
        for label in text.split('.') {
            if label.is_empty()
                || label.len() > 63
                || label.starts_with('-')
                || label.ends_with('-')
            {
                return Err(DnsNameError::Label(label.to_owned()));
            }
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_host_and_service_names() {
        for (text, want) in [
            ("Core1.ISP.example.", "core1.isp.example"),
            ("_edge._tcp.isp.example", "_edge._tcp.isp.example"),
            ("1.2.0.240.in-addr.arpa", "1.2.0.240.in-addr.arpa"),
        ] {
            assert_eq!(text.parse::<DnsName>().unwrap().as_str(), want);
        }
    }

    #[test]
    fn refuses_what_is_not_a_host_name() {
        for text in [
            "",
            ".",
            "a..b",
            "-a.example",
            "a b.example",
            "ex\u{e4}mple",
            "a\0.b",
        ] {
            assert!(text.parse::<DnsName>().is_err(), "{text:?} was accepted");
        }
        assert!("a".repeat(64).parse::<DnsName>().is_err());
        assert!(
            ["a".repeat(60).as_str(); 5]
                .join(".")
                .parse::<DnsName>()
                .is_err()
        );
    }

    #[test]
    fn containment_respects_label_borders() {
        let zone: DnsName = "isp.example".parse().unwrap();
        assert!(
            "core.isp.example"
                .parse::<DnsName>()
                .unwrap()
                .is_within(&zone)
        );
        assert!(zone.is_within(&zone));
        assert!(
            !"coreisp.example"
                .parse::<DnsName>()
                .unwrap()
                .is_within(&zone)
        );
    }
}
