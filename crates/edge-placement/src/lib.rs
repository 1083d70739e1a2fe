//! Where to run the edge service, why, and an independent check of the answer (paper section 2.4).
//!
//! Two levels. [`Problem`] is placement in whole numbers: a [`Network`], demand by node, [`Site`]s with prices, [`Limits`] and a
//! [`Service`] model; [`solve`] answers it by an [`Algorithm`], with a proof of how far from the optimum the answer may be.
//! [`plan`] takes the aggregate tree, the sites whose offers were found fair, and a policy, makes a problem of
//! them, and gives a [`Plan`]: which sites to rent, which site serves which client prefix, and for every other site the reason
//! against it. It leaves no choice to whoever carries it out. [`check_plan`] derives the same facts another way and must find
//! nothing fatal.
//!
//! All arithmetic is in whole microseconds and thousandths of a request per second, so results are exact, and equal inputs
//! give equal plans in whatever order the candidates come. Nothing here talks to a site, reads a clock or draws a number.
//!
//! ```
//! use edge_placement::{Algorithm, Effort, Network, Problem, Tree, solve};
//!
//! // A router 10 ms from the cloud, and two behind it with 20 requests per second each.
//! let tree = Tree::new(&[(0, 10_000), (1, 20_000), (1, 5_000)])?;
//! let problem = Problem::new(Network::Tree(tree), vec![0, 0, 20_000, 20_000])?.at_most(1);
//! let best = solve(&problem, Algorithm::Exact, Effort::default())?;
//! assert_eq!(best.mean_micros(), 7_500.0);
//! assert!(best.is_optimal());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod algorithm;
mod assignment;
mod basis;
mod bound;
mod celf;
mod centrality;
mod check;
mod exact;
mod gains;
mod improve;
mod input;
mod network;
mod plan;
mod problem;
mod ranking;
mod ratio;
mod reach;
mod running;
mod solution;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use algorithm::{Algorithm, Effort, SolveError, UnknownAlgorithm, solve};
pub use basis::PlanBasis;
pub use centrality::{Ways, graph_betweenness, tree_betweenness};
pub use check::{Finding, Note, Severity, check_plan};
pub use exact::optimal_costs;
pub use input::{Application, Candidate, PlanInput, Policy, Trust, Whereabouts};
pub use network::{Graph, MAX_MICROS, MAX_NODES, Network, NetworkError, Tree, micros};
pub use plan::{
    Assignment, Certificate, ClientService, Plan, Prediction, Reason, Rejected, ServedBy,
    SiteOffer, plan,
};
pub use problem::{Limits, Problem, ProblemError, Service, Site};
pub use ranking::{rank, take};
pub use running::Running;
pub use solution::{Bound, Proof, Solution, evaluate};
