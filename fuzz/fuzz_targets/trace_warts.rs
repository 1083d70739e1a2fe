//! See `edge_trace_files::fuzzing::warts`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edge_trace_files::fuzzing::warts(bytes));
