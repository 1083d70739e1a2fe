//! The client against anvil, a public node's little brother: fees that rise, blocks that vanish, and an escrow of its own.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program with modules of its own"
)]

mod npm;
mod suite;
mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_chain::client::LedgerConfig;
use edge_chain::{EthLedger, LocalKey};
use edge_ports::Ledger;
use edge_types::{Amount, Asset, ChainAddress, Hash32, Settlement};
use serde_json::{Value, json};
use support::{CHAIN, agree_settle_and_withdraw, offer, resign};

/// A node that ends with the test.
struct Anvil {
    process: Child,
    url: String,
    http: reqwest::Client,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

impl Anvil {
    fn start() -> Self {
        let binary = binary(&npm::install("@foundry-rs/anvil@1.7.1"));
        // No connection comes from this address and takes the port meanwhile.
        let address = TcpListener::bind("127.0.0.2:0")
            .and_then(|listener| listener.local_addr())
            .unwrap();
        let process = Command::new(binary)
            .args(["--silent", "--chain-id", &CHAIN.0.to_string()])
            .args(["--host", &address.ip().to_string()])
            .args(["--port", &address.port().to_string()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            process,
            url: format!("http://{address}"),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// Keys of its first accounts, which are rich; everybody knows them.
    fn keys() -> [LocalKey; 2] {
        [
            "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
            "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
        ]
        .map(|key| LocalKey::from_bytes(key.parse::<Hash32>().unwrap().0).unwrap())
    }

    fn config(&self, contract: ChainAddress) -> LedgerConfig {
        LedgerConfig::dev(self.url.clone(), CHAIN, contract)
    }

    async fn rpc(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Puts an escrow on it, once it answers.
    async fn escrow(&self) -> ChainAddress {
        let [key, _] = Self::keys();
        let deployer = EthLedger::new(self.config(ChainAddress([0; 20])), key).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match deployer.deploy_escrow().await {
                Ok(contract) => return contract,
                Err(error) => assert!(Instant::now() < deadline, "anvil does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The transactions that wait for a block.
    async fn waiting(&self) -> Vec<Value> {
        let pool = self.rpc("txpool_content", json!([])).await;
        let by_account = pool["pending"].as_object().cloned().unwrap_or_default();
        by_account
            .values()
            .filter_map(Value::as_object)
            .flat_map(|by_nonce| by_nonce.values().cloned())
            .collect()
    }
}

fn binary(dir: &Path) -> std::path::PathBuf {
    std::fs::read_dir(dir.join("node_modules/@foundry-rs"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("bin/anvil"))
        .find(|path| path.is_file())
        .expect("npm brings anvil's binary for this machine")
}

fn fee(transaction: &Value) -> u128 {
    let text = transaction["maxFeePerGas"].as_str().unwrap();
    u128::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_anvil_takes_what_the_client_sends() {
    let anvil = Anvil::start();
    let contract = anvil.escrow().await;
    let [buyer_key, provider_key] = Anvil::keys();
    let ledger = |key: &LocalKey| EthLedger::new(anvil.config(contract), key.clone()).unwrap();
    let (buyer, provider) = (ledger(&buyer_key), ledger(&provider_key));
    agree_settle_and_withdraw((&buyer, &buyer_key), (&provider, &provider_key)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_anvil_does_what_every_ledger_does() {
    let anvil = Anvil::start();
    let contract = anvil.escrow().await;
    let keys = Anvil::keys();
    let ledger = |key: &LocalKey| {
        let ledger = EthLedger::new(anvil.config(contract), key.clone()).unwrap();
        Box::new(ledger) as Box<dyn Ledger>
    };
    let ledgers = [ledger(&keys[0]), ledger(&keys[1])];
    let settlement = Settlement::Escrow {
        chain: CHAIN,
        contract,
    };
    let (http, url) = (anvil.http.clone(), anvil.url.clone());
    let market = suite::Market::new(ledgers, keys, settlement, move |seconds| {
        let body =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "evm_increaseTime", "params": [seconds] });
        let request = http.post(&url).header("content-type", "application/json");
        let request = request.body(body.to_string());
        Box::pin(async move {
            let answer = request.send().await.unwrap().text().await.unwrap();
            assert!(answer.contains("result"), "{answer}");
        })
    });
    suite::whole(&market).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_anvil_without_blocks_sees_the_fees_raised_and_one_payment_made() {
    let anvil = Anvil::start();
    let contract = anvil.escrow().await;
    let [key, _] = Anvil::keys();
    let config = LedgerConfig {
        raise_after: Duration::from_millis(300),
        ..anvil.config(contract)
    };
    let ledger = Arc::new(EthLedger::new(config, key).unwrap());
    anvil.rpc("evm_setAutomine", json!([false])).await;
    let staking = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.stake(Amount::wei(7)).await }
    });
    until("it is offered", async || !anvil.waiting().await.is_empty()).await;
    let first = fee(&anvil.waiting().await[0]);
    until("its fees rise", async || {
        anvil
            .waiting()
            .await
            .first()
            .is_some_and(|transaction| fee(transaction) >= first * 5 / 4)
    })
    .await;
    assert_eq!(anvil.waiting().await.len(), 1, "instead of the first");
    anvil.rpc("evm_mine", json!([])).await;
    staking.await.unwrap().unwrap();
    let held = ledger.totals(Asset::Native).await.unwrap().held;
    assert_eq!(held, Amount::wei(7), "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_anvil_forgets_a_block_and_gets_the_transaction_again() {
    let anvil = Anvil::start();
    let contract = anvil.escrow().await;
    let [key, _] = Anvil::keys();
    let config = LedgerConfig {
        confirmations: 3,
        ..anvil.config(contract)
    };
    let ledger = Arc::new(EthLedger::new(config, key).unwrap());
    ledger.verify_contract().await.unwrap();
    anvil.rpc("evm_setAutomine", json!([false])).await;
    let staking = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.stake(Amount::wei(7)).await }
    });
    until("it is offered", async || !anvil.waiting().await.is_empty()).await;
    anvil.rpc("evm_mine", json!([])).await;
    until("it is in a block", async || {
        anvil.waiting().await.is_empty()
    })
    .await;
    anvil.rpc("anvil_rollback", json!([1])).await;
    until("it is offered again", async || {
        !anvil.waiting().await.is_empty()
    })
    .await;
    assert!(!staking.is_finished(), "one block is not three");
    for _ in 0..3 {
        anvil.rpc("evm_mine", json!([])).await;
    }
    staking.await.unwrap().unwrap();
    let held = ledger.totals(Asset::Native).await.unwrap().held;
    assert_eq!(held, Amount::wei(7), "once");
}

/// Security rule 10: what a reorganisation may still undo is not there yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_anvil_a_payment_is_seen_once_it_is_deep_enough() {
    let anvil = Anvil::start();
    let contract = anvil.escrow().await;
    let [buyer_key, provider_key] = Anvil::keys();
    let at_depth = |confirmations| {
        let config = LedgerConfig {
            confirmations,
            ..anvil.config(contract)
        };
        EthLedger::new(config, buyer_key.clone()).unwrap()
    };
    let (hasty, patient) = (at_depth(1), at_depth(3));
    anvil.rpc("anvil_mine", json!(["0x3"])).await;
    let mut offer = offer(&provider_key, 1);
    offer.settlement = Settlement::Escrow {
        chain: CHAIN,
        contract,
    };
    let offer = resign(offer, &provider_key);
    assert_eq!(patient.agreement(&offer).await.unwrap(), None);
    hasty.propose(&offer, None).await.unwrap();
    for depth in 1..=3 {
        assert!(hasty.agreement(&offer).await.unwrap().is_some());
        let seen = patient.agreement(&offer).await.unwrap().is_some();
        assert_eq!(seen, depth >= 3, "{depth} blocks deep");
        let deposited = patient.totals(Asset::Native).await.unwrap().deposited;
        assert_eq!(deposited.units > 0, depth >= 3, "{depth} blocks deep");
        anvil.rpc("evm_mine", json!([])).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_anvil_gets_no_more_of_a_tip_than_is_allowed() {
    let anvil = Anvil::start();
    let contract = anvil.escrow().await;
    let [key, _] = Anvil::keys();
    let config = LedgerConfig {
        max_tip_per_gas: 7,
        ..anvil.config(contract)
    };
    let ledger = Arc::new(EthLedger::new(config, key).unwrap());
    anvil.rpc("evm_setAutomine", json!([false])).await;
    let staking = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.stake(Amount::wei(7)).await }
    });
    until("it is offered", async || !anvil.waiting().await.is_empty()).await;
    let offered = anvil.waiting().await;
    assert_eq!(offered[0]["maxPriorityFeePerGas"], json!("0x7"));
    anvil.rpc("evm_mine", json!([])).await;
    staking.await.unwrap().unwrap();
}
