//! How different two trees are.
//!
//! ## Model
//! What a client's path could be relied on to pass are its dominators: the nodes on every way to it, in the graph of all paths.
//! Between two of them that follow each other, routers balance; which of the arms a flow takes is chance.
//!
//! ## Rule
//! A client is reached another way if its new path misses one of its old dominators, and shows at that place somebody who was not
//! on its old path. So a flow that moves to another known arm is no change, nor is a hop that fell silent or was cut off: silence is
//! no evidence. If another address was traced than before, another arm of equal length is no evidence either, known or not, since
//! it was another flow.
//!
//! A client is cut off if it passed for sure a node at and behind which all have fallen silent: of at least eight clients that
//! answered, none does, and on none of their paths is the node. Somebody has to answer elsewhere, or it may be the measurement that
//! fails. The same the other way round is a node that came back.
//!
//! ## Why this rule
//! Most changes of paths are balancers that hash anew. Sets of links, or whole paths, count every one of them. In real traces,
//! up to four of a thousand targets that answered one day are silent the next, so that one alone tells nothing; eight together, and
//! the router before them, do.
//!
//! ## Limits
//! An arm that no flow was on before is taken for a change once. Where paths to different clients part and meet again without any
//! balancing, a client that moves from one to the other is not seen to. A network that starts to filter probes, its own first router's
//! replies included, looks as if it were cut off; an outage with fewer clients behind it is not seen.
//!
//! ## Cost
//! O(nodes + hops of all paths · hops of one).
//!
//! ## Determinism
//! Integers up to the one division at the end.
//!
//! ## Source
//! Algorithm 1 of the paper has a threshold for changes of the topology and gives no measure.

use std::collections::BTreeSet;

use edge_types::IpNet;

use crate::tree::{AggregateTree, NodeId, NodeIndex};

/// So many clients have to fall silent together to be evidence.
const BEHIND: u32 = 8;

/// Share of the demand that is concerned by the change from `old` to `new`: 0 (nothing changed) to 1 (everything did).
///
/// A client prefix that came, went, is reached another way, or was cut off with others counts with its whole demand; one that stayed counts
/// with what its demand moved by, as in a flash crowd. Each prefix also counts as one thousandth of a request per second, so that
/// silent ones are seen.
pub fn change(old: &AggregateTree, new: &AggregateTree) -> f64 {
    let demand = |tree: &AggregateTree, prefix| {
        let leaf = tree.client(prefix)?.client?;
        Some(u128::from(leaf.demand) + 1)
    };
    let prefixes: BTreeSet<IpNet> = [old, new]
        .iter()
        .flat_map(|tree| tree.clients().map(|(_, _, leaf)| leaf.prefix))
        .collect();
    let twins = twins(old, new);
    let mut cut_off = cut_off(old, new, &twins);
    cut_off.append(&mut self::cut_off(new, old, &self::twins(new, old)));
    let (mut moved, mut total) = (0u128, 0u128);
    for prefix in prefixes {
        let before = demand(old, prefix);
        let after = demand(new, prefix);
        let larger = before.max(after).unwrap_or(0);
        total += larger;
        moved += match (before, after) {
            (Some(before), Some(after))
                if !cut_off.contains(&prefix) && is_same_way(old, new, &twins, prefix) =>
            {
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

/// Where each node of `old` is in `new`.
fn twins(old: &AggregateTree, new: &AggregateTree) -> Vec<Option<NodeIndex>> {
    let mut twins = vec![None; old.nodes().len()];
    let mut candidates = new.index.iter().peekable();
    for (id, index) in &old.index {
        while candidates.next_if(|(other, _)| *other < id).is_some() {}
        twins[index.0] = candidates
            .next_if(|(other, _)| *other == id)
            .map(|(_, twin)| *twin);
    }
    twins
}

/// Clients of `old` that are cut off in `new`.
fn cut_off(
    old: &AggregateTree,
    new: &AggregateTree,
    twins: &[Option<NodeIndex>],
) -> BTreeSet<IpNet> {
    let is_anybody_there = new.clients().any(|(_, _, leaf)| leaf.answered);
    if !is_anybody_there {
        return BTreeSet::new();
    }
    // Clients that answered and are traced by the same address, and whether they still answer.
    let answered: Vec<_> = old
        .clients()
        .filter(|(_, _, leaf)| leaf.answered)
        .filter_map(|(client, _, before)| {
            let twin = twins[client.0]?;
            let after = new.node(twin)?.client?;
            let is_same_flow = after.target == before.target;
            is_same_flow.then_some((client, twin, before.prefix, after.answered))
        })
        .collect();
    let passed = |client| {
        let dominators = old.dominators(client);
        dominators.filter(|(_, node)| matches!(node.id, NodeId::Group(_)))
    };
    // Clients behind each node, and if any of them still shows that it is there.
    let mut behind = vec![(0u32, false); old.nodes().len()];
    for (client, twin, _, still_answers) in &answered {
        for (at, _) in passed(*client) {
            let (clients, is_there) = &mut behind[at.0];
            *clients += 1;
            *is_there = *is_there
                || *still_answers
                || twins[at.0].is_some_and(|at| new.path(*twin).any(|node| node == at));
        }
    }
    let is_gone = |at: NodeIndex| matches!(behind[at.0], (BEHIND.., false));
    answered
        .iter()
        .filter(|(client, ..)| passed(*client).any(|(at, _)| is_gone(at)))
        .map(|(_, _, prefix, _)| *prefix)
        .collect()
}

fn is_same_way(
    old: &AggregateTree,
    new: &AggregateTree,
    twins: &[Option<NodeIndex>],
    prefix: IpNet,
) -> bool {
    let find = |tree: &AggregateTree| tree.find(&NodeId::Client(prefix));
    let (Some(old_client), Some(new_client)) = (find(old), find(new)) else {
        return false;
    };
    let old_path: Vec<NodeIndex> = old.path(old_client).collect();
    let new_path: Vec<NodeIndex> = new.path(new_client).collect();
    let was_passed = |at: NodeIndex| old_path.iter().any(|node| twins[node.0] == Some(at));
    let is_stranger =
        |at: &NodeIndex| matches!(new.nodes()[at.0].id, NodeId::Group(_)) && !was_passed(*at);
    let target =
        |tree: &AggregateTree, client: NodeIndex| tree.node(client)?.client.map(|leaf| leaf.target);
    let is_same_flow = target(old, old_client) == target(new, new_client);

    let mut dominators: Vec<NodeIndex> = old
        .dominators(old_client)
        .filter(|(_, node)| matches!(node.id, NodeId::Group(_) | NodeId::Client(_)))
        .map(|(index, _)| index)
        .collect();
    dominators.reverse();
    // How much of either path lies before the latest dominator that both pass, and if others were missed since.
    let (mut old_done, mut new_done, mut missed) = (0, 0, false);
    for dominator in dominators {
        let place = |path: &[NodeIndex], node| path.iter().position(|at| Some(*at) == node);
        let Some(old_place) = place(&old_path, Some(dominator)) else {
            continue;
        };
        let Some(new_place) = place(&new_path, twins[dominator.0]) else {
            missed = true;
            continue;
        };
        let Some(between) = new_path.get(new_done..new_place) else {
            return false; // they come in another order
        };
        let is_as_long = between.len() == old_place - old_done;
        if missed && between.iter().any(is_stranger) && (is_same_flow || !is_as_long) {
            return false;
        }
        (old_done, new_done, missed) = (old_place + 1, new_place + 1, false);
    }
    true
}
