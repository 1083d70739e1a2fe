//! An order in which predecessors come first, as far as cycles allow.

use std::collections::BTreeSet;

/// What decides the order of a vertex.
#[derive(Clone, Debug)]
pub(super) struct Rank {
    /// Fewest hops from the origin on any path.
    pub(super) nearest: usize,
    /// Place of its identity among all.
    pub(super) identity: usize,
}

/// All vertices that can be reached from vertex 0, each after its predecessors as far as cycles allow; each but the first after
/// one at least.
pub(super) fn order(successors: &[BTreeSet<usize>], ranks: &[Rank]) -> Vec<usize> {
    let mut missing = vec![0usize; ranks.len()];
    for next in successors.iter().flatten() {
        missing[*next] += 1;
    }
    let mut taken = vec![false; ranks.len()];
    let mut order = Vec::with_capacity(ranks.len());
    // Vertices with a predecessor in the order: those that wait for no other first, then the nearest.
    let mut open = BTreeSet::from([(false, 0, 0, 0)]);
    while let Some((_, _, _, vertex)) = open.pop_first() {
        taken[vertex] = true;
        order.push(vertex);
        for next in &successors[vertex] {
            if taken[*next] {
                continue;
            }
            let rank = &ranks[*next];
            let entry = |waits| (waits, rank.nearest, rank.identity, *next);
            missing[*next] -= 1;
            open.remove(&entry(true));
            open.insert(entry(missing[*next] > 0));
        }
    }
    order
}
