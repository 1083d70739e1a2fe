//! Countries, by their two letters.

use std::fmt;
use std::str::FromStr;

/// A country's two-letter code (ISO 3166-1 alpha-2), in capitals. Which letters are a country's is not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

/// It is not two letters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a country is two letters, like FI, not {0:?}")]
pub struct CountryError(pub String);

impl FromStr for Country {
    type Err = CountryError;

    fn from_str(text: &str) -> Result<Self, CountryError> {
        match *text.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Ok(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => Err(CountryError(text.chars().take(16).collect())),
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or("??"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_letters_are_a_country() {
        assert_eq!("fi".parse::<Country>().unwrap().to_string(), "FI");
        for text in ["", "F", "FIN", "1A", "\u{e9}"] {
            assert!(text.parse::<Country>().is_err(), "{text}");
        }
    }
}
