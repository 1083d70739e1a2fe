//! One negotiation with one IEP, as its buyer sees it: from hello to the money's division.
//!
//! ```text
//! Idle -> HelloSent -> Offered -> Reserving -> Reserved -> Proposed -> Acknowledged -> Confirmed -> Deploying
//!      -> Running -> Draining -> Settling -> Settled
//! before money: -> Failed, Rejected, Expired        after money: -> Rejected, Expired, Settled by the ledger's word
//! contact offers: Offered -> AwaitingContract -> Expired, since a contract that people made is another negotiation
//! ```
//!
//! ## Rule
//! One action is under way at a time; it succeeds, fails, or times out, and is then tried again up to a bound. Paying is
//! the exception: a transaction whose fate is unknown is never sent twice, the ledger is asked instead until the offer
//! can no longer be taken up. Once money is in escrow only the ledger ends the negotiation, since nothing else gives it
//! back: what a provider says by HTTP is noted, and what the ledger shows counts.
//!
//! ## What is due
//! Seconds between two good health checks, times the price; the whole deposit if they reach the promised share of the
//! slot. Time in which nobody was served is not paid, and neither are receipt intervals in which clients were farther from the site
//! than it promised (see `level.rs`).
//!
//! ## Claims and notice
//! What a provider claims is denied if silence would pay more of it than is due and than was watched over. A provider that
//! gives notice is left by its stop, which takes the place of the end of the slot in everything above.

use std::time::Duration;

use edge_types::{
    AgreementId, Confirmation, MonotonicTime, Offer, Preferences, RejectReason, ReservationId,
    Settlement, UtcTime,
};

use crate::escrow::{ARBITRATION_SECONDS, CHALLENGE_WINDOW_SECONDS};
use crate::green_list::{Evidence, GreenListPolicy, GreenListed, green_list};
use level::Levels;

mod ledger;
mod level;
mod resume;
mod service;
mod state;

pub use level::{FEWEST_OF_ONE, Heard, Interval, Verdict, is_too_short};
pub use resume::NegotiationRecord;
pub use state::{Action, NegotiationFailure, NegotiationState, Now, Pace};

/// One negotiation with one IEP.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one fact that outlives the state in which it became true"
)]
pub struct Negotiation {
    pace: Pace,
    /// What is asked for and accepted; none after a restart, when that is decided already.
    wanted: Option<(GreenListPolicy, Preferences)>,
    state: NegotiationState,
    offer: Option<GreenListed>,
    reservation: Option<(ReservationId, UtcTime)>,
    confirmation: Option<Confirmation>,
    time_is_up: bool,
    was_paid: bool,
    was_deployed: bool,
    receipt_sent: bool,
    own_settlement_due: bool,
    /// The provider claims something, and has heard our last word about that.
    was_claimed: bool,
    /// What it claims is more than we owe.
    denies_claim: bool,
    /// When the provider stops, if by notice before the end of the slot.
    stops_at: Option<UtcTime>,
    rejection: Option<RejectReason>,
    failure: Option<NegotiationFailure>,
    step: Step,
    service: Service,
    levels: Levels,
}

/// The action under way and its history.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    under_way_until: Option<MonotonicTime>,
    not_before: MonotonicTime,
    failures: u32,
}

/// Measured service.
#[derive(Clone, Copy, Debug, Default)]
struct Service {
    deployed_at: MonotonicTime,
    good_since: Option<MonotonicTime>,
    served: Duration,
    bad_checks: u32,
    next_check: MonotonicTime,
    next_receipt: MonotonicTime,
    next_look: MonotonicTime,
    /// What was asked last.
    asked: Asked,
    /// Since when nothing is measured because the process was away.
    away_since: Option<UtcTime>,
}

/// What is asked while a workload runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    Health,
    Receipt,
    Ledger,
}

impl Negotiation {
    /// A negotiation that has not begun.
    pub fn new(pace: Pace, policy: GreenListPolicy, preferences: Preferences) -> Self {
        Self {
            pace,
            wanted: Some((policy, preferences)),
            state: NegotiationState::Idle,
            offer: None,
            reservation: None,
            confirmation: None,
            time_is_up: false,
            was_paid: false,
            was_deployed: false,
            receipt_sent: false,
            own_settlement_due: false,
            was_claimed: false,
            denies_claim: false,
            stops_at: None,
            rejection: None,
            failure: None,
            step: Step::default(),
            service: Service::default(),
            levels: Levels::default(),
        }
    }

    /// Where it stands.
    pub const fn state(&self) -> &NegotiationState {
        &self.state
    }

    /// The green-listed offer, from `Offered` on.
    pub fn offer(&self) -> Option<&Offer> {
        self.offer.as_ref().map(GreenListed::offer)
    }

    /// The agreement, once money has moved.
    pub fn agreement(&self) -> Option<AgreementId> {
        self.offer()
            .filter(|_| self.was_paid)
            .map(|offer| offer.id.into())
    }

    /// Was the payment begun?
    pub const fn was_paid(&self) -> bool {
        self.was_paid
    }

    /// What went wrong with the service, even if the negotiation itself ends as settled.
    pub const fn failure(&self) -> Option<&NegotiationFailure> {
        self.failure.as_ref()
    }

    /// Why the provider says by HTTP that it will not have it; the ledger has the last word.
    pub const fn rejection(&self) -> Option<&RejectReason> {
        self.rejection.as_ref()
    }

    /// May clients be sent there now?
    pub fn serves(&self) -> bool {
        self.state == NegotiationState::Running && self.service.bad_checks == 0
    }

    /// When the service ends: the end of the slot, or the stop of which the provider gave notice.
    pub fn ends_at(&self) -> Option<UtcTime> {
        self.offer()
            .map(|offer| self.stops_at.unwrap_or(offer.slot.end))
    }

    /// When the provider stops, if it takes its hardware back before the end of the slot.
    pub const fn is_reclaimed(&self) -> bool {
        self.stops_at.is_some()
    }

    /// Last second in which a client may still be there: nothing that we tell clients may outlive it.
    pub fn serves_until(&self) -> Option<UtcTime> {
        let notice = self.offer()?.sla.notice_seconds.into();
        Some(UtcTime(self.ends_at()?.0.saturating_sub(notice)))
    }

    /// Begins.
    pub fn start(&mut self, now: Now) {
        if self.state == NegotiationState::Idle {
            self.enter(NegotiationState::HelloSent, now);
        }
    }

    /// A plan wants this site: from here on it costs money.
    pub fn select(&mut self, now: Now) {
        if self.state != NegotiationState::Offered {
            return;
        }
        let by_contact = |offer: &Offer| matches!(offer.settlement, Settlement::Contact(_));
        let next = if self.offer().is_some_and(by_contact) {
            NegotiationState::AwaitingContract
        } else {
            NegotiationState::Reserving
        };
        self.enter(next, now);
    }

    /// No plan wants this site any more. Money in escrow is still followed to its end.
    pub fn abandon(&mut self, now: Now) {
        use NegotiationState as S;
        match self.state {
            S::Idle | S::HelloSent | S::Offered | S::AwaitingContract | S::Reserving => {
                self.fail(NegotiationFailure::Abandoned, now);
            }
            S::Reserved if !self.was_paid => self.fail(NegotiationFailure::Abandoned, now),
            S::Confirmed | S::Deploying | S::Running | S::Draining => {
                self.end_service(Some(NegotiationFailure::Abandoned), now);
            }
            S::Reserved | S::Proposed | S::Acknowledged => {
                self.failure = Some(NegotiationFailure::Abandoned);
            }
            _ => {}
        }
    }

    /// The IEP's offers, each with what the caller found out about it. The cheapest acceptable one is taken.
    pub fn handle_offers(&mut self, offers: Vec<(Offer, Evidence)>, now: Now) {
        let Some((policy, preferences)) = self.wanted.as_ref() else {
            return;
        };
        if self.state != NegotiationState::HelloSent {
            return;
        }
        let mut best: Option<GreenListed> = None;
        let mut refusal = None;
        for (offer, evidence) in offers {
            match green_list(offer, &evidence, policy, preferences.buyer, now.utc) {
                Ok(fair) => {
                    // What can be had at once comes before what people have to talk about.
                    let price = |listed: &GreenListed| {
                        let offer = listed.offer();
                        let seconds = offer.slot.seconds().into();
                        let price = offer.price_per_second.units.saturating_mul(seconds);
                        (matches!(offer.settlement, Settlement::Contact(_)), price)
                    };
                    if best.as_ref().is_none_or(|best| price(&fair) < price(best)) {
                        best = Some(fair);
                    }
                }
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        match (best, refusal) {
            (Some(fair), _) => {
                self.offer = Some(fair);
                self.enter(NegotiationState::Offered, now);
            }
            (None, Some(why)) => self.fail(NegotiationFailure::NotGreenListed(why), now),
            (None, None) => self.fail(NegotiationFailure::NoOffer, now),
        }
    }

    /// The slot is held until `until`, and perhaps confirmed if the money comes in time. The caller has verified the
    /// confirmation.
    pub fn handle_reserved(
        &mut self,
        id: ReservationId,
        until: UtcTime,
        confirmation: Option<Confirmation>,
        now: Now,
    ) {
        if self.state != NegotiationState::Reserving {
            return;
        }
        self.reservation = Some((id, until));
        self.confirmation = confirmation;
        let is_needed = self
            .offer()
            .is_some_and(|offer| offer.guarantee.answer_seconds == 0);
        if is_needed && (confirmation.is_none() || !self.can_be_paid(now)) {
            self.fail(NegotiationFailure::NotConfirmed, now);
        } else {
            self.enter(NegotiationState::Reserved, now);
        }
    }

    /// Is there time for a payment that the escrow still takes?
    fn can_be_paid(&self, now: Now) -> bool {
        let paid_by = now.utc.plus_seconds(self.pace.payment_lead_seconds);
        let confirmed = self.confirmation.map(|confirmation| confirmation.until);
        let ends = self.offer().map(|offer| offer.expires);
        confirmed.into_iter().chain(ends).all(|end| paid_by <= end)
    }

    /// The money is in escrow under this id.
    pub fn handle_proposed(&mut self, id: AgreementId, now: Now) {
        if self.state != NegotiationState::Reserved || !self.was_paid {
            return;
        }
        if self.agreement() == Some(id) {
            self.enter(NegotiationState::Proposed, now);
        } else {
            self.fail(NegotiationFailure::WrongAgreement, now);
        }
    }

    /// For certain there is no payment, for this reason: no transaction was sent, or it was mined and failed.
    pub fn handle_not_proposed(&mut self, why: NegotiationFailure, now: Now) {
        use NegotiationState as S;
        if self.state == S::Reserving || (self.state == S::Reserved && self.was_paid) {
            self.was_paid = false;
            self.fail(why, now);
        }
    }

    /// The provider took note of the acknowledgment.
    pub fn handle_acknowledged(&mut self, now: Now) {
        if self.state == NegotiationState::Proposed {
            self.enter(NegotiationState::Acknowledged, now);
        }
    }

    /// The provider refused the step under way. Before money moved that is the end; afterwards the ledger decides.
    pub fn handle_rejected(&mut self, reason: RejectReason, now: Now) {
        use NegotiationState as S;
        let may_pass = matches!(reason, RejectReason::TooManyReservations { .. });
        match self.state {
            S::HelloSent | S::Reserving if !may_pass => self.enter(S::Rejected(reason), now),
            // Its node is behind ours, and will show what ours shows.
            S::Proposed if reason == RejectReason::NotFunded && !self.is_local() => {
                self.rejection = Some(reason);
                self.handle_failed(now);
            }
            // Our own book shows what it confirmed, and will show nothing else.
            S::Proposed if self.is_local() => {
                self.rejection = Some(reason);
                self.end_service(Some(NegotiationFailure::NotHonoured), now);
            }
            S::Proposed => {
                self.rejection = Some(reason);
                self.enter(S::Acknowledged, now);
            }
            S::Deploying if !self.was_deployed => {
                self.rejection = Some(reason);
                self.end_service(Some(NegotiationFailure::NeverHealthy), now);
            }
            S::Settling if !self.receipt_sent => {
                // It will not take our last word, perhaps because it has settled already: the ledger knows.
                self.receipt_sent = true;
                self.enter(S::Settling, now);
            }
            _ => self.handle_failed(now),
        }
    }

    /// The action under way (deploy, expire, receipt, settlement) is done.
    pub fn handle_done(&mut self, now: Now) {
        if self.step.under_way_until.is_none() {
            return;
        }
        self.step = Step::default();
        match self.state {
            NegotiationState::Deploying => {
                self.was_deployed = true;
                self.service.deployed_at = now.monotonic;
            }
            NegotiationState::Settling if !self.receipt_sent => self.receipt_sent = true,
            NegotiationState::Acknowledged | NegotiationState::Settling => {
                self.time_is_up = false;
                self.own_settlement_due = false;
                self.denies_claim = false;
            }
            _ => {}
        }
    }

    /// Did the workload answer its health check?
    pub fn handle_health(&mut self, is_healthy: bool, now: Now) {
        use NegotiationState as S;
        if !matches!(self.state, S::Deploying | S::Running) || !self.was_deployed {
            return;
        }
        self.step = Step::default();
        self.service.next_check = now.monotonic.after(self.pace.health_interval);
        self.count_absence(is_healthy, now);
        if is_healthy {
            self.count_service(now);
            self.service.good_since = Some(now.monotonic);
            self.service.bad_checks = 0;
            if self.state == S::Deploying {
                let first = self.receipt_interval();
                self.service.next_receipt = now.monotonic.after(first);
                self.enter(S::Running, now);
            }
        } else {
            self.service.bad_checks += 1;
            if self.service.bad_checks == 1 && self.service.good_since.is_some() {
                // One lost packet is no outage: only what a second check denies too counts as one.
                self.service.next_check = now.monotonic.after(self.pace.health_interval / 4);
            } else {
                self.service.good_since = None;
            }
            // Perhaps it gave notice, and answers clients with the way back.
            self.service.next_look = now.monotonic;
            let given_up = match self.state {
                S::Deploying => {
                    let waited = now.monotonic.since(self.service.deployed_at);
                    (waited >= self.pace.start_timeout).then_some(NegotiationFailure::NeverHealthy)
                }
                _ => (self.service.bad_checks >= self.pace.health_failures)
                    .then_some(NegotiationFailure::Unhealthy),
            };
            if given_up.is_some() {
                self.end_service(given_up, now);
            }
        }
    }

    /// The action under way failed; it is tried again, or given up after enough attempts.
    pub fn handle_failed(&mut self, now: Now) {
        use NegotiationState as S;
        if self.step.under_way_until.take().is_none() {
            return;
        }
        if matches!(self.state, S::Running) || (self.state == S::Deploying && self.was_deployed) {
            let later = now.monotonic.after(self.pace.retry * 4);
            match self.service.asked {
                Asked::Health => self.handle_health(false, now),
                Asked::Receipt => self.service.next_receipt = later,
                Asked::Ledger => self.service.next_look = later,
            }
            return;
        }
        // Somebody else may have done it: the ledger is read again before it is tried again.
        self.time_is_up = false;
        self.own_settlement_due = false;
        self.denies_claim = false;
        self.step.failures += 1;
        let factor = 1 << self.step.failures.min(3);
        self.step.not_before = now.monotonic.after(self.pace.retry * factor);
        if self.step.failures < self.pace.attempts {
            return;
        }
        let attempts = self.step.failures;
        let no_answer = |step| NegotiationFailure::NoAnswer { step, attempts };
        match self.state {
            S::HelloSent => self.fail(no_answer("hello"), now),
            S::Reserving => self.fail(no_answer("reservation"), now),
            // Nobody but we can tell it, before the slot is over.
            S::Proposed if self.is_local() => {
                self.step.failures = 0;
                self.step.not_before = now.monotonic.after(self.pace.action_timeout);
            }
            S::Proposed => self.enter(S::Acknowledged, now),
            S::Deploying => self.end_service(Some(no_answer("deployment")), now),
            S::Settling => {
                self.receipt_sent = true;
                self.step.failures = 0;
            }
            _ => self.step.failures = 0,
        }
    }

    /// What to do now, if anything. Each call may also move the state on by time.
    pub fn poll_action(&mut self, now: Now) -> Option<Action> {
        use NegotiationState as S;
        self.advance(now);
        match self.step.under_way_until {
            Some(until) if now.monotonic < until => return None,
            Some(_) => self.handle_failed(now),
            None => {}
        }
        if self.state.is_final() || now.monotonic < self.step.not_before {
            return None;
        }
        let offer = self.offer.clone();
        let id = self.agreement();
        let action = match (&self.state, offer) {
            (S::HelloSent, _) => {
                let (_, preferences) = self.wanted.as_ref()?;
                Action::SendHello(preferences.clone())
            }
            (S::Reserving, Some(offer)) => Action::Reserve(offer.offer().clone()),
            (S::Reserved, Some(offer)) if !self.was_paid => {
                self.was_paid = true;
                Action::Propose {
                    offer,
                    confirmation: self.confirmation,
                }
            }
            (S::Proposed, Some(offer)) => Action::Acknowledge {
                offer: offer.offer().clone(),
                // A contract that people made has none.
                reservation: self
                    .reservation
                    .map_or(ReservationId([0; 32]), |(id, _)| id),
            },
            (S::Acknowledged | S::Settling, _) if self.time_is_up => Action::CloseOnLedger(id?),
            (S::Deploying, _) if !self.was_deployed => Action::Deploy(id?),
            (S::Deploying | S::Running, _) => self.serve(id?, now)?,
            (S::Settling, _) if !self.receipt_sent => Action::SettleWithReceipt(id?, self.due()),
            (S::Settling, _) if self.denies_claim => Action::Dispute(id?),
            (S::Settling, _) if self.own_settlement_due => Action::SettleOnLedger(id?, self.due()),
            (S::Reserved | S::Acknowledged | S::Settling, _) => Action::ReadLedger(id?),
            _ => return None,
        };
        self.step.under_way_until = Some(now.monotonic.after(self.pace.action_timeout));
        Some(action)
    }

    /// How long to wait before the next [`Negotiation::poll_action`] if nothing comes in; `None` if it is final, or waits
    /// only for the caller.
    pub fn poll_timeout(&self, now: Now) -> Option<Duration> {
        use NegotiationState as S;
        let until = |at: UtcTime| Duration::from_secs(at.seconds_since(now.utc));
        let step = self.step.under_way_until.unwrap_or(self.step.not_before);
        let step = step.since(now.monotonic);
        let offer = self.offer()?;
        Some(match self.state {
            S::Idle => return None,
            _ if self.state.is_final() => return None,
            S::Offered => until(offer.expires.plus_seconds(1)),
            S::AwaitingContract => until(offer.slot.end),
            S::Confirmed => until(self.deploy_at()),
            S::Draining => until(self.ends_at()?),
            S::Deploying | S::Running => {
                let receipt = self.service.next_receipt;
                let next = self.service.next_check.min(receipt);
                let next = next.min(self.service.next_look);
                step.max(next.since(now.monotonic))
                    .min(until(self.serves_until()?))
            }
            _ => step,
        })
    }

    /// Moves on what time alone moves.
    fn advance(&mut self, now: Now) {
        use NegotiationState as S;
        let Some(offer) = self.offer().cloned() else {
            return;
        };
        let too_late = now.utc > offer.expires || now.utc >= offer.slot.end;
        match self.state {
            S::Offered | S::Reserving if too_late => self.enter(S::Expired, now),
            S::Reserved
                if !self.was_paid
                    && (!self.can_be_paid(now)
                        || too_late
                        || self.reservation.is_none_or(|(_, until)| now.utc >= until)) =>
            {
                self.enter(S::Expired, now);
            }
            S::AwaitingContract if now.utc >= offer.slot.end => self.enter(S::Expired, now),
            S::Proposed if self.is_local() && now.utc >= offer.slot.end => {
                self.end_service(Some(NegotiationFailure::NotHonoured), now);
            }
            S::Confirmed if now.utc >= self.deploy_at() => self.enter(S::Deploying, now),
            _ => {}
        }
        if matches!(self.state, S::Deploying | S::Running)
            && self.serves_until().is_some_and(|until| now.utc >= until)
        {
            if self.state == S::Deploying {
                self.end_service(Some(NegotiationFailure::NeverHealthy), now);
            } else {
                self.enter(S::Draining, now);
            }
        }
        if self.state == S::Draining && self.ends_at().is_some_and(|end| now.utc >= end) {
            self.end_service(None, now);
        }
        let hopeless = 2 * CHALLENGE_WINDOW_SECONDS + ARBITRATION_SECONDS;
        let hopeless = offer.slot.end.plus_seconds(hopeless);
        if self.was_paid && !self.state.is_final() && now.utc >= hopeless {
            self.fail(NegotiationFailure::LedgerSilent, now);
        }
    }

    /// Is there nothing but the parties' own books?
    fn is_local(&self) -> bool {
        self.offer()
            .is_some_and(|offer| offer.settlement.is_local())
    }

    fn end_service(&mut self, failure: Option<NegotiationFailure>, now: Now) {
        if self.state == NegotiationState::Draining {
            // The site was healthy when the notice period began, and answers clients in it as promised.
            self.count_service(now);
        }
        self.close_interval(now);
        self.failure = self.failure.take().or(failure);
        self.enter(NegotiationState::Settling, now);
    }

    fn fail(&mut self, failure: NegotiationFailure, now: Now) {
        self.enter(NegotiationState::Failed(failure), now);
    }

    fn enter(&mut self, state: NegotiationState, now: Now) {
        self.state = state;
        self.step = Step {
            not_before: now.monotonic,
            ..Step::default()
        };
    }
}
