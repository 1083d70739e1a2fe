//! What a provider offers and what an orchestrator asks for (paper section 2.3).

use crate::chain::{ChainAddress, ChainId, Hash32, OfferId, Signature};
use crate::conditions::{SiteConditions, WantedConditions};
use crate::iep::IepId;
use crate::money::Amount;
use crate::time::UtcTime;

/// What the orchestrator tells an IEP in its hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preferences {
    /// The application, as its provider names it; at most 64 octets.
    pub application: String,
    /// The key that would pay.
    pub buyer: ChainAddress,
    /// The wanted period.
    pub slot: Slot,
    /// The least hardware that the edge service needs.
    pub hardware: HardwareProfile,
    /// The most that a second may cost; offers above it are a waste of both sides' time.
    pub price_ceiling_per_second: Amount,
    /// Expected requests per second at this site, rounded; prefixes are told only after confirmation (rule 12).
    pub expected_requests_per_second: u32,
    /// What else is needed of the site, and which content it would get.
    pub conditions: WantedConditions,
}

/// A period of time for which a site can be rented; `start < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// First second.
    pub start: UtcTime,
    /// First second after the slot.
    pub end: UtcTime,
}

impl Slot {
    /// Length in seconds; zero if the slot is malformed.
    pub const fn seconds(&self) -> u64 {
        self.end.seconds_since(self.start)
    }

    /// Do the two periods share a second?
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// A hardware configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HardwareProfile {
    /// Thousandths of a processor.
    pub milli_cpu: u32,
    /// Octets of memory.
    pub memory_bytes: u64,
    /// Largest number of processes and threads.
    pub pids: u32,
}

impl Settlement {
    /// Is the money, or the account of it, nowhere but in the two parties' own books?
    pub const fn is_local(&self) -> bool {
        match self {
            Self::Contact(_) | Self::Allowance => true,
            Self::Escrow { .. } => false,
        }
    }
}

impl HardwareProfile {
    /// Is every part at least as large as in `need`?
    pub const fn covers(&self, need: &Self) -> bool {
        self.milli_cpu >= need.milli_cpu
            && self.memory_bytes >= need.memory_bytes
            && self.pids >= need.pids
    }
}

/// How a provider wants to make the contract (paper section 2.3: contact information, or a smart contract).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// People talk first; how to reach them, at most 256 octets.
    Contact(String),
    /// An escrow contract.
    Escrow {
        /// The chain it lives on.
        chain: ChainId,
        /// Its address there.
        contract: ChainAddress,
    },
    /// Out of what the buyer paid this provider in advance, outside ExEC; each keeps its own book of it.
    Allowance,
}

/// The service level that is promised, and what the payment depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlaTerms {
    /// keccak-256 of the agreement's prose, so that text and parameters stand together (a Ricardian triple).
    pub text_hash: Hash32,
    /// Promised availability in parts per million of the slot.
    pub availability_ppm: u32,
    /// Longest time between two receipts of the buyer.
    pub receipt_interval_seconds: u32,
    /// Time before the end of the slot in which the site only answers "go back to the cloud" (rule 18).
    pub notice_seconds: u32,
    /// Promised round trip between the site and its clients, in milliseconds, as clients see it: in each receipt interval, for half
    /// of the client networks for which the buyer's plan expects less. 0: nothing is promised.
    pub round_trip_ms: u32,
}

/// What stands behind an offer beside the provider's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Guarantee {
    /// How much of the provider's own is locked in the escrow while the agreement lasts, smallest units of the price's
    /// asset.
    pub stake: u128,
    /// Who rules on disputes; `None`: nobody, time splits what is disputed.
    pub arbiter: Option<ChainAddress>,
    /// Within this many seconds the provider answers on the ledger once the money is there, at most 600 (rule 9); 0: it
    /// confirms by signature before the money moves, and takes no money otherwise.
    pub answer_seconds: u32,
}

/// The provider's signed word that an offer's slot is the buyer's if it pays in time. The buyer brings it along with the
/// money, so that it costs the provider no transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// Last second in which the money can come.
    pub until: UtcTime,
    /// The provider's EIP-712 signature over offer, buyer and `until`.
    pub signature: Signature,
}

/// The buyer's signed word that it takes an offer up on the provider's confirmation. Where no chain holds the money, the two
/// signatures are the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// The provider's word that this rests on.
    pub confirmation: Confirmation,
    /// The buyer's EIP-712 signature over offer and [`Confirmation::until`].
    pub signature: Signature,
}

/// A provider's signed offer of one slot on one hardware configuration at one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// EIP-712 digest of all other fields but the signature.
    pub id: OfferId,
    /// The key that signed and that is paid.
    pub provider: ChainAddress,
    /// Who may take it up; `None`: anybody who has it.
    pub buyer: Option<ChainAddress>,
    /// The entry point of the site.
    pub site: IepId,
    /// When it can be used.
    pub slot: Slot,
    /// What it runs on.
    pub hardware: HardwareProfile,
    /// Price of one second of the slot.
    pub price_per_second: Amount,
    /// The promises.
    pub sla: SlaTerms,
    /// What stands behind the promises.
    pub guarantee: Guarantee,
    /// What the site is and takes, by its provider's word.
    pub conditions: SiteConditions,
    /// How it is paid.
    pub settlement: Settlement,
    /// Last second in which it can be accepted; at most ten minutes ahead (rule 8).
    pub expires: UtcTime,
    /// Makes equal offers distinct.
    pub nonce: Hash32,
    /// The provider's signature of `id`.
    pub signature: Signature,
}
