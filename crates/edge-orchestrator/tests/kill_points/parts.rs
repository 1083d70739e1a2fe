//! What runs in the killed processes: the production code of both sides. Replaced are only the containers (listeners that
//! answer health checks) and the traces (everything is one hop away).

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge_chain::client::LedgerConfig;
use edge_chain::{EthLedger, LocalKey};
use edge_discovery::{IepCandidate, TlsPin};
use edge_http::client::ContactBudget;
use edge_http::entry_tls::{RootCertStore, TlsPolicy};
use edge_negotiation::{
    GreenListPolicy, KeyBinding, NegotiationState, Pace, Spending, SpendingCaps,
};
use edge_orchestrator::agreements::{Agreements, Book};
use edge_orchestrator::journal::AgreementStore;
use edge_orchestrator::sites::{Inquirer, KnownSite, PathToSite};
use edge_orchestrator::status::Status;
use edge_orchestrator::{ImageAccess, Settings};
use edge_ports::{
    BoxFuture, Clock, PathSource, RuntimeError, SiteRuntime, SystemClock, TraceError,
    TracePriority, WorkloadId,
};
use edge_provider::{Listening, Provider, ProviderConfig, ProviderPorts};
use edge_types::{
    AddressPolicy, Amount, ChainAddress, ChainId, IepOrigin, ListedSite, PathEnd, PathObservation,
    Slot, UtcTime, Workload, WorkloadState,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::world::{BUYER_KEY, ORCHESTRATOR, PIN, PROVIDER, PROVIDER_KEY, STOP};

/// The provider; lives until it is killed.
pub(crate) fn provider(folder: &Path) -> ExitCode {
    run(async {
        let text = fs::read_to_string(folder.join(PROVIDER)).unwrap();
        let config = ProviderConfig::parse(&text).unwrap();
        let key = LocalKey::read_plain(&folder.join(PROVIDER_KEY)).unwrap();
        let settings = &config.ledger;
        let ledger = ledger(
            &settings.rpc_url,
            settings.chain,
            settings.contract,
            key.clone(),
        );
        let ports = ProviderPorts {
            signer: Arc::new(key),
            ledger: Arc::new(ledger),
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
        let rpc = format!("http://{}", settings.config.wallet.rpc);
        let agreements = Arc::new(Agreements {
            ledger: Arc::new(ledger(&rpc, settings.chain, settings.escrow, key.clone())),
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
    let escrow = (settings.chain, settings.escrow);
    Inquirer {
        application: "shop".to_owned(),
        signer: Arc::new(key.clone()),
        needs,
        lease: Duration::from_secs(settings.config.policy.lease_s),
        price_ceiling,
        policy: GreenListPolicy {
            min_key_binding: KeyBinding::Dns,
            ..GreenListPolicy::new(any_slot, needs, price_ceiling, escrow)
        },
        pace: pace(),
        contacts: ContactBudget::default(),
        tls: tls(),
        clock: Arc::new(clock),
    }
}

fn known(site: &ListedSite) -> KnownSite {
    let candidate = IepCandidate::listed(
        site,
        &site.addresses,
        IepOrigin::Configured,
        true,
        &AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]),
    );
    KnownSite::new(candidate.unwrap())
}

fn one_hop(target: IpAddr, clock: &SystemClock) -> PathObservation {
    PathObservation {
        target,
        observed_at: clock.monotonic(),
        hops: Vec::new(),
        further: Vec::new(),
        end: PathEnd::Silent,
        probes_sent: 0,
    }
}

#[derive(Debug)]
struct OneHop(SystemClock);

impl PathSource for OneHop {
    fn trace(
        &self,
        target: IpAddr,
        _priority: TracePriority,
    ) -> BoxFuture<'_, Result<PathObservation, TraceError>> {
        Box::pin(std::future::ready(Ok(one_hop(target, &self.0))))
    }
}

#[derive(Debug)]
struct NoImages;

impl ImageAccess for NoImages {
    fn grant(&self) -> Option<String> {
        None
    }
    fn revoke(&self, _token: &str) {}
    fn admit(&self, _token: &str) {}
}

/// A workload is a listener on its service address that answers everything well.
#[derive(Debug, Default)]
struct Listeners {
    running: Mutex<BTreeMap<WorkloadId, (SocketAddr, AbortHandle, bool)>>,
}

impl SiteRuntime for Listeners {
    fn start<'a>(
        &'a self,
        id: WorkloadId,
        _workload: &'a Workload,
        address: SocketAddr,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            let listener =
                TcpListener::bind(address)
                    .await
                    .map_err(|error| RuntimeError::Start {
                        detail: error.to_string(),
                    })?;
            let serving = tokio::spawn(async move {
                while let Ok((mut client, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let answer =
                            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                        let _ = client.write_all(answer).await;
                    });
                }
            });
            let entry = (address, serving.abort_handle(), false);
            self.running.lock().unwrap().insert(id, entry);
            Ok(())
        })
    }

    fn drain<'a>(
        &'a self,
        id: WorkloadId,
        _origin: &'a str,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        if let Some((_, _, drains)) = self.running.lock().unwrap().get_mut(&id) {
            *drains = true;
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn stop(&self, id: WorkloadId) -> BoxFuture<'_, Result<(), RuntimeError>> {
        if let Some((_, serving, _)) = self.running.lock().unwrap().remove(&id) {
            serving.abort();
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn state(&self, id: WorkloadId) -> WorkloadState {
        match self.running.lock().unwrap().get(&id) {
            Some((address, _, true)) => WorkloadState::Draining { address: *address },
            Some((address, _, false)) => WorkloadState::Running { address: *address },
            None => WorkloadState::Absent,
        }
    }
}
