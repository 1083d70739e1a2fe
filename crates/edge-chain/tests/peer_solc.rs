//! Against a program of others: the Solidity compiler makes the checked-in artifacts.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program with a module of its own"
)]

mod npm;

use std::path::PathBuf;
use std::process::Command;

#[test]
fn peer_solc_makes_the_checked_in_artifact() {
    let contracts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../contracts");
    let source = std::fs::read_to_string(contracts.join("ExecEscrow.sol")).unwrap();
    let (_, rest) = source.split_once("pragma solidity ").unwrap();
    let (version, _) = rest.split_once(';').unwrap();
    let folder = npm::install(&format!("solc@{version}"));
    for name in ["ExecEscrow", "test/Token"] {
        let built = Command::new("node")
            .arg(contracts.join("build.cjs").canonicalize().unwrap())
            .arg(format!("{name}.sol"))
            .current_dir(&folder)
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
