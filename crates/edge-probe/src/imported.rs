//! Paths from files instead of, or before, probes (paper section 2.2: traceroute "can be either completely replaced or
//! augmented").

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use edge_ports::{BoxFuture, Clock, PathSource, TraceError, TracePriority};
use edge_trace_files::PathRecord;
use edge_types::{Hop, IpNet, MonotonicTime, PathEnd, PathObservation, PrefixGrouping, UtcTime};

/// When an imported path is the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImportedUse {
    /// To the first question about a target; later ones want to know what changed, and are handed on.
    #[default]
    Augment,
    /// To every question; only what is not known is handed on.
    Replace,
}

/// How imported paths are used.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportedConfig {
    /// When they are the answer. Default: to first questions.
    pub used: ImportedUse,
    /// Paths that are older, or of unknown age, are not used. Default: none is too old.
    pub max_age: Option<Duration>,
    /// If set, a path to another address of the same group is an answer too, where none to the address itself is known: its
    /// routers count as shared, and the target as silent. Default: off.
    pub grouping: Option<PrefixGrouping>,
}

/// Answers what is known from files, with its age, and hands everything else to another source.
///
/// The age is in [`PathObservation::observed_at`]: that long before now, or at the start of the clock if the path is
/// older than that or its age is not known.
#[derive(Debug)]
pub struct ImportedPaths {
    config: ImportedConfig,
    known: BTreeMap<IpAddr, Known>,
    /// The address of each group whose path is the newest.
    groups: BTreeMap<IpNet, IpAddr>,
    otherwise: Arc<dyn PathSource>,
    clock: Arc<dyn Clock>,
    answered: AtomicU64,
}

#[derive(Debug)]
struct Known {
    path: PathObservation,
    seen: Option<UtcTime>,
}

impl ImportedPaths {
    /// A source that knows `records`; of several to one target, the newest, and of those the last.
    pub fn new(
        config: ImportedConfig,
        records: impl IntoIterator<Item = PathRecord>,
        otherwise: Arc<dyn PathSource>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut known: BTreeMap<IpAddr, Known> = BTreeMap::new();
        for record in records {
            let seen = record.time();
            let path = record.path;
            if known.get(&path.target).is_none_or(|old| old.seen <= seen) {
                known.insert(path.target, Known { path, seen });
            }
        }
        let mut groups: BTreeMap<IpNet, IpAddr> = BTreeMap::new();
        if let Some(grouping) = config.grouping {
            for (target, path) in &known {
                let best = groups.entry(grouping.group(*target)).or_insert(*target);
                if known.get(best).is_some_and(|best| best.seen < path.seen) {
                    *best = *target;
                }
            }
        }
        Self {
            config,
            known,
            groups,
            otherwise,
            clock,
            answered: AtomicU64::new(0),
        }
    }

    /// Targets to which a path is known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// True if no path is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Questions answered from files so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// What is known about the way to `target` and when it was seen, if it is not too old.
    fn answer(&self, target: IpAddr, priority: TracePriority) -> Option<PathObservation> {
        if self.config.used == ImportedUse::Augment && priority != TracePriority::New {
            return None;
        }
        let own = || {
            self.known
                .get(&target)
                .map(|known| (known, known.path.clone()))
        };
        let (known, path) = own()
            .filter(|(known, _)| self.is_young(known))
            .or_else(|| {
                let group = self.config.grouping?.group(target);
                let known = self.known.get(self.groups.get(&group)?)?;
                (known.path.target != target && self.is_young(known))
                    .then(|| (known, towards(target, &known.path)))
            })?;
        let age = self.age(known);
        let now = self.clock.monotonic();
        let observed_at = age.map_or(MonotonicTime::ZERO, |age| {
            MonotonicTime(now.0.saturating_sub(age))
        });
        Some(PathObservation {
            observed_at,
            ..path
        })
    }

    /// How long ago a path was seen, if its file tells.
    fn age(&self, known: &Known) -> Option<Duration> {
        let seconds = self.clock.utc().seconds_since(known.seen?);
        Some(Duration::from_secs(seconds))
    }

    fn is_young(&self, known: &Known) -> bool {
        self.config
            .max_age
            .is_none_or(|limit| self.age(known).is_some_and(|age| age <= limit))
    }
}

/// A path to one address as what it says about another of the same group.
fn towards(target: IpAddr, path: &PathObservation) -> PathObservation {
    let mut path = path.clone();
    path.target = target;
    if path.end == PathEnd::Reached {
        // Somebody else answered there.
        path.hops.pop();
        path.hops.push(Hop::NoReply);
        path.end = PathEnd::Silent;
    }
    let last = path.hops.len();
    path.further.retain(|(ttl, _)| usize::from(*ttl) < last);
    for hop in &mut path.hops {
        if let Hop::Reply(reply) = hop {
            reply.shared = true;
        }
    }
    for (_, reply) in &mut path.further {
        reply.shared = true;
    }
    path
}

impl PathSource for ImportedPaths {
    fn trace(
        &self,
        target: IpAddr,
        priority: TracePriority,
    ) -> BoxFuture<'_, Result<PathObservation, TraceError>> {
        match self.answer(target, priority) {
            Some(path) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                Box::pin(std::future::ready(Ok(path)))
            }
            None => self.otherwise.trace(target, priority),
        }
    }
}

#[cfg(test)]
mod tests;
