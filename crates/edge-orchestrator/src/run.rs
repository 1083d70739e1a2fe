//! Wiring the tasks together.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use edge_discovery::{Discovery, DiscoveryConfig};
use edge_dispatch::{DispatchTable, HostClass, HostPolicy, HostRefusal, RedirectPolicy};
use edge_http::client::ContactBudget;
use edge_http::entry_tls::TlsPolicy;
use edge_http::front_end::{BounceSettings, FrontEnd, FrontEndConfig, FrontEndCounters};
use edge_journal::JournalError;
use edge_ledger::{Ledgers, LocalLedger, book_file};
use edge_negotiation::{GreenListPolicy, Pace, Spending, SpendingCaps};
use edge_ports::{Clock, Ledger, NameLookup, PathSource, PrefixOwner, Signer, SiteList};
use edge_types::{AddressPolicy, Amount, Asset, DnsNameError, Slot, UtcTime};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use crate::admin::{self, Admin, Refresh};
use crate::agreements::{Agreements, Book, ImageAccess};
use crate::config::Settings;
use crate::dispatch_task::DispatchTask;
use crate::journal::AgreementStore;
use crate::placement_task::{Memory, PARALLEL_INQUIRIES, PlacementTask};
use crate::places::Places;
use crate::predeployed::{Predeployed, Watch};
use crate::record::Recorder;
use crate::sites::Inquirer;
use crate::status::{Status, StatusReport};
use crate::topology_task::{Domains, TopologySettings, TopologySnapshot, TopologyTask};

/// Sightings that may wait for the topology task; more are dropped and counted.
const MOST_SIGHTINGS: usize = 65_536;
/// What clients tell of sites may wait so long a line; more is dropped.
const MOST_WORDS: usize = 4096;

/// The world, as the orchestrator reaches it.
#[derive(Clone, Debug)]
pub struct Adapters {
    /// Traces.
    pub paths: Arc<dyn PathSource>,
    /// DNS.
    pub lookup: Arc<dyn NameLookup>,
    /// Which entry points are spoken to over TLS.
    pub tls: TlsPolicy,
    /// Lists of entry points beside the DNS.
    pub lists: Vec<Arc<dyn SiteList>>,
    /// Where addresses are, and who announces them, where tables tell.
    pub places: Places,
    /// Who holds the addresses of routers without names.
    pub owners: Option<Arc<dyn PrefixOwner>>,
    /// Money, where there is a chain.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// The paying key.
    pub signer: Arc<dyn Signer>,
    /// The registry of the edge service's image.
    pub images: Arc<dyn ImageAccess>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// A random label for the wildcard control questions of discovery, 1 to 62 letters and digits.
    pub control_label: String,
    /// Is told what decisions are made from, if anybody wants to know.
    pub recorder: Option<Recorder>,
}

/// The orchestrator could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A configured host name.
    #[error("application.hosts or application.control_hosts")]
    Host(#[from] HostRefusal),
    /// The control label.
    #[error("the control label is no part of a DNS name")]
    ControlLabel(#[from] DnsNameError),
    /// The journal of agreements cannot be used.
    #[error("the journal of agreements")]
    Journal(#[from] JournalError),
    /// A client-facing socket broke.
    #[error("accepting clients failed")]
    FrontEnd(#[source] std::io::Error),
    /// The admin socket.
    #[error("serving the admin interface at {} failed", socket.display())]
    Admin {
        /// Path.
        socket: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// Runs the orchestrator until something breaks or the future is dropped. Clients come in through `listeners`, which are
/// bound to the configured addresses.
///
/// # Errors
/// [`RunError`]; what the network, providers or the chain do is never an error here.
pub async fn run(
    settings: Settings,
    adapters: Adapters,
    listeners: Vec<TcpListener>,
) -> Result<(), RunError> {
    let settings = Arc::new(settings);
    let policy = &settings.config.policy;
    let pace = settings.config.pace;
    let address_policy = AddressPolicy::new(policy.allowed_prefixes.clone());
    let status = Arc::new(Status::default());
    let (store, recovered) = AgreementStore::open(&settings.config.state_directory)?;
    let own_book = LocalLedger::open(
        &book_file(&settings.config.state_directory),
        Arc::clone(&adapters.signer),
        Arc::clone(&adapters.clock),
        settings.partners.clone(),
    )?;
    let (wake, serving_changed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let table = Arc::new(ArcSwap::from_pointee(DispatchTable::empty()));
    let (sightings, sightings_seen) = mpsc::channel(MOST_SIGHTINGS);
    let (publish, topology) = watch::channel(Arc::new(TopologySnapshot::empty(settings.grouping)));

    let (words, mut words_said) = mpsc::channel(MOST_WORDS);
    let front_end = FrontEnd::new(
        front_end_config(&settings)?,
        Arc::clone(&table),
        sightings,
        Arc::clone(&adapters.clock),
    );
    let bounces = BounceSettings {
        one_in: policy.bounce_one_in,
        apart: Duration::from_secs(policy.bounce_apart_s.into()),
    };
    let front_end = Arc::new(front_end.hearing(bounces, words));
    let topology_task = TopologyTask::new(
        TopologySettings {
            grouping: settings.grouping,
            router_grouping: settings.router_grouping,
            max_prefixes: policy.max_prefixes,
            requests_before_trace: policy.requests_before_trace,
            interval: Duration::from_millis(pace.topology_ms),
            change_threshold: pace.change_threshold,
            refresh_after: Duration::from_secs(pace.refresh_s),
        },
        Arc::clone(&adapters.paths),
        Arc::clone(&adapters.clock),
        publish,
        Arc::clone(&wake),
    )
    .recorded(adapters.recorder.clone())
    .by_domain(policy.group_routers_by_domain.then(|| {
        let lookup = Arc::clone(&adapters.lookup);
        Domains::new(lookup, address_policy.clone())
    }));
    let agreements = Arc::new(Agreements {
        settings: Arc::clone(&settings),
        signer: Arc::clone(&adapters.signer),
        ledgers: Ledgers::new(adapters.ledger.clone(), Some(Arc::new(own_book))),
        tls: adapters.tls.clone(),
        images: Arc::clone(&adapters.images),
        clock: Arc::clone(&adapters.clock),
        status: Arc::clone(&status),
        serving_changed: Arc::clone(&serving_changed),
        plan_again: Arc::clone(&wake),
        paths: Arc::clone(&adapters.paths),
        pace: negotiation_pace(&settings),
        book: Mutex::new(Book::new(Spending::new(SpendingCaps {
            per_hour: settings.units_per_hour,
            per_day: settings.units_per_day,
            per_site: settings.units_per_site,
        }))),
        store: Mutex::new(store),
    });
    agreements.resume(recovered);
    agreements.take_up_contracts();
    let mut discovery = DiscoveryConfig::new(
        &settings.config.discovery.service,
        &adapters.control_label,
        address_policy.clone(),
        edge_discovery::Limits::default(),
    )?;
    if adapters.owners.is_some() {
        discovery = discovery.asking_owners();
    }
    let predeployed = Arc::new(Predeployed::new(
        &settings.predeployed,
        Watch {
            health_path: settings.edge_service.health.clone(),
            health_interval: Duration::from_millis(pace.health_ms),
            refresh_after: Duration::from_secs(pace.refresh_s),
        },
        Arc::clone(&adapters.paths),
        Arc::clone(&adapters.clock),
        Arc::clone(&serving_changed),
    ));
    let placement_task = PlacementTask {
        lists: Arc::new(adapters.lists.clone()),
        addresses: address_policy,
        predeployed: Arc::clone(&predeployed),
        algorithm: settings.algorithm,
        topology: topology.clone(),
        wake: Arc::clone(&wake),
        discovery: Discovery::new(discovery),
        lookup: Arc::clone(&adapters.lookup),
        places: adapters.places.clone(),
        owners: adapters.owners.clone(),
        paths: Arc::clone(&adapters.paths),
        inquirer: Arc::new(inquirer(&settings, &adapters)),
        agreements: Arc::clone(&agreements),
        clock: Arc::clone(&adapters.clock),
        status: Arc::clone(&status),
        recorder: adapters.recorder.clone(),
        turns: Arc::new(Semaphore::new(PARALLEL_INQUIRIES)),
        memory: Memory::default(),
        settings: Arc::clone(&settings),
    };
    let dispatch_task = DispatchTask {
        topology,
        agreements: Arc::clone(&agreements),
        predeployed: Arc::clone(&predeployed),
        serving_changed,
        table,
        min_saving: Duration::from_millis(policy.min_saving_ms),
        clock: Arc::clone(&adapters.clock),
        status: Arc::clone(&status),
    };
    let admin = Admin {
        status,
        refresh: Arc::new(Counts {
            front_end: front_end.counters(),
            agreements: Arc::clone(&agreements),
            clock: Arc::clone(&adapters.clock),
        }),
        agreements,
        wake,
    };

    let admin_socket = settings.config.admin.clone();
    let hears = Arc::clone(&admin.agreements);
    let hear_clients = async move {
        while let Some(word) = words_said.recv().await {
            hears.hear(&word);
        }
        // The front ends end with this future, which is not over because there are none.
        std::future::pending().await
    };
    let serve_admin = async {
        match &admin_socket {
            Some(socket) => admin::serve(socket, admin)
                .await
                .map_err(|cause| RunError::Admin {
                    socket: socket.clone(),
                    cause,
                }),
            None => std::future::pending().await,
        }
    };
    // Dropping the sets ends the tasks with this future.
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(topology_task.run(sightings_seen));
    tasks.spawn(placement_task.run());
    tasks.spawn(dispatch_task.run());
    tasks.spawn(predeployed.run());
    tasks.spawn(hear_clients);
    let mut front_ends = tokio::task::JoinSet::new();
    for listener in listeners {
        front_ends.spawn(Arc::clone(&front_end).serve(listener));
    }
    tokio::select! {
        Some(Ok(ended)) = front_ends.join_next() => ended.map_err(RunError::FrontEnd),
        served = serve_admin => served,
        _ = tasks.join_next() => Ok(()),
    }
}

fn front_end_config(settings: &Settings) -> Result<FrontEndConfig, RunError> {
    let application = &settings.config.application;
    let named = |hosts: &[String], class| {
        let port = settings.port();
        hosts
            .iter()
            .map(move |host| (with_port(host, port), class))
            .collect::<Vec<_>>()
    };
    let mut hosts = named(&application.hosts, HostClass::Redirected);
    hosts.extend(named(&application.control_hosts, HostClass::HeldBack));
    Ok(FrontEndConfig {
        hosts: HostPolicy::new(hosts.iter().map(|(host, class)| (host.as_str(), *class)))?,
        redirects: RedirectPolicy {
            max_age_secs: settings.config.policy.max_redirect_s.into(),
            ..RedirectPolicy::default()
        },
        upstream: settings.upstream,
        max_connections: 8192,
        header_timeout: Duration::from_secs(10),
        upstream_timeout: Duration::from_secs(30),
    })
}

fn with_port(host: &str, port: u16) -> String {
    if port == 80 {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    }
}

fn negotiation_pace(settings: &Settings) -> Pace {
    Pace {
        ledger_interval: Duration::from_millis(settings.config.pace.health_ms.min(250)),
        health_interval: Duration::from_millis(settings.config.pace.health_ms),
        // Chains make a block at least each 12 s, and those with leases of seconds do sooner. A token is paid in two steps.
        payment_lead_seconds: (settings.config.policy.lease_s / 4).min(match settings.asset {
            Asset::Native => 13,
            Asset::Token(_) => 25,
        }),
        ..Pace::default()
    }
}

fn inquirer(settings: &Settings, adapters: &Adapters) -> Inquirer {
    let policy = &settings.config.policy;
    let price_ceiling = Amount {
        asset: settings.asset,
        units: settings.price_ceiling,
    };
    let any_slot = Slot {
        start: UtcTime(0),
        end: UtcTime(0),
    };
    Inquirer {
        application: settings.config.application.name.clone(),
        signer: Arc::clone(&adapters.signer),
        needs: settings.edge_service.needs,
        lease: Duration::from_secs(policy.lease_s),
        price_ceiling,
        policy: GreenListPolicy {
            min_key_binding: settings.min_key_binding,
            max_round_trip_ms: policy.max_round_trip_ms,
            conditions: settings.conditions.clone(),
            min_stake: settings.backing.min_stake,
            accepted_arbiters: settings.backing.arbiters.clone(),
            accepted_texts: settings.backing.texts.clone(),
            partners: settings.partners.clone(),
            accepts_contact: policy.contact_offers,
            ..GreenListPolicy::new(
                any_slot,
                settings.edge_service.needs,
                price_ceiling,
                settings.escrow,
            )
        },
        pace: negotiation_pace(settings),
        contacts: ContactBudget::default(),
        tls: adapters.tls.clone(),
        clock: Arc::clone(&adapters.clock),
    }
}

/// Counts kept outside the report.
#[derive(Debug)]
struct Counts {
    front_end: Arc<FrontEndCounters>,
    agreements: Arc<Agreements>,
    clock: Arc<dyn Clock>,
}

impl Refresh for Counts {
    fn refresh(&self, report: &mut StatusReport) {
        report.uptime_ms = u64::try_from(self.clock.monotonic().0.as_millis()).unwrap_or(u64::MAX);
        report.wound_down = self.agreements.spending_stopped() && self.agreements.is_idle();
        report.front_end.redirected = self.front_end.redirected.load(Ordering::Relaxed);
        report.front_end.served = self.front_end.served.load(Ordering::Relaxed);
        report.front_end.refused = self.front_end.refused.load(Ordering::Relaxed);
        report.front_end.failed = self.front_end.failed.load(Ordering::Relaxed);
        report.front_end.bounced = self.front_end.bounced.load(Ordering::Relaxed);
        report.front_end.returned = self.front_end.returned.load(Ordering::Relaxed);
        report.front_end.tokens_refused = self.front_end.tokens_refused.load(Ordering::Relaxed);
    }
}
