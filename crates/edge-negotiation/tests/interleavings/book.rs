//! The provider's book alone: what it refuses, holds and lets fall due.

use edge_negotiation::{Answer, BookLimits, Division, Ending, ProviderAction, ProviderBook, Stage};
use edge_types::agreement::detail;
use edge_types::{
    AgreementId, AgreementRecord, AgreementState, Amount, ChainAddress, ChainTime, Generation,
    HardwareProfile, Hash32, Offer, OfferId, Preferences, RejectReason, ReservationId,
    ResourceLimits, Slot, UtcTime,
};

use crate::parties::{
    LEASE, LIMITS, PROVIDER, START, preferences, receipt, site, slot, source, terms,
};

fn reserved(
    book: &mut ProviderBook,
    buyer: u8,
    nonce: u8,
    wanted: Slot,
    now: UtcTime,
) -> Result<Offer, RejectReason> {
    let wanted = preferences(buyer, wanted);
    reserved_from(book, buyer, (buyer, nonce), &wanted, now)
}

/// The same from another network, or for other hardware.
fn reserved_from(
    book: &mut ProviderBook,
    from: u8,
    (buyer, nonce): (u8, u8),
    wanted: &Preferences,
    now: UtcTime,
) -> Result<Offer, RejectReason> {
    let mut offer = book
        .handle_hello(&site(), wanted, now, Hash32([nonce; 32]))?
        .remove(0);
    offer.id = OfferId([nonce; 32]);
    book.handle_reservation(
        &offer,
        ChainAddress([buyer; 20]),
        source(from),
        ReservationId([nonce; 32]),
        now,
    )
    .map(|_| offer)
}

/// Security rule 8: offers hold nothing, and unfunded reservations are capped per buyer and in all.
#[test]
fn unfunded_reservations_are_capped() {
    let now = UtcTime(START);
    let limits = BookLimits {
        reservations_per_buyer: 4,
        ..BookLimits::default()
    };
    let mut book = ProviderBook::new(limits, [terms(100, 0, false)]);
    for nonce in 1..=4 {
        assert!(reserved(&mut book, 1, nonce, slot(10, 50), now).is_ok());
    }
    let too_many = |held, limit| Err(RejectReason::TooManyReservations { held, limit });
    assert_eq!(reserved(&mut book, 1, 5, slot(10, 50), now), too_many(4, 4));
    for nonce in 5..=20 {
        assert!(
            reserved(&mut book, nonce, nonce, slot(10, 50), now).is_ok(),
            "{nonce}"
        );
    }
    assert_eq!(
        reserved(&mut book, 21, 21, slot(10, 50), now),
        too_many(20, 20)
    );
    let later = now.plus_seconds(121);
    assert!(
        reserved(&mut book, 21, 22, slot(130, 150), later).is_ok(),
        "reservations ran out"
    );
}

/// Security rule 8: what counts is the hardware, whatever it is asked for in, and no source gets more than half of the share
/// by asking under many keys.
#[test]
fn unfunded_reservations_hold_a_fifth_of_the_hardware_and_those_of_one_source_a_tenth() {
    let now = UtcTime(START);
    let wanted = |buyer, leases: u32, period| Preferences {
        hardware: HardwareProfile {
            milli_cpu: LEASE.milli_cpu * leases,
            ..LEASE
        },
        ..preferences(buyer, period)
    };
    let hour = slot(10, 50);
    let mut book = ProviderBook::new(BookLimits::default(), [terms(100, 0, false)]);
    let mut ask = |from, key: u8, leases, period| {
        let wanted = wanted(key, leases, period);
        reserved_from(&mut book, from, (key, key), &wanted, now).map(drop)
    };
    let full = |held| Err(RejectReason::TooManyReservations { held, limit: held });
    assert_eq!(ask(1, 1, 8, hour), Ok(()));
    assert_eq!(ask(1, 2, 3, hour), full(1), "a tenth for one network");
    assert_eq!(ask(1, 3, 2, hour), Ok(()));
    assert_eq!(ask(2, 4, 9, hour), Ok(()));
    assert_eq!(ask(3, 5, 2, hour), full(3), "a fifth in all");
    assert_eq!(ask(3, 6, 1, hour), Ok(()));
    assert_eq!(ask(1, 7, 8, slot(50, 90)), Ok(()), "another hour");

    let mut small = ProviderBook::new(BookLimits::default(), [terms(3, 0, false)]);
    let mut ask = |from, key: u8| {
        let wanted = wanted(key, 1, hour);
        reserved_from(&mut small, from, (key, key), &wanted, now).map(drop)
    };
    assert_eq!(ask(1, 1), Ok(()));
    assert_eq!(ask(1, 2), full(1), "one source does not keep others out");
    assert_eq!(ask(2, 3), Ok(()));
    assert_eq!(ask(3, 4), full(2));
}

#[test]
fn a_taken_slot_is_offered_later_and_an_old_offer_not_at_all() {
    let now = UtcTime(START);
    let mut book = ProviderBook::new(BookLimits::default(), [terms(1, 120, false)]);
    let first = reserved(&mut book, 1, 1, slot(10, 50), now).unwrap();
    assert_eq!(first.slot, slot(10, 50));
    let second = book.handle_hello(&site(), &preferences(2, slot(20, 60)), now, Hash32([2; 32]));
    assert_eq!(second.unwrap()[0].slot, slot(50, 90));
    let mut old = first.clone();
    old.id = OfferId([3; 32]);
    old.slot = slot(500, 600);
    assert_eq!(
        book.handle_reservation(
            &old,
            ChainAddress([1; 20]),
            source(1),
            ReservationId([3; 32]),
            now.plus_seconds(301)
        ),
        Err(RejectReason::OfferExpired {
            seconds_ago: 301 - 50
        })
    );
    assert_eq!(
        book.handle_reservation(&old, PROVIDER, source(1), ReservationId([3; 32]), now),
        Err(RejectReason::NotAuthorised {
            detail: detail::BUYER
        })
    );
    let mut dear = preferences(2, slot(20, 60));
    dear.price_ceiling_per_second = Amount::wei(99);
    assert!(matches!(
        book.handle_hello(&site(), &dear, now, Hash32([2; 32])),
        Err(RejectReason::Policy { .. })
    ));
}

/// What falls due, but for comparisons.
fn due(book: &mut ProviderBook, at: UtcTime) -> Option<ProviderAction> {
    loop {
        match book.poll_action(at) {
            Some(ProviderAction::Compare(_)) => {}
            action => return action,
        }
    }
}

/// What the ledger shows of an agreement that is in force.
fn funded(offer: &Offer) -> AgreementRecord {
    AgreementRecord {
        id: offer.id.into(),
        buyer: ChainAddress([1; 20]),
        provider: PROVIDER,
        slot: offer.slot,
        site_hash: Hash32([0; 32]),
        price_per_second: offer.price_per_second,
        deposit: Amount::wei(4_000),
        state: AgreementState::Confirmed,
        deadline: None,
        ends_at: offer.slot.end,
        claim: None,
        released: Amount::wei(0),
        refunded: Amount::wei(0),
        burned: Amount::wei(0),
    }
}

fn record(book: &ProviderBook, id: AgreementId) -> AgreementRecord {
    funded(&book.agreement(id).unwrap().offer)
}

fn confirmed() -> (ProviderBook, AgreementId) {
    confirmed_for(slot(10, 50))
}

fn confirmed_for(slot: Slot) -> (ProviderBook, AgreementId) {
    confirmed_with(slot, 0)
}

/// With a promised round trip.
fn confirmed_with(slot: Slot, round_trip_ms: u32) -> (ProviderBook, AgreementId) {
    let now = UtcTime(START);
    let limits = BookLimits {
        patience_at_least_seconds: 30,
        ..BookLimits::default()
    };
    let mut terms = terms(1, 120, false);
    terms.sla.round_trip_ms = round_trip_ms;
    let mut book = ProviderBook::new(limits, [terms]);
    let offer = reserved(&mut book, 1, 1, slot, now).unwrap();
    let id = offer.id.into();
    let record = AgreementRecord {
        deposit: offer.price_per_second.times(slot.seconds()).unwrap(),
        state: AgreementState::Proposed,
        deadline: Some(ChainTime(START + 60)),
        ..funded(&offer)
    };
    let mut ask = |buyer: u8, record: Option<&AgreementRecord>| {
        book.handle_agreement(&offer, ChainAddress([buyer; 20]), record, now)
    };
    assert_eq!(ask(1, None), Err(RejectReason::NotFunded));
    let cheap = AgreementRecord {
        price_per_second: Amount::wei(1),
        ..record.clone()
    };
    assert_eq!(ask(1, Some(&cheap)), Err(RejectReason::NotFunded));
    assert!(matches!(
        ask(2, Some(&record)),
        Err(RejectReason::NotAuthorised { .. })
    ));
    assert_eq!(ask(1, Some(&record)), Ok(Answer::Confirm));
    assert_eq!(
        ask(1, Some(&record)),
        Ok(Answer::Known(AgreementState::Proposed))
    );
    book.handle_answered(id, Some(AgreementState::Confirmed), now);
    (book, id)
}

#[test]
fn deployments_are_for_the_buyer_in_time_within_limits_and_never_go_back() {
    let (mut book, id) = confirmed();
    let mut deploy = |buyer: u8, generation, limits: &ResourceLimits, at| {
        let now = UtcTime(START + at);
        book.handle_deployment(
            id,
            ChainAddress([buyer; 20]),
            Generation(generation),
            limits,
            now,
        )
    };
    assert_eq!(deploy(1, 2, &LIMITS, 0), Ok(true));
    assert_eq!(deploy(1, 2, &LIMITS, 0), Ok(false));
    assert_eq!(
        deploy(1, 1, &LIMITS, 0),
        Err(RejectReason::StaleGeneration {
            offered: 1,
            current: 2
        })
    );
    assert!(matches!(
        deploy(2, 3, &LIMITS, 0),
        Err(RejectReason::NotAuthorised { .. })
    ));
    let greedy = ResourceLimits { pids: 11, ..LIMITS };
    assert!(matches!(
        deploy(1, 3, &greedy, 0),
        Err(RejectReason::Policy { .. })
    ));
    assert!(matches!(
        deploy(1, 3, &LIMITS, 45),
        Err(RejectReason::Policy { .. })
    ));
}

#[test]
fn a_lease_drains_stops_and_settles_by_the_last_receipt() {
    let (mut book, id) = confirmed();
    let at = |seconds| UtcTime(START + seconds);
    assert_eq!(due(&mut book, at(10)), None);
    book.handle_receipt(receipt(id, Amount::wei(3_000)), at(35))
        .unwrap();
    book.handle_receipt(receipt(id, Amount::wei(2_000)), at(36))
        .unwrap();
    assert!(
        book.handle_receipt(receipt(id, Amount::wei(4_001)), at(36))
            .is_err()
    );
    assert!(book.poll_timeout() <= Some(at(45)));
    assert_eq!(due(&mut book, at(45)), Some(ProviderAction::Drain(id)));
    assert_eq!(due(&mut book, at(50)), Some(ProviderAction::Stop(id)));
    assert_eq!(due(&mut book, at(50)), None);
    book.handle_receipt(receipt(id, Amount::wei(4_000)), at(51))
        .unwrap();
    let last = receipt(id, Amount::wei(4_000));
    assert_eq!(
        due(&mut book, at(51)),
        Some(ProviderAction::Settle(id, Division::ByReceipt(last)))
    );
    book.handle_settled(id, None, at(52));
    assert_eq!(due(&mut book, at(52)), None);
    assert_eq!(
        due(&mut book, at(54)),
        Some(ProviderAction::Settle(id, Division::ByReceipt(last)))
    );
    let settled = AgreementRecord {
        state: AgreementState::Settled,
        ..record(&book, id)
    };
    book.handle_settled(id, Some((Some(&settled), ChainTime(START + 55))), at(55));
    assert_eq!(book.agreement(id).unwrap().state, AgreementState::Settled);
    assert_eq!(due(&mut book, at(60)), None);
}

#[test]
fn a_silent_buyer_is_served_no_longer_and_settled_after_the_challenge_window() {
    let (mut book, id) = confirmed();
    let at = |seconds| UtcTime(START + seconds);
    assert_eq!(due(&mut book, at(40)), Some(ProviderAction::Drain(id)));
    assert_eq!(due(&mut book, at(45)), Some(ProviderAction::Stop(id)));
    assert_eq!(due(&mut book, at(3_650)), None);
    assert_eq!(
        due(&mut book, at(3_651)),
        Some(ProviderAction::Settle(id, Division::ByTime))
    );
}

/// Receipts are no proof that the buyer will pay: what counts is what they are for. A buyer that measured outages within the
/// promised availability is served to the end.
#[test]
fn a_buyer_that_acknowledges_nothing_is_served_no_longer() {
    let at = |seconds| UtcTime(START + seconds);
    let served_until = |acknowledges: fn(u64) -> u64| {
        let (mut book, id) = confirmed_for(slot(10, 210));
        book.handle_running(id, at(10));
        for second in 11..=210 {
            if second % 10 == 0 {
                let seconds = u128::from(acknowledges(second - 10));
                let receipt = receipt(id, Amount::wei(100 * seconds));
                book.handle_receipt(receipt, at(second)).unwrap();
            }
            if due(&mut book, at(second)) == Some(ProviderAction::Drain(id)) {
                return (second, book.agreement(id).unwrap().ending);
            }
        }
        panic!("never drained");
    };
    let by_receipts = Some(Ending::NoReceipts);
    assert_eq!(served_until(|_| 0), (41, by_receipts), "30 s at 95 %");
    assert_eq!(served_until(|served| served / 2), (67, by_receipts));
    assert_eq!(served_until(|served| served * 96 / 100), (205, None));
    assert_eq!(
        served_until(|served| served.saturating_sub(20)),
        (205, None)
    );
}

/// Only the buyer's clients measure the round trip: where one is promised, its last word may be short by what is served on credit, and
/// no more.
#[test]
fn a_promised_round_trip_leaves_as_much_to_the_buyers_word_as_is_served_on_credit() {
    let at = |seconds| UtcTime(START + seconds);
    let divides = |round_trip_ms, acknowledged: u64| {
        let (mut book, id) = confirmed_with(slot(10, 210), round_trip_ms);
        book.handle_running(id, at(10));
        for second in (20..=200).step_by(10) {
            let due = Amount::wei(100 * u128::from((second - 10).min(acknowledged)));
            book.handle_receipt(receipt(id, due), at(second)).unwrap();
            assert_eq!(due_but_drain(&mut book, at(second)), None);
        }
        let last = receipt(id, Amount::wei(100 * u128::from(acknowledged)));
        book.handle_receipt(last, at(209)).unwrap();
        due_but_drain(&mut book, at(209));
        book.handle_close(id, ChainAddress([1; 20]), at(210))
            .unwrap();
        let stopped = due_but_drain(&mut book, at(210));
        assert_eq!(stopped, Some(ProviderAction::Stop(id)));
        match due(&mut book, at(260)) {
            Some(ProviderAction::Settle(_, division)) => division,
            other => panic!("{other:?}"),
        }
    };
    let is_taken = |division| matches!(division, Division::ByReceipt(_));
    assert!(is_taken(divides(0, 190)), "an interval short");
    assert!(!is_taken(divides(0, 175)));
    assert!(is_taken(divides(20, 175)));
    assert!(!is_taken(divides(20, 165)));
}

fn due_but_drain(book: &mut ProviderBook, at: UtcTime) -> Option<ProviderAction> {
    match due(book, at) {
        Some(ProviderAction::Drain(_)) => due(book, at),
        other => other,
    }
}

/// Running and not paid ends at once where the ledger says so, and after a while where it says nothing, with the reason.
#[test]
fn what_the_ledger_does_not_pay_runs_no_longer() {
    let at = |seconds| UtcTime(START + seconds);
    let (mut book, id) = confirmed();
    let confirmed_on_ledger = record(&book, id);
    book.handle_ledger(id, Some(&confirmed_on_ledger), at(20));
    assert_eq!(due(&mut book, at(20)), None);
    let settled = AgreementRecord {
        state: AgreementState::Settled,
        ..record(&book, id)
    };
    book.handle_ledger(id, Some(&settled), at(21));
    assert_eq!(due(&mut book, at(21)), Some(ProviderAction::Stop(id)));
    assert_eq!(book.agreement(id).unwrap().ending, Some(Ending::NotFunded));
    assert_eq!(due(&mut book, at(22)), None, "there is nothing to settle");

    let (mut book, id) = confirmed();
    for seconds in [12, 100, 191] {
        book.handle_ledger(id, None, at(seconds));
    }
    assert_eq!(book.agreement(id).unwrap().ending, None);
    book.handle_ledger(id, None, at(192));
    assert_eq!(
        book.agreement(id).unwrap().ending,
        Some(Ending::NotOnLedger)
    );
}

/// However long the ledger does not answer, the money is there to be had afterwards; one that answers and does not take what
/// it is told leaves it to the operator.
#[test]
fn a_ledger_that_is_out_for_hours_costs_the_provider_nothing() {
    let stopped = || {
        let (mut book, id) = confirmed();
        let now = UtcTime(START + 50);
        book.handle_receipt(receipt(id, Amount::wei(4_000)), now)
            .unwrap();
        assert_eq!(due(&mut book, now), Some(ProviderAction::Stop(id)));
        (book, id, now)
    };
    let attempt = |book: &mut ProviderBook, now: &mut UtcTime| {
        *now = book.poll_timeout().unwrap().max(*now);
        match due(book, *now) {
            Some(ProviderAction::Settle(..)) => {}
            other => panic!("{other:?}"),
        }
    };
    let (mut book, id, mut now) = stopped();
    for _ in 0..40 {
        attempt(&mut book, &mut now);
        book.handle_settled(id, None, now);
    }
    assert!(now.seconds_since(UtcTime(START)) > 5 * 3600, "{now:?}");
    attempt(&mut book, &mut now);
    let settled = AgreementRecord {
        state: AgreementState::Settled,
        ..record(&book, id)
    };
    book.handle_settled(id, Some((Some(&settled), ChainTime(now.0))), now);
    let agreement = book.agreement(id).unwrap();
    assert_eq!(agreement.state, AgreementState::Settled);
    assert_eq!(agreement.ending, Some(Ending::SlotOver));

    let (mut book, id, mut now) = stopped();
    while book.agreement(id).unwrap().stage != Stage::Closed {
        attempt(&mut book, &mut now);
        let record = record(&book, id);
        book.handle_settled(id, Some((Some(&record), ChainTime(now.0))), now);
        assert!(now.seconds_since(UtcTime(START)) < 86_400);
    }
    let ending = book.agreement(id).unwrap().ending;
    assert_eq!(ending, Some(Ending::NotSettled));
}

/// The ledger could not be told: the hardware stays held, and the answer is told again, by the next process too.
#[test]
fn an_answer_that_may_not_have_arrived_is_told_again() {
    let at = |seconds| UtcTime(START + seconds);
    let (book, id) = confirmed();
    let mut agreement = book.agreement(id).unwrap().clone();
    agreement.stage = Stage::Answering;
    agreement.state = AgreementState::Proposed;
    let mut book = ProviderBook::new(BookLimits::default(), [terms(1, 120, false)]);
    book.resume([], [agreement], at(1));
    assert_eq!(
        due(&mut book, at(1)),
        Some(ProviderAction::Tell(id, Answer::Confirm))
    );
    book.handle_answered(id, None, at(2));
    assert_eq!(due(&mut book, at(3)), None);
    let again = due(&mut book, at(12));
    assert_eq!(again, Some(ProviderAction::Tell(id, Answer::Confirm)));
    let other = book.handle_hello(
        &site(),
        &preferences(2, slot(20, 60)),
        at(12),
        Hash32([2; 32]),
    );
    assert_eq!(other.unwrap()[0].slot, slot(50, 90), "the hardware is held");
    book.handle_answered(id, Some(AgreementState::Confirmed), at(13));
    assert!(book.agreement(id).unwrap().is_serving());
}

/// The buyer's last receipt is short by more than an interval, or did not come: what time proves is claimed, as soon as the
/// ledger lets it, and time ends the claim; unless the buyer's word comes after all.
#[test]
fn what_time_proves_is_claimed_and_ended_by_time() {
    let at = |seconds| UtcTime(START + seconds);
    let served = || {
        let (mut book, id) = confirmed();
        book.handle_running(id, at(12));
        book.handle_receipt(receipt(id, Amount::wei(1_000)), at(22))
            .unwrap();
        book.handle_receipt(receipt(id, Amount::wei(1_500)), at(30))
            .unwrap();
        assert_eq!(due(&mut book, at(45)), Some(ProviderAction::Drain(id)));
        assert_eq!(due(&mut book, at(50)), Some(ProviderAction::Stop(id)));
        assert_eq!(due(&mut book, at(59)), None, "perhaps the last word comes");
        (book, id)
    };
    let (mut book, id) = served();
    let claim = Division::Claim {
        amount: Amount::wei(4_000),
        receipt: Some(receipt(id, Amount::wei(1_500))),
    };
    assert_eq!(book.agreement(id).unwrap().owed(), Amount::wei(4_000));
    assert_eq!(
        due(&mut book, at(60)),
        Some(ProviderAction::Settle(id, claim))
    );
    let claimed = AgreementRecord {
        state: AgreementState::Claimed,
        deadline: Some(ChainTime(START + 3_661)),
        claim: Some(edge_types::Claim {
            floor: Amount::wei(1_500),
            amount: Amount::wei(4_000),
        }),
        ..record(&book, id)
    };
    let seen = |seconds| Some((Some(&claimed), ChainTime(START + seconds)));
    book.handle_settled(id, seen(61), at(61));
    assert_eq!(due(&mut book, at(660)), None);
    for look in [661, 1_261, 1_861, 2_461, 3_061, 3_661] {
        assert_eq!(due(&mut book, at(look)), Some(ProviderAction::Look(id)));
        book.handle_settled(id, seen(look), at(look));
        assert_eq!(due(&mut book, at(look)), None);
    }
    assert_eq!(
        due(&mut book, at(3_662)),
        Some(ProviderAction::Settle(id, Division::ByTime))
    );

    // The last word comes late, and is near enough to what time proves.
    let (mut book, id) = served();
    due(&mut book, at(60)).unwrap();
    book.handle_settled(id, seen(61), at(61));
    let last = receipt(id, Amount::wei(3_000));
    book.handle_receipt(last, at(70)).unwrap();
    assert_eq!(
        due(&mut book, at(70)),
        Some(ProviderAction::Settle(id, Division::ByReceipt(last))),
        "as much as silence would give"
    );
}

#[test]
fn what_was_given_notice_of_drains_and_ends_at_its_stop() {
    let at = |seconds| UtcTime(START + seconds);
    let (mut book, id) = confirmed();
    book.handle_running(id, at(10));
    let noticed = AgreementRecord {
        ends_at: at(27),
        ..record(&book, id)
    };
    book.handle_ledger(id, Some(&noticed), at(21));
    assert_eq!(due(&mut book, at(21)), None);
    assert_eq!(due(&mut book, at(22)), Some(ProviderAction::Drain(id)));
    assert_eq!(due(&mut book, at(27)), Some(ProviderAction::Stop(id)));
    let agreement = book.agreement(id).unwrap();
    assert_eq!(agreement.ending, Some(Ending::Reclaimed));
    assert_eq!(agreement.owed(), Amount::wei(1_700));
    let claim = Division::Claim {
        amount: Amount::wei(1_700),
        receipt: None,
    };
    assert_eq!(
        due(&mut book, at(37)),
        Some(ProviderAction::Settle(id, claim)),
        "not only after the end of the slot"
    );
}
