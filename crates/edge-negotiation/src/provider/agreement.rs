//! One agreement as its provider sees it, and what falls due of it.

use edge_types::{
    AgreementId, AgreementState, Amount, ChainAddress, Generation, Offer, Receipt, RejectReason,
    UtcTime,
};

use super::{Answer, BookLimits, ProviderAction};
use crate::escrow::CHALLENGE_WINDOW_SECONDS;

/// Longest wait between two attempts to settle, seconds.
pub(super) const SETTLE_BACKOFF_SECONDS: u64 = 600;
/// The ledger is told our answer again after this long, seconds.
const TELL_AGAIN_SECONDS: u64 = 10;
/// A ledger that does not show a confirmed agreement may be behind; one that does not for this long, seconds, is believed.
const MISSING_SECONDS: u64 = 180;

/// One agreement as its provider sees it; all of it has to outlive the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The terms.
    pub offer: Offer,
    /// Who pays.
    pub buyer: ChainAddress,
    /// What the ledger shows, as far as we know.
    pub state: AgreementState,
    /// Why we rejected it, if we did.
    pub reason: Option<RejectReason>,
    /// The generation of the workload in force; 0 before the first.
    pub generation: Generation,
    /// The buyer's last receipt.
    pub receipt: Option<Receipt>,
    /// What is in escrow.
    pub deposit: Amount,
    /// The end of the slot, or earlier if somebody closed it.
    pub ends_at: UtcTime,
    /// The buyer has said its last word: no further receipt is waited for.
    pub closed_by_buyer: bool,
    /// What is being done.
    pub stage: Stage,
    /// Why the service ended, or will end early.
    pub ending: Option<Ending>,
    /// When the last receipt or deployment came.
    pub receipt_at: UtcTime,
    /// When the stage began.
    pub changed_at: UtcTime,
    /// What is in doubt; begins anew with the process.
    pub doubt: Doubt,
}

/// What a provider does for an agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The ledger is being told our answer.
    Answering,
    /// Confirmed; serving or about to.
    Serving,
    /// In the notice period.
    Draining,
    /// Stopped; settle at this time.
    Settling {
        /// When to try next.
        at: UtcTime,
        /// How often it was tried.
        attempts: u32,
    },
    /// Nothing is left to do.
    Closed,
}

/// Why a service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    /// As agreed.
    #[error("the slot is over")]
    SlotOver,
    /// The buyer wanted no more.
    #[error("the buyer closed it")]
    ClosedByBuyer,
    /// The buyer no longer said that it owes anything.
    #[error("the buyer's receipts stayed out")]
    NoReceipts,
    /// The money was divided or given back while the service ran.
    #[error("the ledger shows that nothing is in escrow any more")]
    NotFunded,
    /// The ledger forgot it, as after a change of its history.
    #[error("the ledger no longer shows the agreement")]
    NotOnLedger,
    /// The ledger was not told our answer in time.
    #[error("the ledger did not take our answer in time")]
    NotAnswered,
    /// The operator has to settle it.
    #[error("settling failed too often; settle it by hand")]
    NotSettled,
}

/// What the ledger is to be asked, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubt {
    pub(super) ask_at: UtcTime,
    pub(super) missing_since: Option<UtcTime>,
}

impl Agreement {
    /// Everything due by the last receipt.
    pub fn due(&self) -> Amount {
        self.receipt.map_or(
            Amount {
                units: 0,
                ..self.deposit
            },
            |receipt| receipt.due,
        )
    }

    /// When the service ends: the end of the slot, or earlier if somebody closed it.
    pub const fn ends_at(&self) -> UtcTime {
        self.ends_at
    }

    /// May the workload run now?
    pub const fn is_serving(&self) -> bool {
        matches!(self.stage, Stage::Serving | Stage::Draining)
    }

    pub(super) fn holds_hardware(&self) -> bool {
        matches!(
            self.stage,
            Stage::Answering | Stage::Serving | Stage::Draining
        )
    }

    pub(super) fn drain_at(&self) -> UtcTime {
        let notice = self.offer.sla.notice_seconds.into();
        UtcTime(self.ends_at.0.saturating_sub(notice))
    }

    /// When something will be due.
    pub(super) fn due_at(&self, limits: &BookLimits) -> UtcTime {
        match self.stage {
            Stage::Answering => self.doubt.ask_at.min(self.ends_at),
            Stage::Serving => self
                .drain_at()
                .min(self.patience_ends(limits))
                .min(self.doubt.ask_at),
            Stage::Draining => self.ends_at.min(self.doubt.ask_at),
            Stage::Settling { at, .. } => at,
            Stage::Closed => self.changed_at.plus_seconds(limits.keep_closed_seconds),
        }
    }

    /// When silence of the buyer ends the service.
    pub(super) fn patience_ends(&self, limits: &BookLimits) -> UtcTime {
        let interval = u64::from(self.offer.sla.receipt_interval_seconds.max(1));
        let patience = interval * u64::from(limits.missed_receipts);
        self.receipt_at
            .max(self.offer.slot.start)
            .plus_seconds(patience.max(limits.patience_at_least_seconds))
    }
}

impl Agreement {
    /// What we answer, or answered, the buyer on the ledger.
    pub fn answer(&self) -> Answer {
        match &self.reason {
            None => Answer::Confirm,
            Some(reason) => Answer::Reject(reason.clone()),
        }
    }

    /// A process has begun that remembers nothing but this: what was under way is taken up at once.
    pub(super) fn resume(&mut self, now: UtcTime) {
        self.doubt = Doubt {
            ask_at: now,
            missing_since: None,
        };
        if let Stage::Settling { at, .. } = &mut self.stage {
            *at = (*at).min(now);
        }
    }

    /// What the ledger shows of an agreement that is being served; true if that changes anything.
    pub(super) fn handle_ledger(&mut self, state: Option<AgreementState>, now: UtcTime) -> bool {
        if !self.is_serving() {
            return false;
        }
        let ending = match state {
            Some(
                AgreementState::Confirmed | AgreementState::Claimed | AgreementState::Disputed,
            ) => {
                self.doubt.missing_since = None;
                return false;
            }
            Some(state) if state.is_final() => {
                self.state = state;
                Ending::NotFunded
            }
            _ => {
                let since = *self.doubt.missing_since.get_or_insert(now);
                if now.seconds_since(since) < MISSING_SECONDS {
                    return false;
                }
                Ending::NotOnLedger
            }
        };
        self.ending = Some(ending);
        self.ends_at = self.ends_at.min(now);
        true
    }

    pub(super) fn answered(&mut self, state: Option<AgreementState>, now: UtcTime) {
        match state {
            Some(AgreementState::Confirmed) => {
                self.state = AgreementState::Confirmed;
                self.stage = Stage::Serving;
                self.changed_at = now;
            }
            Some(state) if state.is_final() => self.close(state, now),
            // Perhaps it was told, and perhaps it will be: the hardware stays held until that is certain.
            _ => self.doubt.ask_at = now.plus_seconds(TELL_AGAIN_SECONDS),
        }
    }

    pub(super) fn close(&mut self, state: AgreementState, now: UtcTime) {
        self.state = state;
        self.stage = Stage::Closed;
        self.changed_at = now;
    }

    pub(super) fn poll_action(
        &mut self,
        id: AgreementId,
        limits: &BookLimits,
        now: UtcTime,
    ) -> Option<ProviderAction> {
        let end = self.ends_at;
        match self.stage {
            Stage::Answering if now >= end => {
                self.ending = Some(Ending::NotAnswered);
                self.close(self.state, now);
                None
            }
            Stage::Answering if now >= self.doubt.ask_at => {
                self.doubt.ask_at = now.plus_seconds(TELL_AGAIN_SECONDS);
                Some(ProviderAction::Tell(id, self.answer()))
            }
            Stage::Serving | Stage::Draining if now >= end => Some(self.stop(id, limits, now)),
            Stage::Serving if now >= self.drain_at() => {
                self.stage = Stage::Draining;
                Some(ProviderAction::Drain(id))
            }
            Stage::Serving if now >= self.patience_ends(limits) => {
                let notice = self.offer.sla.notice_seconds.into();
                self.ends_at = end.min(now.plus_seconds(notice));
                self.ending = Some(Ending::NoReceipts);
                self.stage = Stage::Draining;
                Some(ProviderAction::Drain(id))
            }
            Stage::Settling { at, attempts } if now >= at => {
                // Whoever settles may take a while; the next attempt is due only if nothing is heard of this one.
                self.stage = Stage::Settling {
                    at: now.plus_seconds(SETTLE_BACKOFF_SECONDS),
                    attempts: attempts + 1,
                };
                Some(ProviderAction::Settle(id, self.receipt))
            }
            Stage::Serving | Stage::Draining if now >= self.doubt.ask_at => {
                self.doubt.ask_at = now.plus_seconds(limits.compare_seconds);
                Some(ProviderAction::Compare(id))
            }
            _ => None,
        }
    }

    pub(super) fn stop(
        &mut self,
        id: AgreementId,
        limits: &BookLimits,
        now: UtcTime,
    ) -> ProviderAction {
        let at = match self.receipt {
            Some(receipt) if self.closed_by_buyer || receipt.due == self.deposit => now,
            Some(_) => now.plus_seconds(limits.final_receipt_seconds),
            // Without a receipt the ledger counts from the end of the slot, however early we stopped.
            None => self
                .offer
                .slot
                .end
                .plus_seconds(CHALLENGE_WINDOW_SECONDS + 1),
        };
        let ending = if self.closed_by_buyer {
            Ending::ClosedByBuyer
        } else {
            Ending::SlotOver
        };
        self.ending.get_or_insert(ending);
        self.stage = if self.state.is_final() {
            Stage::Closed
        } else {
            Stage::Settling { at, attempts: 0 }
        };
        self.changed_at = now;
        ProviderAction::Stop(id)
    }
}
