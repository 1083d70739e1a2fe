//! The escrow contract's reference model: what it must do, in the fewest words.
//!
//! The model and the contract are written independently of each other and compared step by step by the tests of
//! `edge-chain`. It holds no keys and no tokens: who a signature is by, and that the asset moved, is told to it.
//!
//! Money: `deposited = released + refunded + burned + held` per asset at every step, and what is released or refunded is
//! owed to somebody as a credit until it is withdrawn. Liveness: every agreement that holds money can be closed by
//! anyone after a known time, see [`Escrow::closable_after`]. Reputation: a unit of it is a unit that was burned of the
//! provider's earnings; it moves at most one unit of money, once, see [`Escrow::bought_by_reputation`].

use std::collections::BTreeMap;

use edge_types::{
    AgreementId, AgreementRecord, AgreementState, Amount, Asset, ChainAddress, ChainTime, Claim,
    EscrowAccount, EscrowTotals, Hash32, Offer, UtcTime,
};

#[cfg(test)]
pub(crate) mod tests;

/// Longest time that a provider may have for its answer, seconds (security rule 9).
pub const MAX_CONFIRM_SECONDS: u64 = 600;
/// Time after the service in which only the provider can close, seconds.
pub const PROVIDER_WINDOW_SECONDS: u64 = 600;
/// Time after the service after which anyone can close without a receipt, and time to dispute a claim, seconds.
pub const CHALLENGE_WINDOW_SECONDS: u64 = 3600;
/// Time for the arbiter before time splits what is disputed, seconds.
pub const ARBITRATION_SECONDS: u64 = 3 * 86_400;
/// How far ahead a slot may end, seconds.
pub const MAX_HORIZON_SECONDS: u64 = 366 * 86_400;
/// Share of every payment to a provider that is burned, in 1/10000.
pub const BURN_BASIS_POINTS: u128 = 100;
/// The largest price of a slot, and the largest stake, smallest units: what the contract packs into one storage slot.
pub const MAX_UNITS: u128 = (1 << 88) - 1;

/// Why the escrow refuses; the names are those of the contract's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum EscrowError {
    /// The slot is empty, ends too far ahead, or is over before the provider has to answer.
    #[error("the slot is empty, too far ahead or over too early")]
    BadSlot,
    /// The offer is answered by a confirmation only, or later than the escrow allows.
    #[error("the offer is answered by a confirmation only, or too late")]
    BadAnswerTime,
    /// The offer, or the confirmation, is past its expiry.
    #[error("the offer or its confirmation has expired")]
    OfferExpired,
    /// The offer was used before.
    #[error("the offer was used before")]
    OfferConsumed,
    /// The price of the slot, or the stake, does not fit 88 bits.
    #[error("the price of the slot or the stake is out of range")]
    PriceOutOfRange,
    /// What was paid is not the price of the slot.
    #[error("what was paid is not the price of the slot")]
    WrongDeposit,
    /// The provider has less free stake than it offers, or wants back.
    #[error("not enough free stake")]
    StakeMissing,
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
    /// More or less than can be due.
    #[error("more or less than can be due")]
    DueOutOfRange,
    /// More than the provider staked.
    #[error("more than the provider staked")]
    SlashOutOfRange,
}

/// Who does something, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Time of the block.
    pub now: ChainTime,
    /// Whose transaction it is.
    pub caller: ChainAddress,
}

/// What a settlement rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptClaim {
    /// Cumulative amount due, smallest units.
    pub due: u128,
    /// Whose signature is under it; `None` if nobody's.
    pub signer: Option<ChainAddress>,
}

/// All agreements, accounts and sums of one escrow.
#[derive(Clone, Debug, Default)]
pub struct Escrow {
    agreements: BTreeMap<AgreementId, AgreementRecord>,
    accounts: BTreeMap<(ChainAddress, Asset), Account>,
    totals: BTreeMap<Asset, Sums>,
    bought: u128,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    credit: u128,
    reputation: u128,
    free_stake: u128,
    locked_stake: u128,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    deposited: u128,
    released: u128,
    refunded: u128,
    burned: u128,
}

impl Escrow {
    /// A buyer pays the whole price of a slot, for a provider that answers on chain. `signer` is whose signature is
    /// under the offer.
    pub fn propose(
        &mut self,
        call: Call,
        offer: &Offer,
        signer: Option<ChainAddress>,
        site_hash: Hash32,
        paid: u128,
    ) -> Result<(), EscrowError> {
        let answer = u64::from(offer.guarantee.answer_seconds);
        require(
            (1..=MAX_CONFIRM_SECONDS).contains(&answer),
            EscrowError::BadAnswerTime,
        )?;
        let confirm_by = ChainTime(call.now.0.saturating_add(answer));
        self.take(call, offer, confirm_by)?;
        require(signer == Some(offer.provider), EscrowError::BadSignature)?;
        self.deposit(call, offer, site_hash, paid, Some(confirm_by))
    }

    /// A buyer pays the whole price of a slot that the provider confirmed to it until `until`. `signer` is whose
    /// signature is under the confirmation to the caller.
    pub fn propose_confirmed(
        &mut self,
        call: Call,
        offer: &Offer,
        (until, signer): (UtcTime, Option<ChainAddress>),
        site_hash: Hash32,
        paid: u128,
    ) -> Result<(), EscrowError> {
        require(call.now.0 <= until.0, EscrowError::OfferExpired)?;
        self.take(call, offer, call.now)?;
        require(signer == Some(offer.provider), EscrowError::BadSignature)?;
        self.has_stake(offer)?;
        self.deposit(call, offer, site_hash, paid, None)?;
        self.lock_stake(offer)
    }

    /// The provider accepts, in time.
    pub fn confirm(&mut self, call: Call, offer: &Offer) -> Result<(), EscrowError> {
        let record = self.in_state(offer, &[AgreementState::Proposed])?;
        require(call.caller == offer.provider, EscrowError::NotAllowed)?;
        require(Some(call.now) <= record.deadline, EscrowError::TooLate)?;
        self.lock_stake(offer)?;
        self.record(offer)?.state = AgreementState::Confirmed;
        self.record(offer)?.deadline = None;
        Ok(())
    }

    /// The provider declines.
    pub fn reject(&mut self, call: Call, offer: &Offer) -> Result<(), EscrowError> {
        self.in_state(offer, &[AgreementState::Proposed])?;
        require(call.caller == offer.provider, EscrowError::NotAllowed)?;
        self.divide(offer, AgreementState::Rejected, 0)
    }

    /// The provider takes its hardware back at `stop`, before the end of the slot.
    pub fn give_notice(
        &mut self,
        call: Call,
        offer: &Offer,
        stop: UtcTime,
    ) -> Result<(), EscrowError> {
        let record = self.in_state(offer, &[AgreementState::Confirmed])?;
        require(record.ends_at == offer.slot.end, EscrowError::WrongState)?;
        require(call.caller == offer.provider, EscrowError::NotAllowed)?;
        let notice = u64::from(offer.sla.notice_seconds);
        require(
            stop.0 >= call.now.0.saturating_add(notice),
            EscrowError::TooEarly,
        )?;
        require(stop < offer.slot.end, EscrowError::TooLate)?;
        self.record(offer)?.ends_at = stop;
        Ok(())
    }

    /// Divides the deposit by the buyer's receipt: the provider at any time, the buyer after the provider's window if
    /// nothing is claimed.
    pub fn settle(
        &mut self,
        call: Call,
        offer: &Offer,
        receipt: ReceiptClaim,
    ) -> Result<(), EscrowError> {
        let record = self.in_state(offer, &RUNNING)?;
        if call.caller != offer.provider {
            require(call.caller == record.buyer, EscrowError::NotAllowed)?;
            require(
                record.state == AgreementState::Confirmed,
                EscrowError::WrongState,
            )?;
            let window = record.ends_at.0.saturating_add(PROVIDER_WINDOW_SECONDS);
            require(call.now.0 > window, EscrowError::TooEarly)?;
        }
        require(
            receipt.due <= record.deposit.units,
            EscrowError::DueOutOfRange,
        )?;
        require(
            receipt.signer == Some(record.buyer),
            EscrowError::BadSignature,
        )?;
        self.finish(offer, receipt.due, 0)
    }

    /// Divides the deposit as both parties signed.
    pub fn settle_mutually(
        &mut self,
        offer: &Offer,
        due: u128,
        signers: [Option<ChainAddress>; 2],
    ) -> Result<(), EscrowError> {
        let record = self.in_state(offer, &RUNNING)?;
        require(due <= record.deposit.units, EscrowError::DueOutOfRange)?;
        let parties = [Some(record.buyer), Some(record.provider)];
        require(signers == parties, EscrowError::BadSignature)?;
        self.finish(offer, due, 0)
    }

    /// The provider asks for `amount`, of which the buyer acknowledged what `receipt` says.
    pub fn claim(
        &mut self,
        call: Call,
        offer: &Offer,
        amount: u128,
        receipt: Option<ReceiptClaim>,
    ) -> Result<(), EscrowError> {
        let record = self.in_state(offer, &[AgreementState::Confirmed])?.clone();
        require(call.caller == offer.provider, EscrowError::NotAllowed)?;
        require(call.now.0 >= record.ends_at.0, EscrowError::TooEarly)?;
        let floor = receipt.map_or(0, |receipt| receipt.due);
        require(
            amount <= served_price(offer, record.ends_at) && floor <= amount,
            EscrowError::DueOutOfRange,
        )?;
        require(
            receipt.is_none_or(|receipt| receipt.signer == Some(record.buyer)),
            EscrowError::BadSignature,
        )?;
        let units = |units| Amount {
            units,
            ..record.deposit
        };
        let record = self.record(offer)?;
        record.state = AgreementState::Claimed;
        // An early stop has done its part, and the contract forgets it.
        record.ends_at = offer.slot.end;
        record.claim = Some(Claim {
            floor: units(floor),
            amount: units(amount),
        });
        record.deadline = Some(ChainTime(call.now.0 + CHALLENGE_WINDOW_SECONDS));
        Ok(())
    }

    /// A party takes a claim to the arbiter.
    pub fn dispute(&mut self, call: Call, offer: &Offer) -> Result<(), EscrowError> {
        let record = self.in_state(offer, &[AgreementState::Claimed])?;
        require(
            [record.buyer, record.provider].contains(&call.caller),
            EscrowError::NotAllowed,
        )?;
        require(Some(call.now) <= record.deadline, EscrowError::TooLate)?;
        let record = self.record(offer)?;
        record.state = AgreementState::Disputed;
        record.deadline = Some(ChainTime(call.now.0 + ARBITRATION_SECONDS));
        Ok(())
    }

    /// The arbiter decides.
    pub fn rule(
        &mut self,
        call: Call,
        offer: &Offer,
        due: u128,
        slash: u128,
    ) -> Result<(), EscrowError> {
        let record = self.in_state(offer, &[AgreementState::Disputed])?;
        require(
            Some(call.caller) == offer.guarantee.arbiter,
            EscrowError::NotAllowed,
        )?;
        require(Some(call.now) <= record.deadline, EscrowError::TooLate)?;
        let claim = record.claim.ok_or(EscrowError::WrongState)?;
        require(
            (claim.floor.units..=claim.amount.units).contains(&due),
            EscrowError::DueOutOfRange,
        )?;
        require(slash <= offer.guarantee.stake, EscrowError::SlashOutOfRange)?;
        if slash > 0 {
            let reputation = &mut self.of_provider(offer).reputation;
            *reputation /= 2;
        }
        self.finish(offer, due, slash)
    }

    /// Ends what nobody else ended in time.
    pub fn close(&mut self, now: ChainTime, offer: &Offer) -> Result<(), EscrowError> {
        let record = self.agreement(offer.id.into());
        let record = record.ok_or(EscrowError::WrongState)?.clone();
        let after = self.closable_after(record.id);
        require(
            now > after.ok_or(EscrowError::WrongState)?,
            EscrowError::TooEarly,
        )?;
        let due = match (record.state, record.claim) {
            (AgreementState::Proposed, _) => {
                self.forfeit(offer, share(record.deposit.units, BURN_BASIS_POINTS));
                return self.divide(offer, AgreementState::Expired, 0);
            }
            (AgreementState::Claimed | AgreementState::Disputed, Some(claim)) => {
                let floor = claim.floor.units;
                let due = paid_by_silence(offer, claim);
                if record.state == AgreementState::Claimed {
                    due
                } else {
                    let contested = due - floor;
                    let reputation = &mut self.of_provider(offer).reputation;
                    let bought = (*reputation).min(contested / 4);
                    *reputation -= bought;
                    self.bought += bought;
                    floor + contested / 2 + bought
                }
            }
            _ => one_interval(offer).min(served_price(offer, record.ends_at)),
        };
        self.finish(offer, due, 0)
    }

    /// The caller stakes an amount.
    pub fn stake(
        &mut self,
        caller: ChainAddress,
        amount: Amount,
        paid: u128,
    ) -> Result<(), EscrowError> {
        require(amount.units <= MAX_UNITS, EscrowError::PriceOutOfRange)?;
        require(paid == amount.units, EscrowError::WrongDeposit)?;
        self.account_mut(caller, amount.asset).free_stake += amount.units;
        self.sums(amount.asset).deposited += amount.units;
        Ok(())
    }

    /// The caller turns free stake into a credit.
    pub fn unstake(&mut self, caller: ChainAddress, amount: Amount) -> Result<(), EscrowError> {
        let account = self.account_mut(caller, amount.asset);
        require(
            amount.units <= account.free_stake,
            EscrowError::StakeMissing,
        )?;
        account.free_stake -= amount.units;
        account.credit += amount.units;
        self.sums(amount.asset).refunded += amount.units;
        Ok(())
    }

    /// Takes an account's whole credit in an asset; zero if there is none.
    pub fn withdraw(&mut self, account: ChainAddress, asset: Asset) -> u128 {
        std::mem::take(&mut self.account_mut(account, asset).credit)
    }

    /// The agreement of this id.
    pub fn agreement(&self, id: AgreementId) -> Option<&AgreementRecord> {
        self.agreements.get(&id)
    }

    /// All agreements, by id.
    pub fn agreements(&self) -> impl Iterator<Item = &AgreementRecord> {
        self.agreements.values()
    }

    /// What is kept of an account in an asset.
    pub fn account(&self, account: ChainAddress, asset: Asset) -> EscrowAccount {
        let account = self.accounts.get(&(account, asset));
        let account = account.copied().unwrap_or_default();
        let amount = |units| Amount { asset, units };
        EscrowAccount {
            credit: amount(account.credit),
            reputation: amount(account.reputation),
            free_stake: amount(account.free_stake),
            locked_stake: amount(account.locked_stake),
        }
    }

    /// The sum of all credits in an asset, smallest units.
    pub fn credits(&self, asset: Asset) -> u128 {
        let in_asset = self.accounts.iter().filter(|((_, of), _)| *of == asset);
        in_asset.map(|(_, account)| account.credit).sum()
    }

    /// Sums over all agreements and stakes in an asset.
    pub fn totals(&self, asset: Asset) -> EscrowTotals {
        let sums = self.totals.get(&asset).copied().unwrap_or_default();
        let amount = |units| Amount { asset, units };
        EscrowTotals {
            deposited: amount(sums.deposited),
            released: amount(sums.released),
            refunded: amount(sums.refunded),
            burned: amount(sums.burned),
            held: amount(sums.deposited - sums.released - sums.refunded - sums.burned),
        }
    }

    /// How much reputation has moved in disputes so far, over all accounts; never more than was burned of payments.
    pub const fn bought_by_reputation(&self) -> u128 {
        self.bought
    }

    /// The last second in which an agreement that holds money may still be impossible to close for a stranger; `None`
    /// if it is closed or unknown.
    pub fn closable_after(&self, id: AgreementId) -> Option<ChainTime> {
        let record = self.agreement(id)?;
        match record.state {
            AgreementState::Confirmed => {
                let end = record.ends_at.0;
                Some(ChainTime(end.saturating_add(CHALLENGE_WINDOW_SECONDS)))
            }
            _ => record.deadline,
        }
    }

    /// Everything that has to hold before an offer can be taken up, but for signature, stake and money.
    fn take(&self, call: Call, offer: &Offer, answered: ChainTime) -> Result<(), EscrowError> {
        let (now, slot) = (call.now.0, offer.slot);
        require(now <= offer.expires.0, EscrowError::OfferExpired)?;
        require(
            offer.buyer.is_none_or(|buyer| buyer == call.caller),
            EscrowError::NotAllowed,
        )?;
        require(
            slot.start < slot.end
                && slot.end.0 > answered.0
                && slot.end.0 <= now.saturating_add(MAX_HORIZON_SECONDS),
            EscrowError::BadSlot,
        )?;
        let price = offer.price_per_second.times(slot.seconds());
        require(
            price.is_ok_and(|price| price.units <= MAX_UNITS)
                && offer.price_per_second.units <= MAX_UNITS
                && offer.guarantee.stake <= MAX_UNITS,
            EscrowError::PriceOutOfRange,
        )?;
        require(
            !self.agreements.contains_key(&offer.id.into()),
            EscrowError::OfferConsumed,
        )
    }

    /// The money comes in; with a deadline for the provider's answer, or agreed at once.
    fn deposit(
        &mut self,
        call: Call,
        offer: &Offer,
        site_hash: Hash32,
        paid: u128,
        confirm_by: Option<ChainTime>,
    ) -> Result<(), EscrowError> {
        let deposit = offer
            .price_per_second
            .times(offer.slot.seconds())
            .map_err(|_| EscrowError::PriceOutOfRange)?;
        require(paid == deposit.units, EscrowError::WrongDeposit)?;
        let none = Amount {
            units: 0,
            ..deposit
        };
        let record = AgreementRecord {
            id: offer.id.into(),
            buyer: call.caller,
            provider: offer.provider,
            slot: offer.slot,
            site_hash,
            price_per_second: offer.price_per_second,
            deposit,
            state: if confirm_by.is_some() {
                AgreementState::Proposed
            } else {
                AgreementState::Confirmed
            },
            deadline: confirm_by,
            ends_at: offer.slot.end,
            claim: None,
            released: none,
            refunded: none,
            burned: none,
        };
        self.agreements.insert(record.id, record);
        self.sums(deposit.asset).deposited += deposit.units;
        Ok(())
    }

    fn in_state(
        &self,
        offer: &Offer,
        states: &[AgreementState],
    ) -> Result<&AgreementRecord, EscrowError> {
        self.agreement(offer.id.into())
            .filter(|record| states.contains(&record.state))
            .ok_or(EscrowError::WrongState)
    }

    fn record(&mut self, offer: &Offer) -> Result<&mut AgreementRecord, EscrowError> {
        let record = self.agreements.get_mut(&offer.id.into());
        record.ok_or(EscrowError::WrongState)
    }

    fn account_mut(&mut self, account: ChainAddress, asset: Asset) -> &mut Account {
        self.accounts.entry((account, asset)).or_default()
    }

    fn of_provider(&mut self, offer: &Offer) -> &mut Account {
        self.account_mut(offer.provider, offer.price_per_second.asset)
    }

    fn sums(&mut self, asset: Asset) -> &mut Sums {
        self.totals.entry(asset).or_default()
    }

    fn has_stake(&mut self, offer: &Offer) -> Result<(), EscrowError> {
        let free = self.of_provider(offer).free_stake;
        require(free >= offer.guarantee.stake, EscrowError::StakeMissing)
    }

    fn lock_stake(&mut self, offer: &Offer) -> Result<(), EscrowError> {
        self.has_stake(offer)?;
        let account = self.of_provider(offer);
        account.free_stake -= offer.guarantee.stake;
        account.locked_stake += offer.guarantee.stake;
        Ok(())
    }

    /// What not answering costs: as much reputation as the fee, and free stake as far as there is any.
    fn forfeit(&mut self, offer: &Offer, fee: u128) {
        let account = self.of_provider(offer);
        account.reputation = account.reputation.saturating_sub(fee);
        let lost = fee.min(account.free_stake);
        account.free_stake -= lost;
        self.sums(offer.price_per_second.asset).burned += lost;
    }

    fn finish(&mut self, offer: &Offer, due: u128, slash: u128) -> Result<(), EscrowError> {
        let account = self.of_provider(offer);
        account.locked_stake -= offer.guarantee.stake;
        account.free_stake += offer.guarantee.stake - slash;
        self.sums(offer.price_per_second.asset).burned += slash;
        self.divide(offer, AgreementState::Settled, due)
    }

    fn divide(
        &mut self,
        offer: &Offer,
        state: AgreementState,
        due: u128,
    ) -> Result<(), EscrowError> {
        let burned = share(due, BURN_BASIS_POINTS);
        let record = self.record(offer)?;
        record.state = state;
        record.deadline = None;
        record.claim = None;
        record.ends_at = offer.slot.end;
        record.burned.units = burned;
        record.released.units = due - burned;
        record.refunded.units = record.deposit.units - due;
        let record = record.clone();
        let asset = record.deposit.asset;
        let provider = self.of_provider(offer);
        provider.credit += record.released.units;
        provider.reputation += burned;
        self.account_mut(record.buyer, asset).credit += record.refunded.units;
        let sums = self.sums(asset);
        sums.released += record.released.units;
        sums.refunded += record.refunded.units;
        sums.burned += burned;
        Ok(())
    }
}

/// States in which an agreement is in force.
const RUNNING: [AgreementState; 3] = [
    AgreementState::Confirmed,
    AgreementState::Claimed,
    AgreementState::Disputed,
];

const fn require(holds: bool, otherwise: EscrowError) -> Result<(), EscrowError> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// The price of the slot up to `end`.
fn served_price(offer: &Offer, end: UtcTime) -> u128 {
    let seconds = end.seconds_since(offer.slot.start);
    offer
        .price_per_second
        .times(seconds)
        .map_or(u128::MAX, |price| price.units)
}

/// The price of one receipt interval.
fn one_interval(offer: &Offer) -> u128 {
    let interval = u128::from(offer.sla.receipt_interval_seconds);
    interval.saturating_mul(offer.price_per_second.units)
}

/// What a claim that nobody denies pays: the claim, at most one receipt interval above the receipt.
pub fn paid_by_silence(offer: &Offer, claim: Claim) -> u128 {
    let most = claim.floor.units.saturating_add(one_interval(offer));
    claim.amount.units.min(most)
}

/// What a dispute that nobody decides pays at least: the middle between the receipt and what silence would have paid.
/// The provider's reputation can add half as much again.
pub fn paid_by_time(offer: &Offer, claim: Claim) -> u128 {
    let contested = paid_by_silence(offer, claim).saturating_sub(claim.floor.units);
    claim.floor.units + contested / 2
}

/// `amount × basis_points / 10000`, rounded down, without overflow.
const fn share(amount: u128, basis_points: u128) -> u128 {
    amount / 10_000 * basis_points + amount % 10_000 * basis_points / 10_000
}
