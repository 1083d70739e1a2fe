//! A provider, its buyers, and what they deal in.

use edge_negotiation::SiteTerms;
use edge_types::{
    AgreementId, Amount, ChainAddress, ChainId, Guarantee, HardwareProfile, Hash32, IepId, IpNet,
    Preferences, Receipt, ResourceLimits, Settlement, Signature, SlaTerms, Slot, UtcTime,
};

use crate::world::Chance;

pub(crate) const PROVIDER: ChainAddress = ChainAddress([0xee; 20]);
pub(crate) const ARBITER: ChainAddress = ChainAddress([0xab; 20]);
pub(crate) const ESCROW: (ChainId, ChainAddress) = (ChainId(1337), ChainAddress([0xcc; 20]));
pub(crate) const START: u64 = 1_000_000;
pub(crate) const LEASE: HardwareProfile = HardwareProfile {
    milli_cpu: 500,
    memory_bytes: 100,
    pids: 10,
};
pub(crate) const LIMITS: ResourceLimits = ResourceLimits {
    milli_cpu: 500,
    memory_bytes: 100,
    pids: 10,
};

pub(crate) fn site() -> IepId {
    IepId {
        host: "edge.isp.example".parse().unwrap(),
        port: 80,
    }
}

/// `answer_seconds` of 0: confirmed by signature, as part of the reservation; else on the ledger.
pub(crate) fn terms(leases: u32, answer_seconds: u32, has_arbiter: bool) -> SiteTerms {
    SiteTerms {
        site: site(),
        provider: PROVIDER,
        capacity: HardwareProfile {
            milli_cpu: 500 * leases,
            memory_bytes: 100 * u64::from(leases),
            pids: 10 * leases,
        },
        price_per_second: Amount::wei(100),
        sla: SlaTerms {
            text_hash: Hash32([1; 32]),
            availability_ppm: 950_000,
            receipt_interval_seconds: 10,
            notice_seconds: 5,
            round_trip_ms: 0,
        },
        conditions: edge_types::SiteConditions::default(),
        guarantee: Guarantee {
            answer_seconds,
            arbiter: has_arbiter.then_some(ARBITER),
            ..Guarantee::default()
        },
        settlement: Settlement::Escrow {
            chain: ESCROW.0,
            contract: ESCROW.1,
        },
        accepts: true,
    }
}

/// The network of a buyer.
pub(crate) fn source(buyer: u8) -> IpNet {
    format!("192.0.{buyer}.0/24").parse().unwrap()
}

pub(crate) fn preferences(buyer: u8, slot: Slot) -> Preferences {
    Preferences {
        application: "shop".to_owned(),
        buyer: ChainAddress([buyer; 20]),
        slot,
        hardware: LEASE,
        price_ceiling_per_second: Amount::wei(100),
        expected_requests_per_second: 1,
        conditions: edge_types::WantedConditions::default(),
    }
}

pub(crate) fn slot(start: u64, end: u64) -> Slot {
    Slot {
        start: UtcTime(START + start),
        end: UtcTime(START + end),
    }
}
pub(crate) const fn receipt(agreement: AgreementId, due: Amount) -> Receipt {
    Receipt {
        agreement,
        due,
        signature: Signature([2; 65]),
    }
}

/// What a buyer is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    Honest,
    /// Is gone for good at some time of the service.
    Vanishes,
    /// Finds that the site does not answer when it does.
    Sceptic,
}

impl Habit {
    /// Does it take a good answer for such? `doubts`: how many in a row it did not.
    pub(crate) fn believes(self, chance: &mut Chance, doubts: u32) -> bool {
        match (self, doubts) {
            // Two in a row, since one alone counts for nothing and three end the service.
            (Self::Sceptic, 1) => false,
            (Self::Sceptic, 2..) => true,
            (Self::Sceptic, 0) => chance.percent(60),
            _ => chance.percent(97),
        }
    }
}
