//! What a site is and takes beside its hardware, against what is needed of it.

use edge_negotiation::{NegotiationFailure, NegotiationState};
use edge_types::agreement::detail;
use edge_types::{ConditionMismatch, Preferences, RejectReason, WantedConditions};
use edge_wire::signing;

use crate::world::{World, world};

const SAID: &str = "region = \"FI\"\ntee = \"tdx\"\nrefuses = [\"mining\"]";

fn wanted(regions: &[&str], tee: &[&str], content: &[&str]) -> WantedConditions {
    WantedConditions {
        regions: regions.iter().map(|word| word.parse().unwrap()).collect(),
        tee: tee.iter().map(|word| word.parse().unwrap()).collect(),
        content: content.iter().map(|word| word.parse().unwrap()).collect(),
    }
}

fn asking(world: &World, conditions: WantedConditions) -> Preferences {
    Preferences {
        conditions,
        ..world.preferences(60)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_says_which_condition_its_site_does_not_meet() {
    let world = world(SAID).await;
    for (conditions, detail) in [
        (wanted(&["SE", "NO"], &[], &[]), detail::REGION),
        (wanted(&[], &["sev-snp"], &[]), detail::TEE),
        (wanted(&[], &[], &["adult", "mining"]), detail::CONTENT),
    ] {
        let refused = world.client().hello(&asking(&world, conditions)).await;
        assert_eq!(
            refused.unwrap_err().reject_reason(),
            Some(&RejectReason::Policy { detail })
        );
    }
    let met = wanted(&["FI"], &["sev-snp", "tdx"], &["adult"]);
    let offers = world.client().hello(&asking(&world, met)).await.unwrap();
    assert_eq!(signing::verify_offer(&offers[0]), Ok(()));
    let told = &offers[0].conditions;
    assert_eq!(told.region, "FI".parse().ok());
    assert_eq!(told.tee, "tdx".parse().ok());
    assert!(told.content.refuses.contains(&"mining".parse().unwrap()));
}

/// A provider that offers all the same is held to what it signed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_takes_no_offer_of_a_site_that_does_not_suit() {
    let world = world(SAID).await;
    let preferences = world.preferences(60);
    let mut policy = world.policy(&preferences);
    policy.conditions = wanted(&[], &[], &["mining"]);
    let mut negotiation = World::negotiation_by(policy, preferences);
    world
        .drive(&mut negotiation, NegotiationState::is_final)
        .await;
    let NegotiationState::Failed(NegotiationFailure::NotGreenListed(refusal)) = negotiation.state()
    else {
        panic!("{:?}", negotiation.state());
    };
    let mining = ConditionMismatch::Content("mining".parse().unwrap());
    assert_eq!(refusal.to_string(), mining.to_string());
}
