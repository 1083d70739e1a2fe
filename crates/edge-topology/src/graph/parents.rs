//! One parent per node.

use crate::graph::{GraphNode, PathGraph};
use crate::tree::NodeIndex;

/// The predecessor through which most demand comes, of those that come earlier.
pub(super) fn heaviest(graph: &PathGraph) -> Vec<Option<NodeIndex>> {
    let mut parents: Vec<Option<NodeIndex>> = Vec::with_capacity(graph.nodes.len());
    let mut depths: Vec<u32> = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        let earlier = node.links.iter().filter(|link| link.from.0 < index);
        let parent = earlier
            .max_by(|a, b| {
                (a.demand, a.paths, depths[a.from.0])
                    .cmp(&(b.demand, b.paths, depths[b.from.0]))
                    .then_with(|| graph.nodes[b.from.0].id.cmp(&graph.nodes[a.from.0].id))
            })
            .map(|link| link.from);
        depths.push(parent.map_or(0, |parent| depths[parent.0] + 1));
        parents.push(parent);
    }
    parents
}

/// Demand at or behind each node; parents come first.
pub(super) fn demand_through(nodes: &[GraphNode], parents: &[Option<NodeIndex>]) -> Vec<u64> {
    let own = nodes
        .iter()
        .map(|node| node.client.map_or(0, |client| client.demand));
    let mut demand: Vec<u64> = own.collect();
    for child in (1..nodes.len()).rev() {
        if let Some(parent) = parents[child] {
            demand[parent.0] = demand[parent.0].saturating_add(demand[child]);
        }
    }
    demand
}
