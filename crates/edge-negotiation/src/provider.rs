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
//! ## Limits
//! The book trusts what its caller says about signatures and about the ledger. Its times are UTC, to the second.

use std::collections::BTreeMap;

use edge_types::agreement::detail;
use edge_types::{
    AgreementId, AgreementRecord, AgreementState, ChainAddress, Generation, HardwareProfile,
    Hash32, IepId, Offer, OfferId, Preferences, Receipt, RejectReason, ReservationId,
    ResourceLimits, Signature, Slot, UtcTime,
};

mod agreement;
mod capacity;
mod terms;

use agreement::{SETTLE_BACKOFF_SECONDS, Stage};
use capacity::fits;

pub use agreement::Agreement;
pub use terms::{BookLimits, SiteTerms};

/// Settling is tried this often before the agreement is left to the operator.
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
    /// The notice period has begun: answer every client with the way back to the cloud.
    Drain(AgreementId),
    /// The lease is over: stop the workload and delete its data.
    Stop(AgreementId),
    /// Divide the deposit, by the buyer's last receipt if there is one; then call [`ProviderBook::handle_settled`].
    Settle(AgreementId, Option<Receipt>),
}

#[derive(Clone, Debug)]
struct Reservation {
    id: ReservationId,
    offer: Offer,
    buyer: ChainAddress,
    until: UtcTime,
}

/// The book of one provider.
#[derive(Clone, Debug)]
pub struct ProviderBook {
    limits: BookLimits,
    sites: BTreeMap<IepId, SiteTerms>,
    reservations: BTreeMap<OfferId, Reservation>,
    agreements: BTreeMap<AgreementId, Agreement>,
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
            site: site.clone(),
            slot,
            hardware: preferences.hardware,
            price_per_second: price,
            sla: terms.sla,
            settlement: terms.settlement.clone(),
            expires: now
                .plus_seconds(self.limits.offer_seconds.min(600))
                .min(slot.end),
            nonce,
            signature: Signature([0; 65]),
        }])
    }

    /// Holds the offered hardware for `buyer`, under the `id` that the caller drew. Asking again gives the same answer.
    /// The caller has verified that the offer is signed by this provider.
    pub fn handle_reservation(
        &mut self,
        offer: &Offer,
        buyer: ChainAddress,
        id: ReservationId,
        now: UtcTime,
    ) -> Result<(ReservationId, UtcTime), RejectReason> {
        let terms = self.terms(&offer.site)?.clone();
        self.forget(now);
        if let Some(held) = self.reservations.get(&offer.id) {
            return if held.buyer == buyer {
                Ok((held.id, held.until))
            } else {
                Err(RejectReason::SlotTaken)
            };
        }
        if self.agreements.contains_key(&offer.id.into()) {
            return Err(RejectReason::SlotTaken);
        }
        unexpired(offer, now)?;
        let count = |of: &dyn Fn(&Reservation) -> bool| {
            u32::try_from(self.reservations.values().filter(|held| of(held)).count())
                .unwrap_or(u32::MAX)
        };
        let by_buyer = count(&|held| held.buyer == buyer);
        let at_site = count(&|held| held.offer.site == offer.site);
        for (held, limit) in [
            (by_buyer, self.limits.reservations_per_buyer),
            (at_site, self.unfunded_limit(&terms, &offer.hardware)),
        ] {
            if held >= limit {
                return Err(RejectReason::TooManyReservations { held, limit });
            }
        }
        self.check_free(&terms, offer, now)?;
        let until = now
            .plus_seconds(self.limits.time_to_commit_seconds)
            .min(offer.expires);
        self.reservations.insert(
            offer.id,
            Reservation {
                id,
                offer: offer.clone(),
                buyer,
                until,
            },
        );
        Ok((id, until))
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
        let adopted = record.state == AgreementState::Confirmed;
        let verdict = if adopted {
            Ok(())
        } else if !terms.accepts {
            Err(policy(detail::ACCEPTS_NOBODY))
        } else if held.is_some_and(|held| held.buyer == buyer) {
            Ok(())
        } else {
            unexpired(offer, now).and_then(|()| self.check_free(&terms, offer, now))
        };
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
                closed_by_buyer: false,
                stage: if adopted {
                    Stage::Serving
                } else {
                    Stage::Answering
                },
                receipt_at: now,
                changed_at: now,
            },
        );
        Ok(match verdict {
            Ok(()) if adopted => Answer::Known(AgreementState::Confirmed),
            Ok(()) => Answer::Confirm,
            Err(reason) => Answer::Reject(reason),
        })
    }

    /// What the ledger shows after our answer; `None` if it could not be told. Then the agreement is forgotten, so that
    /// the buyer can acknowledge again, and otherwise expires on the ledger.
    pub fn handle_answered(
        &mut self,
        id: AgreementId,
        state: Option<AgreementState>,
        now: UtcTime,
    ) {
        let Some(agreement) = self.agreements.get_mut(&id) else {
            return;
        };
        if agreement.stage != Stage::Answering {
            return;
        }
        match state {
            Some(AgreementState::Confirmed) => {
                agreement.state = AgreementState::Confirmed;
                agreement.stage = Stage::Serving;
            }
            Some(state) if state.is_final() => agreement.close(state, now),
            _ => {
                self.agreements.remove(&id);
            }
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
        Ok(())
    }

    /// What the ledger shows after an attempt to settle.
    pub fn handle_settled(&mut self, id: AgreementId, state: Option<AgreementState>, now: UtcTime) {
        let Some(agreement) = self.agreements.get_mut(&id) else {
            return;
        };
        match state {
            Some(state) if state.is_final() => agreement.close(state, now),
            _ => {
                if let Stage::Settling { attempts, .. } = agreement.stage {
                    agreement.stage = if attempts >= SETTLE_ATTEMPTS {
                        Stage::Closed
                    } else {
                        Stage::Settling {
                            at: now
                                .plus_seconds((1 << attempts.min(10)).min(SETTLE_BACKOFF_SECONDS)),
                            attempts,
                        }
                    };
                    agreement.changed_at = now;
                }
            }
        }
    }

    /// The next thing due, if any; call again until there is none. Each is given once, `Settle` once an attempt.
    pub fn poll_action(&mut self, now: UtcTime) -> Option<ProviderAction> {
        self.forget(now);
        let limits = self.limits;
        self.agreements
            .iter_mut()
            .find_map(|(id, agreement)| agreement.poll_action(*id, &limits, now))
    }

    /// When something will be due.
    pub fn poll_timeout(&self) -> Option<UtcTime> {
        let reservations = self.reservations.values().map(|held| held.until);
        let agreements = self
            .agreements
            .values()
            .filter_map(|agreement| match agreement.stage {
                Stage::Answering => None,
                Stage::Serving => Some(
                    agreement
                        .drain_at()
                        .min(agreement.patience_ends(&self.limits)),
                ),
                Stage::Draining => Some(agreement.ends_at),
                Stage::Settling { at, .. } => Some(at),
                Stage::Closed => Some(
                    agreement
                        .changed_at
                        .plus_seconds(self.limits.keep_closed_seconds),
                ),
            });
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
        self.reservations.retain(|_, held| held.until > now);
        let keep = self.limits.keep_closed_seconds;
        self.agreements.retain(|_, agreement| {
            agreement.stage != Stage::Closed || agreement.changed_at.plus_seconds(keep) > now
        });
    }
}

const fn policy(detail: &'static str) -> RejectReason {
    RejectReason::Policy { detail }
}

fn unexpired(offer: &Offer, now: UtcTime) -> Result<(), RejectReason> {
    if now > offer.expires || now >= offer.slot.end {
        return Err(RejectReason::OfferExpired {
            seconds_ago: now.seconds_since(offer.expires),
        });
    }
    Ok(())
}
