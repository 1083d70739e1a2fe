//! See `edge_wire::fuzzing::messages`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edge_wire::fuzzing::messages(bytes));
