//! What a site is and takes beside its hardware, and what an application needs of that.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::chain::Hash32;
use crate::country::Country;

/// It is not a word of 1 to 32 lower-case letters, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("1 to 32 lower-case letters, digits and hyphens, not {0:?}")]
pub struct WordError(pub String);

macro_rules! word {
    ($(#[$meta:meta])* $name:ident, $known:expr) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Those that have a meaning here, in order. Others may come from strangers, and are kept as they are.
            pub const KNOWN: &[&str] = $known;

            /// The word.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Is it one of [`Self::KNOWN`]?
            pub fn is_known(&self) -> bool {
                Self::KNOWN.contains(&self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = WordError;

            fn from_str(text: &str) -> Result<Self, WordError> {
                let is_word = (1..=32).contains(&text.len())
                    && text
                        .bytes()
                        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
                if is_word {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(WordError(text.chars().take(40).collect()))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

word!(
    /// A kind of content or use that a provider may refuse to have at its site.
    ContentCategory,
    &[
        "adult",
        "alcohol",
        "bulk-mail",
        "file-sharing",
        "gambling",
        "mining",
        "personal-data",
        "pharmaceuticals",
        "political",
        "proxy",
        "tobacco",
        "user-content",
        "weapons",
    ]
);

word!(
    /// A kind of trusted execution environment: hardware that keeps what runs from the provider's own eyes.
    TeeKind,
    &["cca", "nitro", "sev-snp", "sgx", "tdx"]
);

/// What a site is and takes. Part of what its provider signs: a word to be held to, and no more than that. Nothing here
/// is measured, and no enclave attests to `tee`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SiteConditions {
    /// The country that the site is in; `None`: not told.
    pub region: Option<Country>,
    /// The trusted execution environment that workloads run in; `None`: none is claimed.
    pub tee: Option<TeeKind>,
    /// What may not be served there.
    pub content: ContentPolicy,
}

/// What a provider does not want to have at its site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ContentPolicy {
    /// Refused kinds, at most 32.
    pub refuses: BTreeSet<ContentCategory>,
    /// keccak-256 of the policy's prose, if it has any.
    pub text_hash: Option<Hash32>,
    /// Where that can be read: an `http` or `https` URL of at most 255 octets.
    pub text_url: Option<String>,
}

/// What an application needs of a site, and what it brings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WantedConditions {
    /// Countries in one of which the site has to be, at most 32; none: anywhere.
    pub regions: BTreeSet<Country>,
    /// Trusted execution environments of which one is needed, at most 32; none: it runs without.
    pub tee: BTreeSet<TeeKind>,
    /// Kinds of content that the application has, at most 32.
    pub content: BTreeSet<ContentCategory>,
}

/// Why a site does not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionMismatch {
    /// It is elsewhere.
    #[error("the site is in {0}, by its own word, and is wanted elsewhere")]
    Region(Country),
    /// It claims no trusted execution environment.
    #[error("the site claims no trusted execution environment, and one is required")]
    NoTee,
    /// It claims another.
    #[error("the site claims {0}, which is not among the trusted execution environments required")]
    OtherTee(TeeKind),
    /// It refuses what the application has.
    #[error("the site refuses {0}, which the application has")]
    Content(ContentCategory),
}

impl SiteConditions {
    /// Does the site do for what is wanted? One that does not tell its country may be in the right one.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn check(&self, wanted: &WantedConditions) -> Result<(), ConditionMismatch> {
        if let Some(region) = self.region
            && !wanted.regions.is_empty()
            && !wanted.regions.contains(&region)
        {
            return Err(ConditionMismatch::Region(region));
        }
        if !wanted.tee.is_empty() {
            match &self.tee {
                None => return Err(ConditionMismatch::NoTee),
                Some(tee) if !wanted.tee.contains(tee) => {
                    return Err(ConditionMismatch::OtherTee(tee.clone()));
                }
                Some(_) => {}
            }
        }
        match self.content.refuses.intersection(&wanted.content).next() {
            Some(refused) => Err(ConditionMismatch::Content(refused.clone())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<T: FromStr<Err: fmt::Debug> + Ord>(words: &[&str]) -> BTreeSet<T> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    #[test]
    fn words_are_short_and_plain() {
        for known in ContentCategory::KNOWN {
            let category: ContentCategory = known.parse().unwrap();
            assert!(category.is_known());
        }
        assert!(ContentCategory::KNOWN.is_sorted() && TeeKind::KNOWN.is_sorted());
        assert!(!"poetry".parse::<ContentCategory>().unwrap().is_known());
        for bad in ["", "Adult", "a b", "a\n", "\u{e9}", &"a".repeat(33)] {
            assert!(bad.parse::<TeeKind>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn each_thing_that_does_not_fit_is_named() {
        let finland: Country = "FI".parse().unwrap();
        let site = SiteConditions {
            region: Some(finland),
            tee: Some("tdx".parse().unwrap()),
            content: ContentPolicy {
                refuses: words(&["adult", "mining"]),
                ..ContentPolicy::default()
            },
        };
        let wanted = WantedConditions {
            regions: words(&["FI", "SE"]),
            tee: words(&["tdx", "sev-snp"]),
            content: words(&["gambling"]),
        };
        let nothing = SiteConditions::default();
        assert_eq!(site.check(&wanted), Ok(()));
        assert_eq!(site.check(&WantedConditions::default()), Ok(()));
        assert_eq!(nothing.check(&wanted), Err(ConditionMismatch::NoTee));
        let elsewhere = WantedConditions {
            regions: words(&["SE"]),
            ..WantedConditions::default()
        };
        assert_eq!(
            site.check(&elsewhere),
            Err(ConditionMismatch::Region(finland))
        );
        assert_eq!(nothing.check(&elsewhere), Ok(()));
        let other = WantedConditions {
            tee: words(&["sgx"]),
            ..WantedConditions::default()
        };
        assert_eq!(
            site.check(&other),
            Err(ConditionMismatch::OtherTee("tdx".parse().unwrap()))
        );
        let refused = WantedConditions {
            content: words(&["alcohol", "mining"]),
            ..WantedConditions::default()
        };
        assert_eq!(
            site.check(&refused),
            Err(ConditionMismatch::Content("mining".parse().unwrap()))
        );
    }
}
