//! The buyer alone: what it does not pay.

use edge_negotiation::{
    Action, Evidence, GreenListPolicy, KeyBinding, Negotiation, NegotiationFailure,
    NegotiationState, Now, Pace, ProviderBook,
};
use edge_types::{
    Amount, Confirmation, Hash32, MonotonicTime, OfferId, ReservationId, Signature, UtcTime,
};

use crate::parties::{ESCROW, LEASE, START, preferences, site, slot, terms};

const NOW: Now = Now {
    monotonic: MonotonicTime::ZERO,
    utc: UtcTime(START),
};

/// One that asks for a reservation; the provider confirms by signature, or answers on the ledger within a time.
fn reserving(answer_seconds: u32) -> Negotiation {
    let wanted = slot(30, 130);
    let book = ProviderBook::new(
        edge_negotiation::BookLimits::default(),
        [terms(1, answer_seconds, false)],
    );
    let asked = preferences(1, wanted);
    let offers = book.handle_hello(&site(), &asked, NOW.utc, Hash32([1; 32]));
    let mut offer = offers.unwrap().remove(0);
    offer.id = OfferId([1; 32]);
    let policy = GreenListPolicy {
        min_key_binding: KeyBinding::Dns,
        ..GreenListPolicy::new(wanted, LEASE, Amount::wei(100), Some(ESCROW))
    };
    let evidence = Evidence {
        signature_verified: true,
        key_binding: KeyBinding::Dns,
        site: site(),
    };
    let mut negotiation = Negotiation::new(Pace::default(), policy, asked);
    negotiation.start(NOW);
    negotiation.handle_offers(vec![(offer, evidence)], NOW);
    negotiation.select(NOW);
    let action = negotiation.poll_action(NOW);
    assert!(matches!(action, Some(Action::Reserve(_))), "{action:?}");
    negotiation
}

/// Bait: the escrow takes a fee for each payment that it refuses, so none is begun that it would.
#[test]
fn without_a_confirmation_that_lasts_nothing_is_paid() {
    let reserved = |answer_seconds, until: Option<u64>| {
        let mut negotiation = reserving(answer_seconds);
        let confirmation = until.map(|seconds| Confirmation {
            until: UtcTime(START + seconds),
            signature: Signature([3; 65]),
        });
        let held_until = UtcTime(START + 120);
        negotiation.handle_reserved(ReservationId([1; 32]), held_until, confirmation, NOW);
        let action = negotiation.poll_action(NOW);
        let pays = matches!(action, Some(Action::Propose { .. }));
        (pays, negotiation.state().clone())
    };
    let refused = NegotiationState::Failed(NegotiationFailure::NotConfirmed);
    assert_eq!(reserved(0, None), (false, refused.clone()), "none");
    assert_eq!(reserved(0, Some(0)), (false, refused.clone()), "past");
    assert_eq!(reserved(0, Some(2)), (false, refused), "within a block");
    assert!(reserved(0, Some(3)).0);
    assert!(reserved(60, None).0, "it answers on the ledger");
}
