//! What a traceroute saw.

use std::net::IpAddr;

use crate::time::{MonotonicTime, Rtt};

/// One traceroute: what was seen on the way from us to `target`, as far as it was seen.
///
/// Silence is data: a hop that did not answer is [`Hop::NoReply`], never left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathObservation {
    /// The address that the probes were sent to.
    pub target: IpAddr,
    /// When the trace ended.
    pub observed_at: MonotonicTime,
    /// Hop `i` answered (or not) at IP TTL `i + 1`. The target itself is the last hop if and only if `end` is
    /// [`PathEnd::Reached`]. Trailing silent hops are kept.
    pub hops: Vec<Hop>,
    /// Replies beyond the first of each hop, by TTL, in any order: repeated samples of the same responder, and other
    /// responders where load is balanced per packet or several flows were traced. TTL 0 stands for connections of the target's
    /// own, where it is not known at which distance it is.
    pub further: Vec<(u8, HopReply)>,
    /// Why the trace ended.
    pub end: PathEnd,
    /// Probes sent for this target alone.
    pub probes_sent: u32,
}

impl PathObservation {
    /// Answering hops with their TTL (1-based); what lies beyond the largest TTL is left out.
    pub fn replies(&self) -> impl Iterator<Item = (u8, &HopReply)> {
        (1..=u8::MAX)
            .zip(&self.hops)
            .filter_map(|(ttl, hop)| match hop {
                Hop::Reply(reply) => Some((ttl, reply)),
                Hop::NoReply => None,
            })
    }
}

/// One position on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Somebody answered.
    Reply(HopReply),
    /// Nobody answered within the time and attempts allowed.
    NoReply,
}

/// Who answered at a hop, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopReply {
    /// Source address of the reply.
    pub address: IpAddr,
    /// Round trip of the fastest reply; `None` where the source tells none, as maps do.
    pub rtt: Option<Rtt>,
    /// True if the hop was taken over from another target's trace that passed the same node at the same distance
    /// (a stop set), rather than probed towards this target.
    pub shared: bool,
    /// True if the reply carried an MPLS label stack (RFC 4950). Inside a tunnel such replies often travel to its end
    /// before they turn back, so that all of them show about the same round trip.
    pub in_tunnel: bool,
    /// IP TTL or hop limit of the reply itself when it arrived, which tells how long its way back was; `None` where the source
    /// does not say.
    pub reply_ttl: Option<u8>,
}

impl HopReply {
    /// A reply to a probe towards the target itself, outside any tunnel.
    pub const fn new(address: IpAddr, rtt: Rtt) -> Self {
        Self {
            address,
            rtt: Some(rtt),
            shared: false,
            in_tunnel: false,
            reply_ttl: None,
        }
    }
}

/// Why a trace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathEnd {
    /// The target itself answered.
    Reached,
    /// A router said that it cannot be reached; the ICMP code.
    Unreachable(u8),
    /// Too many silent hops in a row.
    Silent,
    /// The largest TTL was tried and answered by a router.
    MaxTtl,
    /// The time allowed for one target ran out.
    TimedOut,
}
