//! How often the tasks wake up, and how fast they may go.

use serde::Deserialize;

/// How often the tasks wake up, and how fast they may go.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// Algorithm 1's `topology_update_interval`.
    pub topology_ms: u64,
    /// Algorithm 1's `platforms_update_interval`.
    pub platforms_ms: u64,
    /// A first plan waits this long for the first traces to come in.
    pub settle_ms: u64,
    /// Share of demand whose path is new or changed that wakes the placement task early.
    pub change_threshold: f64,
    /// Probes per second, a hard cap.
    pub probes_per_s: u32,
    /// Longest time for one trace; what did not answer by then is left silent until the next.
    pub trace_limit_ms: u64,
    /// Age at which the path to an active prefix is traced again.
    pub refresh_s: u64,
    /// Time between health checks of a rented site.
    pub health_ms: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            topology_ms: 250,
            platforms_ms: 10_000,
            settle_ms: 2500,
            change_threshold: 0.02,
            probes_per_s: 500,
            trace_limit_ms: 5000,
            refresh_s: 300,
            health_ms: 1000,
        }
    }
}
