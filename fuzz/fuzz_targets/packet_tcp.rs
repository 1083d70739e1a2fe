//! See `edge_packet::fuzzing::tcp`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edge_packet::fuzzing::tcp(bytes));
