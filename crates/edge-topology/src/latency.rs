//! Round trips of nodes and of links, with error bars, from round trips of interfaces.
//!
//! ## Model
//! A reply from node `v` takes the way there, the making of the reply, and the way back. The way there is what all replies
//! from behind `v` share. Making a reply takes a router a time of its own, with an exponential tail; forwarding does not.
//! The way back may be another than the way there (a *detour*, longer or shorter), and then no measurement from one
//! vantage point can tell; but the differences of detours between neighbours are about as often positive as negative.
//!
//! ## Symbols
//! | | |
//! |---|---|
//! | own(v) | smallest recent round trip to a member of `v`, over n samples |
//! | mean(v) | mean of what is added to single replies: (median - minimum) / ln 2 |
//! | noise(v) | what own(v) may be above the truth, in 19 cases of 20: 3 mean(v) / n |
//! | est(v) | estimate: the least of own(v) and the own of everything seen behind `v` |
//! | h | half-life of detour differences: half of them that exceed x exceed x + h |
//!
//! ## Rule
//! 1. est(v) is the largest value at each node that no reply from it or from behind it contradicts. Since making a reply only
//!    adds time, it is the most likely one whatever the law, if only small additions are likelier than large ones. No link is negative.
//! 2. Silent nodes, and those that answer from inside a tunnel, lie evenly between their neighbours; with nothing behind
//!    them they take the parent's value, or half-way to what bounds them.
//! 3. A link is est(child) - est(parent). Its bar is the larger noise of its ends, since the two errors have the same sign,
//!    and an allowance for detours.
//! 4. Links whose child answered sooner than the parent by more than noise measure the detours: of a law that halves every h, what
//!    is left of a difference beyond a link's length has the same h whatever the length. The median of these excesses is h. How
//!    many links have a detour follows from how many show one, by the links' estimated lengths.
//! 5. The allowance leaves out one case in twenty: h log2(20 q), where q is the share of links with a detour that did not show;
//!    at links that touch a node which showed one, q = 1.
//!
//! ## Why this rule
//! A bound that always holds (a router is no further than half of the round trip, there and no way back) says nothing: 0 to the
//! round trip. What the vantage point cannot see of one link, it can see of all links together.
//!
//! ## Limits
//! Detours that are all shorter than every link do not show and are not allowed for. A constant part in the making of replies is
//! seen only where something behind answers sooner; it then counts as a detour. The estimates are of round trips;
//! that half of one is the way there, is an assumption.
//!
//! ## Cost
//! O(hops + nodes · log nodes).
//!
//! ## Determinism
//! Integers; powers of two by linear interpolation.
//!
//! ## Source
//! Paper section 2.2 asks for latencies between routers and gives no method.

use std::time::Duration;

use edge_types::Rtt;

use crate::detours::Detours;
use crate::graph::{GraphNode, Paths};
use crate::rtt::RttSummary;
use crate::tree::NodeIndex;

/// An estimated round trip, with what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RttEstimate {
    /// The estimate.
    pub rtt: Rtt,
    /// How far off it may well be, to either side: in 19 cases of 20 of a node that answered. Half the span where interpolated.
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
    pub(crate) detours: Detours,
}

/// A round trip and its noise.
type Reached = (Rtt, Duration);

/// Round trips that never shrink on the way out; parents come first in `nodes`.
pub(crate) fn estimate(
    nodes: &[GraphNode],
    parents: &[Option<NodeIndex>],
    paths: &Paths,
) -> Latencies {
    let noises = noises(nodes);
    let clamped = clamp_along_paths(nodes, &noises, paths);
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
        estimates.push(match (behind[index], node.reading.own) {
            (Some(Behind { reached, .. }), Some(own)) => {
                let taken_off = own.minimum.0.saturating_sub(reached.0.0);
                RttEstimate {
                    rtt: reached.0,
                    error: noises[index].saturating_sub(taken_off).max(reached.1),
                    basis: RttBasis::Measured { own: own.minimum },
                }
            }
            (Some(Behind { reached, links }), None) => {
                let span = reached.0.0.saturating_sub(parent.rtt.0);
                RttEstimate {
                    rtt: Rtt(parent.rtt.0 + span / (links + 1)),
                    error: (span / 2).saturating_add(parent.error.max(reached.1)),
                    basis: RttBasis::Interpolated,
                }
            }
            (None, _) => RttEstimate {
                basis: RttBasis::Inherited,
                ..parent
            },
        });
    }
    let detours = Detours::of(&estimates, &noises, parents);
    for (index, estimate) in estimates.iter_mut().enumerate() {
        if Detours::show_at(estimate, noises[index]) {
            estimate.error = estimate.error.saturating_add(detours.where_shown);
        }
    }
    Latencies {
        nodes: estimates,
        detours,
    }
}

/// What the smallest round trip to each node may be above the truth.
fn noises(nodes: &[GraphNode]) -> Vec<Duration> {
    let readings = || nodes.iter().filter_map(|node| node.reading.own);
    let mut known: Vec<Duration> = readings().filter_map(|own| own.mean_excess()).collect();
    known.sort_unstable();
    // Where there are too few samples to say, half of the others do no better than this.
    let typical = known.get(known.len() / 2).copied().unwrap_or_default();
    let noise = |own: RttSummary| {
        let mean = own.mean_excess().unwrap_or(typical.max(own.jitter));
        mean.saturating_mul(3) / own.samples.max(1)
    };
    nodes
        .iter()
        .map(|node| node.reading.own.map_or(Duration::ZERO, noise))
        .collect()
}

/// The smallest round trip to each node that answered, or to anything behind it on a path.
fn clamp_along_paths(
    nodes: &[GraphNode],
    noises: &[Duration],
    paths: &Paths,
) -> Vec<Option<Reached>> {
    let own = nodes.iter().zip(noises);
    let mut clamped: Vec<Option<Reached>> = own
        .map(|(node, noise)| Some((node.reading.own?.minimum, *noise)))
        .collect();
    for (client, way) in paths {
        let mut behind: Option<Reached> = None;
        for index in std::iter::once(client).chain(way.iter().rev()) {
            if let Some(own) = &mut clamped[index.0] {
                *own = behind.map_or(*own, |behind| behind.min(*own));
                behind = Some(*own);
            }
        }
    }
    clamped
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
    clamped: &[Option<Reached>],
) -> Vec<Option<Behind>> {
    let own = |reached: Option<Reached>| {
        Some(Behind {
            reached: reached?,
            links: 0,
        })
    };
    let mut behind: Vec<Option<Behind>> = clamped.iter().copied().map(own).collect();
    for child in (1..nodes.len()).rev() {
        if behind[child].is_none() {
            let bound = nodes[child].reading.bound;
            behind[child] = bound.map(|bound| Behind {
                reached: (bound, Duration::ZERO),
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
            }) => Behind {
                reached: own.min(reached),
                links: 0,
            },
            Some(other) => other.min(through_child),
            None => through_child,
        });
    }
    behind
}
