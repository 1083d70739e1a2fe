//! How the words of `edge-types` are written in JSON.
//!
//! Identifiers, names, addresses and digests are text as they display; money is whole units as a decimal string; times
//! are seconds since the Unix epoch.

use std::collections::BTreeSet;
use std::time::Duration;

use edge_types::{
    AgreementState, Amount, Asset, ChainId, Confirmation, ContentCategory, ContentPolicy, Country,
    Generation, Guarantee, HardwareProfile, HealthCheck, IepId, ImageReference, Offer, Preferences,
    ResourceLimits, Settlement, SiteConditions, SlaTerms, Slot, TeeKind, UtcTime, WantedConditions,
    WorkloadState,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Values written as they display and read as they parse.
pub(crate) mod as_text {
    use std::borrow::Cow;
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// [`as_text`] of what may be missing.
pub(crate) mod optional_text {
    use std::borrow::Cow;
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Option::<Cow<'de, str>>::deserialize(from)?
            .map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}

/// Sets of short words: lists of at most 32 of them, none twice.
mod words {
    use std::collections::BTreeSet;
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) const MOST: usize = 32;

    pub(super) fn serialize<T: Display, S: Serializer>(
        set: &BTreeSet<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(set.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<BTreeSet<T>, D::Error>
    where
        T: FromStr<Err: Display> + Ord,
        D: Deserializer<'de>,
    {
        let list = Vec::<String>::deserialize(from)?;
        if list.len() > MOST {
            return Err(D::Error::custom("expected at most 32 words"));
        }
        let count = list.len();
        let set = list
            .iter()
            .map(|word| word.parse().map_err(D::Error::custom))
            .collect::<Result<BTreeSet<T>, _>>()?;
        if set.len() == count {
            Ok(set)
        } else {
            Err(D::Error::custom("a word is there twice"))
        }
    }
}

/// A structure of optional members alone, which would be read from an empty list too, from an object only.
macro_rules! object_only {
    ($name:ident, $json:ident, $value:ident) => {
        mod $name {
            use std::fmt;

            use serde::de::value::MapAccessDeserializer;
            use serde::de::{MapAccess, Visitor};
            use serde::{Deserializer, Serializer};

            use super::{$json, $value};

            struct Object;

            impl<'de> Visitor<'de> for Object {
                type Value = $value;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$value, A::Error> {
                    $json::deserialize(MapAccessDeserializer::new(map))
                }
            }

            pub(super) fn serialize<S: Serializer>(
                value: &$value,
                to: S,
            ) -> Result<S::Ok, S::Error> {
                $json::serialize(value, to)
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(
                from: D,
            ) -> Result<$value, D::Error> {
                from.deserialize_map(Object)
            }
        }
    };
}

object_only!(site_conditions, SiteConditionsJson, SiteConditions);
object_only!(content_policy, ContentPolicyJson, ContentPolicy);
object_only!(wanted_conditions, WantedConditionsJson, WantedConditions);

/// Is it what is read where nothing is written?
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Units of money: decimal digits only, since JSON numbers lose precision above 2^53.
pub(crate) mod decimal {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(units: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(units)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(D::Error::custom("expected decimal digits"));
        }
        text.parse().map_err(D::Error::custom)
    }
}

/// `native`, or the address of a token.
mod asset {
    use super::{Asset, Deserialize, Deserializer, Serializer};
    use serde::de::Error;

    pub(super) fn serialize<S: Serializer>(asset: &Asset, to: S) -> Result<S::Ok, S::Error> {
        match asset {
            Asset::Native => to.serialize_str("native"),
            Asset::Token(token) => to.collect_str(token),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Asset, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        if text == "native" {
            return Ok(Asset::Native);
        }
        text.parse().map(Asset::Token).map_err(D::Error::custom)
    }
}

/// Whole seconds.
mod seconds {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(time.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_secs)
    }
}

/// A settlement: `{"kind": "contact", "contact": …}`, `{"kind": "escrow", "chain": …, "contract": …}` or
/// `{"kind": "allowance"}`.
mod settlement {
    use edge_types::ChainAddress;

    use super::{ChainId, Deserialize, Deserializer, Serialize, Serializer, Settlement, as_text};

    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Json {
        Contact {
            contact: String,
        },
        Escrow {
            chain: u64,
            #[serde(with = "as_text")]
            contract: ChainAddress,
        },
        Allowance {},
    }

    pub(super) fn serialize<S: Serializer>(value: &Settlement, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Settlement::Contact(contact) => Json::Contact {
                contact: contact.clone(),
            },
            Settlement::Escrow { chain, contract } => Json::Escrow {
                chain: chain.0,
                contract: *contract,
            },
            Settlement::Allowance => Json::Allowance {},
        }
        .serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Settlement, D::Error> {
        Ok(match Json::deserialize(from)? {
            Json::Contact { contact } => Settlement::Contact(contact),
            Json::Escrow { chain, contract } => Settlement::Escrow {
                chain: ChainId(chain),
                contract,
            },
            Json::Allowance {} => Settlement::Allowance,
        })
    }
}

/// Environment variables: `[{"name": …, "value": …}]`, in order.
pub(crate) mod environment {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Variable {
        name: String,
        value: String,
    }

    pub(crate) fn serialize<S: Serializer>(
        variables: &[(String, String)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(variables.iter().map(|(name, value)| Variable {
            name: name.clone(),
            value: value.clone(),
        }))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(String, String)>, D::Error> {
        Ok(Vec::<Variable>::deserialize(from)?
            .into_iter()
            .map(|variable| (variable.name, variable.value))
            .collect())
    }
}

/// What a workload may reach: `[{"port": inside, "address": outside}]`.
pub(crate) mod egress {
    use std::net::SocketAddr;

    use super::{Deserialize, Deserializer, Serialize, Serializer, as_text};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Way {
        port: u16,
        #[serde(with = "as_text")]
        address: SocketAddr,
    }

    pub(crate) fn serialize<S: Serializer>(
        ways: &[(u16, SocketAddr)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(ways.iter().map(|&(port, address)| Way { port, address }))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(u16, SocketAddr)>, D::Error> {
        Ok(Vec::<Way>::deserialize(from)?
            .into_iter()
            .map(|way| (way.port, way.address))
            .collect())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "UtcTime")]
pub(crate) struct UtcTimeJson(u64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "ChainId")]
pub(crate) struct ChainIdJson(u64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Generation")]
pub(crate) struct GenerationJson(u64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Amount")]
pub(crate) struct AmountJson {
    #[serde(with = "asset")]
    asset: Asset,
    #[serde(with = "decimal")]
    units: u128,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Slot")]
pub(crate) struct SlotJson {
    #[serde(with = "UtcTimeJson")]
    start: UtcTime,
    #[serde(with = "UtcTimeJson")]
    end: UtcTime,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "HardwareProfile")]
pub(crate) struct HardwareJson {
    milli_cpu: u32,
    memory_bytes: u64,
    pids: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ResourceLimits", deny_unknown_fields)]
pub(crate) struct LimitsJson {
    milli_cpu: u32,
    memory_bytes: u64,
    pids: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SlaTerms")]
pub(crate) struct SlaJson {
    #[serde(with = "as_text")]
    text_hash: edge_types::Hash32,
    availability_ppm: u32,
    receipt_interval_seconds: u32,
    notice_seconds: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    round_trip_ms: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Guarantee")]
pub(crate) struct GuaranteeJson {
    #[serde(with = "decimal")]
    stake: u128,
    #[serde(
        default,
        with = "optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    arbiter: Option<edge_types::ChainAddress>,
    answer_seconds: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SiteConditions")]
struct SiteConditionsJson {
    #[serde(
        default,
        with = "optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    region: Option<Country>,
    #[serde(
        default,
        with = "optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    tee: Option<TeeKind>,
    #[serde(default, with = "content_policy", skip_serializing_if = "is_default")]
    content: ContentPolicy,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ContentPolicy")]
struct ContentPolicyJson {
    #[serde(default, with = "words", skip_serializing_if = "BTreeSet::is_empty")]
    refuses: BTreeSet<ContentCategory>,
    #[serde(
        default,
        with = "optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    text_hash: Option<edge_types::Hash32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text_url: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "WantedConditions", deny_unknown_fields)]
struct WantedConditionsJson {
    #[serde(default, with = "words", skip_serializing_if = "BTreeSet::is_empty")]
    regions: BTreeSet<Country>,
    #[serde(default, with = "words", skip_serializing_if = "BTreeSet::is_empty")]
    tee: BTreeSet<TeeKind>,
    #[serde(default, with = "words", skip_serializing_if = "BTreeSet::is_empty")]
    content: BTreeSet<ContentCategory>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Confirmation", deny_unknown_fields)]
pub(crate) struct ConfirmationJson {
    #[serde(with = "UtcTimeJson")]
    until: UtcTime,
    #[serde(with = "as_text")]
    signature: edge_types::Signature,
}

/// A confirmation, if there is one.
pub(crate) mod optional_confirmation {
    use super::{Confirmation, ConfirmationJson, Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Some(#[serde(with = "ConfirmationJson")] Confirmation);

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Confirmation>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Some).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Confirmation>, D::Error> {
        Ok(Option::<Some>::deserialize(from)?.map(|some| some.0))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "IepId")]
pub(crate) struct IepIdJson {
    #[serde(with = "as_text")]
    host: edge_types::DnsName,
    port: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Offer")]
pub(crate) struct OfferJson {
    #[serde(with = "as_text")]
    id: edge_types::OfferId,
    #[serde(with = "as_text")]
    provider: edge_types::ChainAddress,
    #[serde(
        default,
        with = "optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    buyer: Option<edge_types::ChainAddress>,
    #[serde(with = "IepIdJson")]
    site: IepId,
    #[serde(with = "SlotJson")]
    slot: Slot,
    #[serde(with = "HardwareJson")]
    hardware: HardwareProfile,
    #[serde(with = "AmountJson")]
    price_per_second: Amount,
    #[serde(with = "SlaJson")]
    sla: SlaTerms,
    #[serde(with = "GuaranteeJson", default)]
    guarantee: Guarantee,
    #[serde(default, with = "site_conditions", skip_serializing_if = "is_default")]
    conditions: SiteConditions,
    #[serde(with = "settlement")]
    settlement: Settlement,
    #[serde(with = "UtcTimeJson")]
    expires: UtcTime,
    #[serde(with = "as_text")]
    nonce: edge_types::Hash32,
    #[serde(with = "as_text")]
    signature: edge_types::Signature,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Preferences", deny_unknown_fields)]
pub(crate) struct PreferencesJson {
    application: String,
    #[serde(with = "as_text")]
    buyer: edge_types::ChainAddress,
    #[serde(with = "SlotJson")]
    slot: Slot,
    #[serde(with = "HardwareJson")]
    hardware: HardwareProfile,
    #[serde(with = "AmountJson")]
    price_ceiling_per_second: Amount,
    expected_requests_per_second: u32,
    #[serde(
        default,
        with = "wanted_conditions",
        skip_serializing_if = "is_default"
    )]
    conditions: WantedConditions,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AgreementState", rename_all = "snake_case")]
pub(crate) enum AgreementStateJson {
    Proposed,
    Confirmed,
    Claimed,
    Disputed,
    Rejected,
    Expired,
    Settled,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ImageReference", deny_unknown_fields)]
pub(crate) struct ImageJson {
    #[serde(with = "as_text")]
    registry: std::net::SocketAddr,
    repository: String,
    #[serde(with = "as_text")]
    digest: edge_types::ImageDigest,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "HealthCheck", deny_unknown_fields)]
pub(crate) struct HealthJson {
    path: String,
    #[serde(with = "seconds", rename = "start_timeout_seconds")]
    start_timeout: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "WorkloadState", tag = "state", rename_all = "snake_case")]
pub(crate) enum WorkloadStateJson {
    Absent,
    Pulling,
    Starting,
    Running {
        #[serde(with = "as_text")]
        address: std::net::SocketAddr,
    },
    Draining {
        #[serde(with = "as_text")]
        address: std::net::SocketAddr,
    },
    Failed {
        reason: String,
    },
    Stopped,
}
