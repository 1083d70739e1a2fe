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
use edge_placement::Algorithm;
use edge_ports::{Clock, NameLookup, PathSource, PrefixOwner, SiteList, TracePriority};
use edge_resolver::drive;
use edge_types::{AddressPolicy, Generation, IepId, MonotonicTime, OfferId, PathObservation, Rtt};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

use crate::agreements::Agreements;
use crate::config::Settings;
use crate::lists::{self, Listed, better};
use crate::places::Places;
use crate::predeployed::Predeployed;
use crate::record::Recorder;
use crate::sites::{Inquirer, Inquiry, KnownSite, PathToSite};
use crate::status::Status;
use crate::topology_task::TopologySnapshot;

mod forgotten;
mod incumbents;
mod outlook;
mod place;
#[cfg(test)]
mod testing;
mod told;

use forgotten::MOST_KNOWN;
use outlook::Outlook;

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
                    let verdict = site.verdict(&self.settings.trust, self.settings.units_per_trial);
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

    fn at_ms(&self) -> u64 {
        u64::try_from(self.clock.monotonic().0.as_millis()).unwrap_or(u64::MAX)
    }
}
