//! See `edge_discovery::fuzzing::owner`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edge_discovery::fuzzing::owner(bytes));
