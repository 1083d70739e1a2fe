//! Edge sites on the tree, and how far clients are from them.

use std::time::Duration;

use edge_types::{Generation, PathObservation, Rtt};

use crate::latency::{RttBasis, RttEstimate};
use crate::normalise::RouterPath;
use crate::tree::{AggregateTree, NodeId, NodeIndex};

/// Where something that is no client hangs on the tree of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The tree it belongs to.
    pub generation: Generation,
    /// Last node of the tree on the way there.
    pub node: NodeIndex,
    /// Round trip from the origin to the place itself, or to the last hop that answered if `reached` is false.
    pub rtt: Rtt,
    /// The part of it beyond `node`.
    pub beyond: Rtt,
    /// Did the place itself answer?
    pub reached: bool,
}

impl AggregateTree {
    /// Hangs the end of a path, usually an edge site, on the tree.
    pub fn attach(&self, path: &PathObservation) -> Attachment {
        let clean = RouterPath::new(path);
        let routers = clean.routers.places.iter().map(|(_, router)| *router);
        let node = routers
            .chain(clean.arrival)
            .filter_map(|interface| self.find(&NodeId::Group(self.grouping.place(&interface))))
            .next_back()
            .unwrap_or(NodeIndex(0));
        let rtt = match clean.arrival {
            Some(target) => {
                let replies = clean.samples(path).filter(|(_, from, _)| *from == target);
                replies.filter_map(|(_, _, reply)| reply.rtt).min()
            }
            None => path.replies().filter_map(|(_, reply)| reply.rtt).last(),
        };
        let rtt = rtt.unwrap_or_default();
        let rtt_to_node = self.node(node).map_or(Rtt::default(), |node| node.rtt.rtt);
        Attachment {
            generation: self.generation,
            node,
            rtt,
            beyond: Rtt(rtt.0.saturating_sub(rtt_to_node.0)),
            reached: clean.arrival.is_some(),
        }
    }

    /// Estimated round trip between a node, usually a client leaf, and an attached site: from each to the last node that
    /// both have in common, there and back.
    ///
    /// Traffic between siblings may in truth take a shorter way that a single vantage point cannot see, so this is an
    /// upper bound in spirit. `None` if either is not of this tree.
    pub fn distance(&self, client: NodeIndex, site: &Attachment) -> Option<RttEstimate> {
        if site.generation != self.generation {
            return None;
        }
        let meeting = self.common_ancestor(client, site.node)?;
        let shared = self.node(meeting)?.rtt.rtt.0;
        let beyond_meeting = |index| {
            let rtt = self.node(index)?.rtt.rtt.0.saturating_sub(shared);
            // No difference, no error: both ends are the meeting itself.
            let error = if index == meeting {
                Duration::ZERO
            } else {
                self.bars.between(meeting, index, Rtt(rtt))
            };
            Some((rtt, error))
        };
        let (to_client, client_error) = beyond_meeting(client)?;
        let (to_site_node, site_error) = beyond_meeting(site.node)?;
        Some(RttEstimate {
            rtt: Rtt(to_client
                .saturating_add(to_site_node)
                .saturating_add(site.beyond.0)),
            error: client_error.saturating_add(site_error),
            basis: RttBasis::Composed,
        })
    }

    /// [`AggregateTree::distance`] from every node to one site at once, in order of [`AggregateTree::nodes`], in O(nodes).
    /// `None` if the site is not of this tree.
    pub fn distances(&self, site: &Attachment) -> Option<Vec<Rtt>> {
        let site_node = self.node(site.node)?;
        if site.generation != self.generation {
            return None;
        }
        let mut on_the_way = vec![false; self.nodes.len()];
        for (index, _) in self.chain(site.node) {
            on_the_way[index.0] = true;
        }
        // Round trip to the last node in common with the site, for each node; parents come first.
        let mut shared: Vec<Duration> = Vec::with_capacity(self.nodes.len());
        let mut distances = Vec::with_capacity(self.nodes.len());
        for (node, on_the_way) in self.nodes.iter().zip(on_the_way) {
            let meeting = match node.parent {
                Some(parent) if !on_the_way => shared[parent.0],
                _ => node.rtt.rtt.0,
            };
            shared.push(meeting);
            let to_node = node.rtt.rtt.0.saturating_sub(meeting);
            let to_site_node = site_node.rtt.rtt.0.saturating_sub(meeting);
            distances.push(Rtt(to_node
                .saturating_add(to_site_node)
                .saturating_add(site.beyond.0)));
        }
        Some(distances)
    }
}
