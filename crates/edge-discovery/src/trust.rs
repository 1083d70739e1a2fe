//! How far a candidate is to be trusted, what speaks for it, and what it may therefore do.
//!
//! Whoever holds the reverse zone of a router can give it any name, and whoever holds a zone can point at any address. So
//! a candidate that names alone speak for is [`Tier::Unverified`]. One independent sign lifts it to [`Tier::Measured`]: the
//! zone knows the router, one network announces both, the entry point lies behind the router and no farther from us than
//! it, or DNSSEC signs the way from the zone to the address. [`Tier::Authenticated`] is a candidate whose paying key DNSSEC
//! binds to the zone (security rule 6).
//!
//! What is announced is never evidence: only round trips and paths that we measured ourselves count (security rule 7).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use edge_types::{PathEnd, PathObservation, Rtt};

use crate::origin::OriginTable;
use crate::question::Security;
use crate::trail::IepCandidate;

/// How far a candidate is to be trusted. Later is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Names say so, which anybody may give.
    Unverified,
    /// Something that its owner cannot make up alone speaks for it.
    Measured,
    /// DNSSEC binds its key to its zone.
    Authenticated,
}

/// A trust tier or a use was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither \"unverified\" nor \"measured\" nor \"authenticated\"")]
pub struct UnknownTier(pub String);

impl std::str::FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(text: &str) -> Result<Self, UnknownTier> {
        match text {
            "unverified" => Ok(Self::Unverified),
            "measured" => Ok(Self::Measured),
            "authenticated" => Ok(Self::Authenticated),
            other => Err(UnknownTier(other.to_owned())),
        }
    }
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unverified => "unverified",
            Self::Measured => "measured",
            Self::Authenticated => "authenticated",
        })
    }
}

/// Something that speaks for a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The way from the zone to the addresses is signed.
    SignedService,
    /// The way from the zone to the paying key is signed.
    SignedKey,
    /// The name of a router that led to the zone leads back to the router.
    RouterConfirmed {
        /// The router.
        router: IpAddr,
    },
    /// One autonomous system announces the entry point and a router that led to it.
    SameOrigin {
        /// The router.
        router: IpAddr,
        /// The autonomous system.
        asn: u32,
    },
    /// The path to the entry point leads through a router that led to it, and goes hardly farther.
    BehindRouter {
        /// The router.
        router: IpAddr,
        /// Least round trip to it.
        router_rtt: Rtt,
        /// Least round trip to the entry point.
        site_rtt: Rtt,
    },
}

impl std::fmt::Display for Sign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SignedService => f.write_str("DNSSEC signs its records"),
            Self::SignedKey => f.write_str("its key is signed"),
            Self::RouterConfirmed { router } => {
                write!(f, "the zone gives router {router} the name that led here")
            }
            Self::SameOrigin { router, asn } => {
                write!(f, "AS{asn} announces it and router {router}")
            }
            Self::BehindRouter {
                router,
                router_rtt,
                site_rtt,
            } => write!(
                f,
                "it answers in {site_rtt} behind router {router} at {router_rtt}"
            ),
        }
    }
}

/// Something that cannot be as it looks; the candidate is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// It answers sooner than the routers that the path to it leads through: somebody on the way answers for it.
    #[error("it answers in {site_rtt}, before the routers on the way, which need {routers_rtt}")]
    NearerThanItsPath {
        /// Least round trip to it.
        site_rtt: Rtt,
        /// The lesser of the round trips to the last two routers.
        routers_rtt: Rtt,
    },
}

/// What our own probes say of where an entry point is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The router that led to it, farthest along the path, if the entry point is hardly farther.
    pub behind: Option<Sign>,
    /// What cannot be.
    pub objection: Option<Objection>,
}

/// Where an entry point is, by the path traced to it. Measured to the address that would be contacted.
///
/// `routers` are those whose names led to it; `least` is the least round trip known to a router, from all paths. `slack`
/// is what a router may take to answer a probe, beyond the way there and back (5 ms is much), and how far behind its router
/// an entry point may be.
pub fn position(
    path: &PathObservation,
    routers: &BTreeSet<IpAddr>,
    least: &BTreeMap<IpAddr, Rtt>,
    slack: Duration,
) -> Position {
    let replies: Vec<(IpAddr, Rtt)> = path
        .replies()
        .filter_map(|(_, reply)| {
            let address = reply.address.to_canonical();
            let here = reply.rtt?;
            let known = least.get(&address).copied().unwrap_or(here);
            Some((address, here.min(known)))
        })
        .collect();
    let Some((&(_, site_rtt), before)) = replies.split_last() else {
        return Position::default();
    };
    if path.end != PathEnd::Reached {
        return Position::default();
    }
    // One router that is slow to answer proves nothing, two in a row hardly happen.
    let last_two = before.iter().rev().take(2);
    let routers_rtt = last_two.map(|(_, rtt)| *rtt).min().unwrap_or_default();
    if site_rtt.0 + slack < routers_rtt.0 {
        return Position {
            behind: None,
            objection: Some(Objection::NearerThanItsPath {
                site_rtt,
                routers_rtt,
            }),
        };
    }
    let last = before
        .iter()
        .rev()
        .find(|(router, _)| routers.contains(router));
    let behind = last
        .filter(|(_, router_rtt)| site_rtt.0 <= router_rtt.0 + slack)
        .map(|&(router, router_rtt)| Sign::BehindRouter {
            router,
            router_rtt,
            site_rtt,
        });
    Position {
        behind,
        objection: None,
    }
}

/// What is known about a candidate, weighed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// How far it is to be trusted.
    pub tier: Tier,
    /// What speaks for it.
    pub signs: Vec<Sign>,
    /// What speaks against it, whatever the tier.
    pub objection: Option<Objection>,
}

/// Weighs a candidate. `address` is the one that would be contacted; without a table or a path their signs are missing.
pub fn assess(
    candidate: &IepCandidate,
    address: IpAddr,
    origins: Option<&dyn OriginTable>,
    position: &Position,
) -> Assessment {
    let mut signs = Vec::new();
    let evidence = &candidate.evidence;
    if evidence.service.min(evidence.addresses) == Security::Secure {
        signs.push(Sign::SignedService);
    }
    let is_key_signed = candidate.key.as_ref().is_some_and(|key| key.authenticated);
    if is_key_signed {
        signs.push(Sign::SignedKey);
    }
    let mut confirmed = evidence.routers_confirmed.iter();
    signs.extend(
        confirmed
            .next()
            .map(|&router| Sign::RouterConfirmed { router }),
    );
    if let Some(origins) = origins
        && let Some(own) = origins.origin(address)
    {
        let mut routers = candidate.seen_on.iter();
        let same = routers.find(|router| {
            let origin = origins.origin(**router);
            origin.is_some_and(|origin| origin.asn == own.asn)
        });
        signs.extend(same.map(|&router| Sign::SameOrigin {
            router,
            asn: own.asn,
        }));
    }
    signs.extend(position.behind.clone());
    let tier = match (is_key_signed, signs.is_empty()) {
        (true, _) => Tier::Authenticated,
        (false, false) => Tier::Measured,
        (false, true) => Tier::Unverified,
    };
    Assessment {
        tier,
        signs,
        objection: position.objection,
    }
}

/// What a candidate may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// Be greeted and make offers.
    Contact,
    /// Be rented for a small sum.
    Trial,
    /// Be rented for any sum within the budget.
    Money,
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Contact => "contact",
            Self::Trial => "a trial",
            Self::Money => "money",
        })
    }
}

/// The least tier for each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustPolicy {
    /// To be greeted.
    pub contact: Tier,
    /// To be rented for a small sum.
    pub trial: Tier,
    /// To be rented for any sum within the budget.
    pub money: Tier,
}

impl Default for TrustPolicy {
    /// Greets anybody, since a greeting is bounded (security rule 5); pays only authenticated ones (rule 6).
    fn default() -> Self {
        Self {
            contact: Tier::Unverified,
            trial: Tier::Authenticated,
            money: Tier::Authenticated,
        }
    }
}

/// Why a candidate may not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustRefusal {
    /// It is trusted too little.
    #[error("{wanted} needs {least} trust, it is {tier}")]
    TooLittle {
        /// What was to be done.
        wanted: Use,
        /// The least tier for it.
        least: Tier,
        /// The candidate's.
        tier: Tier,
    },
    /// Something speaks against it.
    #[error(transparent)]
    Objection(#[from] Objection),
}

impl TrustPolicy {
    /// May it?
    ///
    /// # Errors
    /// It is trusted too little, or something speaks against it.
    pub fn check(&self, wanted: Use, assessment: &Assessment) -> Result<(), TrustRefusal> {
        if let Some(objection) = assessment.objection {
            return Err(objection.into());
        }
        let least = match wanted {
            Use::Contact => self.contact,
            Use::Trial => self.trial,
            Use::Money => self.money,
        };
        if assessment.tier < least {
            return Err(TrustRefusal::TooLittle {
                wanted,
                least,
                tier: assessment.tier,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_record::KeyBinding;
    use crate::origin::OriginRanges;
    use crate::trail::DnsEvidence;
    use edge_types::{ChainId, Hop, HopReply, IepId, IepOrigin, MonotonicTime};

    const SLACK: Duration = Duration::from_millis(5);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ms(milliseconds: u64) -> Rtt {
        Rtt(Duration::from_millis(milliseconds))
    }

    fn candidate() -> IepCandidate {
        IepCandidate {
            id: IepId {
                host: "s.isp.example".parse().unwrap(),
                port: 80,
            },
            zone: "isp.example".parse().unwrap(),
            origin: IepOrigin::Zone("isp.example".parse().unwrap()),
            addresses: vec![address("240.1.0.30")],
            priority: 0,
            weight: 0,
            key: None,
            pins: Vec::new(),
            announces_tls: false,
            profile: None,
            evidence: DnsEvidence {
                service: Security::Insecure,
                addresses: Security::Insecure,
                routers_confirmed: BTreeSet::new(),
            },
            seen_on: [address("240.1.0.1")].into(),
        }
    }

    /// Routers `240.1.0.1`, `.2` and so on, then the site, answer in so many ms.
    fn path(routers: &[u64], site: u64) -> PathObservation {
        let routers = (1u8..).zip(routers);
        let mut hops: Vec<Hop> = routers
            .map(|(n, rtt)| Hop::Reply(HopReply::new(IpAddr::from([240, 1, 0, n]), ms(*rtt))))
            .collect();
        hops.push(Hop::Reply(HopReply::new(address("240.1.0.30"), ms(site))));
        PathObservation {
            target: address("240.1.0.30"),
            observed_at: MonotonicTime::ZERO,
            hops,
            further: Vec::new(),
            end: PathEnd::Reached,
            probes_sent: 4,
        }
    }

    fn assessed(candidate: &IepCandidate) -> Assessment {
        assess(candidate, address("240.1.0.30"), None, &Position::default())
    }

    fn place(path: &PathObservation) -> Position {
        position(path, &candidate().seen_on, &BTreeMap::new(), SLACK)
    }

    #[test]
    fn names_alone_are_unverified() {
        let found = assessed(&candidate());
        assert_eq!((found.tier, found.signs), (Tier::Unverified, vec![]));
    }

    #[test]
    fn each_sign_alone_lifts_to_measured() {
        let mut signed = candidate();
        signed.evidence.service = Security::Secure;
        assert_eq!(
            assessed(&signed).tier,
            Tier::Unverified,
            "addresses are not"
        );
        signed.evidence.addresses = Security::Secure;
        assert_eq!(assessed(&signed).signs, [Sign::SignedService]);

        let mut confirmed = candidate();
        let router = address("240.1.0.1");
        confirmed.evidence.routers_confirmed.insert(router);
        assert_eq!(
            assessed(&confirmed).signs,
            [Sign::RouterConfirmed { router }]
        );

        let at = address("240.1.0.30");
        let near = assess(&candidate(), at, None, &place(&path(&[20], 22)));
        for found in [assessed(&signed), assessed(&confirmed), near] {
            assert_eq!(found.tier, Tier::Measured);
        }
    }

    #[test]
    fn one_network_must_announce_both() {
        let at = address("240.1.0.30");
        let with = |table: &str| {
            let table = OriginRanges::read(table);
            assess(&candidate(), at, Some(&table), &Position::default()).signs
        };
        let router = address("240.1.0.1");
        assert_eq!(
            with("240.1.0.0/24 7"),
            [Sign::SameOrigin { router, asn: 7 }]
        );
        assert_eq!(with("240.1.0.0/28 7\n240.1.0.16/28 8"), []);
        assert_eq!(with("240.1.0.16/28 8"), []);
    }

    #[test]
    fn a_signed_key_authenticates_and_an_unsigned_one_does_nothing() {
        let mut with_key = candidate();
        let key = KeyBinding {
            address: "0x00000000000000000000000000000000000000aa"
                .parse()
                .unwrap(),
            chain: ChainId(1),
            authenticated: false,
            published_at: "isp.example".parse().unwrap(),
        };
        with_key.key = Some(key.clone());
        assert_eq!(assessed(&with_key).tier, Tier::Unverified);
        with_key.key = Some(KeyBinding {
            authenticated: true,
            ..key
        });
        assert_eq!(assessed(&with_key).tier, Tier::Authenticated);
    }

    #[test]
    fn a_site_counts_as_behind_its_router_only_on_the_way_and_near() {
        assert!(place(&path(&[20], 25)).behind.is_some());
        assert_eq!(place(&path(&[20], 26)), Position::default(), "too far");
        let other = [address("240.9.9.9")].into();
        let found = position(&path(&[20], 22), &other, &BTreeMap::new(), SLACK);
        assert_eq!(found, Position::default(), "not through the router");
        let mut unreached = path(&[20], 22);
        unreached.end = PathEnd::Silent;
        assert_eq!(place(&unreached), Position::default());
        // Another path knows the router to be nearer.
        let least = [(address("240.1.0.1"), ms(10))].into();
        let found = position(&path(&[20], 22), &candidate().seen_on, &least, SLACK);
        assert_eq!(found, Position::default());
    }

    #[test]
    fn nobody_answers_before_the_routers_on_the_way() {
        let found = place(&path(&[20, 40, 42], 3));
        let objection = Objection::NearerThanItsPath {
            site_rtt: ms(3),
            routers_rtt: ms(40),
        };
        assert_eq!(found.objection, Some(objection));
        assert_eq!(found.behind, None);
        // One slow router is no proof.
        assert_eq!(place(&path(&[20, 21, 90], 22)).objection, None);
        assert_eq!(place(&path(&[2], 1)).objection, None);

        let mut signed = candidate();
        signed.evidence.service = Security::Secure;
        signed.evidence.addresses = Security::Secure;
        let assessment = assess(&signed, address("240.1.0.30"), None, &found);
        let open = TrustPolicy {
            contact: Tier::Unverified,
            trial: Tier::Unverified,
            money: Tier::Unverified,
        };
        assert_eq!(
            open.check(Use::Contact, &assessment),
            Err(TrustRefusal::Objection(objection))
        );
    }

    #[test]
    fn by_default_all_are_greeted_and_only_authenticated_ones_are_paid() {
        let policy = TrustPolicy::default();
        let with = |tier| Assessment {
            tier,
            signs: Vec::new(),
            objection: None,
        };
        assert!(policy.check(Use::Contact, &with(Tier::Unverified)).is_ok());
        for wanted in [Use::Trial, Use::Money] {
            assert!(policy.check(wanted, &with(Tier::Measured)).is_err());
            assert!(policy.check(wanted, &with(Tier::Authenticated)).is_ok());
        }
    }
}
