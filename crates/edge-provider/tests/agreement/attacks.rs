//! Each attack on the protocol by its name, against a running provider and a chain.

use edge_chain::client::LedgerConfig;
use edge_chain::{EthLedger, LocalKey};
use edge_negotiation::NegotiationState;
use edge_ports::{Ledger, LedgerError, Signer};
use edge_types::agreement::detail;
use edge_types::{Amount, Asset, Offer, Preferences, RejectReason};
use edge_wire::signing;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{CHAIN, ORIGIN, World, world};

async fn offer_to(world: &World, buyer: &LocalKey) -> Offer {
    let preferences = Preferences {
        buyer: buyer.address(),
        ..world.preferences(60)
    };
    let offers = world.client().hello(&preferences).await;
    offers.unwrap().remove(0)
}

/// Bait: an offer of somebody who will not serve. Its confirmation has to come before the money, so none moves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bait_offer_gets_no_money() {
    let world = world("accept = \"reject\"\nanswer_seconds = 0").await;
    let offer = offer_to(&world, &world.key).await;
    let refused = world.buyer(&world.key).reserve(&offer).await.unwrap_err();
    assert_eq!(
        refused.reject_reason(),
        Some(&RejectReason::Policy {
            detail: detail::ACCEPTS_NOBODY
        })
    );
    // The offer's own signature is no confirmation, and without one the escrow takes no money.
    let paid = world.ledger.propose(&offer, None).await;
    assert!(matches!(paid, Err(LedgerError::Refused { .. })), "{paid:?}");
    let totals = world.ledger.totals(Asset::Native).await.unwrap();
    assert_eq!(totals.deposited, Amount::wei(0));
}

/// Squatting: reservations without money, by many keys from one network. They are few, and end by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn squatting_ends_by_itself_and_holds_little() {
    let world = world("").await;
    let squatters = [(); 2].map(|()| LocalKey::generate().unwrap());
    let [first, second] = squatters.each_ref();
    let offer = offer_to(&world, first).await;
    world.buyer(first).reserve(&offer).await.unwrap();
    let offer = offer_to(&world, second).await;
    let refused = world.buyer(second).reserve(&offer).await.unwrap_err();
    assert_eq!(
        refused.reject_reason(),
        Some(&RejectReason::TooManyReservations { held: 1, limit: 1 })
    );
    world.leap(200).await;
    let offer = offer_to(&world, &world.key).await;
    world.buyer(&world.key).reserve(&offer).await.unwrap();
}

/// Front-running: a stranger sees an offer on its way to the buyer, and reserves it under its own key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_runner_cannot_reserve_another_buyers_offer() {
    let world = world("").await;
    let offer = offer_to(&world, &world.key).await;
    let stranger = LocalKey::generate().unwrap();
    let refused = world.buyer(&stranger).reserve(&offer).await.unwrap_err();
    assert_eq!(
        refused.reject_reason(),
        Some(&RejectReason::NotAuthorised {
            detail: detail::BUYER
        })
    );
    world.buyer(&world.key).reserve(&offer).await.unwrap();
}

/// Front-running: a stranger sees offer and confirmation on their way to the chain, and takes both up before the buyer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_runner_cannot_take_up_what_was_confirmed_to_another() {
    let world = world("").await;
    let offer = offer_to(&world, &world.key).await;
    let held = world.buyer(&world.key).reserve(&offer).await.unwrap();
    let confirmation = held.confirmation.unwrap();
    let stranger = &world.provider_key;
    let rpc = format!("http://{}", world.rpc);
    let config = LedgerConfig::dev(rpc, CHAIN, world.escrow);
    let ledger = EthLedger::new(config, stranger.clone()).unwrap();
    let taken = ledger.propose(&offer, Some(&confirmation)).await;
    assert!(
        matches!(taken, Err(LedgerError::Refused { .. })),
        "{taken:?}"
    );
    let ours = Offer {
        buyer: Some(stranger.address()),
        ..offer.clone()
    };
    let ours = Offer {
        id: signing::offer_digest(&ours),
        ..ours
    };
    let taken = ledger.propose(&ours, Some(&confirmation)).await;
    assert!(
        matches!(taken, Err(LedgerError::Refused { .. })),
        "{taken:?}"
    );
    world
        .ledger
        .propose(&offer, Some(&confirmation))
        .await
        .unwrap();
}

/// Open redirect: a link to the provider that leads a victim elsewhere. Clients are sent back only to where the buyer deployed from, and
/// only while something is deployed; of the rest of the link nothing reaches the host that is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_point_is_no_open_redirect() {
    let world = world("").await;
    let reserved = offer_to(&world, &world.key).await;
    let ask = |id: String, token: &str, connection: &str| {
        let connection = connection.to_owned();
        let head = format!("GET /exec/v1/agreements/{id}/bounce/{token} HTTP/1.1");
        let address = world.address;
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("{head}\r\nhost: x\r\nconnection: {connection}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let status = answer.split(' ').nth(1).unwrap().to_owned();
            let to = answer
                .lines()
                .find_map(|line| line.strip_prefix("location: "));
            (status, to.map(ToOwned::to_owned))
        }
    };
    let bounce = |id: String, token: &str| ask(id, token, "close");
    let not_found = ("404".to_owned(), None);
    assert_eq!(bounce(reserved.id.to_string(), "00").await, not_found);
    let buyer = world.buyer(&world.key);
    assert!(!buyer.bounces(reserved.id.into()).await);
    let mut negotiation = world.negotiation(30);
    let running = |state: &NegotiationState| *state == NegotiationState::Running;
    world.drive(&mut negotiation, running).await;
    let id = negotiation.agreement().unwrap();
    assert!(buyer.bounces(id).await);
    let id = id.to_string();
    let token = "0123456789abcdef";
    let back = format!("{ORIGIN}/.exec/bounced/{token}");
    // The provider closes the connection, whatever the client wants.
    assert_eq!(
        ask(id.clone(), token, "keep-alive").await,
        ("302".to_owned(), Some(back))
    );
    let longest = "a".repeat(edge_wire::MAX_BOUNCE_TOKEN + 1);
    for bad in [
        "",
        "/",
        "..",
        "%2f",
        "a?b",
        "a/b",
        "@evil.example",
        "//evil.example",
        &longest,
    ] {
        let (status, to) = bounce(id.clone(), bad).await;
        // What follows a question mark is no part of a path, and is dropped.
        let expected = (bad == "a?b").then(|| format!("{ORIGIN}/.exec/bounced/a"));
        assert_eq!((to, status == "302"), (expected, bad == "a?b"), "{bad:.20}");
    }
    assert_eq!(bounce("0x00".to_owned(), token).await, not_found);
    assert_eq!(bounce(format!("0x{:064}", 0), token).await, not_found);
}
