//! The corpora of the fuzz targets of this crate, replayed and mutated.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../../fuzz/replay.rs"]
mod replay;

use edge_discovery::fuzzing;
use replay::replay;

#[test]
fn no_bytes_break_the_reading_of_registries_answers() {
    assert!(replay("discovery_owner", fuzzing::owner) > 5000);
}
