//! Random sequences: the contract and the model must agree on everything, at every step.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use edge_negotiation::escrow::{Call, Escrow as Model, EscrowError, ReceiptClaim};
use edge_ports::Signer;
use edge_types::{
    AgreementId, Amount, Asset, ChainAddress, ChainTime, Guarantee, Hash32, Offer, SlaTerms, Slot,
    UtcTime,
};
use edge_wire::signing;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::evm::{ARBITER, BUYER, Evm, Refused, START, STRANGER, key, party, plain_offer};

const RICH: u128 = 1 << 100;
pub(super) const OFFERS: usize = 3;
pub(super) const PARTIES: u8 = 5;

#[derive(Clone, Debug)]
pub(super) struct OfferPlan {
    provider: u8,
    buyer: Option<u8>,
    start: u64,
    seconds: u64,
    pub(super) price: u128,
    interval: u32,
    notice: u32,
    answer: u32,
    stake: u128,
    arbiter: bool,
    expires: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Advance(u64),
    /// To the deadline that the offer's agreement has by now, or to the end of its service, give or take a second.
    ToDeadline {
        offer: usize,
        beside: i64,
        service: bool,
    },
    Propose {
        buyer: u8,
        offer: usize,
        signer: Signed,
        extra: i8,
    },
    ProposeConfirmed {
        buyer: u8,
        offer: usize,
        signer: Signed,
        /// The confirmation names this buyer.
        named: u8,
        valid: i64,
        extra: i8,
    },
    Confirm(Who, usize),
    Reject(Who, usize),
    Close(Who, usize),
    GiveNotice(Who, usize, u64),
    Settle(Who, usize, ReceiptPlan),
    SettleMutually(usize, u8, [u8; 2]),
    Claim(Who, usize, u8, Option<ReceiptPlan>),
    Dispute(Who, usize),
    Rule(Who, usize, u8, u8),
    Stake(u8, u128, i8),
    Unstake(u8, u128),
    Withdraw(u8),
}

/// Who calls: guided, since random callers are almost always the wrong ones.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    TheProvider,
    Party(u8),
}

/// Who signs an offer or its confirmation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signed {
    ByProvider,
    By(u8),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ReceiptPlan {
    signer: u8,
    /// Due, in hundredths of the deposit.
    percent: u8,
    /// Signed over the agreement of this offer instead.
    other: Option<usize>,
}

/// Mostly `usual`, and sometimes `odd`.
fn mostly<T: Clone + std::fmt::Debug + 'static>(
    usual: impl Strategy<Value = T> + 'static,
    odd: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    prop_oneof![14 => usual, 1 => odd].boxed()
}

pub(super) fn offer_plan() -> impl Strategy<Value = OfferPlan> {
    let terms = (
        0..2u8,
        mostly(Just(None), (0..PARTIES).prop_map(Some)),
        mostly(0..300u64, Just(400 * 86_400)),
        mostly(90..600u64, Just(0)),
        mostly(
            0..1_000_000u128,
            prop_oneof![
                Just(1 << 80),
                Just((1 << 88) - 1),
                Just(1 << 88),
                Just(u128::MAX)
            ],
        ),
        mostly(0..60u32, Just(u32::MAX)),
    );
    let rest = (
        0..40u32,
        mostly(1..=90u32, prop_oneof![Just(0u32), Just(601u32)]),
        prop_oneof![8 => Just(0), 8 => 1..3_000u128, 1 => Just(1u128 << 88)],
        mostly(Just(true), Just(false)),
        mostly(2_000..20_000u64, 0..300u64),
    );
    (terms, rest).prop_map(
        |(
            (provider, buyer, start, seconds, price, interval),
            (notice, answer, stake, arbiter, expires),
        )| OfferPlan {
            provider,
            buyer,
            start,
            seconds,
            price,
            interval,
            notice,
            answer,
            stake,
            arbiter,
            expires,
        },
    )
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let who = || {
        prop_oneof![
            6 => Just(Who::TheProvider),
            3 => Just(Who::Party(BUYER)),
            1 => (0..PARTIES).prop_map(Who::Party),
        ]
    };
    let signed = || mostly(Just(Signed::ByProvider), (0..PARTIES).prop_map(Signed::By));
    let receipt = || {
        (
            mostly(Just(BUYER), 0..PARTIES),
            mostly(0..=100u8, Just(101u8)),
            mostly(Just(None), (0..OFFERS).prop_map(Some)),
        )
            .prop_map(|(signer, percent, other)| ReceiptPlan {
                signer,
                percent,
                other,
            })
    };
    let advance = prop_oneof![
        6 => 1..30u64,
        1 => 30..700u64,
        1 => prop_oneof![Just(600), Just(601), Just(3_601)],
    ];
    let extra = || mostly(Just(0i8), prop_oneof![Just(-1i8), Just(1i8)]);
    let buyer = || mostly(Just(BUYER), 0..PARTIES);
    let of = 0..OFFERS;
    let agree = prop_oneof![
        3 => (buyer(), of.clone(), signed(), extra())
            .prop_map(|(buyer, offer, signer, extra)| Step::Propose { buyer, offer, signer, extra }),
        5 => (buyer(), of.clone(), signed(), buyer(), mostly(0..100i64, Just(-1i64)), extra())
            .prop_map(|(buyer, offer, signer, named, valid, extra)| Step::ProposeConfirmed {
                buyer, offer, signer, named, valid, extra,
            }),
        3 => (who(), of.clone()).prop_map(|(caller, offer)| Step::Confirm(caller, offer)),
        1 => (who(), of.clone()).prop_map(|(caller, offer)| Step::Reject(caller, offer)),
    ];
    let end = prop_oneof![
        3 => (who(), of.clone()).prop_map(|(caller, offer)| Step::Close(caller, offer)),
        4 => (who(), of.clone(), 0..300u64)
            .prop_map(|(caller, offer, after)| Step::GiveNotice(caller, offer, after)),
        3 => (who(), of.clone(), receipt())
            .prop_map(|(caller, offer, receipt)| Step::Settle(caller, offer, receipt)),
        1 => (of.clone(), mostly(0..=100u8, Just(101u8)), mostly(Just([BUYER, 9]), Just([BUYER, BUYER])))
            .prop_map(|(offer, percent, signers)| Step::SettleMutually(offer, percent, signers)),
        4 => (who(), of.clone(), mostly(0..=100u8, Just(101u8)), proptest::option::of(receipt()))
            .prop_map(|(caller, offer, percent, receipt)| Step::Claim(caller, offer, percent, receipt)),
        8 => (who(), of.clone()).prop_map(|(caller, offer)| Step::Dispute(caller, offer)),
        10 => (mostly(Just(Who::Party(ARBITER)), who()), of.clone(), 0..=110u8, prop_oneof![3 => 0..=100u8, 1 => Just(101u8)])
            .prop_map(|(caller, offer, percent, slash)| Step::Rule(caller, offer, percent, slash)),
    ];
    prop_oneof![
        2 => advance.prop_map(Step::Advance),
        4 => (of, -1..=1i64, any::<bool>())
            .prop_map(|(offer, beside, service)| Step::ToDeadline { offer, beside, service }),
        12 => agree,
        18 => end,
        1 => (0..2u8, 0..20_000u128, extra()).prop_map(|(who, units, extra)| Step::Stake(who, units, extra)),
        1 => (0..2u8, 0..3_000u128).prop_map(|(who, units)| Step::Unstake(who, units)),
        1 => (0..PARTIES).prop_map(Step::Withdraw),
    ]
}

/// Both sides, driven together.
pub(super) struct Pair {
    pub(super) evm: Evm,
    pub(super) model: Model,
    pub(super) offers: Vec<Offer>,
}

type Both = (Result<(), EscrowError>, Result<(), Refused>);

impl Pair {
    pub(super) fn new(plans: &[OfferPlan], evm: Evm) -> Self {
        let plain = plain_offer(&evm);
        let offers = plans.iter().zip(1..).map(|(plan, nonce)| {
            let start = START + plan.start;
            let offer = Offer {
                provider: party(plan.provider),
                buyer: plan.buyer.map(party),
                slot: Slot {
                    start: UtcTime(start),
                    end: UtcTime(start + plan.seconds),
                },
                price_per_second: Amount::wei(plan.price),
                sla: SlaTerms {
                    receipt_interval_seconds: plan.interval,
                    notice_seconds: plan.notice,
                    ..plain.sla
                },
                conditions: edge_types::SiteConditions::default(),
                guarantee: Guarantee {
                    stake: plan.stake,
                    arbiter: plan.arbiter.then(|| party(ARBITER)),
                    answer_seconds: plan.answer,
                },
                expires: UtcTime(START + plan.expires),
                nonce: Hash32([nonce; 32]),
                ..plain.clone()
            };
            signing::sign_offer(offer, |digest| key(plan.provider).sign_digest(digest))
        });
        let mut pair = Self {
            offers: offers.collect(),
            evm,
            model: Model::default(),
        };
        for provider in 0..2 {
            pair.step(&Step::Stake(provider, 5_000, 0)).unwrap();
        }
        pair
    }

    fn id(&self, offer: usize) -> AgreementId {
        self.offers[offer].id.into()
    }

    fn call(&self, caller: ChainAddress) -> Call {
        Call {
            now: ChainTime(self.evm.now),
            caller,
        }
    }

    fn who(&self, caller: Who, offer: &Offer) -> ChainAddress {
        match caller {
            Who::TheProvider => offer.provider,
            Who::Party(number) => party(number),
        }
    }

    fn number_of(provider: ChainAddress) -> u8 {
        (0..PARTIES)
            .find(|number| party(*number) == provider)
            .unwrap()
    }

    fn deposit(&self, offer: usize) -> u128 {
        let record = self.model.agreement(self.id(offer));
        record.map_or(100, |record| record.deposit.units)
    }

    /// The price of an offer that can be paid at all, and one unit more or less.
    fn price(offer: &Offer, extra: i8) -> u128 {
        let seconds = offer.slot.seconds().into();
        offer
            .price_per_second
            .units
            .checked_mul(seconds)
            .filter(|price| *price < RICH)
            .and_then(|price| price.checked_add_signed(extra.into()))
            .unwrap_or(0)
    }

    fn receipt(&self, offer: usize, plan: ReceiptPlan) -> (edge_types::Receipt, ReceiptClaim) {
        let (id, deposit) = (self.id(offer), self.deposit(offer));
        let due = percent_of(deposit, plan.percent);
        let over = plan.other.map_or(id, |other| self.id(other));
        let receipt = self.evm.receipt(over, due, key(plan.signer));
        let claim = ReceiptClaim {
            due,
            signer: (over == id).then(|| party(plan.signer)),
        };
        (receipt, claim)
    }

    /// What both said to a step; panics if they differ.
    pub(super) fn step(&mut self, step: &Step) -> Result<(), EscrowError> {
        let (by_model, by_contract) = match *step {
            Step::Advance(seconds) => {
                self.evm.now += seconds;
                return Ok(());
            }
            Step::ToDeadline {
                offer,
                beside,
                service,
            } => {
                let record = self.model.agreement(self.id(offer));
                let ends_at = record.map(|record| record.ends_at.0);
                let deadline = self.model.closable_after(self.id(offer)).map(|it| it.0);
                let then = if service { ends_at } else { deadline };
                if let Some(then) = then.filter(|_| deadline.is_some()) {
                    self.evm.now = self.evm.now.max(then.saturating_add_signed(beside));
                }
                return Ok(());
            }
            Step::Propose { .. } | Step::ProposeConfirmed { .. } => self.pay(step),
            Step::Stake(who, units, extra) => {
                let paid = units.saturating_add_signed(extra.into());
                let (who, amount) = (party(who), Amount::wei(units));
                let by_model = self.model.stake(who, amount, paid);
                (by_model, self.evm.stake(who, amount, paid))
            }
            Step::Unstake(who, units) => {
                let (who, amount) = (party(who), Amount::wei(units));
                let by_model = self.model.unstake(who, amount);
                (by_model, self.evm.unstake(who, amount))
            }
            Step::Withdraw(caller) => {
                let caller = party(caller);
                let before = self.evm.balance(caller);
                let amount = self.evm.withdraw(caller, Asset::Native).unwrap();
                assert_eq!(amount, self.model.withdraw(caller, Asset::Native));
                assert_eq!(self.evm.balance(caller) - before, amount);
                (Ok(()), Ok(()))
            }
            _ => self.progress(step),
        };
        let named = by_model.map_err(|error| format!("{error:?}"));
        assert_eq!(by_contract, named, "{step:?} at {}", self.evm.now);
        by_model
    }

    fn pay(&mut self, step: &Step) -> Both {
        let signer_of = |signer, offer: &Offer| match signer {
            Signed::ByProvider => Self::number_of(offer.provider),
            Signed::By(number) => number,
        };
        match *step {
            Step::Propose {
                buyer,
                offer,
                signer,
                extra,
            } => {
                let mut offer = self.offers[offer].clone();
                let signer = signer_of(signer, &offer);
                offer.signature = key(signer).sign_digest(Hash32(offer.id.0));
                let (paid, site) = (Self::price(&offer, extra), signing::site_hash(&offer.site));
                let call = self.call(party(buyer));
                let by_model = self
                    .model
                    .propose(call, &offer, Some(party(signer)), site, paid);
                (by_model, self.evm.propose(party(buyer), &offer, paid))
            }
            Step::ProposeConfirmed {
                buyer,
                offer,
                signer,
                named,
                valid,
                extra,
            } => {
                let offer = self.offers[offer].clone();
                let signer = signer_of(signer, &offer);
                let until = UtcTime(self.evm.now.saturating_add_signed(valid));
                let digest = signing::confirmation_digest(&offer, party(named), until);
                let word = key(signer).sign_digest(digest);
                let (paid, site) = (Self::price(&offer, extra), signing::site_hash(&offer.site));
                let said = (until, (named == buyer).then(|| party(signer)));
                let call = self.call(party(buyer));
                let by_model = self.model.propose_confirmed(call, &offer, said, site, paid);
                let by_contract =
                    self.evm
                        .propose_confirmed(party(buyer), &offer, until, word, paid);
                (by_model, by_contract)
            }
            _ => unreachable!("the caller chose"),
        }
    }

    fn progress(&mut self, step: &Step) -> Both {
        let (caller, number) = match *step {
            Step::SettleMutually(offer, ..) => (Who::Party(3), offer),
            Step::Confirm(caller, offer)
            | Step::Reject(caller, offer)
            | Step::Close(caller, offer)
            | Step::GiveNotice(caller, offer, _)
            | Step::Settle(caller, offer, _)
            | Step::Claim(caller, offer, ..)
            | Step::Dispute(caller, offer)
            | Step::Rule(caller, offer, ..) => (caller, offer),
            _ => unreachable!("the caller chose"),
        };
        let offer = self.offers[number].clone();
        let caller = self.who(caller, &offer);
        let call = self.call(caller);
        let deposit = self.deposit(number);
        let (model, offer) = (&mut self.model, &offer);
        match *step {
            Step::Confirm(..) => (model.confirm(call, offer), self.evm.confirm(caller, offer)),
            Step::Reject(..) => (model.reject(call, offer), self.evm.reject(caller, offer)),
            Step::Close(..) => (model.close(call.now, offer), self.evm.close(caller, offer)),
            Step::GiveNotice(_, _, after) => {
                let stop = call.now.0 + after;
                let by_model = model.give_notice(call, offer, UtcTime(stop));
                (by_model, self.evm.give_notice(caller, offer, stop))
            }
            Step::Settle(_, _, plan) => {
                let (receipt, claim) = self.receipt(number, plan);
                let by_model = self.model.settle(call, offer, claim);
                (by_model, self.evm.settle(caller, offer, receipt))
            }
            Step::SettleMutually(_, percent, [buyer, provider]) => {
                let due = percent_of(deposit, percent);
                let provider = match provider {
                    9 => Self::number_of(offer.provider),
                    other => other,
                };
                let signers = [buyer, provider];
                let by_model = model.settle_mutually(offer, due, signers.map(|it| Some(party(it))));
                let by_contract = self.evm.settle_mutually(offer, due, signers.map(key));
                (by_model, by_contract)
            }
            Step::Claim(_, _, percent, plan) => {
                let signed = plan.map(|plan| self.receipt(number, plan));
                let amount = percent_of(deposit, percent);
                let claim = signed.map(|(_, claim)| claim);
                let by_model = self.model.claim(call, offer, amount, claim);
                let receipt = signed.map(|(receipt, _)| receipt);
                (by_model, self.evm.claim(caller, offer, amount, receipt))
            }
            Step::Dispute(..) => (model.dispute(call, offer), self.evm.dispute(caller, offer)),
            Step::Rule(_, _, percent, slash) => {
                let claim = model
                    .agreement(offer.id.into())
                    .and_then(|record| record.claim);
                let due = claim.map_or(0, |claim| {
                    let span = claim.amount.units - claim.floor.units;
                    (claim.floor.units + span / 100 * u128::from(percent)).saturating_sub(1)
                });
                let slash = percent_of(offer.guarantee.stake.min(1 << 90), slash);
                let by_model = model.rule(call, offer, due, slash);
                (by_model, self.evm.rule(caller, offer, due, slash))
            }
            _ => unreachable!("the caller chose"),
        }
    }

    fn compare(&mut self) {
        let totals = self.evm.totals(Asset::Native);
        assert_eq!(totals, self.model.totals(Asset::Native));
        let parts = [totals.released, totals.refunded, totals.burned, totals.held];
        let sum: u128 = parts.iter().map(|part| part.units).sum();
        assert_eq!(totals.deposited.units, sum, "conservation");
        let owed = totals.held.units + totals.burned.units + self.model.credits(Asset::Native);
        assert_eq!(
            self.evm.balance(self.evm.here()),
            owed,
            "every wei is accounted for"
        );
        for number in 0..PARTIES {
            let party = party(number);
            let account = self.evm.account(party, Asset::Native);
            assert_eq!(account, self.model.account(party, Asset::Native));
        }
        for offer in &self.offers {
            let record = self.evm.agreement(offer);
            assert_eq!(record.as_ref(), self.model.agreement(offer.id.into()));
        }
        assert!(self.model.bought_by_reputation() <= totals.burned.units);
    }

    /// Whatever happened, somebody without any stake can close everything, and all can take what is theirs.
    pub(super) fn wind_up(&mut self) {
        for offer in self.offers.clone() {
            let Some(after) = self.model.closable_after(offer.id.into()) else {
                continue;
            };
            let horizon = START + 2 * 366 * 86_400;
            assert!(after.0 < horizon, "finite time");
            self.evm.now = self.evm.now.max(after.0 + 1);
            let now = ChainTime(self.evm.now);
            self.model.close(now, &offer).unwrap();
            self.evm.close(STRANGER, &offer).unwrap();
        }
        for number in 0..PARTIES {
            let free = self.evm.account(party(number), Asset::Native);
            assert_eq!(free.locked_stake, Amount::wei(0));
            let amount = free.free_stake;
            self.model.unstake(party(number), amount).unwrap();
            self.evm.unstake(party(number), amount).unwrap();
            self.step(&Step::Withdraw(number)).unwrap();
        }
        self.compare();
        let totals = self.evm.totals(Asset::Native);
        assert_eq!(totals.held, Amount::wei(0));
        assert_eq!(self.evm.balance(self.evm.here()), totals.burned.units);
    }
}

/// Hundredths of an amount; of 101 hundredths, one unit more than all.
const fn percent_of(amount: u128, percent: u8) -> u128 {
    match percent {
        101 => amount + 1,
        percent => amount / 100 * percent as u128,
    }
}

const fn name_of(step: &Step) -> &'static str {
    match step {
        Step::Advance(_) | Step::ToDeadline { .. } => "advance",
        Step::Propose { .. } => "propose",
        Step::ProposeConfirmed { .. } => "propose confirmed",
        Step::Confirm(..) => "confirm",
        Step::Reject(..) => "reject",
        Step::Close(..) => "close",
        Step::GiveNotice(..) => "give notice",
        Step::Settle(..) => "settle",
        Step::SettleMutually(..) => "settle mutually",
        Step::Claim(..) => "claim",
        Step::Dispute(..) => "dispute",
        Step::Rule(..) => "rule",
        Step::Stake(..) => "stake",
        Step::Unstake(..) => "unstake",
        Step::Withdraw(..) => "withdraw",
    }
}

#[test]
fn the_contract_does_what_the_model_says() {
    let strategy = (
        proptest::collection::vec(offer_plan(), OFFERS),
        proptest::collection::vec(step(), 40..80),
    );
    let succeeded: RefCell<BTreeMap<&'static str, u32>> = RefCell::default();
    let failed: RefCell<BTreeSet<EscrowError>> = RefCell::default();
    let config = Config {
        cases: 80,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
        .run(&strategy, |(plans, steps)| {
            let mut pair = Pair::new(&plans, Evm::new());
            for (at, step) in steps.iter().enumerate() {
                match pair.step(step) {
                    Ok(()) => *succeeded.borrow_mut().entry(name_of(step)).or_insert(0) += 1,
                    Err(error) => {
                        failed.borrow_mut().insert(error);
                    }
                }
                if at % 8 == 0 {
                    pair.compare();
                }
            }
            pair.wind_up();
            Ok(())
        })
        .unwrap();

    // Sequences in which nothing happens would prove nothing.
    let succeeded = succeeded.into_inner();
    for kind in [
        "propose",
        "propose confirmed",
        "confirm",
        "reject",
        "close",
        "give notice",
        "settle",
        "settle mutually",
        "claim",
        "dispute",
        "rule",
        "stake",
        "unstake",
        "withdraw",
    ] {
        let count = succeeded.get(kind).copied().unwrap_or(0);
        assert!(count >= 1, "{kind} never succeeded: {succeeded:?}");
    }
    let failed = failed.into_inner();
    // Out of reach of most sequences: a ruling in time that would burn too much.
    let rare = usize::from(!failed.contains(&EscrowError::SlashOutOfRange));
    assert_eq!(
        failed.len() + rare,
        14,
        "every error of the model was met: {failed:?}"
    );
}
