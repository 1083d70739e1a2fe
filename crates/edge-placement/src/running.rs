//! Demand behind nodes and their betweenness, kept current as single demands change.

use crate::network::Tree;

/// Demand-weighted betweenness of a tree. A change costs as many steps as its node is deep, a question one.
#[derive(Clone, Debug)]
pub struct Running {
    tree: Tree,
    /// `w(v)`, `S(v)`, and `Σ S(c)²` over children, as in [`crate::tree_betweenness`].
    own: Vec<u64>,
    behind: Vec<u64>,
    within_children: Vec<u128>,
}

fn square(weight: u64) -> u128 {
    u128::from(weight) * u128::from(weight)
}

impl Running {
    /// Of these demands, one for each node; what is missing counts as 0. All together fit 63 bits.
    pub fn new(tree: Tree, mut demand: Vec<u64>) -> Self {
        demand.resize(tree.len(), 0);
        let behind = tree.sums(&demand);
        let mut within_children = vec![0; tree.len()];
        for node in 1..tree.len() {
            if let Some(parent) = tree.parent(node) {
                within_children[parent] += square(behind[node]);
            }
        }
        Self {
            tree,
            own: demand,
            behind,
            within_children,
        }
    }

    /// Sets the demand of a node; the number of nodes that were looked at. What is no node is left alone.
    pub fn set(&mut self, node: usize, demand: u64) -> usize {
        let Some(own) = self.own.get_mut(node) else {
            return 0;
        };
        let before = std::mem::replace(own, demand);
        let mut touched = 0;
        let mut next = Some(node);
        while let Some(at) = next {
            touched += 1;
            let old = self.behind[at];
            let new = old - before + demand;
            self.behind[at] = new;
            next = self.tree.parent(at);
            if let Some(parent) = next {
                let within = &mut self.within_children[parent];
                *within = *within - square(old) + square(new);
            }
        }
        touched
    }

    /// Demand at and behind a node.
    pub fn behind(&self, node: usize) -> Option<u64> {
        self.behind.get(node).copied()
    }

    /// Betweenness of a node.
    pub fn betweenness(&self, node: usize) -> Option<u128> {
        let (own, behind) = (*self.own.get(node)?, self.behind[node]);
        let all = self.behind[0];
        let pairs = square(all - own) - self.within_children[node] - square(all - behind);
        Some(pairs / 2)
    }
}
