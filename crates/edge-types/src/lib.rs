//! The words of ExEC: names, prefixes, units, offers, agreements.
//!
//! Every other crate speaks in these types. They hold no decisions beyond "is this value well formed", do no IO, and
//! do not serialize themselves: JSON belongs to `edge-wire`, the ABI to `edge-chain`.

pub mod address_policy;
pub mod agreement;
pub mod chain;
pub mod conditions;
pub mod country;
pub mod dns;
pub mod iep;
pub mod money;
pub mod offer;
pub mod path;
pub mod prefix;
pub mod time;
pub mod workload;

pub use address_policy::{AddressPolicy, AddressRefusal};
pub use agreement::{
    AgreementRecord, AgreementState, Claim, Closing, EscrowAccount, EscrowTotals, Receipt,
    RejectReason,
};
pub use chain::{AgreementId, ChainAddress, ChainId, Hash32, OfferId, ReservationId, Signature};
pub use conditions::{
    ConditionMismatch, ContentCategory, ContentPolicy, SiteConditions, TeeKind, WantedConditions,
};
pub use country::{Country, CountryError};
pub use dns::{DnsName, DnsNameError};
pub use iep::{IepId, IepOrigin, ListedSite};
pub use ipnet::IpNet;
pub use money::{Amount, Asset, MoneyError};
pub use offer::{
    Acceptance, Confirmation, Guarantee, HardwareProfile, Offer, Preferences, Settlement, SlaTerms,
    Slot,
};
pub use path::{Hop, HopReply, PathEnd, PathObservation};
pub use prefix::PrefixGrouping;
pub use time::{ChainTime, Generation, MonotonicTime, Rtt, UtcTime};
pub use workload::{
    HealthCheck, ImageDigest, ImageReference, ResourceLimits, Workload, WorkloadState,
};
