//! See `edge_trace_files::fuzzing::map`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edge_trace_files::fuzzing::map(bytes));
