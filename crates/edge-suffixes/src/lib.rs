//! The public suffix list (<https://publicsuffix.org>): where the names begin that somebody registered.
//!
//! The list is code, and large; it is a crate of its own so that it is compiled once, and without the optimisations that take half a
//! minute and save a microsecond for each name.

use std::fmt;

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

impl fmt::Display for SuffixSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Icann => "registry section",
            Self::Private => "private section",
            Self::Unlisted => "not listed",
        })
    }
}

/// The public suffix of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicSuffix {
    /// How many labels it has, at least 1.
    pub labels: usize,
    /// Where it stands.
    pub section: SuffixSection,
}

impl PublicSuffix {
    /// Of `name`, in lower case, with internationalised labels in Unicode as the list has them, and without final dot.
    pub fn of(name: &str) -> Self {
        let found = psl::suffix(name.as_bytes());
        let labels = found.as_ref().map_or(1, |suffix| {
            let octets = suffix.as_bytes();
            1 + octets.iter().filter(|octet| **octet == b'.').count()
        });
        let section = match found.and_then(|suffix| suffix.typ()) {
            Some(psl::Type::Icann) => SuffixSection::Icann,
            Some(psl::Type::Private) => SuffixSection::Private,
            None => SuffixSection::Unlisted,
        };
        Self { labels, section }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_of_registries_of_companies_and_of_nobody() {
        for (name, labels, section) in [
            ("www.isp.co.uk", 2, SuffixSection::Icann),
            ("isp.net", 1, SuffixSection::Icann),
            ("customer.github.io", 2, SuffixSection::Private),
            ("router.isp.example", 1, SuffixSection::Unlisted),
            ("firma.公司.cn", 2, SuffixSection::Icann),
        ] {
            assert_eq!(
                PublicSuffix::of(name),
                PublicSuffix { labels, section },
                "{name}"
            );
        }
    }
}
