//! The prober's decisions in virtual time: what a run over any network would take, told without waiting for it.
//!
//! The engine is the one that [`crate::Prober`] runs; only sockets and clock are replaced. Equal inputs give equal runs.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use edge_packet::{ErrorKind, IpVersion};
use edge_ports::{TraceError, TracePriority};
use edge_types::{MonotonicTime, PathObservation};

use crate::config::ProberConfig;
use crate::engine::{Action, Engine};
use crate::probe::{Reply, ReplyKind};
use crate::tag::Proof;

/// A probe as the network sees it: UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualProbe {
    /// When it was sent, from the beginning of the run.
    pub at: Duration,
    /// To whom.
    pub target: IpAddr,
    /// Hop limit.
    pub ttl: u8,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

/// What the network answers to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualReply {
    /// Who answers: the target itself with "port unreachable", anybody else with "time exceeded".
    pub from: IpAddr,
    /// Hop limit that the probe had left there; 1 at routers.
    pub ttl_left: u8,
    /// Time from the probe's sending to the reply's arrival.
    pub after: Duration,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct VirtualRun {
    /// Paths in the order in which they were complete.
    pub paths: Vec<PathObservation>,
    /// Targets that were refused.
    pub refused: Vec<TraceError>,
    /// Probes sent.
    pub probes: u64,
    /// How long it took until the last path was complete.
    pub took: Duration,
}

/// Traces `targets` in order, at most `at_once` at a time (at least one), over a network that `answers` probes or keeps silent.
/// `key` decides source ports and tags.
pub fn trace(
    config: ProberConfig,
    key: [u8; 16],
    targets: &[IpAddr],
    at_once: usize,
    mut answers: impl FnMut(&VirtualProbe) -> Option<VirtualReply>,
) -> VirtualRun {
    let mut engine = Engine::new(config, key);
    let mut waiting: VecDeque<IpAddr> = targets.iter().copied().collect();
    let mut under_way = 0;
    let mut on_the_way: BTreeMap<(MonotonicTime, u64), Reply> = BTreeMap::new();
    let mut now = MonotonicTime::ZERO;
    let mut run = VirtualRun::default();
    loop {
        while under_way < at_once.max(1)
            && let Some(target) = waiting.pop_front()
        {
            match engine.begin(now, target, TracePriority::New) {
                Ok(_) => under_way += 1,
                Err(error) => run.refused.push(error),
            }
        }
        match engine.poll(now) {
            Some(Action::Send(probe)) => {
                run.probes += 1;
                let sent = VirtualProbe {
                    at: now.0,
                    target: probe.target,
                    ttl: probe.ttl,
                    source_port: probe.source_port,
                    destination_port: probe.destination_port,
                };
                if let Some(reply) = answers(&sent) {
                    let kind = if reply.from == probe.target {
                        ErrorKind::port_unreachable(IpVersion::of(probe.target))
                    } else {
                        ErrorKind::TimeExceeded
                    };
                    let arrives = now.after(reply.after);
                    let reply = Reply {
                        responder: reply.from,
                        kind: ReplyKind::Error(kind),
                        target: probe.target,
                        source_port: probe.source_port,
                        destination_port: probe.destination_port,
                        proof: Proof::Long(probe.tag.long),
                        ttl_left: Some(reply.ttl_left),
                        arrived_with: None,
                        in_tunnel: false,
                    };
                    on_the_way.insert((arrives, run.probes), reply);
                }
                continue;
            }
            Some(Action::Done(path)) => {
                under_way = under_way.saturating_sub(1);
                run.took = now.0;
                run.paths.push(path);
                continue;
            }
            None => {}
        }
        let arrival = on_the_way.first_key_value().map(|((at, _), _)| *at);
        let Some(next) = arrival.into_iter().chain(engine.next_deadline()).min() else {
            return run;
        };
        now = now.max(next);
        while let Some(entry) = on_the_way
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            let ((at, _), reply) = entry.remove_entry();
            engine.on_reply(&reply, at, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use edge_types::{AddressPolicy, PathEnd};

    use super::*;
    use crate::config::Sharing;

    /// Behind `hops` routers of 10 ms each.
    fn chain(hops: u8) -> impl FnMut(&VirtualProbe) -> Option<VirtualReply> {
        move |probe| {
            let at = probe.ttl.min(hops + 1);
            let from = if probe.ttl <= hops {
                IpAddr::from([241, 0, 0, at])
            } else {
                probe.target
            };
            Some(VirtualReply {
                from,
                ttl_left: probe.ttl - at + 1,
                after: Duration::from_millis(10) * u32::from(at),
            })
        }
    }

    fn config(sharing: Sharing) -> ProberConfig {
        ProberConfig {
            sharing,
            policy: AddressPolicy::new(vec!["240.0.0.0/4".parse().unwrap()]),
            ..ProberConfig::default()
        }
    }

    fn targets(count: u8) -> Vec<IpAddr> {
        (0..count).map(|host| [242, 0, host, 1].into()).collect()
    }

    #[test]
    fn more_at_once_take_less_time_and_find_the_same() {
        let off = || config(Sharing::Off);
        let one = trace(off(), [1; 16], &targets(12), 1, chain(6));
        let four = trace(off(), [1; 16], &targets(12), 4, chain(6));
        assert_eq!(one.paths.len(), 12);
        assert!(
            one.paths
                .iter()
                .all(|path| path.end == PathEnd::Reached && path.hops.len() == 7)
        );
        let ratio = one.took.as_secs_f64() / four.took.as_secs_f64();
        assert!(
            (3.0..5.0).contains(&ratio),
            "{:?} {:?}",
            one.took,
            four.took
        );
    }

    #[test]
    fn what_is_refused_is_told_and_holds_nobody_up() {
        let mut targets = targets(3);
        targets.insert(1, [127, 0, 0, 1].into());
        let run = trace(config(Sharing::Off), [1; 16], &targets, 1, chain(3));
        assert_eq!((run.paths.len(), run.refused.len()), (3, 1));
        let nobody = trace(config(Sharing::Off), [1; 16], &[], 0, chain(3));
        assert_eq!((nobody.paths.len(), nobody.took), (0, Duration::ZERO));
    }
}
