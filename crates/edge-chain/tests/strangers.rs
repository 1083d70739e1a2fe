//! Two strangers, a chain between them, and what can go wrong: the client against the development chain over loopback.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program with a module of its own"
)]

mod support;

use std::io::{Read, Write};
use std::time::Duration;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::network::TxSignerSync;
use alloy::primitives::hex;
use alloy::signers::local::PrivateKeySigner;
use edge_chain::EthLedger;
use edge_chain::client::LedgerConfig;
use edge_chain::dev::dev_escrow_address;
use edge_ports::{Ledger, LedgerError};
use edge_types::{Amount, Asset, ChainAddress, ChainId, Hash32, Receipt, Settlement};
use serde_json::json;
use support::{
    CHAIN, ETHER, Served, agree_settle_and_withdraw, config, key, offer, receipt, resign,
};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

fn refusal<T: std::fmt::Debug>(result: Result<T, LedgerError>) -> String {
    match result {
        Err(LedgerError::Refused { error, .. }) => error,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn two_strangers_agree_settle_and_withdraw() {
    let dir = tempfile::tempdir().unwrap();
    let (buyer_key, provider_key) = (key(1), key(2));
    let served = Served::start(&config(dir.path(), &[&buyer_key, &provider_key]));
    let (buyer, provider) = (served.ledger(&buyer_key), served.ledger(&provider_key));

    let runtime = Runtime::new().unwrap();
    runtime.block_on(agree_settle_and_withdraw(
        (&buyer, &buyer_key),
        (&provider, &provider_key),
    ));
}

#[test]
fn an_answer_that_does_not_come_and_one_that_is_no() {
    let dir = tempfile::tempdir().unwrap();
    let (buyer_key, provider_key, stranger_key) = (key(1), key(2), key(3));
    let all = [&buyer_key, &provider_key, &stranger_key];
    let served = Served::start(&config(dir.path(), &all));
    let [buyer, provider, stranger] = all.map(|key| served.ledger(key));

    Runtime::new().unwrap().block_on(async {
        let mut late = offer(&provider_key, 1);
        late.guarantee.answer_seconds = 1;
        let (late, no) = (resign(late, &provider_key), offer(&provider_key, 2));
        buyer.propose(&late, None).await.unwrap();
        buyer.propose(&no, None).await.unwrap();
        let soon = buyer
            .agreement(&late)
            .await
            .unwrap()
            .unwrap()
            .deadline
            .unwrap();
        assert_eq!(refusal(stranger.confirm(&no).await), "NotAllowed");
        assert_eq!(refusal(stranger.close(&no).await), "TooEarly");
        provider.reject(&no).await.unwrap();
        assert_eq!(refusal(provider.confirm(&no).await), "WrongState");
        while provider.now().await.unwrap() <= soon {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(refusal(provider.confirm(&late).await), "TooLate");
        stranger.close(&late).await.unwrap();
        let withdrawn = buyer.withdraw(Asset::Native).await.unwrap();
        assert_eq!(withdrawn, Amount::wei(200_000));
        let totals = buyer.totals(Asset::Native).await.unwrap();
        assert_eq!(
            (totals.refunded, totals.held),
            (Amount::wei(200_000), Amount::wei(0))
        );
    });
}

#[test]
fn forged_and_used_offers_and_receipts_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (buyer_key, provider_key) = (key(1), key(2));
    let served = Served::start(&config(dir.path(), &[&buyer_key, &provider_key]));
    let (buyer, provider) = (served.ledger(&buyer_key), served.ledger(&provider_key));

    Runtime::new().unwrap().block_on(async {
        let good = offer(&provider_key, 1);
        let forged = resign(good.clone(), &buyer_key);
        assert_eq!(refusal(buyer.propose(&forged, None).await), "BadSignature");
        let mut elsewhere = good.clone();
        elsewhere.settlement = Settlement::Escrow {
            chain: ChainId(1),
            contract: dev_escrow_address(),
        };
        let mut changed = good.clone();
        changed.slot.end.0 += 1;
        for bad in [resign(elsewhere, &provider_key), changed] {
            let result = buyer.propose(&bad, None).await;
            assert!(
                matches!(result, Err(LedgerError::NotPayable { .. })),
                "{result:?}"
            );
        }

        let id = buyer.propose(&good, None).await.unwrap();
        assert_eq!(refusal(buyer.propose(&good, None).await), "OfferConsumed");
        provider.confirm(&good).await.unwrap();
        let contract = dev_escrow_address();
        let own = receipt(id, 100_000, &provider_key, contract);
        let other_contract = receipt(id, 100_000, &buyer_key, ChainAddress([7; 20]));
        let smaller = receipt(id, 1, &buyer_key, contract);
        let inflated = Receipt {
            due: Amount::wei(2),
            ..smaller
        };
        for bad in [own, other_contract, inflated] {
            assert_eq!(refusal(provider.settle(&good, bad).await), "BadSignature");
        }
        let too_much = receipt(id, 100_001, &buyer_key, contract);
        assert_eq!(
            refusal(provider.settle(&good, too_much).await),
            "DueOutOfRange"
        );
        assert_eq!(refusal(provider.close(&good).await), "TooEarly");
        assert_eq!(refusal(buyer.settle(&good, smaller).await), "TooEarly");
    });
}

#[test]
fn operations_at_once_do_not_collide() {
    let dir = tempfile::tempdir().unwrap();
    let (buyer_key, provider_key) = (key(1), key(2));
    let served = Served::start(&config(dir.path(), &[&buyer_key, &provider_key]));
    let buyer = std::sync::Arc::new(served.ledger(&buyer_key));

    Runtime::new().unwrap().block_on(async {
        let mut all = JoinSet::new();
        for number in 0..30 {
            let mut offer = offer(&provider_key, number);
            if number % 10 == 3 {
                offer.price_per_second = Amount::wei(ETHER); // 100 ether, more than the buyer has
            }
            let offer = resign(offer, &provider_key);
            let buyer = buyer.clone();
            all.spawn(async move { (number, buyer.propose(&offer, None).await) });
        }
        for (number, result) in all.join_all().await {
            if number % 10 == 3 {
                assert!(refusal(result).contains("insufficient funds"), "{number}");
            } else {
                result.unwrap();
            }
        }
        let totals = buyer.totals(Asset::Native).await.unwrap();
        assert_eq!(totals.held, Amount::wei(27 * 100_000));
    });
}

#[test]
fn two_programs_with_one_key_get_along() {
    let dir = tempfile::tempdir().unwrap();
    let (buyer_key, provider_key) = (key(1), key(2));
    let served = Served::start(&config(dir.path(), &[&buyer_key]));
    let programs = [served.ledger(&buyer_key), served.ledger(&buyer_key)];

    Runtime::new().unwrap().block_on(async {
        for nonce in 0..6 {
            let program = &programs[usize::from(nonce % 2)];
            let offer = offer(&provider_key, nonce);
            program.propose(&offer, None).await.unwrap();
        }
        let held = programs[0].totals(Asset::Native).await.unwrap().held;
        assert_eq!(held, Amount::wei(600_000));
    });
}

#[test]
fn a_restart_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (buyer_key, provider_key) = (key(1), key(2));
    let config = config(dir.path(), &[&buyer_key, &provider_key]);
    let offer = offer(&provider_key, 1);
    let runtime = Runtime::new().unwrap();

    let served = Served::start(&config);
    let before = runtime.block_on(async {
        let buyer = served.ledger(&buyer_key);
        buyer.propose(&offer, None).await.unwrap();
        (
            buyer.agreement(&offer).await.unwrap(),
            buyer.totals(Asset::Native).await.unwrap(),
            buyer.balance(buyer.account()).await.unwrap(),
        )
    });
    drop(served);

    let served = Served::start(&config);
    runtime.block_on(async {
        let buyer = served.ledger(&buyer_key);
        let after = (
            buyer.agreement(&offer).await.unwrap(),
            buyer.totals(Asset::Native).await.unwrap(),
            buyer.balance(buyer.account()).await.unwrap(),
        );
        assert_eq!(after, before);
        served.ledger(&provider_key).confirm(&offer).await.unwrap();
        buyer
            .propose(&support::offer(&provider_key, 2), None)
            .await
            .unwrap();
    });
}

/// Puts any code on the chain, by the first transaction of an account.
async fn deploy(served: &Served, by: u8, creation_code: &[u8]) -> ChainAddress {
    let signer = PrivateKeySigner::from_bytes(&[by; 32].into()).unwrap();
    let mut transaction = TxEip1559 {
        chain_id: CHAIN.0,
        gas_limit: 200_000,
        max_fee_per_gas: 2_000_000_000,
        input: creation_code.to_vec().into(),
        ..TxEip1559::default()
    };
    let signature = signer.sign_transaction_sync(&mut transaction).unwrap();
    let raw = TxEnvelope::from(transaction.into_signed(signature)).encoded_2718();
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [hex::encode_prefixed(raw)],
    });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http.post(served.url()).body(body.to_string());
    let answer = request.send().await.unwrap().text().await.unwrap();
    assert!(answer.contains("result"), "{answer}");
    ChainAddress(signer.address().create(0).into_array())
}

#[test]
fn no_money_moves_to_a_contract_that_is_not_the_known_one() {
    let dir = tempfile::tempdir().unwrap();
    let (buyer_key, provider_key) = (key(1), key(2));
    let served = Served::start(&config(dir.path(), &[&buyer_key, &provider_key]));

    Runtime::new().unwrap().block_on(async {
        let honest = served.ledger(&buyer_key);
        let before = honest.balance(honest.account()).await.unwrap();
        // An account without code, and a contract that takes all money and answers 1 to everything.
        let says_yes = hex::decode("6760015f5260205ff35f5260086018f3").unwrap();
        let says_yes = deploy(&served, 2, &says_yes).await;
        for liar in [ChainAddress([0xaa; 20]), says_yes] {
            let config = LedgerConfig {
                contract: liar,
                ..served.ledger_config()
            };
            let buyer = EthLedger::new(config, buyer_key.clone()).unwrap();
            let mut offer = offer(&provider_key, 1);
            offer.settlement = Settlement::Escrow {
                chain: CHAIN,
                contract: liar,
            };
            let offer = resign(offer, &provider_key);
            let refused = [
                buyer.verify_contract().await.unwrap_err(),
                buyer.propose(&offer, None).await.unwrap_err(),
                buyer.agreement(&offer).await.unwrap_err(),
            ];
            for error in refused {
                let LedgerError::UnknownContract {
                    contract,
                    found,
                    expected,
                } = error
                else {
                    panic!("{error:?}");
                };
                assert_eq!(contract, liar);
                assert_ne!(found, expected);
                assert_ne!(found, Hash32([0; 32]));
            }
        }
        // The very same code elsewhere is as good.
        let elsewhere = honest.deploy_escrow().await.unwrap();
        let config = LedgerConfig {
            contract: elsewhere,
            ..served.ledger_config()
        };
        let buyer = EthLedger::new(config, provider_key.clone()).unwrap();
        buyer.verify_contract().await.unwrap();
        assert!(honest.balance(elsewhere).await.unwrap() == Amount::wei(0));
        let spent = before
            .minus(honest.balance(honest.account()).await.unwrap())
            .unwrap();
        assert!(
            spent.units < ETHER / 100,
            "only the deployment's fee: {spent}"
        );
    });
}

#[test]
fn another_chain_and_a_dead_node_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let buyer_key = key(1);
    let served = Served::start(&config(dir.path(), &[&buyer_key]));
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();

    Runtime::new().unwrap().block_on(async {
        let config = LedgerConfig {
            chain: ChainId(1),
            ..served.ledger_config()
        };
        let wrong = EthLedger::new(config, buyer_key.clone()).unwrap();
        assert!(matches!(
            wrong.verify_contract().await,
            Err(LedgerError::WrongChain {
                found: CHAIN,
                expected: ChainId(1)
            })
        ));

        // Accepts connections and never answers.
        let config = LedgerConfig {
            rpc_url: format!("http://{}", dead.local_addr().unwrap()),
            request_timeout: Duration::from_millis(100),
            ..served.ledger_config()
        };
        let silent = EthLedger::new(config, buyer_key.clone()).unwrap();
        assert!(matches!(
            silent.totals(Asset::Native).await,
            Err(LedgerError::Unreachable { .. })
        ));
    });
}

#[test]
fn a_transaction_counts_when_it_is_deep_enough() {
    let dir = tempfile::tempdir().unwrap();
    let (buyer_key, provider_key) = (key(1), key(2));
    let served = Served::start(&config(dir.path(), &[&buyer_key]));
    let config = LedgerConfig {
        confirmations: 2,
        ..served.ledger_config()
    };
    let buyer = EthLedger::new(config, buyer_key).unwrap();
    Runtime::new().unwrap().block_on(async {
        let before = buyer.now().await.unwrap();
        let offer = offer(&provider_key, 1);
        buyer.propose(&offer, None).await.unwrap();
        assert!(buyer.now().await.unwrap() > before, "a block came after it");
    });
}

#[test]
fn an_endless_answer_is_not_read_to_its_end() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let _request = peer.read(&mut [0; 4096]).unwrap();
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        peer.write_all(head).unwrap();
        let block = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        while peer.write_all(block.as_bytes()).is_ok() {}
    });
    let config = LedgerConfig {
        request_timeout: Duration::from_mins(1),
        ..LedgerConfig::dev(format!("http://{address}"), CHAIN, dev_escrow_address())
    };
    let ledger = EthLedger::new(config, key(1)).unwrap();
    let result = Runtime::new().unwrap().block_on(ledger.now());
    let Err(LedgerError::Unreachable { cause, .. }) = result else {
        panic!("{result:?}");
    };
    assert!(cause.to_string().contains("too long"), "{cause}");
}

#[test]
fn a_node_is_named_by_its_address() {
    let with = |rpc_url: &str, confirmations| {
        let config = LedgerConfig {
            confirmations,
            ..LedgerConfig::dev(rpc_url.to_owned(), CHAIN, dev_escrow_address())
        };
        EthLedger::new(config, key(1)).is_ok()
    };
    for good in ["http://240.0.0.5:8545", "http://[3fff::5]:8545/"] {
        assert!(with(good, 1), "{good}");
    }
    for bad in [
        "http://node.example/",
        "https://240.0.0.5",
        "240.0.0.5:8545",
        "",
    ] {
        assert!(!with(bad, 1), "{bad}");
    }
    assert!(!with("http://240.0.0.5:8545", 0));
}
