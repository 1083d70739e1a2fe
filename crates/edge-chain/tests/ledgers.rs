//! One suite over all ledgers: the development chain here, anvil in `peer_anvil`, and a party's own book.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program with modules of its own"
)]

mod suite;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use edge_chain::LocalKey;
use edge_chain::dev::dev_escrow_address;
use edge_ledger::{LocalLedger, book_file};
use edge_ports::{Clock, Ledger, LedgerError, Signer};
use edge_types::{AgreementState, Amount, MonotonicTime, Settlement, UtcTime};
use edge_wire::signing;
use serde_json::json;
use suite::Market;
use support::{CHAIN, Served, config, confirmation, key, offer, resign};

/// A clock that only moves when it is put ahead.
#[derive(Debug)]
struct Leaping {
    start: UtcTime,
    ahead: AtomicU64,
}

impl Leaping {
    fn start() -> Arc<Self> {
        Arc::new(Self {
            start: UtcTime(support::wall_clock()),
            ahead: AtomicU64::new(0),
        })
    }
}

impl Clock for Leaping {
    fn monotonic(&self) -> MonotonicTime {
        MonotonicTime::ZERO
    }

    fn utc(&self) -> UtcTime {
        self.start.plus_seconds(self.ahead.load(Ordering::SeqCst))
    }
}

const PAID_AHEAD: u128 = 10_000_000;

/// The provider's book, in which each buyer of ours has paid so much in advance.
fn book(
    folder: &Path,
    owner: &LocalKey,
    clock: &Arc<Leaping>,
    buyers: &[&LocalKey],
) -> LocalLedger {
    let prepaid: BTreeMap<_, _> = buyers
        .iter()
        .map(|buyer| (buyer.address(), PAID_AHEAD))
        .collect();
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    LocalLedger::open(&book_file(folder), Arc::new(owner.clone()), clock, prepaid).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_development_chain_does_what_every_ledger_does() {
    let dir = tempfile::tempdir().unwrap();
    let keys = [key(1), key(2)];
    let served =
        tokio::task::block_in_place(|| Served::start(&config(dir.path(), &[&keys[0], &keys[1]])));
    let ledger = |key: &LocalKey| Box::new(served.ledger(key)) as Box<dyn Ledger>;
    let ledgers = [ledger(&keys[0]), ledger(&keys[1])];
    let settlement = Settlement::Escrow {
        chain: CHAIN,
        contract: dev_escrow_address(),
    };
    let url = served.url();
    let market = Market::new(ledgers, keys, settlement, move |seconds| {
        let request = reqwest::Client::builder().no_proxy().build().unwrap();
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "evm_increaseTime", "params": [format!("{seconds:#x}")],
        });
        let request = request.post(&url).body(body.to_string());
        Box::pin(async move {
            let answer = request.send().await.unwrap().text().await.unwrap();
            assert!(answer.contains("result"), "{answer}");
        })
    });
    suite::whole(&market).await;
    tokio::task::block_in_place(|| drop(served));
}

#[tokio::test]
async fn a_partys_own_book_does_what_every_ledger_does() {
    for settlement in [
        Settlement::Allowance,
        Settlement::Contact("mailto:noc@isp.example".to_owned()),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let keys = [key(1), key(2)];
        let clock = Leaping::start();
        let of_provider = book(dir.path(), &keys[1], &clock, &[&keys[0]]);
        let of_buyer = of_provider.for_party(Arc::new(keys[0].clone()));
        let ledgers: [Box<dyn Ledger>; 2] = [Box::new(of_buyer), Box::new(of_provider.clone())];
        let leaps = Arc::clone(&clock);
        let mut market = Market::new(ledgers, keys.clone(), settlement.clone(), move |seconds| {
            leaps.ahead.fetch_add(seconds, Ordering::SeqCst);
            Box::pin(std::future::ready(()))
        });
        market.stands_at = Some(clock.start.0);
        suite::whole(&market).await;
        let totals = of_provider.totals(edge_types::Asset::Native).await.unwrap();
        let spent = totals.released.units + totals.burned.units;
        let left = of_provider.left(keys[0].address());
        let paid_from = if settlement == Settlement::Allowance {
            PAID_AHEAD - spent
        } else {
            PAID_AHEAD
        };
        assert_eq!(left, paid_from, "what was not spent is in the account");

        drop(market);
        drop(of_provider);
        let again = book(dir.path(), &keys[1], &clock, &[&keys[0]]);
        let read = again.totals(edge_types::Asset::Native).await.unwrap();
        assert_eq!(read, totals, "the book says the same when it is read again");
        assert_eq!(again.left(keys[0].address()), left);
        assert!(again.open_agreements().is_empty());
    }
}

/// What two books of the two parties say of an agreement.
#[tokio::test]
async fn the_two_parties_books_agree_by_what_both_signed() {
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (buyer_key, provider_key, stranger_key) = (key(1), key(2), key(3));
    let clock = Leaping::start();
    let provider = book(theirs.path(), &provider_key, &clock, &[&buyer_key]);
    let buyer = book(ours.path(), &buyer_key, &clock, &[&provider_key]);
    let mut offer = offer(&provider_key, 1);
    offer.settlement = Settlement::Allowance;
    offer.buyer = Some(buyer_key.address());
    offer.guarantee.answer_seconds = 0;
    let offer = resign(offer, &provider_key);

    let word = confirmation(&offer, &buyer_key, &provider_key);
    let id = buyer.propose(&offer, Some(&word)).await.unwrap();
    let acceptance = buyer.acceptance(id).unwrap();
    assert_eq!(
        signing::verify_acceptance(&acceptance, &offer, buyer_key.address()),
        Ok(())
    );
    assert_eq!(provider.agreement(&offer).await.unwrap(), None);
    let stranger = stranger_key.address();
    assert!(provider.accept(&offer, acceptance, stranger).is_err());
    for _ in 0..2 {
        let taken = provider.accept(&offer, acceptance, buyer_key.address());
        assert_eq!(taken.unwrap(), id, "once or twice is the same");
    }
    assert_eq!(
        provider.agreement(&offer).await.unwrap(),
        buyer.agreement(&offer).await.unwrap()
    );
    for (book, other) in [(&provider, &buyer_key), (&buyer, &provider_key)] {
        assert_eq!(book.left(other.address()), PAID_AHEAD - 100_000);
        assert_eq!(book.closing(id), None);
    }

    let (chain, contract) = signing::domain_of(&offer);
    let mut receipt = support::receipt(id, 60_000, &buyer_key, contract);
    assert!(
        provider.settle(&offer, receipt).await.is_err(),
        "of another chain"
    );
    let digest = signing::receipt_digest(&receipt, chain, contract);
    receipt.signature = buyer_key.sign_digest(digest);
    provider.settle(&offer, receipt).await.unwrap();
    let closing = provider.closing(id).unwrap();
    assert_eq!(closing.due, Amount::wei(60_000));
    let own = buyer.sign_closing(&offer, closing.due);
    buyer
        .settle_mutually(&offer, closing.due, own, closing.signature)
        .await
        .unwrap();
    let record = buyer.agreement(&offer).await.unwrap();
    assert_eq!(record, provider.agreement(&offer).await.unwrap());
    assert_eq!(record.unwrap().state, AgreementState::Settled);
    for (book, other) in [(&provider, &buyer_key), (&buyer, &provider_key)] {
        assert_eq!(book.left(other.address()), PAID_AHEAD - 60_000);
    }
}

#[tokio::test]
async fn an_account_pays_for_no_more_than_was_paid_in_advance() {
    let dir = tempfile::tempdir().unwrap();
    let (buyer_key, provider_key) = (key(1), key(2));
    let clock = Leaping::start();
    let book = book(dir.path(), &provider_key, &clock, &[&buyer_key]);
    let taken = async |nonce, price, buyer: &LocalKey| {
        let mut offer = offer(&provider_key, nonce);
        offer.settlement = Settlement::Allowance;
        offer.price_per_second = Amount::wei(price);
        let offer = resign(offer, &provider_key);
        let word = confirmation(&offer, buyer, &provider_key);
        let party = book.for_party(Arc::new(buyer.clone()));
        party.propose(&offer, Some(&word)).await
    };
    let all = PAID_AHEAD / 100;
    assert!(taken(1, all - 7, &buyer_key).await.is_ok());
    let spent = |result| matches!(result, Err(LedgerError::Refused { error, .. }) if error == "AllowanceSpent");
    assert!(spent(taken(2, 8, &buyer_key).await));
    assert!(
        spent(taken(3, 1, &key(3)).await),
        "a stranger has no account"
    );
    assert!(taken(4, 7, &buyer_key).await.is_ok());
    assert_eq!(book.left(buyer_key.address()), 0);
    let on_chain = offer(&provider_key, 5);
    let word = confirmation(&on_chain, &buyer_key, &provider_key);
    let refused = book.propose(&on_chain, Some(&word)).await;
    assert!(matches!(refused, Err(LedgerError::NotPayable { .. })));
}

/// Wherever a process dies while it writes, the next one finds the deed done or not begun.
#[tokio::test]
async fn a_book_that_was_cut_off_says_what_was_written_before() {
    let dir = tempfile::tempdir().unwrap();
    let (buyer_key, provider_key) = (key(1), key(2));
    let clock = Leaping::start();
    let provider = book(dir.path(), &provider_key, &clock, &[&buyer_key]);
    let mut offer = offer(&provider_key, 1);
    offer.settlement = Settlement::Allowance;
    let offer = resign(offer, &provider_key);
    let word = confirmation(&offer, &buyer_key, &provider_key);
    let buyer = provider.for_party(Arc::new(buyer_key.clone()));
    let id = buyer.propose(&offer, Some(&word)).await.unwrap();
    let whole = std::fs::read(book_file(dir.path())).unwrap();
    let agreed = whole.len();
    let (chain, contract) = signing::domain_of(&offer);
    let mut receipt = support::receipt(id, 60_000, &buyer_key, contract);
    receipt.signature = buyer_key.sign_digest(signing::receipt_digest(&receipt, chain, contract));
    provider.settle(&offer, receipt).await.unwrap();
    let whole = std::fs::read(book_file(dir.path())).unwrap();
    let head = whole.iter().position(|octet| *octet == b'\n').unwrap() + 1;
    let buyer = buyer_key.address();
    for cut in (head..=whole.len())
        .step_by(29)
        .chain([agreed, whole.len()])
    {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(book_file(dir.path()), &whole[..cut]).unwrap();
        let book = book(dir.path(), &provider_key, &clock, &[&buyer_key]);
        let state = book.record(id).map(|record| record.state);
        let (expected, left) = if cut < agreed {
            (None, PAID_AHEAD)
        } else if cut < whole.len() {
            (Some(AgreementState::Confirmed), PAID_AHEAD - 100_000)
        } else {
            (Some(AgreementState::Settled), PAID_AHEAD - 60_000)
        };
        assert_eq!((state, book.left(buyer)), (expected, left), "cut at {cut}");
    }
}
