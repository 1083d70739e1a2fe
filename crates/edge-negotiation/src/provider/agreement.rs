//! One agreement as its provider sees it, and what falls due of it.

use edge_types::{
    AgreementId, AgreementState, Amount, ChainAddress, Generation, Offer, Receipt, RejectReason,
    UtcTime,
};

use super::{BookLimits, ProviderAction};
use crate::escrow::CHALLENGE_WINDOW_SECONDS;

/// Longest wait between two attempts to settle, seconds.
pub(super) const SETTLE_BACKOFF_SECONDS: u64 = 600;

/// One agreement as its provider sees it.
#[derive(Clone, Debug)]
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
    pub(super) deposit: Amount,
    /// The end of the slot, or earlier if somebody closed it.
    pub(super) ends_at: UtcTime,
    /// The buyer has said its last word: no further receipt is waited for.
    pub(super) closed_by_buyer: bool,
    pub(super) stage: Stage,
    pub(super) receipt_at: UtcTime,
    pub(super) changed_at: UtcTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The ledger is being told our answer.
    Answering,
    /// Confirmed; serving or about to.
    Serving,
    /// In the notice period.
    Draining,
    /// Stopped; settle at this time.
    Settling { at: UtcTime, attempts: u32 },
    /// Nothing is left to do.
    Closed,
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
            Stage::Serving | Stage::Draining if now >= end => Some(self.stop(id, limits, now)),
            Stage::Serving if now >= self.drain_at() => {
                self.stage = Stage::Draining;
                Some(ProviderAction::Drain(id))
            }
            Stage::Serving if now >= self.patience_ends(limits) => {
                let notice = self.offer.sla.notice_seconds.into();
                self.ends_at = end.min(now.plus_seconds(notice));
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
        self.stage = Stage::Settling { at, attempts: 0 };
        self.changed_at = now;
        ProviderAction::Stop(id)
    }
}
