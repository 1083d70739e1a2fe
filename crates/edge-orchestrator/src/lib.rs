//! Algorithm 1 of the paper: topology task, placement task, dispatch service.
//!
//! [`run`] starts the tasks over whatever adapters the command has chosen. Each task has a module of its own and talks to
//! the others through latest-value channels and signals without data.

pub mod admin;
pub mod agreements;
pub mod config;
pub mod dispatch_task;
mod health;
pub mod journal;
pub mod lists;
pub mod measured;
pub mod placement_task;
pub mod places;
pub mod plan_report;
pub mod predeployed;
pub mod record;
mod run;
pub mod sites;
pub mod status;
pub mod topology_task;

pub use agreements::ImageAccess;
pub use config::{ConfigError, ImportedUse, ResolverMode, Settings, Validation};
pub use run::{Adapters, RunError, run};
