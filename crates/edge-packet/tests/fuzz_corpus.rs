//! The corpora of the fuzz targets of this crate, replayed and mutated.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../../fuzz/replay.rs"]
mod replay;

use edge_packet::fuzzing;
use replay::replay;

#[test]
fn no_bytes_break_the_parser_of_ip() {
    assert!(replay("packet_ip", fuzzing::ip) > 3000);
}

#[test]
fn no_bytes_break_the_parser_of_udp() {
    assert!(replay("packet_udp", fuzzing::udp) > 3000);
}

#[test]
fn no_bytes_break_the_parser_of_icmp_errors() {
    assert!(replay("packet_icmp", fuzzing::icmp) > 5000);
}

#[test]
fn no_bytes_break_the_parser_of_echoes() {
    assert!(replay("packet_echo", fuzzing::echo) > 3000);
}

#[test]
fn no_bytes_break_the_parser_of_tcp() {
    assert!(replay("packet_tcp", fuzzing::tcp) > 3000);
}
