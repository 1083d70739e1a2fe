//! What has to outlive a process: append-only, checksummed journals, and the latest value by key on top of them.
//!
//! A decision is written before it is acted upon, so that a process that is killed at any moment finds out at its next
//! start what it may have done. [`Journal`] is a file of records, one a line, each with its CRC-32; [`Store`] keeps the
//! latest value of each key in one and rewrites the file when it has grown. [`crash`] kills the process at a numbered
//! write point, to prove all that. [`Texts`] keeps what was agreed to in words.
//!
//! A record that was only half written when the process or the machine died is cut off and told: by the rule above nobody
//! acted upon it. Any other damage is refused, since what is missing may be money.

pub mod crash;
mod journal;
mod store;
mod texts;

pub use journal::{Journal, JournalError, Keep, Opened, Torn};
pub use store::{Store, StoreLimits};
pub use texts::Texts;
