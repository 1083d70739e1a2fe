//! The model by itself; against the contract it is tested in `edge-chain`.

use edge_types::{
    ChainId, Guarantee, HardwareProfile, IepId, OfferId, Settlement, Signature, SlaTerms, Slot,
};

use super::*;

const BUYER: ChainAddress = ChainAddress([1; 20]);
const PROVIDER: ChainAddress = ChainAddress([2; 20]);
const ARBITER: ChainAddress = ChainAddress([4; 20]);
const NONE: Hash32 = Hash32([0; 32]);

/// 100 seconds at 1000 wei from 1,000 on, a receipt each 10 seconds.
pub(crate) fn offer(number: u8) -> Offer {
    Offer {
        id: OfferId([number; 32]),
        provider: PROVIDER,
        buyer: None,
        site: IepId {
            host: "edge.isp.example".parse().unwrap(),
            port: 80,
        },
        slot: Slot {
            start: UtcTime(1_000),
            end: UtcTime(1_100),
        },
        hardware: HardwareProfile {
            milli_cpu: 1,
            memory_bytes: 1,
            pids: 1,
        },
        price_per_second: Amount::wei(1_000),
        sla: SlaTerms {
            text_hash: NONE,
            availability_ppm: 0,
            receipt_interval_seconds: 10,
            notice_seconds: 5,
            round_trip_ms: 0,
        },
        conditions: edge_types::SiteConditions::default(),
        guarantee: Guarantee {
            stake: 500,
            arbiter: Some(ARBITER),
            answer_seconds: 50,
        },
        settlement: Settlement::Escrow {
            chain: ChainId(1),
            contract: ARBITER,
        },
        expires: UtcTime(900),
        nonce: NONE,
        signature: Signature([0; 65]),
    }
}

fn at(now: u64, caller: ChainAddress) -> Call {
    Call {
        now: ChainTime(now),
        caller,
    }
}

fn agree(escrow: &mut Escrow, offer: &Offer) {
    escrow.stake(PROVIDER, Amount::wei(500), 500).unwrap();
    let word = (UtcTime(900), Some(PROVIDER));
    let call = at(900, BUYER);
    escrow
        .propose_confirmed(call, offer, word, NONE, 100_000)
        .unwrap();
}

fn receipt(due: u128) -> ReceiptClaim {
    ReceiptClaim {
        due,
        signer: Some(BUYER),
    }
}

fn credit(escrow: &Escrow, account: ChainAddress) -> u128 {
    escrow.account(account, Asset::Native).credit.units
}

#[test]
fn a_receipt_divides_the_deposit_and_the_burned_share_is_reputation() {
    let mut escrow = Escrow::default();
    agree(&mut escrow, &offer(1));
    escrow
        .settle(at(1_050, PROVIDER), &offer(1), receipt(50_000))
        .unwrap();
    let totals = escrow.totals(Asset::Native);
    let sums = [
        totals.deposited,
        totals.released,
        totals.refunded,
        totals.burned,
        totals.held,
    ];
    let expected = [100_500, 49_500, 50_000, 500, 500];
    assert_eq!(sums, expected.map(Amount::wei));
    let provider = escrow.account(PROVIDER, Asset::Native);
    assert_eq!(provider.reputation, Amount::wei(500));
    assert_eq!(provider.free_stake, Amount::wei(500));
    assert_eq!(escrow.withdraw(PROVIDER, Asset::Native), 49_500);
    assert_eq!(escrow.withdraw(PROVIDER, Asset::Native), 0);
    assert_eq!(escrow.withdraw(BUYER, Asset::Native), 50_000);
}

#[test]
fn a_buyer_alone_has_to_wait_for_the_provider() {
    let mut escrow = Escrow::default();
    agree(&mut escrow, &offer(1));
    let mut settle = |now| escrow.settle(at(now, BUYER), &offer(1), receipt(0));
    assert_eq!(settle(1_700), Err(EscrowError::TooEarly));
    settle(1_701).unwrap();
}

#[test]
fn silence_pays_one_interval_at_most_and_anyone_can_call_it() {
    for (served, due) in [(100, 10_000), (3, 3_000)] {
        let mut escrow = Escrow::default();
        let offer = offer(1);
        agree(&mut escrow, &offer);
        if served < 100 {
            let stop = UtcTime(1_000 + served);
            escrow.give_notice(at(950, PROVIDER), &offer, stop).unwrap();
        }
        let after = 1_000 + served + CHALLENGE_WINDOW_SECONDS;
        let early = escrow.close(ChainTime(after), &offer);
        assert_eq!(early, Err(EscrowError::TooEarly));
        escrow.close(ChainTime(after + 1), &offer).unwrap();
        assert_eq!(credit(&escrow, PROVIDER), due - due / 100);
        assert_eq!(credit(&escrow, BUYER), 100_000 - due);
    }
}

#[test]
fn without_a_ruling_reputation_moves_at_most_a_quarter_and_is_used_up() {
    let mut escrow = Escrow::default();
    agree(&mut escrow, &offer(1));
    escrow
        .settle(at(1_000, PROVIDER), &offer(1), receipt(100_000))
        .unwrap();
    let reputation = escrow.account(PROVIDER, Asset::Native).reputation;
    assert_eq!(reputation, Amount::wei(1_000));
    // Contested is one interval, 10,000; a quarter of it would be 2,500.
    // The second time only what the first dispute's payment burned is left.
    for (number, bought) in [(2, 1_000), (3, 260)] {
        let before = credit(&escrow, PROVIDER);
        agree(&mut escrow, &offer(number));
        let claim = escrow.claim(
            at(1_100, PROVIDER),
            &offer(number),
            100_000,
            Some(receipt(20_000)),
        );
        claim.unwrap();
        escrow.dispute(at(1_101, BUYER), &offer(number)).unwrap();
        let after = ChainTime(1_102 + ARBITRATION_SECONDS);
        escrow.close(after, &offer(number)).unwrap();
        let due = 25_000 + bought;
        assert_eq!(credit(&escrow, PROVIDER) - before, due - due / 100);
    }
    assert_eq!(escrow.bought_by_reputation(), 1_260);
}

#[test]
fn an_arbiter_rules_between_receipt_and_claim_and_slashes_the_stake() {
    let mut escrow = Escrow::default();
    let offer = offer(1);
    agree(&mut escrow, &offer);
    let early = escrow.claim(at(1_099, PROVIDER), &offer, 60_000, None);
    assert_eq!(early, Err(EscrowError::TooEarly));
    escrow
        .claim(at(1_100, PROVIDER), &offer, 60_000, Some(receipt(20_000)))
        .unwrap();
    escrow.dispute(at(1_101, BUYER), &offer).unwrap();
    let mut rule = |due, slash| escrow.rule(at(2_000, ARBITER), &offer, due, slash);
    assert_eq!(rule(19_999, 0), Err(EscrowError::DueOutOfRange));
    assert_eq!(rule(60_001, 0), Err(EscrowError::DueOutOfRange));
    assert_eq!(rule(30_000, 501), Err(EscrowError::SlashOutOfRange));
    rule(30_000, 500).unwrap();
    assert_eq!(credit(&escrow, PROVIDER), 29_700);
    assert_eq!(escrow.totals(Asset::Native).burned, Amount::wei(800));
    let provider = escrow.account(PROVIDER, Asset::Native);
    assert_eq!(provider.free_stake, Amount::wei(0));
}

#[test]
fn shares_are_rounded_down_and_do_not_overflow() {
    assert_eq!(share(99, 100), 0);
    assert_eq!(share(u128::MAX, 10_000), u128::MAX);
    assert_eq!(share(10_050, 100), 100);
}
