//! What the parties do: on the ledger at once, to each other by packets that may be lost, doubled or late.

use edge_negotiation::escrow::ReceiptClaim;
use edge_negotiation::{
    Action, Agreement, Answer, Division, Evidence, KeyBinding, NegotiationFailure, ProviderAction,
};
use edge_types::{
    AgreementId, AgreementState, Confirmation, Generation, Hash32, Offer, OfferId, Receipt,
    ReservationId, Signature,
};

use crate::parties::{ARBITER, LIMITS, PROVIDER, receipt, site, source};
use crate::world::{Packet, World};

impl World {
    /// A buyer's action: on the ledger at once, to the provider by packet.
    pub(crate) fn act(&mut self, buyer: usize, action: Action) {
        let lost = self.chance.percent(self.loss);
        let (chain_now, now) = (self.chain_now(), self.now);
        match action {
            Action::Propose {
                offer,
                confirmation,
            } => {
                let offer = offer.offer().clone();
                assert!(
                    self.genuine.contains(&offer.id),
                    "paid an offer that nobody signed"
                );
                let (call, signer) = (self.call(Self::address(buyer)), Some(offer.provider));
                let price = offer.price_per_second.units * u128::from(offer.slot.seconds());
                let site = Hash32([0; 32]);
                let paid = self.chance.percent(100 - self.loss)
                    && match confirmation {
                        Some(Confirmation { until, .. }) => self
                            .escrow
                            .propose_confirmed(call, &offer, (until, signer), site, price)
                            .is_ok(),
                        None => self
                            .escrow
                            .propose(call, &offer, signer, site, price)
                            .is_ok(),
                    };
                *self.paid.entry(offer.id.into()).or_insert(0) += u32::from(paid);
                if !lost && paid {
                    self.buyers[buyer].handle_proposed(offer.id.into(), now);
                } else if !lost {
                    self.buyers[buyer].handle_not_proposed(NegotiationFailure::NotFunded, now);
                } // else: nobody knows
            }
            Action::ReadLedger(id) => {
                if lost {
                    self.buyers[buyer].handle_failed(now);
                } else {
                    self.buyers[buyer].handle_ledger(self.escrow.agreement(id), chain_now, now);
                }
            }
            Action::CloseOnLedger(id) => {
                let done = !lost && self.escrow.close(chain_now, &self.offer(id)).is_ok();
                self.report(buyer, done);
            }
            Action::Dispute(id) => {
                let call = self.call(Self::address(buyer));
                let done = !lost && self.escrow.dispute(call, &self.offer(id)).is_ok();
                self.disputes += u32::from(done);
                self.report(buyer, done);
            }
            Action::SettleOnLedger(id, due) => {
                let claim = ReceiptClaim {
                    due: due.units,
                    signer: Some(Self::address(buyer)),
                };
                let call = self.call(Self::address(buyer));
                let done = !lost && self.escrow.settle(call, &self.offer(id), claim).is_ok();
                self.report(buyer, done);
            }
            action => self.packets.push(Packet::Ask(buyer, action)),
        }
    }

    fn report(&mut self, buyer: usize, done: bool) {
        if done {
            self.buyers[buyer].handle_done(self.now);
        } else {
            self.buyers[buyer].handle_failed(self.now);
        }
    }

    pub(crate) fn deliver(&mut self, packet: Packet) {
        let now = self.now;
        match packet {
            Packet::Ask(buyer, action) => self.answer(buyer, action),
            Packet::Offers(buyer, offers) => {
                let forged = self.chance.percent(self.loss / 4);
                let offers = offers.into_iter().map(|mut offer| {
                    if forged {
                        offer.id = OfferId([0xff; 32]);
                    }
                    let evidence = Evidence {
                        signature_verified: self.genuine.contains(&offer.id),
                        key_binding: KeyBinding::Dns,
                        site: site(),
                    };
                    (offer, evidence)
                });
                let offers = offers.collect();
                self.buyers[buyer].handle_offers(offers, now);
            }
            Packet::Reserved(buyer, id, until, confirmation) => {
                self.buyers[buyer].handle_reserved(id, until, confirmation, now);
            }
            Packet::Acknowledged(buyer) => self.buyers[buyer].handle_acknowledged(now),
            Packet::Refused(buyer, reason) => self.buyers[buyer].handle_rejected(reason, now),
            Packet::Done(buyer) => self.buyers[buyer].handle_done(now),
            Packet::Health(buyer, healthy) => self.buyers[buyer].handle_health(healthy, now),
            Packet::Broken(buyer) => self.buyers[buyer].handle_failed(now),
        }
    }

    /// The provider's side of a request.
    fn answer(&mut self, buyer: usize, action: Action) {
        let (now, key) = (self.now.utc, Self::address(buyer));
        let reply = match action {
            Action::SendHello(preferences) => {
                let nonce = Hash32(self.id());
                self.book
                    .handle_hello(&site(), &preferences, now, nonce)
                    .map(|mut offers| {
                        for offer in &mut offers {
                            offer.id = OfferId(nonce.0);
                            offer.signature = Signature([1; 65]);
                            self.genuine.insert(offer.id);
                            self.offers.insert(offer.id.into(), offer.clone());
                        }
                        Packet::Offers(buyer, offers)
                    })
            }
            Action::Reserve(offer) => {
                let id = ReservationId(self.id());
                self.book
                    .handle_reservation(&offer, key, source(key.0[0]), id, now)
                    .map(|(id, until)| {
                        let confirmed = offer.guarantee.answer_seconds == 0;
                        let confirmation = confirmed.then_some(Confirmation {
                            until,
                            signature: Signature([3; 65]),
                        });
                        Packet::Reserved(buyer, id, until, confirmation)
                    })
            }
            Action::Acknowledge { offer, .. } => {
                let id = AgreementId::from(offer.id);
                let record = self.escrow.agreement(id).cloned();
                self.book
                    .handle_agreement(&offer, key, record.as_ref(), now)
                    .map(|answer| {
                        self.tell_ledger(&offer, &answer);
                        Packet::Acknowledged(buyer)
                    })
            }
            Action::Deploy(id) => self
                .book
                .handle_deployment(id, key, Generation(1), &LIMITS, now)
                .map(|_| {
                    self.book.handle_running(id, now);
                    Packet::Done(buyer)
                }),
            Action::CheckHealth(id) => {
                let serves = self.book.agreement(id).is_some_and(|agreement| {
                    agreement.is_serving() && agreement.generation == Generation(1)
                });
                let doubts = &mut self.doubts[buyer];
                let good = serves && self.habits[buyer].believes(&mut self.chance, *doubts);
                *doubts = if good { 0 } else { *doubts + 1 };
                Ok(Packet::Health(buyer, good))
            }
            Action::SendReceipt(id, due) => self
                .book
                .handle_receipt(receipt(id, due), now)
                .map(|()| Packet::Done(buyer)),
            Action::SettleWithReceipt(id, due) => self
                .book
                .handle_receipt(receipt(id, due), now)
                .and_then(|()| self.book.handle_close(id, key, now))
                .map(|()| Packet::Done(buyer)),
            other => panic!("{other:?} is not for the provider"),
        };
        let reply = reply.unwrap_or_else(|reason| Packet::Refused(buyer, reason));
        let dies = self.provider_dies();
        self.packets
            .push(if dies { Packet::Broken(buyer) } else { reply });
    }

    fn offer(&self, id: AgreementId) -> Offer {
        self.offers[&id].clone()
    }

    fn tell_ledger(&mut self, offer: &Offer, answer: &Answer) {
        if self.provider_dies() {
            return;
        }
        let id = offer.id.into();
        let call = self.call(PROVIDER);
        let lost = self.chance.percent(self.loss);
        match answer {
            Answer::Confirm if !lost => drop(self.escrow.confirm(call, offer)),
            Answer::Reject(_) if !lost => drop(self.escrow.reject(call, offer)),
            _ => {}
        }
        let state = self.escrow.agreement(id).map(|record| record.state);
        self.book.handle_answered(id, state, self.now.utc);
    }

    pub(crate) fn provide(&mut self, action: ProviderAction) {
        match action {
            ProviderAction::Tell(id, answer) => self.tell_ledger(&self.offer(id), &answer),
            ProviderAction::Compare(id) => {
                if !self.chance.percent(self.loss) {
                    let record = self.escrow.agreement(id).cloned();
                    self.book.handle_ledger(id, record.as_ref(), self.now.utc);
                }
                let runs = |agreement: &Agreement| agreement.generation == Generation(1);
                if self.book.agreement(id).is_some_and(runs) {
                    self.book.handle_running(id, self.now.utc);
                }
            }
            ProviderAction::Drain(_) | ProviderAction::Stop(_) => {}
            ProviderAction::Settle(id, division) => {
                if !self.chance.percent(self.loss) {
                    self.divide(id, division);
                }
                self.look(id);
            }
            ProviderAction::Look(id) => self.look(id),
        }
    }

    fn divide(&mut self, id: AgreementId, division: Division) {
        let buyer = self.book.agreement(id).unwrap().buyer;
        let claim = |receipt: Receipt| ReceiptClaim {
            due: receipt.due.units,
            signer: Some(buyer),
        };
        let (offer, call) = (self.offer(id), self.call(PROVIDER));
        let _ = match division {
            Division::ByReceipt(receipt) => self.escrow.settle(call, &offer, claim(receipt)),
            Division::Claim { amount, receipt } => {
                let receipt = receipt.map(claim);
                let claimed = self.escrow.claim(call, &offer, amount.units, receipt);
                self.claims += u32::from(claimed.is_ok());
                claimed
            }
            Division::Dispute => self.escrow.dispute(call, &offer),
            Division::ByTime => self.escrow.close(call.now, &offer),
        };
    }

    fn look(&mut self, id: AgreementId) {
        let record = self.escrow.agreement(id).cloned();
        let answers = !self.chance.percent(self.loss);
        let seen = answers.then(|| (record.as_ref(), self.chain_now()));
        self.book.handle_settled(id, seen, self.now.utc);
    }

    /// The provider's owner takes hardware back, now and then, and the arbiter rules on what it sees.
    pub(crate) fn interfere(&mut self) {
        let (call, chance) = (self.call(PROVIDER), self.chance.below(1000));
        let records: Vec<_> = self.escrow.agreements().cloned().collect();
        for record in records {
            let offer = self.offer(record.id);
            if record.state == AgreementState::Confirmed && chance < self.reclaims {
                let stop = self.now.utc.plus_seconds(offer.sla.notice_seconds.into());
                let _too_late = self.escrow.give_notice(call, &offer, stop);
            }
            if let (AgreementState::Disputed, Some(claim)) = (record.state, record.claim) {
                let call = self.call(ARBITER);
                let due = claim.amount.units.midpoint(claim.floor.units);
                if chance < 2 {
                    let _nobody = self.escrow.rule(call, &offer, due, 0);
                }
            }
        }
    }
}
