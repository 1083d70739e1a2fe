//! The graph of all paths to the clients of one demand, from which trees are views.
//!
//! ## Model
//! A node is a group of interfaces, a silent hop between two of them, or a client prefix. Every client prefix contributes
//! one path, weighted by its demand; a link is a step on one. Where several interfaces answered at one hop of one trace, there
//! is also a bypass around the first of them: packets may pass the others.
//!
//! ## Rule
//! 1. What comes back to a node after grouping forgets what was between (as loops of addresses are erased before).
//! 2. Nodes are put in an order in which every node comes after all its predecessors. Where grouping or changing routes
//!    made a cycle, the node seen nearest to the origin goes first.
//!
//! ## Cost
//! O(hops · log nodes).
//!
//! ## Determinism
//! Ordered maps and integers throughout; no hashing, no floating point.
//!
//! ## Source
//! Paper sections 2.2 and 2.6 (aggregate tree, grouping by subnet).

mod build;
mod dominators;
mod order;
mod parents;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use edge_types::{Generation, IpNet, Rtt};

use crate::grouping::Grouping;
use crate::latency;
use crate::observations::Observations;
use crate::rtt::RttSummary;
use crate::tree::{AggregateTree, ClientLeaf, Demand, NodeId, NodeIndex, Parents, TreeNode};

/// The paths to all clients of one demand, grouped and merged, with what they weigh.
#[derive(Clone, Debug)]
pub struct PathGraph {
    grouping: Grouping,
    nodes: Vec<GraphNode>,
    bypasses: Vec<(NodeIndex, NodeIndex)>,
    paths: Arc<Paths>,
    untraced: Vec<IpNet>,
}

/// The nodes on the way to each client, origin and client left out, by the client's own node.
pub(crate) type Paths = BTreeMap<NodeIndex, Box<[NodeIndex]>>;

/// A node of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphNode {
    /// What it stands for.
    pub id: NodeId,
    /// Links to it, in order of where they come from.
    pub links: Vec<Link>,
    /// Addresses that answered here, in order; empty where silent.
    pub members: Vec<IpAddr>,
    /// The client prefix, at a leaf.
    pub client: Option<ClientLeaf>,
    pub(crate) reading: Reading,
}

/// A step that paths take, by its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it comes from.
    pub from: NodeIndex,
    /// Demand of the clients whose paths take it, in thousandths of a request per second.
    pub demand: u64,
    /// Number of these clients.
    pub paths: usize,
}

/// What was measured at a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The summary of the member that is nearest.
    pub(crate) own: Option<RttSummary>,
    /// By how many hops its replies' way back is longer than the way there.
    pub(crate) extra_hops: Option<i16>,
    /// Of members that answered from inside a tunnel only: what bounds their round trip.
    pub(crate) bound: Option<Rtt>,
}

impl PathGraph {
    pub(crate) fn new(observations: &Observations, grouping: &Grouping, demand: &Demand) -> Self {
        build::graph(observations, grouping, demand)
    }

    /// All nodes, the origin first, every other after one at least from which a link comes. They have the same index in every
    /// tree of this graph.
    pub fn nodes(&self) -> &[GraphNode] {
        &self.nodes
    }

    /// Pairs of nodes between which packets may pass something else than the node between them on a path.
    pub fn bypasses(&self) -> &[(NodeIndex, NodeIndex)] {
        &self.bypasses
    }

    /// Client prefixes of the demand whose target was never traced.
    pub fn untraced(&self) -> &[IpNet] {
        &self.untraced
    }

    /// For each node, the last one before it that *every* way to it passes, be it of one path or put together from several: a
    /// service there is on the way whichever way routers balance. `None` for the origin.
    ///
    /// Costs O(links · log nodes) (Lengauer and Tarjan 1979).
    pub fn dominators(&self) -> Vec<Option<NodeIndex>> {
        let mut successors = vec![Vec::new(); self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for link in &node.links {
                successors[link.from.0].push(index);
            }
        }
        for (from, to) in &self.bypasses {
            successors[from.0].push(to.0);
        }
        let found = dominators::dominators(&successors).into_iter();
        found.map(|dominator| dominator.map(NodeIndex)).collect()
    }

    /// For each node, the one before it through which most demand comes. `None` for the origin.
    ///
    /// Only those that come earlier in [`PathGraph::nodes`] are considered. Ties go to more paths, then to the deeper, then to
    /// the smaller identity.
    pub fn heaviest(&self) -> Vec<Option<NodeIndex>> {
        parents::heaviest(self)
    }

    /// The tree in which every node hangs on one parent by this rule.
    ///
    /// With [`Parents::Heaviest`] all demand of balanced routers is given to one of them; with [`Parents::Dominators`] to none,
    /// and a node's demand is what surely passes it.
    pub fn tree(&self, generation: Generation, rule: Parents) -> AggregateTree {
        let dominators = self.dominators();
        let parents = match rule {
            Parents::Heaviest => self.heaviest(),
            Parents::Dominators => dominators.clone(),
        };
        self.hang(generation, rule, &parents, &dominators)
    }

    pub(crate) fn hang(
        &self,
        generation: Generation,
        rule: Parents,
        parents: &[Option<NodeIndex>],
        dominators: &[Option<NodeIndex>],
    ) -> AggregateTree {
        let latencies = latency::estimate(&self.nodes, parents, &self.paths);
        let demand = parents::demand_through(&self.nodes, parents);
        let mut nodes: Vec<TreeNode> = Vec::with_capacity(self.nodes.len());
        for (index, node) in self.nodes.iter().enumerate() {
            let parent = parents[index];
            nodes.push(TreeNode {
                id: node.id.clone(),
                parent,
                dominator: dominators[index],
                depth: parent.map_or(0, |parent| nodes[parent.0].depth + 1),
                rtt: latencies.nodes[index],
                members: node.members.clone(),
                demand: demand[index],
                client: node.client,
            });
        }
        let index = (0..).map(NodeIndex).zip(&nodes);
        AggregateTree {
            generation,
            rule,
            grouping: self.grouping.clone(),
            index: index
                .map(|(index, node)| (node.id.clone(), index))
                .collect(),
            nodes,
            paths: Arc::clone(&self.paths),
            bars: latencies.bars,
            untraced: self.untraced.clone(),
        }
    }
}
