//! Algorithm 1, lines 7-13: discover entry points, hear their offers, plan, check the plan, have it carried out.
//!
//! An activation does whatever is missing, in this order: look up routers not seen before; trace and greet entry points
//! not known before; once the first traces are in, ask for fresh offers; plan; check; start the agreements that the plan
//! adds. What a plan does not add is left alone: rented sites run to the end of their lease. Some time before that the plan
//! decides anew, among the fresh offers of all sites, so that the lease is renewed or another site ready in time. While there is
//! no room for more, plans are made all the same: they say what to expect of what is rented, and what waits for a lease to end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use edge_discovery::{Discovery, IepCandidate, OwnerAnswer, Use};
use edge_placement::{
    Algorithm, Application, Assignment, Candidate, Effort, Plan, PlanBasis, PlanInput, Service,
    Severity, Trust, Whereabouts, check_plan, plan,
};
use edge_ports::{Clock, NameLookup, PathSource, PrefixOwner, SiteList, TracePriority};
use edge_resolver::drive;
use edge_topology::AggregateTree;
use edge_types::{
    AddressPolicy, Amount, Generation, IepId, MonotonicTime, OfferId, PathEnd, PathObservation, Rtt,
};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

use crate::agreements::Agreements;
use crate::config::{Mode, Settings};
use crate::lists::{self, Listed, better};
use crate::places::Places;
use crate::plan_report::PlanReport;
use crate::predeployed::Predeployed;
use crate::record::{Recorded, RecordedPlan, Recorder};
use crate::sites::{Inquirer, Inquiry, KnownSite, PathToSite};
use crate::status::{DiscoveryStatus, FoundSite, OfferStatus, PlanStatus, Status};
use crate::topology_task::TopologySnapshot;

mod forgotten;
mod incumbents;
mod outlook;
mod told;

use forgotten::MOST_KNOWN;
use incumbents::keep;
use outlook::Outlook;
use told::{new_sites, recommendation};

/// Questions to the resolver at once.
const PARALLEL_QUESTIONS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Questions to registries at once. They ask for restraint.
const PARALLEL_REGISTRIES: usize = 4;

/// Entry points greeted at once.
pub const PARALLEL_INQUIRIES: usize = 64;

/// An offer older than this is asked for again before a plan uses it.
const OFFER_FRESH_FOR: Duration = Duration::from_secs(5);

/// An entry point that was not heard or made no fair offer is not asked again for this long.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(20);

/// An entry point whose trace did not reach it is not traced again for this long.
const TRACE_AGAIN_AFTER: Duration = Duration::from_millis(1500);

/// A site that rejected or failed is left out of plans for this long.
const EXCLUDED_FOR: Duration = Duration::from_secs(120);

/// Routers whose round trips are remembered.
const MOST_ROUTERS: usize = 100_000;

/// While something is awaited, the task looks again this often.
const WHILE_WAITING: Duration = Duration::from_millis(100);

/// Shortest time between two plans.
const BETWEEN_PLANS: Duration = Duration::from_millis(500);

/// The task and what it holds between activations.
#[derive(Debug)]
pub struct PlacementTask {
    /// Configuration.
    pub settings: Arc<Settings>,
    /// Rule by which sites are chosen.
    pub algorithm: Algorithm,
    /// The topology task's work.
    pub topology: watch::Receiver<Arc<TopologySnapshot>>,
    /// The topology-change signal, and a site's "no".
    pub wake: Arc<Notify>,
    /// Names.
    pub discovery: Discovery,
    /// DNS.
    pub lookup: Arc<dyn NameLookup>,
    /// Lists of entry points beside the DNS.
    pub lists: Arc<Vec<Arc<dyn SiteList>>>,
    /// Which addresses may be contacted.
    pub addresses: AddressPolicy,
    /// Sites of our own.
    pub predeployed: Arc<Predeployed>,
    /// Where addresses are, and who announces them, where known.
    pub places: Places,
    /// Who holds the addresses of routers without names, where that may be asked.
    pub owners: Option<Arc<dyn PrefixOwner>>,
    /// Paths to entry points.
    pub paths: Arc<dyn PathSource>,
    /// Greets entry points.
    pub inquirer: Arc<Inquirer>,
    /// Carries plans out.
    pub agreements: Arc<Agreements>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Report.
    pub status: Arc<Status>,
    /// Is told of every plan.
    pub recorder: Option<Recorder>,
    /// Bounds how many entry points are greeted at once.
    pub turns: Arc<Semaphore>,
    /// State between activations.
    pub memory: Memory,
}

/// What the task remembers.
#[derive(Debug, Default)]
pub struct Memory {
    known: BTreeMap<IepId, KnownSite>,
    paths_taken: BTreeMap<IpAddr, MonotonicTime>,
    /// Least round trip to each router, from all paths.
    least: BTreeMap<IpAddr, Rtt>,
    generation: Generation,
    /// Traces and greetings under way, and since when the oldest of them.
    under_way: JoinSet<News>,
    /// A reading of the lists, and when the last began. No plan waits for it.
    reading: JoinSet<Listed>,
    lists_read_at: Option<MonotonicTime>,
    /// Questions for holders of addresses. Registries are slow, and nothing waits for them.
    asking: JoinSet<(IpAddr, OwnerAnswer)>,
    /// A holder was told whose domain is to be asked.
    has_new_holder: bool,
    waiting_since: Option<MonotonicTime>,
    /// Something changed since the last plan.
    is_plan_due: bool,
    /// What ended soon when it was looked at last.
    ending: BTreeSet<OfferId>,
    /// What sites are expected to save.
    outlook: Option<Outlook>,
    planned_at: Option<MonotonicTime>,
    /// Sites that the last plan added.
    told: Vec<IepId>,
    /// Sites for which it had no room.
    waiting: Vec<String>,
}

/// What comes back from greeting and tracing an entry point.
#[derive(Debug)]
enum News {
    Path(IepId, Option<PathToSite>),
    Inquiry(IepId, Box<Inquiry>),
}

impl Memory {
    fn note_round_trips(&mut self, path: &PathObservation) {
        for (_, reply) in path.replies() {
            let Some(rtt) = reply.rtt else { continue };
            let router = reply.address.to_canonical();
            if self.least.len() >= MOST_ROUTERS && !self.least.contains_key(&router) {
                continue;
            }
            let known = self.least.entry(router).or_insert(rtt);
            *known = rtt.min(*known);
        }
    }
}

impl PlacementTask {
    /// Runs until the topology task is gone.
    pub async fn run(mut self) {
        for zone in self.settings.lists.zones.clone() {
            self.discovery.observe_zone(zone, self.clock.monotonic());
        }
        loop {
            let pause = self.activate().await;
            tokio::select! {
                () = self.wake.notified() => self.memory.is_plan_due = true,
                () = tokio::time::sleep(pause) => {}
                Some(news) = self.memory.under_way.join_next() => self.take(news),
                Some(listed) = self.memory.reading.join_next() => self.take_listed(listed),
                Some(told) = self.memory.asking.join_next() => self.take_holder(told),
            }
            while let Some(news) = self.memory.under_way.try_join_next() {
                self.take(news);
            }
            if self.topology.has_changed().is_err() {
                return;
            }
        }
    }

    /// One activation: begins whatever is missing, and plans if a plan is due and nothing worth waiting for is under way.
    /// Returns when to look again if nothing happens before.
    async fn activate(&mut self) -> Duration {
        let at_leisure = Duration::from_millis(self.settings.config.pace.platforms_ms);
        let snapshot = Arc::clone(&self.topology.borrow_and_update());
        self.discover(&snapshot).await;
        self.read_lists();
        self.learn(
            |site, now| site.may_be_traced(now, TRACE_AGAIN_AFTER),
            |site, now| site.may_be_asked(now, ASK_AGAIN_AFTER),
        );
        self.report();
        let now = self.clock.monotonic();
        let planned_at = self.memory.planned_at;
        self.memory.is_plan_due |= planned_at.is_none_or(|at| now.since(at) >= at_leisure);
        let ending = self.agreements.ending();
        self.memory.is_plan_due |= !ending.is_subset(&self.memory.ending);
        self.memory.ending = ending;
        if snapshot.demand.is_empty() || !self.memory.is_plan_due {
            return WHILE_WAITING;
        }
        let settle = Duration::from_millis(self.settings.config.pace.settle_ms);
        let is_worth_waiting =
            |since: Option<MonotonicTime>| since.is_some_and(|since| now.since(since) < settle);
        if is_worth_waiting(snapshot.tracing_since)
            || is_worth_waiting(self.memory.waiting_since)
            || planned_at.is_some_and(|at| now.since(at) < BETWEEN_PLANS)
        {
            return WHILE_WAITING;
        }
        if self.agreements.spending_stopped() {
            return at_leisure;
        }
        // What is too old to be used is asked for first, once.
        if self.memory.waiting_since.is_none()
            && self.learn(
                |_, _| false,
                |site, now| site.offer_is_older_than(now, OFFER_FRESH_FOR),
            )
        {
            return WHILE_WAITING;
        }
        self.place(&snapshot.tree);
        self.memory.planned_at = Some(now);
        self.memory.is_plan_due = false;
        WHILE_WAITING
    }

    async fn discover(&mut self, snapshot: &TopologySnapshot) {
        let now = self.clock.monotonic();
        let mut is_new = false;
        for (target, path) in &snapshot.paths {
            let seen = self.memory.paths_taken.insert(*target, path.observed_at);
            if seen != Some(path.observed_at) {
                self.discovery.observe_path(path, now);
                self.memory.note_round_trips(path);
                is_new = true;
            }
        }
        self.memory
            .paths_taken
            .retain(|target, _| snapshot.paths.contains_key(target));
        is_new |= std::mem::take(&mut self.memory.has_new_holder);
        if !is_new {
            return self.ask_for_holders();
        }
        self.discovery.start_run(now);
        drive(
            &mut self.discovery,
            &*self.lookup,
            &*self.clock,
            PARALLEL_QUESTIONS,
            |_| {},
        )
        .await;
        for candidate in self.discovery.candidates() {
            self.note(candidate);
        }
        self.forget_unnamed();
        // More paths may tell more of sites that are known.
        for site in self.memory.known.values_mut() {
            site.assess(self.places.origins.as_deref(), &self.memory.least);
        }
        self.ask_for_holders();
    }

    /// Begins to ask for the holders of addresses that have no name (paper section 2.2).
    fn ask_for_holders(&mut self) {
        let Some(owners) = &self.owners else { return };
        while self.memory.asking.len() < PARALLEL_REGISTRIES
            && let Some(address) = self.discovery.poll_owner(self.clock.monotonic())
        {
            let owners = Arc::clone(owners);
            let asking = async move { (address, owners.owner(address).await) };
            self.memory.asking.spawn(asking);
        }
    }

    fn take_holder(&mut self, told: Result<(IpAddr, OwnerAnswer), JoinError>) {
        match told {
            Ok((address, answer)) => {
                tracing::debug!(%address, ?answer, "asked for the holder");
                self.memory.has_new_holder |= matches!(answer, OwnerAnswer::Found(_));
                let now = self.clock.monotonic();
                self.discovery.handle_owner(address, answer, now);
            }
            Err(error) => tracing::error!(%error, "asking for a holder ended abnormally"),
        }
    }

    /// Begins to read the lists, if it is time to.
    fn read_lists(&mut self) {
        let now = self.clock.monotonic();
        let every = Duration::from_secs(self.settings.config.discovery.refresh_s);
        let is_fresh = self
            .memory
            .lists_read_at
            .is_some_and(|at| now.since(at) < every);
        if self.lists.is_empty() || is_fresh || !self.memory.reading.is_empty() {
            return;
        }
        self.memory.lists_read_at = Some(now);
        let (lists, lookup) = (Arc::clone(&self.lists), Arc::clone(&self.lookup));
        let addresses = self.addresses.clone();
        let reading = async move { lists::read(&lists, &*lookup, &addresses).await };
        self.memory.reading.spawn(reading);
    }

    fn take_listed(&mut self, listed: Result<Listed, JoinError>) {
        match listed {
            Ok(listed) => {
                for problem in &listed.problems {
                    tracing::warn!(%problem, "not used of a list");
                }
                for candidate in listed.candidates {
                    self.note(candidate);
                }
                self.forget_unlisted(&listed.named);
            }
            Err(error) => tracing::error!(%error, "reading the lists ended abnormally"),
        }
    }

    /// Takes note of a candidate, whoever named it.
    fn note(&mut self, candidate: IepCandidate) {
        let Some(known) = self.memory.known.get_mut(&candidate.id) else {
            if self.memory.known.len() >= MOST_KNOWN {
                tracing::warn!(site = %candidate.id, "not taken: {MOST_KNOWN} entry points are known");
                return;
            }
            let found = format!("found {} by {}", candidate.id, candidate.origin);
            self.status.event(self.at_ms(), found);
            let id = candidate.id.clone();
            let mut site = KnownSite::new(candidate);
            site.assess(self.places.origins.as_deref(), &self.memory.least);
            self.memory.known.insert(id, site);
            return;
        };
        known.candidate = better(&known.candidate, candidate);
        self.agreements
            .note_pins(&known.candidate.id, &known.candidate.pins);
        known.assess(self.places.origins.as_deref(), &self.memory.least);
    }

    /// Begins to trace and to greet the entry points that the two questions select; were there any?
    fn learn(
        &mut self,
        is_to_trace: impl Fn(&KnownSite, MonotonicTime) -> bool,
        is_to_ask: impl Fn(&KnownSite, MonotonicTime) -> bool,
    ) -> bool {
        let now = self.clock.monotonic();
        let before = self.memory.under_way.len();
        for (id, site) in &mut self.memory.known {
            if is_to_trace(site, now) {
                site.trace_started(now);
                let (paths, id, address) = (Arc::clone(&self.paths), id.clone(), site.address());
                self.memory.under_way.spawn(async move {
                    let path = paths.trace(address, TracePriority::New).await;
                    News::Path(id, path.ok().map(|path| PathToSite { path, at: now }))
                });
            }
            let may_be_asked = self.settings.trust.check(Use::Contact, &site.assessment);
            if may_be_asked.is_ok()
                && is_to_ask(site, now)
                && !site.is_being_asked
                && !self.agreements.holds(id)
            {
                site.is_being_asked = true;
                let (inquirer, id, site) = (Arc::clone(&self.inquirer), id.clone(), site.clone());
                let turns = Arc::clone(&self.turns);
                self.memory.under_way.spawn(async move {
                    let _turn = turns.acquire_owned().await;
                    let inquiry = inquirer.ask(&site).await;
                    News::Inquiry(id, Box::new(inquiry))
                });
            }
        }
        let has_begun = self.memory.under_way.len() > before;
        if has_begun {
            self.memory.waiting_since.get_or_insert(now);
        }
        has_begun
    }

    /// Takes what a trace or greeting came to.
    fn take(&mut self, news: Result<News, JoinError>) {
        match news {
            Ok(News::Path(id, path)) => {
                if let Some(site) = self.memory.known.get_mut(&id) {
                    if let Some(path) = &path {
                        self.agreements.note_found(&id, path);
                    }
                    site.path = path;
                    site.assess(self.places.origins.as_deref(), &self.memory.least);
                }
            }
            Ok(News::Inquiry(id, inquiry)) => {
                if let Some(site) = self.memory.known.get_mut(&id) {
                    site.inquiry = Some(*inquiry);
                    site.is_being_asked = false;
                    let verdict = site.verdict(&self.settings.trust, self.settings.wei_per_trial);
                    tracing::debug!(site = %id, verdict, "heard");
                }
            }
            Err(error) => tracing::error!(%error, "an inquiry ended abnormally"),
        }
        self.memory.is_plan_due = true;
        if self.memory.under_way.is_empty() {
            self.memory.waiting_since = None;
        }
    }

    /// Plans, checks, and starts what the plan adds.
    fn place(&mut self, tree: &AggregateTree) {
        let now = self.clock.monotonic();
        // Leases that a plan no longer needs run on, and count.
        let policy = &self.settings.config.policy;
        let found = self.memory.known.len();
        let share = (found * usize::from(policy.max_share_percent) / 100).max(1);
        let open = self.agreements.open();
        let room = policy.max_sites.min(share).saturating_sub(open);
        let most = open + room;
        let candidates = self.candidates(tree);
        // Our own sites cost nothing, so they take no room from rented ones: neither of their number nor of their share.
        let own = self.predeployed.len();
        if found + open + own == 0 {
            return;
        }
        let measured = self.agreements.measured(tree, &candidates).round_trips;
        let excluded: BTreeSet<IepId> = self.agreements.failed_within(now, EXCLUDED_FOR);
        let mut input = PlanInput {
            generation: self.memory.generation.next(),
            tree,
            sites_found: found + open + own,
            candidates: &candidates,
            excluded: &excluded,
            measured: &measured,
            application: Application {
                service: Service::AnyNearest,
                calls_per_thousand: self.settings.edge_service.calls_per_thousand,
            },
            policy: edge_placement::Policy {
                max_sites: most + own,
                // The share was taken above.
                max_share_percent: 100,
                value_per_second: self.settings.value_per_second,
                min_saving: Rtt(Duration::from_millis(
                    self.settings.config.policy.min_saving_ms,
                )),
                countries: self.settings.countries.clone(),
                asns: self.allowed_systems(),
                ..edge_placement::Policy::within(Amount::wei(self.agreements.budget_left()))
            },
            algorithm: self.algorithm,
            effort: Effort::default(),
        };
        let ideal = plan(&input);
        let lease = Duration::from_secs(policy.lease_s);
        let outlook = self
            .memory
            .outlook
            .get_or_insert_with(|| Outlook::new(lease));
        outlook.note(&ideal, now);
        let kept = keep(&input, &ideal, &self.agreements.sites_ending());
        let (aim, among) = kept
            .as_ref()
            .map_or((&ideal, candidates.as_slice()), |(plan, among)| {
                (plan, among.as_slice())
            });
        input.candidates = among;
        let wanted = new_sites(aim);
        let (added, waiting) = wanted.split_at(room.min(wanted.len()));
        // What is rented stays, so a plan that counts on leaving it would promise what does not come.
        let possible: Vec<Candidate> = among
            .iter()
            .filter(|candidate| candidate.already_running || added.contains(&candidate.site))
            .cloned()
            .collect();
        let planned = if waiting.is_empty() {
            aim.clone()
        } else {
            let running = possible.iter().filter(|site| site.already_running).count();
            input.policy.max_sites = input.policy.max_sites.max(running);
            input.candidates = &possible;
            plan(&input)
        };
        // Of plans that are equally good the one at hand is kept.
        let is_better = aim.certificate.cost < planned.certificate.cost;
        let waiting = if is_better { waiting } else { &[] };
        let notes = check_plan(&input, &planned);
        if let Some(fatal) = notes.iter().find(|note| note.severity == Severity::Fatal) {
            tracing::error!(note = ?fatal, "the plan fails its check and is not carried out");
            return;
        }
        self.memory.generation = planned.generation;
        if let Some(recorder) = &self.recorder {
            recorder.tell(Recorded::Plan(Box::new(RecordedPlan {
                at: now,
                basis: PlanBasis::of(&input, |site| self.path_to(site)),
                plan: planned.clone(),
            })));
        }
        let added = new_sites(&planned);
        let added: Vec<&Assignment> = added
            .iter()
            .filter_map(|site| planned.chosen.iter().find(|chosen| chosen.site == *site))
            .collect();
        tracing::debug!(
            plan = %planned.generation,
            known = self.memory.known.len(),
            measured = self.memory.known.values().filter(|site| site.rtt().is_some()).count(),
            green_listed = self.memory.known.values().filter(|site| site.offers().next().is_some()).count(),
            under_way = self.memory.under_way.len(),
            candidates = candidates.len(),
            chosen = planned.chosen.len(),
            added = added.len(),
            waiting = waiting.len(),
            planned_ms = planned.prediction.planned_mean().as_ms(),
            "planned"
        );
        let mode = self.settings.config.placement.mode;
        self.publish(&planned, &added, &ideal, waiting, mode);
        if mode != Mode::Act {
            return;
        }
        for assignment in added {
            let Some(site) = self.memory.known.get(&assignment.site) else {
                continue;
            };
            let Some(inquiry) = assignment.offer.and_then(|offer| site.green_listed(offer)) else {
                continue;
            };
            let Some(path) = &site.path else { continue };
            if let Err(refusal) = self.agreements.start(site, inquiry, path.clone()) {
                self.status.event(
                    self.at_ms(),
                    format!("{} is not rented: {refusal}", assignment.site),
                );
            }
        }
    }

    fn candidates(&self, tree: &AggregateTree) -> Vec<Candidate> {
        let mut candidates = self.agreements.as_candidates(tree);
        candidates.extend(self.predeployed.serving(tree).0);
        let held: BTreeSet<IepId> = candidates
            .iter()
            .map(|candidate| candidate.site.clone())
            .collect();
        for (id, site) in &self.memory.known {
            let Some(path) = &site.path else { continue };
            if held.contains(id) || path.path.end != PathEnd::Reached {
                continue;
            }
            if site.offer_is_older_than(self.clock.monotonic(), 2 * OFFER_FRESH_FOR) {
                continue;
            }
            let attachment = tree.attach(&path.path);
            let key = site.candidate.key.as_ref();
            let is_bound = key.is_some_and(|key| key.authenticated);
            let (trust, trial) = (&self.settings.trust, self.settings.wei_per_trial);
            let payable = site
                .offers()
                .filter(|offer| site.may_be_rented(offer, trust, trial).is_ok());
            candidates.extend(payable.map(|offer| Candidate {
                site: id.clone(),
                offer: Some(offer.id),
                attachment,
                price_per_second: offer.price_per_second,
                slot: offer.slot,
                already_running: false,
                capacity: self.settings.edge_service.capacity,
                trust: if is_bound { Trust::Bound } else { Trust::Named },
                whereabouts: Whereabouts::default(),
                outlook_percent: 100,
            }));
        }
        let incumbents = self.agreements.sites_ending();
        for candidate in &mut candidates {
            if let Some(path) = self.path_to(&candidate.site) {
                candidate.whereabouts = self.places.of(path.target);
            }
            if let Some(outlook) = &self.memory.outlook {
                let serves = candidate.already_running || incumbents.contains(&candidate.site);
                candidate.outlook_percent = outlook.percent(&candidate.site, serves);
            }
        }
        candidates
    }

    fn allowed_systems(&self) -> Option<BTreeSet<u32>> {
        let allowed = &self.settings.config.policy.autonomous_systems;
        let allowed = allowed.as_ref()?;
        Some(allowed.iter().copied().collect())
    }

    /// By what candidates are hung on the tree.
    fn path_to(&self, site: &IepId) -> Option<PathObservation> {
        let known = || Some(self.memory.known.get(site)?.path.as_ref()?.path.clone());
        self.agreements
            .path_to(site)
            .or_else(|| self.predeployed.path_to(site))
            .or_else(known)
    }

    fn publish(
        &mut self,
        planned: &Plan,
        added: &[&Assignment],
        ideal: &Plan,
        waiting: &[IepId],
        mode: Mode,
    ) {
        let names: Vec<IepId> = added.iter().map(|site| site.site.clone()).collect();
        let error = Rtt(planned.prediction.planned_error());
        let gap = planned.certificate.gap_ppm();
        let gap_percent = gap.map(|ppm| ppm as f64 / 1e4);
        // What is not acted on would be told with every plan again.
        if !added.is_empty() && (mode == Mode::Act || self.memory.told != names) {
            let proven = gap_percent.map_or_else(String::new, |percent| {
                format!(", at most {percent:.1} % above the best possible")
            });
            let text = format!(
                "plan {}: {} sites, {} of them {}, mean round trip {:.1} ± {:.1} ms instead of {:.1} ms{proven}, for {}",
                planned.generation,
                planned.chosen.len(),
                added.len(),
                if mode == Mode::Act {
                    "new"
                } else {
                    "to rent, which the mode leaves to others"
                },
                planned.prediction.planned_mean().as_ms(),
                error.as_ms(),
                planned.prediction.cloud_only_mean().as_ms(),
                planned.cost,
            );
            self.status.event(self.at_ms(), text);
            if mode == Mode::Recommend {
                for site in added {
                    self.status.event(self.at_ms(), recommendation(site));
                }
            }
        }
        let waiting: Vec<String> = waiting.iter().map(ToString::to_string).collect();
        if !waiting.is_empty() && self.memory.waiting != waiting {
            let text = format!(
                "plan {}: {} would serve better than what is rented, {:.1} ms instead of {:.1}, and waits for a lease to end",
                planned.generation,
                waiting.join(", "),
                ideal.prediction.planned_mean().as_ms(),
                planned.prediction.planned_mean().as_ms(),
            );
            self.status.event(self.at_ms(), text);
        }
        self.memory.waiting.clone_from(&waiting);
        let recommended = if mode == Mode::Act {
            Vec::new()
        } else {
            names.clone()
        };
        self.memory.told = names;
        // The ideal plan had all candidates to say no to.
        let chosen: BTreeSet<&IepId> = planned.chosen.iter().map(|site| &site.site).collect();
        let rejected = ideal.rejected.iter().chain(&planned.rejected);
        let rejected = rejected
            .filter(|no| !chosen.contains(&no.site))
            .map(|no| (no.site.to_string(), no.reason.to_string()));
        let waits = waiting.iter().cloned();
        let waits = waits.map(|site| (site, "it waits for a lease to end".to_owned()));
        let plan = PlanStatus {
            generation: planned.generation.0,
            algorithm: planned.algorithm.to_string(),
            sites: planned
                .chosen
                .iter()
                .map(|assignment| assignment.site.to_string())
                .collect(),
            rejected: rejected.chain(waits).collect(),
            cloud_only_ms: planned.prediction.cloud_only_mean().as_ms(),
            planned_ms: planned.prediction.planned_mean().as_ms(),
            planned_error_ms: error.as_ms(),
            gap_percent,
            recommended: recommended.iter().map(ToString::to_string).collect(),
            waiting,
        };
        self.status.update(|report| report.plan = Some(plan));
        self.status
            .set_plan(PlanReport::of(planned, ideal, self.without_offer()));
    }

    /// Sites that are known and came to no offer to plan with, and why.
    fn without_offer(&self) -> Vec<(String, String)> {
        let verdict = |site: &KnownSite| {
            let lost = site
                .path
                .as_ref()
                .is_none_or(|path| path.path.end != PathEnd::Reached);
            let is_old = site.offer_is_older_than(self.clock.monotonic(), 2 * OFFER_FRESH_FOR);
            if lost {
                "its distance is unknown: no trace reached it".to_owned()
            } else if is_old {
                "its offer is too old to plan with, and is asked for anew".to_owned()
            } else {
                site.verdict(&self.settings.trust, self.settings.wei_per_trial)
            }
        };
        let known = self.memory.known.values();
        known
            .map(|site| (site.candidate.id.to_string(), verdict(site)))
            .collect()
    }

    fn report(&self) {
        let trail = self.discovery.trail();
        let asked = |site: &&KnownSite| site.inquiry.is_some();
        let sites: Vec<&KnownSite> = self.memory.known.values().collect();
        let offers = OfferStatus {
            asked: sites.iter().copied().filter(asked).count(),
            offered: sites.iter().filter(|site| site.made_an_offer()).count(),
            green_listed: sites
                .iter()
                .filter(|site| site.offers().next().is_some())
                .count(),
        };
        let found = sites.iter().map(|site| FoundSite {
            site: site.candidate.id.to_string(),
            zone: site.candidate.zone.to_string(),
            address: Some(site.entry_point()),
            rtt_ms: site.rtt().map(Rtt::as_ms),
            trust: site.assessment.tier.to_string(),
            verdict: site.verdict(&self.settings.trust, self.settings.wei_per_trial),
        });
        let discovery = DiscoveryStatus {
            addresses: trail.addresses.len(),
            zones_asked: trail.zones.len(),
            sites: found.collect(),
        };
        self.status.update(|report| {
            report.discovery = discovery;
            report.offers = offers;
        });
    }

    fn at_ms(&self) -> u64 {
        u64::try_from(self.clock.monotonic().0.as_millis()).unwrap_or(u64::MAX)
    }
}
