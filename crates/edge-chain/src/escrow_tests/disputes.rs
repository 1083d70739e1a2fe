//! Claims, disputes, notice, mutual settlement, and what reputation can do.

use edge_negotiation::escrow::{
    ARBITRATION_SECONDS, CHALLENGE_WINDOW_SECONDS, EscrowError, PROVIDER_WINDOW_SECONDS,
};
use edge_types::{AgreementState, Amount, Asset, Hash32, Offer};

use super::evm::{
    ARBITER, BUYER, Evm, PRICE, PROVIDER, SLOT_END, SLOT_START, START, STRANGER, confirmed, key,
    party, plain_offer, refused, sign,
};

/// 60,000 claimed, 20,000 acknowledged.
fn claimed() -> (Evm, Offer) {
    let (mut evm, offer) = confirmed();
    evm.now = SLOT_END;
    let receipt = evm.receipt(offer.id.into(), 20_000, key(BUYER));
    evm.claim(party(PROVIDER), &offer, 60_000, Some(receipt))
        .unwrap();
    (evm, offer)
}

#[test]
fn silence_accepts_a_claim_up_to_one_interval_above_the_receipt() {
    let (mut evm, offer) = claimed();
    evm.now = SLOT_END + CHALLENGE_WINDOW_SECONDS;
    assert_eq!(evm.close(STRANGER, &offer), refused(EscrowError::TooEarly));
    evm.now += 1;
    assert_eq!(
        evm.dispute(party(BUYER), &offer),
        refused(EscrowError::TooLate)
    );
    evm.close(STRANGER, &offer).unwrap();
    assert_eq!(evm.credit(party(PROVIDER)), 29_700);
}

#[test]
fn a_buyer_cannot_overtake_a_claim_with_its_own_word() {
    let (mut evm, offer) = claimed();
    evm.now = SLOT_END + PROVIDER_WINDOW_SECONDS + 1;
    let nothing = evm.receipt(offer.id.into(), 0, key(BUYER));
    assert_eq!(
        evm.settle(party(BUYER), &offer, nothing),
        refused(EscrowError::WrongState)
    );
}

#[test]
fn nobody_claims_early_nor_for_others_nor_more_than_was_served() {
    let (mut evm, offer) = confirmed();
    let provider = party(PROVIDER);
    let early = evm.claim(provider, &offer, 1, None);
    assert_eq!(early, refused(EscrowError::TooEarly));
    evm.now = SLOT_END;
    for (caller, amount, floor, signer, error) in [
        (BUYER, 1, None, BUYER, EscrowError::NotAllowed),
        (PROVIDER, PRICE + 1, None, BUYER, EscrowError::DueOutOfRange),
        (PROVIDER, 10, Some(11), BUYER, EscrowError::DueOutOfRange),
        (PROVIDER, 10, Some(9), PROVIDER, EscrowError::BadSignature),
    ] {
        let receipt = floor.map(|due| evm.receipt(offer.id.into(), due, key(signer)));
        let result = evm.claim(party(caller), &offer, amount, receipt);
        assert_eq!(result, refused(error));
    }
}

#[test]
fn an_arbiter_rules_in_time_within_bounds_and_nobody_else_does() {
    let (mut evm, offer) = claimed();
    assert_eq!(
        evm.rule(party(ARBITER), &offer, 30_000, 0),
        refused(EscrowError::WrongState)
    );
    assert_eq!(
        evm.dispute(STRANGER, &offer),
        refused(EscrowError::NotAllowed)
    );
    evm.dispute(party(BUYER), &offer).unwrap();
    for caller in [BUYER, PROVIDER] {
        let own = evm.rule(party(caller), &offer, 30_000, 0);
        assert_eq!(own, refused(EscrowError::NotAllowed));
    }
    for due in [19_999, 60_001] {
        let outside = evm.rule(party(ARBITER), &offer, due, 0);
        assert_eq!(outside, refused(EscrowError::DueOutOfRange));
    }
    assert_eq!(
        evm.rule(party(ARBITER), &offer, 30_000, 1),
        refused(EscrowError::SlashOutOfRange)
    );
    evm.now += ARBITRATION_SECONDS;
    let (mut late, late_offer) = claimed();
    late.dispute(party(PROVIDER), &late_offer).unwrap();
    late.now += ARBITRATION_SECONDS + 1;
    assert_eq!(
        late.rule(party(ARBITER), &late_offer, 30_000, 0),
        refused(EscrowError::TooLate)
    );
    evm.rule(party(ARBITER), &offer, 60_000, 0).unwrap();
    assert_eq!(evm.credit(party(PROVIDER)), 59_400);
}

#[test]
fn a_slash_is_burned_and_halves_the_reputation() {
    let mut evm = Evm::new();
    evm.stake(party(PROVIDER), Amount::wei(500), 500).unwrap();
    let mut offer = plain_offer(&evm);
    offer.guarantee.stake = 500;
    let first = sign(offer.clone());
    evm.agree(&first).unwrap();
    let receipt = evm.receipt(first.id.into(), PRICE, key(BUYER));
    evm.settle(party(PROVIDER), &first, receipt).unwrap();
    offer.nonce = Hash32([2; 32]);
    let second = sign(offer);
    evm.agree(&second).unwrap();
    evm.now = SLOT_END;
    evm.claim(party(PROVIDER), &second, 60_000, None).unwrap();
    evm.dispute(party(BUYER), &second).unwrap();
    let before = evm.credit(party(BUYER));
    evm.rule(party(ARBITER), &second, 0, 500).unwrap();
    let provider = evm.account(party(PROVIDER), Asset::Native);
    assert_eq!(provider.reputation, Amount::wei(500));
    assert_eq!(provider.free_stake, Amount::wei(0));
    assert_eq!(provider.locked_stake, Amount::wei(0));
    assert_eq!(
        evm.credit(party(BUYER)) - before,
        PRICE,
        "its money and no more"
    );
    assert_eq!(evm.totals(Asset::Native).burned, Amount::wei(1_500));
}

#[test]
fn a_dead_arbiter_leaves_a_split_that_reputation_moves_once() {
    for burned_before in [false, true] {
        let mut evm = Evm::new();
        let offer = plain_offer(&evm);
        if burned_before {
            let first = sign(Offer {
                nonce: Hash32([7; 32]),
                ..offer.clone()
            });
            evm.agree(&first).unwrap();
            let receipt = evm.receipt(first.id.into(), PRICE, key(BUYER));
            evm.settle(party(PROVIDER), &first, receipt).unwrap();
        }
        evm.agree(&offer).unwrap();
        evm.now = SLOT_END;
        let receipt = evm.receipt(offer.id.into(), 20_000, key(BUYER));
        evm.claim(party(PROVIDER), &offer, 60_000, Some(receipt))
            .unwrap();
        evm.dispute(party(BUYER), &offer).unwrap();
        evm.now += ARBITRATION_SECONDS;
        assert_eq!(evm.close(STRANGER, &offer), refused(EscrowError::TooEarly));
        evm.now += 1;
        let before = evm.credit(party(PROVIDER));
        evm.close(STRANGER, &offer).unwrap();
        // Contested is the interval of 10,000; half of it, and one unit per unit burned before.
        let (due, left) = if burned_before {
            (26_000, 260)
        } else {
            (25_000, 250)
        };
        assert_eq!(evm.credit(party(PROVIDER)) - before, due - due / 100);
        let provider = evm.account(party(PROVIDER), Asset::Native);
        assert_eq!(provider.reputation, Amount::wei(left), "used up");
    }
}

#[test]
fn self_dealing_costs_what_its_reputation_can_ever_move() {
    let mut evm = Evm::new();
    for nonce in 10..20 {
        let own = sign(Offer {
            nonce: Hash32([nonce; 32]),
            ..plain_offer(&evm)
        });
        evm.agree(&own).unwrap();
        let receipt = evm.receipt(own.id.into(), PRICE, key(BUYER));
        evm.settle(party(PROVIDER), &own, receipt).unwrap();
    }
    let bought = evm.account(party(PROVIDER), Asset::Native).reputation;
    assert_eq!(bought, evm.totals(Asset::Native).burned);
}

#[test]
fn both_parties_can_end_it_at_any_time_and_one_cannot() {
    let end = |evm: &mut Evm, offer: &Offer, signers: [u8; 2]| {
        evm.settle_mutually(offer, 12_345, signers.map(key))
    };
    let (mut running, offer) = confirmed();
    for one in [[BUYER, BUYER], [PROVIDER, PROVIDER], [PROVIDER, BUYER]] {
        let refusal = end(&mut running, &offer, one);
        assert_eq!(refusal, refused(EscrowError::BadSignature));
    }
    end(&mut running, &offer, [BUYER, PROVIDER]).unwrap();
    let record = running.agreement(&offer).unwrap();
    assert_eq!(record.state, AgreementState::Settled);
    assert_eq!(record.refunded, Amount::wei(PRICE - 12_345));

    let (mut disputed, offer) = claimed();
    disputed.dispute(party(BUYER), &offer).unwrap();
    end(&mut disputed, &offer, [BUYER, PROVIDER]).unwrap();
    assert_eq!(
        end(&mut disputed, &offer, [BUYER, PROVIDER]),
        refused(EscrowError::WrongState)
    );
    assert_eq!(disputed.credit(party(PROVIDER)), 12_345 - 123);
}

#[test]
fn notice_ends_the_service_and_what_can_be_due() {
    let (mut evm, offer) = confirmed();
    let provider = party(PROVIDER);
    let notice = |evm: &mut Evm, caller, stop| evm.give_notice(caller, &offer, stop);
    let too_soon = notice(&mut evm, provider, START + 4);
    assert_eq!(too_soon, refused(EscrowError::TooEarly), "5 s are agreed");
    let no_end = notice(&mut evm, provider, SLOT_END);
    assert_eq!(no_end, refused(EscrowError::TooLate));
    let by_buyer = notice(&mut evm, party(BUYER), SLOT_START + 40);
    assert_eq!(by_buyer, refused(EscrowError::NotAllowed));
    notice(&mut evm, provider, SLOT_START + 40).unwrap();
    let again = notice(&mut evm, provider, SLOT_START + 90);
    assert_eq!(again, refused(EscrowError::WrongState), "once");
    assert_eq!(evm.agreement(&offer).unwrap().ends_at.0, SLOT_START + 40);
    evm.now = SLOT_START + 40;
    let too_much = evm.claim(provider, &offer, 40_001, None);
    assert_eq!(too_much, refused(EscrowError::DueOutOfRange));
    evm.claim(provider, &offer, 40_000, None).unwrap();
}
