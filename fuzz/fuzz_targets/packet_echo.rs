//! See `edge_packet::fuzzing::echo`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edge_packet::fuzzing::echo(bytes));
