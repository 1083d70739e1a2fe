//! What fuzzers and tests throw bytes at: what raw sockets deliver, up to the engine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edge_packet::{EchoView, IcmpError, IpVersion, TcpView};
use edge_ports::TracePriority;
use edge_types::{AddressPolicy, IpNet, MonotonicTime};

use crate::config::{ProbeMethod, ProberConfig};
use crate::engine::{Action, Engine};
use crate::probe::Reply;

/// Who sent what sockets of IPv6 deliver, which do not deliver the IP header.
const SENDER: IpAddr = IpAddr::V6(Ipv6Addr::new(0x3fff, 1, 0, 0, 0, 0, 0, 1));

/// Gives `bytes` to engines that have probes out, as a packet of either IP version and to each kind of probe.
///
/// # Panics
/// If bytes that know nothing of an engine's secret count as a reply.
pub fn reply(bytes: &[u8]) {
    for method in [ProbeMethod::Udp, ProbeMethod::Icmp, ProbeMethod::TcpSyn] {
        let replies = read(method, bytes);
        if replies.iter().all(Option::is_none) {
            continue;
        }
        let any = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let config = ProberConfig {
            method,
            policy: AddressPolicy::new(any.map(|any: IpAddr| IpNet::new_assert(any, 0)).to_vec()),
            source_port: Some(40_000),
            ..ProberConfig::default()
        };
        let mut engine = Engine::new(config, [7; 16]);
        let now = MonotonicTime::ZERO;
        for reply in replies.into_iter().flatten() {
            // An address that nobody may probe has no probes out, and the reply must not count all the more.
            let _refused = engine.begin(now, reply.target, TracePriority::New);
            while let Some(Action::Send(_)) = engine.poll(now) {}
            engine.on_reply(&reply, now, now);
        }
        assert_eq!(engine.counters().replies, 0, "a forged reply counts");
    }
}

/// All that `bytes` may be to a prober by `method`.
fn read(method: ProbeMethod, bytes: &[u8]) -> [Option<Reply>; 4] {
    let v4 = IcmpError::parse_packet(bytes).ok();
    let v4 = v4.and_then(|(header, error)| Reply::to_error(method, header.source, &error));
    let v6 = IcmpError::parse_message(IpVersion::V6, bytes).ok();
    let v6 = v6.and_then(|error| Reply::to_error(method, SENDER, &error));
    let (answer4, answer6) = match method {
        ProbeMethod::Udp => (None, None),
        ProbeMethod::Icmp => {
            let v4 = EchoView::parse_packet(bytes).ok();
            let v6 = EchoView::parse_message(IpVersion::V6, bytes).ok();
            (
                v4.and_then(|(header, echo)| Reply::by_echo(header.source, &echo)),
                v6.and_then(|echo| Reply::by_echo(SENDER, &echo)),
            )
        }
        ProbeMethod::TcpSyn => {
            let v4 = TcpView::parse_packet(bytes).ok();
            let v6 = TcpView::parse(bytes).ok();
            (
                v4.and_then(|(header, segment)| Reply::by_tcp(header.source, &segment)),
                v6.and_then(|segment| Reply::by_tcp(SENDER, &segment)),
            )
        }
    };
    [v4, v6, answer4, answer6]
}
