//! Turns what is realised into the table that the front end reads.
//!
//! A client prefix goes to the nearest site that serves now, if that beats the cloud; which one is decided by the same
//! planner, given only the sites that serve. So a prefix seen for the first time is sent to a running site as soon as it
//! is traced, without waiting for a new plan.
//!
//! Clients keep a redirect for its lifetime. While a better site for a prefix is agreed but does not serve yet, the
//! redirect to the one that does is therefore short-lived.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use edge_dispatch::{BounceTarget, DispatchTable, SiteTarget};
use edge_placement::{
    Algorithm, Application, Candidate, Effort, PlanInput, Policy, ServedBy, plan,
};
use edge_ports::Clock;
use edge_topology::AggregateTree;
use edge_types::{Amount, Generation, IepId, IpNet, Rtt};
use tokio::sync::{Notify, watch};

use crate::agreements::Agreements;
use crate::predeployed::Predeployed;
use crate::status::{Status, TopologyStatus, TreeReport, TreeReportSite};
use crate::topology_task::TopologySnapshot;

/// Lifetime of a redirect to a site that a better one is about to replace.
const INTERIM_SECONDS: u64 = 3;

/// The task.
#[derive(Debug)]
pub struct DispatchTask {
    /// The topology task's work.
    pub topology: watch::Receiver<Arc<TopologySnapshot>>,
    /// What serves.
    pub agreements: Arc<Agreements>,
    /// Sites of our own.
    pub predeployed: Arc<Predeployed>,
    /// Raised when that changes.
    pub serving_changed: Arc<Notify>,
    /// What the front end reads.
    pub table: Arc<ArcSwap<DispatchTable>>,
    /// A site must beat the cloud by this much.
    pub min_saving: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Report.
    pub status: Arc<Status>,
}

impl DispatchTask {
    /// Runs until the topology task is gone.
    pub async fn run(mut self) {
        let mut generation = Generation(0);
        loop {
            tokio::select! {
                () = self.serving_changed.notified() => {}
                changed = self.topology.changed() => if changed.is_err() { return },
            }
            let snapshot = Arc::clone(&self.topology.borrow_and_update());
            generation = generation.next();
            self.publish(&snapshot, generation);
        }
    }

    fn publish(&self, snapshot: &TopologySnapshot, generation: Generation) {
        let (mut candidates, mut serving) = self.agreements.serving(&snapshot.tree);
        let (own, own_serving) = self.predeployed.serving(&snapshot.tree);
        candidates.extend(own.iter().cloned());
        serving.extend(own_serving);
        let now_serving = self.assign(snapshot, generation, &candidates);
        let mut agreed = self.agreements.as_candidates(&snapshot.tree);
        agreed.extend(own);
        let soon = self.assign(snapshot, generation, &agreed);
        let interim_until = self.clock.utc().plus_seconds(INTERIM_SECONDS);
        let entries: Vec<_> = now_serving
            .into_iter()
            .filter_map(|(prefix, (site, expected))| {
                // A client reaches only addresses of its own family.
                let at = serving
                    .get(&site)
                    .filter(|at| at.address.is_ipv4() == prefix.addr().is_ipv4())?;
                let is_final = soon.get(&prefix).is_some_and(|(soon, _)| *soon == site);
                let usable_until = if is_final {
                    at.until
                } else {
                    at.until.min(interim_until)
                };
                Some((
                    prefix,
                    SiteTarget {
                        site,
                        address: at.address,
                        usable_until,
                        bounce: at.bounce.as_ref().map(|bounce| BounceTarget {
                            agreement: bounce.agreement,
                            entry_point: bounce.entry_point.clone(),
                            is_promised: expected.0
                                < Duration::from_millis(bounce.round_trip_ms.into()),
                        }),
                    },
                ))
            })
            .collect();
        let redirected = entries.len();
        match DispatchTable::new(generation, entries) {
            Ok(table) => self.table.store(Arc::new(table)),
            Err(error) => tracing::error!(%error, "no dispatch table from these prefixes"),
        }
        self.status.update(|report| {
            report.prefixes_redirected = redirected;
            report.topology = TopologyStatus {
                generation: snapshot.tree.generation().0,
                nodes: snapshot.tree.nodes().len() - 1,
                leaves: snapshot.tree.clients().count(),
                prefixes_seen: snapshot.prefixes_seen,
                traces_done: snapshot.traces_done,
                traces_refused: snapshot.traces_refused,
                probes_sent: snapshot.probes_sent,
            };
        });
        self.draw(&snapshot.tree);
    }

    /// The nearest of `candidates` for each client prefix that it serves better than the cloud, and its expected round trip.
    fn assign(
        &self,
        snapshot: &TopologySnapshot,
        generation: Generation,
        candidates: &[Candidate],
    ) -> BTreeMap<IpNet, (IepId, Rtt)> {
        let planned = plan(&PlanInput {
            generation,
            tree: &snapshot.tree,
            sites_found: candidates.len(),
            candidates,
            excluded: &BTreeSet::new(),
            measured: &self
                .agreements
                .measured(&snapshot.tree, candidates)
                .round_trips,
            application: Application::default(),
            policy: Policy {
                min_saving: Rtt(self.min_saving),
                ..Policy::within(Amount::wei(0))
            },
            algorithm: Algorithm::Celf,
            effort: Effort(0),
        });
        let clients = planned.clients.into_iter();
        clients
            .filter_map(|(prefix, service)| match service.served_by {
                ServedBy::Cloud => None,
                ServedBy::Site(site) => Some((prefix, (site, service.predicted))),
            })
            .collect()
    }

    fn draw(&self, tree: &AggregateTree) {
        let found = self.agreements.all_found(tree).into_iter();
        let sites = found.map(|(site, attachment, rented)| TreeReportSite {
            site: site.to_string(),
            node: attachment.node.0,
            rtt_ms: attachment.rtt.as_ms(),
            rented,
        });
        self.status.set_tree(TreeReport {
            sites: sites.collect(),
            ..TreeReport::of(tree)
        });
    }
}
