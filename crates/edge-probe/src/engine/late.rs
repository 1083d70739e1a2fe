//! Replies that come when their trace is over: too late for its path, but others can still learn from them.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use edge_packet::ErrorKind;
use edge_types::{MonotonicTime, Rtt};

use super::Engine;
use super::target::{Answer, Speaker, Target};
use crate::config::Sharing;
use crate::probe::{Reply, ReplyKind};
use crate::tag::Proof;

/// For how long, and for how many traces, late replies are known again.
const KEPT: Duration = Duration::from_secs(10);
const MOST: usize = 256;

/// Traces that are over, with probes that were not answered.
#[derive(Debug, Default)]
pub(super) struct Late {
    traces: BTreeMap<IpAddr, Target>,
    order: VecDeque<(MonotonicTime, IpAddr)>,
}

impl Late {
    fn keep(&mut self, target: Target, now: MonotonicTime) {
        while let Some((since, oldest)) = self.order.front().copied()
            && (self.order.len() >= MOST || now.since(since) >= KEPT)
        {
            self.order.pop_front();
            self.traces.remove(&oldest);
        }
        self.order.retain(|(_, address)| *address != target.address);
        self.order.push_back((now, target.address));
        self.traces.insert(target.address, target);
    }

    pub(super) fn get(&self, target: IpAddr) -> Option<&Target> {
        self.traces.get(&target)
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
        let target = self.late.traces.get_mut(&reply.target)?;
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
