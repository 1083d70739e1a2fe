//! See `edge_probe::fuzzing::reply`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edge_probe::fuzzing::reply(bytes));
