//! What the ledger shows of a negotiation: agreement, notice, claims, and the end.

use std::time::Duration;

use edge_types::{AgreementRecord, AgreementState, ChainTime, Claim, RejectReason};

use super::{Negotiation, NegotiationFailure, NegotiationState, Now, Step};
use crate::escrow::{PROVIDER_WINDOW_SECONDS, paid_by_silence};

impl Negotiation {
    /// What the ledger shows.
    pub fn handle_ledger(
        &mut self,
        record: Option<&AgreementRecord>,
        chain_now: ChainTime,
        now: Now,
    ) {
        use NegotiationState as S;
        if self.state.is_final() || !self.was_paid {
            return;
        }
        let serves = matches!(self.state, S::Deploying | S::Running);
        self.step = Step {
            not_before: if serves {
                now.monotonic
            } else {
                now.monotonic.after(self.pace.ledger_interval)
            },
            ..Step::default()
        };
        self.service.next_look = now.monotonic.after(self.look_interval());
        let Some(record) = record.filter(|record| Some(record.id) == self.agreement()) else {
            let offer_is_over = self
                .offer()
                .is_some_and(|offer| offer.expires.0.saturating_add(60) < chain_now.0);
            if self.state == S::Reserved && offer_is_over {
                self.fail(NegotiationFailure::NotFunded, now);
            }
            return;
        };
        self.note_notice(record);
        match (record.state, &self.state) {
            (AgreementState::Rejected, _) => {
                let reason = self.rejection.take().unwrap_or(RejectReason::SlotTaken);
                self.enter(S::Rejected(reason), now);
            }
            (AgreementState::Expired, _) => self.enter(S::Expired, now),
            (AgreementState::Settled, _) => self.enter(S::Settled, now),
            (AgreementState::Proposed, S::Reserved) => self.enter(S::Proposed, now),
            (AgreementState::Proposed, _) => {
                self.time_is_up = record.deadline.is_some_and(|deadline| chain_now > deadline);
            }
            // Agreed with the payment: the provider still has to be told.
            (AgreementState::Confirmed, S::Reserved) => self.enter(S::Proposed, now),
            (
                AgreementState::Confirmed | AgreementState::Claimed | AgreementState::Disputed,
                S::Reserved | S::Proposed | S::Acknowledged,
            ) => {
                if self.failure.is_some() {
                    self.end_service(None, now);
                } else {
                    self.enter(S::Confirmed, now);
                }
            }
            (AgreementState::Confirmed, S::Settling) => {
                let window = record.ends_at.0.saturating_add(PROVIDER_WINDOW_SECONDS);
                self.own_settlement_due = chain_now.0 > window;
            }
            (AgreementState::Claimed | AgreementState::Disputed, S::Settling) => {
                self.own_settlement_due = false;
                self.time_is_up = record.deadline.is_some_and(|deadline| chain_now > deadline);
                self.denies_claim = record.state == AgreementState::Claimed
                    && !self.time_is_up
                    && record.claim.is_some_and(|claim| self.denies(claim));
                if !self.was_claimed {
                    // It may have missed our last word.
                    self.was_claimed = true;
                    self.receipt_sent = false;
                    self.step.not_before = now.monotonic;
                }
            }
            (AgreementState::Confirmed | AgreementState::Claimed | AgreementState::Disputed, _) => {
            }
        }
    }

    /// The provider takes its hardware back before the end of the slot.
    fn note_notice(&mut self, record: &AgreementRecord) {
        let is_early = self
            .ends_at()
            .is_some_and(|known_end| record.ends_at < known_end);
        if record.state == AgreementState::Confirmed && is_early {
            self.stops_at = Some(record.ends_at);
            self.failure = self.failure.take().or(Some(NegotiationFailure::Reclaimed));
        }
    }

    /// Would silence pay more of a claim than is due, and than we failed to watch?
    fn denies(&self, claim: Claim) -> bool {
        let Some(offer) = self.offer() else {
            return false;
        };
        let unwatched = match (self.service.away_since, self.ends_at()) {
            (Some(since), Some(end)) => end.seconds_since(since.max(offer.slot.start)),
            _ => 0,
        };
        let unwatched = offer
            .price_per_second
            .units
            .saturating_mul(unwatched.into());
        paid_by_silence(offer, claim) > self.due().units.saturating_add(unwatched)
    }

    /// How often the ledger is looked at while it serves: often enough to leave in time after a notice.
    pub(super) fn look_interval(&self) -> Duration {
        let notice = self.offer().map_or(0, |offer| offer.sla.notice_seconds);
        let half = Duration::from_secs(u64::from(notice / 2).max(1));
        self.pace.compare_interval.min(half)
    }
}
