//! Why each address, name, zone and record led to an IEP or did not.

use std::collections::BTreeSet;
use std::net::IpAddr;

use edge_types::{AddressRefusal, DnsName, IepId, IepOrigin};

use crate::key_record::{KeyBinding, KeyRefusal};
use crate::owner::OwnerAnswer;
use crate::profile::{Profile, ProfileRefusal};
use crate::question::{Absence, AnswerName, NoAnswer, Security, SrvRecord};
use crate::tls_pin::{PinRefusal, TlsPin};
use crate::zones::{NameRefusal, Standing};

/// An entry point of a provider, as DNS tells it. Nothing of it is proven but what `key` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IepCandidate {
    /// SRV target and port.
    pub id: IepId,
    /// The zone whose SRV record named it, or the domain that a list speaks for. The same entry point may come from several.
    pub zone: DnsName,
    /// Who named it.
    pub origin: IepOrigin,
    /// Its addresses, at least one, each allowed by the policy. A connection goes to one of these, with no further
    /// lookup.
    pub addresses: Vec<IpAddr>,
    /// RFC 2782: lower is preferred by the provider.
    pub priority: u16,
    /// RFC 2782: share among equal priorities.
    pub weight: u16,
    /// The key that DNS names for it.
    pub key: Option<KeyBinding>,
    /// The TLS keys that signed records name for it; none if there are no such records, they are not signed, or none of them
    /// is understood.
    pub pins: Vec<TlsPin>,
    /// Is there any signed TLSA record for it, be it one that is not understood? Then it is not spoken to without TLS.
    pub announces_tls: bool,
    /// What it says of itself, where DNS-SD names it as an instance. May come later than the rest where the zone is not signed.
    pub profile: Option<Profile>,
    /// What speaks for it in DNS.
    pub evidence: DnsEvidence,
    /// Routers whose names led to the zone; empty if the zone was configured.
    pub seen_on: BTreeSet<IpAddr>,
}

impl IepCandidate {
    /// Does its zone or its profile say that it is to be spoken to over TLS?
    pub fn wants_tls(&self) -> bool {
        self.announces_tls || self.profile.as_ref().is_some_and(Profile::says_https)
    }
}

/// What in DNS speaks for a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsEvidence {
    /// What DNSSEC says of the records that led from the zone to the target.
    pub service: Security,
    /// What it says of the target's addresses, the least of both families.
    pub addresses: Security,
    /// Routers of those in `seen_on` whose name leads back to their address: the zone knows them. Of a large zone only some
    /// are asked for, and answers may come later than the candidate.
    pub routers_confirmed: BTreeSet<IpAddr>,
}

/// What is known about one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// Not asked, and why.
    NotAsked(NotAsked),
    /// Waiting to be sent or answered.
    Pending,
    /// Answered with records.
    Records(T),
    /// Answered: there are none.
    Absent {
        /// In which way.
        absence: Absence,
        /// Apex of the zone that said so.
        apex: Option<DnsName>,
    },
    /// No answer. Says nothing about what exists.
    Unanswered(NoAnswer),
}

impl<T> Lookup<T> {
    /// Will nothing more come in this run?
    pub const fn is_settled(&self) -> bool {
        !matches!(self, Self::Pending)
    }

    pub(crate) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Self::Records(records) => Lookup::Records(convert(records)),
            Self::NotAsked(reason) => Lookup::NotAsked(reason),
            Self::Pending => Lookup::Pending,
            Self::Absent { absence, apex } => Lookup::Absent { absence, apex },
            Self::Unanswered(reason) => Lookup::Unanswered(reason),
        }
    }
}

/// Why a question was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum NotAsked {
    /// The run's number of questions was used up.
    #[error("all {limit} questions of the run were used up")]
    OverBudget {
        /// The number.
        limit: usize,
    },
    /// The run's time was over, or no run was open.
    #[error("the run was over")]
    RunOver,
    /// The name to ask for would be longer than a DNS name can be.
    #[error("the name would be too long")]
    NameTooLong,
}

/// The whole account of a discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail {
    /// Every hop address, in order.
    pub addresses: Vec<AddressTrail>,
    /// Every zone that was asked or was to be asked, in order.
    pub zones: Vec<ZoneTrail>,
    /// Sightings ignored since too many addresses were known.
    pub sightings_over_limit: u64,
}

/// What became of one hop address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressTrail {
    /// The address.
    pub address: IpAddr,
    /// Number of paths it was seen on.
    pub paths: usize,
    /// Who holds it, if that was asked for since no name led to a zone.
    pub owner: Option<OwnerAnswer>,
    /// Its names.
    pub outcome: AddressOutcome,
}

/// Names of an address, or why there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressOutcome {
    /// Its names were not asked for: no public address.
    NotAllowed(AddressRefusal),
    /// The PTR question.
    Ptr(Lookup<PtrTrail>),
}

/// The names of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PtrTrail {
    /// The names that were looked at.
    pub names: Vec<NameTrail>,
    /// How many further names there were, over the limit.
    pub over_limit: usize,
}

/// Where one name led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTrail {
    /// The name; `None` if it is not one that can be shown.
    pub name: Option<DnsName>,
    /// Its candidate zones, most specific first, or why it has none.
    pub zones: Result<Vec<ZoneStep>, NameRefusal>,
}

/// One candidate zone of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneStep {
    /// The zone.
    pub zone: DnsName,
    /// Whose it is.
    pub standing: Standing,
    /// Whether it was asked.
    pub decision: ZoneDecision,
}

/// What was decided about a candidate zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneDecision {
    /// Asked; see the zone's own trail.
    Asked,
    /// Not yet: a more specific one is being asked, whose answer may make this one needless.
    Waiting,
    /// Not asked: a negative answer for a more specific name came from the zone `apex` above, so no zone starts here.
    NotACut {
        /// That zone.
        apex: DnsName,
    },
}

/// What became of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneTrail {
    /// The zone.
    pub zone: DnsName,
    /// True if the operator named it.
    pub is_configured: bool,
    /// The SRV question.
    pub service: Lookup<ServiceTrail>,
    /// The instances of the service (RFC 6763); `None` where the name of the service does not exist, so nothing below it.
    pub instances: Option<Lookup<InstancesTrail>>,
    /// Whether names of routers lead back to them, as far as was asked.
    pub routers: Vec<RouterTrail>,
}

/// Whether the name of a router, which led to the zone, leads back to its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterTrail {
    /// The router.
    pub address: IpAddr,
    /// Its name.
    pub name: DnsName,
    /// Is the address one of the name's? Absence says no.
    pub confirmed: Lookup<bool>,
}

/// The instances of a zone's service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstancesTrail {
    /// Whether names that nobody registered have the same instances.
    pub control: ControlOutcome,
    /// Every instance that was looked at.
    pub instances: Vec<InstanceTrail>,
    /// How many further ones there were, over the limit.
    pub over_limit: usize,
}

/// What became of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceTrail {
    /// Its name.
    pub name: AnswerName,
    /// Where it led.
    pub outcome: InstanceOutcome,
}

/// Where an instance led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceOutcome {
    /// Not followed, and why.
    Refused(InstanceRefusal),
    /// Its SRV and TXT records were asked for.
    Followed {
        /// The SRV records.
        service: Lookup<ServiceTrail>,
        /// The TXT record.
        profile: Lookup<Result<Profile, ProfileRefusal>>,
    },
}

/// Why an instance is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstanceRefusal {
    /// The name has characters that no name of ours has. DNS-SD allows any, we take letters, digits, `-` and `_`.
    #[error("the name is not taken: {0}")]
    UnacceptableName(String),
    /// The name is not one label in front of the service's name in this zone.
    #[error("not an instance of this zone's service")]
    NotOfThisService,
}

/// The SRV records of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTrail {
    /// Whether names that nobody registered answer the same.
    pub control: ControlOutcome,
    /// Every record that was looked at, in order of priority.
    pub sites: Vec<SiteTrail>,
    /// How many further records there were, over the limit.
    pub over_limit: usize,
    /// What DNSSEC says of them and of what led to them.
    pub security: Security,
}

/// Outcome of the wildcard control questions (RFC 4592).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlOutcome {
    /// Not answered yet.
    Pending,
    /// No made-up name has such a record: these are meant.
    Explicit,
    /// A made-up name has the same targets: they come from a wildcard and mean nothing.
    Wildcard {
        /// How many targets the two answers share.
        shared: usize,
    },
    /// Made-up names have targets that differ from name to name: a wildcard hands them out in turn, and the zone's own may
    /// be of them.
    Rotating,
    /// No answer to one of them, so the records are not used in this run.
    Unanswered(NoAnswer),
    /// One was not asked, so the records are not used in this run.
    NotAsked(NotAsked),
}

/// What became of one SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteTrail {
    /// The record.
    pub record: SrvRecord,
    /// The verdict.
    pub outcome: SiteOutcome,
    /// Addresses of the target that may not be contacted.
    pub addresses_refused: Vec<AddressRefusal>,
    /// Further addresses of the target, over the limit.
    pub addresses_over_limit: usize,
    /// Key records that could not be used, with the name that holds them.
    pub keys_refused: Vec<(DnsName, KeyRefusal)>,
    /// TLSA records that could not be used.
    pub pins_refused: Vec<PinRefusal>,
}

impl SiteTrail {
    /// A record, with nothing known of its target.
    pub(crate) const fn new(record: SrvRecord, outcome: SiteOutcome) -> Self {
        Self {
            record,
            outcome,
            addresses_refused: Vec::new(),
            addresses_over_limit: 0,
            keys_refused: Vec::new(),
            pins_refused: Vec::new(),
        }
    }
}

/// The verdict on one SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteOutcome {
    /// Something is still to be answered.
    Pending,
    /// A candidate.
    Candidate(IepCandidate),
    /// An entry point that is looked at elsewhere in the zone's trail; an instance's profile is added to it there.
    Listed,
    /// Not used, and why.
    Rejected(SiteRejection),
}

/// Why an SRV record gives no candidate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteRejection {
    /// Target ".": the zone says that it has no such service (RFC 2782).
    #[error("the zone says that it has no such service")]
    NotAvailable,
    /// The target is not an acceptable name.
    #[error("the target is not a host name: {0}")]
    UnacceptableTarget(String),
    /// Nothing listens at port 0.
    #[error("port 0")]
    PortZero,
    /// The zone's answer comes from a wildcard.
    #[error("a wildcard answers for every service")]
    Wildcard,
    /// It is unknown whether the zone's answer comes from a wildcard.
    #[error("unknown whether the answer comes from a wildcard")]
    ControlUnanswered,
    /// The target has no address, as far as was answered.
    #[error("the target has no address")]
    NoAddress {
        /// What was said about IPv4.
        v4: Lookup<()>,
        /// What was said about IPv6.
        v6: Lookup<()>,
    },
    /// Every address of the target is one that may not be contacted.
    #[error("none of the target's {count} addresses may be contacted")]
    NoAllowedAddress {
        /// How many it has, as far as looked at.
        count: usize,
    },
    /// In a signed zone there was no answer to a question that tells whether it is to be spoken to over TLS. Whoever can drop
    /// packets could else have it spoken to in the clear (RFC 7672 section 2.1.2 of hosts whose TLSA lookup fails).
    #[error("unknown whether it wants TLS: no answer about {name}")]
    TlsUnknown {
        /// The name that was asked for.
        name: DnsName,
        /// What came of the question.
        found: Lookup<()>,
    },
}

impl SiteRejection {
    /// A word for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotAvailable => "not_available",
            Self::UnacceptableTarget(_) => "unacceptable_target",
            Self::PortZero => "port_zero",
            Self::Wildcard => "wildcard",
            Self::ControlUnanswered => "control_unanswered",
            Self::NoAddress { .. } => "no_address",
            Self::NoAllowedAddress { .. } => "no_allowed_address",
            Self::TlsUnknown { .. } => "tls_unknown",
        }
    }
}
