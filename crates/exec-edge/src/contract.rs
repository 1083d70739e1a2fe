//! `exec-edge contract`: the escrow, by hand: put it on a chain, check it, see what it holds, move one's own money.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use edge_chain::client::{EthLedger, GWEI, LedgerConfig};
use edge_chain::{LocalKey, escrow_code_hash};
use edge_ports::{Ledger, LedgerError};
use edge_types::{Amount, Asset, ChainAddress, ChainId};
use serde_json::json;

use crate::key::{Password, read_key_by};
use edge_console::exit::{EXIT_CODES, Failure};
use edge_console::output;

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
    Verify(Escrow),
    /// What the escrow holds in an asset and, for an account, what it can withdraw, its reputation and its stake.
    Status {
        #[command(flatten)]
        escrow: Escrow,
        /// Whose account.
        #[arg(long)]
        account: Option<ChainAddress>,
    },
    /// Move this key's whole credit out of the escrow, to its own account.
    Withdraw(Account),
    /// Lock an amount of this key's money in the escrow, as the stake that its offers promise.
    Stake(Units),
    /// Turn stake that no agreement holds into a credit, to be withdrawn.
    Unstake(Units),
}

/// An escrow, to ask.
#[derive(Debug, clap::Args)]
pub(crate) struct Escrow {
    #[command(flatten)]
    node: Node,
    #[command(flatten)]
    contract: Contract,
}

/// An escrow and whoever acts on it.
#[derive(Debug, clap::Args)]
pub(crate) struct Account {
    #[command(flatten)]
    escrow: Escrow,
    #[command(flatten)]
    key: Key,
}

/// The same, with an amount.
#[derive(Debug, clap::Args)]
pub(crate) struct Units {
    #[command(flatten)]
    account: Account,
    /// Smallest units of the asset; wei.
    #[arg(value_name = "UNITS")]
    units: u128,
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
    /// The most that a unit of gas may cost.
    #[arg(long, value_name = "GWEI", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    max_fee_gwei: u32,
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
    /// `native`, the chain's own currency, or a token's address.
    #[arg(long, visible_alias = "token", value_name = "ASSET", default_value = "native", value_parser = asset)]
    asset: Asset,
}

/// Who signs.
#[derive(Debug, clap::Args)]
pub(crate) struct Key {
    /// File with the key, as `exec-edge key new` makes it; a file descriptor is /dev/fd/N.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    password: Password,
    /// Say what would be done, check that it can be, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl Key {
    pub(crate) fn read(&self) -> Result<LocalKey, Failure> {
        read_key_by(&self.key, &self.password)
    }
}

impl Escrow {
    fn ledger(&self, key: LocalKey) -> Result<EthLedger, Failure> {
        self.node.ledger(self.contract.contract, key)
    }
}

impl Account {
    fn ledger(&self) -> Result<EthLedger, Failure> {
        self.escrow.ledger(self.key.read()?)
    }
}

impl Units {
    fn amount(&self) -> Amount {
        Amount {
            asset: self.account.escrow.contract.asset,
            units: self.units,
        }
    }
}

/// `native`, or a token's address.
fn asset(text: &str) -> Result<Asset, String> {
    match text {
        "native" => Ok(Asset::Native),
        token => token
            .parse()
            .map(Asset::Token)
            .map_err(|error| format!("neither native nor a token's address: {error}")),
    }
}

impl Node {
    fn ledger(&self, contract: ChainAddress, key: LocalKey) -> Result<EthLedger, Failure> {
        self.ledger_on(ChainId(self.chain_id), contract, key)
    }

    /// The ledger of an offer, which tells its chain itself.
    pub(crate) fn ledger_on(
        &self,
        chain: ChainId,
        contract: ChainAddress,
        key: LocalKey,
    ) -> Result<EthLedger, Failure> {
        let config = LedgerConfig {
            max_fee_per_gas: u128::from(self.max_fee_gwei) * GWEI,
            ..LedgerConfig::public(self.rpc.clone(), chain, contract, self.confirmations)
        };
        EthLedger::new(config, key)
            .context("--rpc")
            .map_err(Failure::usage)
    }

    pub(crate) fn tell(&self, text: &str, value: &serde_json::Value) {
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
            Args::Verify(escrow) => verify(&escrow).await,
            Args::Status { escrow, account } => status(&escrow, account).await,
            Args::Withdraw(account) => withdraw(&account).await,
            Args::Stake(units) => stake(&units).await,
            Args::Unstake(units) => unstake(&units).await,
        }
    })
}

/// A key for questions, which need none.
fn nobody() -> Result<LocalKey, Failure> {
    LocalKey::generate().map_err(Failure::runtime)
}

pub(crate) fn failed(error: LedgerError) -> Failure {
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
    let ledger = node.ledger(ChainAddress([0; 20]), key.read()?)?;
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

async fn verify(escrow: &Escrow) -> Result<ExitCode, Failure> {
    let Escrow { node, contract } = escrow;
    let ledger = escrow.ledger(nobody()?)?;
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

async fn status(escrow: &Escrow, account: Option<ChainAddress>) -> Result<ExitCode, Failure> {
    let ledger = escrow.ledger(nobody()?)?;
    let asset = escrow.contract.asset;
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
    escrow.node.tell(&lines.join("\n"), &value);
    Ok(ExitCode::SUCCESS)
}

async fn withdraw(account: &Account) -> Result<ExitCode, Failure> {
    let ledger = account.ledger()?;
    let asset = account.escrow.contract.asset;
    let amount = if account.key.dry_run {
        let kept = ledger.escrow_account(ledger.account(), asset).await;
        kept.map_err(failed)?.credit
    } else {
        ledger.withdraw(asset).await.map_err(failed)?
    };
    account.moved(("withdraw", "withdrew"), amount, ledger.account());
    Ok(ExitCode::SUCCESS)
}

async fn stake(units: &Units) -> Result<ExitCode, Failure> {
    let ledger = units.account.ledger()?;
    let amount = units.amount();
    if units.account.key.dry_run {
        ledger.verify_contract().await.map_err(failed)?;
    } else {
        ledger.stake(amount).await.map_err(failed)?;
    }
    units
        .account
        .moved(("stake", "staked"), amount, ledger.account());
    Ok(ExitCode::SUCCESS)
}

async fn unstake(units: &Units) -> Result<ExitCode, Failure> {
    let ledger = units.account.ledger()?;
    let amount = units.amount();
    let free = ledger.escrow_account(ledger.account(), amount.asset).await;
    let free = free.map_err(failed)?.free_stake;
    if free.units < amount.units {
        let error = anyhow::anyhow!("only {free} of the stake is free");
        return Err(Failure::runtime(error)
            .with_hint("the rest is locked by agreements until they are settled".to_owned()));
    }
    if !units.account.key.dry_run {
        ledger.unstake(amount).await.map_err(failed)?;
    }
    units
        .account
        .moved(("unstake", "unstaked"), amount, ledger.account());
    Ok(ExitCode::SUCCESS)
}

impl Account {
    fn moved(&self, (would, did): (&str, &str), amount: Amount, account: ChainAddress) {
        let is_dry = self.key.dry_run;
        let text = if is_dry {
            format!("would {would} {amount} for {account}")
        } else {
            format!("{did} {amount} for {account}")
        };
        self.escrow.node.tell(
            &text,
            &json!({ "dry_run": is_dry, "units": amount.units.to_string(), "account": account.to_string() }),
        );
    }
}
