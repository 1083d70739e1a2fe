//! From observations to the aggregate tree.
//!
//! ## Model
//! A node is a group of routers, a silent hop between two of them, or a client prefix. Every client prefix contributes
//! one path, weighted by its demand. The union of the paths is a graph; the tree keeps one parent per node.
//!
//! ## Rule
//! 1. Nodes are put in an order in which every node comes after all its predecessors. Where grouping or changing routes
//!    made a cycle, the node seen nearest to the origin goes first, and links back to it are ignored.
//! 2. The parent is the earlier predecessor through which most demand came; ties go to more paths, then to the deeper,
//!    then to the smaller identity.
//! 3. The round trip of a node is the smallest to any of its members, and no larger than that of anything seen behind it:
//!    a packet that came back sooner from further away had passed the node. So no link is negative.
//! 4. Silent nodes lie evenly between their neighbours; with nothing behind them they take the parent's value.
//!
//! ## Limits
//! A tree gives all demand of a balanced pair of routers to one of them. Prefix groups may join routers that are far
//! apart; group by address (/32) where that matters.
//!
//! ## Cost
//! O(hops · log nodes).
//!
//! ## Determinism
//! Ordered maps and integers throughout; no hashing, no floating point.
//!
//! ## Source
//! Paper sections 2.2 and 2.6 (aggregate tree, grouping by subnet).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use edge_types::{Generation, IpNet, PrefixGrouping, Rtt};

use crate::normalise::{CleanPath, RouterPath};
use crate::observations::Observations;
use crate::rtt::RttSummary;
use crate::tree::{
    AggregateTree, ClientLeaf, Demand, MAX_CLIENT_DEMAND, NodeId, NodeIndex, RttBasis, RttEstimate,
    TreeNode,
};

pub(crate) fn tree(
    observations: &Observations,
    generation: Generation,
    grouping: PrefixGrouping,
    demand: &Demand,
) -> AggregateTree {
    let mut graph = Graph::new();
    let mut untraced = Vec::new();
    for (prefix, client) in demand {
        let Some(path) = observations.path(client.target) else {
            untraced.push(*prefix);
            continue;
        };
        let leaf = ClientLeaf {
            prefix: *prefix,
            target: client.target,
            demand: client.milli_requests_per_second.min(MAX_CLIENT_DEMAND),
            answered: path.arrival.is_some(),
        };
        graph.add_path(observations, grouping, path, leaf);
    }
    graph.clamp_along_paths();

    let order = graph.order();
    let nodes = graph.into_nodes(&order);
    let index = (0..)
        .map(NodeIndex)
        .zip(&nodes)
        .map(|(index, node)| (node.id, index))
        .collect();
    AggregateTree {
        generation,
        grouping,
        nodes,
        index,
        untraced,
    }
}

/// The union of all paths, after grouping.
struct Graph {
    indices: BTreeMap<NodeId, usize>,
    vertices: Vec<Vertex>,
    paths: Vec<Vec<usize>>,
}

struct Vertex {
    id: NodeId,
    /// Fewest hops from the origin on any path.
    nearest: usize,
    predecessors: BTreeMap<usize, Weight>,
    successors: BTreeSet<usize>,
    members: BTreeSet<IpAddr>,
    /// Smallest round trip of a member, before any clamp.
    measured: Option<RttSummary>,
    /// Smallest round trip of the node or of anything behind it on a path.
    clamped: Option<Rtt>,
    client: Option<ClientLeaf>,
}

/// How much speaks for a link; compared in this order.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Weight {
    demand: u64,
    paths: usize,
}

const ORIGIN: usize = 0;

impl Graph {
    fn new() -> Self {
        let mut graph = Self {
            indices: BTreeMap::new(),
            vertices: Vec::new(),
            paths: Vec::new(),
        };
        graph.vertex(NodeId::Origin, 0);
        graph
    }

    fn vertex(&mut self, id: NodeId, position: usize) -> usize {
        let fresh = self.vertices.len();
        let index = *self.indices.entry(id).or_insert(fresh);
        if index == fresh {
            self.vertices.push(Vertex {
                id,
                nearest: position,
                predecessors: BTreeMap::new(),
                successors: BTreeSet::new(),
                members: BTreeSet::new(),
                measured: None,
                clamped: None,
                client: None,
            });
        }
        let vertex = &mut self.vertices[index];
        vertex.nearest = vertex.nearest.min(position);
        index
    }

    fn add_path(
        &mut self,
        observations: &Observations,
        grouping: PrefixGrouping,
        path: &RouterPath,
        leaf: ClientLeaf,
    ) {
        let mut indices = vec![ORIGIN];
        for id in node_ids(grouping, path, leaf.prefix) {
            let position = indices.len();
            indices.push(self.vertex(id, position));
        }
        for pair in indices.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let weight = self.vertices[to].predecessors.entry(from).or_default();
            weight.demand = weight.demand.saturating_add(leaf.demand);
            weight.paths += 1;
            self.vertices[from].successors.insert(to);
        }
        for (_, router) in &path.routers.places {
            // A router erased as part of a loop between groups has no vertex, and needs none.
            if let Some(index) = self
                .indices
                .get(&NodeId::Group(grouping.group(*router)))
                .copied()
            {
                self.vertices[index].add_member(observations, *router);
            }
        }
        if let Some(last) = indices.last() {
            let vertex = &mut self.vertices[*last];
            vertex.client = Some(leaf);
            if leaf.answered {
                vertex.add_member(observations, leaf.target);
            }
        }
        self.paths.push(indices);
    }

    fn clamp_along_paths(&mut self) {
        for path in &self.paths {
            let mut behind: Option<Rtt> = None;
            for index in path.iter().rev() {
                let vertex = &mut self.vertices[*index];
                if let Some(own) = vertex.clamped {
                    let clamped = behind.map_or(own, |behind| behind.min(own));
                    vertex.clamped = Some(clamped);
                    behind = Some(clamped);
                }
            }
        }
    }

    /// All vertices, each after its predecessors as far as cycles allow; each but the origin after one at least.
    fn order(&self) -> Vec<usize> {
        let mut missing: Vec<usize> = self
            .vertices
            .iter()
            .map(|vertex| vertex.predecessors.len())
            .collect();
        let mut taken = vec![false; self.vertices.len()];
        let mut order = Vec::with_capacity(self.vertices.len());
        // Vertices with a predecessor in the order: those that wait for no other first, then the nearest.
        let mut open = BTreeSet::from([(false, 0, NodeId::Origin, ORIGIN)]);
        while let Some((_, _, _, index)) = open.pop_first() {
            taken[index] = true;
            order.push(index);
            for next in &self.vertices[index].successors {
                if taken[*next] {
                    continue;
                }
                let vertex = &self.vertices[*next];
                let entry = |waits| (waits, vertex.nearest, vertex.id, *next);
                missing[*next] -= 1;
                open.remove(&entry(true));
                open.insert(entry(missing[*next] > 0));
            }
        }
        order
    }

    fn into_nodes(self, order: &[usize]) -> Vec<TreeNode> {
        let mut place = vec![usize::MAX; self.vertices.len()];
        let mut parents: Vec<Option<usize>> = Vec::with_capacity(order.len());
        let mut depths: Vec<u32> = Vec::with_capacity(order.len());
        for (position, index) in order.iter().enumerate() {
            let parent = self.vertices[*index]
                .predecessors
                .iter()
                .map(|(from, weight)| (place[*from], *weight, self.vertices[*from].id))
                .filter(|(at, _, _)| *at < position)
                .max_by(|(at_a, weight_a, id_a), (at_b, weight_b, id_b)| {
                    weight_a
                        .cmp(weight_b)
                        .then(depths[*at_a].cmp(&depths[*at_b]))
                        .then(id_b.cmp(id_a))
                })
                .map(|(at, _, _)| at);
            depths.push(parent.map_or(0, |at| depths[at] + 1));
            parents.push(parent);
            place[*index] = position;
        }

        let in_order: Vec<&Vertex> = order.iter().map(|index| &self.vertices[*index]).collect();
        let rtts = estimate_rtts(&in_order, &parents);
        let demands = demand_through(&in_order, &parents);
        in_order
            .into_iter()
            .zip(parents)
            .zip(depths)
            .zip(rtts)
            .zip(demands)
            .map(|((((vertex, parent), depth), rtt), demand)| TreeNode {
                id: vertex.id,
                parent: parent.map(NodeIndex),
                depth,
                rtt,
                members: vertex.members.iter().copied().collect(),
                demand,
                client: vertex.client,
            })
            .collect()
    }
}

impl Vertex {
    fn add_member(&mut self, observations: &Observations, address: IpAddr) {
        if !self.members.insert(address) {
            return;
        }
        let Some(summary) = observations.summary(address) else {
            return;
        };
        if self
            .measured
            .is_none_or(|best| summary.minimum < best.minimum)
        {
            self.measured = Some(summary);
            self.clamped = Some(summary.minimum);
        }
    }
}

/// The nodes on one path, from the first behind the origin to the client.
fn node_ids(grouping: PrefixGrouping, path: &RouterPath, client: IpNet) -> Vec<NodeId> {
    let routers = path.routers.places.iter();
    let groups =
        CleanPath::new(routers.map(|(silent, router)| (*silent, Some(grouping.group(*router)))));
    let mut ids = Vec::new();
    let mut after = None;
    for (length, group) in groups.places {
        ids.extend(silent_ids(after, group, length));
        ids.push(NodeId::Group(group));
        after = Some(group);
    }
    ids.extend(silent_ids(after, client, path.routers.tail));
    ids.push(NodeId::Client(client));
    ids
}

fn silent_ids(after: Option<IpNet>, before: IpNet, length: u8) -> impl Iterator<Item = NodeId> {
    (0..length).map(move |position| NodeId::Silent {
        after,
        before,
        length,
        position,
    })
}

/// Round trips that never shrink on the way out; parents come first in `vertices`.
fn estimate_rtts(vertices: &[&Vertex], parents: &[Option<usize>]) -> Vec<RttEstimate> {
    // Nearest measured round trip at or behind each vertex, and how many links away; the smallest wins.
    let mut behind: Vec<Option<(Rtt, u32)>> = vertices
        .iter()
        .map(|vertex| vertex.clamped.map(|own| (own, 0)))
        .collect();
    for child in (1..vertices.len()).rev() {
        let (Some(parent), Some((rtt, links))) = (parents[child], behind[child]) else {
            continue;
        };
        let through_child = (rtt, links + 1);
        behind[parent] = Some(match behind[parent] {
            // A measured vertex keeps its own place and takes over only a smaller value.
            Some((own, 0)) => (own.min(rtt), 0),
            Some(other) => other.min(through_child),
            None => through_child,
        });
    }

    let mut estimates: Vec<RttEstimate> = Vec::with_capacity(vertices.len());
    for (index, vertex) in vertices.iter().enumerate() {
        let Some(parent) = parents[index].map(|parent| estimates[parent]) else {
            estimates.push(RttEstimate {
                rtt: Rtt::default(),
                error: Duration::ZERO,
                basis: RttBasis::Origin,
            });
            continue;
        };
        estimates.push(match (behind[index], vertex.measured) {
            (Some((rtt, _)), Some(measured)) => RttEstimate {
                rtt,
                error: measured.jitter,
                basis: RttBasis::Measured {
                    own: measured.minimum,
                },
            },
            (Some((rtt, links)), None) => {
                let span = rtt.0.saturating_sub(parent.rtt.0);
                RttEstimate {
                    rtt: Rtt(parent.rtt.0 + span / (links + 1)),
                    error: span / 2,
                    basis: RttBasis::Interpolated,
                }
            }
            (None, _) => RttEstimate {
                basis: RttBasis::Inherited,
                ..parent
            },
        });
    }
    estimates
}

/// Demand at or behind each vertex; parents come first in `vertices`.
fn demand_through(vertices: &[&Vertex], parents: &[Option<usize>]) -> Vec<u64> {
    let mut demand: Vec<u64> = vertices
        .iter()
        .map(|vertex| vertex.client.map_or(0, |client| client.demand))
        .collect();
    for child in (1..vertices.len()).rev() {
        if let Some(parent) = parents[child] {
            demand[parent] = demand[parent].saturating_add(demand[child]);
        }
    }
    demand
}
