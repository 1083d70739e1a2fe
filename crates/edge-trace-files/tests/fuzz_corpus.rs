//! The corpora of the fuzz targets of this crate, replayed and mutated.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../../fuzz/replay.rs"]
mod replay;

use edge_trace_files::fuzzing;
use replay::replay;

#[test]
fn no_bytes_break_the_reader_of_our_lines() {
    assert!(replay("trace_json_lines", fuzzing::json_lines) > 5000);
}

#[test]
fn no_bytes_break_the_reader_of_scampers_json() {
    assert!(replay("trace_scamper_json", fuzzing::scamper_json) > 5000);
}

#[test]
fn no_bytes_break_the_reader_of_warts() {
    assert!(replay("trace_warts", fuzzing::warts) > 5000);
}

#[test]
fn no_bytes_break_the_reader_of_atlas_results() {
    assert!(replay("trace_atlas", fuzzing::atlas) > 5000);
}

#[test]
fn no_bytes_break_the_reader_of_traceroutes_text() {
    assert!(replay("trace_traceroute", fuzzing::traceroute) > 5000);
}

#[test]
fn no_bytes_break_the_reader_of_nmaps_xml() {
    assert!(replay("trace_nmap", fuzzing::nmap) > 5000);
}

#[test]
fn no_bytes_break_the_reader_of_rtracks_routes() {
    assert!(replay("trace_rtrack", fuzzing::rtrack) > 3000);
}

#[test]
fn no_bytes_break_the_reader_of_maps() {
    assert!(replay("trace_map", fuzzing::map) > 3000);
}
