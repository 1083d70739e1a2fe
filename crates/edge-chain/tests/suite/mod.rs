//! What every ledger has to do, told once: the same deeds in the same order, each compared with the reference model.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test program uses another part of this module"
)]

use std::sync::Mutex;

use edge_chain::LocalKey;
use edge_negotiation::escrow::{
    ARBITRATION_SECONDS, CHALLENGE_WINDOW_SECONDS, Call, Escrow, EscrowError,
    PROVIDER_WINDOW_SECONDS, ReceiptClaim,
};
use edge_ports::{BoxFuture, Ledger, LedgerError, Signer};
use edge_types::{
    AgreementState, Amount, Asset, ChainAddress, ChainTime, Confirmation, Guarantee, Offer,
    Receipt, Settlement, Signature, Slot, UtcTime,
};
use edge_wire::signing;

use crate::support;

/// A ledger that two parties use, fresh, and the model beside it.
pub struct Market {
    pub buyer: Box<dyn Ledger>,
    pub provider: Box<dyn Ledger>,
    pub keys: [LocalKey; 2],
    pub settlement: Settlement,
    /// Puts the ledger's time ahead.
    pub leap: Box<dyn Fn(u64) -> BoxFuture<'static, ()>>,
    /// What the ledger's clock shows where it only moves when it is put ahead; else it runs with ours.
    pub stands_at: Option<u64>,
    /// By how much it was put ahead, and the model.
    pub state: Mutex<(u64, Escrow)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Buyer,
    Provider,
}

type Deed<'a> = Box<dyn FnOnce(&mut Escrow, Call) -> Result<(), EscrowError> + 'a>;

impl Market {
    pub fn new(
        [buyer, provider]: [Box<dyn Ledger>; 2],
        keys: [LocalKey; 2],
        settlement: Settlement,
        leap: impl Fn(u64) -> BoxFuture<'static, ()> + 'static,
    ) -> Self {
        Self {
            buyer,
            provider,
            keys,
            settlement,
            leap: Box::new(leap),
            stands_at: None,
            state: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        let start = self.stands_at.unwrap_or_else(support::wall_clock);
        start + self.state.lock().unwrap().0
    }

    async fn ahead(&self, seconds: u64) {
        (self.leap)(seconds).await;
        self.state.lock().unwrap().0 += seconds;
    }

    fn address(&self, who: Who) -> ChainAddress {
        self.key(who).address()
    }

    fn key(&self, who: Who) -> &LocalKey {
        match who {
            Who::Buyer => &self.keys[0],
            Who::Provider => &self.keys[1],
        }
    }

    fn ledger(&self, who: Who) -> &dyn Ledger {
        match who {
            Who::Buyer => &*self.buyer,
            Who::Provider => &*self.provider,
        }
    }

    /// Of the next 300 seconds at 1000 units each, a receipt every 10 seconds, an answer within 60.
    fn offer(&self, nonce: u8, change: impl FnOnce(&mut Offer)) -> Offer {
        let now = self.now();
        let key = self.key(Who::Provider);
        let mut offer = Offer {
            settlement: self.settlement.clone(),
            slot: Slot {
                start: UtcTime(now),
                end: UtcTime(now + 300),
            },
            expires: UtcTime(now + 200),
            guarantee: Guarantee {
                answer_seconds: 60,
                ..Guarantee::default()
            },
            ..support::offer(key, nonce)
        };
        change(&mut offer);
        support::resign(offer, key)
    }

    fn word(&self, offer: &Offer, buyer: ChainAddress, seconds: u64) -> Confirmation {
        let until = UtcTime(self.now() + seconds);
        let digest = signing::confirmation_digest(offer, buyer, until);
        Confirmation {
            until,
            signature: self.key(Who::Provider).sign_digest(digest),
        }
    }

    fn receipt(&self, offer: &Offer, due: u128, by: Who) -> Receipt {
        let mut receipt = Receipt {
            agreement: offer.id.into(),
            due: Amount::wei(due),
            signature: Signature([0; 65]),
        };
        let (chain, contract) = signing::domain_of(offer);
        let digest = signing::receipt_digest(&receipt, chain, contract);
        receipt.signature = self.key(by).sign_digest(digest);
        receipt
    }

    /// What a deed came to on the ledger; panics if the model says anything else, or they differ afterwards.
    async fn compare(
        &self,
        offer: &Offer,
        who: Who,
        on_ledger: Result<(), LedgerError>,
        in_model: Deed<'_>,
    ) -> Result<(), String> {
        let on_ledger = match on_ledger {
            Ok(()) => Ok(()),
            Err(LedgerError::Refused { error, .. }) => Err(error),
            Err(other) => panic!("neither done nor refused: {other:?}"),
        };
        let ledger = self.ledger(who);
        let now = match on_ledger {
            Ok(()) => ledger.now().await.unwrap(),
            Err(_) => ChainTime(self.now()),
        };
        let caller = self.address(who);
        let expected = in_model(&mut self.state.lock().unwrap().1, Call { now, caller });
        let expected = expected.map_err(|error| format!("{error:?}"));
        assert_eq!(on_ledger, expected, "{} at {now:?}", offer.nonce);
        self.look(offer).await;
        expected
    }

    /// Both parties see the record that the model has, and every unit is accounted for.
    async fn look(&self, offer: &Offer) -> AgreementState {
        let model = self.state.lock().unwrap().1.clone();
        let expected = model.agreement(offer.id.into()).cloned();
        for ledger in [&self.buyer, &self.provider] {
            assert_eq!(ledger.agreement(offer).await.unwrap(), expected);
            let totals = ledger.totals(Asset::Native).await.unwrap();
            assert_eq!(totals, model.totals(Asset::Native));
            let parts = [totals.released, totals.refunded, totals.burned, totals.held];
            let sum: u128 = parts.iter().map(|part| part.units).sum();
            assert_eq!(totals.deposited.units, sum, "conservation");
        }
        expected.map_or(AgreementState::Expired, |record| record.state)
    }

    /// The buyer pays; with the provider's word, if any, made out to `named`.
    async fn propose(&self, offer: &Offer, word: Option<(ChainAddress, Confirmation)>) -> Said {
        let confirmation = word.as_ref().map(|(_, confirmation)| confirmation);
        let proposed = self.buyer.propose(offer, confirmation).await;
        let proposed = proposed.map(|id| assert_eq!(id.0, offer.id.0));
        let site = signing::site_hash(&offer.site);
        let price = offer.price_per_second.units * u128::from(offer.slot.seconds());
        let buyer = self.address(Who::Buyer);
        let deed: Deed<'_> = Box::new(move |model, call| match word {
            None => model.propose(call, offer, Some(offer.provider), site, price),
            Some((named, word)) => {
                let signer = (named == buyer).then_some(offer.provider);
                model.propose_confirmed(call, offer, (word.until, signer), site, price)
            }
        });
        self.compare(offer, Who::Buyer, proposed, deed).await
    }

    /// The buyer pays for what the provider confirmed to it.
    async fn agree(&self, offer: &Offer) {
        let buyer = self.address(Who::Buyer);
        let word = self.word(offer, buyer, 100);
        self.propose(offer, Some((buyer, word))).await.unwrap();
        assert_eq!(self.look(offer).await, AgreementState::Confirmed);
    }

    async fn confirm(&self, who: Who, offer: &Offer) -> Said {
        let done = self.ledger(who).confirm(offer).await;
        let deed: Deed<'_> = Box::new(|model, call| model.confirm(call, offer));
        self.compare(offer, who, done, deed).await
    }

    async fn reject(&self, who: Who, offer: &Offer) -> Said {
        let done = self.ledger(who).reject(offer).await;
        let deed: Deed<'_> = Box::new(|model, call| model.reject(call, offer));
        self.compare(offer, who, done, deed).await
    }

    async fn close(&self, who: Who, offer: &Offer) -> Said {
        let done = self.ledger(who).close(offer).await;
        let deed: Deed<'_> = Box::new(|model, call| model.close(call.now, offer));
        self.compare(offer, who, done, deed).await
    }

    async fn notice(&self, who: Who, offer: &Offer, after: u64) -> Said {
        let stop = UtcTime(self.now() + after);
        let done = self.ledger(who).give_notice(offer, stop).await;
        let deed: Deed<'_> = Box::new(move |model, call| model.give_notice(call, offer, stop));
        self.compare(offer, who, done, deed).await
    }

    async fn settle(&self, who: Who, offer: &Offer, (due, by): (u128, Who)) -> Said {
        let receipt = self.receipt(offer, due, by);
        let done = self.ledger(who).settle(offer, receipt).await;
        let signer = Some(self.address(by));
        let deed: Deed<'_> =
            Box::new(move |model, call| model.settle(call, offer, ReceiptClaim { due, signer }));
        self.compare(offer, who, done, deed).await
    }

    async fn claim(
        &self,
        who: Who,
        offer: &Offer,
        units: u128,
        receipt: Option<(u128, Who)>,
    ) -> Said {
        let signed = receipt.map(|(due, by)| self.receipt(offer, due, by));
        let amount = Amount::wei(units);
        let done = self.ledger(who).claim(offer, amount, signed).await;
        let said = receipt.map(|(due, by)| ReceiptClaim {
            due,
            signer: Some(self.address(by)),
        });
        let deed: Deed<'_> = Box::new(move |model, call| model.claim(call, offer, units, said));
        self.compare(offer, who, done, deed).await
    }

    async fn dispute(&self, who: Who, offer: &Offer) -> Said {
        let done = self.ledger(who).dispute(offer).await;
        let deed: Deed<'_> = Box::new(|model, call| model.dispute(call, offer));
        self.compare(offer, who, done, deed).await
    }

    async fn divide(&self, offer: &Offer, due: u128, by: [Who; 2]) -> Said {
        let (chain, contract) = signing::domain_of(offer);
        let amount = Amount::wei(due);
        let digest = signing::closing_digest(offer.id.into(), amount, chain, contract);
        let [buyer, provider] = by.map(|who| self.key(who).sign_digest(digest));
        let done = self.buyer.settle_mutually(offer, amount, buyer, provider);
        let done = done.await;
        let signers = by.map(|who| Some(self.address(who)));
        let deed: Deed<'_> = Box::new(move |model, _| model.settle_mutually(offer, due, signers));
        self.compare(offer, Who::Buyer, done, deed).await
    }

    async fn withdraw(&self) {
        for who in [Who::Buyer, Who::Provider] {
            let account = self.address(who);
            let model = &mut self.state.lock().unwrap().1.clone();
            let expected = model.withdraw(account, Asset::Native);
            self.state.lock().unwrap().1 = model.clone();
            for expected in [expected, 0] {
                let withdrawn = self.ledger(who).withdraw(Asset::Native).await.unwrap();
                assert_eq!(withdrawn, Amount::wei(expected), "{who:?}");
            }
        }
    }
}

type Said = Result<(), String>;

fn refused(said: Said, why: EscrowError) {
    assert_eq!(said, Err(format!("{why:?}")));
}

/// Everything, one after the other.
pub async fn whole(market: &Market) {
    takes_up_only_what_was_offered_to_the_buyer_in_time(market).await;
    divides_by_the_buyers_receipt(market).await;
    hears_the_providers_answer(market).await;
    gives_back_what_nobody_answers(market).await;
    ends_earlier_after_notice_and_lets_the_provider_claim(market).await;
    decides_disputes_by_time(market).await;
    lets_the_buyer_settle_when_the_provider_does_not(market).await;
    let totals = market.buyer.totals(Asset::Native).await.unwrap();
    assert_eq!(totals.held, Amount::wei(0), "everything came to an end");
}

async fn takes_up_only_what_was_offered_to_the_buyer_in_time(market: &Market) {
    use EscrowError as E;
    let buyer = market.address(Who::Buyer);
    let other = ChainAddress([7; 20]);
    let offer = market.offer(1, |offer| offer.buyer = Some(other));
    let word = |offer: &Offer, named| Some((named, market.word(offer, named, 100)));
    refused(
        market.propose(&offer, word(&offer, buyer)).await,
        E::NotAllowed,
    );
    let offer = market.offer(2, |offer| offer.buyer = Some(buyer));
    refused(
        market.propose(&offer, word(&offer, other)).await,
        E::BadSignature,
    );
    market.propose(&offer, word(&offer, buyer)).await.unwrap();
    refused(
        market.propose(&offer, word(&offer, buyer)).await,
        E::OfferConsumed,
    );
    market
        .divide(&offer, 0, [Who::Buyer, Who::Provider])
        .await
        .unwrap();
    let short = market.offer(3, |offer| offer.guarantee.answer_seconds = 0);
    refused(market.propose(&short, None).await, E::BadAnswerTime);
    let late = market.word(&short, buyer, 5);
    market.ahead(30).await;
    refused(
        market.propose(&short, Some((buyer, late))).await,
        E::OfferExpired,
    );
    market.ahead(300).await;
    refused(
        market.propose(&short, word(&short, buyer)).await,
        E::OfferExpired,
    );
}

async fn divides_by_the_buyers_receipt(market: &Market) {
    use EscrowError as E;
    let offer = market.offer(10, |_| {});
    refused(
        market.settle(Who::Provider, &offer, (0, Who::Buyer)).await,
        E::WrongState,
    );
    market.agree(&offer).await;
    let settle = async |who, due, by| market.settle(who, &offer, (due, by)).await;
    refused(
        settle(Who::Provider, 300_001, Who::Buyer).await,
        E::DueOutOfRange,
    );
    refused(
        settle(Who::Provider, 9, Who::Provider).await,
        E::BadSignature,
    );
    refused(settle(Who::Buyer, 0, Who::Buyer).await, E::TooEarly);
    settle(Who::Provider, 123_457, Who::Buyer).await.unwrap();
    assert_eq!(market.look(&offer).await, AgreementState::Settled);
    refused(settle(Who::Provider, 1, Who::Buyer).await, E::WrongState);
    refused(market.close(Who::Buyer, &offer).await, E::WrongState);
    market.withdraw().await;
}

async fn hears_the_providers_answer(market: &Market) {
    use EscrowError as E;
    let (yes, no) = (market.offer(20, |_| {}), market.offer(21, |_| {}));
    for offer in [&yes, &no] {
        market.propose(offer, None).await.unwrap();
        assert_eq!(market.look(offer).await, AgreementState::Proposed);
        refused(market.confirm(Who::Buyer, offer).await, E::NotAllowed);
        refused(market.reject(Who::Buyer, offer).await, E::NotAllowed);
    }
    market.confirm(Who::Provider, &yes).await.unwrap();
    market.reject(Who::Provider, &no).await.unwrap();
    assert_eq!(market.look(&yes).await, AgreementState::Confirmed);
    assert_eq!(market.look(&no).await, AgreementState::Rejected);
    refused(market.reject(Who::Provider, &yes).await, E::WrongState);
    refused(market.confirm(Who::Provider, &no).await, E::WrongState);
    let divide = async |due, by| market.divide(&yes, due, by).await;
    refused(divide(5, [Who::Buyer, Who::Buyer]).await, E::BadSignature);
    refused(
        divide(300_001, [Who::Buyer, Who::Provider]).await,
        E::DueOutOfRange,
    );
    divide(5, [Who::Buyer, Who::Provider]).await.unwrap();
    market.withdraw().await;
}

async fn gives_back_what_nobody_answers(market: &Market) {
    let offer = market.offer(30, |_| {});
    market.propose(&offer, None).await.unwrap();
    refused(
        market.close(Who::Buyer, &offer).await,
        EscrowError::TooEarly,
    );
    market.ahead(90).await;
    refused(
        market.confirm(Who::Provider, &offer).await,
        EscrowError::TooLate,
    );
    market.close(Who::Buyer, &offer).await.unwrap();
    assert_eq!(market.look(&offer).await, AgreementState::Expired);
    market.withdraw().await;
}

async fn ends_earlier_after_notice_and_lets_the_provider_claim(market: &Market) {
    use EscrowError as E;
    let offer = market.offer(40, |offer| offer.sla.notice_seconds = 30);
    market.agree(&offer).await;
    refused(market.notice(Who::Buyer, &offer, 60).await, E::NotAllowed);
    refused(market.notice(Who::Provider, &offer, 9).await, E::TooEarly);
    refused(market.notice(Who::Provider, &offer, 900).await, E::TooLate);
    market.notice(Who::Provider, &offer, 60).await.unwrap();
    refused(
        market.notice(Who::Provider, &offer, 50).await,
        E::WrongState,
    );
    let claim = async |who, units, receipt| market.claim(who, &offer, units, receipt).await;
    refused(claim(Who::Provider, 9, None).await, E::TooEarly);
    market.ahead(90).await;
    refused(claim(Who::Buyer, 9, None).await, E::NotAllowed);
    refused(claim(Who::Provider, 100_000, None).await, E::DueOutOfRange);
    refused(
        claim(Who::Provider, 9, Some((10, Who::Buyer))).await,
        E::DueOutOfRange,
    );
    refused(
        claim(Who::Provider, 9, Some((9, Who::Provider))).await,
        E::BadSignature,
    );
    claim(Who::Provider, 50_000, Some((20_000, Who::Buyer)))
        .await
        .unwrap();
    assert_eq!(market.look(&offer).await, AgreementState::Claimed);
    refused(market.close(Who::Provider, &offer).await, E::TooEarly);
    market.ahead(CHALLENGE_WINDOW_SECONDS + 30).await;
    refused(market.dispute(Who::Buyer, &offer).await, E::TooLate);
    market.close(Who::Provider, &offer).await.unwrap();
    let record = market.provider.agreement(&offer).await.unwrap().unwrap();
    assert_eq!(
        record.refunded,
        Amount::wei(270_000),
        "silence pays the receipt and one interval"
    );
    market.withdraw().await;
}

async fn decides_disputes_by_time(market: &Market) {
    use EscrowError as E;
    let (left, agreed) = (market.offer(50, |_| {}), market.offer(51, |_| {}));
    for offer in [&left, &agreed] {
        market.agree(offer).await;
    }
    refused(market.dispute(Who::Buyer, &left).await, E::WrongState);
    market.ahead(330).await;
    for offer in [&left, &agreed] {
        let claimed = market.claim(Who::Provider, offer, 300_000, Some((100_000, Who::Buyer)));
        claimed.await.unwrap();
    }
    market.dispute(Who::Buyer, &left).await.unwrap();
    market.dispute(Who::Provider, &agreed).await.unwrap();
    assert_eq!(market.look(&left).await, AgreementState::Disputed);
    refused(market.dispute(Who::Buyer, &left).await, E::WrongState);
    refused(market.close(Who::Buyer, &left).await, E::TooEarly);
    market
        .divide(&agreed, 150_000, [Who::Buyer, Who::Provider])
        .await
        .unwrap();
    market.ahead(ARBITRATION_SECONDS + 30).await;
    market.close(Who::Buyer, &left).await.unwrap();
    assert_eq!(market.look(&left).await, AgreementState::Settled);
    market.withdraw().await;
}

async fn lets_the_buyer_settle_when_the_provider_does_not(market: &Market) {
    let (with, without) = (market.offer(60, |_| {}), market.offer(61, |_| {}));
    for offer in [&with, &without] {
        market.agree(offer).await;
    }
    market.ahead(330).await;
    let settle = async || market.settle(Who::Buyer, &with, (70_000, Who::Buyer)).await;
    refused(settle().await, EscrowError::TooEarly);
    market.ahead(PROVIDER_WINDOW_SECONDS).await;
    settle().await.unwrap();
    refused(
        market.close(Who::Buyer, &without).await,
        EscrowError::TooEarly,
    );
    market.ahead(CHALLENGE_WINDOW_SECONDS).await;
    market.close(Who::Buyer, &without).await.unwrap();
    market.withdraw().await;
}
