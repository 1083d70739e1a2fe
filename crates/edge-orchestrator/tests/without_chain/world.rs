//! Both sides, each in a runtime of its own that can be killed, over loopback and without a chain.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use edge_chain::LocalKey;
use edge_http::client::ContactBudget;
use edge_ledger::{Ledgers, LocalLedger, book_file};
use edge_negotiation::{GreenListPolicy, NegotiationState, Pace, Spending, SpendingCaps};
use edge_orchestrator::Settings;
use edge_orchestrator::admin::{self, Admin, Refresh};
use edge_orchestrator::agreements::{Agreements, Book, ImportRefusal};
use edge_orchestrator::journal::{AgreementStore, Recovered, Written, journal_file};
use edge_orchestrator::sites::{Inquirer, Inquiry, KnownSite, PathToSite};
use edge_orchestrator::status::{Status, StatusReport};
use edge_ports::{Clock, Signer, SystemClock};
use edge_provider::{Listening, Provider, ProviderConfig, ProviderPorts};
use edge_types::{
    AgreementId, Amount, ChainAddress, Confirmation, Guarantee, Hash32, Offer, OfferId, Settlement,
    Signature, Slot, UtcTime,
};
use edge_wire::contract::ContractFile;
use edge_wire::message::{ConfirmationMessage, OfferMessage};
use edge_wire::{encode, signing};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::support::{Listeners, NoImages, OneHop, known, one_hop, tls};

pub(crate) const PRICE: u128 = 1_000_000;
pub(crate) const LEASE_SECONDS: u64 = 8;
/// The contract that the buyer's configuration names, if there is one.
const PARTNER: &str = "partner.json";
const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) keys: [LocalKey; 2],
    provider_config: ProviderConfig,
    settings: Arc<Settings>,
    /// The provider runs no containers, and answers as if it did.
    pub(crate) pretends: bool,
}

/// A process; dropping it kills it.
pub(crate) struct Process {
    runtime: Option<Runtime>,
}

impl Process {
    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

impl Default for Process {
    fn default() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        Self {
            runtime: Some(runtime),
        }
    }
}

pub(crate) struct Buyer {
    pub(crate) agreements: Arc<Agreements>,
    pub(crate) site: KnownSite,
    settings: Arc<Settings>,
    key: LocalKey,
    clock: SystemClock,
    process: Process,
}

impl World {
    /// The provider says that it was paid so much, and the buyer that it paid so much.
    pub(crate) fn new(of_site: &str, received: u128, paid: u128) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = [(); 2].map(|()| LocalKey::generate().unwrap());
        let [buyer, provider] = [keys[0].address(), keys[1].address()];
        let address = address();
        let text = format!(
            "key_file = \"unused\"\nstate_directory = {:?}\nallow_addresses = [\"127.0.0.0/8\"]\n\
             [[allowance]]\nbuyer = \"{buyer}\"\nunits = \"{received}\"\n\
             [[site]]\nhost = \"site.isp.example\"\nport = 8080\nlisten = \"{address}:8080\"\n\
             service_address = \"{address}\"\nservice_ports = [20000, 20003]\n\
             milli_cpu = 1000\nmemory_mib = 128\npids = 64\nprice_per_second_wei = \"{PRICE}\"\n\
             receipt_interval_seconds = 5\nnotice_seconds = 1\n{of_site}\n",
            folder.path().join("provider")
        );
        let provider_config = ProviderConfig::parse(&text).unwrap();
        let partner = if paid == 0 {
            String::new()
        } else {
            format!("[[partner]]\nprovider = \"{provider}\"\nallowance = \"{paid}\"\n")
        };
        let text = format!(
            "registry = \"127.0.0.1:5000\"\nstate_directory = {:?}\n\
             [application]\nname = \"shop\"\nlisten = [\"127.0.0.1:80\"]\nhosts = [\"shop.example\"]\n\
             services = [\n\
             {{ placement = \"cloud\", name = \"origin\", address = \"127.0.0.1:8081\" }},\n\
             {{ placement = \"edge\", name = \"objects\", image = \"/none\", digest = \"sha256:{:064}\", port = 8080, health = \"/healthz\", challenge = \"/challenge\", needs = {{ milli_cpu = 500, memory_mib = 64, pids = 32 }} }},\n\
             ]\n\
             [resolver]\naddresses = [\"127.0.0.1:53\"]\n\
             [wallet]\nkey_file = \"unused\"\n\
             [budget]\nwei_per_hour = \"1000000000\"\nwei_per_day = \"1000000000\"\nwei_per_site = \"1000000000\"\n\
             [policy]\nlease_s = {LEASE_SECONDS}\n\
             [discovery]\nsites = [{{ host = \"site.isp.example\", port = 8080, addresses = [\"{address}\"], key = \"eip155:0:{provider}\", contract = {:?} }}]\n\
             {partner}",
            folder.path().join("orchestrator"),
            0,
            folder.path().join(PARTNER),
        );
        Self {
            folder,
            keys,
            provider_config,
            settings: Arc::new(Settings::parse(&text).unwrap()),
            pretends: false,
        }
    }

    /// A contract for a lease that begins now, signed by the provider and the buyer.
    pub(crate) fn contract(&self) -> (AgreementId, Vec<u8>) {
        let [buyer, provider] = &self.keys;
        let site = &self.provider_config.sites[0];
        let now = SystemClock::start().utc();
        let offer = Offer {
            id: OfferId([0; 32]),
            provider: provider.address(),
            buyer: Some(buyer.address()),
            site: site.id.clone(),
            slot: Slot {
                start: now,
                end: now.plus_seconds(LEASE_SECONDS),
            },
            hardware: site.capacity,
            price_per_second: site.price_per_second,
            sla: site.sla,
            guarantee: Guarantee::default(),
            conditions: site.conditions.clone(),
            settlement: Settlement::Contact("mailto:noc@isp.example".to_owned()),
            expires: now.plus_seconds(LEASE_SECONDS - 1),
            nonce: Hash32([1; 32]),
            signature: Signature([0; 65]),
        };
        let offer = signing::sign_offer(offer, |digest| provider.sign_digest(digest));
        let until = offer.expires;
        let word = signing::confirmation_digest(&offer, buyer.address(), until);
        let acceptance = signing::acceptance_digest(&offer, until);
        let contract = ContractFile {
            exec_contract: ContractFile::VERSION,
            confirmation: ConfirmationMessage(Confirmation {
                until,
                signature: provider.sign_digest(word),
            }),
            acceptance: Some(buyer.sign_digest(acceptance)),
            offer: OfferMessage(offer.clone()),
        };
        (offer.id.into(), encode(&contract))
    }

    /// Puts a contract where the buyer's configuration says that it is.
    pub(crate) fn name_partner(&self, contract: &[u8]) {
        std::fs::write(self.folder.path().join(PARTNER), contract).unwrap();
    }

    /// Leaves a file where the provider takes contracts up from when it starts.
    pub(crate) fn leave_with_provider(&self, contract: &[u8]) {
        let folder = self.provider_config.state_directory.join("contracts");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("one.json"), contract).unwrap();
    }

    pub(crate) fn buyer(&self) -> ChainAddress {
        self.keys[0].address()
    }

    pub(crate) fn provider(&self) -> ChainAddress {
        self.keys[1].address()
    }

    pub(crate) fn start_provider(&self) -> Process {
        let process = Process::default();
        let ports = ProviderPorts {
            signer: Arc::new(self.keys[1].clone()),
            ledger: None,
            runtime: Arc::new(Listeners {
                pretends: self.pretends,
                ..Listeners::default()
            }),
            set_image_token: Arc::new(|_, _| {}),
            clock: Arc::new(SystemClock::start()),
        };
        let listening = Listening::bind(self.provider_config.clone());
        let listening = process.runtime().block_on(listening).unwrap();
        let provider = Provider::new(listening, ports).unwrap();
        process
            .runtime()
            .spawn(provider.serve(std::future::pending()));
        process
    }

    pub(crate) fn start_buyer(&self) -> Buyer {
        let process = Process::default();
        let settings = Arc::clone(&self.settings);
        let clock = SystemClock::start();
        let (store, recovered) = AgreementStore::open(&settings.config.state_directory).unwrap();
        let agreements = Arc::new(Agreements {
            ledgers: Ledgers::new(None, Some(Arc::new(self.book_of_buyer()))),
            signer: Arc::new(self.keys[0].clone()),
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
        {
            let _in_the_runtime = process.runtime().enter();
            agreements.resume(recovered);
            agreements.take_up_contracts();
        }
        Buyer {
            agreements,
            site: known(&settings.lists.sites[0]),
            settings,
            key: self.keys[0].clone(),
            clock,
            process,
        }
    }

    /// The buyer's book, while no buyer has it open.
    pub(crate) fn book_of_buyer(&self) -> LocalLedger {
        let settings = &self.settings;
        let folder = &settings.config.state_directory;
        let signer = Arc::new(self.keys[0].clone());
        let clock = Arc::new(SystemClock::start());
        let paid = settings.partners.clone();
        LocalLedger::open(&book_file(folder), signer, clock, paid).unwrap()
    }

    /// The provider's book, while no provider has it open.
    pub(crate) fn book_of_provider(&self) -> LocalLedger {
        let config = &self.provider_config;
        let folder = self.folder.path().join("provider-copy");
        std::fs::create_dir_all(&folder).unwrap();
        // The provider may be running.
        std::fs::copy(book_file(&config.state_directory), book_file(&folder)).unwrap();
        let signer = Arc::new(self.keys[1].clone());
        let clock = Arc::new(SystemClock::start());
        let paid = config.allowances.clone();
        LocalLedger::open(&book_file(&folder), signer, clock, paid).unwrap()
    }
}

#[derive(Debug)]
struct Nothing;

impl Refresh for Nothing {
    fn refresh(&self, _report: &mut StatusReport) {}
}

impl Buyer {
    fn inquire(&self) -> Inquiry {
        let settings = &self.settings;
        let needs = settings.edge_service.needs;
        let any_slot = Slot {
            start: UtcTime(0),
            end: UtcTime(0),
        };
        let price_ceiling = Amount::wei(PRICE);
        let inquirer = Inquirer {
            application: "shop".to_owned(),
            tls: tls(),
            signer: Arc::new(self.key.clone()),
            needs,
            lease: Duration::from_secs(LEASE_SECONDS),
            price_ceiling,
            policy: GreenListPolicy {
                partners: settings.partners.clone(),
                accepts_contact: true,
                ..GreenListPolicy::new(any_slot, needs, price_ceiling, settings.escrow)
            },
            pace: pace(),
            contacts: ContactBudget::default(),
            clock: Arc::new(self.clock),
        };
        self.process.runtime().block_on(inquirer.ask(&self.site))
    }

    /// What the site's offer comes to, in words.
    pub(crate) fn ask(&self) -> String {
        let inquiry = self.inquire();
        let state = inquiry.negotiation.state();
        assert_ne!(*state, NegotiationState::Offered);
        format!("{state:?}").to_lowercase()
    }

    /// Takes up the site's offer.
    pub(crate) fn rent(&self) {
        let inquiry = self.inquire();
        let state = inquiry.negotiation.state();
        assert_eq!(*state, NegotiationState::Offered, "{state:?}");
        let path = PathToSite {
            path: one_hop(self.site.address(), &self.clock),
            at: self.clock.monotonic(),
        };
        let _in_the_runtime = self.process.runtime().enter();
        self.agreements.start(&self.site, &inquiry, path).unwrap();
    }

    /// Takes up a contract that people made.
    pub(crate) fn import(&self, contract: &[u8]) -> Result<AgreementId, ImportRefusal> {
        let _in_the_runtime = self.process.runtime().enter();
        self.agreements.import(contract, None)
    }

    /// The same over the admin socket; the answer as it comes.
    pub(crate) fn import_by_admin(&self, contract: &[u8], query: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin");
        let admin = Admin {
            status: Arc::clone(&self.agreements.status),
            refresh: Arc::new(Nothing),
            agreements: Arc::clone(&self.agreements),
            wake: Arc::new(Notify::new()),
        };
        let at = socket.clone();
        let serving = self.process.runtime().spawn(async move {
            admin::serve(&at, admin).await.unwrap();
        });
        let began = Instant::now();
        let mut stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let head = format!(
            "POST /agreements/import{query} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            contract.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(contract).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serving.abort();
        answer
    }

    /// An agreement, once it is what was waited for.
    pub(crate) fn until(&self, holds: impl Fn(&Written) -> bool) -> Written {
        let file = journal_file(&self.settings.config.state_directory);
        let began = Instant::now();
        loop {
            let written = Recovered::peek(&file).unwrap_or_default().agreements;
            if let Some(found) = written.iter().find(|written| holds(written)) {
                return found.clone();
            }
            assert!(began.elapsed() < PATIENCE, "it stays at {written:?}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

fn pace() -> Pace {
    Pace {
        ledger_interval: Duration::from_millis(100),
        health_interval: Duration::from_millis(200),
        ..Pace::default()
    }
}

/// An address of its own for each site of each test.
fn address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(150);
    let [.., high, low] = std::process::id().to_be_bytes();
    let last = NEXT.fetch_add(1, Ordering::SeqCst);
    Ipv4Addr::new(127, high.max(1), low, last).into()
}
