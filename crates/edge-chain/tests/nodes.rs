//! Nodes that disagree, lag, die or reorganise: the client does not move money on what only one of two says, does not
//! pay twice, and gets its transaction through.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program with a module of its own"
)]

mod support;

use edge_chain::EthLedger;
use edge_chain::client::LedgerConfig;
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
