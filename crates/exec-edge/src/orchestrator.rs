//! `exec-edge orchestrator`: the adapters chosen, and the tasks run over them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use edge_chain::LocalKey;
use edge_chain::client::{EthLedger, GWEI, LedgerConfig};
use edge_discovery::{OriginRanges, OriginTable};
use edge_http::entry_tls::TlsPolicy;
use edge_image::registry::{ReadAccess, Registry};
use edge_orchestrator::places::Places;
use edge_orchestrator::record::Recorder;
use edge_orchestrator::{
    Adapters, ConfigError, ImageAccess, ImportedUse, ResolverMode, Settings, Validation,
    run as run_tasks,
};
use edge_ports::{Clock, Ledger, LedgerError, NameLookup, PathSource, SystemClock};
use edge_probe::{ImportedConfig, ImportedPaths, OriginAs, Prober, ProberConfig};
use edge_resolver::{
    DNS_PORT, Mode, ROOT_SERVERS, Resolver, ResolverConfig, TrustAnchor, random_label,
};
use edge_types::AddressPolicy;
use tokio::net::TcpListener;

use crate::authorities;
use crate::key::read_key;
use crate::logging;
use crate::remembered_paths::{Remembered, recalled};
use crate::sources::{Sources, table};
use edge_console::exit::{EXIT_CODES, Failure};
use edge_console::path_files::load;

/// How long tasks may take to end.
const END: Duration = Duration::from_secs(1);

/// Problems of one imported file that are told one by one.
const PROBLEMS_TOLD: usize = 10;

/// Options of `exec-edge orchestrator`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    serve(settings(args)?, None)?;
    Ok(ExitCode::SUCCESS)
}

/// Starts logging and reads the configuration.
pub(crate) fn settings(args: &Args) -> Result<Settings, Failure> {
    logging::start();
    let shown = args.config.display();
    let text = std::fs::read_to_string(&args.config)
        .with_context(|| format!("reading the configuration {shown}"))
        .map_err(Failure::usage)?;
    Settings::parse(&text).map_err(|error| match error {
        ConfigError::Malformed(error) => Failure::malformed(&args.config, &text, &error),
        error => {
            Failure::usage(anyhow::Error::new(error).context(format!("configuration {shown}")))
        }
    })
}

/// Serves until it is interrupted; nobody tells the recorder anything after that.
pub(crate) fn serve(settings: Settings, recorder: Option<Recorder>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let served = runtime.block_on(serve_on(settings, recorder));
    runtime.shutdown_timeout(END);
    served
}

async fn serve_on(settings: Settings, recorder: Option<Recorder>) -> Result<(), Failure> {
    let config = &settings.config;
    let registry_listener = listen(config.registry, "registry").await?;
    let mut listeners = Vec::new();
    for address in &config.application.listen {
        listeners.push(listen(*address, "application.listen").await?);
    }
    let key = read_key(&config.wallet.key_file)?;
    let ledger = on_chain(&settings, &key)?;
    let clock = SystemClock::start();
    let origins: Option<Arc<OriginRanges>> =
        table("policy.origins", &settings.config.policy.origins)?;
    let prober = Prober::start_with_clock(prober_config(&settings, origins.clone()), clock)
        .context("starting the prober")?;
    let (paths, remembered) = paths(&settings, Arc::new(prober), Arc::new(clock))?;
    let resolver = Resolver::new(resolver_config(&settings)?)
        .context("resolver")
        .map_err(Failure::usage)?;
    let lookup: Arc<dyn NameLookup> = Arc::new(resolver);
    let sources = sources(&settings);
    let fetcher = sources.fetcher(&lookup)?;
    let lists = sources.site_lists(fetcher.as_ref(), clock);
    let owners = sources.owners(origins.clone(), &lookup, fetcher, clock)?;
    let control_label = random_label().context("drawing a random label")?;
    if let Some(ledger) = &ledger {
        verify(ledger).await?;
    }
    let access = ReadAccess::by_token();
    let adapters = Adapters {
        images: Arc::new(Tokens(access.clone())),
        paths,
        lookup,
        tls: tls(&settings)?,
        lists,
        places: Places {
            origins: origins.map(|table| table as Arc<dyn OriginTable>),
            countries: table(
                "policy.country_tables",
                &settings.config.policy.country_tables,
            )?,
        },
        owners,
        ledger: ledger.map(|ledger| Arc::new(ledger) as Arc<dyn Ledger>),
        signer: Arc::new(key),
        clock: Arc::new(clock),
        control_label,
        recorder,
    };
    let service = &settings.edge_service;
    let registry = Registry::new(service.image.clone(), &service.name, access);
    let router = registry.router();
    tokio::select! {
        served = axum::serve(registry_listener, router) => served.context("serving the registry")?,
        ran = run_tasks(settings, adapters, listeners) => ran.context("the orchestrator stopped")?,
        () = keep(remembered.clone()) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    if let Some(remembered) = remembered {
        remembered.write()?;
    }
    Ok(())
}

/// The escrow that the wallet names, if any.
fn on_chain(settings: &Settings, key: &LocalKey) -> Result<Option<EthLedger>, Failure> {
    let wallet = &settings.config.wallet;
    let (Some(rpc), Some((chain, contract))) = (wallet.rpc, settings.escrow) else {
        return Ok(None);
    };
    let config = LedgerConfig {
        second_rpc_url: wallet.second_rpc.map(|rpc| format!("http://{rpc}")),
        max_fee_per_gas: u128::from(wallet.max_fee_gwei) * GWEI,
        ..LedgerConfig::public(
            format!("http://{rpc}"),
            chain,
            contract,
            wallet.confirmations,
        )
    };
    let ledger = EthLedger::new(config, key.clone()).context("wallet");
    ledger.map(Some).map_err(Failure::usage)
}

async fn verify(ledger: &EthLedger) -> Result<(), Failure> {
    match ledger.verify_contract().await {
        Ok(()) => Ok(()),
        // The check is repeated before any money moves; an outage must not keep the cloud from serving.
        Err(error @ LedgerError::Unreachable { .. }) => {
            tracing::warn!(%error, "starting without the chain");
            Ok(())
        }
        Err(error) => Err(Failure::usage(anyhow::Error::new(error).context("wallet"))),
    }
}

/// Never ends.
async fn keep(remembered: Option<Arc<Remembered>>) {
    match remembered {
        Some(remembered) => remembered.keep().await,
        None => std::future::pending().await,
    }
}

/// Where paths come from: files first, then what the last process saw, then probes; and what keeps them for the next, unless that is
/// not wanted.
fn paths(
    settings: &Settings,
    prober: Arc<dyn PathSource>,
    clock: Arc<dyn Clock>,
) -> Result<(Arc<dyn PathSource>, Option<Arc<Remembered>>), Failure> {
    let config = &settings.config;
    if config.topology.forget {
        return Ok((path_source(settings, prober, clock)?, None));
    }
    let file = config.state_directory.join("paths.jsonl");
    let recalled = recalled(&file, settings.grouping, prober, Arc::clone(&clock));
    let source = path_source(settings, recalled, Arc::clone(&clock))?;
    let remembered = Arc::new(Remembered::new(file, source, clock));
    Ok((
        Arc::clone(&remembered) as Arc<dyn PathSource>,
        Some(remembered),
    ))
}

fn resolver_config(settings: &Settings) -> Result<ResolverConfig, Failure> {
    let config = &settings.config.resolver;
    let mut asked = match config.mode {
        ResolverMode::Recursive => ResolverConfig {
            mode: Mode::Recursive {
                trusts_authentic_data: settings.validation() == Validation::Resolver,
            },
            ..ResolverConfig::new(config.addresses.clone())
        },
        ResolverMode::Direct => {
            let roots = match config.addresses.as_slice() {
                [] => ROOT_SERVERS
                    .map(|root| SocketAddr::new(root, DNS_PORT))
                    .to_vec(),
                roots => roots.to_vec(),
            };
            let allowed = settings.config.policy.allowed_prefixes.clone();
            ResolverConfig::direct(roots, AddressPolicy::new(allowed))
        }
    };
    if settings.validation() == Validation::Own {
        asked.trust_anchor = Some(match &config.trust_anchor {
            None => TrustAnchor::root(),
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("reading resolver.trust_anchor {}", file.display()))
                .map_err(Failure::usage)?
                .parse()
                .with_context(|| format!("resolver.trust_anchor {}", file.display()))
                .map_err(Failure::usage)?,
        });
    }
    Ok(asked)
}

/// Binds a configured address; before anything else, so that a port in use is told at once.
async fn listen(address: SocketAddr, field: &str) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address).await;
    Ok(bound.with_context(|| {
        format!(
            "{field}: cannot listen at {address}; choose another address or end what listens there"
        )
    })?)
}

/// Image tokens are random labels that the registry knows.
#[derive(Debug)]
struct Tokens(ReadAccess);

impl ImageAccess for Tokens {
    fn grant(&self) -> Option<String> {
        let token = format!("{}{}", random_label().ok()?, random_label().ok()?);
        self.0.grant(token.clone());
        Some(token)
    }

    fn revoke(&self, token: &str) {
        self.0.revoke(token);
    }

    fn admit(&self, token: &str) {
        self.0.grant(token.to_owned());
    }
}

/// Where else than in the zones of routers is looked.
fn sources(settings: &Settings) -> Sources {
    let discovery = &settings.config.discovery;
    Sources {
        lists: settings.lists.clone(),
        rdap: discovery.rdap.clone(),
        plain_http: discovery.plain_http,
        certificates: discovery.certificates.clone(),
        policy: AddressPolicy::new(settings.config.policy.allowed_prefixes.clone()),
        prefix: "discovery.",
    }
}

/// Which entry points are spoken to over TLS, and who is believed there.
fn tls(settings: &Settings) -> Result<TlsPolicy, Failure> {
    let named = settings.config.discovery.certificates.as_deref();
    let roots = authorities::read_if_any(named)
        .context("discovery.certificates")
        .map_err(Failure::usage)?;
    Ok(TlsPolicy::new(roots, !settings.config.policy.require_tls))
}

/// The prober, behind what is known from files if there are any.
fn path_source(
    settings: &Settings,
    prober: Arc<dyn PathSource>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn PathSource>, Failure> {
    let topology = &settings.config.topology;
    if topology.imported.is_empty() {
        return Ok(prober);
    }
    let mut records = Vec::new();
    for file in &topology.imported {
        let import = load(file, None)?.import;
        let (shown, log) = (file.display(), import.log);
        for problem in log.first.iter().take(PROBLEMS_TOLD) {
            tracing::warn!(file = %shown, %problem, "not imported");
        }
        tracing::info!(
            file = %shown, format = %import.format, paths = log.paths, skipped = log.skipped, lost = log.lost,
            left_out = log.left_out, "paths imported"
        );
        records.extend(import.records);
    }
    let config = ImportedConfig {
        used: match topology.imported_use {
            ImportedUse::Augment => edge_probe::ImportedUse::Augment,
            ImportedUse::Replace => edge_probe::ImportedUse::Replace,
        },
        max_age: topology.imported_max_age_s.map(Duration::from_secs),
        grouping: Some(settings.grouping),
    };
    Ok(Arc::new(ImportedPaths::new(config, records, prober, clock)))
}

/// Tells the prober's budgets which autonomous system a target is in.
#[derive(Debug)]
struct Systems(Arc<OriginRanges>);

impl OriginAs for Systems {
    fn origin_as(&self, address: IpAddr) -> Option<u32> {
        self.0.origin(address).map(|origin| origin.asn)
    }
}

fn prober_config(settings: &Settings, origins: Option<Arc<OriginRanges>>) -> ProberConfig {
    let policy = &settings.config.policy;
    ProberConfig {
        origins: origins.map(|table| Arc::new(Systems(table)) as Arc<dyn OriginAs>),
        packets_per_second: settings.config.pace.probes_per_s,
        policy: AddressPolicy::new(policy.allowed_prefixes.clone()),
        opted_out: policy.opted_out.clone(),
        identification: format!(
            "exec-edge path probe for {}",
            settings.config.application.name
        ),
        time_limit: Duration::from_millis(settings.config.pace.trace_limit_ms),
        ..ProberConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_origins_bounds_the_prober_too() {
        let settings = Settings::parse(
            "registry = \"127.0.0.1:5000\"\nstate_directory = \"unused\"\n\
             [application]\nname = \"shop\"\nlisten = [\"127.0.0.1:80\"]\nhosts = [\"shop.example\"]\n\
             services = [\n\
             { placement = \"cloud\", name = \"origin\", address = \"127.0.0.1:8081\" },\n\
             { placement = \"edge\", name = \"objects\", image = \"/none\", digest = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\", port = 8080, health = \"/healthz\", needs = { milli_cpu = 500, memory_mib = 64, pids = 32 } },\n\
             ]\n\
             [resolver]\naddresses = [\"127.0.0.1:53\"]\n\
             [wallet]\nkey_file = \"unused\"\nchain_id = 1337\nrpc = \"127.0.0.1:8545\"\nescrow = \"0x00000000000000000000000000000000000000aa\"\n\
             [budget]\nwei_per_hour = \"1\"\nwei_per_day = \"1\"\nwei_per_site = \"1\"\n",
        )
        .unwrap();
        let table = OriginRanges::read("240.1.0.0/16 7 - an operator");
        let config = prober_config(&settings, Some(Arc::new(table)));
        let origins = config.origins.unwrap();
        let origin = |address: &str| origins.origin_as(address.parse().unwrap());
        assert_eq!((origin("240.1.2.3"), origin("240.2.2.3")), (Some(7), None));
        assert!(prober_config(&settings, None).origins.is_none());
    }
}
