//! How different two trees are.

use std::collections::BTreeSet;

use edge_types::IpNet;

use crate::grouping::Place;
use crate::tree::{AggregateTree, NodeId, NodeIndex};

/// Share of the demand that is concerned by the change from `old` to `new`: 0 (nothing changed) to 1 (everything did).
///
/// A client prefix that came, went, or is reached another way counts with its whole demand; one that stayed counts
/// with what its demand moved by. Each prefix also counts as one thousandth of a request per second, so that silent ones
/// are seen. A path that only shows fewer or more hops than before is not another way: silence is no evidence.
pub fn change(old: &AggregateTree, new: &AggregateTree) -> f64 {
    let demand = |tree: &AggregateTree, prefix| {
        let leaf = tree.client(prefix)?.client?;
        Some(u128::from(leaf.demand) + 1)
    };
    let prefixes: BTreeSet<IpNet> = [old, new]
        .iter()
        .flat_map(|tree| tree.clients().map(|(_, _, leaf)| leaf.prefix))
        .collect();
    let (mut moved, mut total) = (0u128, 0u128);
    for prefix in prefixes {
        let before = demand(old, prefix);
        let after = demand(new, prefix);
        let larger = before.max(after).unwrap_or(0);
        total += larger;
        moved += match (before, after) {
            (Some(before), Some(after)) if same_way(&way(old, prefix), &way(new, prefix)) => {
                before.abs_diff(after)
            }
            _ => larger,
        };
    }
    if total == 0 {
        0.0
    } else {
        moved as f64 / total as f64
    }
}

/// Groups of routers from the client to the origin.
fn way(tree: &AggregateTree, prefix: IpNet) -> Vec<Place> {
    let leaf = tree.find(&NodeId::Client(prefix)).unwrap_or(NodeIndex(0));
    tree.chain(leaf)
        .filter_map(|(_, node)| match &node.id {
            NodeId::Group(group) => Some(group.clone()),
            _ => None,
        })
        .collect()
}

/// Is one the other with some hops left out?
fn same_way(a: &[Place], b: &[Place]) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let mut rest = long.iter();
    short.iter().all(|hop| rest.any(|other| other == hop))
}
