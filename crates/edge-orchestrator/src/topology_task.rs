//! Algorithm 1, lines 2-6: keep the topology current, and signal when it changed a lot.

mod domains;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use edge_forecast::{Alarm, AlarmSettings, Demand};
use edge_http::front_end::Sighting;
use edge_ports::{Clock, PathSource, TraceError, TracePriority};
use edge_topology::{AggregateTree, ClientDemand, Limits, Observations, change};
use edge_types::{
    Generation, Hop, HopReply, IpNet, MonotonicTime, PathEnd, PathObservation, PrefixGrouping, Rtt,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

pub use self::domains::Domains;
use crate::record::{Recorded, RecordedTree, Recorder};

/// Traces running at once; the prober paces them further.
const MOST_TRACES: usize = 4096;

/// So many of them may be of prefixes whose path is known already.
const MOST_REFRESHES: usize = MOST_TRACES / 2;

/// A trace that was cut short, or on which routers between others did not answer, is completed by another this much later, ...
const COMPLETE_AFTER: Duration = Duration::from_millis(800);

/// ... at most so often; then it has to do until the next refresh.
const MOST_COMPLETIONS: u32 = 3;

/// After a trace was refused or failed, the prefix waits this long.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The alarm for flash crowds gets the requests of so long at a time, or of an activation that takes longer.
const ALARM_STEP: Duration = Duration::from_secs(1);

/// A topology as the other tasks see it: immutable and numbered.
#[derive(Debug)]
pub struct TopologySnapshot {
    /// The aggregate tree with its generation.
    pub tree: AggregateTree,
    /// What the tree was weighted with.
    pub demand: edge_topology::Demand,
    /// The latest path to each target, for discovery.
    pub paths: BTreeMap<IpAddr, Arc<PathObservation>>,
    /// Since when a first trace of some prefix is running; `None` if none is.
    pub tracing_since: Option<MonotonicTime>,
    /// Prefixes that sent enough requests to be traced.
    pub prefixes_seen: usize,
    /// Traces that ended, in all.
    pub traces_done: u64,
    /// Probes sent by them.
    pub probes_sent: u64,
    /// Traces that the prober refused or could not send, in all.
    pub traces_refused: u64,
}

impl TopologySnapshot {
    /// The topology before anything was seen.
    pub fn empty(grouping: PrefixGrouping) -> Self {
        let demand = edge_topology::Demand::new();
        let tree = Observations::new(Limits::default()).tree(Generation(0), grouping, &demand);
        Self {
            tree,
            demand,
            paths: BTreeMap::new(),
            tracing_since: None,
            prefixes_seen: 0,
            traces_done: 0,
            probes_sent: 0,
            traces_refused: 0,
        }
    }
}

/// How the task works.
#[derive(Clone, Copy, Debug)]
pub struct TopologySettings {
    /// Grouping of client addresses.
    pub grouping: PrefixGrouping,
    /// Grouping of router addresses into nodes of the tree.
    pub router_grouping: PrefixGrouping,
    /// Most client prefixes known at once.
    pub max_prefixes: usize,
    /// Requests from a prefix before it is traced (security rule 2).
    pub requests_before_trace: u64,
    /// Algorithm 1's `topology_update_interval`.
    pub interval: Duration,
    /// Share of demand whose paths changed that raises the signal, 0 to 1. A flash crowd raises it too.
    pub change_threshold: f64,
    /// Age at which the path to an active prefix is traced again.
    pub refresh_after: Duration,
}

/// The task and what it holds between activations.
#[derive(Debug)]
pub struct TopologyTask {
    settings: TopologySettings,
    paths: Arc<dyn PathSource>,
    clock: Arc<dyn Clock>,
    publish: watch::Sender<Arc<TopologySnapshot>>,
    changed: Arc<Notify>,
    demand: Demand,
    traces: BTreeMap<IpNet, TraceState>,
    observations: Observations,
    paths_seen: BTreeMap<IpAddr, Arc<PathObservation>>,
    /// The tree at the last signal.
    signalled: AggregateTree,
    generation: Generation,
    /// Tells flash crowds from the requests of each second or so.
    alarm: Alarm,
    /// Requests since the alarm was last told of some, and when that was.
    requests: u64,
    told_at: MonotonicTime,
    traces_done: u64,
    probes_sent: u64,
    traces_refused: u64,
    recorder: Option<Recorder>,
    /// Where routers of a domain are one node.
    domains: Option<Domains>,
    /// Requests of each prefix since the last tree, where somebody records.
    recorded: BTreeMap<IpNet, u64>,
}

#[derive(Clone, Copy, Debug)]
struct TraceState {
    running_since: Option<MonotonicTime>,
    done_at: Option<MonotonicTime>,
    not_before: MonotonicTime,
    target: IpAddr,
    /// How often in a row the time for the trace ran out, or routers between others did not answer that had before, or were not asked
    /// before.
    cut_short: u32,
    /// Was the latest path another than the one before?
    is_unstable: bool,
    /// The shortest round trip that the target's own connections had since its last trace.
    connected_in: Option<Rtt>,
}

impl TraceState {
    /// Of its next trace, once it has had one.
    const fn priority(&self) -> TracePriority {
        if self.cut_short > 0 || self.is_unstable {
            TracePriority::Unstable
        } else {
            TracePriority::Refresh
        }
    }
}

type Traced = (IpNet, Result<PathObservation, TraceError>);

impl TopologyTask {
    /// A task that publishes to `publish` and raises `changed`.
    pub fn new(
        settings: TopologySettings,
        paths: Arc<dyn PathSource>,
        clock: Arc<dyn Clock>,
        publish: watch::Sender<Arc<TopologySnapshot>>,
        changed: Arc<Notify>,
    ) -> Self {
        let signalled = TopologySnapshot::empty(settings.grouping).tree;
        Self {
            settings,
            paths,
            clock,
            publish,
            changed,
            demand: Demand::new(settings.grouping, settings.max_prefixes),
            traces: BTreeMap::new(),
            observations: Observations::new(Limits {
                max_targets: settings.max_prefixes,
                ..Limits::default()
            }),
            paths_seen: BTreeMap::new(),
            signalled,
            generation: Generation(0),
            alarm: Alarm::new(AlarmSettings::default()),
            requests: 0,
            told_at: MonotonicTime::ZERO,
            traces_done: 0,
            probes_sent: 0,
            traces_refused: 0,
            recorder: None,
            domains: None,
            recorded: BTreeMap::new(),
        }
    }

    /// The same, telling a recorder.
    #[must_use]
    pub fn recorded(self, recorder: Option<Recorder>) -> Self {
        Self { recorder, ..self }
    }

    /// The same, with the routers of each domain as one node; those without go by the settings' prefixes.
    #[must_use]
    pub fn by_domain(self, domains: Option<Domains>) -> Self {
        Self { domains, ..self }
    }

    /// Runs until the front end that sends `sightings` is gone.
    pub async fn run(mut self, mut sightings: mpsc::Receiver<Sighting>) {
        let mut running: JoinSet<Traced> = JoinSet::new();
        let mut tick = tokio::time::interval(self.settings.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                sighting = sightings.recv() => match sighting {
                    Some(sighting) => self.see(sighting, &mut running),
                    None => return,
                },
                Some(traced) = running.join_next() => {
                    if let Ok((prefix, outcome)) = traced {
                        self.take(prefix, outcome);
                    }
                }
                _ = tick.tick() => self.activate(&mut running),
            }
        }
    }

    /// One activation: publish the tree as it is now, signal if it changed a lot, refresh what is old.
    fn activate(&mut self, running: &mut JoinSet<Traced>) {
        let now = self.clock.monotonic();
        self.forget_displaced();
        let demand: edge_topology::Demand = self
            .demand
            .iter()
            .filter(|(_, entry)| entry.requests >= self.settings.requests_before_trace)
            .map(|(prefix, entry)| {
                let traced = self.traces.get(prefix).map(|state| state.target);
                let client = ClientDemand {
                    target: traced.unwrap_or(entry.representative),
                    milli_requests_per_second: entry.milli_requests_per_second(now),
                };
                (*prefix, client)
            })
            .collect();
        self.generation = self.generation.next();
        let otherwise = self.settings.router_grouping;
        let grouping = match &mut self.domains {
            Some(domains) => {
                domains.advance(now);
                domains.grouping(otherwise)
            }
            None => otherwise.into(),
        };
        let tree = self.observations.tree(self.generation, grouping, &demand);
        let is_changed = change(&self.signalled, &tree) > self.settings.change_threshold;
        if self.is_alarmed(now) || is_changed {
            self.signalled = tree.clone();
            self.changed.notify_one();
        }
        let tracing_since = self
            .traces
            .values()
            .filter(|state| state.done_at.is_none())
            .filter_map(|state| state.running_since)
            .min();
        let snapshot = Arc::new(TopologySnapshot {
            prefixes_seen: demand.len(),
            tree,
            demand,
            paths: self.paths_seen.clone(),
            tracing_since,
            traces_done: self.traces_done,
            probes_sent: self.probes_sent,
            traces_refused: self.traces_refused,
        });
        if let Some(recorder) = &self.recorder {
            recorder.tell(Recorded::Tree(RecordedTree {
                at: now,
                snapshot: Arc::clone(&snapshot),
                requests: std::mem::take(&mut self.recorded),
            }));
        }
        self.publish.send_replace(snapshot);
        self.refresh(now, running);
    }

    /// Did demand come or go all of a sudden? That calls for another plan, wherever the clients are.
    fn is_alarmed(&mut self, now: MonotonicTime) -> bool {
        if now.since(self.told_at) < ALARM_STEP {
            return false;
        }
        self.told_at = now;
        let surge = self.alarm.observe(std::mem::take(&mut self.requests));
        if let Some(surge) = surge {
            tracing::info!(?surge, "demand changed all of a sudden");
        }
        surge.is_some()
    }

    fn see(&mut self, sighting: Sighting, running: &mut JoinSet<Traced>) {
        self.requests += 1;
        let Some((prefix, entry)) = self.demand.record(sighting.client, sighting.at) else {
            return;
        };
        if self.recorder.is_some() {
            *self.recorded.entry(prefix).or_default() += 1;
        }
        if entry.requests < self.settings.requests_before_trace {
            return;
        }
        let known = self.traces.get(&prefix);
        let is_due = known.is_none_or(|state| {
            state.done_at.is_none()
                && state.running_since.is_none()
                && state.not_before <= sighting.at
        });
        if is_due {
            self.start(
                prefix,
                sighting.client,
                TracePriority::New,
                sighting.at,
                running,
            );
        }
        if let Some(state) = self.traces.get_mut(&prefix)
            && state.target == sighting.client
            && let Some(rtt) = sighting.rtt
        {
            let shortest = state.connected_in.map_or(rtt, |known| known.min(rtt));
            state.connected_in = Some(shortest);
        }
    }

    fn start(
        &mut self,
        prefix: IpNet,
        target: IpAddr,
        priority: TracePriority,
        now: MonotonicTime,
        running: &mut JoinSet<Traced>,
    ) {
        if running.len() >= MOST_TRACES {
            return;
        }
        let fresh = TraceState {
            running_since: None,
            done_at: None,
            not_before: now,
            target,
            cut_short: 0,
            is_unstable: false,
            connected_in: None,
        };
        self.traces.entry(prefix).or_insert(fresh).running_since = Some(now);
        let paths = Arc::clone(&self.paths);
        running.spawn(async move { (prefix, paths.trace(target, priority).await) });
    }

    fn take(&mut self, prefix: IpNet, outcome: Result<PathObservation, TraceError>) {
        let now = self.clock.monotonic();
        let Some(state) = self.traces.get_mut(&prefix) else {
            return;
        };
        state.running_since = None;
        match outcome {
            Ok(mut observation) => {
                self.traces_done += 1;
                self.probes_sent += u64::from(observation.probes_sent);
                state.done_at = Some(now);
                let before = self.paths_seen.get(&observation.target);
                // Routers ration what they answer, and most of all while many paths are traced at once.
                let silent = gaps(&observation);
                let is_incomplete = observation.end == PathEnd::TimedOut
                    || (!silent.is_empty() && before.is_none_or(|before| gaps(before) != silent));
                state.cut_short = if is_incomplete {
                    state.cut_short + 1
                } else {
                    0
                };
                if observation.target == state.target
                    && let Some(rtt) = state.connected_in.take()
                {
                    add_sample(&mut observation, rtt);
                }
                state.target = observation.target;
                state.is_unstable = before.is_some_and(|before| differs(before, &observation));
                if let Some(recorder) = &self.recorder {
                    recorder.tell(Recorded::Path(observation.clone()));
                }
                if let Some(domains) = &mut self.domains {
                    domains.see(&observation, now);
                }
                match self.observations.insert(&observation) {
                    Ok(()) => drop(
                        self.paths_seen
                            .insert(observation.target, Arc::new(observation)),
                    ),
                    Err(error) => tracing::warn!(%error, "path not taken"),
                }
            }
            Err(error) => {
                self.traces_refused += 1;
                state.not_before = now.after(RETRY_AFTER);
                tracing::info!(%prefix, error = &error as &dyn std::error::Error, "prefix not traced");
            }
        }
    }

    /// Traces again, one target per prefix, what is active and was last traced long ago, or was cut short.
    fn refresh(&mut self, now: MonotonicTime, running: &mut JoinSet<Traced>) {
        let age = self.settings.refresh_after;
        let is_due = |state: &TraceState| {
            let since = state.done_at.map(|at| now.since(at));
            let is_incomplete = (1..=MOST_COMPLETIONS).contains(&state.cut_short);
            state.running_since.is_none()
                && state.not_before <= now
                && since
                    .is_some_and(|since| since >= age || (is_incomplete && since >= COMPLETE_AFTER))
        };
        let is_active = |prefix: &IpNet| {
            self.demand
                .get(prefix)
                .is_some_and(|entry| now.since(entry.last_seen) < age)
        };
        let due = self
            .traces
            .iter()
            .filter(|(prefix, state)| is_due(state) && is_active(prefix));
        let mut due: Vec<(TracePriority, IpNet, IpAddr)> = due
            .map(|(prefix, state)| (state.priority(), *prefix, state.target))
            .collect();
        due.sort_unstable();
        due.truncate(MOST_REFRESHES.saturating_sub(running.len()));
        for (priority, prefix, target) in due {
            self.start(prefix, target, priority, now, running);
        }
    }

    /// Prefixes that the demand table displaced are forgotten here too.
    fn forget_displaced(&mut self) {
        let (demand, observations, paths) =
            (&self.demand, &mut self.observations, &mut self.paths_seen);
        let recorder = &self.recorder;
        self.traces.retain(|prefix, state| {
            let known = demand.get(prefix).is_some();
            if !known {
                observations.remove(state.target);
                if let Some(recorder) = recorder {
                    recorder.tell(Recorded::Forgotten(state.target));
                }
                paths.remove(&state.target);
            }
            known
        });
    }
}

/// The distances at which nobody answered, before the last that somebody answered at.
fn gaps(path: &PathObservation) -> Vec<u8> {
    let mut gaps = Vec::new();
    let mut since_reply = Vec::new();
    for (ttl, hop) in (1..=u8::MAX).zip(&path.hops) {
        match hop {
            Hop::NoReply => since_reply.push(ttl),
            Hop::Reply(_) => gaps.append(&mut since_reply),
        }
    }
    gaps
}

/// Is there a distance at which both paths show routers, and none of them on both?
fn differs(before: &PathObservation, after: &PathObservation) -> bool {
    let at = |path: &PathObservation| {
        let mut at: BTreeMap<u8, BTreeSet<IpAddr>> = BTreeMap::new();
        let further = path.further.iter().map(|(ttl, reply)| (*ttl, reply));
        for (ttl, reply) in path.replies().chain(further) {
            at.entry(ttl).or_default().insert(reply.address);
        }
        at
    };
    let (before, after) = (at(before), at(after));
    let is_another = |(ttl, routers): (&u8, &BTreeSet<IpAddr>)| {
        let known = before.get(ttl);
        known.is_some_and(|known| known.is_disjoint(routers))
    };
    after.iter().any(is_another)
}

/// Adds a round trip to the target that its own connection had, at the target's distance if that is known.
fn add_sample(observation: &mut PathObservation, rtt: Rtt) {
    let is_reached = observation.end == PathEnd::Reached;
    let distance = u8::try_from(observation.hops.len()).ok();
    let sample = HopReply::new(observation.target, rtt);
    let distance = distance.filter(|_| is_reached).unwrap_or(0);
    observation.further.push((distance, sample));
}
