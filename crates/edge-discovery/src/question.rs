//! What is asked of the DNS, and everything that can come back.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use edge_types::{DnsName, DnsNameError};

/// One question, as it goes to a resolver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// Owner name.
    pub name: DnsName,
    /// Record type.
    pub kind: RecordKind,
}

/// The record types that discovery needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// Names of an address (RFC 1035 section 3.5).
    Ptr,
    /// Entry points of a service (RFC 2782).
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses (RFC 3596).
    Aaaa,
    /// Text; here the key of a provider, or the profile of an instance of the service.
    Txt,
    /// Which TLS keys and certificates a server has (RFC 6698).
    Tlsa,
}

impl Question {
    /// Asks for records of `kind` at `name`.
    pub const fn new(name: DnsName, kind: RecordKind) -> Self {
        Self { name, kind }
    }

    /// Asks for the names of `address`.
    pub fn reverse(address: IpAddr) -> Self {
        Self::new(reverse_name(address), RecordKind::Ptr)
    }

    /// Does it ask for the names of an address?
    pub(crate) fn is_reverse(&self) -> bool {
        self.kind == RecordKind::Ptr && self.name.as_str().ends_with(".arpa")
    }
}

/// The name under `in-addr.arpa` (RFC 1035 section 3.5) or `ip6.arpa` (RFC 3596 section 2.5) that stands for
/// `address`. A v4-mapped address is treated as the IPv4 address that it is.
///
/// # Panics
/// Never: the text is made of digits and dots of known length.
pub fn reverse_name(address: IpAddr) -> DnsName {
    let text = match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => reverse_v6(v6),
    };
    text.parse()
        .expect("reverse names are well-formed by construction")
}

fn reverse_v6(address: Ipv6Addr) -> String {
    let nibbles = address
        .octets()
        .into_iter()
        .rev()
        .flat_map(|octet| [octet & 0xf, octet >> 4]);
    let mut text = String::with_capacity(72);
    for nibble in nibbles {
        text.extend(char::from_digit(nibble.into(), 16));
        text.push('.');
    }
    text + "ip6.arpa"
}

/// What came of a question. Silence is not an answer, and is never turned into one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There are records.
    Records {
        /// The records of the kind asked for, in the order received, at the end of any CNAME chain.
        records: Vec<RecordData>,
        /// Seconds for which they hold: the least time to live of all records and aliases used.
        ttl_seconds: u32,
        /// What DNSSEC says about the records and every alias on the way to them.
        security: Security,
    },
    /// There are none.
    Absent {
        /// In which way.
        absence: Absence,
        /// The SOA record of the negative answer, if it had one (RFC 2308).
        soa: Option<NegativeSoa>,
        /// As in [`Answer::Records`].
        security: Security,
    },
    /// Nothing is known.
    Unanswered(NoAnswer),
}

/// What DNSSEC says about an answer (RFC 4035 section 4.3). An answer that is bogus, the fourth case, is none: see
/// [`NoAnswer::Bogus`].
///
/// In order of what it is worth: an answer made of several parts is worth no more than the least of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Security {
    /// Nobody that we trust has looked: the answer is as good as the path it came by.
    Indeterminate,
    /// Proven to come from a zone that is not signed.
    Insecure,
    /// Signed, up to a trust anchor.
    Secure,
}

/// How records can be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Absence {
    /// The name does not exist, nor anything below it (RFC 8020).
    NxDomain,
    /// The name exists, without records of this kind.
    NoData,
}

/// The part of a negative answer's SOA record that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegativeSoa {
    /// Owner of the record: the apex of the zone that the name would be in.
    pub apex: DnsName,
    /// Seconds for which the absence holds: the lesser of the record's own TTL and its MINIMUM field (RFC 2308
    /// section 5).
    pub negative_ttl_seconds: u32,
}

/// Why nothing is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoAnswer {
    /// Nobody answered in time, all attempts counted.
    TimedOut {
        /// How long we waited.
        after: Duration,
    },
    /// The servers could not be reached at all.
    Unreachable,
    /// A server answered that it will not or cannot answer; the RCODE (2 is SERVFAIL, 5 is REFUSED).
    Failed {
        /// The RCODE.
        response_code: u16,
    },
    /// What came back is no valid answer.
    Malformed {
        /// What is wrong with it.
        detail: &'static str,
    },
    /// An answer came whose signatures are wrong, expired or missing where they have to be: somebody, if only a clock,
    /// is not to be trusted, and nothing of it is used.
    Bogus {
        /// What is wrong with it.
        reason: String,
    },
    /// The run's time was over before an answer came.
    RunOver,
}

/// The content of one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordData {
    /// A name of an address.
    Ptr(AnswerName),
    /// An entry point.
    Srv(SrvRecord),
    /// An address of a host.
    Address(IpAddr),
    /// The strings of one TXT record.
    Txt(Vec<Vec<u8>>),
    /// A TLS key or certificate.
    Tlsa(TlsaRecord),
}

/// The fields of a TLSA record (RFC 6698 section 2.1), as they came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsaRecord {
    /// Certificate usage.
    pub usage: u8,
    /// Which part of the certificate is compared.
    pub selector: u8,
    /// How `data` stands for that part.
    pub matching: u8,
    /// The part itself or its digest.
    pub data: Vec<u8>,
}

/// The fields of an SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SrvRecord {
    /// Lower is tried first.
    pub priority: u16,
    /// Relative share among equal priorities.
    pub weight: u16,
    /// TCP port.
    pub port: u16,
    /// Host.
    pub target: AnswerName,
}

/// A name inside an answer: DNS can carry names that this system does not accept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnswerName {
    /// The root, ".".
    Root,
    /// An acceptable name.
    Name(DnsName),
    /// Any other.
    Unacceptable {
        /// Why it is not acceptable, in words.
        why: String,
        /// The part above its last label that is not acceptable, if there is one.
        above: Option<DnsName>,
    },
}

impl AnswerName {
    /// Reads a name in presentation form.
    pub fn parse(text: &str) -> Self {
        if text == "." {
            return Self::Root;
        }
        text.parse().map_or_else(
            |error: DnsNameError| Self::Unacceptable {
                why: error.to_string(),
                above: acceptable_end(text),
            },
            Self::Name,
        )
    }
}

/// The longest end of a name in presentation form whose labels are all acceptable.
fn acceptable_end(text: &str) -> Option<DnsName> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let mut octets = text.bytes().enumerate();
    let mut starts = vec![0];
    while let Some((index, octet)) = octets.next() {
        match octet {
            // What follows is no border of labels, or digits.
            b'\\' => drop(octets.next()),
            b'.' => starts.push(index + 1),
            _ => {}
        }
    }
    let ends = starts.iter().map(|start| &text[*start..]);
    // Of each end, all shorter ones are acceptable too.
    ends.rev()
        .map_while(|end| end.parse::<DnsName>().ok())
        .last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_names() {
        for (address, want) in [
            ("240.1.2.3", "3.2.1.240.in-addr.arpa"),
            ("::ffff:240.1.2.3", "3.2.1.240.in-addr.arpa"),
            (
                "3fff::1a",
                "a.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.f.f.f.3.ip6.arpa",
            ),
        ] {
            assert_eq!(reverse_name(address.parse().unwrap()).as_str(), want);
        }
    }

    #[test]
    fn names_in_answers() {
        assert_eq!(AnswerName::parse("."), AnswerName::Root);
        assert_eq!(
            AnswerName::parse("A.example."),
            AnswerName::Name("a.example".parse().unwrap())
        );
        assert!(matches!(
            AnswerName::parse("a\\.b.example."),
            AnswerName::Unacceptable { .. }
        ));
    }

    #[test]
    fn of_unacceptable_names_the_part_above_is_known() {
        for (text, want) in [
            ("ge-0.paris.-.isp.example.", Some("isp.example")),
            ("r_0/4/0.net.isp.example.", Some("net.isp.example")),
            // One label, with a dot in it.
            ("a\\.b.isp.example.", Some("isp.example")),
            ("a\\046b.isp.example.", Some("isp.example")),
            ("a\\\\.isp.example.", Some("isp.example")),
            ("a..isp.example.", Some("isp.example")),
            ("a.b c", None),
            ("a\\", None),
            ("\u{e4}\\\u{e4}.example", Some("example")),
        ] {
            let AnswerName::Unacceptable { above, .. } = AnswerName::parse(text) else {
                panic!("{text} is acceptable");
            };
            assert_eq!(above.as_ref().map(DnsName::as_str), want, "{text}");
        }
    }
}
