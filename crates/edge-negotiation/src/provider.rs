//! A provider's book: what it offered, holds and sold at each of its sites, and what is due next.
//!
//! ## Rule
//! An offer holds nothing, not even memory: the buyer brings it back in full and its signature proves it ours. A
//! reservation holds hardware for the time-to-commit, free of charge, capped per buyer and for all buyers together
//! (security rule 8). Money in escrow turns it into an agreement, if the hardware is still there; what is confirmed holds
//! the hardware until the end of its slot, or until it is closed earlier.
//!
//! ## Invariant
//! At no second is more hardware of a site confirmed or held than the site has.
//!
//! ## What outlives the process
//! What changed comes out of [`ProviderBook::take_changes`], to be written down before anything rests on it, and goes into
//! [`ProviderBook::resume`] after a restart. The ledger is then told and asked again what is in doubt.
//!
//! ## Limits
//! The book trusts what its caller says about signatures and about the ledger. Its times are UTC, to the second.

use std::collections::{BTreeMap, BTreeSet};

use edge_types::agreement::detail;
use edge_types::{
    AgreementId, AgreementRecord, AgreementState, ChainAddress, ConditionMismatch, Generation,
    Guarantee, HardwareProfile, Hash32, IepId, IpNet, Offer, OfferId, Preferences, Receipt,
    RejectReason, ReservationId, ResourceLimits, Signature, Slot, UtcTime,
};

mod agreement;
mod capacity;
mod division;
mod terms;

use agreement::compare_seconds;
use capacity::fits;

pub use agreement::{Agreement, Doubt, Ending, Stage};
pub use division::{Division, Seen};
pub use terms::{BookLimits, SiteTerms};

/// Settling is tried this often, while the ledger answers, before the agreement is left to the operator.
const SETTLE_ATTEMPTS: u32 = 20;

/// What to tell the ledger about a funded agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Confirm it; then call [`ProviderBook::handle_answered`].
    Confirm,
    /// Reject it for this reason; then call [`ProviderBook::handle_answered`].
    Reject(RejectReason),
    /// It was answered before; nothing to do.
    Known(AgreementState),
}

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderAction {
    /// Tell the ledger this answer, again or for the first time; then call [`ProviderBook::handle_answered`].
    Tell(AgreementId, Answer),
    /// See that the workload runs as it should, read the ledger, and call [`ProviderBook::handle_ledger`] if it answers.
    Compare(AgreementId),
    /// The notice period has begun: answer every client with the way back to the cloud.
    Drain(AgreementId),
    /// The lease is over: stop the workload and delete its data.
    Stop(AgreementId),
    /// Divide the deposit, or begin to; then read the ledger and call [`ProviderBook::handle_settled`].
    Settle(AgreementId, Division),
    /// Only read the ledger and call [`ProviderBook::handle_settled`].
    Look(AgreementId),
}

/// How long after the last second for a payment the hardware is held for its news, seconds.
const NEWS_OF_PAYMENT_SECONDS: u64 = 60;

/// The time that the site takes for an answer on the ledger, which has to come before the slot is over.
fn answer_seconds(terms: &SiteTerms, slot: &Slot, now: UtcTime) -> u32 {
    let half = u32::try_from(slot.end.seconds_since(now) / 2).unwrap_or(u32::MAX);
    let asked = terms.guarantee.answer_seconds;
    asked.min(half.max(1))
}

/// Hardware held free of charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its name.
    pub id: ReservationId,
    /// What is held.
    pub offer: Offer,
    /// For whom.
    pub buyer: ChainAddress,
    /// The network that asked for it.
    pub source: IpNet,
    /// The money has to come by then.
    pub paid_by: UtcTime,
    /// The hardware is held so long.
    pub until: UtcTime,
}

/// Something to write down: the new state of it, or none if it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A reservation. Losing it costs nobody money.
    Reservation(OfferId, Option<Box<Reservation>>),
    /// An agreement.
    Agreement(AgreementId, Option<Box<Agreement>>),
}

/// The book of one provider.
#[derive(Clone, Debug)]
pub struct ProviderBook {
    limits: BookLimits,
    sites: BTreeMap<IepId, SiteTerms>,
    reservations: BTreeMap<OfferId, Reservation>,
    agreements: BTreeMap<AgreementId, Agreement>,
    changed_reservations: BTreeSet<OfferId>,
    changed_agreements: BTreeSet<AgreementId>,
}

impl ProviderBook {
    /// An empty book for these sites.
    pub fn new(limits: BookLimits, sites: impl IntoIterator<Item = SiteTerms>) -> Self {
        Self {
            limits,
            sites: sites
                .into_iter()
                .map(|terms| (terms.site.clone(), terms))
                .collect(),
            reservations: BTreeMap::new(),
            agreements: BTreeMap::new(),
            changed_reservations: BTreeSet::new(),
            changed_agreements: BTreeSet::new(),
        }
    }

    /// Takes up what an earlier process wrote down.
    pub fn resume(
        &mut self,
        reservations: impl IntoIterator<Item = Reservation>,
        agreements: impl IntoIterator<Item = Agreement>,
        now: UtcTime,
    ) {
        for held in reservations {
            self.reservations.insert(held.offer.id, held);
        }
        for mut agreement in agreements {
            agreement.resume(now);
            self.agreements.insert(agreement.offer.id.into(), agreement);
        }
    }

    /// What changed since this was last asked.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let reservations = std::mem::take(&mut self.changed_reservations);
        let agreements = std::mem::take(&mut self.changed_agreements);
        let reservations = reservations.into_iter().map(|id| {
            let held = self.reservations.get(&id).cloned();
            Change::Reservation(id, held.map(Box::new))
        });
        let agreements = agreements.into_iter().map(|id| {
            let agreement = self.agreements.get(&id).cloned();
            Change::Agreement(id, agreement.map(Box::new))
        });
        reservations.chain(agreements).collect()
    }

    /// These changes could not be written down: they are told again.
    pub fn put_back(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Reservation(id, _) => self.changed_reservations.insert(*id),
                Change::Agreement(id, _) => self.changed_agreements.insert(*id),
            };
        }
    }

    /// One agreement.
    pub fn agreement(&self, id: AgreementId) -> Option<&Agreement> {
        self.agreements.get(&id)
    }

    /// All agreements.
    pub fn agreements(&self) -> impl Iterator<Item = (&AgreementId, &Agreement)> {
        self.agreements.iter()
    }

    /// Answers a hello: the wanted slot if it is free, or else the next one of the same length. Id and signature of the
    /// offers are left zero for the caller to fill in.
    pub fn handle_hello(
        &self,
        site: &IepId,
        preferences: &Preferences,
        now: UtcTime,
        nonce: Hash32,
    ) -> Result<Vec<Offer>, RejectReason> {
        let terms = self.terms(site)?;
        let price = terms.price_per_second;
        let ceiling = preferences.price_ceiling_per_second;
        if ceiling.asset != price.asset || ceiling.units < price.units {
            return Err(policy(detail::PRICE));
        }
        fits(&terms.capacity, &preferences.hardware, [].iter())?;
        let suits = terms.conditions.check(&preferences.conditions);
        suits.map_err(|mismatch| policy(refusal(&mismatch)))?;
        let wanted = Slot {
            start: preferences.slot.start.max(now),
            ..preferences.slot
        };
        if wanted.seconds() <= terms.sla.notice_seconds.into()
            || wanted.start.seconds_since(now) > self.limits.horizon_seconds
        {
            return Err(policy(detail::SLOT));
        }
        let slot = self
            .next_free(terms, wanted, &preferences.hardware, now)
            .ok_or(RejectReason::SlotTaken)?;
        Ok(vec![Offer {
            id: OfferId([0; 32]),
            provider: terms.provider,
            buyer: Some(preferences.buyer),
            site: site.clone(),
            slot,
            hardware: preferences.hardware,
            price_per_second: price,
            sla: terms.sla,
            guarantee: Guarantee {
                answer_seconds: answer_seconds(terms, &slot, now),
                ..terms.guarantee
            },
            conditions: terms.conditions.clone(),
            settlement: terms.settlement.clone(),
            expires: now
                .plus_seconds(self.limits.offer_seconds.min(600))
                .min(slot.end),
            nonce,
            signature: Signature([0; 65]),
        }])
    }

    /// Holds the offered hardware for `buyer`, under the `id` that the caller drew. Asking again gives the same answer, and
    /// nobody else gets what was offered to this buyer. `source` is the network that the request came from, whose share is
    /// bounded too since keys cost nothing.
    /// The caller has verified that the offer is signed by this provider.
    pub fn handle_reservation(
        &mut self,
        offer: &Offer,
        buyer: ChainAddress,
        source: IpNet,
        id: ReservationId,
        now: UtcTime,
    ) -> Result<(ReservationId, UtcTime), RejectReason> {
        let terms = self.terms(&offer.site)?.clone();
        for_buyer(offer, buyer)?;
        self.forget(now);
        if !terms.accepts && offer.guarantee.answer_seconds == 0 {
            return Err(policy(detail::ACCEPTS_NOBODY));
        }
        if let Some(held) = self.reservations.get(&offer.id) {
            return if held.buyer == buyer {
                Ok((held.id, held.paid_by))
            } else {
                Err(RejectReason::SlotTaken)
            };
        }
        if self.agreements.contains_key(&offer.id.into()) {
            return Err(RejectReason::SlotTaken);
        }
        unexpired(offer, now)?;
        let by_buyer = self.reservations.values();
        let by_buyer = by_buyer.filter(|held| held.buyer == buyer).count();
        let held = u32::try_from(by_buyer).unwrap_or(u32::MAX);
        let limit = self.limits.reservations_per_buyer;
        if held >= limit {
            return Err(RejectReason::TooManyReservations { held, limit });
        }
        self.check_share(&terms, offer, source, now)?;
        self.check_free(&terms, offer, now)?;
        let paid_by = now
            .plus_seconds(self.limits.time_to_commit_seconds)
            .min(offer.expires);
        self.changed_reservations.insert(offer.id);
        // Who has our confirmation can pay until then without asking, and tells us afterwards.
        let until = if offer.guarantee.answer_seconds == 0 {
            paid_by.plus_seconds(NEWS_OF_PAYMENT_SECONDS)
        } else {
            paid_by
        };
        self.reservations.insert(
            offer.id,
            Reservation {
                id,
                offer: offer.clone(),
                buyer,
                source,
                paid_by,
                until,
            },
        );
        Ok((id, paid_by))
    }

    /// Decides about a positive acknowledgment by `buyer`, given what the ledger shows of it. Without a reservation (it
    /// ran out, or we restarted) it is accepted if the hardware happens to be free. The caller has verified that the
    /// offer is signed by this provider and the request by `buyer`.
    pub fn handle_agreement(
        &mut self,
        offer: &Offer,
        buyer: ChainAddress,
        record: Option<&AgreementRecord>,
        now: UtcTime,
    ) -> Result<Answer, RejectReason> {
        let terms = self.terms(&offer.site)?.clone();
        for_buyer(offer, buyer)?;
        self.forget(now);
        let id = AgreementId::from(offer.id);
        let record = record
            .filter(|record| {
                record.id == id
                    && record.provider == offer.provider
                    && record.slot == offer.slot
                    && record.price_per_second == offer.price_per_second
            })
            .ok_or(RejectReason::NotFunded)?;
        if record.buyer != buyer {
            return Err(RejectReason::NotAuthorised {
                detail: detail::KEY,
            });
        }
        if let Some(known) = self.agreements.get(&id) {
            return Ok(Answer::Known(known.state));
        }
        if record.state.is_final() {
            return Ok(Answer::Known(record.state));
        }
        if self.agreements.len() >= self.limits.agreements {
            return Ok(Answer::Reject(policy(detail::FULL)));
        }
        let held = self.reservations.remove(&offer.id);
        if held.is_some() {
            self.changed_reservations.insert(offer.id);
        }
        let adopted = record.state == AgreementState::Confirmed;
        let is_held = held.is_some_and(|held| held.buyer == buyer);
        let verdict = if adopted && !is_held {
            // Agreed, but we forgot: without hardware it cannot be served, and nobody will sign for it.
            self.check_free(&terms, offer, now)?;
            Ok(())
        } else if is_held && (adopted || terms.accepts) {
            Ok(())
        } else if !terms.accepts {
            Err(policy(detail::ACCEPTS_NOBODY))
        } else {
            unexpired(offer, now).and_then(|()| self.check_free(&terms, offer, now))
        };
        self.changed_agreements.insert(id);
        self.agreements.insert(
            id,
            Agreement {
                offer: offer.clone(),
                buyer,
                state: record.state,
                reason: verdict.clone().err(),
                generation: Generation(0),
                receipt: None,
                deposit: record.deposit,
                ends_at: offer.slot.end,
                notice: None,
                claim: None,
                served_seconds: 0,
                runs_since: None,
                closed_by_buyer: false,
                stage: if adopted {
                    Stage::Serving
                } else {
                    Stage::Answering
                },
                ending: None,
                receipt_at: now,
                changed_at: now,
                doubt: Doubt {
                    ask_at: now.plus_seconds(compare_seconds(offer, &self.limits)),
                    ..Doubt::default()
                },
            },
        );
        Ok(match verdict {
            Ok(()) if adopted => Answer::Known(AgreementState::Confirmed),
            Ok(()) => Answer::Confirm,
            Err(reason) => Answer::Reject(reason),
        })
    }

    /// What the ledger shows after our answer; `None` if it could not be asked. Unless it shows that the answer counts, it
    /// is told again.
    pub fn handle_answered(
        &mut self,
        id: AgreementId,
        state: Option<AgreementState>,
        now: UtcTime,
    ) {
        if let Some(agreement) = self.agreements.get_mut(&id)
            && agreement.stage == Stage::Answering
        {
            agreement.answered(state, now);
            self.changed_agreements.insert(id);
        }
    }

    /// What the ledger shows, or that it shows nothing, of an agreement that is being served. What is not paid ends, and so
    /// does, after the notice period, what was given notice of.
    pub fn handle_ledger(
        &mut self,
        id: AgreementId,
        record: Option<&AgreementRecord>,
        now: UtcTime,
    ) {
        if let Some(agreement) = self.agreements.get_mut(&id)
            && agreement.handle_ledger(record, now)
        {
            self.changed_agreements.insert(id);
        }
    }

    /// The workload has begun to run: from now on its time counts as served.
    pub fn handle_running(&mut self, id: AgreementId, now: UtcTime) {
        if let Some(agreement) = self.agreements.get_mut(&id)
            && agreement.handle_running(now)
        {
            self.changed_agreements.insert(id);
        }
    }

    /// May this workload run? Marks its generation as the one in force; true if it is new.
    pub fn handle_deployment(
        &mut self,
        id: AgreementId,
        buyer: ChainAddress,
        generation: Generation,
        limits: &ResourceLimits,
        now: UtcTime,
    ) -> Result<bool, RejectReason> {
        let lead = self.limits.deploy_lead_seconds;
        let agreement = self.of_buyer(id, buyer)?;
        let wanted = HardwareProfile {
            milli_cpu: limits.milli_cpu,
            memory_bytes: limits.memory_bytes,
            pids: limits.pids,
        };
        if agreement.stage != Stage::Serving
            || now.plus_seconds(lead) < agreement.offer.slot.start
            || now >= agreement.drain_at()
        {
            return Err(policy(detail::NOT_NOW));
        }
        if !agreement.offer.hardware.covers(&wanted) {
            return Err(policy(detail::LIMITS));
        }
        if generation < agreement.generation {
            return Err(RejectReason::StaleGeneration {
                offered: generation.0,
                current: agreement.generation.0,
            });
        }
        let is_new = generation > agreement.generation;
        agreement.generation = generation;
        if is_new {
            agreement.receipt_at = now;
            self.changed_agreements.insert(id);
        }
        Ok(is_new)
    }

    /// Takes the buyer's receipt, whose signature by the agreement's buyer the caller has verified. An older one than the
    /// last changes nothing.
    pub fn handle_receipt(&mut self, receipt: Receipt, now: UtcTime) -> Result<(), RejectReason> {
        let agreement = self
            .agreements
            .get_mut(&receipt.agreement)
            .ok_or(RejectReason::Unknown { what: "agreement" })?;
        if receipt.due.asset != agreement.deposit.asset
            || receipt.due.units > agreement.deposit.units
        {
            return Err(RejectReason::NotAuthorised {
                detail: detail::RECEIPT,
            });
        }
        if agreement.stage == Stage::Closed {
            return Err(policy(detail::NOT_NOW));
        }
        agreement.receipt_at = now;
        if agreement.receipt.is_none() || receipt.due.units > agreement.due().units {
            agreement.receipt = Some(receipt);
        }
        if let Stage::Settling { at, .. } = &mut agreement.stage {
            *at = (*at).min(now);
        }
        self.changed_agreements.insert(receipt.agreement);
        Ok(())
    }

    /// The buyer, who signed the request, ends the service now.
    pub fn handle_close(
        &mut self,
        id: AgreementId,
        buyer: ChainAddress,
        now: UtcTime,
    ) -> Result<(), RejectReason> {
        let agreement = self.of_buyer(id, buyer)?;
        agreement.closed_by_buyer = true;
        if agreement.is_serving() {
            agreement.ends_at = agreement.ends_at.min(now);
        }
        if let Stage::Settling { at, .. } = &mut agreement.stage {
            *at = (*at).min(now);
        }
        self.changed_agreements.insert(id);
        Ok(())
    }

    /// What the ledger shows after an attempt to settle, or a look, and its time; `None` if it does not answer, which is no
    /// reason ever to give the money up.
    pub fn handle_settled(&mut self, id: AgreementId, seen: Option<Seen<'_>>, now: UtcTime) {
        if let Some(agreement) = self.agreements.get_mut(&id) {
            agreement.handle_settled(seen, now);
            self.changed_agreements.insert(id);
        }
    }

    /// The next thing due, if any; call again until there is none. Each is given once, `Settle` and `Look` once an attempt.
    pub fn poll_action(&mut self, now: UtcTime) -> Option<ProviderAction> {
        self.forget(now);
        let limits = self.limits;
        for (id, agreement) in &mut self.agreements {
            let stage = agreement.stage;
            let action = agreement.poll_action(*id, &limits, now);
            if agreement.stage != stage {
                self.changed_agreements.insert(*id);
            }
            if action.is_some() {
                return action;
            }
        }
        None
    }

    /// When something will be due.
    pub fn poll_timeout(&self) -> Option<UtcTime> {
        let reservations = self.reservations.values().map(|held| held.until);
        let agreements = self.agreements.values();
        let agreements = agreements.map(|agreement| agreement.due_at(&self.limits));
        reservations.chain(agreements).min()
    }

    /// The agreement, if `buyer` is its buyer (security rule 12).
    pub fn read(&self, id: AgreementId, buyer: ChainAddress) -> Result<&Agreement, RejectReason> {
        let agreement = self
            .agreements
            .get(&id)
            .ok_or(RejectReason::Unknown { what: "agreement" })?;
        if agreement.buyer == buyer || agreement.offer.provider == buyer {
            Ok(agreement)
        } else {
            Err(RejectReason::NotAuthorised {
                detail: detail::PARTY,
            })
        }
    }

    fn of_buyer(
        &mut self,
        id: AgreementId,
        buyer: ChainAddress,
    ) -> Result<&mut Agreement, RejectReason> {
        let agreement = self
            .agreements
            .get_mut(&id)
            .ok_or(RejectReason::Unknown { what: "agreement" })?;
        if agreement.buyer == buyer {
            Ok(agreement)
        } else {
            Err(RejectReason::NotAuthorised {
                detail: detail::PARTY,
            })
        }
    }

    fn terms(&self, site: &IepId) -> Result<&SiteTerms, RejectReason> {
        self.sites
            .get(site)
            .ok_or(RejectReason::Unknown { what: "offer" })
    }

    /// Drops reservations that ran out and agreements that nobody needs to read any more.
    fn forget(&mut self, now: UtcTime) {
        let changed = &mut self.changed_reservations;
        self.reservations.retain(|id, held| {
            let is_held = held.until > now;
            if !is_held {
                changed.insert(*id);
            }
            is_held
        });
        let keep = self.limits.keep_closed_seconds;
        let changed = &mut self.changed_agreements;
        self.agreements.retain(|id, agreement| {
            let is_kept =
                agreement.stage != Stage::Closed || agreement.changed_at.plus_seconds(keep) > now;
            if !is_kept {
                changed.insert(*id);
            }
            is_kept
        });
    }
}

/// The word for what does not suit.
const fn refusal(mismatch: &ConditionMismatch) -> &'static str {
    match mismatch {
        ConditionMismatch::Region(_) => detail::REGION,
        ConditionMismatch::NoTee | ConditionMismatch::OtherTee(_) => detail::TEE,
        ConditionMismatch::Content(_) => detail::CONTENT,
    }
}

const fn policy(detail: &'static str) -> RejectReason {
    RejectReason::Policy { detail }
}

/// Whoever read an offer on its way can show it, and only whom it was made to can take it up.
fn for_buyer(offer: &Offer, buyer: ChainAddress) -> Result<(), RejectReason> {
    match offer.buyer {
        Some(other) if other != buyer => Err(RejectReason::NotAuthorised {
            detail: detail::BUYER,
        }),
        _ => Ok(()),
    }
}

fn unexpired(offer: &Offer, now: UtcTime) -> Result<(), RejectReason> {
    if now > offer.expires || now >= offer.slot.end {
        return Err(RejectReason::OfferExpired {
            seconds_ago: now.seconds_since(offer.expires),
        });
    }
    Ok(())
}
