//! `exec-edge provider`: the agent of an edge provider.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use edge_chain::client::LedgerConfig;
use edge_chain::{EthLedger, LocalKey};
use edge_ports::SystemClock;
use edge_provider::config::TEMPLATE;
use edge_provider::{Provider, ProviderConfig, ProviderPorts};
use edge_runtime::{OciRuntime, RuntimeConfig};

use crate::exit::Failure;
use crate::output;

/// Options of `exec-edge provider`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file; `exec-edge provider template` prints one.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print a configuration file with every setting, its default and its meaning.
    Template,
}

/// Runs it.
pub(crate) fn run(args: Args) -> Result<ExitCode, Failure> {
    if let Some(Command::Template) = args.command {
        output::line(TEMPLATE.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let path = args
        .config
        .ok_or_else(|| Failure::usage(anyhow::anyhow!("--config FILE is missing")))?;
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("reading {}", path.display()))
        .map_err(Failure::usage)?;
    let config = ProviderConfig::parse(&text)
        .with_context(|| format!("in {}", path.display()))
        .map_err(Failure::usage)?;
    let key = LocalKey::read_plain(&config.key_file).map_err(Failure::usage)?;
    let settings = &config.ledger;
    let ledger = LedgerConfig {
        confirmations: settings.confirmations,
        poll_interval: settings.poll_interval,
        ..LedgerConfig::dev(settings.rpc_url.clone(), settings.chain, settings.contract)
    };
    let ledger = EthLedger::new(ledger, key.clone()).map_err(Failure::usage)?;
    let runtime = OciRuntime::open(RuntimeConfig::new(
        config.state_directory.clone(),
        config.addresses.clone(),
    ))
    .context("opening the container runtime")?;
    let runtime = Arc::new(runtime);
    let tokens = runtime.clone();
    let ports = ProviderPorts {
        signer: Arc::new(key),
        ledger: Arc::new(ledger),
        runtime,
        set_image_token: Arc::new(move |id, token| tokens.set_image_token(id, token)),
        clock: Arc::new(SystemClock::start()),
    };
    let executor = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the async runtime")?;
    executor.block_on(async {
        let provider = Provider::bind(config, ports)
            .await
            .map_err(Failure::runtime)?;
        for (site, address) in provider.addresses() {
            output::line(&format!("site {site} ready at {address}"));
        }
        provider.serve(stop_signal()).await;
        Ok::<_, Failure>(())
    })?;
    executor.shutdown_timeout(Duration::from_secs(2));
    Ok(ExitCode::SUCCESS)
}

/// Resolves when the process is asked to end.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
