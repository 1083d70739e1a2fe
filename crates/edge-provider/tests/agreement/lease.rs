//! From hello to the money's division, and what stands in the way.

use std::time::Duration;

use edge_chain::client::LedgerConfig;
use edge_chain::{EthLedger, LocalKey};
use edge_http::client::{BuyerClient, ContactBudget};
use edge_negotiation::NegotiationState;
use edge_ports::{Clock, Ledger, SiteRuntime};
use edge_types::agreement::detail;
use edge_types::{AgreementState, Amount, Asset, Receipt, RejectReason, WorkloadState};
use edge_wire::message::Deployment;

use crate::world::{CHAIN, ORIGIN, PRICE, deployment, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_strangers_agree_run_and_settle() {
    let world = world("").await;
    let budget = ContactBudget::default();
    let greeting = world
        .client()
        .greet(&budget, world.clock.monotonic())
        .await
        .unwrap();
    assert_eq!((greeting.provider, greeting.chain), (world.provider, CHAIN));

    let mut negotiation = world.negotiation(12);
    world
        .drive(&mut negotiation, |state| {
            *state == NegotiationState::Running
        })
        .await;
    let id = negotiation.agreement().unwrap();
    world
        .drive(&mut negotiation, NegotiationState::is_final)
        .await;
    assert_eq!(negotiation.state(), &NegotiationState::Settled);
    assert_eq!(negotiation.failure(), None);

    let offer = negotiation.offer().unwrap();
    let record = world.ledger.agreement(offer).await.unwrap().unwrap();
    assert_eq!(record.deposit, Amount::wei(12 * PRICE));
    let parts = record.released.units + record.refunded.units + record.burned.units;
    assert_eq!(parts, record.deposit.units);
    assert!(record.released.units > 6 * PRICE, "{record:?}");
    assert_eq!(
        world.ledger.totals(Asset::Native).await.unwrap().held,
        Amount::wei(0)
    );
    let drained = format!("drain to {ORIGIN}");
    assert_eq!(
        world.runtime.told(),
        ["start 1", "running", drained.as_str(), "stop"]
    );
    assert_eq!(
        world.buyer(&world.key).agreement(id).await.unwrap().state,
        AgreementState::Settled
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_gives_the_money_back() {
    let world = world("accept = \"reject\"").await;
    let mut negotiation = world.negotiation(30);
    world
        .drive(&mut negotiation, NegotiationState::is_final)
        .await;
    let reason = RejectReason::Policy {
        detail: detail::ACCEPTS_NOBODY,
    };
    assert_eq!(
        negotiation.state(),
        &NegotiationState::Rejected(reason.clone())
    );
    let id = negotiation.agreement().unwrap();
    let offer = negotiation.offer().unwrap();
    let record = world.ledger.agreement(offer).await.unwrap().unwrap();
    assert_eq!(
        (record.state, record.refunded),
        (AgreementState::Rejected, record.deposit)
    );

    // Security rule 12: the buyer can read why, a stranger cannot.
    let view = world.buyer(&world.key).agreement(id).await.unwrap();
    assert_eq!(view.reject_reason(), Some(reason));
    let stranger = LocalKey::generate().unwrap();
    let refused = world.buyer(&stranger).agreement(id).await.unwrap_err();
    assert_eq!(
        refused.reject_reason(),
        Some(&RejectReason::NotAuthorised {
            detail: detail::PARTY
        })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_keep_to_the_agreement() {
    let world = world("").await;
    let mut negotiation = world.negotiation(30);
    world
        .drive(&mut negotiation, |state| {
            *state == NegotiationState::Deploying
        })
        .await;
    let id = negotiation.agreement().unwrap();
    let buyer = world.buyer(&world.key);
    let refused = async |buyer: &BuyerClient, deployment: Deployment| {
        let error = buyer.deploy(id, &deployment).await.unwrap_err();
        error.reject_reason().unwrap().clone()
    };
    let policy = |detail| RejectReason::Policy { detail };

    let mut inside = deployment(2);
    inside.image.registry = "127.0.0.1:5000".parse().unwrap();
    assert_eq!(refused(&buyer, inside).await, policy(detail::ADDRESS));
    let mut metadata = deployment(2);
    metadata.egress[0].1 = "169.254.169.254:80".parse().unwrap();
    assert_eq!(refused(&buyer, metadata).await, policy(detail::ADDRESS));
    let mut greedy = deployment(2);
    greedy.limits.milli_cpu = 501;
    assert_eq!(refused(&buyer, greedy).await, policy(detail::LIMITS));
    let stranger = world.buyer(&LocalKey::generate().unwrap());
    let not_a_party = RejectReason::NotAuthorised {
        detail: detail::PARTY,
    };
    assert_eq!(refused(&stranger, deployment(2)).await, not_a_party);

    buyer.deploy(id, &deployment(2)).await.unwrap();
    buyer.deploy(id, &deployment(2)).await.unwrap();
    assert_eq!(
        refused(&buyer, deployment(1)).await,
        RejectReason::StaleGeneration {
            offered: 1,
            current: 2
        }
    );
    let starts = |told: &[String]| told.iter().filter(|told| *told == "start 2").count();
    while starts(&world.runtime.told()) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(starts(&world.runtime.told()), 1);

    let forged = Receipt {
        due: Amount::wei(2),
        ..world.receipt(id, Amount::wei(1))
    };
    let error = buyer.send_receipt(forged).await.unwrap_err();
    assert_eq!(
        error.reject_reason(),
        Some(&RejectReason::NotAuthorised {
            detail: detail::RECEIPT
        })
    );
    let view = buyer
        .send_receipt(world.receipt(id, Amount::wei(5)))
        .await
        .unwrap();
    assert_eq!(view.due, Amount::wei(5));
    let view = buyer
        .close(id, "moving", Some(world.receipt(id, Amount::wei(7))))
        .await
        .unwrap();
    assert_eq!(view.due, Amount::wei(7));
    while world.buyer(&world.key).agreement(id).await.unwrap().state != AgreementState::Settled {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.runtime.told().last().unwrap(), "stop");
}

/// The ledger may have been out when the last agreement was settled, and there may be no next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_fetches_when_it_starts_what_it_could_not_fetch_before() {
    let mut world = world("").await;
    let config = LedgerConfig::dev(format!("http://{}", world.rpc), CHAIN, world.escrow);
    let ledger = EthLedger::new(config, world.provider_key.clone()).unwrap();
    ledger.stake(Amount::wei(1_000)).await.unwrap();
    ledger.unstake(Amount::wei(1_000)).await.unwrap();
    let provider = world.provider;
    let credit = async || {
        let account = ledger.escrow_account(provider, Asset::Native).await;
        account.unwrap().credit
    };
    assert_eq!(credit().await, Amount::wei(1_000));
    world.restart_provider().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while credit().await != Amount::wei(0) {
        assert!(tokio::time::Instant::now() < deadline, "it stays there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_was_killed_serves_and_settles_what_it_had_agreed_to() {
    let mut world = world("").await;
    let mut negotiation = world.negotiation(14);
    world
        .drive(&mut negotiation, |state| {
            *state == NegotiationState::Running
        })
        .await;
    let id = negotiation.agreement().unwrap();
    world.restart_provider().await;
    // Without a word of the buyer's, what was paid runs again.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !matches!(world.runtime.state(id), WorkloadState::Running { .. }) {
        assert!(tokio::time::Instant::now() < deadline, "not running again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world
        .drive(&mut negotiation, NegotiationState::is_final)
        .await;
    assert_eq!(*negotiation.state(), NegotiationState::Settled);
    let offer = negotiation.offer().unwrap();
    let record = world.ledger.agreement(offer).await.unwrap().unwrap();
    assert_eq!(record.state, AgreementState::Settled);
    assert!(record.released.units > PRICE * 8, "{record:?}");

    let file = edge_provider::journal::journal_file(&world.data.path().join("provider"));
    let written = edge_provider::journal::Recovered::peek(&file).unwrap();
    assert_eq!(written.agreements.len(), 1);
    assert!(written.deployments.is_empty(), "nothing runs any more");
}
