//! What decisions are made from, told as it happens, so that they can be made again later from the same.
//!
//! A [`Recorder`] is told every path, every tree's demand and every plan with its input. Telling waits for nobody: whoever listens is
//! told that something is missing if it does not keep up, and nothing more after that.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use edge_placement::{Plan, PlanBasis};
use edge_types::{IpNet, MonotonicTime, PathObservation};

use crate::topology_task::TopologySnapshot;

/// Most that may wait to be listened to.
const MOST_WAITING: usize = 65_536;

/// Something that decisions depend on, or a decision.
#[derive(Clone, Debug)]
pub enum Recorded {
    /// A path was observed; it may have been refused by the store's limits.
    Path(PathObservation),
    /// The path to a target was forgotten.
    Forgotten(IpAddr),
    /// A tree was made of all paths told before.
    Tree(RecordedTree),
    /// A plan was made.
    Plan(Box<RecordedPlan>),
}

/// A tree, by what it was made from beside paths.
#[derive(Clone, Debug)]
pub struct RecordedTree {
    /// When.
    pub at: MonotonicTime,
    /// The tree and its demand.
    pub snapshot: Arc<TopologySnapshot>,
    /// Requests of each client prefix since the last tree.
    pub requests: BTreeMap<IpNet, u64>,
}

/// A plan and everything that it was made from.
#[derive(Clone, Debug)]
pub struct RecordedPlan {
    /// When.
    pub at: MonotonicTime,
    /// What from.
    pub basis: PlanBasis,
    /// The decision.
    pub plan: Plan,
}

/// Where what is recorded is told.
#[derive(Clone, Debug)]
pub struct Recorder {
    listener: SyncSender<Recorded>,
    has_lost: Arc<AtomicBool>,
}

/// Gets what is recorded.
#[derive(Debug)]
pub struct Recording {
    /// What was told, in order; it ends with the last recorder, or where something was lost.
    pub told: Receiver<Recorded>,
    has_lost: Arc<AtomicBool>,
}

impl Recording {
    /// Was something lost because nobody listened in time? What was told before is complete.
    pub fn has_lost(&self) -> bool {
        self.has_lost.load(Ordering::Acquire)
    }
}

impl Recorder {
    /// A recorder and its listener.
    pub fn new() -> (Self, Recording) {
        let (listener, told) = sync_channel(MOST_WAITING);
        let has_lost = Arc::new(AtomicBool::new(false));
        let recording = Recording {
            told,
            has_lost: Arc::clone(&has_lost),
        };
        (Self { listener, has_lost }, recording)
    }

    pub(crate) fn tell(&self, what: Recorded) {
        if self.has_lost.load(Ordering::Acquire) {
            return;
        }
        // Nobody listens any more: not a loss, the recording is over.
        if let Err(TrySendError::Full(_)) = self.listener.try_send(what) {
            self.has_lost.store(true, Ordering::Release);
            tracing::warn!("the recording does not keep up and ends");
        }
    }
}
