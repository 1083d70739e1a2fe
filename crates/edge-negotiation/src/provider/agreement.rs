//! One agreement as its provider sees it, and what falls due of it.

use edge_types::{
    AgreementId, AgreementRecord, AgreementState, Amount, ChainAddress, Claim, Generation, Offer,
    Receipt, RejectReason, UtcTime,
};

use super::{Answer, BookLimits, ProviderAction};

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
    /// The stop of which the ledger was given notice: the hardware is taken back before the end of the slot.
    pub notice: Option<UtcTime>,
    /// What we claim, once the ledger shows it.
    pub claim: Option<Claim>,
    /// Service so far, without the time since `runs_since`.
    pub served_seconds: u64,
    /// Since when the workload runs, not before the slot.
    pub runs_since: Option<UtcTime>,
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
    /// The buyer no longer said that it owes anything, or not nearly enough.
    #[error("the buyer's receipts stayed out, or were for too little")]
    NoReceipts,
    /// We took the hardware back, after notice.
    #[error("the hardware was taken back after notice")]
    Reclaimed,
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
    /// From when on anyone can end a claim or dispute; `None` if the ledger was not asked yet.
    pub(super) closable_at: Option<UtcTime>,
}

/// How often the ledger is asked while it serves, seconds: often enough to begin a notice period in time.
pub(super) fn compare_seconds(offer: &Offer, limits: &BookLimits) -> u64 {
    let half = u64::from(offer.sla.notice_seconds / 2);
    limits.compare_seconds.min(half.max(2))
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

    /// When the buyer's silence ends the service, or receipts that are worth no more than silence.
    pub(super) fn patience_ends(&self, limits: &BookLimits) -> UtcTime {
        let patience = self.patience(limits);
        let silence = self.receipt_at.max(self.offer.slot.start);
        let silence = silence.plus_seconds(patience);
        let credit = self.credit_ends(patience);
        credit.map_or(silence, |credit| credit.min(silence))
    }

    /// How long is served on credit, seconds.
    pub(super) fn patience(&self, limits: &BookLimits) -> u64 {
        let interval = u64::from(self.offer.sla.receipt_interval_seconds.max(1));
        let patience = interval * u64::from(limits.missed_receipts);
        patience.max(limits.patience_at_least_seconds)
    }

    /// When so many seconds were served beyond what the buyer acknowledged. It may find the service worse than we do, but
    /// only by as much as the promised availability leaves open, intervals that missed the promised round trip included. `None` while nothing runs.
    fn credit_ends(&self, patience: u64) -> Option<UtcTime> {
        let since = self.runs_since?;
        let price = self.offer.price_per_second.units;
        let acknowledged = self.due().units.checked_div(price)?;
        let seconds = acknowledged.saturating_add(patience.into());
        let promised = u128::from(self.offer.sla.availability_ppm.max(1));
        let served = seconds.saturating_mul(1_000_000) / promised;
        let served = u64::try_from(served).unwrap_or(u64::MAX);
        Some(since.plus_seconds(served.saturating_sub(self.served_seconds)))
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

    /// A process has begun that remembers nothing but this: what was under way is taken up at once. Of the time before it
    /// counts as served what a receipt proves.
    pub(super) fn resume(&mut self, now: UtcTime) {
        self.doubt = Doubt {
            ask_at: now,
            ..Doubt::default()
        };
        self.count_service(self.receipt_at.min(self.ends_at));
        if let Stage::Settling { at, .. } = &mut self.stage {
            *at = (*at).min(now);
        }
    }

    /// What the ledger shows of an agreement that is being served; true if that changes anything.
    pub(super) fn handle_ledger(&mut self, record: Option<&AgreementRecord>, now: UtcTime) -> bool {
        if !self.is_serving() {
            return false;
        }
        let ending = match record.map(|record| (record.state, record.ends_at)) {
            Some((AgreementState::Confirmed, stop)) if stop < self.ends_on_ledger() => {
                self.doubt.missing_since = None;
                self.notice = Some(stop);
                self.ends_at = self.ends_at.min(stop);
                self.ending.get_or_insert(Ending::Reclaimed);
                return true;
            }
            Some((
                AgreementState::Confirmed | AgreementState::Claimed | AgreementState::Disputed,
                _,
            )) => {
                self.doubt.missing_since = None;
                return false;
            }
            Some((state, _)) if state.is_final() => {
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

    /// The workload runs; true if that is news.
    pub(super) fn handle_running(&mut self, now: UtcTime) -> bool {
        let is_news = self.is_serving() && self.runs_since.is_none();
        if is_news {
            self.runs_since = Some(now.max(self.offer.slot.start));
        }
        is_news
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
            Stage::Settling { at, attempts } if now >= at => self.settle(id, limits, attempts, now),
            Stage::Serving | Stage::Draining if now >= self.doubt.ask_at => {
                self.doubt.ask_at = now.plus_seconds(compare_seconds(&self.offer, limits));
                Some(ProviderAction::Compare(id))
            }
            _ => None,
        }
    }

    fn stop(&mut self, id: AgreementId, limits: &BookLimits, now: UtcTime) -> ProviderAction {
        self.count_service(self.ends_at);
        let ending = if self.closed_by_buyer {
            Ending::ClosedByBuyer
        } else {
            Ending::SlotOver
        };
        self.ending.get_or_insert(ending);
        self.stage = if self.state.is_final() {
            Stage::Closed
        } else {
            let (_, at) = self.next_step(limits, now);
            Stage::Settling { at, attempts: 0 }
        };
        self.changed_at = now;
        ProviderAction::Stop(id)
    }
}
