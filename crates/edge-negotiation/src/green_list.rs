//! Is an offer fair? (paper section 2.3: "whether the orchestrator accepts the contract and finds offer by IEP fair, it
//! green-lists the IEP").

use std::collections::{BTreeMap, BTreeSet};

use edge_types::{
    Amount, ChainAddress, ChainId, ConditionMismatch, HardwareProfile, Hash32, IepId, Offer,
    Settlement, Slot, UtcTime, WantedConditions,
};

use crate::escrow::{MAX_CONFIRM_SECONDS, MAX_HORIZON_SECONDS};

/// How a provider's key is tied to the zone in which its entry point was found (security rule 6). Later is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyBinding {
    /// Not at all: whoever answered at the address claims the key.
    None,
    /// A record of the zone names the key, without DNSSEC.
    Dns,
    /// A record of the zone names the key, and DNSSEC proves it.
    Dnssec,
}

/// What the caller found out about an offer by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The id is the digest of the terms, and the provider in the offer signed it.
    pub signature_verified: bool,
    /// How the provider's key is tied to the zone.
    pub key_binding: KeyBinding,
    /// The entry point that was asked.
    pub site: IepId,
}

/// What an orchestrator accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GreenListPolicy {
    /// The wanted period; the offered slot must cover it.
    pub wanted: Slot,
    /// The least hardware that the edge service needs.
    pub need: HardwareProfile,
    /// The most that a second of the wanted period may cost, and times its seconds the most that the slot may cost.
    pub price_ceiling_per_second: Amount,
    /// The escrow that we pay into, if any.
    pub escrow: Option<(ChainId, ChainAddress)>,
    /// Providers that we paid in advance, and how much in all, smallest units of the ceiling's asset. Their keys are known.
    pub partners: BTreeMap<ChainAddress, u128>,
    /// Are offers fair that people have to talk about first?
    pub accepts_contact: bool,
    /// Least promised availability, parts per million.
    pub min_availability_ppm: u32,
    /// A round trip of at most this many milliseconds has to be promised; 0: none.
    pub max_round_trip_ms: u32,
    /// Longest acceptable notice period, seconds: time that is paid but serves nobody.
    pub max_notice_seconds: u32,
    /// Shortest acceptable time between receipts, seconds; each costs a request.
    pub min_receipt_interval_seconds: u32,
    /// Longest acceptable time between receipts, seconds, where a quarter of the slot is not less: the escrow pays up to one
    /// interval for nothing but silence or a claim.
    pub max_receipt_interval_seconds: u32,
    /// What else is needed of the site. What it says of itself is its provider's word alone; that it is somewhere else by
    /// that word is enough to refuse it.
    pub conditions: WantedConditions,
    /// Texts of agreements and content policies that somebody read and accepted, by keccak-256; `None` accepts any.
    pub accepted_texts: Option<BTreeSet<Hash32>>,
    /// Who may rule on disputes beside nobody; a provider's own choice of judge is accepted only from this list.
    pub accepted_arbiters: BTreeSet<ChainAddress>,
    /// The least that a provider has to stake on an agreement, in the asset of the price.
    pub min_stake: u128,
    /// The weakest binding of the key to the zone with which money may move.
    pub min_key_binding: KeyBinding,
}

impl GreenListPolicy {
    /// A policy for `wanted`, `need` and a price, with the defaults for the rest: 90 % availability, notice of at most
    /// 60 s, receipts every 5 s to 5 minutes, anywhere, any text, keys bound by DNSSEC.
    pub const fn new(
        wanted: Slot,
        need: HardwareProfile,
        price_ceiling_per_second: Amount,
        escrow: Option<(ChainId, ChainAddress)>,
    ) -> Self {
        Self {
            wanted,
            need,
            price_ceiling_per_second,
            escrow,
            partners: BTreeMap::new(),
            accepts_contact: false,
            min_availability_ppm: 900_000,
            max_round_trip_ms: 0,
            max_notice_seconds: 60,
            min_receipt_interval_seconds: 5,
            max_receipt_interval_seconds: 300,
            conditions: WantedConditions {
                regions: BTreeSet::new(),
                tee: BTreeSet::new(),
                content: BTreeSet::new(),
            },
            accepted_texts: None,
            accepted_arbiters: BTreeSet::new(),
            min_stake: 0,
            min_key_binding: KeyBinding::Dnssec,
        }
    }
}

/// Why an offer is not green-listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GreenListRefusal {
    /// Nobody is known to have signed it.
    #[error("the offer's signature does not verify")]
    NotSigned,
    /// It is for another entry point than the one asked.
    #[error("the offer is for {offered}")]
    OtherSite {
        /// The entry point in the offer.
        offered: IepId,
    },
    /// Money moves only to a key bound to the zone.
    #[error("the key is bound to the zone by {found:?}, {required:?} is required")]
    KeyNotBound {
        /// How it is bound.
        found: KeyBinding,
        /// The least that the policy asks for.
        required: KeyBinding,
    },
    /// It has expired.
    #[error("the offer expired {seconds_ago} s ago")]
    Expired {
        /// Seconds since.
        seconds_ago: u64,
    },
    /// People have to talk first.
    #[error("the provider wants to be contacted")]
    ContactOnly,
    /// It is to be paid into an escrow other than ours.
    #[error("the offer is for another escrow")]
    OtherEscrow,
    /// It is to be paid out of what was paid in advance, and nothing was.
    #[error("paid out of an allowance, and no partner with one is configured for {0}")]
    NoAllowance(ChainAddress),
    /// It costs more than was ever paid in advance.
    #[error("{price} units to pay out of an allowance of {allowance}")]
    AllowanceTooSmall {
        /// Of the whole slot.
        price: u128,
        /// Paid in advance in all.
        allowance: u128,
    },
    /// It is made to somebody else.
    #[error("the offer is made to {0}")]
    OtherBuyer(ChainAddress),
    /// The ledger would refuse it, a chain for a fee.
    #[error("no ledger takes an offer whose {0}")]
    NotPayable(&'static str),
    /// The slot does not cover the wanted period.
    #[error("the slot does not cover the wanted period")]
    SlotTooShort,
    /// The hardware is not enough.
    #[error("the hardware does not cover the need")]
    HardwareTooSmall,
    /// By its provider's own word the site is not what is needed, or does not take what the application has.
    #[error(transparent)]
    Conditions(ConditionMismatch),
    /// The slot costs too much, or in another asset.
    #[error("the slot costs more than the ceiling")]
    TooExpensive,
    /// Promised availability too low.
    #[error("{offered} ppm availability promised, {required} required")]
    AvailabilityTooLow {
        /// Promised.
        offered: u32,
        /// Required.
        required: u32,
    },
    /// No round trip is promised, or too long a one.
    #[error("a round trip of {offered} ms promised (0: none), at most {limit} ms accepted")]
    RoundTripTooLong {
        /// Promised, milliseconds; 0 for none.
        offered: u32,
        /// Accepted, milliseconds.
        limit: u32,
    },
    /// Too much of the slot is notice period.
    #[error("a notice period of {offered} s, at most {limit} accepted")]
    NoticeTooLong {
        /// Offered.
        offered: u32,
        /// Accepted.
        limit: u32,
    },
    /// Receipts wanted too often.
    #[error("a receipt every {offered} s wanted, {limit} s at the least accepted")]
    ReceiptsTooOften {
        /// Offered.
        offered: u32,
        /// Accepted.
        limit: u32,
    },
    /// Receipts wanted too seldom: too much would be paid for silence.
    #[error("a receipt every {offered} s wanted, {limit} s at the most accepted")]
    ReceiptsTooRare {
        /// Offered.
        offered: u32,
        /// Accepted.
        limit: u32,
    },
    /// A judge that nobody of ours accepted.
    #[error("disputes would be ruled by {0}, who was not accepted by anybody")]
    UnknownArbiter(ChainAddress),
    /// Too little at stake.
    #[error("a stake of {offered}, at least {required} required")]
    StakeTooLow {
        /// Offered, smallest units of the price's asset.
        offered: u128,
        /// Required.
        required: u128,
    },
    /// A text of the agreement, or of the site's content policy, that nobody accepted.
    #[error("the text {0} of the agreement or content policy was not accepted by anybody")]
    UnknownText(Hash32),
}

/// An offer that passed [`green_list`]: the only kind that is ever paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GreenListed(Offer);

impl GreenListed {
    /// The offer.
    pub const fn offer(&self) -> &Offer {
        &self.0
    }

    /// An offer that passed in an earlier process.
    pub(crate) const fn again(offer: Offer) -> Self {
        Self(offer)
    }
}

/// Checks an offer that `buyer` would pay against the policy, most damaging first.
pub fn green_list(
    offer: Offer,
    evidence: &Evidence,
    policy: &GreenListPolicy,
    buyer: ChainAddress,
    now: UtcTime,
) -> Result<GreenListed, GreenListRefusal> {
    use GreenListRefusal as Refusal;
    if !evidence.signature_verified {
        return Err(Refusal::NotSigned);
    }
    if offer.site != evidence.site {
        return Err(Refusal::OtherSite {
            offered: offer.site,
        });
    }
    match &offer.settlement {
        Settlement::Contact(_) if !policy.accepts_contact => return Err(Refusal::ContactOnly),
        Settlement::Escrow { chain, contract } if policy.escrow != Some((*chain, *contract)) => {
            return Err(Refusal::OtherEscrow);
        }
        Settlement::Escrow { .. } | Settlement::Contact(_) => {}
        Settlement::Allowance => covered(&offer, policy)?,
    }
    // Who was paid in advance is known by its key, and people look whom they deal with.
    let is_known = offer.settlement.is_local();
    if let Some(other) = offer.buyer.filter(|other| *other != buyer) {
        return Err(Refusal::OtherBuyer(other));
    }
    if !is_known && evidence.key_binding < policy.min_key_binding {
        return Err(Refusal::KeyNotBound {
            found: evidence.key_binding,
            required: policy.min_key_binding,
        });
    }
    if offer.expires < now {
        return Err(Refusal::Expired {
            seconds_ago: now.seconds_since(offer.expires),
        });
    }
    if u64::from(offer.guarantee.answer_seconds) > MAX_CONFIRM_SECONDS {
        return Err(Refusal::NotPayable("answer may come after ten minutes"));
    }
    if offer.slot.end > now.plus_seconds(MAX_HORIZON_SECONDS) {
        return Err(Refusal::NotPayable("slot ends more than a year ahead"));
    }
    if offer.slot.start > policy.wanted.start || offer.slot.end < policy.wanted.end {
        return Err(Refusal::SlotTooShort);
    }
    if !offer.hardware.covers(&policy.need) {
        return Err(Refusal::HardwareTooSmall);
    }
    offer
        .conditions
        .check(&policy.conditions)
        .map_err(Refusal::Conditions)?;
    let ceiling = policy.price_ceiling_per_second;
    let affordable = offer.price_per_second.asset == ceiling.asset
        && match (
            offer.price_per_second.times(offer.slot.seconds()),
            ceiling.times(policy.wanted.seconds()),
        ) {
            (Ok(price), Ok(most)) => price.units <= most.units,
            _ => false,
        };
    if !affordable {
        return Err(Refusal::TooExpensive);
    }
    let sla = &offer.sla;
    if sla.availability_ppm < policy.min_availability_ppm {
        return Err(Refusal::AvailabilityTooLow {
            offered: sla.availability_ppm,
            required: policy.min_availability_ppm,
        });
    }
    let most = policy.max_round_trip_ms;
    if most > 0 && !(1..=most).contains(&sla.round_trip_ms) {
        return Err(Refusal::RoundTripTooLong {
            offered: sla.round_trip_ms,
            limit: most,
        });
    }
    if sla.notice_seconds > policy.max_notice_seconds
        || u64::from(sla.notice_seconds) >= offer.slot.seconds()
    {
        return Err(Refusal::NoticeTooLong {
            offered: sla.notice_seconds,
            limit: policy.max_notice_seconds,
        });
    }
    if sla.receipt_interval_seconds < policy.min_receipt_interval_seconds {
        return Err(Refusal::ReceiptsTooOften {
            offered: sla.receipt_interval_seconds,
            limit: policy.min_receipt_interval_seconds,
        });
    }
    let quarter = u32::try_from(offer.slot.seconds() / 4).unwrap_or(u32::MAX);
    let most = policy
        .max_receipt_interval_seconds
        .min(quarter)
        .max(policy.min_receipt_interval_seconds);
    if sla.receipt_interval_seconds > most {
        return Err(Refusal::ReceiptsTooRare {
            offered: sla.receipt_interval_seconds,
            limit: most,
        });
    }
    if let Some(arbiter) = offer.guarantee.arbiter
        && !policy.accepted_arbiters.contains(&arbiter)
    {
        return Err(Refusal::UnknownArbiter(arbiter));
    }
    if offer.guarantee.stake < policy.min_stake {
        return Err(Refusal::StakeTooLow {
            offered: offer.guarantee.stake,
            required: policy.min_stake,
        });
    }
    if let Some(accepted) = &policy.accepted_texts {
        let texts = [Some(sla.text_hash), offer.conditions.content.text_hash];
        let mut unknown = texts
            .into_iter()
            .flatten()
            .filter(|text| !accepted.contains(text));
        if let Some(text) = unknown.next() {
            return Err(Refusal::UnknownText(text));
        }
    }
    Ok(GreenListed(offer))
}

/// Can an offer out of an allowance be paid out of ours?
fn covered(offer: &Offer, policy: &GreenListPolicy) -> Result<(), GreenListRefusal> {
    use GreenListRefusal as Refusal;
    let allowance = policy.partners.get(&offer.provider);
    let allowance = *allowance.ok_or(Refusal::NoAllowance(offer.provider))?;
    if offer.guarantee.answer_seconds != 0 {
        return Err(Refusal::NotPayable("answer comes after the payment"));
    }
    if offer.guarantee.stake != 0 {
        return Err(Refusal::NotPayable("stake nobody holds"));
    }
    let price = offer.price_per_second.times(offer.slot.seconds());
    let price = price.map_or(u128::MAX, |price| price.units);
    if price > allowance {
        return Err(Refusal::AllowanceTooSmall { price, allowance });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use edge_types::{Asset, Guarantee, OfferId, Signature, SiteConditions, SlaTerms};

    use super::*;

    const ESCROW: (ChainId, ChainAddress) = (ChainId(1337), ChainAddress([4; 20]));

    const BUYER: ChainAddress = ChainAddress([7; 20]);

    fn site() -> IepId {
        IepId {
            host: "edge.isp.example".parse().unwrap(),
            port: 80,
        }
    }

    fn offer() -> Offer {
        Offer {
            id: OfferId([1; 32]),
            provider: ChainAddress([2; 20]),
            buyer: None,
            site: site(),
            slot: Slot {
                start: UtcTime(1_000),
                end: UtcTime(1_100),
            },
            hardware: need(),
            price_per_second: Amount::wei(10),
            sla: SlaTerms {
                text_hash: Hash32([3; 32]),
                availability_ppm: 950_000,
                receipt_interval_seconds: 10,
                notice_seconds: 10,
                round_trip_ms: 0,
            },
            guarantee: Guarantee::default(),
            conditions: SiteConditions::default(),
            settlement: Settlement::Escrow {
                chain: ESCROW.0,
                contract: ESCROW.1,
            },
            expires: UtcTime(900),
            nonce: Hash32([5; 32]),
            signature: Signature([6; 65]),
        }
    }

    const fn need() -> HardwareProfile {
        HardwareProfile {
            milli_cpu: 500,
            memory_bytes: 1 << 26,
            pids: 16,
        }
    }

    fn policy() -> GreenListPolicy {
        GreenListPolicy {
            accepted_texts: Some(BTreeSet::from([Hash32([3; 32])])),
            ..GreenListPolicy::new(offer().slot, need(), Amount::wei(10), Some(ESCROW))
        }
    }

    fn evidence() -> Evidence {
        Evidence {
            signature_verified: true,
            key_binding: KeyBinding::Dnssec,
            site: site(),
        }
    }

    fn check(
        change: impl FnOnce(&mut Offer, &mut Evidence, &mut GreenListPolicy),
    ) -> Result<(), GreenListRefusal> {
        let (mut offer, mut evidence, mut policy) = (offer(), evidence(), policy());
        change(&mut offer, &mut evidence, &mut policy);
        green_list(offer, &evidence, &policy, BUYER, UtcTime(900)).map(drop)
    }

    #[test]
    fn a_fair_offer_passes_and_each_flaw_has_its_reason() {
        use GreenListRefusal as R;
        assert_eq!(check(|_, _, _| {}), Ok(()));
        assert_eq!(
            check(|_, e, _| e.signature_verified = false),
            Err(R::NotSigned)
        );
        let other = IepId { port: 81, ..site() };
        assert_eq!(
            check(|o, _, _| o.site.port = 81),
            Err(R::OtherSite { offered: other })
        );
        assert_eq!(
            check(|o, _, _| o.settlement = Settlement::Contact("us".to_owned())),
            Err(R::ContactOnly)
        );
        let by_contact = check(|o, _, p| {
            o.settlement = Settlement::Contact("us".to_owned());
            p.accepts_contact = true;
        });
        assert_eq!(by_contact, Ok(()), "people may talk about it");
        assert_eq!(
            check(|_, _, p| p.escrow = Some((ChainId(1), ESCROW.1))),
            Err(R::OtherEscrow)
        );
        assert_eq!(
            check(|o, _, _| o.expires = UtcTime(899)),
            Err(R::Expired { seconds_ago: 1 })
        );
        assert_eq!(
            check(|o, _, _| o.slot.start = UtcTime(1_001)),
            Err(R::SlotTooShort)
        );
        assert_eq!(
            check(|o, _, _| o.slot.end = UtcTime(1_099)),
            Err(R::SlotTooShort)
        );
        assert_eq!(
            check(|o, _, _| o.hardware.pids = 15),
            Err(R::HardwareTooSmall)
        );
        assert_eq!(
            check(|_, _, p| p.conditions.tee.extend(["tdx".parse().unwrap()])),
            Err(R::Conditions(ConditionMismatch::NoTee))
        );
        assert_eq!(
            check(|o, _, p| {
                let mining: edge_types::ContentCategory = "mining".parse().unwrap();
                o.conditions.content.refuses.insert(mining.clone());
                p.conditions.content.insert(mining);
            }),
            Err(R::Conditions(ConditionMismatch::Content(
                "mining".parse().unwrap()
            )))
        );
        assert_eq!(
            check(|o, _, _| o.conditions.content.text_hash = Some(Hash32([8; 32]))),
            Err(R::UnknownText(Hash32([8; 32])))
        );
        assert_eq!(
            check(|o, _, _| o.price_per_second.units = 11),
            Err(R::TooExpensive)
        );
        assert_eq!(
            check(|o, _, _| o.slot.end = UtcTime(1_101)),
            Err(R::TooExpensive)
        );
        assert_eq!(
            check(|o, _, _| o.price_per_second.asset = Asset::Token(ChainAddress([0; 20]))),
            Err(R::TooExpensive)
        );
        assert_eq!(
            check(|o, _, _| o.price_per_second.units = u128::MAX),
            Err(R::TooExpensive)
        );
        assert_eq!(
            check(|o, _, _| o.sla.availability_ppm = 1),
            Err(R::AvailabilityTooLow {
                offered: 1,
                required: 900_000
            })
        );
        for offered in [0, 31] {
            let limit = 30;
            assert_eq!(
                check(|o, _, p| {
                    p.max_round_trip_ms = limit;
                    o.sla.round_trip_ms = offered;
                }),
                Err(R::RoundTripTooLong { offered, limit })
            );
        }
        assert_eq!(
            check(|o, _, _| o.sla.notice_seconds = 61),
            Err(R::NoticeTooLong {
                offered: 61,
                limit: 60
            })
        );
        assert_eq!(
            check(|o, _, _| o.sla.receipt_interval_seconds = 1),
            Err(R::ReceiptsTooOften {
                offered: 1,
                limit: 5
            })
        );
        assert_eq!(
            check(|o, _, _| o.sla.receipt_interval_seconds = 26),
            Err(R::ReceiptsTooRare {
                offered: 26,
                limit: 25
            }),
            "a quarter of the deposit for silence"
        );
        assert_eq!(
            check(|o, _, p| {
                o.sla.receipt_interval_seconds = 21;
                p.max_receipt_interval_seconds = 20;
            }),
            Err(R::ReceiptsTooRare {
                offered: 21,
                limit: 20
            })
        );
        assert_eq!(
            check(|o, _, _| o.guarantee.arbiter = Some(o.provider)),
            Err(R::UnknownArbiter(ChainAddress([2; 20]))),
            "a provider that would be its own judge"
        );
        assert_eq!(
            check(|_, _, p| p.min_stake = 1),
            Err(R::StakeTooLow {
                offered: 0,
                required: 1
            })
        );
        assert_eq!(
            check(|o, _, _| o.sla.text_hash = Hash32([9; 32])),
            Err(R::UnknownText(Hash32([9; 32])))
        );
    }

    /// Bait: offers that look fair, and that the escrow refuses after the buyer has paid for the gas.
    #[test]
    fn what_the_escrow_would_refuse_is_not_green_listed() {
        use GreenListRefusal as R;
        let other = ChainAddress([8; 20]);
        assert_eq!(check(|o, _, _| o.buyer = Some(BUYER)), Ok(()));
        assert_eq!(
            check(|o, _, _| o.buyer = Some(other)),
            Err(R::OtherBuyer(other))
        );
        assert_eq!(check(|o, _, _| o.guarantee.answer_seconds = 600), Ok(()));
        assert!(matches!(
            check(|o, _, _| o.guarantee.answer_seconds = 601),
            Err(R::NotPayable(_))
        ));
        let free = |end| {
            check(|o, _, p| {
                o.price_per_second.units = 0;
                o.slot.end = UtcTime(end);
                p.price_ceiling_per_second.units = 0;
            })
        };
        let year = 900 + MAX_HORIZON_SECONDS;
        assert_eq!(free(year), Ok(()));
        assert!(matches!(free(year + 1), Err(R::NotPayable(_))));
    }

    #[test]
    fn an_allowance_pays_only_a_partner_and_only_what_it_covers() {
        use GreenListRefusal as R;
        let provider = offer().provider;
        let check = |paid: Option<u128>, change: fn(&mut Offer)| {
            check(|o, e, p| {
                o.settlement = Settlement::Allowance;
                e.key_binding = KeyBinding::None;
                p.escrow = None;
                p.partners.extend(paid.map(|units| (provider, units)));
                change(o);
            })
        };
        assert_eq!(check(None, |_| {}), Err(R::NoAllowance(provider)));
        assert_eq!(check(Some(1_000), |_| {}), Ok(()));
        let (price, allowance) = (1_000, 999);
        assert_eq!(
            check(Some(999), |_| {}),
            Err(R::AllowanceTooSmall { price, allowance })
        );
        let answers_later = check(Some(1_000), |o| o.guarantee.answer_seconds = 1);
        assert!(matches!(answers_later, Err(R::NotPayable(_))));
        let staked = check(Some(1_000), |o| o.guarantee.stake = 1);
        assert!(matches!(staked, Err(R::NotPayable(_))));
        let on_chain = check(Some(1_000), |o| {
            o.settlement = Settlement::Escrow {
                chain: ESCROW.0,
                contract: ESCROW.1,
            };
        });
        assert_eq!(on_chain, Err(R::OtherEscrow), "no chain, no escrow");
    }

    /// Security rule 6: over plain DNS the default refuses, and an operator can say otherwise.
    #[test]
    fn money_moves_only_to_a_key_bound_to_the_zone() {
        use KeyBinding::{Dns, Dnssec, None};
        let refused = |found, required| Err(GreenListRefusal::KeyNotBound { found, required });
        let check = |binding, least| {
            check(|_, evidence, policy| {
                evidence.key_binding = binding;
                policy.min_key_binding = least;
            })
        };
        assert_eq!(check(None, Dnssec), refused(None, Dnssec));
        assert_eq!(check(Dns, Dnssec), refused(Dns, Dnssec));
        assert_eq!(check(None, Dns), refused(None, Dns));
        assert_eq!(check(Dns, Dns), Ok(()));
        assert_eq!(check(Dnssec, Dns), Ok(()));
    }
}
