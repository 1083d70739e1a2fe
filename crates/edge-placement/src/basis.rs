//! What a plan was made from, kept so that it can be made again.

use std::collections::{BTreeMap, BTreeSet};

use edge_topology::AggregateTree;
use edge_types::{Generation, IepId, IpNet, PathObservation, Rtt};

use crate::algorithm::{Algorithm, Effort};
use crate::check::{Severity, check_plan};
use crate::input::{Application, Candidate, PlanInput, Policy};
use crate::plan::{Plan, plan};

/// A [`PlanInput`] that owns all but the tree, which [`edge_topology::Observations`] give again. Candidates come with the paths by
/// which they hang on a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanBasis {
    /// See [`PlanInput::generation`].
    pub generation: Generation,
    /// Number of the tree.
    pub topology: Generation,
    /// See [`PlanInput::sites_found`].
    pub sites_found: usize,
    /// Each with the path to it. Where they hang is worked out anew.
    pub candidates: Vec<(Candidate, PathObservation)>,
    /// See [`PlanInput::excluded`].
    pub excluded: BTreeSet<IepId>,
    /// See [`PlanInput::measured`].
    pub measured: BTreeMap<(IepId, IpNet), Rtt>,
    /// See [`PlanInput::application`].
    pub application: Application,
    /// See [`PlanInput::policy`].
    pub policy: Policy,
    /// See [`PlanInput::algorithm`].
    pub algorithm: Algorithm,
    /// See [`PlanInput::effort`].
    pub effort: Effort,
}

impl PlanBasis {
    /// Keeps an input; `path` gives the path to a candidate. Candidates without one are left out.
    pub fn of(input: &PlanInput<'_>, path: impl Fn(&IepId) -> Option<PathObservation>) -> Self {
        let candidates = input.candidates.iter();
        Self {
            generation: input.generation,
            topology: input.tree.generation(),
            sites_found: input.sites_found,
            candidates: candidates
                .filter_map(|candidate| Some((candidate.clone(), path(&candidate.site)?)))
                .collect(),
            excluded: input.excluded.clone(),
            measured: input.measured.clone(),
            application: input.application,
            policy: input.policy.clone(),
            algorithm: input.algorithm,
            effort: input.effort,
        }
    }

    /// The plan that is made from this on a tree; `None` if it does not pass its check. Equal bases on equal trees give equal plans.
    pub fn plan(&self, tree: &AggregateTree) -> Option<Plan> {
        let candidates: Vec<Candidate> = self
            .candidates
            .iter()
            .map(|(candidate, path)| Candidate {
                attachment: tree.attach(path),
                ..candidate.clone()
            })
            .collect();
        let input = PlanInput {
            generation: self.generation,
            tree,
            sites_found: self.sites_found,
            candidates: &candidates,
            excluded: &self.excluded,
            measured: &self.measured,
            application: self.application,
            policy: self.policy.clone(),
            algorithm: self.algorithm,
            effort: self.effort,
        };
        let planned = plan(&input);
        let notes = check_plan(&input, &planned);
        let is_fatal = notes.iter().any(|note| note.severity == Severity::Fatal);
        (!is_fatal).then_some(planned)
    }
}
