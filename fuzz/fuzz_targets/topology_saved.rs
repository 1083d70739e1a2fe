//! See `edge_topology::fuzzing::saved`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edge_topology::fuzzing::saved(bytes));
