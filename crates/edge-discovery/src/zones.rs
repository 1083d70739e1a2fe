//! Names of routers to the zones that may speak for them.

use edge_suffixes::{PublicSuffix, SuffixSection};
use edge_types::DnsName;

use crate::international::in_unicode;

/// Top-level names that never name a public host (RFC 6761, 6762, 7686, 9476; `internal` is reserved by ICANN, and `corp`,
/// `home` and `mail` are not delegated; `lan` and `localdomain` are what home routers make up), and `arpa`, under which no
/// host lives.
const SPECIAL_TOPS: [&str; 12] = [
    "alt",
    "arpa",
    "corp",
    "home",
    "internal",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "mail",
    "onion",
];

/// Words by which registries and providers name addresses that nobody uses, or that nobody named.
const TEMPLATE_WORDS: [&str; 9] = [
    "available",
    "noreverse",
    "unallocated",
    "unassigned",
    "undefined",
    "unknown",
    "unnamed",
    "unresolved",
    "unused",
];

/// Why a name that a PTR record gave leads to no zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum NameRefusal {
    /// The record holds the root or characters that no host name has.
    #[error("not a host name: {0}")]
    NotAHostName(String),
    /// A label starts with an underscore: a service, not a host (RFC 8552).
    #[error("label {0:?} names a service, not a host")]
    ServiceLabel(String),
    /// A single label belongs to no zone that could be asked.
    #[error("a single label")]
    SingleLabel,
    /// The last label is a number: an address written as a name.
    #[error("ends in the number {0}, as an address does")]
    NumericTop(String),
    /// The top-level name is reserved and never names a public host.
    #[error("the top-level name {0:?} is reserved")]
    SpecialTop(String),
    /// The name says that the address has no user or no name: a filled-in form, which outlives whoever it was made for.
    #[error("the word {0:?} says that nobody named the address")]
    Template(String),
    /// The name is itself a registry's suffix: below it everyone registers, nobody in particular is meant.
    #[error("the name is a public suffix ({section})")]
    PublicSuffix {
        /// Section of the public suffix list.
        section: SuffixSection,
    },
}

/// Whose a candidate zone is, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Within what somebody registered below a registry's suffix.
    Registrant,
    /// Below a private suffix: a customer of the suffix's owner speaks here, never the owner.
    Customer,
    /// The owner of the private suffix that the host is under. Routers under such a suffix are often the owner's own.
    SuffixOwner,
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Registrant => "registrant",
            Self::Customer => "customer under a private suffix",
            Self::SuffixOwner => "owner of the private suffix",
        })
    }
}

/// A zone that may speak for a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CandidateZone {
    /// The zone.
    pub zone: DnsName,
    /// Whose it is.
    pub standing: Standing,
}

/// The candidate zones of a host, most specific first: from the host's parent up to the registrable domain, and under a
/// private suffix the domain of the suffix's owner after that.
///
/// The registrable domain is the public suffix and one label; private suffixes count as suffixes. A host that is itself
/// a registrable domain is its own candidate; one that is itself a private suffix belongs to the suffix's owner. Of deep names, the `max_zones` zones nearest to the top are taken; at least
/// one is.
///
/// # Errors
/// The name is none that a named router on the public Internet can have.
pub fn candidate_zones(
    host: &DnsName,
    max_zones: usize,
) -> Result<Vec<CandidateZone>, NameRefusal> {
    zones_of(host, true, max_zones)
}

/// As [`candidate_zones`], of a host right below `parent` whose own name cannot be shown.
pub(crate) fn zones_from(
    parent: &DnsName,
    max_zones: usize,
) -> Result<Vec<CandidateZone>, NameRefusal> {
    zones_of(parent, false, max_zones)
}

fn zones_of(
    host: &DnsName,
    is_host: bool,
    max_zones: usize,
) -> Result<Vec<CandidateZone>, NameRefusal> {
    let mut labels = host.labels();
    let top = labels.next_back().unwrap_or_default();
    if let Some(service) = host.labels().find(|label| label.starts_with('_')) {
        return Err(NameRefusal::ServiceLabel(service.to_owned()));
    }
    if SPECIAL_TOPS.contains(&top) {
        return Err(NameRefusal::SpecialTop(top.to_owned()));
    }
    if top.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(NameRefusal::NumericTop(top.to_owned()));
    }
    if labels.next_back().is_none() {
        return Err(NameRefusal::SingleLabel);
    }
    let suffix = suffix_of(host);
    let owner = suffix_owner(host, &suffix).map(|zone| CandidateZone {
        zone,
        standing: Standing::SuffixOwner,
    });
    let Some(registrable) = top_labels(host, suffix.labels + 1) else {
        return owner
            .map(|owner| vec![owner])
            .ok_or(NameRefusal::PublicSuffix {
                section: suffix.section,
            });
    };
    if let Some(word) = template_word(host, &registrable) {
        return Err(NameRefusal::Template(word.to_owned()));
    }

    let standing = match suffix.section {
        SuffixSection::Private => Standing::Customer,
        SuffixSection::Icann | SuffixSection::Unlisted => Standing::Registrant,
    };
    let mut names: Vec<DnsName> = std::iter::successors(Some(host.clone()), DnsName::parent)
        .take_while(|name| name.as_str().len() >= registrable.as_str().len())
        .collect();
    if is_host && names.len() > 1 {
        names.remove(0);
    }
    let mut zones: Vec<CandidateZone> = names
        .into_iter()
        .map(|zone| CandidateZone { zone, standing })
        .collect();
    zones.extend(owner);
    let surplus = zones.len().saturating_sub(max_zones.max(1));
    zones.drain(..surplus);
    Ok(zones)
}

/// The list has internationalised names in Unicode.
fn suffix_of(name: &DnsName) -> PublicSuffix {
    PublicSuffix::of(&in_unicode(name))
}

/// The last `count` labels of a name, if it has as many.
fn top_labels(name: &DnsName, count: usize) -> Option<DnsName> {
    let surplus = name.labels().count().checked_sub(count)?;
    std::iter::successors(Some(name.clone()), DnsName::parent).nth(surplus)
}

/// The registrable domain by the registries' section alone, of a host under a private suffix.
fn suffix_owner(host: &DnsName, suffix: &PublicSuffix) -> Option<DnsName> {
    let mut labels = suffix.labels;
    let mut section = suffix.section;
    if section != SuffixSection::Private {
        return None;
    }
    // Private suffixes nest; the registry's is above the last.
    while section == SuffixSection::Private {
        let above = top_labels(host, labels.checked_sub(1)?)?;
        let next = suffix_of(&above);
        (labels, section) = (next.labels, next.section);
    }
    top_labels(host, labels + 1)
}

/// The word in the first label that is more than numbers, if a form put it there. Words in the registrable domain are its
/// name.
fn template_word<'a>(host: &'a DnsName, registrable: &DnsName) -> Option<&'a str> {
    let own = host.labels().count() - registrable.labels().count();
    let is_letter = |letter: char| letter.is_ascii_alphabetic();
    host.labels()
        .take(own)
        .find(|label| label.contains(is_letter))?
        .split(|letter| !is_letter(letter))
        .find(|word| TEMPLATE_WORDS.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zones(host: &str) -> Result<Vec<String>, NameRefusal> {
        candidate_zones(&host.parse().unwrap(), 8)
            .map(|zones| zones.iter().map(|found| found.zone.to_string()).collect())
    }

    #[test]
    fn from_the_parent_to_the_registrable_domain() {
        for (host, want) in [
            ("r1.isp.example", vec!["isp.example"]),
            ("isp.example", vec!["isp.example"]),
            (
                "ae-1.cr2.fra.isp.example",
                vec!["cr2.fra.isp.example", "fra.isp.example", "isp.example"],
            ),
            ("core.fra.isp.co.uk", vec!["fra.isp.co.uk", "isp.co.uk"]),
            ("r1.unknown.example", vec!["unknown.example"]),
            ("unknown.example", vec!["unknown.example"]),
            (
                "if-5-2.thar1.undefined.isp.example",
                vec![
                    "thar1.undefined.isp.example",
                    "undefined.isp.example",
                    "isp.example",
                ],
            ),
            // two suffixes in Cyrillic and Chinese, on the wire
            ("r1.xn--80aswg.xn--p1ai", vec!["xn--80aswg.xn--p1ai"]),
            ("r1.isp.xn--55qx5d.cn", vec!["isp.xn--55qx5d.cn"]),
        ] {
            assert_eq!(
                zones(host),
                Ok(want.into_iter().map(str::to_owned).collect()),
                "{host}"
            );
        }
    }

    #[test]
    fn customers_of_a_private_suffix_are_kept_apart_from_its_owner() {
        use Standing::{Customer, SuffixOwner};
        for (host, want) in [
            (
                "vm.someone.github.io",
                vec![("someone.github.io", Customer), ("github.io", SuffixOwner)],
            ),
            (
                "ec2-192-0-2-1.compute-1.amazonaws.com",
                vec![("amazonaws.com", SuffixOwner)],
            ),
            // hosts that are themselves private suffixes
            ("github.io", vec![("github.io", SuffixOwner)]),
        ] {
            let found = candidate_zones(&host.parse().unwrap(), 8).unwrap();
            let found: Vec<(&str, Standing)> = found
                .iter()
                .map(|found| (found.zone.as_str(), found.standing))
                .collect();
            assert_eq!(found, want, "{host}");
        }
    }

    #[test]
    fn names_that_lead_nowhere() {
        let template = |word: &str| NameRefusal::Template(word.to_owned());
        for (host, want) in [
            ("unknown.isp.example", template("unknown")),
            ("unassigned-162.isp.example", template("unassigned")),
            ("192.0.2.7.available.isp.example", template("available")),
            (
                "undefined.hostname.localhost",
                NameRefusal::SpecialTop("localhost".to_owned()),
            ),
            ("router", NameRefusal::SingleLabel),
            ("localhost", NameRefusal::SpecialTop("localhost".to_owned())),
            ("gw.home.local", NameRefusal::SpecialTop("local".to_owned())),
            (
                "1.2.0.240.in-addr.arpa",
                NameRefusal::SpecialTop("arpa".to_owned()),
            ),
            ("10.1.2.3", NameRefusal::NumericTop("3".to_owned())),
            (
                "_edge._tcp.isp.example",
                NameRefusal::ServiceLabel("_edge".to_owned()),
            ),
            (
                "co.uk",
                NameRefusal::PublicSuffix {
                    section: SuffixSection::Icann,
                },
            ),
        ] {
            assert_eq!(zones(host), Err(want), "{host}");
        }
    }

    #[test]
    fn a_host_that_cannot_be_shown_is_below_its_parent() {
        let zones = |parent: &str| {
            let zones = zones_from(&parent.parse().unwrap(), 8);
            zones.map(|zones| zones.iter().map(|found| found.zone.to_string()).collect())
        };
        let want: Vec<String> = vec!["fra.isp.example".to_owned(), "isp.example".to_owned()];
        assert_eq!(zones("fra.isp.example"), Ok(want));
        assert!(zones("co.uk").is_err() && zones("example").is_err());
        assert!(zones("_tcp.isp.example").is_err());
    }

    #[test]
    fn deep_names_are_cut_at_the_far_end() {
        let host: DnsName = "a.b.c.d.e.isp.example".parse().unwrap();
        let zones = candidate_zones(&host, 2).unwrap();
        assert_eq!(
            zones
                .iter()
                .map(|found| found.zone.as_str())
                .collect::<Vec<_>>(),
            ["e.isp.example", "isp.example"]
        );
    }

    proptest! {
        #[test]
        fn zones_enclose_the_host_and_are_bounded(host in "[a-z0-9_.-]{1,80}", max_zones in 0usize..10) {
            if let Ok(host) = host.parse::<DnsName>()
                && let Ok(zones) = candidate_zones(&host, max_zones)
            {
                prop_assert!((1..=max_zones.max(1)).contains(&zones.len()));
                for found in &zones {
                    prop_assert!(host.is_within(&found.zone));
                    prop_assert!(found.zone.labels().count() >= 2);
                }
                for pair in zones.windows(2) {
                    prop_assert!(pair[0].zone.is_within(&pair[1].zone) && pair[0].zone != pair[1].zone);
                }
            }
        }
    }
}
