//! The escrow contract's reference model: what it must do, in the fewest words.
//!
//! The model and the contract are written independently of each other and compared step by step by the tests of
//! `edge-chain`. It holds no keys: who a signature is by, is told to it. Departure from the contract: prices above
//! `u128::MAX` cannot be expressed.
//!
//! Money: `deposited = released + refunded + burned + held` at every step, and what is released or refunded is owed to
//! somebody as a credit until it is withdrawn. Liveness: every agreement that holds money can be closed by anyone
//! after a known time, see [`Escrow::closable_after`].

use std::collections::BTreeMap;

use edge_types::{
    AgreementId, AgreementRecord, AgreementState, Amount, Asset, ChainAddress, ChainTime,
    EscrowTotals, Hash32, Slot, UtcTime,
};

/// Longest time that a provider may have for its answer, seconds (security rule 9).
pub const MAX_CONFIRM_SECONDS: u64 = 600;
/// Time after the slot in which only the provider can close, seconds.
pub const PROVIDER_WINDOW_SECONDS: u64 = 600;
/// Time after the slot after which anyone can close without a receipt, seconds.
pub const CHALLENGE_WINDOW_SECONDS: u64 = 3600;
/// How far ahead a slot may end, seconds.
pub const MAX_HORIZON_SECONDS: u64 = 366 * 86_400;
/// Share of every payment to a provider that is burned, in 1/10000.
pub const BURN_BASIS_POINTS: u128 = 100;

/// Why the escrow refuses; the names are those of the contract's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum EscrowError {
    /// Only the chain's own currency is taken.
    #[error("the asset is not supported")]
    UnsupportedAsset,
    /// The slot is empty, ends too far ahead, or is over before the provider has to answer.
    #[error("the slot is empty, too far ahead or over too early")]
    BadSlot,
    /// The answer is due in the past or too far ahead.
    #[error("the answer is due in the past or too far ahead")]
    BadConfirmBy,
    /// The offer is past its expiry.
    #[error("the offer has expired")]
    OfferExpired,
    /// The offer was used before.
    #[error("the offer was used before")]
    OfferConsumed,
    /// The price of the slot does not fit 128 bits.
    #[error("the price of the slot is out of range")]
    PriceOutOfRange,
    /// What was paid is not the price of the slot.
    #[error("what was paid is not the price of the slot")]
    WrongDeposit,
    /// The signature is not by the party who has to sign.
    #[error("the signature is not by the party who has to sign")]
    BadSignature,
    /// The agreement does not exist or is not in the state that this needs.
    #[error("the agreement is not in the state that this needs")]
    WrongState,
    /// The caller is not the party who may do this.
    #[error("the caller may not do this")]
    NotAllowed,
    /// The time for this has not come.
    #[error("the time for this has not come")]
    TooEarly,
    /// The time for this is over.
    #[error("the time for this is over")]
    TooLate,
    /// A receipt over more than the deposit.
    #[error("the receipt is over more than the deposit")]
    DueExceedsDeposit,
}

/// A buyer's payment under a provider's offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The offer's digest.
    pub id: AgreementId,
    /// Who pays.
    pub buyer: ChainAddress,
    /// Who offered.
    pub provider: ChainAddress,
    /// Whose signature is under the offer; `None` if nobody's.
    pub signer: Option<ChainAddress>,
    /// keccak-256 of the entry point.
    pub site_hash: Hash32,
    /// The period.
    pub slot: Slot,
    /// Longest time between two receipts, seconds.
    pub receipt_interval_seconds: u64,
    /// Price of one second.
    pub price_per_second: Amount,
    /// Last second in which the offer can be accepted.
    pub expires: UtcTime,
    /// Last second in which the provider can confirm.
    pub confirm_by: ChainTime,
    /// Wei paid.
    pub paid: u128,
}

/// What a settlement rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptClaim {
    /// Cumulative amount due, wei.
    pub due: u128,
    /// Whose signature is under it; `None` if nobody's.
    pub signer: Option<ChainAddress>,
}

/// All agreements, credits and sums of one escrow.
#[derive(Clone, Debug)]
pub struct Escrow {
    agreements: BTreeMap<AgreementId, Held>,
    credits: BTreeMap<ChainAddress, u128>,
    totals: EscrowTotals,
}

#[derive(Clone, Debug)]
struct Held {
    record: AgreementRecord,
    receipt_interval_seconds: u64,
}

impl Default for Escrow {
    fn default() -> Self {
        let none = Amount::wei(0);
        Self {
            agreements: BTreeMap::new(),
            credits: BTreeMap::new(),
            totals: EscrowTotals {
                deposited: none,
                released: none,
                refunded: none,
                burned: none,
                held: none,
            },
        }
    }
}

impl Escrow {
    /// A buyer pays the whole price of an offered slot.
    pub fn propose(&mut self, now: ChainTime, proposal: &Proposal) -> Result<(), EscrowError> {
        let Proposal {
            slot,
            price_per_second: price,
            confirm_by,
            ..
        } = proposal;
        let latest = |ahead: u64| now.0.saturating_add(ahead);
        require(price.asset == Asset::Native, EscrowError::UnsupportedAsset)?;
        require(now.0 <= proposal.expires.0, EscrowError::OfferExpired)?;
        require(
            (now.0..=latest(MAX_CONFIRM_SECONDS)).contains(&confirm_by.0),
            EscrowError::BadConfirmBy,
        )?;
        require(
            slot.start < slot.end
                && slot.end.0 > confirm_by.0
                && slot.end.0 <= latest(MAX_HORIZON_SECONDS),
            EscrowError::BadSlot,
        )?;
        let deposit = price
            .times(slot.seconds())
            .map_err(|_| EscrowError::PriceOutOfRange)?;
        require(proposal.paid == deposit.units, EscrowError::WrongDeposit)?;
        require(
            !self.agreements.contains_key(&proposal.id),
            EscrowError::OfferConsumed,
        )?;
        require(
            proposal.signer == Some(proposal.provider),
            EscrowError::BadSignature,
        )?;

        let none = Amount::wei(0);
        let record = AgreementRecord {
            id: proposal.id,
            buyer: proposal.buyer,
            provider: proposal.provider,
            slot: *slot,
            site_hash: proposal.site_hash,
            price_per_second: *price,
            deposit,
            state: AgreementState::Proposed,
            confirm_by: *confirm_by,
            released: none,
            refunded: none,
            burned: none,
        };
        self.agreements.insert(
            proposal.id,
            Held {
                record,
                receipt_interval_seconds: proposal.receipt_interval_seconds,
            },
        );
        self.totals.deposited.units += deposit.units;
        self.totals.held.units += deposit.units;
        Ok(())
    }

    /// The provider accepts, until `confirm_by`.
    pub fn confirm(
        &mut self,
        now: ChainTime,
        caller: ChainAddress,
        id: AgreementId,
    ) -> Result<(), EscrowError> {
        let record = &mut self.in_state(id, AgreementState::Proposed)?.record;
        require(caller == record.provider, EscrowError::NotAllowed)?;
        require(now <= record.confirm_by, EscrowError::TooLate)?;
        record.state = AgreementState::Confirmed;
        Ok(())
    }

    /// The provider declines.
    pub fn reject(&mut self, caller: ChainAddress, id: AgreementId) -> Result<(), EscrowError> {
        let record = &self.in_state(id, AgreementState::Proposed)?.record;
        require(caller == record.provider, EscrowError::NotAllowed)?;
        self.close(id, AgreementState::Rejected, 0)
    }

    /// The provider did not answer until `confirm_by`; by anyone.
    pub fn expire(&mut self, now: ChainTime, id: AgreementId) -> Result<(), EscrowError> {
        let record = &self.in_state(id, AgreementState::Proposed)?.record;
        require(now > record.confirm_by, EscrowError::TooEarly)?;
        self.close(id, AgreementState::Expired, 0)
    }

    /// Divides the deposit: by the buyer's receipt (the provider at any time, the buyer after the provider's window),
    /// or, without one, anyone after the challenge window, at one receipt interval.
    pub fn settle(
        &mut self,
        now: ChainTime,
        caller: ChainAddress,
        id: AgreementId,
        receipt: Option<ReceiptClaim>,
    ) -> Result<(), EscrowError> {
        let held = self.in_state(id, AgreementState::Confirmed)?;
        let record = &held.record;
        let after_slot = |window: u64| now.0 > record.slot.end.0.saturating_add(window);
        let due = if let Some(receipt) = receipt {
            if caller != record.provider {
                require(caller == record.buyer, EscrowError::NotAllowed)?;
                require(after_slot(PROVIDER_WINDOW_SECONDS), EscrowError::TooEarly)?;
            }
            require(
                receipt.due <= record.deposit.units,
                EscrowError::DueExceedsDeposit,
            )?;
            require(
                receipt.signer == Some(record.buyer),
                EscrowError::BadSignature,
            )?;
            receipt.due
        } else {
            require(after_slot(CHALLENGE_WINDOW_SECONDS), EscrowError::TooEarly)?;
            let interval = u128::from(held.receipt_interval_seconds);
            let price = record.price_per_second.units;
            price.saturating_mul(interval).min(record.deposit.units)
        };
        self.close(id, AgreementState::Settled, due)
    }

    /// Takes an account's whole credit; zero if there is none.
    pub fn withdraw(&mut self, account: ChainAddress) -> u128 {
        self.credits.remove(&account).unwrap_or(0)
    }

    /// The agreement of this id.
    pub fn agreement(&self, id: AgreementId) -> Option<&AgreementRecord> {
        self.agreements.get(&id).map(|held| &held.record)
    }

    /// All agreements, by id.
    pub fn agreements(&self) -> impl Iterator<Item = &AgreementRecord> {
        self.agreements.values().map(|held| &held.record)
    }

    /// What an account can withdraw, wei.
    pub fn credit(&self, account: ChainAddress) -> u128 {
        self.credits.get(&account).copied().unwrap_or(0)
    }

    /// The sum of all credits, wei.
    pub fn credits(&self) -> u128 {
        self.credits.values().sum()
    }

    /// Sums over all agreements.
    pub const fn totals(&self) -> EscrowTotals {
        self.totals
    }

    /// The last second in which an agreement that holds money may still be impossible to close for a stranger; `None`
    /// if it is closed or unknown.
    pub fn closable_after(&self, id: AgreementId) -> Option<ChainTime> {
        let record = self.agreement(id)?;
        match record.state {
            AgreementState::Proposed => Some(record.confirm_by),
            AgreementState::Confirmed => {
                let end = record.slot.end.0;
                Some(ChainTime(end.saturating_add(CHALLENGE_WINDOW_SECONDS)))
            }
            AgreementState::Rejected | AgreementState::Expired | AgreementState::Settled => None,
        }
    }

    fn in_state(
        &mut self,
        id: AgreementId,
        state: AgreementState,
    ) -> Result<&mut Held, EscrowError> {
        self.agreements
            .get_mut(&id)
            .filter(|held| held.record.state == state)
            .ok_or(EscrowError::WrongState)
    }

    fn close(
        &mut self,
        id: AgreementId,
        state: AgreementState,
        due: u128,
    ) -> Result<(), EscrowError> {
        let record = &mut self
            .agreements
            .get_mut(&id)
            .ok_or(EscrowError::WrongState)?
            .record;
        let burned = share(due, BURN_BASIS_POINTS);
        record.state = state;
        record.burned.units = burned;
        record.released.units = due - burned;
        record.refunded.units = record.deposit.units - due;
        for (account, amount) in [
            (record.provider, record.released),
            (record.buyer, record.refunded),
        ] {
            *self.credits.entry(account).or_insert(0) += amount.units;
        }
        self.totals.held.units -= record.deposit.units;
        self.totals.released.units += record.released.units;
        self.totals.refunded.units += record.refunded.units;
        self.totals.burned.units += record.burned.units;
        Ok(())
    }
}

const fn require(holds: bool, otherwise: EscrowError) -> Result<(), EscrowError> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// `amount × basis_points / 10000`, rounded down, without overflow.
const fn share(amount: u128, basis_points: u128) -> u128 {
    amount / 10_000 * basis_points + amount % 10_000 * basis_points / 10_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUYER: ChainAddress = ChainAddress([1; 20]);
    const PROVIDER: ChainAddress = ChainAddress([2; 20]);
    const STRANGER: ChainAddress = ChainAddress([3; 20]);
    const ID: AgreementId = AgreementId([7; 32]);

    fn proposal() -> Proposal {
        Proposal {
            id: ID,
            buyer: BUYER,
            provider: PROVIDER,
            signer: Some(PROVIDER),
            site_hash: Hash32([9; 32]),
            slot: Slot {
                start: UtcTime(1_000),
                end: UtcTime(1_100),
            },
            receipt_interval_seconds: 10,
            price_per_second: Amount::wei(1_000),
            expires: UtcTime(900),
            confirm_by: ChainTime(950),
            paid: 100_000,
        }
    }

    fn confirmed() -> Escrow {
        let mut escrow = Escrow::default();
        escrow.propose(ChainTime(900), &proposal()).unwrap();
        escrow.confirm(ChainTime(950), PROVIDER, ID).unwrap();
        escrow
    }

    fn receipt(due: u128) -> Option<ReceiptClaim> {
        Some(ReceiptClaim {
            due,
            signer: Some(BUYER),
        })
    }

    #[test]
    fn a_receipt_divides_the_deposit() {
        let mut escrow = confirmed();
        escrow
            .settle(ChainTime(1_050), PROVIDER, ID, receipt(50_000))
            .unwrap();
        assert_eq!(
            escrow.totals(),
            EscrowTotals {
                deposited: Amount::wei(100_000),
                released: Amount::wei(49_500),
                refunded: Amount::wei(50_000),
                burned: Amount::wei(500),
                held: Amount::wei(0),
            }
        );
        assert_eq!(escrow.withdraw(PROVIDER), 49_500);
        assert_eq!(escrow.withdraw(PROVIDER), 0);
        assert_eq!(escrow.withdraw(BUYER), 50_000);
    }

    #[test]
    fn a_buyer_alone_has_to_wait_for_the_provider() {
        let mut escrow = confirmed();
        let settle =
            |escrow: &mut Escrow, now| escrow.settle(ChainTime(now), BUYER, ID, receipt(0));
        assert_eq!(settle(&mut escrow, 1_700), Err(EscrowError::TooEarly));
        assert_eq!(settle(&mut escrow, 1_701), Ok(()));
        assert_eq!(escrow.credit(BUYER), 100_000);
    }

    #[test]
    fn silence_pays_one_receipt_interval_at_most() {
        let mut escrow = confirmed();
        let end = escrow.closable_after(ID).unwrap();
        assert_eq!(
            escrow.settle(end, STRANGER, ID, None),
            Err(EscrowError::TooEarly)
        );
        escrow
            .settle(ChainTime(end.0 + 1), STRANGER, ID, None)
            .unwrap();
        assert_eq!(
            (escrow.credit(PROVIDER), escrow.credit(BUYER)),
            (9_900, 90_000)
        );
        assert_eq!(escrow.closable_after(ID), None);
    }

    #[test]
    fn shares_do_not_overflow() {
        assert_eq!(share(u128::MAX, 10_000), u128::MAX);
        assert_eq!(share(9_999, 100), 99);
    }
}
