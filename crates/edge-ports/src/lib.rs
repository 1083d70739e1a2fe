//! The effects that the decisions need, as traits.
//!
//! Adapters implement them, programs choose the adapters, and tests replace them. Nothing here is a decision. Traits
//! are object-safe so that a program can be wired from configuration.

use std::future::Future;
use std::pin::Pin;

mod clock;
mod ledger;
mod name_lookup;
mod path_source;
mod prefix_owner;
mod signer;
mod site_list;
mod site_runtime;

pub use clock::{Clock, SystemClock};
pub use ledger::{Ledger, LedgerError};
pub use name_lookup::NameLookup;
pub use path_source::{BudgetScope, PathSource, TraceError, TracePriority};
pub use prefix_owner::PrefixOwner;
pub use signer::Signer;
pub use site_list::{FixedList, Listing, SiteList};
pub use site_runtime::{RuntimeError, SiteRuntime, WorkloadId};

/// A boxed future, the form in which object-safe traits are asynchronous.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
