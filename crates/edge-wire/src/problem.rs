//! Refusals as `application/problem+json` (RFC 9457).
//!
//! The `type` says which refusal it is, extension members carry its numbers, and a reader that knows neither still has
//! the status. Types are absolute paths below the API, since a provider's own authority is all the name there is.

use edge_types::RejectReason;
use edge_types::agreement::detail;
use serde::{Deserialize, Serialize};

use crate::{Message, WireError};

/// Media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

const TYPES: &str = "/exec/v1/problems/";

const KINDS: &[&str] = &[
    "slot-taken",
    "offer-expired",
    "unknown",
    "capacity",
    "too-many-reservations",
    "not-funded",
    "not-authorised",
    "stale-generation",
    "policy",
    "malformed",
    "too-large",
    "replayed",
    "too-many-requests",
    "not-found",
    "unavailable",
    "other",
];

/// Every `type` that this version writes.
pub(crate) fn types() -> Vec<String> {
    KINDS.iter().map(|kind| format!("{TYPES}{kind}")).collect()
}

/// Why a request was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The provider decided so.
    #[error("{0}")]
    Rejected(RejectReason),
    /// The request is not one of this API.
    #[error("malformed request: {detail}")]
    Malformed {
        /// What is wrong, in words.
        detail: String,
    },
    /// The body is above the limit.
    #[error("the body is too large")]
    TooLarge,
    /// The same nonce was used before.
    #[error("this nonce was used before")]
    Replayed,
    /// Too many requests or connections from one source; transient.
    #[error("too many requests, try again after {retry_after_seconds} s")]
    TooManyRequests {
        /// When to try again.
        retry_after_seconds: u64,
    },
    /// There is nothing at this path.
    #[error("nothing here")]
    NotFound,
    /// The provider could not do its part now, e.g. its chain node does not answer; transient.
    #[error("temporarily unavailable: {detail}")]
    Unavailable {
        /// Which part.
        detail: String,
    },
    /// A problem that this version does not know.
    #[error("refused with status {status}: {title}")]
    Other {
        /// HTTP status.
        status: u16,
        /// The problem's title, at most 128 octets.
        title: String,
    },
}

impl Problem {
    /// The HTTP status to send it with.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Rejected(reason) => match reason {
                RejectReason::SlotTaken
                | RejectReason::Capacity { .. }
                | RejectReason::StaleGeneration { .. } => 409,
                RejectReason::OfferExpired { .. } => 410,
                RejectReason::Unknown { .. } => 404,
                RejectReason::TooManyReservations { .. } => 429,
                RejectReason::NotFunded => 402,
                RejectReason::NotAuthorised { .. } => 401,
                RejectReason::Policy { .. } => 403,
            },
            Self::Malformed { .. } => 400,
            Self::TooLarge => 413,
            Self::Replayed => 409,
            Self::TooManyRequests { .. } => 429,
            Self::NotFound => 404,
            Self::Unavailable { .. } => 503,
            Self::Other { status, .. } => *status,
        }
    }

    /// May the same request succeed later?
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::TooManyRequests { .. }
                | Self::Unavailable { .. }
                | Self::Rejected(RejectReason::TooManyReservations { .. })
                | Self::Other { status: 500.., .. }
        )
    }
}

/// A problem in its JSON form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemJson {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offered: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<u64>,
}

impl Message for ProblemJson {
    fn validate(&self) -> Result<(), WireError> {
        Ok(())
    }
}

/// Things and resources that refusals name.
const NAMES: &[&str] = &["offer", "reservation", "agreement", "cpu", "memory", "pids"];

/// The word of this version that a stranger used; anything else is `unspecified`.
fn known(word: Option<&String>) -> &'static str {
    word.and_then(|word| NAMES.iter().chain(detail::ALL).find(|known| *known == word))
        .copied()
        .unwrap_or("unspecified")
}

impl From<&Problem> for ProblemJson {
    fn from(problem: &Problem) -> Self {
        let mut json = Self {
            status: problem.status(),
            ..Self::default()
        };
        let (kind, title) = match problem {
            Problem::Rejected(reason) => match reason {
                RejectReason::SlotTaken => ("slot-taken", "the slot is taken"),
                RejectReason::OfferExpired { seconds_ago } => {
                    json.seconds = Some(*seconds_ago);
                    ("offer-expired", "the offer has expired")
                }
                RejectReason::Unknown { what } => {
                    json.detail = Some((*what).to_owned());
                    ("unknown", "no such thing is known here")
                }
                RejectReason::Capacity { resource } => {
                    json.detail = Some((*resource).to_owned());
                    ("capacity", "not enough of a resource is left")
                }
                RejectReason::TooManyReservations { held, limit } => {
                    json.held = Some(*held);
                    json.limit = Some(*limit);
                    ("too-many-reservations", "too many unfunded reservations")
                }
                RejectReason::NotFunded => ("not-funded", "the ledger shows no such escrow"),
                RejectReason::NotAuthorised { detail } => {
                    json.detail = Some((*detail).to_owned());
                    ("not-authorised", "not authorised")
                }
                RejectReason::StaleGeneration { offered, current } => {
                    json.offered = Some(*offered);
                    json.current = Some(*current);
                    ("stale-generation", "a newer generation is in force")
                }
                RejectReason::Policy { detail } => {
                    json.detail = Some((*detail).to_owned());
                    ("policy", "refused by policy")
                }
            },
            Problem::Malformed { detail } => {
                json.detail = Some(detail.clone());
                ("malformed", "malformed request")
            }
            Problem::TooLarge => ("too-large", "the body is too large"),
            Problem::Replayed => ("replayed", "this nonce was used before"),
            Problem::TooManyRequests {
                retry_after_seconds,
            } => {
                json.seconds = Some(*retry_after_seconds);
                ("too-many-requests", "too many requests")
            }
            Problem::NotFound => ("not-found", "nothing here"),
            Problem::Unavailable { detail } => {
                json.detail = Some(detail.clone());
                ("unavailable", "temporarily unavailable")
            }
            Problem::Other { title, .. } => ("other", title.as_str()),
        };
        json.kind = format!("{TYPES}{kind}");
        title.clone_into(&mut json.title);
        json
    }
}

impl From<ProblemJson> for Problem {
    fn from(json: ProblemJson) -> Self {
        let words = |text: Option<String>| clip(text.as_deref().unwrap_or_default());
        Self::Rejected(match json.kind.strip_prefix(TYPES) {
            Some("slot-taken") => RejectReason::SlotTaken,
            Some("offer-expired") => RejectReason::OfferExpired {
                seconds_ago: json.seconds.unwrap_or(0),
            },
            Some("unknown") => RejectReason::Unknown {
                what: known(json.detail.as_ref()),
            },
            Some("capacity") => RejectReason::Capacity {
                resource: known(json.detail.as_ref()),
            },
            Some("too-many-reservations") => RejectReason::TooManyReservations {
                held: json.held.unwrap_or(0),
                limit: json.limit.unwrap_or(0),
            },
            Some("not-funded") => RejectReason::NotFunded,
            Some("not-authorised") => RejectReason::NotAuthorised {
                detail: known(json.detail.as_ref()),
            },
            Some("stale-generation") => RejectReason::StaleGeneration {
                offered: json.offered.unwrap_or(0),
                current: json.current.unwrap_or(0),
            },
            Some("policy") => RejectReason::Policy {
                detail: known(json.detail.as_ref()),
            },
            Some("malformed") => {
                return Self::Malformed {
                    detail: words(json.detail),
                };
            }
            Some("too-large") => return Self::TooLarge,
            Some("replayed") => return Self::Replayed,
            Some("too-many-requests") => {
                return Self::TooManyRequests {
                    retry_after_seconds: json.seconds.unwrap_or(1),
                };
            }
            Some("not-found") => return Self::NotFound,
            Some("unavailable") => {
                return Self::Unavailable {
                    detail: words(json.detail),
                };
            }
            _ => {
                return Self::Other {
                    status: json.status,
                    title: clip(&json.title),
                };
            }
        })
    }
}

/// A stranger's words, fit for a log: at most 128 characters, none of them a control character.
fn clip(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(128)
        .collect()
}

/// The problem that an answer with `status` and `body` stands for; never fails, since any refusal is one.
pub fn read_problem(status: u16, body: &[u8]) -> Problem {
    let json = crate::decode::<ProblemJson>(body).unwrap_or_default();
    Problem::from(ProblemJson { status, ..json })
}

/// The JSON of a problem.
pub fn write_problem(problem: &Problem) -> Vec<u8> {
    crate::encode(&ProblemJson::from(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_survives_the_wire() {
        let reasons = [
            RejectReason::SlotTaken,
            RejectReason::OfferExpired { seconds_ago: 7 },
            RejectReason::Unknown { what: "agreement" },
            RejectReason::Capacity { resource: "memory" },
            RejectReason::TooManyReservations { held: 4, limit: 4 },
            RejectReason::NotFunded,
            RejectReason::NotAuthorised {
                detail: detail::PARTY,
            },
            RejectReason::StaleGeneration {
                offered: 1,
                current: 2,
            },
            RejectReason::Policy {
                detail: detail::ADDRESS,
            },
        ];
        let others = [
            Problem::Malformed {
                detail: "x".to_owned(),
            },
            Problem::TooLarge,
            Problem::Replayed,
            Problem::TooManyRequests {
                retry_after_seconds: 3,
            },
            Problem::NotFound,
            Problem::Unavailable {
                detail: "chain".to_owned(),
            },
        ];
        for problem in reasons.map(Problem::Rejected).into_iter().chain(others) {
            let body = write_problem(&problem);
            assert_eq!(read_problem(problem.status(), &body), problem);
        }
    }

    #[test]
    fn strange_problems_are_still_refusals() {
        let other = |status, title: &str| Problem::Other {
            status,
            title: title.to_owned(),
        };
        assert_eq!(read_problem(502, b"<html>"), other(502, ""));
        assert_eq!(
            read_problem(418, br#"{"type":"about:blank","title":"tea\n"}"#),
            other(418, "tea")
        );
        assert_eq!(
            read_problem(
                403,
                br#"{"type":"/exec/v1/problems/policy","detail":"made up"}"#
            ),
            Problem::Rejected(RejectReason::Policy {
                detail: "unspecified"
            })
        );
        assert_eq!(
            read_problem(
                400,
                format!(r#"{{"type":"x","title":"{}"}}"#, "y".repeat(500)).as_bytes()
            ),
            other(400, &"y".repeat(128))
        );
    }
}
