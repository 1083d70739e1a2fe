//! Algorithm 1 without its effects: the production code of layer 1 put together as the orchestrator does, told what happened and when.
//!
//! [`Engine::take`] takes what came in, in the order in which it came; [`Engine::activate`] is one activation of the topology task and, if
//! the tree changed a lot or demand surged, of the placement task. What the engine wants to know, it gives out as questions and
//! addresses to trace; who asks is the caller's affair: a made-up world, or a record.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use edge_discovery::{Answer, Discovery, DiscoveryConfig, IepCandidate, Question};
use edge_dispatch::{DispatchTable, SiteTarget};
use edge_forecast::{Alarm, AlarmSettings, Demand};
use edge_placement::{
    Algorithm, Application, Candidate, Effort, Plan, PlanInput, Policy, ServedBy, Severity, Trust,
    Whereabouts, check_plan, plan,
};
use edge_topology::{AggregateTree, ClientDemand, Limits, Observations, change};
use edge_types::{
    Amount, Generation, IepId, IpNet, MonotonicTime, PathEnd, PathObservation, PrefixGrouping,
    Slot, UtcTime,
};

/// How the engine decides.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Grouping of client addresses.
    pub grouping: PrefixGrouping,
    /// Grouping of router addresses into nodes of the tree.
    pub router_grouping: PrefixGrouping,
    /// Most client prefixes known at once.
    pub max_prefixes: usize,
    /// Requests from a prefix before it is traced.
    pub requests_before_trace: u64,
    /// Share of demand whose paths changed that makes a new plan due, 0 to 1.
    pub change_threshold: f64,
    /// When a sudden change of all demand makes a new plan due.
    pub alarm: AlarmSettings,
    /// Rule by which sites are chosen.
    pub algorithm: Algorithm,
    /// Limits of a plan.
    pub policy: Policy,
    /// Seconds for which a site is rented; from the start of the simulation, which is second 0 of its own calendar.
    pub lease_secs: u64,
    /// How entry points are looked for.
    pub discovery: DiscoveryConfig,
}

impl EngineSettings {
    /// As the orchestrator comes, for so many client prefixes.
    pub fn new(max_prefixes: usize, policy: Policy, discovery: DiscoveryConfig) -> Self {
        Self {
            grouping: PrefixGrouping::SITE,
            router_grouping: PrefixGrouping::SITE,
            max_prefixes,
            requests_before_trace: 3,
            change_threshold: 0.1,
            alarm: AlarmSettings::default(),
            algorithm: Algorithm::default(),
            policy,
            lease_secs: 3600,
            discovery,
        }
    }
}

/// Something that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many requests of one client.
    Requests {
        /// The client.
        client: IpAddr,
        /// How many.
        count: u64,
    },
    /// The path to a client.
    Path(PathObservation),
    /// An answer of the DNS.
    Answer(Question, Answer),
    /// The path to an entry point, whether discovery found it or not, and what it asks for a second.
    Site {
        /// The entry point.
        site: IepId,
        /// The path.
        path: PathObservation,
        /// The price.
        price_per_second: Amount,
    },
}

/// What an activation came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    /// The tree.
    pub tree: AggregateTree,
    /// Share of demand that changed since the last plan, 0 to 1.
    pub change: f64,
    /// Did demand change all of a sudden?
    pub surged: bool,
    /// The plan, if one was due and passed its check.
    pub plan: Option<Plan>,
}

/// The state of all decisions.
#[derive(Debug)]
pub struct Engine {
    settings: EngineSettings,
    demand: Demand,
    observations: Observations,
    discovery: Discovery,
    alarm: Alarm,
    /// Requests since the last activation.
    requests: u64,
    traced: BTreeMap<IpNet, IpAddr>,
    wanted: BTreeMap<IpNet, IpAddr>,
    sites: BTreeMap<IepId, Site>,
    planned_on: Option<AggregateTree>,
    generation: Generation,
    plans: Generation,
    table: DispatchTable,
}

/// An entry point, by what is known of it.
#[derive(Debug, Default)]
struct Site {
    offer: Option<(PathObservation, Amount)>,
    rented_until: Option<UtcTime>,
}

impl Engine {
    /// An engine that has seen nothing.
    pub fn new(settings: EngineSettings) -> Self {
        Self {
            demand: Demand::new(settings.grouping, settings.max_prefixes),
            observations: Observations::new(Limits {
                max_targets: settings.max_prefixes,
                ..Limits::default()
            }),
            discovery: Discovery::new(settings.discovery.clone()),
            alarm: Alarm::new(settings.alarm),
            requests: 0,
            traced: BTreeMap::new(),
            wanted: BTreeMap::new(),
            sites: BTreeMap::new(),
            planned_on: None,
            generation: Generation(0),
            plans: Generation(0),
            table: DispatchTable::empty(),
            settings,
        }
    }

    /// The table by which clients are sent to sites now.
    pub const fn table(&self) -> &DispatchTable {
        &self.table
    }

    /// Takes what came in at `now`.
    pub fn take(&mut self, event: Event, now: MonotonicTime) {
        match event {
            Event::Requests { client, count } => self.see(client, count, now),
            Event::Path(path) => {
                let prefix = self.settings.grouping.group(path.target);
                if self.observations.insert(&path).is_ok() {
                    self.traced.insert(prefix, path.target);
                    self.discovery.observe_path(&path, now);
                }
            }
            Event::Answer(question, answer) => self.discovery.handle_answer(&question, answer, now),
            Event::Site {
                site,
                path,
                price_per_second,
            } => {
                self.sites.entry(site).or_default().offer = Some((path, price_per_second));
            }
        }
    }

    /// Addresses of clients whose paths are wanted, each once, in order of prefix.
    pub fn wanted_traces(&mut self) -> Vec<IpAddr> {
        let wanted = std::mem::take(&mut self.wanted);
        wanted.into_values().collect()
    }

    /// Opens a run of questions to the DNS.
    pub fn start_questions(&mut self, now: MonotonicTime) {
        self.discovery.start_run(now);
    }

    /// The next question to the DNS, if there is one.
    pub fn poll_question(&mut self, now: MonotonicTime) -> Option<Question> {
        self.discovery.poll_question(now)
    }

    /// Entry points found since this was last asked, in order: their paths and prices are wanted.
    pub fn found_sites(&mut self) -> Vec<IepCandidate> {
        let mut found = Vec::new();
        for candidate in self.discovery.candidates() {
            if !self.sites.contains_key(&candidate.id) {
                self.sites.insert(candidate.id.clone(), Site::default());
                found.push(candidate);
            }
        }
        found
    }

    fn see(&mut self, client: IpAddr, count: u64, now: MonotonicTime) {
        self.requests = self.requests.saturating_add(count);
        let Some((prefix, entry)) = self.demand.record_many(client, count, now) else {
            return;
        };
        let is_due = entry.requests >= self.settings.requests_before_trace;
        if is_due && !self.traced.contains_key(&prefix) {
            self.traced.insert(prefix, client);
            self.wanted.insert(prefix, client);
        }
    }

    /// One activation at `now`.
    pub fn activate(&mut self, now: MonotonicTime) -> Activation {
        let surged = self
            .alarm
            .observe(std::mem::take(&mut self.requests))
            .is_some();
        let demand: edge_topology::Demand = self
            .demand
            .iter()
            .filter_map(|(prefix, entry)| {
                let client = ClientDemand {
                    target: *self.traced.get(prefix)?,
                    milli_requests_per_second: entry.milli_requests_per_second(now),
                };
                Some((*prefix, client))
            })
            .collect();
        self.generation = self.generation.next();
        let tree = self
            .observations
            .tree(self.generation, self.settings.router_grouping, &demand);
        let change = match &self.planned_on {
            Some(planned_on) => change(planned_on, &tree),
            None => 1.0,
        };
        let utc = UtcTime(now.0.as_secs());
        let has_ended = |site: &Site| site.rented_until.is_some_and(|until| until <= utc);
        let is_due =
            surged || change > self.settings.change_threshold || self.sites.values().any(has_ended);
        let plan = if is_due { self.place(&tree, utc) } else { None };
        if plan.is_some() {
            self.planned_on = Some(tree.clone());
        }
        Activation {
            tree,
            change,
            surged,
            plan,
        }
    }

    /// Plans, checks the plan, and puts it in force at once.
    fn place(&mut self, tree: &AggregateTree, now: UtcTime) -> Option<Plan> {
        for site in self.sites.values_mut() {
            if site.rented_until.is_some_and(|until| until <= now) {
                site.rented_until = None;
            }
        }
        let slot = |site: &Site| Slot {
            start: now,
            end: site
                .rented_until
                .unwrap_or(now.plus_seconds(self.settings.lease_secs)),
        };
        let candidates: Vec<Candidate> = self
            .sites
            .iter()
            .filter_map(|(id, site)| {
                let (path, price) = site.offer.as_ref()?;
                (path.end == PathEnd::Reached).then(|| Candidate {
                    site: id.clone(),
                    offer: None,
                    attachment: tree.attach(path),
                    price_per_second: *price,
                    slot: slot(site),
                    already_running: site.rented_until.is_some(),
                    capacity: None,
                    trust: Trust::Named,
                    whereabouts: Whereabouts::default(),
                    outlook_percent: 100,
                })
            })
            .collect();
        let input = PlanInput {
            generation: self.plans.next(),
            tree,
            sites_found: self.sites.len(),
            candidates: &candidates,
            excluded: &BTreeSet::new(),
            measured: &BTreeMap::new(),
            application: Application::default(),
            policy: self.settings.policy.clone(),
            algorithm: self.settings.algorithm,
            effort: Effort::default(),
        };
        let planned = plan(&input);
        let notes = check_plan(&input, &planned);
        if notes.iter().any(|note| note.severity == Severity::Fatal) {
            return None;
        }
        let mut targets = BTreeMap::new();
        for assignment in &planned.chosen {
            let Some(site) = self.sites.get_mut(&assignment.site) else {
                continue;
            };
            site.rented_until = Some(assignment.slot.end);
            let Some((path, _)) = &site.offer else {
                continue;
            };
            let target = SiteTarget {
                site: assignment.site.clone(),
                address: SocketAddr::new(path.target, assignment.site.port),
                usable_until: assignment.slot.end,
                bounce: None,
            };
            targets.insert(assignment.site.clone(), target);
        }
        let served = planned.clients.iter().filter_map(|(prefix, service)| {
            let ServedBy::Site(site) = &service.served_by else {
                return None;
            };
            Some((*prefix, targets.get(site)?.clone()))
        });
        let table = DispatchTable::new(planned.generation, served).ok()?;
        self.table.replace(table).ok()?;
        self.plans = planned.generation;
        Some(planned)
    }
}
