//! Questions to the DNS.

use std::fmt;

use edge_discovery::{Answer, Question};

use crate::BoxFuture;

/// Asks the DNS (paper section 2.2, steps 2 and 3).
pub trait NameLookup: Send + Sync + fmt::Debug {
    /// Asks one question and follows aliases (CNAME) to their end. Retries, time-outs and the number of packets under
    /// way are the adapter's business, so many calls may run at once. Every outcome is an answer; no answer is
    /// [`Answer::Unanswered`], never "none".
    fn lookup<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer>;
}
