//! How much of a file is believed to be in good faith.

use std::time::Duration;

/// Bounds on what is read; the defaults suit files of millions of traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of one record. Larger ones are passed over and told. Default 1 MiB: a trace with all its samples has
    /// some kilobytes.
    pub record_bytes: usize,
    /// Most records; what follows is not read, which is told. Default 16 million.
    pub records: u64,
    /// Most replies of one trace. Default 4096.
    pub replies: usize,
    /// Longest round trip that is believed. Longer ones are told and left out. Default 10 minutes: a clock that was set
    /// during the trace shows as hours.
    pub round_trip: Duration,
    /// Problems that are kept in a [`ReadLog`](crate::ReadLog) as they are; the others are only counted. Default 64.
    pub problems: usize,
    /// Most links of a topology map. Default 1 million.
    pub links: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes: 1 << 20,
            records: 1 << 24,
            replies: 4096,
            round_trip: Duration::from_mins(10),
            problems: 64,
            links: 1_000_000,
        }
    }
}
