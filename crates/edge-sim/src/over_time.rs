//! Renting over time: what policies cost on demand that was really there, spread over a tree.

mod contest;
mod spread;
mod trace;

#[cfg(test)]
mod tests;

pub use contest::{Cell, CellResult, Contest, ForecastResult, Grid, PolicyResult};
pub use spread::{Place, Scene, SceneError, site_gains};
pub use trace::{LONGEST_TRACE, TraceError, requests_per_minute};
