//! Placement algorithms by name, and the one door to all of them.

use std::fmt;
use std::str::FromStr;

use crate::bound::certify;
use crate::celf;
use crate::exact;
use crate::improve::improve;
use crate::network::Network;
use crate::problem::Problem;
use crate::ranking::{rank, take};
use crate::reach::Reach;
use crate::solution::{Solution, evaluate};

/// How sites are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// The best that the effort allows: exact where it can be, else the greedy one with local improvement.
    #[default]
    Auto,
    /// No sites; the cloud serves all (paper section 3).
    CloudOnly,
    /// Sites drawn at random (paper section 3).
    Random {
        /// Decides what is drawn.
        seed: u64,
    },
    /// Sites with most clients at their nodes, the paper's greedy one (section 3).
    MostClients,
    /// Sites at nodes through which most shortest paths between any two nodes pass (Freeman 1977).
    Freeman,
    /// Sites at nodes through which most client paths pass (paper section 2.4).
    Betweenness,
    /// Sites with most demand behind them times their distance from the cloud.
    Through,
    /// Sites that save most, one after the other, alone or per price (CELF).
    Celf,
    /// The optimum, by dynamic programming; only on trees, and without capacities or measured distances.
    Exact,
    /// None: the sites were given. Not to be asked for.
    Given,
}

impl Algorithm {
    /// All that can be asked for; the random one with seed 0.
    pub const ALL: [Self; 9] = [
        Self::Auto,
        Self::CloudOnly,
        Self::Random { seed: 0 },
        Self::MostClients,
        Self::Freeman,
        Self::Betweenness,
        Self::Through,
        Self::Celf,
        Self::Exact,
    ];

    /// Its name in options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::CloudOnly => "cloud-only",
            Self::Random { .. } => "random",
            Self::MostClients => "most-clients",
            Self::Freeman => "freeman",
            Self::Betweenness => "betweenness",
            Self::Through => "through",
            Self::Celf => "celf",
            Self::Exact => "exact",
            Self::Given => "given",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No algorithm has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no placement algorithm is called {0:?}; there are auto, cloud-only, random, most-clients, freeman, betweenness, through, celf and exact"
)]
pub struct UnknownAlgorithm(pub String);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// A name, or `random:SEED`.
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        let seed = name.strip_prefix("random:").map(str::parse);
        match seed {
            Some(Ok(seed)) => Ok(Self::Random { seed }),
            Some(Err(_)) => Err(UnknownAlgorithm(name.to_owned())),
            None => Self::ALL
                .into_iter()
                .find(|algorithm| algorithm.name() == name)
                .ok_or_else(|| UnknownAlgorithm(name.to_owned())),
        }
    }
}

/// How much work an answer is worth, in elementary steps; some hundred million take a second. Not a clock: equal
/// efforts give equal answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Effort(pub u64);

impl Default for Effort {
    /// About a second.
    fn default() -> Self {
        Self(1_000_000_000)
    }
}

/// Longest lists of who may serve whom, for the sake of memory.
const MOST_PAIRS: u64 = 1 << 28;

/// The algorithm cannot solve the problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SolveError {
    /// [`Algorithm::Exact`] on a graph.
    #[error("the exact algorithm needs a tree; auto or celf take any network")]
    NeedsTree,
    /// [`Algorithm::Exact`] with capacities or measured distances.
    #[error("the exact algorithm knows neither capacities nor measured distances; auto or celf do")]
    NeedsPlain,
    /// [`Algorithm::Exact`] would take more than the effort.
    #[error("the exact optimum takes more than {effort} steps; allow more effort, or take auto or celf", effort = .0.0)]
    TooMuchWork(Effort),
    /// [`Algorithm::Given`] is not one.
    #[error("no algorithm to choose sites by")]
    NothingToDo,
}

/// Solves the problem. [`Algorithm::Auto`] and [`Algorithm::Celf`] also prove how far from the optimum they may be.
///
/// # Errors
/// [`SolveError`], for [`Algorithm::Exact`] where it does not apply, and never otherwise but for [`Algorithm::Given`].
pub fn solve(
    problem: &Problem,
    algorithm: Algorithm,
    effort: Effort,
) -> Result<Solution, SolveError> {
    let chosen = match algorithm {
        Algorithm::Given => return Err(SolveError::NothingToDo),
        Algorithm::CloudOnly => Vec::new(),
        Algorithm::Random { .. }
        | Algorithm::MostClients
        | Algorithm::Freeman
        | Algorithm::Betweenness
        | Algorithm::Through => take(problem, &rank(problem, algorithm)),
        Algorithm::Exact => return exactly(problem, effort),
        Algorithm::Celf => return Ok(greedily(problem, None, effort)),
        Algorithm::Auto => {
            return Ok(match exactly(problem, effort) {
                Ok(best) => best,
                Err(_) => greedily(problem, Some(effort), effort),
            });
        }
    };
    Ok(Solution {
        algorithm,
        ..evaluate(problem, &chosen)
    })
}

fn exactly(problem: &Problem, effort: Effort) -> Result<Solution, SolveError> {
    if !problem.is_plain() {
        return Err(SolveError::NeedsPlain);
    }
    if matches!(problem.network(), Network::Graph(_))
        && problem.service() == crate::problem::Service::AnyNearest
    {
        return Err(SolveError::NeedsTree);
    }
    exact::optimum(problem, effort).ok_or(SolveError::TooMuchWork(effort))
}

/// CELF, with local improvement if there is effort for that, and a certificate.
fn greedily(problem: &Problem, improvement: Option<Effort>, effort: Effort) -> Solution {
    // Lists of who may serve whom are needed where the network does not tell, and afforded for improvement and proof.
    let sites = problem.sites().len() as u64;
    let pairs = sites.saturating_mul(problem.network().len() as u64);
    let is_affordable = pairs <= (effort.0 / 8).min(MOST_PAIRS);
    let reach = (!problem.is_plain() || is_affordable).then(|| Reach::new(problem));
    let greedy = celf::choose(problem, reach.as_ref());
    let chosen = match (&reach, improvement) {
        (Some(reach), Some(effort)) => improve(problem, reach, greedy.chosen.clone(), effort),
        _ => greedy.chosen.clone(),
    };
    let mut solution = evaluate(problem, &chosen);
    solution.algorithm = Algorithm::Celf;
    solution.bound = Some(certify(problem, reach.as_ref(), &greedy, &solution, effort));
    solution
}
