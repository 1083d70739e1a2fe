//! `exec-edge provider`: the agent of an edge provider, and what its owner needs beside it.

mod certificate;
mod dns_records;
mod doctor;
mod offer;
mod well_known;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use edge_chain::client::{GWEI, LedgerConfig};
use edge_chain::{EthLedger, LocalKey};
use edge_http::relay::{RelayAgent, RelayError};
use edge_ports::{Ledger, SystemClock};
use edge_provider::config::{ConfigError, LedgerSettings, TEMPLATE};
use edge_provider::{Listening, Provider, ProviderConfig, ProviderError, ProviderPorts};
use edge_runtime::{OciRuntime, RuntimeConfig};

use crate::key::read_key;
use edge_console::exit::{EXIT_CODES, Failure};
use edge_console::output;

/// Options of `exec-edge provider`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true, after_help = EXIT_CODES)]
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
    /// Print the API as an OpenAPI 3.1 document; a running provider serves it at /exec/v1/openapi.json.
    Openapi,
    /// Print the DNS records that make the sites of a configuration known.
    DnsRecords(dns_records::Args),
    /// Print the list of the sites of a configuration, for `https://domain/.well-known/exec-edge` or an aggregator.
    WellKnown(well_known::Args),
    /// Print a contract without a chain that people agreed on, signed by the provider, for the buyer to sign.
    Offer(offer::Args),
    /// Look at a provider from outside: its records, and what answers where they lead.
    Doctor(doctor::Args),
}

/// Runs it.
pub(crate) fn run(args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Some(Command::Template) => {
            output::line(TEMPLATE.trim_end());
            return Ok(ExitCode::SUCCESS);
        }
        Some(Command::Openapi) => {
            output::line(edge_wire::openapi::text().trim_end());
            return Ok(ExitCode::SUCCESS);
        }
        Some(Command::DnsRecords(args)) => return dns_records::run(&args),
        Some(Command::WellKnown(args)) => return well_known::run(&args),
        Some(Command::Offer(args)) => return offer::run(&args),
        Some(Command::Doctor(args)) => return doctor::run(&args),
        None => {}
    }
    let path = args
        .config
        .ok_or_else(|| Failure::usage(anyhow::anyhow!("--config FILE is missing")))?;
    let config = read_config(&path)?;
    let executor = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the async runtime")?;
    executor.block_on(serve(config))?;
    executor.shutdown_timeout(Duration::from_secs(2));
    Ok(ExitCode::SUCCESS)
}

fn read_config(path: &Path) -> Result<ProviderConfig, Failure> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading {}", path.display()))
        .map_err(|error| {
            Failure::usage(error).with_hint(
                "give the path of a readable TOML file; `exec-edge provider template` prints one",
            )
        })?;
    ProviderConfig::parse(&text).map_err(|error| match error {
        ConfigError::Syntax(error) => Failure::malformed(path, &text, &error),
        error @ (ConfigError::Setting { .. } | ConfigError::Text { .. }) => {
            Failure::usage(anyhow::Error::new(error).context(format!("in {}", path.display())))
                .with_hint("correct this setting")
        }
    })
}

async fn serve(config: ProviderConfig) -> Result<(), Failure> {
    let key = read_key(&config.key_file)?;
    let ledger = config
        .ledger
        .as_ref()
        .map(|settings| on_chain(settings, &key));
    let ledger = ledger.transpose()?;
    let runtime = RuntimeConfig::new(config.state_directory.clone(), config.addresses.clone());
    let clock = Arc::new(SystemClock::start());
    let relay = config.relay.map(|relay| {
        let services = config.relayed_services();
        RelayAgent::new(relay, services, Arc::new(key.clone()), clock.clone())
    });
    // Before the runtime makes its directories.
    let listening = Listening::bind(config).await.map_err(could_not_start)?;
    let runtime = Arc::new(OciRuntime::open(runtime).context("opening the container runtime")?);
    let tokens = runtime.clone();
    let ports = ProviderPorts {
        signer: Arc::new(key),
        ledger: ledger.map(|ledger| Arc::new(ledger) as Arc<dyn Ledger>),
        runtime,
        set_image_token: Arc::new(move |id, token| tokens.set_image_token(id, token)),
        clock,
    };
    let provider = Provider::new(listening, ports).map_err(could_not_start)?;
    for (site, address) in provider.addresses() {
        output::line(&format!("site {site} ready at {address}"));
    }
    let relayed = async {
        match relay {
            Some(relay) => relay.run(tell_relay).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = provider.serve(stop_signal()) => {}
        () = relayed => {}
    }
    Ok(())
}

/// The escrow that a configuration names.
fn on_chain(settings: &LedgerSettings, key: &LocalKey) -> Result<EthLedger, Failure> {
    let ledger = LedgerConfig {
        second_rpc_url: settings.second_rpc_url.clone(),
        poll_interval: settings.poll_interval,
        max_fee_per_gas: u128::from(settings.max_fee_gwei) * GWEI,
        ..LedgerConfig::public(
            settings.rpc_url.clone(),
            settings.chain,
            settings.contract,
            settings.confirmations,
        )
    };
    EthLedger::new(ledger, key.clone()).map_err(Failure::usage)
}

/// Says when the sites become reachable through the relay, and when they no longer are.
fn tell_relay(news: Option<RelayError>) {
    match news {
        None => output::line("reachable through the relay"),
        Some(error) => {
            let error = anyhow::Error::new(error);
            output::error(&format!(
                "not reachable through the relay: {error:#}; trying again"
            ));
        }
    }
}

fn could_not_start(error: ProviderError) -> Failure {
    match error {
        ProviderError::Listen { .. } => Failure::runtime(error).with_hint(
            "set the site's `listen` to a free address of this machine, or end what listens there",
        ),
        ProviderError::Identity { .. } => Failure::runtime(error)
            .with_hint("set the site's `tls` to readable PEM files that belong together"),
        ProviderError::KeyMismatch | ProviderError::Journal(_) => Failure::runtime(error),
    }
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
