//! Nodes that disagree, lag, die or reorganise: the client does not move money on what only one of two says, does not
//! pay twice, and gets its transaction through.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program with a module of its own"
)]

mod support;

use edge_chain::EthLedger;
use edge_chain::client::{GWEI, LedgerConfig};
use edge_ports::{Ledger, LedgerError};
use edge_types::{Amount, Asset};
use support::{Served, config, key, offer};
use tokio::runtime::Runtime;

/// A ledger of the first chain that asks the second one too.
fn with_second(first: &Served, second: String) -> EthLedger {
    let config = LedgerConfig {
        second_rpc_url: Some(second),
        ..first.ledger_config()
    };
    EthLedger::new(config, key(1)).unwrap()
}

#[test]
fn two_nodes_that_disagree_decide_nothing() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let funded = [&key(1)];
    let [one, other] = dirs
        .each_ref()
        .map(|dir| Served::start(&config(dir.path(), &funded)));
    Runtime::new().unwrap().block_on(async {
        let alone = one.ledger(&key(1));
        let both = with_second(&one, other.url());
        let offer = offer(&key(2), 1);
        assert_eq!(both.agreement(&offer).await.unwrap(), None, "they agree");
        alone.propose(&offer, None).await.unwrap();
        assert!(alone.agreement(&offer).await.unwrap().is_some());
        let told = both.agreement(&offer).await;
        assert!(
            matches!(told, Err(LedgerError::Disagreement { .. })),
            "{told:?}"
        );
        let told = both.totals(Asset::Native).await;
        assert!(
            matches!(told, Err(LedgerError::Disagreement { .. })),
            "{told:?}"
        );
    });
}

#[test]
fn a_dead_second_node_or_one_without_the_escrow_stops_the_money() {
    let [dir, bare] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let served = Served::start(&config(dir.path(), &[&key(1)]));
    let without = Served::start(&edge_chain::dev::DevConfig {
        deploy_escrow: false,
        ..config(bare.path(), &[&key(1)])
    });
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = dead.local_addr().unwrap();
    drop(dead);
    Runtime::new().unwrap().block_on(async {
        let stake = Amount::wei(5);
        let told = with_second(&served, format!("http://{address}"))
            .stake(stake)
            .await;
        assert!(
            matches!(told, Err(LedgerError::Unreachable { .. })),
            "{told:?}"
        );
        let told = with_second(&served, without.url()).stake(stake).await;
        assert!(
            matches!(told, Err(LedgerError::UnknownContract { .. })),
            "{told:?}"
        );
        let held = served.ledger(&key(1)).totals(Asset::Native).await.unwrap();
        assert_eq!(held.held, Amount::wei(0));
    });
}

/// A node cannot make us pay more than the operator allows, however dear it says that the chain is.
#[test]
fn fees_above_the_cap_are_not_paid() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(&config(dir.path(), &[&key(1)]));
    Runtime::new().unwrap().block_on(async {
        let config = LedgerConfig {
            // The development chain asks for one.
            max_fee_per_gas: GWEI / 2,
            ..served.ledger_config()
        };
        let capped = EthLedger::new(config, key(1)).unwrap();
        let before = capped.balance(capped.account()).await.unwrap();
        let refused = capped.stake(Amount::wei(5)).await;
        assert!(
            matches!(refused, Err(LedgerError::Refused { .. })),
            "{refused:?}"
        );
        assert_eq!(capped.balance(capped.account()).await.unwrap(), before);
        served.ledger(&key(1)).stake(Amount::wei(5)).await.unwrap();
    });
}
