//! What an instance of the service says of itself: its TXT record by the rules of DNS-SD (RFC 6763 section 6).
//!
//! ```text
//! site1._edge._tcp.isp.example. TXT "v=1" "path=/exec/v1" "api=1" "proto=http/1.1,h2" "key=eip155:1:0x…"
//! ```
//!
//! `v=1` comes first. Each key counts once, the first time; letters of keys may have either case; keys that are not known
//! are ignored and told. Nothing here is proven but by DNSSEC.

use std::collections::BTreeSet;

use edge_types::DnsName;

use crate::question::Security;

/// Longest TXT record that is looked at, in octets.
const MAX_RECORD_OCTETS: usize = 1024;
/// Most strings looked at.
const MAX_STRINGS: usize = 32;
/// Longest API path, in octets.
const MAX_PATH_OCTETS: usize = 200;
/// Most protocols taken.
const MAX_PROTOCOLS: usize = 8;
/// Longest key or protocol name, in octets. RFC 6763 section 6.4 advises nine for keys.
const MAX_WORD_OCTETS: usize = 32;

/// An instance's word about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The instance, `site1._edge._tcp.isp.example`.
    pub instance: DnsName,
    /// Where on the host the API begins, if it says so.
    pub path: Option<String>,
    /// Version of the API, if it says so.
    pub api: Option<u16>,
    /// Protocols by which the API can be reached, in the order given; none if it does not say.
    pub protocols: Vec<String>,
    /// Keys that are not known, in order.
    pub unknown: BTreeSet<String>,
    /// What DNSSEC says of it.
    pub security: Security,
}

impl Profile {
    /// Does it want to be spoken to over TLS?
    pub fn says_https(&self) -> bool {
        self.protocols.iter().any(|protocol| protocol == "https")
    }
}

/// Why an instance has no profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum ProfileRefusal {
    /// No record begins with `v=1`, or it is too long.
    #[error("no record of version 1")]
    NoneOfVersion1,
    /// Nobody can tell which is meant.
    #[error("{0} different records")]
    Several(usize),
    /// A value is out of its bounds.
    #[error("{key}: {problem}")]
    Value {
        /// Of which key.
        key: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
}

/// Is this a profile, and not too long to be read?
pub(crate) fn is_profile(strings: &[Vec<u8>]) -> bool {
    strings.len() <= MAX_STRINGS
        && strings.iter().map(Vec::len).sum::<usize>() <= MAX_RECORD_OCTETS
        && strings.first().is_some_and(|first| first == b"v=1")
}

/// Reads the one profile in a set of TXT records.
pub(crate) fn read_profile(
    instance: &DnsName,
    records: &[&[Vec<u8>]],
    security: Security,
) -> Result<Profile, ProfileRefusal> {
    let mut found = records.iter().filter(|strings| is_profile(strings));
    let strings = found.next().ok_or(ProfileRefusal::NoneOfVersion1)?;
    match found.count() {
        0 => {}
        more => return Err(ProfileRefusal::Several(1 + more)),
    }
    let mut profile = Profile {
        instance: instance.clone(),
        path: None,
        api: None,
        protocols: Vec::new(),
        unknown: BTreeSet::new(),
        security,
    };
    let mut seen = BTreeSet::new();
    for string in strings.iter() {
        let (key, value) = match string.iter().position(|octet| *octet == b'=') {
            Some(0) => continue, // RFC 6763 section 6.4: silently ignored
            Some(at) => (&string[..at], &string[at + 1..]),
            None => (&string[..], &[][..]),
        };
        let is_printable = key.iter().all(|octet| (b' '..=b'~').contains(octet));
        if key.is_empty() || key.len() > MAX_WORD_OCTETS || !is_printable {
            continue;
        }
        let key = String::from_utf8_lossy(key).to_ascii_lowercase();
        if !seen.insert(key.clone()) {
            continue;
        }
        match key.as_str() {
            "v" | "key" => {} // the key is read as everywhere else
            "path" => profile.path = Some(path(value)?),
            "api" => profile.api = Some(version(value)?),
            "proto" => profile.protocols = protocols(value)?,
            _ => {
                profile.unknown.insert(key);
            }
        }
    }
    Ok(profile)
}

fn path(value: &[u8]) -> Result<String, ProfileRefusal> {
    let wrong = |problem| ProfileRefusal::Value {
        key: "path",
        problem,
    };
    // RFC 3986 section 3.3, without percent signs, so that no two spellings are one path.
    let is_allowed = |octet: &u8| octet.is_ascii_alphanumeric() || b"/-._~".contains(octet);
    let text = std::str::from_utf8(value).map_err(|_| wrong("not text"))?;
    if value.len() > MAX_PATH_OCTETS {
        return Err(wrong("too long"));
    }
    if !text.starts_with('/') || !value.iter().all(is_allowed) {
        return Err(wrong("not an absolute path of letters, digits and -._~"));
    }
    if text.split('/').any(|part| part == "..") {
        return Err(wrong("leads upwards"));
    }
    Ok(text.to_owned())
}

fn version(value: &[u8]) -> Result<u16, ProfileRefusal> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|octet| octet.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or(ProfileRefusal::Value {
            key: "api",
            problem: "not a number up to 65535",
        })
}

fn protocols(value: &[u8]) -> Result<Vec<String>, ProfileRefusal> {
    let wrong = |problem| ProfileRefusal::Value {
        key: "proto",
        problem,
    };
    let words: Vec<&[u8]> = value.split(|octet| *octet == b',').collect();
    if words.len() > MAX_PROTOCOLS {
        return Err(wrong("more than eight"));
    }
    words
        .into_iter()
        .map(|word| {
            let is_allowed = |octet: &u8| octet.is_ascii_alphanumeric() || b"/-.".contains(octet);
            if word.is_empty() || word.len() > MAX_WORD_OCTETS || !word.iter().all(is_allowed) {
                return Err(wrong("not words of letters, digits and /-."));
            }
            Ok(String::from_utf8_lossy(word).to_ascii_lowercase())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(records: &[&[&str]]) -> Result<Profile, ProfileRefusal> {
        let records: Vec<Vec<Vec<u8>>> = records
            .iter()
            .map(|strings| strings.iter().map(|s| s.as_bytes().to_vec()).collect())
            .collect();
        let records: Vec<&[Vec<u8>]> = records.iter().map(Vec::as_slice).collect();
        let instance = "site1._edge._tcp.isp.example".parse().unwrap();
        read_profile(&instance, &records, Security::Secure)
    }

    #[test]
    fn reads_what_it_knows_and_tells_what_it_does_not() {
        let profile = read(&[
            &["other"],
            &[
                "v=1",
                "PATH=/exec/v1",
                "path=/second",
                "api=1",
                "proto=http/1.1,H2",
                "tee=sev",
                "flag",
                "=ignored",
            ],
        ])
        .unwrap();
        assert_eq!(profile.path.as_deref(), Some("/exec/v1"));
        assert_eq!(profile.api, Some(1));
        assert_eq!(profile.protocols, ["http/1.1", "h2"]);
        assert!(profile.unknown.iter().eq(["flag", "tee"]));
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        assert_eq!(read(&[&["path=/"]]), Err(ProfileRefusal::NoneOfVersion1));
        assert_eq!(
            read(&[&["v=1", "api=1"], &["v=1", "api=2"]]),
            Err(ProfileRefusal::Several(2))
        );
        let long = format!("path=/{}", "a".repeat(200));
        for value in [
            "path=exec",
            "path=/a b",
            "path=/a/../b",
            "path=/%2e",
            "path=//evil.example/\u{e9}",
            &long,
            "api=",
            "api=-1",
            "api=65536",
            "proto=",
            "proto=a,,b",
            "proto=a,a,a,a,a,a,a,a,a",
        ] {
            let found = read(&[&["v=1", value]]);
            assert!(
                matches!(found, Err(ProfileRefusal::Value { .. })),
                "{value}: {found:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(mut strings in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..40)) {
            strings.insert(0, b"v=1".to_vec());
            let instance: DnsName = "i._edge._tcp.isp.example".parse().unwrap();
            if let Ok(profile) = read_profile(&instance, &[&strings], Security::Insecure) {
                prop_assert!(profile.unknown.len() < MAX_STRINGS);
                prop_assert!(profile.protocols.len() <= MAX_PROTOCOLS);
            }
        }
    }
}
