//! How plans are acted on, and what time is worth.

use serde::Deserialize;

/// What is done with a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing is rented; the status says what would have been.
    Observe,
    /// Nothing is rented; each site that should be is told as an event, with its reasons, for a person to decide.
    Recommend,
    /// Sites are rented.
    #[default]
    Act,
}

/// What is done with plans, and what they are measured by.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Placement {
    /// `observe`, `recommend` or `act`.
    pub mode: Mode,
    /// What it is worth, in smallest units of `budget.asset`, that clients together wait a second less: a thousand requests a millisecond each. A site is rented
    /// only if what it saves over the lease is worth more than its price. Without it the budget may be spent on whatever it saves.
    #[serde(alias = "value_wei_per_client_s")]
    pub value_units_per_client_s: Option<String>,
}
