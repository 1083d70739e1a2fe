//! Round trips of nodes and of links, with error bars, from round trips of interfaces.
//!
//! ## Model
//! A reply from node `v` takes the way there, the making of the reply, and the way back. The way there is what all replies
//! from behind `v` share. Making a reply takes a router a constant and an exponential time; forwarding takes none, and hosts take
//! none. The way back may be another than the way there (a *detour*, longer or shorter).
//!
//! ## Symbols
//! | | |
//! |---|---|
//! | own(v) | smallest recent round trip to a member of `v`, over n samples |
//! | mean(v) | mean of what is added to single replies: (median - minimum) / ln 2; the median of all nodes where that is more, or there are too few samples |
//! | noise(v) | what own(v) may be above the truth, in 49 cases of 50: 4 mean(v) / n |
//! | base(v) | the constant that a reply of router `v` takes; of routers whose replies vary alike it is the same |
//! | est(v) | estimate: the least of own(v) - base(v) and the same of everything seen behind `v` |
//! | extra(v) | hops that replies take more on the way back than probes on the way there, by the TTL they arrive with |
//! | h | half-life of detour differences: half of those that exceed x exceed x + h |
//!
//! ## Rule
//! 1. base(v) follows from clients right behind routers with about the same mean. If a quarter of these routers answer later than
//!    their nearest client, they do so because of it. One constant for all would be taken off fast routers, too.
//! 2. est(v) is the largest value that no reply from `v` or from behind it contradicts. Since making a reply only adds time, it is
//!    the most likely one under any law by which small additions are likelier than large ones. No link is negative.
//! 3. Silent nodes, and those that answer from inside a tunnel, lie evenly between their neighbours; with nothing behind
//!    them they take the parent's value, or half-way to what bounds them.
//! 4. A link is est(child) - est(parent). Its bar is the larger noise of its ends, between a router and a client what base may be off
//!    by, and an allowance for detours.
//! 5. A link shows a detour if extra differs between its ends, or if something behind one of them answered sooner than it by more
//!    than noise. Then the allowance is the link's own estimate, or what 19 of 20 links without a sign keep below, if that is more.
//! 6. Where nothing shows, the allowance leaves out one case in twenty: h log2(20 q), where q is the share of links with a
//!    detour that did not show. Links whose child answered sooner than the parent by more than noise tell both: of a law
//!    that halves every h, what is left of a difference beyond a link's length has the same h whatever the length; the median of these
//!    excesses is h. And as many differences are negative as positive, so q follows from how many show, by the links' lengths.
//!
//! ## Why this rule
//! A bound that always holds (half of the round trip is the way there, at most all of it) says nothing: 0 to the
//! round trip. What a single vantage point cannot see of one link, TTLs and all links together tell.
//!
//! ## Limits
//! Where sources do not tell the TTLs of replies, detours shorter than their links do not show, and bars cover fewer links than
//! they say. Detours over as many hops as the way there are allowed for only as far as rule 6 goes. The estimates are of round
//! trips; that half of one is the way there, is an assumption.
//!
//! ## Cost
//! O(hops + nodes · log nodes).
//!
//! ## Determinism
//! Integers; powers of two by linear interpolation.
//!
//! ## Source
//! Paper section 2.2 asks for latencies between routers and gives no method. TTLs of replies: Vanaubel et al., *Through the
//! wormhole*, IMC 2017. The rest is our own; the simulated networks in the tests show what it is worth.

mod bars;
mod replies;

use std::time::Duration;

use edge_types::Rtt;

use crate::graph::{GraphNode, Paths};
use crate::tree::{NodeId, NodeIndex};

pub(crate) use bars::Bars;
use bars::NodeBar;
use replies::Reached;

/// An estimated round trip, with what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RttEstimate {
    /// The estimate.
    pub rtt: Rtt,
    /// How far off it may well be, to either side. Where measured, it covers what the making of replies may have added, and the
    /// node's own round trip; half the span where interpolated.
    pub error: Duration,
    /// Where it comes from.
    pub basis: RttBasis,
}

/// Where an estimate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RttBasis {
    /// It is zero, at the vantage point.
    Origin,
    /// The node answered.
    Measured {
        /// Smallest round trip of its own. The estimate is lower where an answer came back sooner from behind the node:
        /// the node answers slowly, or its answers come back another way.
        own: Rtt,
    },
    /// The node is silent, or answers from inside a tunnel; the estimate lies evenly between its neighbours'.
    Interpolated,
    /// The node and all behind it are silent; the estimate is the parent's, a lower bound.
    Inherited,
    /// Put together from estimates along the tree.
    Composed,
}

/// Estimates for all nodes of a tree.
pub(crate) struct Latencies {
    pub(crate) nodes: Vec<RttEstimate>,
    pub(crate) bars: Bars,
}

/// Round trips that never shrink on the way out; parents come first in `nodes`.
pub(crate) fn estimate(
    nodes: &[GraphNode],
    parents: &[Option<NodeIndex>],
    paths: &Paths,
) -> Latencies {
    let own = replies::reached(nodes, parents);
    let mut clamped = own.clone();
    clamp_along_paths(&mut clamped, paths);
    let behind = nearest_behind(nodes, parents, &clamped);

    let mut estimates: Vec<RttEstimate> = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let Some(parent) = parents[index].map(|parent| estimates[parent.0]) else {
            estimates.push(RttEstimate {
                rtt: Rtt::default(),
                error: Duration::ZERO,
                basis: RttBasis::Origin,
            });
            continue;
        };
        estimates.push(match (behind[index], own[index], node.reading.own) {
            (Some(Behind { reached, .. }), Some(own), Some(reading)) => RttEstimate {
                rtt: Rtt(reached.rtt),
                error: own
                    .noise
                    .max(reached.noise)
                    .max(own.rtt.saturating_sub(reached.rtt)),
                basis: RttBasis::Measured {
                    own: reading.minimum,
                },
            },
            (Some(Behind { reached, links }), ..) => {
                let span = reached.rtt.saturating_sub(parent.rtt.0);
                RttEstimate {
                    rtt: Rtt(parent.rtt.0 + span / (links + 1)),
                    error: (span / 2).saturating_add(parent.error.max(reached.noise)),
                    basis: RttBasis::Interpolated,
                }
            }
            (None, ..) => RttEstimate {
                basis: RttBasis::Inherited,
                ..parent
            },
        });
    }
    let bars = nodes.iter().zip(&estimates).zip(own);
    let bars = bars.map(|((node, estimate), own)| NodeBar {
        estimate: estimate.rtt.0,
        own: own.map(|own| own.rtt),
        noise: match estimate.basis {
            RttBasis::Measured { .. } => own.map_or(Duration::ZERO, |own| own.noise),
            _ => estimate.error,
        },
        base_noise: own.map_or(Duration::ZERO, |own| own.base_noise),
        extra_hops: match estimate.basis {
            RttBasis::Origin => Some(0),
            _ => node.reading.extra_hops,
        },
        is_router: node.client.is_none() && node.id != NodeId::Origin,
    });
    Latencies {
        bars: Bars::new(bars.collect(), parents),
        nodes: estimates,
    }
}

/// The smallest round trip to each node that answered, or to anything behind it on a path.
fn clamp_along_paths(reached: &mut [Option<Reached>], paths: &Paths) {
    for (client, way) in paths {
        let mut behind: Option<Reached> = None;
        for index in std::iter::once(client).chain(way.iter().rev()) {
            if let Some(own) = &mut reached[index.0] {
                *own = behind.map_or(*own, |behind| behind.min(*own));
                behind = Some(*own);
            }
        }
    }
}

/// The nearest answer at or behind a node, and how many links away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Behind {
    reached: Reached,
    links: u32,
}

/// For each node; the smallest round trip wins.
fn nearest_behind(
    nodes: &[GraphNode],
    parents: &[Option<NodeIndex>],
    reached: &[Option<Reached>],
) -> Vec<Option<Behind>> {
    let here = |reached| Behind { reached, links: 0 };
    let mut behind: Vec<Option<Behind>> = reached.iter().map(|reached| reached.map(here)).collect();
    for child in (1..nodes.len()).rev() {
        if behind[child].is_none() {
            behind[child] = nodes[child].reading.bound.map(|bound| Behind {
                reached: Reached {
                    rtt: bound.0,
                    noise: Duration::ZERO,
                    base_noise: Duration::ZERO,
                },
                links: 1,
            });
        }
        let (Some(parent), Some(Behind { reached, links })) = (parents[child], behind[child])
        else {
            continue;
        };
        let through_child = Behind {
            reached,
            links: links + 1,
        };
        let known = &mut behind[parent.0];
        *known = Some(match *known {
            // A node that answered keeps its own place and takes over only a smaller value.
            Some(Behind {
                reached: own,
                links: 0,
            }) => here(own.min(reached)),
            Some(other) => other.min(through_child),
            None => through_child,
        });
    }
    behind
}
