//! The key that a provider publishes in DNS.
//!
//! A TXT record `v=1 key=eip155:<chain>:<0xaddress>` (CAIP-10 form) at the service name `_edge._tcp.<zone>` speaks for
//! every site of the zone; at an SRV target it speaks for that site and comes first. The parts may be separate strings
//! of the record or separated by spaces. Unknown parts are ignored; records without `v=1` in front are not ours.

use edge_types::{ChainAddress, ChainId, DnsName};

/// Longest TXT record that is looked at, in octets.
const MAX_RECORD_OCTETS: usize = 1024;

/// A key said to be a provider's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyBinding {
    /// The account.
    pub address: ChainAddress,
    /// The chain that it gets paid on.
    pub chain: ChainId,
    /// True if both the key record and the SRV record that led to it came with DNSSEC's word (rule 6: only then may
    /// money move to it on this evidence).
    pub authenticated: bool,
    /// The name that holds the key record.
    pub published_at: DnsName,
}

/// Why a name with a key record gives no key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum KeyRefusal {
    /// A record says `v=1` but its key cannot be read.
    #[error("the key record cannot be read: {0}")]
    Malformed(&'static str),
    /// Different keys at one name: nobody can tell which is meant.
    #[error("{0} different keys")]
    Several(usize),
}

/// The one key in a set of TXT records; `None` if none of them is a key record.
///
/// # Errors
/// A key record cannot be read, or there is more than one key.
pub(crate) fn read_keys<'a>(
    records: impl IntoIterator<Item = &'a [Vec<u8>]>,
) -> Result<Option<(ChainId, ChainAddress)>, KeyRefusal> {
    let mut keys = std::collections::BTreeSet::new();
    for record in records {
        if let Some(key) = read_key(record)? {
            keys.insert(key);
        }
    }
    match keys.len() {
        0 | 1 => Ok(keys.pop_first()),
        several => Err(KeyRefusal::Several(several)),
    }
}

/// Is this one of our records, and not too long to be read?
pub(crate) fn is_key_record(strings: &[Vec<u8>]) -> bool {
    strings.iter().map(Vec::len).sum::<usize>() <= MAX_RECORD_OCTETS
        && strings.first().is_some_and(|first| {
            first
                .strip_prefix(b"v=1")
                .is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
        })
}

fn read_key(strings: &[Vec<u8>]) -> Result<Option<(ChainId, ChainAddress)>, KeyRefusal> {
    if !is_key_record(strings) {
        return Ok(None);
    }
    let text =
        String::from_utf8(strings.join(&b' ')).map_err(|_| KeyRefusal::Malformed("not text"))?;
    let parts = text.split_ascii_whitespace();
    let mut keys = parts.filter_map(|part| part.strip_prefix("key="));
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    if keys.next().is_some() {
        return Err(KeyRefusal::Malformed("more than one key in a record"));
    }
    let (chain, address) = key
        .strip_prefix("eip155:")
        .ok_or(KeyRefusal::Malformed("not an eip155 account"))?
        .split_once(':')
        .ok_or(KeyRefusal::Malformed("no chain number"))?;
    if chain.is_empty() || !chain.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(KeyRefusal::Malformed("the chain is no number"));
    }
    let chain = chain
        .parse()
        .map_err(|_| KeyRefusal::Malformed("the chain number is too large"))?;
    let address = address
        .starts_with("0x")
        .then(|| address.parse().ok())
        .flatten()
        .ok_or(KeyRefusal::Malformed("the address is not 0x and 40 digits"))?;
    Ok(Some((ChainId(chain), address)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ADDRESS: &str = "0x00000000000000000000000000000000000000aa";

    fn read(records: &[&[&str]]) -> Result<Option<(ChainId, ChainAddress)>, KeyRefusal> {
        let records: Vec<Vec<Vec<u8>>> = records
            .iter()
            .map(|strings| strings.iter().map(|s| s.as_bytes().to_vec()).collect())
            .collect();
        read_keys(records.iter().map(Vec::as_slice))
    }

    #[test]
    fn reads_one_key() {
        let key = format!("key=eip155:31337:{ADDRESS}");
        let want = Ok(Some((ChainId(31337), ADDRESS.parse().unwrap())));
        assert_eq!(read(&[&[&format!("v=1 {key}")]]), want);
        assert_eq!(read(&[&["v=1", "path=/exec/v1", &key]]), want);
        assert_eq!(
            read(&[&["v=spf1 -all"], &["v=1", &key], &["v=1", &key]]),
            want
        );
    }

    #[test]
    fn foreign_records_are_not_ours() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[&["v=2 key=eip155:1:0x"]]), Ok(None));
        assert_eq!(read(&[&["v=1 path=/"]]), Ok(None));
    }

    #[test]
    fn unreadable_or_ambiguous_keys_are_refused() {
        for bad in [
            "key=bip122:1:x",
            "key=eip155:1",
            "key=eip155::0x",
            "key=eip155:-1:0x00",
            "key=eip155:99999999999999999999:0x00",
            "key=eip155:1:00000000000000000000000000000000000000aa",
        ] {
            assert!(
                matches!(read(&[&["v=1", bad]]), Err(KeyRefusal::Malformed(_))),
                "{bad}"
            );
        }
        let one = format!("v=1 key=eip155:1:{ADDRESS}");
        let two = format!("v=1 key=eip155:2:{ADDRESS}");
        assert_eq!(read(&[&[&one], &[&two]]), Err(KeyRefusal::Several(2)));
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(strings in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6)) {
            let _ = read_keys([strings.as_slice()]);
        }

        #[test]
        fn any_key_text_is_survived(key in "\\PC{0,80}") {
            let _ = read(&[&["v=1", &format!("key=eip155:{key}")]]);
        }
    }
}
