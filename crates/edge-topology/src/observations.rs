//! The store of path observations.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use edge_types::{Generation, Hop, HopReply, MonotonicTime, PathObservation, PrefixGrouping, Rtt};

use crate::build;
use crate::normalise::RouterPath;
use crate::rtt::{RttSummary, RttWindow};
use crate::tree::{AggregateTree, Demand};

/// How much is kept. The defaults suit one orchestrator with up to a hundred thousand client prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most targets; a new one beyond is refused. Default 100 000.
    pub max_targets: usize,
    /// Most hops in one observation; a longer one is refused. Default 64, the usual initial TTL.
    pub max_hops: usize,
    /// Round trips older than this, seen from the newest of the same interface, no longer count. Default 10 minutes:
    /// long enough for a minimum, short enough to follow a changed route.
    pub rtt_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_targets: 100_000,
            max_hops: 64,
            rtt_window: Duration::from_mins(10),
        }
    }
}

/// Why an observation was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// The store is full.
    #[error("{limit} targets are known already, no room for {target}")]
    TooManyTargets {
        /// The new target.
        target: IpAddr,
        /// The limit.
        limit: usize,
    },
    /// The path is longer than any real one.
    #[error("the path to {target} has {hops} hops, more than {limit}")]
    TooLong {
        /// The target.
        target: IpAddr,
        /// Hops in the observation.
        hops: usize,
        /// The limit.
        limit: usize,
    },
    /// A newer path to the target is known.
    #[error("a path to {target} seen {newer_by:?} later is known")]
    Older {
        /// The target.
        target: IpAddr,
        /// How much newer the known one is.
        newer_by: Duration,
    },
}

/// Everything seen so far: the latest path to each target, and round trips per interface.
///
/// The set of paths is the graph of interfaces with its provenance; it is kept whole, so that every view (a tree for
/// one grouping and one demand) can be derived again. Addresses are taken as they come: whether an address may be
/// probed or contacted is not decided here.
#[derive(Clone, Debug)]
pub struct Observations {
    limits: Limits,
    paths: BTreeMap<IpAddr, StoredPath>,
    interfaces: BTreeMap<IpAddr, Interface>,
}

#[derive(Clone, Debug)]
pub(crate) struct StoredPath {
    pub(crate) path: RouterPath,
    observed_at: MonotonicTime,
}

/// An address that answered; forgotten when the last path through it is.
#[derive(Clone, Debug, Default)]
struct Interface {
    on_paths: usize,
    window: RttWindow,
}

impl Observations {
    /// Nothing seen yet.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            paths: BTreeMap::new(),
            interfaces: BTreeMap::new(),
        }
    }

    /// Takes an observation in place of an older one of the same target. Costs O(hops · log interfaces).
    pub fn insert(&mut self, observation: &PathObservation) -> Result<(), InsertError> {
        let target = observation.target;
        if observation.hops.len() > self.limits.max_hops {
            return Err(InsertError::TooLong {
                target,
                hops: observation.hops.len(),
                limit: self.limits.max_hops,
            });
        }
        match self.paths.get(&target) {
            Some(known) if known.observed_at > observation.observed_at => {
                return Err(InsertError::Older {
                    target,
                    newer_by: known.observed_at.since(observation.observed_at),
                });
            }
            None if self.paths.len() >= self.limits.max_targets => {
                return Err(InsertError::TooManyTargets {
                    target,
                    limit: self.limits.max_targets,
                });
            }
            _ => {}
        }

        let path = RouterPath::new(observation);
        for address in path.addresses() {
            self.interfaces.entry(address).or_default().on_paths += 1;
        }
        // Hops that went with a loop are no samples: whether their interface is known depends on what came before.
        let kept: BTreeSet<IpAddr> = path.addresses().collect();
        for hop in &observation.hops {
            if let Hop::Reply(reply) = hop
                && kept.contains(&reply.address)
            {
                self.sample(reply, observation.observed_at);
            }
        }
        let stored = StoredPath {
            path,
            observed_at: observation.observed_at,
        };
        if let Some(old) = self.paths.insert(target, stored) {
            self.release(&old);
        }
        Ok(())
    }

    /// Forgets a target, and every interface that only its path had.
    pub fn remove(&mut self, target: IpAddr) {
        if let Some(old) = self.paths.remove(&target) {
            self.release(&old);
        }
    }

    /// Number of targets known.
    pub fn targets(&self) -> usize {
        self.paths.len()
    }

    /// Addresses that answered on a path kept, targets included, in order.
    pub fn interfaces(&self) -> impl Iterator<Item = IpAddr> {
        self.interfaces.keys().copied()
    }

    /// Routers that answered on the way to `target`, from here to there; empty if it was never traced.
    pub fn routers_towards(&self, target: IpAddr) -> impl Iterator<Item = IpAddr> {
        self.paths
            .get(&target)
            .into_iter()
            .flat_map(|stored| stored.path.routers.places.iter().map(|(_, router)| *router))
    }

    /// Smallest recent round trip to an address that answered.
    pub fn rtt(&self, address: IpAddr) -> Option<Rtt> {
        self.summary(address).map(|summary| summary.minimum)
    }

    /// The aggregate tree towards the clients in `demand`, grouped by `grouping`.
    ///
    /// Only paths to the demand's targets count; client prefixes whose target was never traced are listed in
    /// [`AggregateTree::untraced`]. Costs O(hops · log nodes).
    pub fn tree(
        &self,
        generation: Generation,
        grouping: PrefixGrouping,
        demand: &Demand,
    ) -> AggregateTree {
        build::tree(self, generation, grouping, demand)
    }

    pub(crate) fn path(&self, target: IpAddr) -> Option<&RouterPath> {
        self.paths.get(&target).map(|stored| &stored.path)
    }

    pub(crate) fn summary(&self, address: IpAddr) -> Option<RttSummary> {
        self.interfaces.get(&address)?.window.summary()
    }

    /// A shared hop is another trace's sample seen again; it counts only if that trace never came here.
    fn sample(&mut self, reply: &HopReply, at: MonotonicTime) {
        if let Some(interface) = self.interfaces.get_mut(&reply.address)
            && (!reply.shared || interface.window.is_empty())
            && let Some(rtt) = reply.rtt
        {
            interface.window.record(at, rtt, self.limits.rtt_window);
        }
    }

    fn release(&mut self, old: &StoredPath) {
        for address in old.path.addresses() {
            if let Entry::Occupied(mut interface) = self.interfaces.entry(address) {
                interface.get_mut().on_paths -= 1;
                if interface.get().on_paths == 0 {
                    interface.remove();
                }
            }
        }
    }
}

impl RouterPath {
    /// Every address that answered and was kept, once.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let routers = self.routers.places.iter().map(|(_, router)| *router);
        routers.chain(self.arrival.iter().map(|reply| reply.address))
    }
}
