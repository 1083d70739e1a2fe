//! What runs in the killed processes: the production code of both sides. Replaced are only the containers (listeners that
//! answer health checks) and the traces (everything is one hop away).

use std::fs;
use std::future::Future;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge_chain::client::LedgerConfig;
use edge_chain::{EthLedger, LocalKey};
use edge_discovery::TlsPin;
use edge_http::client::ContactBudget;
use edge_ledger::Ledgers;
use edge_negotiation::{
    GreenListPolicy, KeyBinding, NegotiationState, Pace, Spending, SpendingCaps,
};
use edge_orchestrator::Settings;
use edge_orchestrator::agreements::{Agreements, Book};
use edge_orchestrator::journal::AgreementStore;
use edge_orchestrator::sites::{Inquirer, KnownSite, PathToSite};
use edge_orchestrator::status::Status;
use edge_ports::{Clock, SystemClock};
use edge_provider::{Listening, Provider, ProviderConfig, ProviderPorts};
use edge_types::{Amount, ChainAddress, ChainId, Slot, UtcTime};
use tokio::sync::Notify;

use crate::support::{Listeners, NoImages, OneHop, known, one_hop, tls};
use crate::world::{BUYER_KEY, ORCHESTRATOR, PIN, PROVIDER, PROVIDER_KEY, STOP};

/// The provider; lives until it is killed.
pub(crate) fn provider(folder: &Path) -> ExitCode {
    run(async {
        let text = fs::read_to_string(folder.join(PROVIDER)).unwrap();
        let config = ProviderConfig::parse(&text).unwrap();
        let key = LocalKey::read_plain(&folder.join(PROVIDER_KEY)).unwrap();
        let settings = config.ledger.as_ref().unwrap();
        let ledger = ledger(
            &settings.rpc_url,
            settings.chain,
            settings.contract,
            key.clone(),
        );
        let ports = ProviderPorts {
            signer: Arc::new(key),
            ledger: Some(Arc::new(ledger)),
            runtime: Arc::new(Listeners::default()),
            set_image_token: Arc::new(|_, _| {}),
            clock: Arc::new(SystemClock::start()),
        };
        let listening = Listening::bind(config).await.unwrap();
        let provider = Provider::new(listening, ports).unwrap();
        provider.serve(std::future::pending()).await;
    })
}

/// The orchestrator's agreements: one with each site, always. Ends once told to and all are over.
pub(crate) fn buyer(folder: &Path) -> ExitCode {
    run(async {
        let text = fs::read_to_string(folder.join(ORCHESTRATOR)).unwrap();
        let settings = Arc::new(Settings::parse(&text).unwrap());
        let key = LocalKey::read_plain(&folder.join(BUYER_KEY)).unwrap();
        let clock = SystemClock::start();
        let inquirer = inquirer(&settings, &key, clock);
        let (store, recovered) = AgreementStore::open(&settings.config.state_directory).unwrap();
        let rpc = format!("http://{}", settings.config.wallet.rpc.unwrap());
        let (chain, escrow) = settings.escrow.unwrap();
        let agreements = Arc::new(Agreements {
            ledgers: Ledgers::on_chain(Arc::new(ledger(&rpc, chain, escrow, key.clone()))),
            signer: Arc::new(key),
            paths: Arc::new(OneHop(clock)),
            pace: pace(),
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
        agreements.resume(recovered);
        let listed = &settings.lists.sites;
        let mut sites: Vec<KnownSite> = listed.iter().map(known).collect();
        loop {
            if folder.join(STOP).exists() {
                agreements.stop_spending(true).unwrap();
                if agreements.is_idle() {
                    return;
                }
            }
            let pin = fs::read_to_string(folder.join(PIN)).unwrap().parse();
            let pins: Vec<TlsPin> = vec![pin.unwrap()];
            for site in &mut sites {
                site.candidate.pins.clone_from(&pins);
                agreements.note_pins(&site.candidate.id, &pins);
                if agreements.spending_stopped() || agreements.holds(&site.candidate.id) {
                    continue;
                }
                let inquiry = inquirer.ask(site).await;
                if *inquiry.negotiation.state() == NegotiationState::Offered {
                    let path = PathToSite {
                        path: one_hop(site.address(), &clock),
                        at: clock.monotonic(),
                    };
                    agreements.start(site, &inquiry, path).unwrap();
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
}

fn run(part: impl Future<Output = ()>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(part);
    ExitCode::SUCCESS
}

pub(crate) fn ledger(rpc: &str, chain: ChainId, escrow: ChainAddress, key: LocalKey) -> EthLedger {
    let config = LedgerConfig {
        poll_interval: Duration::from_millis(20),
        ..LedgerConfig::dev(rpc.to_owned(), chain, escrow)
    };
    EthLedger::new(config, key).unwrap()
}

fn pace() -> Pace {
    Pace {
        ledger_interval: Duration::from_millis(200),
        health_interval: Duration::from_millis(400),
        ..Pace::default()
    }
}

fn inquirer(settings: &Settings, key: &LocalKey, clock: SystemClock) -> Inquirer {
    let price_ceiling = Amount::wei(settings.price_ceiling);
    let needs = settings.edge_service.needs;
    let any_slot = Slot {
        start: UtcTime(0),
        end: UtcTime(0),
    };
    Inquirer {
        application: "shop".to_owned(),
        signer: Arc::new(key.clone()),
        needs,
        lease: Duration::from_secs(settings.config.policy.lease_s),
        price_ceiling,
        policy: GreenListPolicy {
            min_key_binding: KeyBinding::Dns,
            ..GreenListPolicy::new(any_slot, needs, price_ceiling, settings.escrow)
        },
        pace: pace(),
        contacts: ContactBudget::default(),
        tls: tls(),
        clock: Arc::new(clock),
    }
}
