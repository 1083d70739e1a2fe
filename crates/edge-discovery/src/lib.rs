//! From hop addresses to zones to IEP candidates, without IO (paper section 2.2, steps 2 and 3).
//!
//! [`Discovery`] is told which addresses answered on the paths to clients. It emits [`Question`]s (names of the address,
//! `_edge._tcp` SRV records of the zones that those names belong to, addresses and keys of the SRV targets), accepts
//! [`Answer`]s in any order, and yields [`IepCandidate`]s as soon as each is complete. A [`Trail`] says for every
//! address, zone and record what became of it and why.
//!
//! It does not send packets, read a clock, draw random numbers, or contact an IEP. A name of an address is a hint, never
//! an identity (security rule 6): a candidate still has to be measured and, before money moves, to prove its key.
//!
//! ```
//! use edge_discovery::{Absence, Answer, Discovery, DiscoveryConfig, Limits, Question, RecordKind, Security};
//! use edge_types::{AddressPolicy, MonotonicTime};
//!
//! let config = DiscoveryConfig::new("_edge._tcp", "x7f3", AddressPolicy::default(), Limits::default())?;
//! let mut discovery = Discovery::new(config);
//! let now = MonotonicTime::ZERO;
//! discovery.start_run(now);
//! discovery.observe_zone("isp.example".parse()?, now);
//! let question = discovery.poll_question(now).expect("a new zone is asked");
//! assert_eq!(question, Question::new("_edge._tcp.isp.example".parse()?, RecordKind::Srv));
//! let answer = Answer::Absent { absence: Absence::NxDomain, soa: None, security: Security::Insecure };
//! discovery.handle_answer(&question, answer, now);
//! assert!(discovery.is_settled() && discovery.candidates().is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod config;
mod country;
mod evaluate;
#[doc(hidden)]
pub mod fuzzing;
mod international;
mod key_record;
mod listed;
mod machine;
mod origin;
mod owner;
mod profile;
mod question;
mod ranges;
mod selection;
mod tls_pin;
mod trail;
mod trust;
mod zones;

pub use config::{DiscoveryConfig, Limits, is_service};
pub use country::CountryRanges;
pub use edge_suffixes::SuffixSection;
pub use international::{from_people, shown};
pub use key_record::{KeyBinding, KeyRefusal};
pub use listed::ListedRefusal;
pub use machine::{Discovery, HopSighting, PathSegment};
pub use origin::{Origin, OriginRanges, OriginTable};
pub use owner::{
    Bootstrap, BootstrapError, NoOwner, Owner, OwnerAnswer, OwnerSource, WhoisAnswer, read_rdap,
    read_whois,
};
pub use profile::{Profile, ProfileRefusal};
pub use question::{
    Absence, Answer, AnswerName, NegativeSoa, NoAnswer, Question, RecordData, RecordKind, Security,
    SrvRecord, TlsaRecord, reverse_name,
};
pub use ranges::{LineProblem, RangeValue, Ranges};
pub use selection::weighted_order;
pub use tls_pin::{CertificateUsage, Matching, PinRefusal, PinTextError, Selector, TlsPin};
pub use trail::{
    AddressOutcome, AddressTrail, ControlOutcome, DnsEvidence, IepCandidate, InstanceOutcome,
    InstanceRefusal, InstanceTrail, InstancesTrail, Lookup, NameTrail, NotAsked, PtrTrail,
    RouterTrail, ServiceTrail, SiteOutcome, SiteRejection, SiteTrail, Trail, ZoneDecision,
    ZoneStep, ZoneTrail,
};
pub use trust::{
    Assessment, Objection, Position, Sign, Tier, TrustPolicy, TrustRefusal, UnknownTier, Use,
    assess, position,
};
pub use zones::{CandidateZone, NameRefusal, Standing, candidate_zones};
