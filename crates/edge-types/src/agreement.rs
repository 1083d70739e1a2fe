//! Agreements as the ledger knows them.

use crate::chain::{AgreementId, ChainAddress, Hash32, Signature};
use crate::money::Amount;
use crate::offer::Slot;
use crate::time::{ChainTime, UtcTime};

/// Where an agreement stands on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgreementState {
    /// The buyer's money is in escrow and the provider has not answered.
    Proposed,
    /// The provider accepted; the slot is sold.
    Confirmed,
    /// The provider asked for more than the buyer's receipts; the buyer can deny it until the deadline.
    Claimed,
    /// The claim is denied: the arbiter rules until the deadline, or time does after it.
    Disputed,
    /// The provider declined; the money was credited back.
    Rejected,
    /// The provider did not answer in time; the money was credited back.
    Expired,
    /// The money was divided for good.
    Settled,
}

impl AgreementState {
    /// Can nothing change any more?
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Rejected | Self::Expired | Self::Settled)
    }
}

/// An agreement as read from the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreementRecord {
    /// Its id, also that of the offer it consumed.
    pub id: AgreementId,
    /// Who paid in.
    pub buyer: ChainAddress,
    /// Who is paid.
    pub provider: ChainAddress,
    /// The period sold.
    pub slot: Slot,
    /// keccak-256 of the site's entry point as `host:port`.
    pub site_hash: Hash32,
    /// Price of one second.
    pub price_per_second: Amount,
    /// What was paid in.
    pub deposit: Amount,
    /// Where it stands.
    pub state: AgreementState,
    /// Proposed: last second for the provider's answer; claimed: for the buyer's denial; disputed: for the arbiter's
    /// ruling. After it anyone can close.
    pub deadline: Option<ChainTime>,
    /// When the service ends: the end of the slot, or an earlier stop of which the provider gave notice.
    pub ends_at: UtcTime,
    /// What the provider claims, while it is claimed or disputed.
    pub claim: Option<Claim>,
    /// What the provider got, net of the burned share; zero until settled.
    pub released: Amount,
    /// What went back to the buyer; zero until settled, rejected or expired.
    pub refunded: Amount,
    /// What was burned; zero until settled.
    pub burned: Amount,
}

/// What a provider asks for beyond the buyer's receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What the buyer acknowledged by the receipt that came with it.
    pub floor: Amount,
    /// What is claimed in all.
    pub amount: Amount,
}

/// What the escrow keeps of one account in one asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EscrowAccount {
    /// What it can withdraw.
    pub credit: Amount,
    /// What was burned of its earnings, less what it lost or used up of that; in a dispute each unit can move one unit.
    pub reputation: Amount,
    /// Stake that it can take back.
    pub free_stake: Amount,
    /// Stake that running agreements hold.
    pub locked_stake: Amount,
}

/// The escrow's own sums over all agreements and stakes in one asset. `deposited = released + refunded + burned + held`, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EscrowTotals {
    /// Everything ever paid in.
    pub deposited: Amount,
    /// Everything ever credited to providers.
    pub released: Amount,
    /// Everything ever credited back to buyers.
    pub refunded: Amount,
    /// Everything ever burned.
    pub burned: Amount,
    /// What is in escrow now.
    pub held: Amount,
}

/// Why a provider says no; each with the numbers it rests on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    /// Another agreement or reservation has the slot.
    #[error("the slot is taken")]
    SlotTaken,
    /// The offer is past its expiry.
    #[error("the offer expired {seconds_ago} s ago")]
    OfferExpired {
        /// Seconds since the expiry.
        seconds_ago: u64,
    },
    /// No offer, reservation or agreement of this id is known here.
    #[error("unknown {what}")]
    Unknown {
        /// `offer`, `reservation` or `agreement`.
        what: &'static str,
    },
    /// The hardware asked for is not left.
    #[error("not enough {resource} left")]
    Capacity {
        /// `cpu`, `memory` or `pids`.
        resource: &'static str,
    },
    /// The buyer holds too many unfunded reservations (rule 8).
    #[error("{held} unfunded reservations already held, at most {limit}")]
    TooManyReservations {
        /// How many are held.
        held: u32,
        /// The cap.
        limit: u32,
    },
    /// The ledger does not show the escrow that the buyer claims, or not for these terms.
    #[error("the ledger does not show this agreement as funded on the offered terms")]
    NotFunded,
    /// The request was not signed by the key that pays, or replayed, or for another chain or provider.
    #[error("not authorised: {detail}")]
    NotAuthorised {
        /// Which check failed.
        detail: &'static str,
    },
    /// A generation older than the one in force.
    #[error("generation {offered} is older than {current}")]
    StaleGeneration {
        /// What was sent.
        offered: u64,
        /// What is in force.
        current: u64,
    },
    /// The provider's content or image policy refuses the workload.
    #[error("refused by policy: {detail}")]
    Policy {
        /// Which rule.
        detail: &'static str,
    },
}

/// The words that refusals use for what exactly failed; on the wire other words become `unspecified`.
pub mod detail {
    /// The signature headers are missing or malformed.
    pub const SIGNATURE: &str = "signature missing or malformed";
    /// The request's expiry is past or too far ahead.
    pub const EXPIRY: &str = "request expired or valid for too long";
    /// The signer is not a party of the agreement.
    pub const PARTY: &str = "not signed by a party of the agreement";
    /// The signer is not the one that the ledger shows.
    pub const KEY: &str = "not signed by the key that paid";
    /// The offer was made to another buyer.
    pub const BUYER: &str = "the offer was made to another buyer";
    /// The receipt is not signed by the buyer, or above the deposit.
    pub const RECEIPT: &str = "receipt not signed by the buyer or above the deposit";
    /// The site is configured to reject everything.
    pub const ACCEPTS_NOBODY: &str = "this site accepts no agreements";
    /// A registry or egress address is not one that this provider lets workloads reach.
    pub const ADDRESS: &str = "an address that may not be contacted";
    /// The limits exceed the hardware agreed on.
    pub const LIMITS: &str = "limits above the hardware agreed on";
    /// The price ceiling is below this site's price.
    pub const PRICE: &str = "price ceiling too low";
    /// The period asked for is over, too far ahead, or too short for the notice period.
    pub const SLOT: &str = "period not offered";
    /// The agreement is not in a state, or its slot not in a time, in which this can be done.
    pub const NOT_NOW: &str = "not in this state of the agreement";
    /// This provider keeps as many agreements as it can.
    pub const FULL: &str = "no room for more agreements";

    /// The site is in none of the countries asked for.
    pub const REGION: &str = "not in a country asked for";
    /// The site has none of the trusted execution environments asked for.
    pub const TEE: &str = "no trusted execution environment of a kind asked for";
    /// The site refuses a kind of content that the application has.
    pub const CONTENT: &str = "this site refuses content of a kind that the application has";
    /// The owner of the site does not tell what is offered there.
    pub const NOT_LISTED: &str = "this site does not list its services";

    /// All of them.
    pub const ALL: &[&str] = &[
        SIGNATURE,
        EXPIRY,
        PARTY,
        KEY,
        BUYER,
        RECEIPT,
        ACCEPTS_NOBODY,
        ADDRESS,
        LIMITS,
        PRICE,
        SLOT,
        NOT_NOW,
        FULL,
        REGION,
        TEE,
        CONTENT,
        NOT_LISTED,
    ];
}

/// A party's signed word that the deposit is divided so, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// What the provider gets.
    pub due: Amount,
    /// Its EIP-712 signature.
    pub signature: Signature,
}

/// The buyer's signed word on how much of the deposit the provider has earned so far.
///
/// Cumulative, so that a later receipt replaces an earlier one and a lost receipt loses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The agreement.
    pub agreement: AgreementId,
    /// Everything due up to now, in units of the agreement's asset.
    pub due: Amount,
    /// The buyer's EIP-712 signature.
    pub signature: Signature,
}
