//! `exec-edge contract` against a development chain.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
#[expect(dead_code, reason = "helpers of other tests")]
mod program;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use program::{Answer, program, run};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// A chain with an escrow and one funded key.
struct Chain {
    process: Child,
    rpc: String,
    escrow: String,
    account: String,
    folder: tempfile::TempDir,
}

impl Chain {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let made = run(
            &mut program(&["chain", "key", key.to_str().unwrap()]),
            PATIENCE,
        );
        let account = made.out.trim().to_owned();
        let data = folder.path().join("chain");
        let fund = format!("{account}=1000000000000000000");
        let mut process = program(&[
            "chain",
            "dev",
            "--listen",
            "127.0.0.1:0",
            "--data",
            data.to_str().unwrap(),
            "--fund",
            &fund,
            "--deploy-escrow",
            "--json",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
        let mut line = String::new();
        let out = process.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self {
            rpc: text("rpc_url"),
            escrow: text("escrow"),
            process,
            account,
            folder,
        }
    }

    fn contract(&self, arguments: &[&str]) -> Answer {
        let mut command = program(&["contract"]);
        command.args(arguments).args(["--rpc", &self.rpc]);
        run(&mut command, PATIENCE)
    }

    /// With the escrow, and JSON for an answer.
    fn json(&self, arguments: &[&str]) -> Value {
        let all = [arguments, &["--contract", &self.escrow, "--json"]].concat();
        let answer = self.contract(&all);
        assert_eq!(answer.code, Some(0), "{answer:?}");
        serde_json::from_str(&answer.out).unwrap()
    }

    fn account(&self) -> Value {
        self.json(&["status", "--account", &self.account])["account"].clone()
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn stake_goes_in_and_out_and_a_dry_run_moves_nothing() {
    let chain = Chain::start();
    let key = chain.folder.path().join("key");
    let key = ["--key", key.to_str().unwrap()];
    let with_key = |command: &[&str]| chain.json(&[command, &key].concat());
    with_key(&["stake", "5000", "--dry-run"]);
    assert_eq!(chain.account()["free_stake"], "0");
    with_key(&["stake", "5000"]);
    assert_eq!(chain.account()["free_stake"], "5000");
    assert_eq!(chain.json(&["status"])["held"], "5000");

    let all = ["--contract", chain.escrow.as_str(), key[0], key[1]];
    let too_much = chain.contract(&[&["unstake", "5001"], &all[..]].concat());
    assert_eq!(too_much.code, Some(2));
    assert!(
        too_much.err.contains("until they are settled"),
        "{too_much:?}"
    );
    with_key(&["unstake", "5000"]);
    let planned = with_key(&["withdraw", "--dry-run"]);
    assert_eq!(planned["units"], "5000");
    assert_eq!(with_key(&["withdraw"])["units"], "5000");
    assert_eq!(with_key(&["withdraw"])["units"], "0");
    assert_eq!(chain.json(&["status"])["held"], "0");
}

#[test]
fn an_escrow_is_deployed_and_told_from_anything_else() {
    let chain = Chain::start();
    let key = chain.folder.path().join("key");
    let deploy = ["deploy", "--json", "--key", key.to_str().unwrap()];
    let planned = chain.contract(&[&deploy[..], &["--dry-run"]].concat());
    assert_eq!(planned.code, Some(0), "{planned:?}");
    let deployed = chain.contract(&deploy);
    let deployed: Value = serde_json::from_str(&deployed.out).unwrap();
    let other = deployed["contract"].as_str().unwrap();
    assert_ne!(other, chain.escrow);
    let known = chain.contract(&["verify", "--contract", other]);
    assert_eq!(known.code, Some(0), "{known:?}");
    let unknown = chain.contract(&["verify", "--contract", &chain.account]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.out.contains("is not the escrow"), "{unknown:?}");
}
