//! Decisions made again from a record.

use std::fmt;
use std::sync::Arc;

use edge_placement::Plan;
use edge_topology::{AggregateTree, ClientDemand, Demand, LogEntry, Observations};
use edge_types::{Generation, PrefixGrouping};

use super::decision_of;
use super::entry::{Begin, Entry, PlanLine, TreeLine, Unsound};
use crate::{digest, parallel};

/// Plans that are made at once; as many trees are in memory.
const AT_ONCE: usize = 32;

/// A plan that was made again.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// When it was made the first time, in microseconds since that run began.
    pub at_us: u64,
    /// Nodes of its tree.
    pub nodes: usize,
    /// The plan; `None` if it did not pass its check.
    pub plan: Option<Plan>,
    /// A digest of tree and plan.
    pub digest: u64,
    /// Is it what it was the first time?
    pub verdict: Verdict,
}

/// Is a plan what it was the first time?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The same sites serve the same clients.
    AsRecorded,
    /// It is as good and costs as much, but differs: of several that are, names decided, and these are pseudonyms now.
    AsGood,
    /// It is another.
    Different,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsRecorded => "as recorded",
            Self::AsGood => "as good as recorded",
            Self::Different => "different",
        })
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:>12} us nodes {:>6} ", self.at_us, self.nodes)?;
        match &self.plan {
            Some(plan) => write!(
                f,
                "plan {:>5} tree {:>6} sites {:>4} cloud_only_us {:>8} planned_us {:>8} cost {} ",
                plan.generation.0,
                plan.topology.0,
                plan.chosen.len(),
                plan.prediction.cloud_only_mean().0.as_micros(),
                plan.prediction.planned_mean().0.as_micros(),
                plan.cost.units,
            )?,
            None => f.write_str("no plan passes its check ")?,
        }
        write!(f, "digest {:016x} {}", self.digest, self.verdict)
    }
}

/// What a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Paths that were observed or forgotten.
    pub paths: usize,
    /// Trees whose demand is recorded.
    pub trees: usize,
    /// Requests.
    pub requests: u64,
    /// Plans as recorded.
    pub as_recorded: usize,
    /// Plans that are as good.
    pub as_good: usize,
    /// Plans that are others.
    pub different: usize,
    /// Why the record ends, if it says so: otherwise it is cut short.
    pub ended: Option<String>,
}

/// A record makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It does not begin with what holds for all of it.
    #[error("entry {entry}: the record begins in its middle, or twice")]
    Begin {
        /// Number of the entry, from 1.
        entry: usize,
    },
    /// Nothing that was written says this.
    #[error("entry {entry}")]
    Unsound {
        /// Number of the entry, from 1.
        entry: usize,
        /// What makes no sense.
        #[source]
        cause: Unsound,
    },
}

/// What is known after some entries.
struct State {
    observations: Observations,
    grouping: PrefixGrouping,
    /// Of the tree that is being told.
    telling: Demand,
    /// The latest tree that was told of in full.
    tree: Option<Arc<AggregateTree>>,
}

/// Makes all plans of a record again, on so many threads; tells each, in order. Equal records give equal plans, on any number of threads.
///
/// # Errors
/// [`ReplayError`]; plans before the entry that makes no sense were told.
pub fn replay<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    threads: usize,
    mut on_plan: impl FnMut(&Replayed),
) -> Result<Summary, ReplayError> {
    let mut summary = Summary::default();
    let mut state: Option<State> = None;
    let mut waiting: Vec<(usize, &PlanLine, Arc<AggregateTree>)> = Vec::new();
    for (entry, number) in entries.into_iter().zip(1..) {
        let unsound = |cause| ReplayError::Unsound {
            entry: number,
            cause,
        };
        match (entry, &mut state) {
            (Entry::Begin(begin), None) => {
                state = Some(State::new(*begin).map_err(unsound)?);
            }
            (Entry::Begin(_), Some(_)) | (_, None) => {
                return Err(ReplayError::Begin { entry: number });
            }
            (Entry::Path(path), Some(state)) => {
                summary.paths += 1;
                match path {
                    // What was refused is refused again.
                    LogEntry::Insert(path) => drop(state.observations.insert(path)),
                    LogEntry::Remove(target) => state.observations.remove(*target),
                }
            }
            (Entry::Tree(line), Some(state)) => {
                summary.trees += usize::from(!line.goes_on);
                let asked = line.prefixes.iter().map(|(.., requests)| *requests);
                summary.requests = asked.fold(summary.requests, u64::saturating_add);
                state.tell(line);
            }
            (Entry::Plan(line), Some(state)) => {
                let tree = state
                    .tree
                    .clone()
                    .ok_or(unsound(Unsound("the tree of a plan")))?;
                waiting.push((number, line, tree));
                if waiting.len() >= AT_ONCE {
                    make(&mut waiting, threads, &mut summary, &mut on_plan)?;
                }
            }
            (Entry::End(why), Some(_)) => summary.ended = Some(why.clone()),
        }
    }
    make(&mut waiting, threads, &mut summary, &mut on_plan)?;
    Ok(summary)
}

fn make(
    waiting: &mut Vec<(usize, &PlanLine, Arc<AggregateTree>)>,
    threads: usize,
    summary: &mut Summary,
    on_plan: &mut impl FnMut(&Replayed),
) -> Result<(), ReplayError> {
    let made = parallel::map(waiting.len(), threads, |position| {
        let (entry, line, tree) = &waiting[position];
        let basis = line.basis(tree).map_err(|cause| ReplayError::Unsound {
            entry: *entry,
            cause,
        })?;
        let plan = basis.plan(tree);
        let decided = plan.as_ref().map(decision_of);
        let recorded = &line.decision;
        let verdict = match &decided {
            Some(decided) if decided == recorded => Verdict::AsRecorded,
            Some(decided)
                if decided.planned == recorded.planned && decided.cost == recorded.cost =>
            {
                Verdict::AsGood
            }
            _ => Verdict::Different,
        };
        Ok(Replayed {
            at_us: line.at_us,
            nodes: tree.nodes().len(),
            digest: digest::of(format_args!("{:?} {plan:?}", tree.nodes())),
            plan,
            verdict,
        })
    });
    waiting.clear();
    for replayed in made {
        let replayed = replayed?;
        *match replayed.verdict {
            Verdict::AsRecorded => &mut summary.as_recorded,
            Verdict::AsGood => &mut summary.as_good,
            Verdict::Different => &mut summary.different,
        } += 1;
        on_plan(&replayed);
    }
    Ok(())
}

impl State {
    fn new(begin: Begin) -> Result<Self, Unsound> {
        Ok(Self {
            observations: begin.observations(),
            grouping: begin.grouping()?,
            telling: Demand::new(),
            tree: None,
        })
    }

    fn tell(&mut self, line: &TreeLine) {
        for (prefix, target, milli_requests_per_second, _) in &line.prefixes {
            if let Some(target) = target {
                let client = ClientDemand {
                    target: *target,
                    milli_requests_per_second: *milli_requests_per_second,
                };
                self.telling.insert(*prefix, client);
            }
        }
        if !line.goes_on {
            let demand = std::mem::take(&mut self.telling);
            let generation = Generation(line.generation);
            let tree = self.observations.tree(generation, self.grouping, &demand);
            self.tree = Some(Arc::new(tree));
        }
    }
}
