//! `exec-edge chain`: a development chain, and keys for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use edge_chain::LocalKey;
use edge_chain::dev::{self, DevChain, DevChainError, DevConfig};
use edge_ports::Signer;
use edge_types::{ChainAddress, ChainId};
use tokio::net::TcpListener;

use edge_console::exit::{EXIT_CODES, Failure};
use edge_console::output;

/// Options of `exec-edge chain`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Run a chain of one node: real signatures, gas and contracts, no consensus, a block per transaction.
    Dev(DevArgs),
    /// Make a key in a plain file (mode 600) and print its account. Only for development chains.
    Key {
        /// The new file.
        file: PathBuf,
    },
}

/// Options of `exec-edge chain dev`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct DevArgs {
    /// Where to serve JSON-RPC.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8545")]
    listen: SocketAddr,
    /// Where to keep the chain; made if missing.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The chain's number.
    #[arg(long, value_name = "N", default_value_t = 1337)]
    chain_id: u64,
    /// Balance of an account at the beginning, in wei; may be repeated.
    #[arg(long, value_name = "ACCOUNT=WEI", value_parser = parse_fund)]
    fund: Vec<(ChainAddress, u128)>,
    /// Put the escrow contract on the chain at the beginning.
    #[arg(long)]
    deploy_escrow: bool,
    /// Print the ready line as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(crate) fn run(args: Args) -> Result<ExitCode, Failure> {
    match args {
        Args::Dev(args) => run_dev(args),
        Args::Key { file } => {
            let key = LocalKey::generate().map_err(Failure::runtime)?;
            key.write_plain(&file).map_err(Failure::runtime)?;
            output::line(&key.address().to_string());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run_dev(args: DevArgs) -> Result<ExitCode, Failure> {
    let mut fund = BTreeMap::new();
    for (account, wei) in args.fund {
        if fund.insert(account, wei).is_some() {
            return Err(Failure::usage(anyhow::anyhow!(
                "--fund names {account} twice"
            )));
        }
    }
    let config = DevConfig {
        chain: ChainId(args.chain_id),
        data: args.data,
        fund,
        deploy_escrow: args.deploy_escrow,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the async runtime")?;
    runtime.block_on(async {
        let listener = TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("listening on {}", args.listen))
            .map_err(|error| {
                Failure::runtime(error)
                    .with_hint("give another address with --listen, or end what listens there")
            })?;
        // After the listener: a chain that cannot be served makes no files.
        let chain = DevChain::open(&config).map_err(|error| match error {
            DevChainError::OtherGenesis { .. } => Failure::usage(error),
            _ => Failure::runtime(error),
        })?;
        let address = listener
            .local_addr()
            .context("asking for the listening address")?;
        let escrow = args.deploy_escrow.then(dev::dev_escrow_address);
        output::line(&ready_line(
            address,
            &config,
            escrow,
            chain.height(),
            args.json,
        ));
        tokio::select! {
            served = dev::serve(chain, listener) => served.context("serving JSON-RPC")?,
            stopped = stop_signal() => stopped.context("waiting for a signal")?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn ready_line(
    address: SocketAddr,
    config: &DevConfig,
    escrow: Option<ChainAddress>,
    height: u64,
    json: bool,
) -> String {
    let url = format!("http://{address}");
    let chain_id = config.chain.0;
    if json {
        let escrow = escrow.map(|escrow| escrow.to_string());
        return serde_json::json!({
            "rpc_url": url, "chain_id": chain_id, "height": height, "escrow": escrow,
        })
        .to_string();
    }
    let escrow = escrow.map_or_else(String::new, |escrow| format!(", escrow at {escrow}"));
    format!("chain {chain_id} ready at {url}, block {height}{escrow}")
}

/// Resolves when the process is asked to end. Everything is on the disk already.
async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

fn parse_fund(text: &str) -> Result<(ChainAddress, u128), String> {
    let (account, wei) = text.split_once('=').ok_or("expected ACCOUNT=WEI")?;
    let account = account
        .parse()
        .map_err(|error| format!("account {account:?}: {error}"))?;
    let wei = wei
        .parse()
        .map_err(|error| format!("wei {wei:?}: {error}"))?;
    Ok((account, wei))
}
