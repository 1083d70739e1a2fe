//! Agreements without a chain: each party's own book, and which ledger an offer is settled on.
//!
//! Where no contract holds the money there is no third party: buyer and provider each keep a [`LocalLedger`] of what both
//! signed, which does what the escrow would do. Where the two books differ, as after a claim that the other denies, people
//! settle it, by the signatures that each has.

mod entry;
mod ledgers;
mod local;

pub use ledgers::Ledgers;
pub use local::{LocalLedger, OpenAgreement, book_file};
