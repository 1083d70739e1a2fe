//! Attacks by name. A1 to A6 are the holes of the SmartEdge contract (Wright et al. 2018), reproduced there and closed
//! here.

use alloy::primitives::{Bytes, TxKind, U256};
use alloy::sol_types::SolCall;
use edge_negotiation::escrow::{EscrowError, PROVIDER_WINDOW_SECONDS};
use edge_ports::Signer;
use edge_types::{Amount, Asset, ChainAddress, ChainId, Hash32, Offer, Settlement, UtcTime};
use edge_wire::signing;

use super::evm::{
    ANSWER, BUYER, CHAIN, Evm, PRICE, PROVIDER, SLOT_END, START, STRANGER, alloy, confirmed, key,
    party, plain_offer, proposed, refused, sign,
};
use crate::abi::{self, ExecEscrow};

#[test]
fn a1_a_provider_that_never_answers_cannot_lock_the_money() {
    let (mut evm, offer) = proposed();
    evm.now = START + ANSWER;
    assert_eq!(evm.close(STRANGER, &offer), refused(EscrowError::TooEarly));
    evm.now += 1;
    assert_eq!(
        evm.confirm(party(PROVIDER), &offer),
        refused(EscrowError::TooLate),
        "too late to spring it on the buyer"
    );
    evm.close(STRANGER, &offer).unwrap();
    assert_eq!(evm.withdraw(party(BUYER), Asset::Native), Ok(PRICE));
}

#[test]
fn a2_a_party_that_refuses_money_hurts_only_itself() {
    let (mut evm, offer) = confirmed();
    let receipt = evm.receipt(offer.id.into(), 50_000, key(BUYER));
    let always_revert = vec![0x5f, 0x5f, 0xfd]; // PUSH0 PUSH0 REVERT
    evm.put_code(party(BUYER), always_revert);
    evm.settle(party(PROVIDER), &offer, receipt).unwrap();
    assert_eq!(evm.withdraw(party(PROVIDER), Asset::Native), Ok(49_500));
    assert_eq!(evm.credit(party(BUYER)), 50_000);
}

#[test]
fn a3_a_buyer_cannot_take_back_what_it_acknowledged() {
    let (mut evm, offer) = confirmed();
    let nothing = evm.receipt(offer.id.into(), 0, key(BUYER));
    let acknowledged = evm.receipt(offer.id.into(), 90_000, key(BUYER));
    for now in [START, SLOT_END, SLOT_END + PROVIDER_WINDOW_SECONDS] {
        evm.now = now;
        let alone = evm.settle(party(BUYER), &offer, nothing);
        assert_eq!(alone, refused(EscrowError::TooEarly), "at {now}");
        assert_eq!(
            evm.reject(party(BUYER), &offer),
            refused(EscrowError::WrongState)
        );
    }
    evm.settle(party(PROVIDER), &offer, acknowledged).unwrap();
    assert_eq!(evm.credit(party(PROVIDER)), 89_100);
}

#[test]
fn a4_a_late_provider_is_paid_what_was_acknowledged_and_no_more() {
    let (mut evm, offer) = confirmed();
    let acknowledged = evm.receipt(offer.id.into(), 20_000, key(BUYER));
    evm.now = SLOT_END + 365 * 86_400;
    evm.settle(party(PROVIDER), &offer, acknowledged).unwrap();
    assert_eq!(evm.credit(party(PROVIDER)), 19_800);

    let (mut evm, offer) = confirmed();
    evm.now = SLOT_END + 365 * 86_400;
    evm.close(party(PROVIDER), &offer).unwrap();
    assert_eq!(evm.credit(party(PROVIDER)), 9_900, "one receipt interval");
    assert_eq!(evm.credit(party(BUYER)), 90_000);
}

#[test]
fn a5_nothing_stays_in_the_contract_but_what_is_burned() {
    let mut evm = Evm::new();
    let mut offer = plain_offer(&evm);
    offer.guarantee.stake = 7_000;
    let offer = sign(offer);
    let stake = Amount::wei(9_000);
    evm.stake(party(PROVIDER), stake, 9_000).unwrap();
    evm.agree(&offer).unwrap();
    assert_eq!(
        evm.unstake(party(PROVIDER), stake),
        refused(EscrowError::StakeMissing),
        "locked while the agreement lasts"
    );
    let receipt = evm.receipt(offer.id.into(), 50_000, key(BUYER));
    evm.settle(party(PROVIDER), &offer, receipt).unwrap();
    evm.unstake(party(PROVIDER), stake).unwrap();
    assert_eq!(evm.withdraw(party(PROVIDER), Asset::Native), Ok(58_500));
    assert_eq!(evm.withdraw(party(BUYER), Asset::Native), Ok(50_000));
    assert_eq!(evm.balance(evm.here()), 500);
    assert_eq!(evm.totals(Asset::Native).burned, Amount::wei(500));
}

#[test]
fn a6_nobody_can_squat_on_a_slot() {
    let mut evm = Evm::new();
    let offer = plain_offer(&evm);
    let forged = signing::sign_offer(offer.clone(), |digest| key(3).sign_digest(digest));
    assert_eq!(
        evm.propose(party(3), &forged, PRICE),
        refused(EscrowError::BadSignature)
    );
    assert_eq!(
        evm.propose(party(3), &offer, PRICE - 1),
        refused(EscrowError::WrongDeposit)
    );
    let mut named = offer.clone();
    named.buyer = Some(party(BUYER));
    let named = sign(named);
    assert_eq!(
        evm.propose(party(3), &named, PRICE),
        refused(EscrowError::NotAllowed),
        "an offer names its buyer"
    );
    // Who got hold of an offer to anybody has to pay the whole price, and the provider sends it away.
    evm.propose(party(3), &offer, PRICE).unwrap();
    evm.reject(party(PROVIDER), &offer).unwrap();
    assert_eq!(evm.credit(party(3)), PRICE);
}

#[test]
fn a_front_runner_cannot_use_another_buyer_s_confirmation() {
    let mut evm = Evm::new();
    let mut offer = plain_offer(&evm);
    offer.guarantee.answer_seconds = 0;
    let offer = sign(offer);
    let until = UtcTime(START + 10);
    let word = |buyer, until| {
        key(PROVIDER).sign_digest(signing::confirmation_digest(&offer, party(buyer), until))
    };
    let seen = word(BUYER, until);
    let bad = refused(EscrowError::BadSignature);
    let as_its_own = evm.propose_confirmed(party(3), &offer, until, seen, PRICE);
    assert_eq!(as_its_own, bad);
    let without = evm.propose(party(3), &offer, PRICE);
    assert_eq!(without, refused(EscrowError::BadAnswerTime));
    let later = UtcTime(until.0 + 1);
    let stretched = evm.propose_confirmed(party(BUYER), &offer, later, seen, PRICE);
    assert_eq!(stretched, bad);
    let by_offer = evm.propose_confirmed(party(BUYER), &offer, until, offer.signature, PRICE);
    assert_eq!(by_offer, bad, "an offer is not a confirmation");
    evm.now = until.0 + 1;
    let late = evm.propose_confirmed(party(BUYER), &offer, until, seen, PRICE);
    assert_eq!(late, refused(EscrowError::OfferExpired));
    evm.now = until.0;
    evm.propose_confirmed(party(BUYER), &offer, until, seen, PRICE)
        .unwrap();
    let again = evm.propose_confirmed(party(BUYER), &offer, until, seen, PRICE);
    assert_eq!(again, refused(EscrowError::OfferConsumed));
}

#[test]
fn a_stake_is_there_or_the_money_does_not_move() {
    let mut evm = Evm::new();
    let mut offer = plain_offer(&evm);
    offer.guarantee.stake = 100;
    let offer = sign(offer);
    evm.stake(party(PROVIDER), Amount::wei(199), 199).unwrap();
    evm.agree(&offer).unwrap();
    let second = sign(Offer {
        nonce: Hash32([2; 32]),
        ..offer
    });
    assert_eq!(
        evm.agree(&second),
        refused(EscrowError::StakeMissing),
        "the same stake cannot stand behind two"
    );
}

#[test]
fn an_answer_that_does_not_come_costs_stake_and_reputation() {
    let mut evm = Evm::new();
    let first = plain_offer(&evm);
    evm.agree(&first).unwrap();
    let receipt = evm.receipt(first.id.into(), PRICE, key(BUYER));
    evm.settle(party(PROVIDER), &first, receipt).unwrap();
    evm.stake(party(PROVIDER), Amount::wei(1_500), 1_500)
        .unwrap();
    let second = sign(Offer {
        nonce: Hash32([2; 32]),
        ..first
    });
    evm.propose(party(BUYER), &second, PRICE).unwrap();
    let before = evm.account(party(PROVIDER), Asset::Native);
    assert_eq!(before.reputation, Amount::wei(1_000));
    evm.now += ANSWER + 1;
    evm.close(STRANGER, &second).unwrap();
    let after = evm.account(party(PROVIDER), Asset::Native);
    assert_eq!(after.reputation, Amount::wei(0));
    assert_eq!(after.free_stake, Amount::wei(500));
    assert_eq!(
        evm.credit(party(BUYER)),
        PRICE,
        "the buyer gains nothing by it"
    );
    assert_eq!(evm.totals(Asset::Native).burned, Amount::wei(2_000));
}

#[test]
fn a_recipient_that_calls_back_gets_its_credit_once() {
    let (mut evm, offer) = proposed();
    evm.reject(party(PROVIDER), &offer).unwrap();
    // Other people's money, to steal.
    let other = sign(Offer {
        nonce: Hash32([2; 32]),
        ..offer
    });
    evm.propose(party(3), &other, PRICE).unwrap();

    // Whoever calls it, and on every receipt of money: escrow.withdraw(0, address(this)), and fail if that does.
    let mut code = vec![0x63];
    code.extend(ExecEscrow::withdrawCall::SELECTOR);
    code.extend([0x60, 0xe0, 0x1b, 0x5f, 0x52]); // PUSH1 224 SHL PUSH0 MSTORE
    code.extend([0x30, 0x60, 0x24, 0x52]); // ADDRESS PUSH1 36 MSTORE
    code.extend([0x5f, 0x5f, 0x60, 0x44, 0x5f, 0x5f, 0x73]); // no output, 68 octets of input, no value
    code.extend(evm.contract.into_array());
    code.extend([0x5a, 0xf1, 0x00]); // GAS CALL STOP
    evm.put_code(party(BUYER), code);
    let before = evm.balance(party(BUYER));
    let to = TxKind::Call(alloy(party(BUYER)));
    assert!(evm.transact(STRANGER, to, 0, Bytes::new()).is_success());
    assert_eq!(evm.balance(party(BUYER)) - before, PRICE);
    assert_eq!(evm.credit(party(BUYER)), 0);
    assert_eq!(evm.balance(evm.here()), PRICE);
}

#[test]
fn an_offer_for_another_chain_or_contract_or_a_signature_s_twin_is_refused() {
    let mut evm = Evm::new();
    let good = plain_offer(&evm);
    let elsewhere = [(ChainId(1), evm.here()), (CHAIN, ChainAddress([7; 20]))];
    let mut bad: Vec<Offer> = elsewhere
        .into_iter()
        .map(|(chain, contract)| {
            let mut offer = good.clone();
            offer.settlement = Settlement::Escrow { chain, contract };
            sign(offer)
        })
        .collect();
    // (r, order - s, other v) recovers to the same key.
    let order: U256 = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
        .parse()
        .unwrap();
    let mut twin = good.clone();
    let s = U256::from_be_slice(&twin.signature.0[32..64]);
    twin.signature.0[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
    twin.signature.0[64] = 27 + 28 - twin.signature.0[64];
    bad.push(twin);
    for offer in bad {
        assert_eq!(
            evm.propose(party(BUYER), &offer, PRICE),
            refused(EscrowError::BadSignature)
        );
    }
    evm.propose(party(BUYER), &good, PRICE).unwrap();
}

#[test]
fn changed_terms_are_another_agreement() {
    let (mut evm, offer) = confirmed();
    let receipt = evm.receipt(offer.id.into(), 50_000, key(BUYER));
    let mut dearer = offer.clone();
    dearer.price_per_second.units *= 2;
    let mut mine = offer;
    mine.provider = party(3);
    for changed in [dearer, mine] {
        let caller = changed.provider;
        let unknown = evm.settle(caller, &changed, receipt);
        assert_eq!(unknown, refused(EscrowError::WrongState));
    }
}

#[test]
fn ether_that_is_not_a_deposit_is_refused() {
    let (mut evm, offer) = proposed();
    let to = TxKind::Call(evm.contract);
    assert!(!evm.transact(STRANGER, to, 1, Bytes::new()).is_success());
    let confirm = ExecEscrow::confirmCall {
        offer: abi::signed_terms(&offer),
    };
    let input = confirm.abi_encode().into();
    assert!(!evm.transact(party(PROVIDER), to, 1, input).is_success());
}
