//! Agreements that are paid in a token.

use edge_chain::EthLedger;
use edge_chain::client::LedgerConfig;
use edge_negotiation::NegotiationState;
use edge_ports::{Ledger, LedgerError, Signer};
use edge_types::{Amount, Asset, ChainAddress, Confirmation, Offer};
use edge_wire::signing;

use crate::world::{CHAIN, ETHER, PRICE, World, world_in_token};

const STAKE: u128 = 500;

impl World {
    fn token(&self) -> ChainAddress {
        match self.asset {
            Asset::Token(token) => token,
            Asset::Native => panic!("no token"),
        }
    }

    fn units(&self, units: u128) -> Amount {
        Amount {
            asset: self.asset,
            units,
        }
    }

    fn providers_ledger(&self) -> EthLedger {
        let config = LedgerConfig::dev(format!("http://{}", self.rpc), CHAIN, self.escrow);
        EthLedger::new(config, self.provider_key.clone()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agreement_in_a_token_is_made_served_and_settled() {
    let world = world_in_token(&format!("stake = \"{STAKE}\"")).await;
    let (token, asset) = (world.token(), world.asset);
    let provider = world.providers_ledger();
    provider.stake(world.units(STAKE)).await.unwrap();
    assert_eq!(provider.allowance(token).await.unwrap().units, 0);

    let mut negotiation = world.negotiation(8);
    world
        .drive(&mut negotiation, NegotiationState::is_final)
        .await;
    assert_eq!(negotiation.state(), &NegotiationState::Settled);
    assert_eq!(negotiation.failure(), None);

    let offer = negotiation.offer().unwrap();
    let record = world.ledger.agreement(offer).await.unwrap().unwrap();
    assert_eq!(record.deposit, world.units(8 * PRICE));
    assert!(record.released.units > 3 * PRICE, "{record:?}");
    let parts = record.released.units + record.refunded.units + record.burned.units;
    assert_eq!(parts, record.deposit.units);
    // The provider's agent withdraws by itself, the buyer here.
    assert_eq!(world.ledger.withdraw(asset).await.unwrap(), record.refunded);
    provider.withdraw(asset).await.unwrap();
    let has = async |account| world.ledger.token_balance(account, token).await.unwrap();
    assert_eq!(
        has(world.ledger.account()).await.units,
        ETHER - record.deposit.units + record.refunded.units
    );
    assert_eq!(
        has(world.provider).await.units,
        ETHER - STAKE + record.released.units
    );
    assert_eq!(
        has(world.escrow).await.units,
        STAKE + record.burned.units,
        "the stake, and what is burned"
    );
    let free = provider.free_stake(world.provider, asset).await.unwrap();
    assert_eq!(free, world.units(STAKE));
    assert_eq!(world.ledger.allowance(token).await.unwrap().units, 0);
    let native = world.ledger.totals(Asset::Native).await.unwrap();
    assert_eq!(native.deposited, Amount::wei(0));
}

/// What is allowed is what the payment takes, and nothing once it is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_payment_leaves_no_allowance() {
    let world = world_in_token("").await;
    let preferences = world.preferences(60);
    let offer = world.client().hello(&preferences).await.unwrap().remove(0);
    // Without the provider's confirmation the escrow takes nothing.
    let refused = world.ledger.propose(&offer, None).await;
    assert!(
        matches!(refused, Err(LedgerError::Refused { .. })),
        "{refused:?}"
    );
    let token = world.token();
    assert_eq!(world.ledger.allowance(token).await.unwrap().units, 0);
    let ours = world.ledger.account();
    let has = world.ledger.token_balance(ours, token).await.unwrap();
    assert_eq!(has.units, ETHER);
}

/// Payments in one token at once do not use each other's allowance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_in_a_token_at_once_all_arrive() {
    let world = world_in_token("").await;
    let preferences = world.preferences(60);
    let mut confirmed: Vec<(Offer, Confirmation)> = Vec::new();
    for _ in 0..2 {
        let offer = world.client().hello(&preferences).await.unwrap().remove(0);
        let until = offer.expires;
        let digest = signing::confirmation_digest(&offer, world.key.address(), until);
        let signature = world.provider_key.sign_digest(digest);
        confirmed.push((offer, Confirmation { until, signature }));
    }
    let [(first, of_first), (second, of_second)] = &confirmed[..] else {
        panic!("two");
    };
    let (one, other) = tokio::join!(
        world.ledger.propose(first, Some(of_first)),
        world.ledger.propose(second, Some(of_second))
    );
    assert_eq!(one.unwrap(), first.id.into());
    assert_eq!(other.unwrap(), second.id.into());
    let totals = world.ledger.totals(world.asset).await.unwrap();
    assert_eq!(totals.held, world.units(2 * 60 * PRICE));
    let left = world.ledger.allowance(world.token()).await.unwrap();
    assert_eq!(left.units, 0);
}

/// A buyer that pays in one asset takes no offer in another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_in_another_asset_is_not_made() {
    let world = world_in_token("").await;
    let mut preferences = world.preferences(60);
    preferences.price_ceiling_per_second = Amount::wei(PRICE);
    let refused = world.client().hello(&preferences).await.unwrap_err();
    assert!(refused.reject_reason().is_some(), "{refused:?}");
}
