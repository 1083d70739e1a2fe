//! What becomes of the money when a side says nothing, denies, or leaves early. Windows of hours and days pass by putting
//! everybody's time ahead.

use std::sync::atomic::Ordering;
use std::time::Duration;

use edge_negotiation::{NegotiationFailure, NegotiationState};
use edge_ports::Clock;
use edge_types::{AgreementState, Amount};

use crate::world::{ORIGIN, PRICE, World, world_of};

const SHORT: &str = "receipt_interval_seconds = 5\nnotice_seconds = 2";

async fn running(world: &World, seconds: u64) -> edge_negotiation::Negotiation {
    let mut negotiation = world.negotiation(seconds);
    let running = |state: &NegotiationState| *state == NegotiationState::Running;
    world.drive(&mut negotiation, running).await;
    negotiation
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_that_vanishes_pays_what_its_receipts_and_silence_prove() {
    let mut world = world_of(SHORT, "").await;
    let mut negotiation = running(&world, 60).await;
    world
        .drive_for(&mut negotiation, Duration::from_secs(7))
        .await;
    let offer = negotiation.offer().unwrap().clone();
    drop(negotiation);
    world.leap(75).await;
    let claimed = world
        .until(&offer, |record| record.state == AgreementState::Claimed)
        .await;
    let claim = claimed.claim.unwrap();
    assert!(claim.floor.units >= PRICE, "{claim:?}");
    assert!(claim.amount.units > claim.floor.units + 5 * PRICE);

    world.leap(3_605).await;
    world.restart_provider().await;
    let settled = world.until(&offer, |record| record.state.is_final()).await;
    let due = claim.floor.units + 5 * PRICE;
    assert_eq!(settled.released.units + settled.burned.units, due);
    assert_eq!(world.runtime.told().last().unwrap(), "stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_the_buyer_denies_is_disputed_and_split_by_time() {
    let world = world_of(SHORT, "").await;
    world.is_sceptical.store(true, Ordering::SeqCst);
    let mut negotiation = running(&world, 8).await;
    let offer = negotiation.offer().unwrap().clone();
    world
        .drive(&mut negotiation, |state| {
            *state == NegotiationState::Settling
        })
        .await;
    assert!(negotiation.due().units < 3 * PRICE, "{}", negotiation.due());
    for _ in 0..100 {
        let record = world.until(&offer, |_| true).await;
        if record.state == AgreementState::Disputed {
            break;
        }
        world
            .drive_for(&mut negotiation, Duration::from_millis(200))
            .await;
    }
    let disputed = world
        .until(&offer, |record| record.state == AgreementState::Disputed)
        .await;
    let claim = disputed.claim.unwrap();
    world.leap(3 * 86_400 + 2).await;
    world
        .drive(&mut negotiation, NegotiationState::is_final)
        .await;
    assert_eq!(*negotiation.state(), NegotiationState::Settled);
    let settled = world.until(&offer, |record| record.state.is_final()).await;
    let due = claim.floor.units + 5 * PRICE / 2;
    assert_eq!(settled.released.units + settled.burned.units, due);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardware_that_is_taken_back_is_drained_and_settled_pro_rata() {
    let world = world_of("receipt_interval_seconds = 5\nnotice_seconds = 4", "").await;
    let mut negotiation = running(&world, 60).await;
    let offer = negotiation.offer().unwrap().clone();
    let stop = world.clock.utc().plus_seconds(6);
    let ledger = world.ports.ledger.as_ref().unwrap();
    ledger.give_notice(&offer, stop).await.unwrap();
    world
        .drive(&mut negotiation, |state| {
            *state == NegotiationState::Draining
        })
        .await;
    assert!(world.clock.utc() < stop, "in time");
    assert_eq!(negotiation.ends_at(), Some(stop));
    assert_eq!(negotiation.failure(), Some(&NegotiationFailure::Reclaimed));
    world
        .drive(&mut negotiation, NegotiationState::is_final)
        .await;
    let settled = world.until(&offer, |record| record.state.is_final()).await;
    let served = stop.seconds_since(offer.slot.start);
    let due = settled.released.units + settled.burned.units;
    assert!(due <= u128::from(served) * PRICE, "{settled:?}");
    assert!(due >= 3 * PRICE, "{settled:?}");
    assert_eq!(
        settled.refunded,
        Amount::wei(60 * PRICE - due),
        "the rest is the buyer's"
    );
    let drained = format!("drain to {ORIGIN}");
    let told = world.runtime.told();
    assert!(told.ends_with(&[drained, "stop".to_owned()]), "{told:?}");
}
