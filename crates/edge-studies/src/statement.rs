//! Statements of the paper, and whether they hold on an input.

use serde::Serialize;

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// It holds as it stands.
    Held,
    /// It holds under a condition that the statement does not name; the reason names it.
    HeldOnlyIf,
    /// It does not hold here.
    NotHeld,
}

impl Verdict {
    /// For people.
    pub(super) const fn spoken(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::HeldOnlyIf => "held only if",
            Self::NotHeld => "not held",
        }
    }
}

/// A statement with its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Statement {
    /// The paper's words.
    pub(super) quote: &'static str,
    pub(super) verdict: Verdict,
    /// The figures that decide it.
    pub(super) because: String,
}

impl Statement {
    pub(super) fn new(quote: &'static str, verdict: Verdict, because: impl Into<String>) -> Self {
        Self {
            quote,
            verdict,
            because: because.into(),
        }
    }

    /// It holds, or it does not.
    pub(super) fn decide(quote: &'static str, holds: bool, because: impl Into<String>) -> Self {
        let verdict = if holds {
            Verdict::Held
        } else {
            Verdict::NotHeld
        };
        Self::new(quote, verdict, because)
    }
}
