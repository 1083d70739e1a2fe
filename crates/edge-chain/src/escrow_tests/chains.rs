//! The same random sequences through the client on a chain: model, contract and ledger agree at every step, over crashes of
//! the node and of everybody's client too.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy::primitives::{TxKind, U256};
use edge_ports::{Ledger, LedgerError, Signer};
use edge_types::{Amount, Asset, ChainAddress, ChainTime};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
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

/// A development chain in a directory, whose time the test tells, and a client of each party.
struct Chain {
    data: PathBuf,
    clock: Arc<AtomicU64>,
    runtime: Option<Runtime>,
    ledgers: Vec<EthLedger>,
}

impl Chain {
    fn begin(data: PathBuf) -> Self {
        let mut chain = Self {
            data,
            clock: Arc::new(AtomicU64::new(START)),
            runtime: None,
            ledgers: Vec::new(),
        };
        chain.crash();
        chain
    }

    /// Everything that is only in memory is lost.
    fn crash(&mut self) {
        self.ledgers.clear();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
        let mut keys: Vec<LocalKey> = (0..PARTIES).map(|number| key(number).clone()).collect();
        keys.push(stranger());
        let config = DevConfig {
            chain: CHAIN,
            data: self.data.clone(),
            fund: keys.iter().map(|key| (key.address(), FUNDS)).collect(),
            deploy_escrow: true,
        };
        let node = DevChain::open_at(&config, self.clock.load(Ordering::SeqCst)).unwrap();
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let clock = Arc::clone(&self.clock);
        let now = Arc::new(move || clock.load(Ordering::SeqCst));
        runtime.spawn(serve_by(node, listener, now));
        self.runtime = Some(runtime);
        self.ledgers = keys
            .into_iter()
            .map(|key| {
                let config = LedgerConfig {
                    poll_interval: Duration::from_millis(10),
                    ..LedgerConfig::dev(url.clone(), CHAIN, dev_escrow_address())
                };
                EthLedger::new(config, key).unwrap()
            })
            .collect();
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
        self.clock.store(now, Ordering::SeqCst);
        let to = TxKind::Call(alloy(dev_escrow_address()));
        let ledger = self.ledger(sent.caller);
        let value = U256::from(sent.value);
        let transaction = ledger.transact("following", to, sent.data, value, gas::DEPLOY);
        let outcome = match self.runtime().block_on(transaction) {
            Ok(_) => Ok(()),
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

#[test]
fn a_chain_does_what_the_model_says_over_crashes_and_jumps_of_time() {
    let strategy = (
        proptest::collection::vec(offer_plan().prop_map(payable), OFFERS),
        proptest::collection::vec(step(), 40),
    );
    let config = Config {
        cases: 6,
        failure_persistence: None,
        ..Config::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let number = AtomicU64::new(0);
    let (succeeded, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
        .run(&strategy, |(plans, steps)| {
            let number = number.fetch_add(1, Ordering::SeqCst);
            let mut chain = Chain::begin(folder.path().join(number.to_string()));
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
    assert!(succeeded > 60 && refused > 60, "{succeeded}, {refused}");
}
