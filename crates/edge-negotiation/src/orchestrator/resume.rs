//! A negotiation that outlives its process: what is written down of it, and how it goes on.

use std::time::Duration;

use edge_types::{Confirmation, Offer, RejectReason, ReservationId, UtcTime};

use super::level::Levels;
use super::{
    Interval, Negotiation, NegotiationFailure, NegotiationState, Now, Pace, Service, Step,
};
use crate::green_list::GreenListed;

/// Everything of a negotiation that its next process has to know. Written before what [`Negotiation::poll_action`] gives is
/// carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiationRecord {
    /// Where it stands; from `AwaitingContract` or `Reserving` on.
    pub state: NegotiationState,
    /// The offer, which was green-listed before it came here.
    pub offer: Offer,
    /// The reservation and its end.
    pub reservation: Option<(ReservationId, UtcTime)>,
    /// The provider's confirmation, to be brought along with the payment.
    pub confirmation: Option<Confirmation>,
    /// The payment was begun; whether it came to be, the ledger knows.
    pub was_paid: bool,
    /// The provider took the workload.
    pub was_deployed: bool,
    /// The provider has our last word.
    pub receipt_sent: bool,
    /// When the provider stops, if by notice before the end of the slot.
    pub stops_at: Option<UtcTime>,
    /// Why the provider says that it will not.
    pub rejection: Option<RejectReason>,
    /// What went wrong with the service.
    pub failure: Option<NegotiationFailure>,
    /// Service measured, as far as it was good.
    pub served: Duration,
    /// The last good health check, while it serves.
    pub good_at: Option<UtcTime>,
    /// The latest receipt intervals, oldest first.
    pub intervals: Vec<Interval>,
}

impl NegotiationRecord {
    /// A contract that people made and both signed: the provider has yet to be told. The caller has verified the signatures.
    pub const fn of_contract(offer: Offer, confirmation: Confirmation) -> Self {
        Self {
            state: NegotiationState::Proposed,
            offer,
            reservation: None,
            confirmation: Some(confirmation),
            was_paid: true,
            was_deployed: false,
            receipt_sent: false,
            stops_at: None,
            rejection: None,
            failure: None,
            served: Duration::ZERO,
            good_at: None,
            intervals: Vec::new(),
        }
    }
}

impl Negotiation {
    /// What is to be written down; none before a plan selected the offer, since nothing rests on it before.
    pub fn record(&self, now: Now) -> Option<NegotiationRecord> {
        use NegotiationState as S;
        if matches!(self.state, S::Idle | S::HelloSent | S::Offered) {
            return None;
        }
        let good_at = self.service.good_since.map(|since| {
            let ago = now.monotonic.since(since).as_secs();
            UtcTime(now.utc.0.saturating_sub(ago))
        });
        Some(NegotiationRecord {
            state: self.state.clone(),
            offer: self.offer()?.clone(),
            reservation: self.reservation,
            confirmation: self.confirmation,
            was_paid: self.was_paid,
            was_deployed: self.was_deployed,
            receipt_sent: self.receipt_sent,
            stops_at: self.stops_at,
            rejection: self.rejection.clone(),
            failure: self.failure.clone(),
            served: self.service.served,
            good_at: good_at.or(self.service.away_since),
            intervals: self.intervals().cloned().collect(),
        })
    }

    /// Goes on where an earlier process wrote that it was. What was under way is tried again, except for a payment: there
    /// the ledger is asked.
    pub fn resume(pace: Pace, record: NegotiationRecord, now: Now) -> Self {
        Self {
            pace,
            wanted: None,
            state: record.state,
            offer: Some(GreenListed::again(record.offer)),
            reservation: record.reservation,
            confirmation: record.confirmation,
            time_is_up: false,
            was_paid: record.was_paid,
            was_deployed: record.was_deployed,
            receipt_sent: record.receipt_sent,
            own_settlement_due: false,
            was_claimed: false,
            denies_claim: false,
            stops_at: record.stops_at,
            rejection: record.rejection,
            failure: record.failure,
            step: Step {
                not_before: now.monotonic,
                ..Step::default()
            },
            service: Service {
                deployed_at: now.monotonic,
                served: record.served,
                next_check: now.monotonic,
                // Once it is known whether it served while we were away.
                next_receipt: now.monotonic.after(pace.health_interval),
                away_since: record.good_at,
                ..Service::default()
            },
            levels: Levels::resume(record.intervals, record.served),
        }
    }
}
