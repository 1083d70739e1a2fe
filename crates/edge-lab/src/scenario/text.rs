//! Serde for values that a scenario file writes as strings.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Quote;

pub(super) fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    let text = String::deserialize(from)?;
    text.parse()
        .map_err(|cause| D::Error::custom(format_args!("{text:?}: {cause}")))
}

pub(super) mod option {
    use super::{Deserializer, Display, FromStr, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes references")]
    pub(in super::super) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        super::deserialize(from).map(Some)
    }
}

impl Serialize for Quote {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Octets(octets) => to.serialize_u8(*octets),
            Self::Full => to.serialize_str("full"),
        }
    }
}

impl<'de> Deserialize<'de> for Quote {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Quote;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("8, 28 or \"full\"")
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Quote, E> {
                match value {
                    8 => Ok(Quote::Octets(8)),
                    28 => Ok(Quote::Octets(28)),
                    other => Err(E::invalid_value(
                        serde::de::Unexpected::Signed(other),
                        &self,
                    )),
                }
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Quote, E> {
                self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Quote, E> {
                if value == "full" {
                    Ok(Quote::Full)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(value), &self))
                }
            }
        }
        from.deserialize_any(Visitor)
    }
}
