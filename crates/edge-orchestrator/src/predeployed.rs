//! Sites that the application provider runs itself (paper section 1: `ExEC` can coexist with pre-deployed edges).
//!
//! They need no agreement and cost nothing here. Each is traced, and asked for its health, as a rented one is; while it serves
//! it is a candidate like the others, so that clients are sent to whichever is nearest, and nothing is rented for clients that
//! it serves well.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edge_placement::{Candidate, Trust, Whereabouts};
use edge_ports::{Clock, PathSource, TracePriority};
use edge_topology::AggregateTree;
use edge_types::{Amount, DnsName, IepId, MonotonicTime, PathEnd, PathObservation, Slot, UtcTime};
use tokio::sync::Notify;

use crate::agreements::Serving;
use crate::health;

/// A trace that did not reach the site is repeated after this.
const TRACE_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The end of a period that has none.
const FOREVER: UtcTime = UtcTime(1 << 35);

/// The sites, and what is known of them.
#[derive(Debug)]
pub struct Predeployed {
    health_path: String,
    health_interval: Duration,
    refresh_after: Duration,
    paths: Arc<dyn PathSource>,
    clock: Arc<dyn Clock>,
    serving_changed: Arc<Notify>,
    sites: Mutex<BTreeMap<IepId, Site>>,
}

#[derive(Clone, Debug)]
struct Site {
    address: SocketAddr,
    is_healthy: bool,
    path: Option<PathObservation>,
    traced_at: Option<MonotonicTime>,
}

/// How the sites are watched.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Path whose GET answers 200 when a site serves.
    pub health_path: String,
    /// Time between two health checks.
    pub health_interval: Duration,
    /// Age at which a path is traced again.
    pub refresh_after: Duration,
}

impl Predeployed {
    /// None of the sites serves until it was traced and found healthy.
    pub fn new(
        sites: &[(DnsName, SocketAddr)],
        watch: Watch,
        paths: Arc<dyn PathSource>,
        clock: Arc<dyn Clock>,
        serving_changed: Arc<Notify>,
    ) -> Self {
        let sites = sites.iter().map(|(host, address)| {
            let id = IepId {
                host: host.clone(),
                port: address.port(),
            };
            (
                id,
                Site {
                    address: *address,
                    is_healthy: false,
                    path: None,
                    traced_at: None,
                },
            )
        });
        Self {
            health_path: watch.health_path,
            health_interval: watch.health_interval,
            refresh_after: watch.refresh_after,
            paths,
            clock,
            serving_changed,
            sites: Mutex::new(sites.collect()),
        }
    }

    /// Watches the sites until the future is dropped.
    pub async fn run(self: Arc<Self>) {
        let ids: Vec<IepId> = self.sites().keys().cloned().collect();
        let mut watches = tokio::task::JoinSet::new();
        for id in ids {
            let shared = Arc::clone(&self);
            watches.spawn(async move {
                loop {
                    shared.look_at(&id).await;
                    tokio::time::sleep(shared.health_interval).await;
                }
            });
        }
        while watches.join_next().await.is_some() {}
        std::future::pending().await
    }

    async fn look_at(&self, id: &IepId) {
        let Some(site) = self.sites().get(id).cloned() else {
            return;
        };
        let now = self.clock.monotonic();
        let pause = if site.path.is_some() {
            self.refresh_after
        } else {
            TRACE_AGAIN_AFTER
        };
        let is_due = site.traced_at.is_none_or(|at| now.since(at) >= pause);
        let mut path = None;
        if is_due {
            let traced = self
                .paths
                .trace(site.address.ip(), TracePriority::New)
                .await;
            path = traced.ok().filter(|path| path.end == PathEnd::Reached);
        }
        let is_healthy = health::answers(site.address, &self.health_path).await;
        if let Some(known) = self.sites().get_mut(id) {
            if is_due {
                known.traced_at = Some(now);
            }
            let is_news = known.is_healthy != is_healthy || path.is_some();
            known.is_healthy = is_healthy;
            // An old path is better than none: that of a site that serves is only replaced.
            known.path = path.or_else(|| known.path.take());
            if !is_news {
                return;
            }
        }
        tracing::debug!(site = %id, is_healthy, "own site");
        self.serving_changed.notify_one();
    }

    /// How many there are, whether they serve or not.
    pub fn len(&self) -> usize {
        self.sites().len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.sites().is_empty()
    }

    /// Those that serve now, as candidates that cost nothing, and where clients reach them.
    pub fn serving(&self, tree: &AggregateTree) -> (Vec<Candidate>, BTreeMap<IepId, Serving>) {
        let (mut candidates, mut serving) = (Vec::new(), BTreeMap::new());
        for (id, site) in &*self.sites() {
            let Some(path) = site.path.as_ref().filter(|_| site.is_healthy) else {
                continue;
            };
            candidates.push(Candidate {
                site: id.clone(),
                offer: None,
                attachment: tree.attach(path),
                price_per_second: Amount::wei(0),
                slot: Slot {
                    start: UtcTime(0),
                    end: FOREVER,
                },
                already_running: true,
                capacity: None,
                trust: Trust::Own,
                whereabouts: Whereabouts::default(),
                outlook_percent: 100,
            });
            serving.insert(
                id.clone(),
                Serving {
                    address: site.address,
                    until: FOREVER,
                    bounce: None,
                },
            );
        }
        (candidates, serving)
    }

    /// The way to one of them.
    pub fn path_to(&self, site: &IepId) -> Option<PathObservation> {
        self.sites().get(site)?.path.clone()
    }

    fn sites(&self) -> MutexGuard<'_, BTreeMap<IepId, Site>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
