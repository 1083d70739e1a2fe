//! Lists of entry points beside the DNS.

use std::fmt;

use edge_types::{IepOrigin, ListedSite};

use crate::BoxFuture;

/// Somebody who lists entry points: the operator, a provider's web server, or an aggregator of home providers.
pub trait SiteList: Send + Sync + fmt::Debug {
    /// Whose list it is.
    fn origin(&self) -> IepOrigin;
    /// Reads the list as it is now. What cannot be used is told beside what can; calls may be repeated.
    fn read(&self) -> BoxFuture<'_, Listing>;
}

/// What a list says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The sites, in the list's order, at most one entry for each.
    pub sites: Vec<ListedSite>,
    /// Whether the list came from whom it says, by a signature or a certificate; only then do its keys count for money
    /// (security rule 6).
    pub is_authentic: bool,
    /// Could the list be read? What it no longer names is forgotten then.
    pub was_read: bool,
    /// What could not be used, in words.
    pub problems: Vec<String>,
}

/// A list that is known beforehand.
#[derive(Clone, Debug)]
pub struct FixedList(pub Vec<ListedSite>);

impl SiteList for FixedList {
    fn origin(&self) -> IepOrigin {
        IepOrigin::Configured
    }

    fn read(&self) -> BoxFuture<'_, Listing> {
        Box::pin(std::future::ready(Listing {
            sites: self.0.clone(),
            is_authentic: true,
            was_read: true,
            problems: Vec::new(),
        }))
    }
}
