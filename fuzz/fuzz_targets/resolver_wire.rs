//! See `edge_resolver::fuzzing::wire`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edge_resolver::fuzzing::wire(bytes));
