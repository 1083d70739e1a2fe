//! Lists of entry points: the well-known document of a domain, and the signed feed of an aggregator.
//!
//! Home and crowd providers do not own the zone that their routers' names are in. An aggregator can list them: in a zone
//! of its own, or in a feed, whose lines it signs one by one, so that a copy of a part is still worth something and
//! each entry runs out by itself.
//!
//! The feed is JSON lines: `{"site": …, "expires": seconds, "signature": "0x…"}`. Signed is, as EIP-712 typed data in the domain
//! `("ExEC feed", "1", 0, 0)`, the entry without its signature.

use std::collections::BTreeSet;
use std::net::IpAddr;

use alloy_primitives::{B256, keccak256};
use edge_types::{ChainAddress, ChainId, Hash32, IepId, ListedSite, Signature, UtcTime};
use serde::{Deserialize, Serialize};

use crate::codec::{IepIdJson, UtcTimeJson, as_text};
use crate::limits::require;
use crate::signing::{self, account, digest, domain, hash_struct, number, word};
use crate::{Message, WireError};

/// Where a domain's list is (RFC 8615).
pub const WELL_KNOWN_PATH: &str = "/.well-known/exec-edge";
/// Longest feed that is read, in octets.
pub const MAX_FEED_BYTES: usize = 1 << 20;
/// Most sites taken from one list.
pub const MAX_SITES: usize = 4096;

/// Longest line of a feed.
const MAX_LINE_BYTES: usize = 2048;
/// Addresses of one site.
const MAX_ADDRESSES: usize = 8;
/// Sites in a well-known document: it has the size of any body.
const MAX_WELL_KNOWN: usize = 256;
/// Refused lines that are told one by one.
const REFUSALS_TOLD: usize = 16;
/// An entry is signed for no longer than this, seconds: 31 days.
pub const MAX_ENTRY_SECONDS: u64 = 31 * 24 * 3600;

const ENTRY_TYPE: &str =
    "Entry(bytes32 site,bytes32 addresses,uint256 chain,address account,uint64 expires)";

/// One site in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteJson {
    /// Its entry point.
    #[serde(with = "IepIdJson")]
    pub entry_point: IepId,
    /// Its addresses; without any, those of its host name count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// `eip155:<chain>:<0xaddress>` of the key that signs its offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// It is spoken to over TLS, with a certificate for its host from an authority. Not in feeds, whose signature does not
    /// cover it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub https: bool,
}

impl SiteJson {
    fn listed(&self) -> Result<ListedSite, WireError> {
        require(self.entry_point.port != 0, "entry_point.port", "1 to 65535")?;
        require(
            self.addresses.len() <= MAX_ADDRESSES,
            "addresses",
            "at most 8",
        )?;
        let key = match &self.key {
            None => None,
            Some(text) => Some(read_account(text).ok_or(WireError::Field {
                field: "key",
                expected: "eip155:<chain>:<0xaddress>",
            })?),
        };
        Ok(ListedSite {
            id: self.entry_point.clone(),
            addresses: self.addresses.clone(),
            key,
            tls: self.https,
        })
    }
}

impl From<&ListedSite> for SiteJson {
    fn from(site: &ListedSite) -> Self {
        Self {
            entry_point: site.id.clone(),
            addresses: site.addresses.clone(),
            key: site
                .key
                .map(|(chain, account)| format!("eip155:{}:{account}", chain.0)),
            https: site.tls,
        }
    }
}

/// An account in the form of CAIP-10, `eip155:<chain>:<0xaddress>`.
pub fn read_account(text: &str) -> Option<(ChainId, ChainAddress)> {
    let (chain, address) = text.strip_prefix("eip155:")?.split_once(':')?;
    let is_number = !chain.is_empty() && chain.bytes().all(|octet| octet.is_ascii_digit());
    let chain = is_number.then(|| chain.parse().ok()).flatten()?;
    let address = address
        .starts_with("0x")
        .then(|| address.parse().ok())
        .flatten()?;
    Some((ChainId(chain), address))
}

/// The document at [`WELL_KNOWN_PATH`]. Unknown fields are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WellKnown {
    /// Always 1.
    pub version: u32,
    /// The sites, at most 256.
    pub sites: Vec<SiteJson>,
}

impl WellKnown {
    /// The document that lists these sites.
    pub fn of(sites: &[ListedSite]) -> Self {
        Self {
            version: 1,
            sites: sites.iter().map(SiteJson::from).collect(),
        }
    }

    /// The sites; the first of each entry point counts.
    pub fn sites(&self) -> Vec<ListedSite> {
        let mut seen = BTreeSet::new();
        let listed = self.sites.iter().filter_map(|site| site.listed().ok());
        listed.filter(|site| seen.insert(site.id.clone())).collect()
    }
}

impl Message for WellKnown {
    fn validate(&self) -> Result<(), WireError> {
        require(self.version == 1, "version", "1")?;
        require(self.sites.len() <= MAX_WELL_KNOWN, "sites", "at most 256")?;
        self.sites
            .iter()
            .try_for_each(|site| site.listed().map(drop))
    }
}

/// One line of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    site: SiteJson,
    #[serde(with = "UtcTimeJson")]
    expires: UtcTime,
    #[serde(with = "as_text")]
    signature: Signature,
}

/// What an aggregator signs for one site.
pub fn entry_digest(site: &ListedSite, expires: UtcTime) -> Hash32 {
    let addresses: Vec<String> = site.addresses.iter().map(ToString::to_string).collect();
    let (chain, key) = site.key.unwrap_or((ChainId(0), ChainAddress([0; 20])));
    let message = hash_struct(
        ENTRY_TYPE,
        &[
            word(signing::site_hash(&site.id)),
            keccak256(addresses.join(" ")),
            number(chain.0),
            account(key),
            number(expires.0),
        ],
    );
    digest(feed_domain(), message)
}

fn feed_domain() -> B256 {
    domain("ExEC feed", ChainId(0), ChainAddress([0; 20]))
}

/// The feed's line for `site`, signed by whoever holds the aggregator's key.
///
/// # Panics
/// Never: a line holds no map.
pub fn write_entry(
    site: &ListedSite,
    expires: UtcTime,
    sign: impl FnOnce(Hash32) -> Signature,
) -> String {
    let entry = Entry {
        site: SiteJson {
            https: false,
            ..site.into()
        },
        expires,
        signature: sign(entry_digest(site, expires)),
    };
    serde_json::to_string(&entry).expect("entries are plain structures of text and numbers")
}

/// Why a line of a feed is not used.
#[derive(Debug, thiserror::Error)]
pub enum EntryRefusal {
    /// Longer than any entry is.
    #[error("longer than {MAX_LINE_BYTES} octets")]
    TooLong,
    /// Not an entry.
    #[error("not an entry")]
    Malformed(#[source] serde_json::Error),
    /// A field is out of range.
    #[error("not an acceptable entry")]
    Unacceptable(#[source] WireError),
    /// It ran out.
    #[error("expired {seconds_ago} s ago")]
    Expired {
        /// Seconds since then.
        seconds_ago: u64,
    },
    /// It would hold for longer than a signature may.
    #[error("valid for more than 31 days")]
    TooLasting,
    /// The aggregator did not sign it.
    #[error("not signed by the aggregator")]
    Signature(#[source] signing::SignatureError),
}

/// What a feed says.
#[derive(Debug, Default)]
pub struct Feed {
    /// The sites, in the order of the lines, the first of each entry point.
    pub sites: Vec<ListedSite>,
    /// The first lines that are not used, by number from 1, and why.
    pub refused: Vec<(usize, EntryRefusal)>,
    /// All lines that are not used, those over the limit included.
    pub refused_in_all: usize,
}

/// Reads what `aggregator` signed in a feed. Stops at [`MAX_SITES`] sites, and after as many refusals.
pub fn read_feed(text: &[u8], aggregator: ChainAddress, now: UtcTime) -> Feed {
    let mut feed = Feed::default();
    let mut seen = BTreeSet::new();
    let lines = text.split(|octet| *octet == b'\n');
    for (number, line) in (1..).zip(lines) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if feed.sites.len() >= MAX_SITES || feed.refused_in_all >= MAX_SITES {
            feed.refused_in_all += 1;
            continue;
        }
        match read_entry(line, aggregator, now) {
            Ok(site) => {
                if seen.insert(site.id.clone()) {
                    feed.sites.push(site);
                }
            }
            Err(refusal) => {
                feed.refused_in_all += 1;
                if feed.refused.len() < REFUSALS_TOLD {
                    feed.refused.push((number, refusal));
                }
            }
        }
    }
    feed
}

fn read_entry(
    line: &[u8],
    aggregator: ChainAddress,
    now: UtcTime,
) -> Result<ListedSite, EntryRefusal> {
    if line.len() > MAX_LINE_BYTES {
        return Err(EntryRefusal::TooLong);
    }
    let entry: Entry = serde_json::from_slice(line).map_err(EntryRefusal::Malformed)?;
    let site = ListedSite {
        // Not signed, so anybody could have put it in.
        tls: false,
        ..entry.site.listed().map_err(EntryRefusal::Unacceptable)?
    };
    if entry.expires < now {
        return Err(EntryRefusal::Expired {
            seconds_ago: now.seconds_since(entry.expires),
        });
    }
    if entry.expires.seconds_since(now) > MAX_ENTRY_SECONDS {
        return Err(EntryRefusal::TooLasting);
    }
    signing::expect_signer(
        entry_digest(&site, entry.expires),
        &entry.signature,
        aggregator,
    )
    .map_err(EntryRefusal::Signature)?;
    Ok(site)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{decode, encode};

    /// The account of the private key 0x11…11, and its signature of [`site`] until second 1800000000, by eth-account 0.13.
    const SIGNER: &str = "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a";
    const SIGNATURE: &str = "0xb4e893c2f931b5ca844e5fdd4ba9a22e256b706b0d67d66e877617c069ef88865dd66a6061e8b658ab40ebdef25681ea19ad2dc00b10738350924f08c40fef091c";

    fn site() -> ListedSite {
        ListedSite {
            id: IepId {
                host: "home42.edges.example".parse().unwrap(),
                port: 8080,
            },
            addresses: vec!["240.9.0.1".parse().unwrap(), "3fff::1".parse().unwrap()],
            key: Some((ChainId(1337), ChainAddress([0x22; 20]))),
            tls: false,
        }
    }

    fn line() -> String {
        write_entry(&site(), UtcTime(1_800_000_000), |_| {
            SIGNATURE.parse().unwrap()
        })
    }

    fn read(text: &str, now: u64) -> Feed {
        read_feed(text.as_bytes(), SIGNER.parse().unwrap(), UtcTime(now))
    }

    #[test]
    fn a_line_signed_by_another_implementation_is_read() {
        let feed = read(&format!("\n{}\n{}\n", line(), line()), 1_799_999_999);
        assert_eq!((feed.sites, feed.refused_in_all), (vec![site()], 0));
    }

    #[test]
    fn a_well_known_list_says_who_speaks_tls_and_a_feed_does_not_until_that_is_signed() {
        let over_tls = ListedSite {
            tls: true,
            ..site()
        };
        let listed: WellKnown = decode(&encode(&WellKnown::of(&[over_tls.clone()]))).unwrap();
        assert_eq!(listed.sites(), [over_tls.clone()]);
        let plain = String::from_utf8(encode(&WellKnown::of(&[site()]))).unwrap();
        assert!(!plain.contains("https"), "{plain}");
        let signed = write_entry(&over_tls, UtcTime(1_800_000_000), |_| {
            SIGNATURE.parse().unwrap()
        });
        assert_eq!(signed, line());
        let put_in = line().replace("\"key\"", "\"https\":true,\"key\"");
        let read = read(&put_in, 1_799_999_999);
        assert_eq!(read.sites, [site()]);
    }

    #[test]
    fn nothing_in_a_line_can_be_changed_and_its_time_is_bounded() {
        for (from, to) in [
            ("home42", "home43"),
            ("8080", "8081"),
            ("240.9.0.1", "240.9.0.2"),
            (":1337:", ":1338:"),
            ("0x2222", "0x2322"),
            ("1800000000", "1800000001"),
        ] {
            let forged = line().replacen(from, to, 1);
            assert_ne!(forged, line(), "{from}");
            let feed = read(&forged, 1_799_999_999);
            assert!(feed.sites.is_empty(), "{forged}");
            assert!(
                matches!(feed.refused[..], [(1, EntryRefusal::Signature(_))]),
                "{feed:?}"
            );
        }
        let late = read(&line(), 1_800_000_060);
        assert!(matches!(
            late.refused[..],
            [(1, EntryRefusal::Expired { seconds_ago: 60 })]
        ));
        let early = read(&line(), 1_700_000_000);
        assert!(matches!(early.refused[..], [(1, EntryRefusal::TooLasting)]));
    }

    #[test]
    fn one_bad_line_costs_only_itself_and_many_are_bounded() {
        let text = format!("{{}}\n{}\nx", line());
        let feed = read(&text, 1_799_999_999);
        assert_eq!((feed.sites.len(), feed.refused_in_all), (1, 2));
        let flood = read(&"x\n".repeat(10_000), 0);
        assert_eq!(
            (flood.refused.len(), flood.refused_in_all),
            (REFUSALS_TOLD, 10_000)
        );
    }

    #[test]
    fn a_well_known_document_is_bounded_and_read_back() {
        let document = WellKnown::of(&[site(), site()]);
        let read: WellKnown = decode(&encode(&document)).unwrap();
        assert_eq!(read.sites(), [site()]);
        for bad in [
            r#"{"version":2,"sites":[]}"#,
            r#"{"version":1,"sites":[{"entry_point":{"host":"a.example","port":0}}]}"#,
            r#"{"version":1,"sites":[{"entry_point":{"host":"a.example","port":1},"key":"eip155:1:22"}]}"#,
            r#"{"version":1,"sites":[{"entry_point":{"host":"a b","port":1}}]}"#,
        ] {
            assert!(decode::<WellKnown>(bad.as_bytes()).is_err(), "{bad}");
        }
        let many = WellKnown::of(&vec![site(); MAX_WELL_KNOWN + 1]);
        assert!(many.validate().is_err());
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(text in prop::collection::vec(any::<u8>(), 0..400)) {
            let feed = read_feed(&text, ChainAddress([1; 20]), UtcTime(0));
            prop_assert!(feed.sites.is_empty());
        }
    }
}
