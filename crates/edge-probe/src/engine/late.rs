//! Replies that come when their trace is over: too late for its path, but others can still learn from them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use edge_packet::ErrorKind;
use edge_types::{MonotonicTime, Rtt};

use super::Engine;
use super::target::{Answer, Speaker, Target};
use crate::config::Sharing;
use crate::probe::{Reply, ReplyKind};
use crate::tag::Proof;

/// For how long late replies are known again: longer than any router takes to answer.
const KEPT: Duration = Duration::from_secs(10);
/// For how many traces: as many as fit into these octets, some 2,000 that were traced to the usual 32 hops. Older ones give way.
const OCTETS: usize = 8 << 20;

/// Traces that are over, with probes that were not answered: all that ended in the last [`KEPT`], as far as there is room. So their number
/// follows that of the traces in flight.
#[derive(Debug, Default)]
pub(super) struct Late {
    traces: BTreeMap<IpAddr, Kept>,
    /// Since when each is kept.
    order: BTreeSet<(MonotonicTime, IpAddr)>,
    octets: usize,
}

#[derive(Debug)]
struct Kept {
    target: Target,
    since: MonotonicTime,
    octets: usize,
}

impl Late {
    fn keep(&mut self, mut target: Target, now: MonotonicTime) {
        self.forget(target.address);
        target.forget_all_but_open_probes();
        let (address, octets) = (target.address, target.octets());
        while let Some((since, oldest)) = self.order.first().copied()
            && (self.octets + octets > OCTETS || now.since(since) >= KEPT)
        {
            self.forget(oldest);
        }
        self.octets += octets;
        self.order.insert((now, address));
        let kept = Kept {
            target,
            since: now,
            octets,
        };
        self.traces.insert(address, kept);
    }

    fn forget(&mut self, address: IpAddr) {
        if let Some(kept) = self.traces.remove(&address) {
            self.octets -= kept.octets;
            self.order.remove(&(kept.since, address));
        }
    }

    pub(super) fn get(&self, target: IpAddr) -> Option<&Target> {
        self.traces.get(&target).map(|kept| &kept.target)
    }
}

impl Engine {
    /// Keeps a trace that is over if somebody may yet answer it, and others could learn from that.
    pub(super) fn keep_for_late_replies(&mut self, target: Target, now: MonotonicTime) {
        let is_open = target.sent.iter().any(|sent| !sent.answered);
        if is_open && self.config.sharing != Sharing::Off {
            self.late.keep(target, now);
        }
    }

    /// Takes in a reply to a trace that is over; `None` if it proves nothing.
    pub(super) fn accept_late(
        &mut self,
        reply: &Reply,
        received: MonotonicTime,
        now: MonotonicTime,
    ) -> Option<()> {
        let target = &mut self.late.traces.get_mut(&reply.target)?.target;
        let ports = (target.source_port, self.config.destination_port);
        if (reply.source_port, reply.destination_port) != ports || reply.proof == Proof::Socket {
            return None;
        }
        let mut sent = target.sent.iter_mut();
        let sent = sent.find(|sent| sent.tag.matches(reply.proof))?;
        if std::mem::replace(&mut sent.answered, true) {
            return None;
        }
        let (ttl, rtt) = (sent.ttl, Rtt(received.since(sent.at)));
        let hop = target.hop_mut(ttl);
        if reply.kind == ReplyKind::Error(ErrorKind::TimeExceeded) && hop.answer.is_none() {
            hop.answer = Some(Answer {
                address: reply.responder,
                rtt,
                speaker: Speaker::Router,
                arrived_with: reply.arrived_with,
                in_tunnel: reply.in_tunnel,
            });
            self.knowledge.spend(reply.responder, ttl, now);
            self.teach(reply.target, ttl, now);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use edge_ports::TracePriority;

    use super::*;
    use crate::engine::target::Sent;
    use crate::tag::Tag;

    fn ended(number: u32) -> Target {
        let address = IpAddr::V4(Ipv4Addr::from(0xf000_0000 | number));
        let priority = TracePriority::New;
        let mut target = Target::new(address, priority, number.into(), 40_000, 32);
        target.sent = (1..=4)
            .map(|ttl| Sent {
                ttl,
                tag: Tag {
                    short: 7,
                    long: number.into(),
                },
                at: MonotonicTime::ZERO,
                answered: ttl < 4,
            })
            .collect();
        target
    }

    fn at(milliseconds: u64) -> MonotonicTime {
        MonotonicTime::ZERO.after(Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_thousand_traces_of_a_second_are_all_kept_and_for_ten_seconds_only() {
        let mut late = Late::default();
        for number in 0..1000 {
            late.keep(ended(number), at(number.into()));
        }
        assert_eq!(late.traces.len(), 1000);
        assert!(late.get(ended(0).address).is_some());
        late.keep(ended(1000), at(10_499));
        assert_eq!(late.traces.len(), 501, "half of them are older");
        assert!(late.get(ended(499).address).is_none());
    }

    #[test]
    fn what_is_kept_fits_into_its_room_and_the_oldest_gives_way() {
        let mut late = Late::default();
        for number in 0..20_000 {
            late.keep(ended(number), at(0));
            assert!(late.octets <= OCTETS);
        }
        assert!(late.traces.len() > 256, "{}", late.traces.len());
        assert!(late.get(ended(19_999).address).is_some());
        assert!(late.get(ended(0).address).is_none());
        // One that is traced again takes no more room.
        let before = (late.traces.len(), late.octets);
        late.keep(ended(19_999), at(1));
        assert_eq!((late.traces.len(), late.octets), before);
        let sum: usize = late.traces.values().map(|kept| kept.target.octets()).sum();
        assert_eq!(late.octets, sum);
        assert_eq!(late.order.len(), late.traces.len());
    }
}
