//! The prose of agreements and content policies, which offers name by its hash.

use edge_types::Hash32;
use serde::{Deserialize, Serialize};

use crate::limits::require;
use crate::signing::text_hash;
use crate::{Message, WireError};

/// Answer to `GET /texts/{hash}`: the text with that keccak-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prose {
    /// At most [`Prose::MOST`] octets, without control characters but those that end and indent lines.
    pub text: String,
}

impl Prose {
    /// Longest text, in octets. Each may take two in JSON.
    pub const MOST: usize = 30 * 1024;

    /// By which offers name it.
    pub fn hash(&self) -> Hash32 {
        text_hash(&self.text)
    }
}

impl Message for Prose {
    fn validate(&self) -> Result<(), WireError> {
        let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
        require(
            (1..=Self::MOST).contains(&self.text.len()) && self.text.chars().all(is_plain),
            "text",
            "1 to 30720 octets of plain text",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode, encode};

    #[test]
    fn the_longest_text_fits_a_body() {
        let longest = Prose {
            text: "\"".repeat(Prose::MOST),
        };
        assert_eq!(decode::<Prose>(&encode(&longest)).unwrap(), longest);
        for bad in [
            String::new(),
            "a".repeat(Prose::MOST + 1),
            "\u{1b}[2J".to_owned(),
        ] {
            assert!(Prose { text: bad }.validate().is_err());
        }
    }
}
