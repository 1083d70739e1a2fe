//! The corpora of the fuzz targets of this crate, replayed and mutated.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../../fuzz/replay.rs"]
mod replay;

use edge_probe::fuzzing;
use replay::replay;

#[test]
fn no_bytes_break_the_reading_of_replies_or_count_as_one() {
    assert!(replay("probe_reply", fuzzing::reply) > 5000);
}
