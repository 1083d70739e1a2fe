//! What fuzzers and tests throw bytes at: what a raw socket delivers, up to the engine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edge_packet::{IcmpError, IpVersion};
use edge_ports::TracePriority;
use edge_types::{AddressPolicy, MonotonicTime};

use crate::config::ProberConfig;
use crate::engine::{Action, Engine};
use crate::tag::Reply;

/// Who sent what the ICMPv6 socket delivers, which does not deliver the IP header.
const SENDER: IpAddr = IpAddr::V6(Ipv6Addr::new(0x3fff, 1, 0, 0, 0, 0, 0, 1));

/// Gives `bytes` to an engine that has probes out, as a packet of either IP version.
///
/// # Panics
/// If bytes that know nothing of the engine's secret count as a reply.
pub fn reply(bytes: &[u8]) {
    let v4 = IcmpError::parse_packet(bytes)
        .ok()
        .and_then(|(header, error)| Reply::read(header.source, &error));
    let v6 = IcmpError::parse_message(IpVersion::V6, bytes)
        .ok()
        .and_then(|error| Reply::read(SENDER, &error));
    if v4.is_none() && v6.is_none() {
        return;
    }
    let any = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
        .map(|any: IpAddr| edge_types::IpNet::new_assert(any, 0));
    let config = ProberConfig {
        policy: AddressPolicy::new(any.to_vec()),
        source_port: Some(40_000),
        ..ProberConfig::default()
    };
    let mut engine = Engine::new(config, [7; 16]);
    let now = MonotonicTime::ZERO;
    for reply in [v4, v6].into_iter().flatten() {
        // An address that nobody may probe has no probes out, and the reply must not count all the more.
        let _refused = engine.begin(now, reply.target, TracePriority::New);
        while let Some(Action::Send(_)) = engine.poll(now) {}
        engine.on_reply(&reply, now, now);
    }
    assert_eq!(engine.counters().replies, 0, "a forged reply counts");
}
