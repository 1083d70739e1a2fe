//! The store of path observations.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use edge_types::{Generation, MonotonicTime, PathObservation, Rtt};

use crate::graph::PathGraph;
use crate::grouping::Grouping;
use crate::interfaces::{InterfaceNumber, Interfaces, Known};
use crate::normalise::{CleanPath, RouterPath};
use crate::tree::{AggregateTree, Demand, Parents};

/// How much is kept. The defaults suit one orchestrator with up to a hundred thousand client prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most targets; a new one beyond is refused. Default 100 000.
    pub max_targets: usize,
    /// Most hops in one observation; a longer one is refused. Default 64, the usual initial TTL; above 255 as 255.
    pub max_hops: usize,
    /// Most further replies in one observation; one with more is refused. Default 1024: 16 per hop.
    pub max_further: usize,
    /// Round trips older than this, seen from the newest of the same interface, no longer count. Default 10 minutes:
    /// long enough for a minimum, short enough to follow a changed route.
    pub rtt_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_targets: 100_000,
            max_hops: 64,
            max_further: 1024,
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
    /// There are more further replies than any prober asks for.
    #[error("the path to {target} has {further} further replies, more than {limit}")]
    TooManyReplies {
        /// The target.
        target: IpAddr,
        /// Further replies in the observation.
        further: usize,
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
/// The set of paths is the graph of interfaces with its provenance; it is kept whole, so that every view (a graph or tree for
/// one grouping and one demand) can be derived again. Addresses are taken as they come: whether an address may be
/// probed or contacted is not decided here.
///
/// Two stores are equal if they know the same, whatever came before, and whatever their limits.
#[derive(Clone, Debug)]
pub struct Observations {
    limits: Limits,
    paths: BTreeMap<IpAddr, StoredPath>,
    interfaces: Interfaces,
}

/// A path in terms of numbered interfaces.
#[derive(Clone, Debug)]
pub(crate) struct StoredPath {
    /// Routers in order.
    pub(crate) steps: Box<[Step]>,
    /// Silent hops between the last router and the target.
    pub(crate) tail: u8,
    /// Others that answered in the place of a router: its position, and the interface.
    pub(crate) beside: Box<[(u8, InterfaceNumber)]>,
    /// The target, if it answered.
    pub(crate) arrival: Option<InterfaceNumber>,
    /// What its own connections showed of the target, if it did not.
    pub(crate) connected: Option<Rtt>,
    pub(crate) observed_at: MonotonicTime,
}

/// A router on a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) interface: InterfaceNumber,
    pub(crate) silent_before: u8,
}

impl Observations {
    /// Nothing seen yet.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            paths: BTreeMap::new(),
            interfaces: Interfaces::new(),
        }
    }

    /// Takes an observation in place of an older one of the same target. Costs O(replies · log interfaces), whatever else
    /// the store holds.
    pub fn insert(&mut self, observation: &PathObservation) -> Result<(), InsertError> {
        self.check(observation)?;
        let path = RouterPath::new(observation);
        self.store(observation.target, &path, observation.observed_at);
        for (ttl, interface, reply) in path.samples(observation) {
            let (at, window) = (observation.observed_at, self.limits.rtt_window);
            self.interfaces.sample(&interface, ttl, reply, at, window);
        }
        Ok(())
    }

    fn check(&self, observation: &PathObservation) -> Result<(), InsertError> {
        let target = observation.target;
        let (hops, further) = (observation.hops.len(), observation.further.len());
        let limit = self.limits.max_hops.min(usize::from(u8::MAX));
        if hops > limit {
            return Err(InsertError::TooLong {
                target,
                hops,
                limit,
            });
        }
        let limit = self.limits.max_further;
        if further > limit {
            return Err(InsertError::TooManyReplies {
                target,
                further,
                limit,
            });
        }
        match self.paths.get(&target) {
            Some(known) if known.observed_at > observation.observed_at => Err(InsertError::Older {
                target,
                newer_by: known.observed_at.since(observation.observed_at),
            }),
            None if self.paths.len() >= self.limits.max_targets => {
                Err(InsertError::TooManyTargets {
                    target,
                    limit: self.limits.max_targets,
                })
            }
            _ => Ok(()),
        }
    }

    /// Takes a path as it was taken before, without its round trips.
    pub(crate) fn restore(
        &mut self,
        observation: &PathObservation,
        path: &RouterPath,
    ) -> Result<(), InsertError> {
        self.check(observation)?;
        self.store(observation.target, path, observation.observed_at);
        Ok(())
    }

    /// Takes a path without its round trips.
    fn store(&mut self, target: IpAddr, path: &RouterPath, observed_at: MonotonicTime) {
        let places = path.routers.places.iter();
        let steps = places
            .map(|(silent_before, router)| Step {
                interface: self.interfaces.acquire(*router),
                silent_before: *silent_before,
            })
            .collect();
        let beside = path
            .beside
            .iter()
            .map(|(position, other)| (*position, self.interfaces.acquire(*other)))
            .collect();
        let arrival = path
            .arrival
            .map(|interface| self.interfaces.acquire(interface));
        let stored = StoredPath {
            steps,
            tail: path.routers.tail,
            beside,
            arrival,
            connected: path.connected,
            observed_at,
        };
        if let Some(old) = self.paths.insert(target, stored) {
            self.release(&old);
        }
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

    /// Every target known, in order, and whether it answered itself.
    pub fn traced(&self) -> impl Iterator<Item = (IpAddr, bool)> {
        let paths = self.paths.iter();
        paths.map(|(target, path)| (*target, path.arrival.is_some()))
    }

    /// When the latest path was seen; `None` if there is none. A clock that goes on from a saved store starts no earlier.
    pub fn newest(&self) -> Option<MonotonicTime> {
        self.paths.values().map(|path| path.observed_at).max()
    }

    /// Addresses that answered on a path kept, targets included, in order.
    pub fn interfaces(&self) -> impl Iterator<Item = IpAddr> {
        let mut last = None;
        self.interfaces
            .iter()
            .map(|known| known.interface.address)
            .filter(move |address| last.replace(*address) != Some(*address))
    }

    /// Routers that answered on the way to `target`, from here to there; empty if it was never traced.
    pub fn routers_towards(&self, target: IpAddr) -> impl Iterator<Item = IpAddr> {
        let path = self.paths.get(&target).into_iter();
        path.flat_map(|stored| stored.steps.iter())
            .map(|step| self.interfaces.get(step.interface).interface.address)
    }

    /// Smallest recent round trip to an address that answered; where private space uses it several times, to the nearest.
    pub fn rtt(&self, address: IpAddr) -> Option<Rtt> {
        self.interfaces
            .of_address(address)
            .filter_map(Known::summary)
            .map(|summary| summary.minimum)
            .min()
    }

    /// The graph of the paths to the clients in `demand`, its nodes grouped by `grouping`.
    ///
    /// Only paths to the demand's targets count; client prefixes whose target was never traced are listed in
    /// [`PathGraph::untraced`]. Costs O(hops · log nodes).
    pub fn graph(&self, grouping: impl Into<Grouping>, demand: &Demand) -> PathGraph {
        PathGraph::new(self, &grouping.into(), demand)
    }

    /// The aggregate tree towards the clients in `demand`, where every node hangs on the one through which most demand comes.
    pub fn tree(
        &self,
        generation: Generation,
        grouping: impl Into<Grouping>,
        demand: &Demand,
    ) -> AggregateTree {
        self.graph(grouping, demand)
            .tree(generation, Parents::Heaviest)
    }

    /// Every path as it was taken, in order of target.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (IpAddr, MonotonicTime, RouterPath)> {
        let interface = |number| self.interfaces.get(number).interface;
        self.paths.iter().map(move |(target, path)| {
            let steps = path.steps.iter();
            let beside = path.beside.iter();
            let normalised = RouterPath {
                routers: CleanPath {
                    places: steps
                        .map(|step| (step.silent_before, interface(step.interface)))
                        .collect(),
                    tail: path.tail,
                },
                beside: beside
                    .map(|(position, other)| (*position, interface(*other)))
                    .collect(),
                arrival: path.arrival.map(interface),
                connected: path.connected,
            };
            (*target, path.observed_at, normalised)
        })
    }

    pub(crate) fn path(&self, target: IpAddr) -> Option<&StoredPath> {
        self.paths.get(&target)
    }

    pub(crate) const fn known(&self) -> &Interfaces {
        &self.interfaces
    }

    pub(crate) const fn known_mut(&mut self) -> &mut Interfaces {
        &mut self.interfaces
    }

    fn release(&mut self, old: &StoredPath) {
        let steps = old.steps.iter().map(|step| step.interface);
        // An interface beside several routers was acquired once for each.
        let beside = old.beside.iter().map(|(_, other)| *other);
        for interface in steps.chain(beside).chain(old.arrival) {
            self.interfaces.release(interface);
        }
    }
}

impl PartialEq for Observations {
    fn eq(&self, other: &Self) -> bool {
        self.interfaces == other.interfaces && self.paths().eq(other.paths())
    }
}

impl Eq for Observations {}
