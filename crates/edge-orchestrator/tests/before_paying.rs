//! What stands between a reservation and the payment: real agreements with a real provider on a development chain, of which
//! nothing but the containers and the traces is replaced.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use edge_chain::client::LedgerConfig;
use edge_chain::dev::{self, DevChain, DevConfig};
use edge_chain::{EthLedger, LocalKey};
use edge_discovery::IepCandidate;
use edge_http::client::{ClientTimeouts, ContactBudget, IepClient};
use edge_http::entry_tls::{RootCertStore, TlsPolicy, Transport};
use edge_ledger::Ledgers;
use edge_negotiation::{
    GreenListPolicy, KeyBinding, NegotiationState, Pace, Spending, SpendingCaps, SpendingRefusal,
};
use edge_orchestrator::agreements::{Agreements, Book};
use edge_orchestrator::journal::{AgreementStore, Recovered, Written};
use edge_orchestrator::sites::{Inquirer, Inquiry, KnownSite, PathToSite};
use edge_orchestrator::status::Status;
use edge_orchestrator::{ImageAccess, Settings};
use edge_ports::{
    BoxFuture, Clock, Ledger, PathSource, RuntimeError, Signer, SiteRuntime, SystemClock,
    TraceError, TracePriority, WorkloadId,
};
use edge_provider::{Listening, Provider, ProviderConfig, ProviderPorts};
use edge_types::{
    AddressPolicy, Amount, Asset, ChainAddress, ChainId, Hash32, IepOrigin, PathEnd,
    PathObservation, Signature, Slot, UtcTime, Workload, WorkloadState,
};
use tokio::net::TcpListener;
use tokio::sync::Notify;

const CHAIN: ChainId = ChainId(1337);
const ETHER: u128 = 1_000_000_000_000_000_000;
const PRICE: u128 = 1_000_000;
const LEASE_SECONDS: u64 = 60;
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs nothing, and says so.
#[derive(Debug)]
struct NoRuntime;

impl SiteRuntime for NoRuntime {
    fn start<'a>(
        &'a self,
        _id: WorkloadId,
        _workload: &'a Workload,
        _address: SocketAddr,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        let detail = "nothing runs here".to_owned();
        Box::pin(std::future::ready(Err(RuntimeError::Start { detail })))
    }
    fn drain<'a>(
        &'a self,
        _id: WorkloadId,
        _origin: &'a str,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn stop(&self, _id: WorkloadId) -> BoxFuture<'_, Result<(), RuntimeError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn state(&self, _id: WorkloadId) -> WorkloadState {
        WorkloadState::Absent
    }
}

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

#[derive(Debug)]
struct NoImages;

impl ImageAccess for NoImages {
    fn grant(&self) -> Option<String> {
        None
    }
    fn revoke(&self, _token: &str) {}
    fn admit(&self, _token: &str) {}
}

/// The buyer's key; somebody pulls the kill switch when it first signs, which is the request for a reservation.
#[derive(Debug)]
struct Interrupted {
    key: LocalKey,
    stops: OnceLock<Arc<Agreements>>,
}

impl Signer for Interrupted {
    fn address(&self) -> ChainAddress {
        self.key.address()
    }
    fn sign_digest(&self, digest: Hash32) -> Signature {
        if let Some(agreements) = self.stops.get() {
            agreements.stop_spending(true).unwrap();
        }
        self.key.sign_digest(digest)
    }
}

struct World {
    _folder: tempfile::TempDir,
    key: LocalKey,
    settings: Arc<Settings>,
    sites: Vec<KnownSite>,
    ledger: Arc<EthLedger>,
    clock: SystemClock,
}

/// A chain, a provider with so many sites, and a buyer's settings.
async fn world(sites: u8, of_site: &str, of_budget: &str) -> World {
    let folder = tempfile::tempdir().unwrap();
    let (key, provider) = (LocalKey::generate().unwrap(), LocalKey::generate().unwrap());
    let chain = DevChain::open(&DevConfig {
        chain: CHAIN,
        data: folder.path().join("chain"),
        fund: [(key.address(), ETHER), (provider.address(), ETHER)].into(),
        deploy_escrow: true,
    })
    .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rpc = listener.local_addr().unwrap();
    tokio::spawn(dev::serve(chain, listener));
    let addresses: Vec<IpAddr> = (0..sites).map(|_| address()).collect();
    let ledger = |key: &LocalKey| {
        let config = LedgerConfig {
            poll_interval: Duration::from_millis(20),
            ..LedgerConfig::dev(format!("http://{rpc}"), CHAIN, dev::dev_escrow_address())
        };
        Arc::new(EthLedger::new(config, key.clone()).unwrap())
    };
    let clock = SystemClock::start();
    let text = provider_config(folder.path(), rpc, &addresses, of_site);
    let config = ProviderConfig::parse(&text).unwrap();
    let ports = ProviderPorts {
        ledger: Some(ledger(&provider)),
        signer: Arc::new(provider.clone()),
        runtime: Arc::new(NoRuntime),
        set_image_token: Arc::new(|_, _| {}),
        clock: Arc::new(clock),
    };
    let agent = Provider::new(Listening::bind(config).await.unwrap(), ports).unwrap();
    tokio::spawn(agent.serve(std::future::pending()));
    let text = orchestrator_config(folder.path(), rpc, &addresses, &provider, of_budget);
    let settings = Arc::new(Settings::parse(&text).unwrap());
    let allowed = AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]);
    let known = settings.lists.sites.iter().map(|site| {
        let origin = IepOrigin::Configured;
        let candidate = IepCandidate::listed(site, &site.addresses, origin, true, &allowed);
        KnownSite::new(candidate.unwrap())
    });
    World {
        sites: known.collect(),
        ledger: ledger(&key),
        _folder: folder,
        key,
        settings,
        clock,
    }
}

/// An address of its own for each site of each test.
fn address() -> IpAddr {
    static NEXT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(100);
    let [.., high, low] = std::process::id().to_be_bytes();
    let last = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    Ipv4Addr::new(127, high.max(1), low, last).into()
}

fn provider_config(folder: &Path, rpc: SocketAddr, sites: &[IpAddr], of_site: &str) -> String {
    let mut text = format!(
        "key_file = \"unused\"\nstate_directory = {:?}\nallow_addresses = [\"127.0.0.0/8\"]\n\
         [ledger]\nrpc_url = \"http://{rpc}\"\nchain_id = {}\ncontract = \"{}\"\npoll_interval_ms = 50\n",
        folder.join("provider"),
        CHAIN.0,
        dev::dev_escrow_address()
    );
    for (number, address) in sites.iter().enumerate() {
        text.push_str(&format!(
            "[[site]]\nhost = \"site{number}.isp.example\"\nport = 8080\nlisten = \"{address}:8080\"\n\
             service_address = \"{address}\"\nservice_ports = [20000, 20003]\n\
             milli_cpu = 500\nmemory_mib = 64\npids = 32\nprice_per_second_wei = \"{PRICE}\"\n\
             receipt_interval_seconds = 5\nnotice_seconds = 1\n{of_site}\n"
        ));
    }
    text
}

fn orchestrator_config(
    folder: &Path,
    rpc: SocketAddr,
    sites: &[IpAddr],
    provider: &LocalKey,
    of_budget: &str,
) -> String {
    let (chain, account) = (CHAIN.0, provider.address());
    let sites = sites.iter().enumerate().map(|(number, address)| {
        format!(
            "{{ host = \"site{number}.isp.example\", port = 8080, addresses = [\"{address}\"], key = \"eip155:{chain}:{account}\" }}"
        )
    });
    format!(
        "registry = \"127.0.0.1:5000\"\nstate_directory = {:?}\n\
         [application]\nname = \"shop\"\nlisten = [\"127.0.0.1:80\"]\nhosts = [\"shop.example\"]\n\
         services = [\n\
         {{ placement = \"cloud\", name = \"origin\", address = \"127.0.0.1:8081\" }},\n\
         {{ placement = \"edge\", name = \"objects\", image = \"/none\", digest = \"sha256:{:064}\", port = 8080, health = \"/healthz\", needs = {{ milli_cpu = 500, memory_mib = 64, pids = 32 }} }},\n\
         ]\n\
         [resolver]\naddresses = [\"127.0.0.1:53\"]\n\
         [wallet]\nkey_file = \"unused\"\nchain_id = {chain}\nrpc = \"{rpc}\"\nescrow = \"{}\"\n\
         [budget]\nwei_per_hour = \"{ETHER}\"\nwei_per_day = \"{ETHER}\"\nwei_per_site = \"{ETHER}\"\n{of_budget}\n\
         [policy]\nlease_s = {LEASE_SECONDS}\nkey_binding = \"dns\"\n\
         [discovery]\nsites = [{}]\n",
        folder.join("orchestrator"),
        0,
        dev::dev_escrow_address(),
        sites.collect::<Vec<_>>().join(", ")
    )
}

impl World {
    /// The agreements of a process that begins now, with what an earlier one wrote down.
    fn agreements(&self, signer: Arc<dyn Signer>) -> Arc<Agreements> {
        let state = &self.settings.config.state_directory;
        let (store, recovered) = AgreementStore::open(state).unwrap();
        let agreements = Arc::new(Agreements {
            settings: Arc::clone(&self.settings),
            tls: tls(),
            signer,
            ledgers: Ledgers::on_chain(Arc::clone(&self.ledger) as Arc<dyn Ledger>),
            paths: Arc::new(NoPaths),
            pace: Pace::default(),
            images: Arc::new(NoImages),
            clock: Arc::new(self.clock),
            status: Arc::new(Status::default()),
            serving_changed: Arc::new(Notify::new()),
            plan_again: Arc::new(Notify::new()),
            book: Mutex::new(Book::new(Spending::new(SpendingCaps {
                per_hour: self.settings.units_per_hour,
                per_day: self.settings.units_per_day,
                per_site: self.settings.units_per_site,
            }))),
            store: Mutex::new(store),
        });
        agreements.resume(recovered);
        agreements
    }

    /// A green-listed offer of a site.
    async fn offered(&self, site: &KnownSite) -> Inquiry {
        let settings = &self.settings;
        let price_ceiling = Amount::wei(PRICE);
        let needs = settings.edge_service.needs;
        let any_slot = Slot {
            start: UtcTime(0),
            end: UtcTime(0),
        };
        let inquirer = Inquirer {
            application: "shop".to_owned(),
            tls: tls(),
            signer: Arc::new(self.key.clone()),
            needs,
            lease: Duration::from_secs(LEASE_SECONDS),
            price_ceiling,
            policy: GreenListPolicy {
                min_key_binding: KeyBinding::Dns,
                ..GreenListPolicy::new(any_slot, needs, price_ceiling, settings.escrow)
            },
            pace: Pace::default(),
            contacts: ContactBudget::default(),
            clock: Arc::new(self.clock),
        };
        let inquiry = inquirer.ask(site).await;
        assert_eq!(*inquiry.negotiation.state(), NegotiationState::Offered);
        inquiry
    }

    fn path(&self, site: &KnownSite) -> PathToSite {
        let at = self.clock.monotonic();
        let path = PathObservation {
            target: site.address(),
            observed_at: at,
            hops: Vec::new(),
            further: Vec::new(),
            end: PathEnd::Silent,
            probes_sent: 0,
        };
        PathToSite { path, at }
    }

    async fn deposited(&self) -> u128 {
        let totals = self.ledger.totals(Asset::Native).await.unwrap();
        totals.deposited.units
    }

    /// What the buyer has left, gas paid.
    async fn left(&self) -> Amount {
        self.ledger.balance(self.key.address()).await.unwrap()
    }
}

/// Nobody here speaks TLS.
fn tls() -> TlsPolicy {
    TlsPolicy::new(RootCertStore::empty(), true)
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn reason(agreements: &Agreements) -> String {
    let report = agreements.status.report();
    let agreement = report.agreements.first().unwrap();
    agreement.reason.clone().unwrap_or_default()
}

/// Security rule 13: the kill switch stops what is selected and not paid yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spending_that_is_stopped_between_reservation_and_payment_deposits_nothing() {
    let world = world(1, "", "").await;
    let site = &world.sites[0];
    let signer = Arc::new(Interrupted {
        key: world.key.clone(),
        stops: OnceLock::new(),
    });
    let agreements = world.agreements(signer.clone());
    let offered = world.offered(site).await;
    signer.stops.set(Arc::clone(&agreements)).unwrap();
    let started = agreements.start(site, &offered, world.path(site));
    started.unwrap();
    until("it ends", async || agreements.is_idle()).await;
    assert!(agreements.spending_stopped());
    assert_eq!(world.deposited().await, 0);
    let reason = reason(&agreements);
    assert!(reason.contains("stopped before the payment"), "{reason}");
}

/// The same if the process dies in between, and the next one finds a reservation; it pays only where nobody said stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_that_is_taken_up_again_is_paid_only_if_spending_is_not_stopped() {
    for is_stopped in [true, false] {
        let world = world(1, "", "").await;
        let site = &world.sites[0];
        let signer = Arc::new(world.key.clone());
        let clock: Arc<dyn Clock> = Arc::new(world.clock);
        let mut negotiation = world.offered(site).await.negotiation;
        let offer = negotiation.offer().unwrap().clone();
        let id = site.candidate.id.clone();
        let client = IepClient::new(site.entry_point(), id, ClientTimeouts::default());
        let client = client.with_key(signer.clone(), clock, offer.provider, CHAIN);
        let held = client.reserve(&offer).await.unwrap();
        let now = edge_negotiation::Now {
            monotonic: world.clock.monotonic(),
            utc: world.clock.utc(),
        };
        negotiation.select(now);
        negotiation.handle_reserved(held.id, held.expires, held.confirmation, now);
        let written = Written {
            record: negotiation.record(now).unwrap(),
            entry_point: site.entry_point(),
            transport: Transport::Plain,
            serving_at: None,
            image_token: None,
            challenge: None,
            began: now.utc,
            steps: Vec::new(),
        };
        {
            let state = &world.settings.config.state_directory;
            let (mut store, _) = AgreementStore::open(state).unwrap();
            store.write(&written).unwrap();
            store.write_spending(is_stopped).unwrap();
        }
        let agreements = world.agreements(signer);
        if is_stopped {
            until("it ends", async || agreements.is_idle()).await;
            assert_eq!(world.deposited().await, 0);
        } else {
            until("it is paid", async || world.deposited().await > 0).await;
        }
    }
}

/// Bait: the provider promises a stake that is not there, and the escrow would take the buyer's fee and refuse the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stake_that_is_not_there_costs_the_buyer_no_transaction() {
    let world = world(1, "stake_wei = \"1000\"", "").await;
    let site = &world.sites[0];
    let before = world.left().await;
    let agreements = world.agreements(Arc::new(world.key.clone()));
    let offered = world.offered(site).await;
    let started = agreements.start(site, &offered, world.path(site));
    started.unwrap();
    until("it ends", async || agreements.is_idle()).await;
    let reason = reason(&agreements);
    assert!(reason.contains("stake of 1000 and has 0"), "{reason}");
    assert_eq!(world.left().await, before, "no fee was paid");
}

/// Security rule 9: many sites are no way around what one new provider may hold, and one good lease is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_holds_little_until_it_has_served_however_many_sites_it_has() {
    let deposit = PRICE * u128::from(LEASE_SECONDS);
    let cap = 2 * deposit;
    let world = world(3, "", &format!("wei_per_new_provider = \"{cap}\"")).await;
    let agreements = world.agreements(Arc::new(world.key.clone()));
    let mut offered = Vec::new();
    for site in &world.sites {
        offered.push(world.offered(site).await);
    }
    for number in 0..2 {
        let site = &world.sites[number];
        let started = agreements.start(site, &offered[number], world.path(site));
        started.unwrap();
    }
    let last = &world.sites[2];
    let pending = cap;
    assert_eq!(
        agreements.start(last, &offered[2], world.path(last)),
        Err(SpendingRefusal::NewProvider {
            deposit,
            pending,
            cap
        })
    );

    let mut negotiation = offered[0].negotiation.clone();
    let now = edge_negotiation::Now {
        monotonic: world.clock.monotonic(),
        utc: world.clock.utc(),
    };
    negotiation.select(now);
    let mut record = negotiation.record(now).unwrap();
    record.state = NegotiationState::Settled;
    let served = Written {
        record,
        entry_point: last.entry_point(),
        transport: Transport::Plain,
        serving_at: None,
        image_token: None,
        challenge: None,
        began: now.utc,
        steps: Vec::new(),
    };
    let recovered = Recovered {
        agreements: vec![served],
        spending_stopped: false,
    };
    agreements.resume(recovered);
    let started = agreements.start(last, &offered[2], world.path(last));
    assert_eq!(started, Ok(()), "it has served");
}
