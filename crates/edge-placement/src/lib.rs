//! Where to run the edge service, why, and an independent check of the answer (paper section 2.4).
//!
//! [`plan`] takes the aggregate tree, the sites whose offers were found fair, and a policy, and gives a [`Plan`]: which
//! sites to rent, which site serves which client prefix, and for every other site the reason against it. It leaves no
//! choice to whoever carries it out. [`check_plan`] derives the same facts another way and must find nothing fatal.
//!
//! Service model: any-nearest. A client prefix is served by the chosen site that is nearest to it, wherever that is, or
//! by the cloud if no site beats it. Sites have no capacity yet. All arithmetic is in whole microseconds and
//! thousandths of a request per second, so results are exact, and equal inputs give equal plans in whatever order the
//! candidates come. Nothing here talks to a site, reads a clock or draws a number.

mod betweenness;
mod check;
mod field;
mod input;
mod plan;
mod saving;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use betweenness::betweenness;
pub use check::{Finding, Note, Severity, check_plan};
pub use input::{Algorithm, Candidate, PlanInput, Policy, UnknownAlgorithm};
pub use plan::{
    Assignment, ClientService, Plan, Prediction, Reason, Rejected, ServedBy, SiteOffer, plan,
};
