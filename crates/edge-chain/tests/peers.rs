//! Against programs of others: the Solidity compiler makes the checked-in artifact, and a public node's little brother
//! takes the client's transactions.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program with a module of its own"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edge_chain::client::LedgerConfig;
use edge_chain::{EthLedger, LocalKey};
use edge_types::ChainAddress;
use support::{CHAIN, agree_settle_and_withdraw};

/// Installs an npm package below `dir`.
fn npm_install(dir: &Path, package: &str) {
    let output = Command::new("npm")
        .args(["install", "--no-save", "--no-audit", "--no-fund", package])
        .current_dir(dir)
        .output()
        .unwrap_or_else(|error| panic!("this test needs npm (Debian: nodejs npm): {error}"));
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "npm install {package} failed: {problem}"
    );
}

#[test]
fn peer_solc_makes_the_checked_in_artifact() {
    let contracts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../contracts");
    let source = std::fs::read_to_string(contracts.join("ExecEscrow.sol")).unwrap();
    let (_, rest) = source.split_once("pragma solidity ").unwrap();
    let (version, _) = rest.split_once(';').unwrap();
    let dir = tempfile::tempdir().unwrap();
    npm_install(dir.path(), &format!("solc@{version}"));
    for name in ["ExecEscrow", "test/Token"] {
        let built = Command::new("node")
            .arg(contracts.join("build.cjs").canonicalize().unwrap())
            .arg(format!("{name}.sol"))
            .current_dir(dir.path())
            .output()
            .unwrap_or_else(|error| panic!("this test needs node (Debian: nodejs): {error}"));
        let problem = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "building failed: {problem}");
        let checked_in = std::fs::read(contracts.join(format!("{name}.json"))).unwrap();
        assert!(
            built.stdout == checked_in,
            "contracts/{name}.json is not what solc {version} makes of the source; see contracts/build.cjs"
        );
    }
}

/// A node that ends with the test.
struct Anvil(Child);

impl Drop for Anvil {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn peer_anvil_takes_what_the_client_sends() {
    let dir = tempfile::tempdir().unwrap();
    npm_install(dir.path(), "@foundry-rs/anvil@1.7.1");
    let binary = std::fs::read_dir(dir.path().join("node_modules/@foundry-rs"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("bin/anvil"))
        .find(|path| path.is_file())
        .expect("npm brings anvil's binary for this machine");
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    let child = Command::new(binary)
        .args(["--silent", "--chain-id", &CHAIN.0.to_string()])
        .args(["--port", &port.to_string()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _anvil = Anvil(child);

    // The first account of every anvil; its key is public.
    let rich: edge_types::Hash32 =
        "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
            .parse()
            .unwrap();
    let buyer_key = LocalKey::from_bytes(rich.0).unwrap();
    // The second one.
    let other: edge_types::Hash32 =
        "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
            .parse()
            .unwrap();
    let provider_key = LocalKey::from_bytes(other.0).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let ledger = |key: &LocalKey, contract| {
        let config = LedgerConfig::dev(url.clone(), CHAIN, contract);
        EthLedger::new(config, key.clone()).unwrap()
    };

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let deployer = ledger(&buyer_key, ChainAddress([0; 20]));
        let deadline = Instant::now() + Duration::from_secs(20);
        let contract = loop {
            match deployer.deploy_escrow().await {
                Ok(contract) => break contract,
                Err(error) => assert!(Instant::now() < deadline, "anvil does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let (buyer, provider) = (
            ledger(&buyer_key, contract),
            ledger(&provider_key, contract),
        );
        agree_settle_and_withdraw((&buyer, &buyer_key), (&provider, &provider_key)).await;
    });
}
