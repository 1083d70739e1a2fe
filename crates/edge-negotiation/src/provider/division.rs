//! How an agreement's money is divided, as its provider sees it: what is owed, and which way leads there.
//!
//! The buyer's last word is taken if it is at most one receipt interval short of the time served, since both measure for
//! themselves; where a round trip is promised, which only the buyer's clients can measure, by as much as is served on credit. Otherwise what time proves is claimed, once the ledger too shows the service as over. Silence after a claim
//! pays the receipt and one interval; who wants more needs an arbiter.

use edge_types::{
    AgreementId, AgreementRecord, AgreementState, Amount, ChainTime, Receipt, UtcTime,
};

use super::agreement::{Agreement, SETTLE_BACKOFF_SECONDS, Stage};
use super::{BookLimits, Ending, ProviderAction, SETTLE_ATTEMPTS};
use crate::escrow::{CHALLENGE_WINDOW_SECONDS, paid_by_silence, paid_by_time};

/// After so many attempts the wait between two grows no longer.
const LONGEST_BACKOFF: u32 = 10;

/// What divides a deposit, or comes before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Division {
    /// The buyer's receipt.
    ByReceipt(Receipt),
    /// More than the buyer's receipts, or without any; the buyer can deny it for a while.
    Claim {
        /// What is asked for in all.
        amount: Amount,
        /// What the buyer acknowledged of it.
        receipt: Option<Receipt>,
    },
    /// The arbiter's ruling on our own claim, of which silence would not pay all.
    Dispute,
    /// Time: nobody said anything in the time for it.
    ByTime,
}

impl Agreement {
    /// When the ledger takes the service as over: the end of the slot, or the stop of which it was given notice.
    pub(super) fn ends_on_ledger(&self) -> UtcTime {
        self.notice.unwrap_or(self.offer.slot.end)
    }

    /// What the time served is worth by the agreed price and availability.
    pub fn owed(&self) -> Amount {
        let price = self.offer.price_per_second;
        let length = self.ends_on_ledger().seconds_since(self.offer.slot.start);
        let served = self.served_seconds.min(length);
        let promised = u128::from(length) * u128::from(self.offer.sla.availability_ppm);
        let is_kept = served > 0 && u128::from(served) * 1_000_000 >= promised;
        price
            .times(if is_kept { length } else { served })
            .unwrap_or(self.deposit)
    }

    /// Counts the time since the workload began to run, up to `until`.
    pub(super) fn count_service(&mut self, until: UtcTime) {
        if let Some(since) = self.runs_since.take() {
            self.served_seconds += until.seconds_since(since);
        }
    }

    fn one_interval(&self) -> u128 {
        let interval = u128::from(self.offer.sla.receipt_interval_seconds);
        interval.saturating_mul(self.offer.price_per_second.units)
    }

    /// By how much the buyer's last word may be short of what we measured.
    fn tolerated(&self, limits: &BookLimits) -> u128 {
        if self.offer.sla.round_trip_ms == 0 {
            return self.one_interval();
        }
        u128::from(self.patience(limits)).saturating_mul(self.offer.price_per_second.units)
    }

    /// The buyer's receipt, if it is as good as what could be had without it.
    fn good_receipt(&self, limits: &BookLimits) -> Option<Receipt> {
        let receipt = self.receipt?;
        let due = receipt.due.units;
        let is_near = due.saturating_add(self.tolerated(limits)) >= self.owed().units;
        let is_good = match (self.state, self.claim) {
            (AgreementState::Claimed, Some(claim)) => due >= paid_by_silence(&self.offer, claim),
            (AgreementState::Disputed, Some(claim)) => due >= paid_by_time(&self.offer, claim),
            _ => due >= self.owed().units,
        };
        (is_good || due == self.deposit.units || (self.closed_by_buyer && is_near))
            .then_some(receipt)
    }

    /// What to do next about the money, and from when on.
    pub(super) fn next_step(&self, limits: &BookLimits, now: UtcTime) -> (Step, UtcTime) {
        let is_claimed = matches!(
            self.state,
            AgreementState::Claimed | AgreementState::Disputed
        );
        if let Some(receipt) = self.good_receipt(limits) {
            let is_last = self.closed_by_buyer || receipt.due == self.deposit || is_claimed;
            let wait = if is_last {
                0
            } else {
                limits.final_receipt_seconds
            };
            let at = self.ends_at.plus_seconds(wait);
            return (Step::Divide(Division::ByReceipt(receipt)), at);
        }
        if is_claimed {
            return self.after_claim(now);
        }
        let ends = self.ends_on_ledger();
        let owed = self.owed();
        if owed.units == 0 {
            let at = ends.plus_seconds(CHALLENGE_WINDOW_SECONDS + 1);
            return (Step::Divide(Division::ByTime), at);
        }
        let claim = Division::Claim {
            amount: owed,
            receipt: self.receipt,
        };
        let wait = if self.closed_by_buyer {
            0
        } else {
            limits.final_receipt_seconds
        };
        let at = self.ends_at.plus_seconds(wait);
        (Step::Divide(claim), at.max(ends))
    }

    fn after_claim(&self, now: UtcTime) -> (Step, UtcTime) {
        let wants_more = self.offer.guarantee.arbiter.is_some()
            && self
                .claim
                .is_some_and(|claim| claim.amount.units > paid_by_silence(&self.offer, claim));
        match self.doubt.closable_at {
            // Whoever waits for the deadline of something looks first what it is.
            None => (Step::Look, now),
            Some(at) if self.state == AgreementState::Claimed && wants_more && now < at => {
                (Step::Divide(Division::Dispute), now)
            }
            Some(at) if at <= self.doubt.ask_at => (Step::Divide(Division::ByTime), at),
            Some(_) => (Step::Look, self.doubt.ask_at),
        }
    }

    /// What falls due of the money.
    pub(super) fn settle(
        &mut self,
        id: AgreementId,
        limits: &BookLimits,
        attempts: u32,
        now: UtcTime,
    ) -> Option<ProviderAction> {
        let (step, from) = self.next_step(limits, now);
        if now < from {
            self.stage = Stage::Settling { at: from, attempts };
            return None;
        }
        // Whoever settles may take a while; the next attempt is due only if nothing is heard of this one.
        let at = now.plus_seconds(SETTLE_BACKOFF_SECONDS);
        Some(match step {
            Step::Look => {
                self.stage = Stage::Settling { at, attempts };
                ProviderAction::Look(id)
            }
            Step::Divide(division) => {
                let attempts = attempts + 1;
                self.stage = Stage::Settling { at, attempts };
                ProviderAction::Settle(id, division)
            }
        })
    }

    /// What the ledger shows after an attempt, or a look; see [`super::ProviderBook::handle_settled`].
    pub(super) fn handle_settled(&mut self, seen: Option<Seen<'_>>, now: UtcTime) {
        let Stage::Settling { attempts, .. } = self.stage else {
            return;
        };
        let attempts = match seen {
            Some((Some(record), _)) if record.state.is_final() => {
                self.close(record.state, now);
                return;
            }
            Some((Some(record), chain_now)) if self.follow(record, chain_now, now) => {
                self.stage = Stage::Settling {
                    at: now,
                    attempts: 0,
                };
                return;
            }
            Some(_) if attempts >= SETTLE_ATTEMPTS => {
                self.ending = Some(Ending::NotSettled);
                self.stage = Stage::Closed;
                self.changed_at = now;
                return;
            }
            Some(_) => attempts,
            // The money is where it was, however long the ledger does not answer.
            None => attempts.min(LONGEST_BACKOFF),
        };
        let wait = (1 << attempts.min(LONGEST_BACKOFF)).min(SETTLE_BACKOFF_SECONDS);
        let at = now.plus_seconds(wait);
        self.stage = Stage::Settling { at, attempts };
    }

    /// Takes note of a claim or dispute; true if there is one, and nothing has to be tried again before its time.
    fn follow(&mut self, record: &AgreementRecord, chain_now: ChainTime, now: UtcTime) -> bool {
        let is_news = record.state != self.state || self.doubt.closable_at.is_none();
        let Some(deadline) = record.deadline.filter(|_| record.claim.is_some()) else {
            return false;
        };
        self.state = record.state;
        self.claim = record.claim;
        let left = deadline.0.saturating_sub(chain_now.0);
        self.doubt.closable_at = Some(now.plus_seconds(left + 1));
        self.doubt.ask_at = now.plus_seconds(SETTLE_BACKOFF_SECONDS);
        is_news || left > 0
    }
}

/// What a ledger that answers shows of an agreement, if anything, and its time.
pub type Seen<'a> = (Option<&'a AgreementRecord>, ChainTime);

/// A step towards the division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Look,
    Divide(Division),
}
