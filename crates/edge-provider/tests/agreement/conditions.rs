//! What a site is and takes beside its hardware, against what is needed of it.

use edge_http::client::ClientError;
use edge_negotiation::{GreenListRefusal, NegotiationFailure, NegotiationState};
use edge_types::agreement::detail;
use edge_types::{ConditionMismatch, Preferences, RejectReason, WantedConditions};
use edge_wire::{Problem, signing};

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

/// What was agreed to in words can be read by whoever has the offer, after the owner changed the words, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_texts_that_an_offer_names_can_be_read_at_the_site() {
    let folder = tempfile::tempdir().unwrap();
    let [sla, content] = ["sla.txt", "content.txt"].map(|name| folder.path().join(name));
    std::fs::write(&sla, "We serve,\nyou pay.").unwrap();
    std::fs::write(&content, "No miners.").unwrap();
    let said = format!(
        "sla_text = {:?}\ncontent_text = {:?}\ncontent_url = \"https://isp.example/c\"",
        sla, content
    );
    let mut world = world(&said).await;
    let preferences = world.preferences(60);
    let offer = world.client().hello(&preferences).await.unwrap().remove(0);
    let named = &offer.conditions.content;
    assert_eq!(named.text_url.as_deref(), Some("https://isp.example/c"));
    let texts = [offer.sla.text_hash, named.text_hash.unwrap()];
    assert_eq!(texts[0], signing::text_hash("We serve,\nyou pay."));
    assert_eq!(world.client().text(texts[1]).await.unwrap(), "No miners.");
    let unknown = world.client().text(signing::text_hash("else")).await;
    assert!(matches!(
        unknown,
        Err(ClientError::Refused {
            problem: Problem::NotFound,
            ..
        })
    ));

    std::fs::write(&sla, "You pay more.").unwrap();
    world.restart_provider().await;
    let later = world.client().hello(&preferences).await.unwrap().remove(0);
    assert_ne!(later.sla.text_hash, texts[0]);
    let before = world.client().text(texts[0]).await.unwrap();
    assert_eq!(before, "We serve,\nyou pay.");

    let mut policy = world.policy(&preferences);
    policy.accepted_texts = Some([later.sla.text_hash].into());
    let mut negotiation = World::negotiation_by(policy, world.preferences(60));
    world
        .drive(&mut negotiation, NegotiationState::is_final)
        .await;
    let refused = GreenListRefusal::UnknownText(texts[1]);
    assert_eq!(
        *negotiation.state(),
        NegotiationState::Failed(NegotiationFailure::NotGreenListed(refused))
    );
}
