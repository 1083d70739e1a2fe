//! `exec-edge contract`: the escrow, by hand: put it on a chain, check it, see what it holds, move one's own money.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use edge_chain::client::{EthLedger, LedgerConfig};
use edge_chain::{LocalKey, escrow_code_hash};
use edge_ports::{Ledger, LedgerError};
use edge_types::{Amount, Asset, ChainAddress, ChainId};
use serde_json::json;

use crate::chain::read_key;
use crate::exit::{EXIT_CODES, Failure};
use crate::output;

/// Options of `exec-edge contract`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXIT_CODES)]
pub(crate) enum Args {
    /// Put a new escrow on the chain and print its address.
    Deploy {
        #[command(flatten)]
        node: Node,
        #[command(flatten)]
        key: Key,
    },
    /// Check that an address has exactly the code of the escrow that this program knows. Exit code 1 if not.
    Verify {
        #[command(flatten)]
        node: Node,
        #[command(flatten)]
        contract: Contract,
    },
    /// What the escrow holds in an asset and, for an account, what it can withdraw, its reputation and its stake.
    Status {
        #[command(flatten)]
        node: Node,
        #[command(flatten)]
        contract: Contract,
        /// Whose account.
        #[arg(long)]
        account: Option<ChainAddress>,
    },
    /// Move this key's whole credit out of the escrow, to its own account.
    Withdraw {
        #[command(flatten)]
        node: Node,
        #[command(flatten)]
        contract: Contract,
        #[command(flatten)]
        key: Key,
    },
    /// Lock an amount of this key's money in the escrow, as the stake that its offers promise.
    Stake {
        #[command(flatten)]
        node: Node,
        #[command(flatten)]
        contract: Contract,
        #[command(flatten)]
        key: Key,
        /// Smallest units of the asset; wei.
        #[arg(value_name = "UNITS")]
        units: u128,
    },
    /// Turn stake that no agreement holds into a credit, to be withdrawn.
    Unstake {
        #[command(flatten)]
        node: Node,
        #[command(flatten)]
        contract: Contract,
        #[command(flatten)]
        key: Key,
        /// Smallest units of the asset; wei.
        #[arg(value_name = "UNITS")]
        units: u128,
    },
}

/// Which node of which chain, and how to report.
#[derive(Debug, clap::Args)]
pub(crate) struct Node {
    /// The node's JSON-RPC endpoint, with an IP address.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8545")]
    rpc: String,
    /// The chain that the node must serve.
    #[arg(long, value_name = "N", default_value_t = 1337)]
    chain_id: u64,
    /// Blocks that a transaction must be deep before it counts.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    confirmations: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Which escrow, and in which asset.
#[derive(Debug, clap::Args)]
pub(crate) struct Contract {
    /// The escrow's address.
    #[arg(long, value_name = "ADDRESS")]
    contract: ChainAddress,
    /// A token's address; without it the chain's own currency is meant.
    #[arg(long, value_name = "ADDRESS")]
    token: Option<ChainAddress>,
}

/// Who signs.
#[derive(Debug, clap::Args)]
pub(crate) struct Key {
    /// File with the key, as `exec-edge chain key` makes it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Say what would be done, check that it can be, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Contract {
    fn asset(&self) -> Asset {
        self.token.map_or(Asset::Native, Asset::Token)
    }
}

impl Node {
    fn ledger(&self, contract: ChainAddress, key: LocalKey) -> Result<EthLedger, Failure> {
        let config = LedgerConfig {
            confirmations: self.confirmations,
            ..LedgerConfig::dev(self.rpc.clone(), ChainId(self.chain_id), contract)
        };
        EthLedger::new(config, key)
            .context("--rpc")
            .map_err(Failure::usage)
    }

    fn tell(&self, text: &str, value: &serde_json::Value) {
        if self.json {
            output::line(&value.to_string());
        } else {
            output::line(text);
        }
    }
}

/// Runs it.
pub(crate) fn run(args: Args) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        match args {
            Args::Deploy { node, key } => deploy(&node, &key).await,
            Args::Verify { node, contract } => verify(&node, &contract).await,
            Args::Status {
                node,
                contract,
                account,
            } => status(&node, &contract, account).await,
            Args::Withdraw {
                node,
                contract,
                key,
            } => withdraw(&node, &contract, &key).await,
            Args::Stake {
                node,
                contract,
                key,
                units,
            } => stake(&node, &contract, &key, units).await,
            Args::Unstake {
                node,
                contract,
                key,
                units,
            } => unstake(&node, &contract, &key, units).await,
        }
    })
}

/// A key for questions, which need none.
fn nobody() -> Result<LocalKey, Failure> {
    LocalKey::generate().map_err(Failure::runtime)
}

fn failed(error: LedgerError) -> Failure {
    let hint = match &error {
        LedgerError::Unreachable { .. } => "check --rpc, or start a chain: exec-edge chain dev",
        LedgerError::WrongChain { .. } => "give the node's chain with --chain-id",
        LedgerError::UnknownContract { .. } => {
            "give the escrow's address with --contract, or make one: exec-edge contract deploy"
        }
        _ => return Failure::runtime(error),
    };
    Failure::runtime(error).with_hint(hint.to_owned())
}

async fn deploy(node: &Node, key: &Key) -> Result<ExitCode, Failure> {
    let ledger = node.ledger(ChainAddress([0; 20]), read_key(&key.key)?)?;
    let code = escrow_code_hash();
    if key.dry_run {
        let balance = ledger.balance(ledger.account()).await.map_err(failed)?;
        let text = format!(
            "would put an escrow with code {code} on chain {} from {}, which has {balance}",
            node.chain_id,
            ledger.account()
        );
        node.tell(
            &text,
            &json!({ "dry_run": true, "code_hash": code.to_string(), "balance_wei": balance.units.to_string() }),
        );
        return Ok(ExitCode::SUCCESS);
    }
    let contract = ledger.deploy_escrow().await.map_err(failed)?;
    let text = format!("escrow at {contract} on chain {}", node.chain_id);
    node.tell(
        &text,
        &json!({ "contract": contract.to_string(), "chain_id": node.chain_id, "code_hash": code.to_string() }),
    );
    Ok(ExitCode::SUCCESS)
}

async fn verify(node: &Node, contract: &Contract) -> Result<ExitCode, Failure> {
    let ledger = node.ledger(contract.contract, nobody()?)?;
    let (known, found) = match ledger.verify_contract().await {
        Ok(()) => (true, escrow_code_hash()),
        Err(LedgerError::UnknownContract { found, .. }) => (false, found),
        Err(error) => return Err(failed(error)),
    };
    let verdict = if known { "is" } else { "is not" };
    let text = format!(
        "{} {verdict} the escrow that this program knows: code {found}",
        contract.contract
    );
    node.tell(
        &text,
        &json!({ "known": known, "code_hash": found.to_string() }),
    );
    Ok(if known {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

async fn status(
    node: &Node,
    contract: &Contract,
    account: Option<ChainAddress>,
) -> Result<ExitCode, Failure> {
    let ledger = node.ledger(contract.contract, nobody()?)?;
    let asset = contract.asset();
    let totals = ledger.totals(asset).await.map_err(failed)?;
    let sums = [
        ("deposited", totals.deposited),
        ("released to providers", totals.released),
        ("refunded", totals.refunded),
        ("burned", totals.burned),
        ("held", totals.held),
    ];
    let mut lines: Vec<String> = sums
        .iter()
        .map(|(name, amount)| format!("{name:<24}{amount}"))
        .collect();
    let units = |amount: Amount| amount.units.to_string();
    let mut value = json!({
        "deposited": units(totals.deposited), "released": units(totals.released),
        "refunded": units(totals.refunded), "burned": units(totals.burned), "held": units(totals.held),
    });
    if let Some(account) = account {
        let kept = ledger
            .escrow_account(account, asset)
            .await
            .map_err(failed)?;
        lines.push(format!("account {account}"));
        for (name, amount) in [
            ("  can withdraw", kept.credit),
            ("  reputation", kept.reputation),
            ("  free stake", kept.free_stake),
            ("  locked stake", kept.locked_stake),
        ] {
            lines.push(format!("{name:<24}{amount}"));
        }
        value["account"] = json!({
            "credit": units(kept.credit), "reputation": units(kept.reputation),
            "free_stake": units(kept.free_stake), "locked_stake": units(kept.locked_stake),
        });
    }
    node.tell(&lines.join("\n"), &value);
    Ok(ExitCode::SUCCESS)
}

async fn withdraw(node: &Node, contract: &Contract, key: &Key) -> Result<ExitCode, Failure> {
    let ledger = node.ledger(contract.contract, read_key(&key.key)?)?;
    let asset = contract.asset();
    let account = ledger.account();
    let amount = if key.dry_run {
        let kept = ledger.escrow_account(account, asset).await;
        kept.map_err(failed)?.credit
    } else {
        ledger.withdraw(asset).await.map_err(failed)?
    };
    moved(node, key, "withdraw", "withdrew", amount, account);
    Ok(ExitCode::SUCCESS)
}

async fn stake(
    node: &Node,
    contract: &Contract,
    key: &Key,
    units: u128,
) -> Result<ExitCode, Failure> {
    let ledger = node.ledger(contract.contract, read_key(&key.key)?)?;
    let amount = Amount {
        asset: contract.asset(),
        units,
    };
    if key.dry_run {
        ledger.verify_contract().await.map_err(failed)?;
    } else {
        ledger.stake(amount).await.map_err(failed)?;
    }
    moved(node, key, "stake", "staked", amount, ledger.account());
    Ok(ExitCode::SUCCESS)
}

async fn unstake(
    node: &Node,
    contract: &Contract,
    key: &Key,
    units: u128,
) -> Result<ExitCode, Failure> {
    let ledger = node.ledger(contract.contract, read_key(&key.key)?)?;
    let amount = Amount {
        asset: contract.asset(),
        units,
    };
    let free = ledger.escrow_account(ledger.account(), amount.asset).await;
    let free = free.map_err(failed)?.free_stake;
    if free.units < units {
        let error = anyhow::anyhow!("only {free} of the stake is free");
        return Err(Failure::runtime(error)
            .with_hint("the rest is locked by agreements until they are settled".to_owned()));
    }
    if !key.dry_run {
        ledger.unstake(amount).await.map_err(failed)?;
    }
    moved(node, key, "unstake", "unstaked", amount, ledger.account());
    Ok(ExitCode::SUCCESS)
}

fn moved(node: &Node, key: &Key, would: &str, did: &str, amount: Amount, account: ChainAddress) {
    let text = if key.dry_run {
        format!("would {would} {amount} for {account}")
    } else {
        format!("{did} {amount} for {account}")
    };
    node.tell(
        &text,
        &json!({ "dry_run": key.dry_run, "units": amount.units.to_string(), "account": account.to_string() }),
    );
}
