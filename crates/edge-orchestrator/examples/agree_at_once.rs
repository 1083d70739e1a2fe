//! Makes an agreement with every site of a configuration at once, and prints as JSON when each came how far.
//!
//! `agree_at_once CONFIG KEY [MS]`: with MS, the hellos begin so many milliseconds after a block of the chain. Inquiries and
//! agreements are those of the orchestrator; tracing, planning and the images are left out.

use std::error::Error;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge_chain::client::LedgerConfig;
use edge_chain::{EthLedger, LocalKey};
use edge_discovery::IepCandidate;
use edge_http::client::{ClientTimeouts, ContactBudget, IepClient};
use edge_http::entry_tls::{RootCertStore, TlsPolicy};
use edge_ledger::Ledgers;
use edge_negotiation::{GreenListPolicy, KeyBinding, Pace, Spending, SpendingCaps};
use edge_orchestrator::agreements::{Agreements, Book};
use edge_orchestrator::journal::AgreementStore;
use edge_orchestrator::sites::{Inquirer, KnownSite, PathToSite};
use edge_orchestrator::status::{AgreementStatus, Status};
use edge_orchestrator::{ImageAccess, Settings};
use edge_ports::{BoxFuture, Clock, Ledger, PathSource, SystemClock, TraceError, TracePriority};
use edge_types::{AddressPolicy, Amount, IepOrigin, PathEnd, PathObservation, Slot, UtcTime};
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// What is not agreed by then never is.
const PATIENCE: Duration = Duration::from_secs(45);

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main(worker_threads = 2)]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (config, key, after_block) = match arguments.as_slice() {
        [config, key] => (config, key, None),
        [config, key, ms] => (config, key, Some(Duration::from_millis(ms.parse()?))),
        _ => return Err("expected CONFIG KEY [MS]".into()),
    };
    let settings = Arc::new(Settings::parse(&std::fs::read_to_string(config)?)?);
    let key = LocalKey::read_plain(Path::new(key))?;
    let clock = SystemClock::start();
    let (chain, escrow) = settings.escrow.ok_or("no chain")?;
    let ledger = Arc::new(EthLedger::new(
        LedgerConfig::dev(
            format!("http://{}", settings.config.wallet.rpc.ok_or("no chain")?),
            chain,
            escrow,
        ),
        key.clone(),
    )?);
    // As the orchestrator does at its start.
    ledger.verify_contract().await?;
    let inquirer = Arc::new(inquirer(&settings, &key, clock));
    let sites = sites(&settings)?;
    greet(&inquirer, &sites, clock).await?;
    let (store, _) = AgreementStore::open(&settings.config.state_directory)?;
    let agreements = Arc::new(Agreements {
        ledgers: Ledgers::on_chain(Arc::clone(&ledger) as Arc<dyn Ledger>),
        signer: Arc::new(key),
        paths: Arc::new(NoPaths),
        pace: Pace::default(),
        images: Arc::new(NoImages),
        tls: tls(),
        clock: Arc::new(clock),
        status: Arc::new(Status::default()),
        serving_changed: Arc::new(Notify::new()),
        plan_again: Arc::new(Notify::new()),
        book: Mutex::new(Book::new(Spending::new(SpendingCaps {
            per_hour: settings.units_per_hour,
            per_day: settings.units_per_day,
            per_site: settings.units_per_site,
        }))),
        store: Mutex::new(store),
        settings: Arc::clone(&settings),
    });
    if let Some(pause) = after_block {
        let latest = ledger.now().await?;
        while ledger.now().await? == latest {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(pause).await;
    }
    let began_ms = milliseconds(clock);
    let mut inquiries = JoinSet::new();
    for site in sites.clone() {
        let (inquirer, agreements) = (Arc::clone(&inquirer), Arc::clone(&agreements));
        inquiries.spawn(async move {
            let inquiry = inquirer.ask(&site).await;
            let path = PathToSite {
                path: no_path(site.address(), clock),
                at: clock.monotonic(),
            };
            // What a plan would do with an offer that it selects.
            agreements.start(&site, &inquiry, path)
        });
    }
    while let Some(started) = inquiries.join_next().await {
        started??;
    }
    let is_over = |agreement: &AgreementStatus| {
        agreement.confirmed_ms.is_some()
            || matches!(agreement.state.as_str(), "failed" | "rejected" | "expired")
    };
    let begun = clock.monotonic();
    while clock.monotonic().since(begun) < PATIENCE
        && !agreements.status.report().agreements.iter().all(is_over)
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let report = agreements.status.report();
    let since = |at: Option<u64>| at.map(|at| at.saturating_sub(began_ms));
    let told = report.agreements.iter().map(|agreement| {
        json!({
            "site": agreement.site,
            "reserved_ms": since(agreement.reserved_ms),
            "proposed_ms": since(agreement.proposed_ms),
            "confirmed_ms": since(agreement.confirmed_ms),
            "reason": agreement.reason,
        })
    });
    let told = json!({ "sites": sites.len(), "agreements": told.collect::<Vec<_>>() });
    writeln!(std::io::stdout(), "{told}")?;
    Ok(())
}

fn milliseconds(clock: SystemClock) -> u64 {
    u64::try_from(clock.monotonic().0.as_millis()).unwrap_or(u64::MAX)
}

/// Discovery greets sites long before a plan wants them.
async fn greet(inquirer: &Arc<Inquirer>, sites: &[KnownSite], clock: SystemClock) -> Outcome<()> {
    let mut greetings = JoinSet::new();
    for site in sites.iter().cloned() {
        let inquirer = Arc::clone(inquirer);
        greetings.spawn(async move {
            let client = IepClient::new(
                site.entry_point(),
                site.candidate.id.clone(),
                ClientTimeouts::default(),
            );
            client.greet(&inquirer.contacts, clock.monotonic()).await
        });
    }
    while let Some(greeted) = greetings.join_next().await {
        let _greeting = greeted??;
    }
    Ok(())
}

/// Certificate authorities know nobody here.
fn tls() -> TlsPolicy {
    TlsPolicy::new(RootCertStore::empty(), true)
}

fn inquirer(settings: &Settings, key: &LocalKey, clock: SystemClock) -> Inquirer {
    let price_ceiling = Amount::wei(settings.price_ceiling);
    let needs = settings.edge_service.needs;
    let any_slot = Slot {
        start: UtcTime(0),
        end: UtcTime(0),
    };
    Inquirer {
        application: settings.config.application.name.clone(),
        signer: Arc::new(key.clone()),
        needs,
        lease: Duration::from_secs(settings.config.policy.lease_s),
        price_ceiling,
        policy: GreenListPolicy {
            min_key_binding: KeyBinding::Dns,
            ..GreenListPolicy::new(any_slot, needs, price_ceiling, settings.escrow)
        },
        pace: Pace::default(),
        contacts: ContactBudget::default(),
        tls: tls(),
        clock: Arc::new(clock),
    }
}

fn sites(settings: &Settings) -> Outcome<Vec<KnownSite>> {
    let allowed = AddressPolicy::new(settings.config.policy.allowed_prefixes.clone());
    let known = settings.lists.sites.iter().map(|site| {
        let candidate =
            IepCandidate::listed(site, &site.addresses, IepOrigin::Configured, true, &allowed);
        candidate.map(KnownSite::new)
    });
    Ok(known.collect::<Result<_, _>>()?)
}

fn no_path(target: IpAddr, clock: SystemClock) -> PathObservation {
    PathObservation {
        target,
        observed_at: clock.monotonic(),
        hops: Vec::new(),
        further: Vec::new(),
        end: PathEnd::Silent,
        probes_sent: 0,
    }
}

/// Nothing is taken up again after a restart, so nothing is traced.
#[derive(Debug)]
struct NoPaths;

impl PathSource for NoPaths {
    fn trace(
        &self,
        _target: IpAddr,
        _priority: TracePriority,
    ) -> BoxFuture<'_, Result<PathObservation, TraceError>> {
        Box::pin(std::future::ready(Err(TraceError::Stopped)))
    }
}

/// Nothing is run, so nobody pulls.
#[derive(Debug)]
struct NoImages;

impl ImageAccess for NoImages {
    fn grant(&self) -> Option<String> {
        None
    }
    fn revoke(&self, _token: &str) {}
    fn admit(&self, _token: &str) {}
}
