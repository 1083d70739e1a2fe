//! The corpora of the fuzz targets of this crate, replayed and mutated.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../../fuzz/replay.rs"]
mod replay;

use edge_topology::fuzzing;
use replay::replay;

#[test]
fn no_bytes_break_the_reading_of_saved_stores() {
    assert!(replay("topology_saved", fuzzing::saved) > 5000);
}
