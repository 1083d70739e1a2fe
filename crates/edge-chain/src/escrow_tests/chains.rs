//! The same random sequences through the client on a chain: model, contract and ledger agree at every step, over crashes of
//! the node and of everybody's client too.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy::primitives::{TxKind, U256};
use edge_ports::{Ledger, LedgerError, Signer};
use edge_types::{Amount, Asset, ChainAddress, ChainTime};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::evm::{CHAIN, Evm, START, STRANGER, Sent, alloy, key, party};
use super::sequences::{OFFERS, OfferPlan, PARTIES, Pair, Step, offer_plan, step};
use crate::client::{EthLedger, LedgerConfig, gas};
use crate::dev::{DevChain, DevConfig, dev_escrow_address, serve_by};
use crate::keys::LocalKey;

/// What everybody has for gas and deposits.
const FUNDS: u128 = 1 << 100;
/// The client and the node are begun anew after so many steps.
const STEPS_BETWEEN_CRASHES: usize = 9;

/// Who calls for everybody that has no key.
fn stranger() -> LocalKey {
    LocalKey::from_bytes([99; 32]).unwrap()
}

/// Which node has the chain.
enum Kind {
    /// The development chain, in this directory.
    Dev(PathBuf),
    /// Anvil, at this URL, with the escrow's code put where the development chain has it.
    Anvil(Child, String),
}

impl Drop for Kind {
    fn drop(&mut self) {
        if let Self::Anvil(process, _) = self {
            let _gone = process.kill();
            let _reaped = process.wait();
        }
    }
}

/// A chain whose time the test tells, and a client of each party.
struct Chain {
    kind: Kind,
    clock: Arc<AtomicU64>,
    runtime: Option<Runtime>,
    ledgers: Vec<EthLedger>,
}

/// The parties, and who calls for those without a key.
fn keys() -> Vec<LocalKey> {
    let mut keys: Vec<LocalKey> = (0..PARTIES).map(|number| key(number).clone()).collect();
    keys.push(stranger());
    keys
}

impl Chain {
    fn begin(kind: Kind) -> Self {
        let mut chain = Self {
            kind,
            clock: Arc::new(AtomicU64::new(START)),
            runtime: None,
            ledgers: Vec::new(),
        };
        chain.crash();
        chain
    }

    /// Everything that is only in memory is lost, but for anvil itself, which has nothing else.
    fn crash(&mut self) {
        self.ledgers.clear();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
        let runtime = Runtime::new().unwrap();
        let url = match &self.kind {
            Kind::Anvil(_, url) => url.clone(),
            Kind::Dev(data) => {
                let funded = keys().into_iter();
                let config = DevConfig {
                    chain: CHAIN,
                    data: data.clone(),
                    fund: funded.map(|key| (key.address(), FUNDS)).collect(),
                    deploy_escrow: true,
                };
                let node = DevChain::open_at(&config, self.clock.load(Ordering::SeqCst)).unwrap();
                let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
                let url = format!("http://{}", listener.local_addr().unwrap());
                let clock = Arc::clone(&self.clock);
                let now = Arc::new(move || clock.load(Ordering::SeqCst));
                runtime.spawn(serve_by(node, listener, now));
                url
            }
        };
        self.runtime = Some(runtime);
        let ledgers = keys().into_iter().map(|key| {
            let config = LedgerConfig {
                poll_interval: Duration::from_millis(10),
                ..LedgerConfig::dev(url.clone(), CHAIN, dev_escrow_address())
            };
            EthLedger::new(config, key).unwrap()
        });
        self.ledgers = ledgers.collect();
    }

    /// Tells the chain its time; anvil for the next block.
    fn tell_time(&self, now: u64) {
        self.clock.store(now, Ordering::SeqCst);
        if let Kind::Anvil(_, url) = &self.kind {
            ask(
                self.runtime(),
                url,
                "evm_setNextBlockTimestamp",
                &json!([now]),
            )
            .unwrap();
        }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    fn ledger(&self, account: ChainAddress) -> &EthLedger {
        let known = self.ledgers.iter().find(|it| it.account() == account);
        known.unwrap_or_else(|| self.ledgers.last().unwrap())
    }

    /// The same call at the same time; it has to come to the same.
    fn follow(&self, sent: Sent, now: u64) {
        self.tell_time(now);
        let to = TxKind::Call(alloy(dev_escrow_address()));
        let ledger = self.ledger(sent.caller);
        let value = U256::from(sent.value);
        let transaction = ledger.transact("following", to, sent.data, value, gas::DEPLOY);
        let outcome = match self.runtime().block_on(transaction) {
            Ok(_) => Ok(()),
            // Anvil repeats the call at a later time than the block's, when it may be in order.
            Err(LedgerError::Refused { error, .. })
                if matches!(self.kind, Kind::Anvil(..)) && error.starts_with("reverted in") =>
            {
                assert!(sent.outcome.is_err(), "at {now}");
                return;
            }
            Err(LedgerError::Refused { error, .. }) => Err(error),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(outcome, sent.outcome, "at {now}");
    }

    /// What everybody's client reads is what the model has.
    fn compare(&self, pair: &Pair) {
        self.runtime().block_on(async {
            let anybody = self.ledgers.last().unwrap();
            let totals = anybody.totals(Asset::Native).await.unwrap();
            assert_eq!(totals, pair.model.totals(Asset::Native));
            let parts = [totals.released, totals.refunded, totals.burned, totals.held];
            let sum: u128 = parts.iter().map(|part| part.units).sum();
            assert_eq!(totals.deposited.units, sum, "conservation");
            for number in 0..PARTIES {
                let account = anybody.escrow_account(party(number), Asset::Native).await;
                let expected = pair.model.account(party(number), Asset::Native);
                assert_eq!(account.unwrap(), expected);
            }
            for offer in &pair.offers {
                let record = self.ledger(offer.provider).agreement(offer).await.unwrap();
                assert_eq!(record.as_ref(), pair.model.agreement(offer.id.into()));
            }
        });
    }
}

/// Offers at prices that can be paid from [`FUNDS`].
fn payable(mut plan: OfferPlan) -> OfferPlan {
    plan.price = plan.price.min(1_000_000);
    plan
}

/// Installs anvil, or finds it where the tests of this crate against it have it.
fn anvil() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp");
    let folder = folder.join("npm-foundry-rs-anvil-1-7-1");
    if !folder.join("installed").exists() {
        std::fs::create_dir_all(&folder).unwrap();
        let output = Command::new("npm")
            .args(["install", "--no-save", "--no-audit", "--no-fund"])
            .arg("@foundry-rs/anvil@1.7.1")
            .current_dir(&folder)
            .output()
            .unwrap_or_else(|error| panic!("this test needs npm (Debian: npm): {error}"));
        assert!(output.status.success(), "{output:?}");
        std::fs::write(folder.join("installed"), "").unwrap();
    }
    std::fs::read_dir(folder.join("node_modules/@foundry-rs"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("bin/anvil"))
        .find(|path| path.is_file())
        .expect("npm brings anvil's binary for this machine")
}

fn ask(runtime: &Runtime, url: &str, method: &str, params: &Value) -> Option<Value> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    runtime.block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().ok()?;
        let request = http.post(url).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.ok()?;
        let answer: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer.get("result").cloned()
    })
}

/// Anvil with the escrow and everybody's funds.
fn begin_anvil() -> Kind {
    // No connection comes from this address and takes the port meanwhile.
    let address = std::net::TcpListener::bind("127.0.0.3:0")
        .and_then(|listener| listener.local_addr())
        .unwrap();
    let process = Command::new(anvil())
        .args(["--quiet", "--chain-id", &CHAIN.0.to_string()])
        .args(["--timestamp", &(START - 100).to_string()])
        .args(["--host", &address.ip().to_string()])
        .args(["--port", &address.port().to_string()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let kind = Kind::Anvil(process, format!("http://{address}"));
    let Kind::Anvil(_, url) = &kind else {
        unreachable!()
    };
    let runtime = Runtime::new().unwrap();
    let began = Instant::now();
    while ask(&runtime, url, "eth_chainId", &json!([])).is_none() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "anvil does not answer"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let code = Evm::new().code();
    let escrow = dev_escrow_address().to_string();
    ask(&runtime, url, "anvil_setCode", &json!([escrow, code])).unwrap();
    for key in keys() {
        let account = key.address().to_string();
        let params = json!([account, format!("{FUNDS:#x}")]);
        let _done = ask(&runtime, url, "anvil_setBalance", &params);
    }
    kind
}

#[test]
fn a_chain_does_what_the_model_says_over_crashes_and_jumps_of_time() {
    let folder = tempfile::tempdir().unwrap();
    follow_the_model(4, |number| {
        Kind::Dev(folder.path().join(number.to_string()))
    });
}

#[test]
fn peer_anvil_does_what_the_model_says_over_jumps_of_time() {
    follow_the_model(3, |_| begin_anvil());
}

/// Random sequences on chains that `begin` makes.
fn follow_the_model(cases: u32, begin: impl Fn(u64) -> Kind) {
    let strategy = (
        proptest::collection::vec(offer_plan().prop_map(payable), OFFERS),
        proptest::collection::vec(step(), 40),
    );
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let number = AtomicU64::new(0);
    let (succeeded, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
        .run(&strategy, |(plans, steps)| {
            let number = number.fetch_add(1, Ordering::SeqCst);
            let mut chain = Chain::begin(begin(number));
            let mut pair = Pair::new(&plans, Evm::at(dev_escrow_address()));
            let follow = |chain: &Chain, pair: &mut Pair| {
                let now = pair.evm.now;
                for sent in pair.evm.calls.drain(..) {
                    let count = if sent.outcome.is_ok() {
                        &succeeded
                    } else {
                        &refused
                    };
                    count.fetch_add(1, Ordering::SeqCst);
                    chain.follow(sent, now);
                }
            };
            follow(&chain, &mut pair);
            for (at, step) in steps.iter().enumerate() {
                if !matches!(step, Step::Advance(_) | Step::ToDeadline { .. }) {
                    pair.evm.now += 1;
                }
                let _outcome = pair.step(step);
                follow(&chain, &mut pair);
                if at % 4 == 0 {
                    chain.compare(&pair);
                }
                if at % STEPS_BETWEEN_CRASHES == 0 {
                    chain.crash();
                    chain.compare(&pair);
                }
            }
            // Whatever happened, somebody without any stake can close everything.
            for offer in pair.offers.clone() {
                let Some(after) = pair.model.closable_after(offer.id.into()) else {
                    continue;
                };
                pair.evm.now = pair.evm.now.max(after.0 + 1);
                let now = ChainTime(pair.evm.now);
                pair.model.close(now, &offer).unwrap();
                pair.evm.close(STRANGER, &offer).unwrap();
                follow(&chain, &mut pair);
            }
            for number in 0..PARTIES {
                let free = pair.model.account(party(number), Asset::Native);
                assert_eq!(free.locked_stake, Amount::wei(0));
                let amount = free.free_stake;
                pair.model.unstake(party(number), amount).unwrap();
                pair.evm.unstake(party(number), amount).unwrap();
                pair.step(&Step::Withdraw(number)).unwrap();
                follow(&chain, &mut pair);
            }
            chain.compare(&pair);
            assert_eq!(pair.model.totals(Asset::Native).held, Amount::wei(0));
            Ok(())
        })
        .unwrap();
    let (succeeded, refused) = (succeeded.into_inner(), refused.into_inner());
    assert!(succeeded > 25 && refused > 25, "{succeeded}, {refused}");
}
