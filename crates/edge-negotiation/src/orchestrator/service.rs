//! Service while a workload runs: what is checked when, how much of it was measured, and what is due for it.

use std::time::Duration;

use edge_types::{AgreementId, Amount, Rtt, UtcTime};

use super::{Action, Asked, Heard, Interval, Negotiation, NegotiationState, Now};

impl Negotiation {
    /// Everything due to the provider by now.
    pub fn due(&self) -> Amount {
        let Some(offer) = self.offer() else {
            return Amount::wei(0);
        };
        let price = offer.price_per_second;
        let end = self.ends_at().unwrap_or(offer.slot.end);
        let slot = end.seconds_since(offer.slot.start);
        let served = self.service.served.as_secs().min(slot);
        let promised = u128::from(slot) * u128::from(offer.sla.availability_ppm);
        let is_over = matches!(
            self.state,
            NegotiationState::Settling | NegotiationState::Settled
        );
        let kept = is_over && served > 0 && u128::from(served) * 1_000_000 >= promised;
        price
            .times(if kept { slot } else { served })
            .unwrap_or(Amount { units: 0, ..price })
    }

    /// The health check, receipt or look at the ledger that is due while the workload runs.
    pub(super) fn serve(&mut self, id: AgreementId, now: Now) -> Option<Action> {
        let receipt_is_due =
            self.state == NegotiationState::Running && now.monotonic >= self.service.next_receipt;
        let (asked, action) = if receipt_is_due {
            self.service.next_receipt = now.monotonic.after(self.receipt_interval());
            self.close_interval(now);
            (Asked::Receipt, Action::SendReceipt(id, self.due()))
        } else if now.monotonic >= self.service.next_check {
            (Asked::Health, Action::CheckHealth(id))
        } else if now.monotonic >= self.service.next_look {
            (Asked::Ledger, Action::ReadLedger(id))
        } else {
            return None;
        };
        self.service.asked = asked;
        Some(action)
    }

    /// Takes note of what a client, or the site, tells of the service while the workload runs.
    pub fn hear(&mut self, heard: Heard) {
        if matches!(
            self.state,
            NegotiationState::Running | NegotiationState::Draining
        ) {
            self.levels.hear(heard);
        }
    }

    /// The latest receipt intervals, oldest first.
    pub fn intervals(&self) -> impl Iterator<Item = &Interval> {
        self.levels.past()
    }

    /// A receipt interval is over: what was served in it is taken off again if the promised round trip was missed.
    pub(super) fn close_interval(&mut self, now: Now) {
        let Some(offer) = self.offer() else { return };
        if now.utc < offer.slot.start || !self.was_deployed {
            return;
        }
        let promised = u64::from(offer.sla.round_trip_ms);
        let promise = (promised > 0).then_some(Rtt(Duration::from_millis(promised)));
        let (start, served) = (offer.slot.start, self.service.served);
        let unpaid = self.levels.close(promise, start, now.utc, served);
        self.service.served = served.saturating_sub(unpaid);
    }

    pub(super) fn receipt_interval(&self) -> Duration {
        let seconds = self
            .offer()
            .map_or(1, |offer| offer.sla.receipt_interval_seconds.max(1));
        Duration::from_secs(seconds.into())
    }

    pub(super) fn deploy_at(&self) -> UtcTime {
        let start = self.offer().map_or(UtcTime(0), |offer| offer.slot.start);
        UtcTime(start.0.saturating_sub(self.pace.deploy_lead_seconds))
    }

    /// Adds the time since the last good check to the service measured, as far as it lies in the slot.
    pub(super) fn count_service(&mut self, now: Now) {
        let began = self.offer().is_some_and(|offer| now.utc > offer.slot.start);
        if let Some(since) = self.service.good_since.filter(|_| began) {
            self.service.served += now.monotonic.since(since);
        }
    }

    /// The process was away and measured nothing. A site that answers right after served all the while: that we did not
    /// look is not its fault.
    pub(super) fn count_absence(&mut self, is_healthy: bool, now: Now) {
        let start = self.offer().map_or(UtcTime(0), |offer| offer.slot.start);
        let away = self.service.away_since.take();
        if let Some(since) = away.filter(|_| is_healthy) {
            let seconds = now.utc.seconds_since(since.max(start));
            self.service.served += Duration::from_secs(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use edge_types::MonotonicTime;

    use super::super::{NegotiationRecord, Pace};
    use super::*;
    use crate::escrow::tests::offer;

    fn now(seconds: u64) -> Now {
        Now {
            monotonic: MonotonicTime(Duration::from_secs(seconds)),
            utc: UtcTime(1_000 + seconds),
        }
    }

    /// A workload that runs since the slot began.
    fn running() -> Negotiation {
        let record = NegotiationRecord {
            state: NegotiationState::Running,
            offer: offer(1),
            reservation: None,
            confirmation: None,
            was_paid: true,
            was_deployed: true,
            receipt_sent: false,
            stops_at: None,
            rejection: None,
            failure: None,
            served: Duration::ZERO,
            good_at: None,
            intervals: Vec::new(),
        };
        Negotiation::resume(Pace::default(), record, now(0))
    }

    /// What is due of 20 seconds, watched once a second, with these in which it does not answer.
    fn served_seconds(silent: &[u64]) -> u128 {
        let mut negotiation = running();
        for second in 0..=20 {
            negotiation.handle_health(!silent.contains(&second), now(second));
        }
        negotiation.due().units / 1_000
    }

    #[test]
    fn one_failed_check_is_no_outage_but_two_are() {
        assert_eq!(served_seconds(&[]), 20);
        assert_eq!(served_seconds(&[5, 10]), 20);
        assert_eq!(
            served_seconds(&[5, 6]),
            17,
            "from the last good check to the next"
        );
    }

    #[test]
    fn a_site_in_doubt_gets_no_clients_and_is_asked_again_soon() {
        let mut negotiation = running();
        negotiation.handle_health(true, now(1));
        assert!(negotiation.serves());
        negotiation.handle_health(false, now(2));
        assert!(!negotiation.serves());
        let next = negotiation.service.next_check.since(now(2).monotonic);
        assert!(next < Pace::default().health_interval, "{next:?}");
    }
}
