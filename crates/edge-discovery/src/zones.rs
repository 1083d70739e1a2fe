//! Names of routers to the zones that may speak for them.

use edge_types::DnsName;

/// Top-level names that never name a public host (RFC 6761, 6762, 7686, 9476; `internal` is reserved by ICANN), and
/// `arpa`, under which no host lives.
const SPECIAL_TOPS: [&str; 7] = [
    "alt",
    "arpa",
    "internal",
    "invalid",
    "local",
    "localhost",
    "onion",
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
    /// The name is itself a public suffix: below it everyone registers, nobody in particular is meant.
    #[error("the name is a public suffix ({section})")]
    PublicSuffix {
        /// Section of the public suffix list.
        section: SuffixSection,
    },
}

/// Which part of the public suffix list a suffix is from. Whoever holds a name under a private suffix is a customer of
/// the suffix's owner, not the owner, and is never taken for the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SuffixSection {
    /// Delegated by a registry.
    Icann,
    /// Offered by a company to its customers, e.g. a cloud's host names.
    Private,
    /// In no list: the rule `*`, a top-level name.
    Unlisted,
}

impl std::fmt::Display for SuffixSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Icann => "registry section",
            Self::Private => "private section",
            Self::Unlisted => "not listed",
        })
    }
}

/// The candidate zones of a host, most specific first: from the host's parent up to the registrable domain.
///
/// The registrable domain is the public suffix and one label; private suffixes count as suffixes. A host that is
/// itself a registrable domain is its own only candidate. Of deep names, the `max_zones` zones nearest to the
/// registrable domain are taken; at least one is.
///
/// # Errors
/// The name is none that a router on the public Internet can have.
pub fn candidate_zones(host: &DnsName, max_zones: usize) -> Result<Vec<DnsName>, NameRefusal> {
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
    let registrable = psl::domain_str(host.as_str()).ok_or_else(|| NameRefusal::PublicSuffix {
        section: section_of(host),
    })?;

    let mut zones: Vec<DnsName> = std::iter::successors(Some(host.clone()), DnsName::parent)
        .take_while(|name| name.as_str().len() >= registrable.len())
        .collect();
    if zones.len() > 1 {
        zones.remove(0);
    }
    let surplus = zones.len().saturating_sub(max_zones.max(1));
    zones.drain(..surplus);
    Ok(zones)
}

fn section_of(host: &DnsName) -> SuffixSection {
    match psl::suffix(host.as_str().as_bytes()).and_then(|suffix| suffix.typ()) {
        Some(psl::Type::Icann) => SuffixSection::Icann,
        Some(psl::Type::Private) => SuffixSection::Private,
        None => SuffixSection::Unlisted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zones(host: &str) -> Result<Vec<String>, NameRefusal> {
        candidate_zones(&host.parse().unwrap(), 8)
            .map(|zones| zones.iter().map(ToString::to_string).collect())
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
            // private suffixes: the customer, never the cloud
            ("vm.someone.github.io", vec!["someone.github.io"]),
            ("someone.github.io", vec!["someone.github.io"]),
        ] {
            assert_eq!(
                zones(host),
                Ok(want.into_iter().map(str::to_owned).collect()),
                "{host}"
            );
        }
    }

    #[test]
    fn names_that_lead_nowhere() {
        for (host, want) in [
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
            (
                "github.io",
                NameRefusal::PublicSuffix {
                    section: SuffixSection::Private,
                },
            ),
        ] {
            assert_eq!(zones(host), Err(want), "{host}");
        }
    }

    #[test]
    fn deep_names_are_cut_at_the_far_end() {
        let host: DnsName = "a.b.c.d.e.isp.example".parse().unwrap();
        let zones = candidate_zones(&host, 2).unwrap();
        assert_eq!(
            zones.iter().map(DnsName::as_str).collect::<Vec<_>>(),
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
                for zone in &zones {
                    prop_assert!(host.is_within(zone));
                    prop_assert!(zone.labels().count() >= 2);
                }
                for pair in zones.windows(2) {
                    prop_assert_eq!(pair[0].parent(), Some(pair[1].clone()));
                }
            }
        }
    }
}
