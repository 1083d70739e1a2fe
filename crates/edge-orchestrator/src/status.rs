//! What the orchestrator knows and does, for people and for the admin interface.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edge_topology::{AggregateTree, NodeId};
use serde::{Deserialize, Serialize};

use crate::plan_report::PlanReport;

/// Events kept.
const MOST_EVENTS: usize = 400;

/// Everything at one moment. Times are milliseconds since the orchestrator started, money is decimal wei.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Time of the report.
    pub uptime_ms: u64,
    /// Tracing and the tree.
    pub topology: TopologyStatus,
    /// Zones and entry points.
    pub discovery: DiscoveryStatus,
    /// What the entry points answered.
    pub offers: OfferStatus,
    /// The latest plan.
    pub plan: Option<PlanStatus>,
    /// All agreements ever tried, by site and attempt.
    pub agreements: Vec<AgreementStatus>,
    /// Client prefixes that are redirected now.
    pub prefixes_redirected: usize,
    /// The front end's counts.
    pub front_end: FrontEndStatus,
    /// Is no agreement open and no new one allowed?
    pub wound_down: bool,
    /// The latest events, oldest first.
    pub events: VecDeque<Event>,
}

/// Tracing and the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyStatus {
    /// Number of the snapshot.
    pub generation: u64,
    /// Nodes of the aggregate tree, leaves included, the origin not.
    pub nodes: usize,
    /// Client prefixes in the tree.
    pub leaves: usize,
    /// Prefixes that asked often enough to be traced.
    pub prefixes_seen: usize,
    /// Traces that ended.
    pub traces_done: u64,
    /// Traces refused by a budget or policy.
    pub traces_refused: u64,
    /// Probes sent towards clients.
    pub probes_sent: u64,
}

/// Zones and entry points.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiscoveryStatus {
    /// Router addresses looked up.
    pub addresses: usize,
    /// Zones asked for SRV records.
    pub zones_asked: usize,
    /// Entry points found.
    pub sites: Vec<FoundSite>,
}

/// An entry point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundSite {
    /// Host and port of the SRV record.
    pub site: String,
    /// Zone of the record.
    pub zone: String,
    /// Address used.
    pub address: Option<SocketAddr>,
    /// Measured round trip.
    pub rtt_ms: Option<f64>,
    /// How far it is trusted: `unverified`, `measured` or `authenticated`.
    #[serde(default)]
    pub trust: String,
    /// What its offer, or the lack of one, came to.
    pub verdict: String,
}

/// What the entry points answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferStatus {
    /// Entry points asked.
    pub asked: usize,
    /// Entry points that made an offer.
    pub offered: usize,
    /// Entry points with a green-listed offer.
    pub green_listed: usize,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanStatus {
    /// Its number.
    pub generation: u64,
    /// Rule.
    pub algorithm: String,
    /// Sites chosen.
    pub sites: Vec<String>,
    /// Candidates not chosen and why.
    pub rejected: BTreeMap<String, String>,
    /// Predicted mean round trip with the cloud alone.
    pub cloud_only_ms: f64,
    /// Predicted mean round trip with the plan.
    pub planned_ms: f64,
    /// How far off that may well be.
    #[serde(default)]
    pub planned_error_ms: f64,
    /// By how much the plan may exceed the best possible, in percent of that; none where nothing is proven.
    #[serde(default)]
    pub gap_percent: Option<f64>,
    /// Sites that the plan adds and that are not rented because of the mode.
    #[serde(default)]
    pub recommended: Vec<String>,
    /// Sites that the plan would add, but for those rented, whose leases run on.
    #[serde(default)]
    pub waiting: Vec<String>,
}

/// One agreement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgreementStatus {
    /// Site.
    pub site: String,
    /// Id on the ledger.
    pub id: String,
    /// State, in one word.
    pub state: String,
    /// What was put into escrow.
    pub deposit_units: String,
    /// Client-facing address while it serves.
    pub serving_at: Option<SocketAddr>,
    /// When the negotiation began.
    pub began_ms: u64,
    /// When the provider held the slot.
    #[serde(default)]
    pub reserved_ms: Option<u64>,
    /// When the escrow held the money.
    pub proposed_ms: Option<u64>,
    /// When the provider confirmed.
    pub confirmed_ms: Option<u64>,
    /// When it first served.
    pub serving_ms: Option<u64>,
    /// When clients were no longer sent there: the notice period before the end of the slot began, or it failed.
    pub ended_ms: Option<u64>,
    /// Why it failed or was rejected.
    pub reason: Option<String>,
}

/// The front end's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontEndStatus {
    /// Redirected requests.
    pub redirected: u64,
    /// Requests served by the application in the cloud.
    pub served: u64,
    /// Requests refused.
    pub refused: u64,
    /// Requests that the application failed to answer.
    pub failed: u64,
    /// Redirected requests that went by the site's entry point first.
    #[serde(default)]
    pub bounced: u64,
    /// Of these, how many came back and counted.
    #[serde(default)]
    pub returned: u64,
    /// Tokens of bounces that counted for nothing.
    #[serde(default)]
    pub tokens_refused: u64,
}

/// Something worth a line in a diary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at_ms: u64,
    /// What.
    pub text: String,
}

/// The tree as the admin interface shows it, for drawing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TreeReport {
    /// Nodes, parents before their children; the first is the cloud.
    pub nodes: Vec<TreeReportNode>,
    /// Sites on it.
    pub sites: Vec<TreeReportSite>,
}

impl TreeReport {
    /// All nodes of `tree`, without any site.
    pub fn of(tree: &AggregateTree) -> Self {
        let nodes = tree.nodes().iter().map(|node| TreeReportNode {
            parent: node.parent.map(|parent| parent.0),
            label: node.id.to_string(),
            rtt_ms: node.rtt.rtt.as_ms(),
            demand_rps: node.demand as f64 / 1e3,
            client: node.client.is_some(),
            silent: matches!(node.id, NodeId::Silent { .. }),
        });
        Self {
            nodes: nodes.collect(),
            sites: Vec::new(),
        }
    }
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TreeReportNode {
    /// Index of the parent; none for the cloud.
    pub parent: Option<usize>,
    /// Prefix, or neighbours of a silent hop.
    pub label: String,
    /// Estimated round trip from the cloud.
    pub rtt_ms: f64,
    /// Requests per second at or behind it.
    pub demand_rps: f64,
    /// Is it a client prefix?
    pub client: bool,
    /// Is it a hop that never answered?
    pub silent: bool,
}

/// A site on the tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TreeReportSite {
    /// Host and port.
    pub site: String,
    /// Node that it hangs on.
    pub node: usize,
    /// Measured round trip from the cloud.
    pub rtt_ms: f64,
    /// Did it ever confirm an agreement?
    pub rented: bool,
}

/// The shared status. Its lock is held for copies only, and never by the hot path.
#[derive(Debug, Default)]
pub struct Status {
    report: Mutex<StatusReport>,
    tree: Mutex<TreeReport>,
    plan: Mutex<Option<Arc<PlanReport>>>,
}

impl Status {
    /// A copy of the report.
    pub fn report(&self) -> StatusReport {
        self.lock().clone()
    }

    /// A copy of the tree.
    pub fn tree(&self) -> TreeReport {
        self.tree
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces the tree.
    pub fn set_tree(&self, tree: TreeReport) {
        *self.tree.lock().unwrap_or_else(PoisonError::into_inner) = tree;
    }

    /// The latest plan in full, if there is one.
    pub fn plan(&self) -> Option<Arc<PlanReport>> {
        self.plan
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces the plan.
    pub fn set_plan(&self, plan: PlanReport) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(plan));
    }

    /// Changes the report.
    pub fn update(&self, change: impl FnOnce(&mut StatusReport)) {
        change(&mut self.lock());
    }

    /// Adds an event, and logs it.
    pub fn event(&self, at_ms: u64, text: String) {
        tracing::info!(at_ms, "{text}");
        let mut report = self.lock();
        if report.events.len() >= MOST_EVENTS {
            report.events.pop_front();
        }
        report.events.push_back(Event { at_ms, text });
    }

    fn lock(&self) -> MutexGuard<'_, StatusReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
