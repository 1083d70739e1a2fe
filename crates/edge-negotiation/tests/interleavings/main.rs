//! Both machines, a lossy network and the reference escrow, in every order that chance finds.

#![expect(clippy::unwrap_used, reason = "tests")]

mod book;
mod buyer;
mod exchange;
mod parties;
mod world;

use std::collections::BTreeSet;

use edge_negotiation::{NegotiationFailure, NegotiationState};
use edge_types::{AgreementState, Amount, Asset};
use parties::Habit;
use proptest::prelude::*;
use world::World;

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_interleaving_ends_well(
        seed: u64,
        loss in 0u64..40,
        crashes in prop_oneof![Just(0u64), 1u64..60],
        reclaims in prop_oneof![Just(0u64), 1u64..20],
        habits in proptest::collection::vec(
            prop_oneof![4 => Just(Habit::Honest), 1 => Just(Habit::Vanishes), 2 => Just(Habit::Sceptic)],
            5,
        ),
        leases in 1u32..3,
        wanted in proptest::collection::vec((0u64..60, 20u64..90), 1..5),
    ) {
        let mut world = World::new(seed, loss, leases, &wanted);
        world.crashes = crashes;
        world.reclaims = reclaims;
        world.habits = habits;
        world.run();
        for (number, buyer) in world.buyers.iter().enumerate() {
            if world.vanished.contains(&number) {
                continue;
            }
            prop_assert!(buyer.state().is_final(), "still {:?}", buyer.state());
            prop_assert_ne!(
                buyer.state(),
                &NegotiationState::Failed(NegotiationFailure::LedgerSilent)
            );
        }
        for record in world.escrow.agreements() {
            prop_assert!(record.state.is_final(), "{record:?}");
        }
        prop_assert_eq!(world.escrow.totals(Asset::Native).held, Amount::wei(0));
        prop_assert!(world.paid.values().all(|times| *times <= 1), "{:?}", world.paid);
        prop_assert!(
            world.book.agreements().all(|(_, agreement)| !agreement.is_serving()),
            "hardware is held by an agreement that is over"
        );
    }
}

/// Both sides die every now and then, but nothing else goes wrong: the lease runs all the same, and is paid in full.
#[test]
fn processes_that_die_go_on_where_they_were() {
    let mut settled = 0;
    for seed in 1..30 {
        let mut world = World::new(seed, 0, 1, &[(0, 60)]);
        world.crashes = 20;
        world.run();
        let records: Vec<_> = world.escrow.agreements().collect();
        assert!(records.len() <= 1, "one hello, one payment");
        for record in records {
            assert!(record.state.is_final(), "{record:?}");
            settled += u32::from(record.released.units > 4_000);
        }
    }
    assert!(settled >= 20, "only {settled} of 29 leases ran");
}

/// Without loss, one buyer gets the whole way and pays for what was served; of two for the same hardware one does.
#[test]
fn a_calm_network_sells_the_slot_once() {
    let mut world = World::new(7, 0, 1, &[(0, 60)]);
    world.run();
    let record = world.escrow.agreements().next().unwrap();
    assert_eq!(record.state, AgreementState::Settled);
    assert!(record.released.units > 4_000, "{record:?}");

    let mut sold = BTreeSet::new();
    for seed in 1..20 {
        let mut world = World::new(seed, 0, 1, &[(0, 60), (10, 60)]);
        world.run();
        let settled = world
            .escrow
            .agreements()
            .filter(|record| record.state == AgreementState::Settled)
            .count();
        assert!(settled <= 1);
        sold.insert(settled);
    }
    assert!(sold.contains(&1), "nobody ever got the slot");
}

/// A buyer that is gone without a last word pays what its receipts and one interval of silence are worth; the provider
/// needs nobody for that.
#[test]
fn a_provider_whose_buyer_vanishes_is_paid_what_receipts_and_silence_prove() {
    let mut claimed = 0;
    for seed in 1..30 {
        let mut world = World::new(seed, 0, 1, &[(0, 80)]);
        world.habits = vec![Habit::Vanishes];
        world.run();
        for record in world.escrow.agreements() {
            assert!(record.state.is_final(), "{record:?}");
            if world.claims > 0 && !world.has_arbiter {
                claimed += 1;
                let (_, agreement) = world
                    .book
                    .agreements()
                    .next()
                    .unwrap_or_else(|| panic!("forgotten: {record:?}"));
                let due = (agreement.due().units + 1_000).min(agreement.owed().units);
                assert_eq!(
                    record.released.units + record.burned.units,
                    due,
                    "{record:?}"
                );
            }
        }
    }
    assert!(claimed >= 5, "only {claimed} of 29 claimed");
}

/// A buyer that finds the site bad pays what it saw, denies the rest, and time or the arbiter splits that.
#[test]
fn what_the_buyer_denies_is_split() {
    let (mut claims, mut disputes) = (0, 0);
    for seed in 1..60 {
        let mut world = World::new(seed, 0, 1, &[(0, 80)]);
        world.habits = vec![Habit::Sceptic];
        world.run();
        claims += world.claims;
        disputes += world.disputes;
        for record in world.escrow.agreements() {
            assert!(record.state.is_final(), "{record:?}");
        }
        assert!(world.buyers[0].state().is_final());
    }
    assert!(
        claims >= 5 && disputes >= 5,
        "{claims} claims, {disputes} disputes"
    );
}

/// Hardware that is taken back is paid for as long as it was there, and no longer.
#[test]
fn a_notice_ends_the_service_on_both_sides_and_is_settled_pro_rata() {
    let mut reclaimed = 0;
    for seed in 1..40 {
        let mut world = World::new(seed, 0, 1, &[(0, 80)]);
        world.reclaims = 3;
        world.run();
        let failure = world.buyers[0].failure().cloned();
        assert!(world.buyers[0].state().is_final());
        for record in world.escrow.agreements() {
            assert_eq!(record.state, AgreementState::Settled, "{record:?}");
            if failure == Some(NegotiationFailure::Reclaimed) && record.released.units > 0 {
                reclaimed += 1;
                assert!(record.refunded.units > 0, "{record:?}");
                assert_eq!(world.disputes, 0);
            }
        }
    }
    assert!(reclaimed >= 10, "only {reclaimed} of 39 were taken back");
}
