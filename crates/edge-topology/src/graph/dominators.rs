//! Immediate dominators: for each node, the last one that every way to it passes.
//!
//! ## Model
//! A graph by lists of successors, node 0 its root. A node is dominated by those on *all* ways from the root to it.
//!
//! ## Rule
//! Number the nodes in depth-first order. The semidominator of a node is the smallest from which it can be reached through
//! larger ones only; immediate dominators follow from semidominators along the depth-first tree.
//!
//! ## Why this rule
//! Its bound holds for any graph. The simpler iteration to a fixed point is quadratic where groups and loops make cycles within
//! cycles, and paths come from strangers.
//!
//! ## Cost
//! O(links · log nodes); no recursion. The bench `scale` takes 0.08 s for 68,000 nodes and 0.6 s for 395,000.
//!
//! ## Determinism
//! Integers only; the result is unique.
//!
//! ## Source
//! Lengauer and Tarjan, *A fast algorithm for finding dominators in a flowgraph*, TOPLAS 1979, the simple variant.

/// The immediate dominator of each node; `None` for the root, and for what cannot be reached from it.
pub(crate) fn dominators(successors: &[Vec<usize>]) -> Vec<Option<usize>> {
    let search = Search::new(successors);
    let count = search.order.len();
    let mut predecessors: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (from, node) in search.order.iter().enumerate() {
        for to in &successors[*node] {
            predecessors[search.number[*to]].push(from);
        }
    }

    // From here on nodes are named by their place in the search.
    let mut forest = Forest::new(count);
    let mut dominator = vec![0; count];
    let mut bucket: Vec<Vec<usize>> = vec![Vec::new(); count];
    for node in (1..count).rev() {
        for from in &predecessors[node] {
            let best = forest.smallest(*from);
            forest.semi[node] = forest.semi[node].min(forest.semi[best]);
        }
        bucket[forest.semi[node]].push(node);
        let parent = search.parent[node];
        forest.ancestor[node] = Some(parent);
        for waiting in std::mem::take(&mut bucket[parent]) {
            let best = forest.smallest(waiting);
            dominator[waiting] = if forest.semi[best] < forest.semi[waiting] {
                best
            } else {
                parent
            };
        }
    }
    for node in 1..count {
        if dominator[node] != forest.semi[node] {
            dominator[node] = dominator[dominator[node]];
        }
    }

    let mut result = vec![None; successors.len()];
    for node in 1..count {
        result[search.order[node]] = Some(search.order[dominator[node]]);
    }
    result
}

/// A depth-first search from node 0.
struct Search {
    /// Nodes in the order in which they were found.
    order: Vec<usize>,
    /// Place of each node in `order`.
    number: Vec<usize>,
    /// From where each place was found, by place.
    parent: Vec<usize>,
}

impl Search {
    fn new(successors: &[Vec<usize>]) -> Self {
        let mut search = Self {
            order: Vec::new(),
            number: vec![usize::MAX; successors.len()],
            parent: Vec::new(),
        };
        if successors.is_empty() {
            return search;
        }
        search.find(0, 0);
        let mut open = vec![(0, 0)];
        while let Some((node, next)) = open.last_mut() {
            let Some(to) = successors[*node].get(*next).copied() else {
                open.pop();
                continue;
            };
            *next += 1;
            if search.number[to] == usize::MAX {
                let from = search.number[*node];
                search.find(to, from);
                open.push((to, 0));
            }
        }
        search
    }

    fn find(&mut self, node: usize, from: usize) {
        self.number[node] = self.order.len();
        self.order.push(node);
        self.parent.push(from);
    }
}

/// The part of the search tree that was handled, with shortcuts.
struct Forest {
    ancestor: Vec<Option<usize>>,
    /// The node of smallest semidominator between here and `ancestor`, that one left out.
    best: Vec<usize>,
    semi: Vec<usize>,
}

impl Forest {
    fn new(count: usize) -> Self {
        Self {
            ancestor: vec![None; count],
            best: (0..count).collect(),
            semi: (0..count).collect(),
        }
    }

    /// The node of smallest semidominator from here up to, and without, the root of its tree in the forest.
    fn smallest(&mut self, node: usize) -> usize {
        let mut way = Vec::new();
        let mut at = node;
        while let Some(above) = self.ancestor[at].filter(|above| self.ancestor[*above].is_some()) {
            way.push(at);
            at = above;
        }
        // Shorten the way, from above.
        while let Some(below) = way.pop() {
            let Some(above) = self.ancestor[below] else {
                continue;
            };
            if self.semi[self.best[above]] < self.semi[self.best[below]] {
                self.best[below] = self.best[above];
            }
            self.ancestor[below] = self.ancestor[above];
        }
        self.best[node]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Which nodes can be reached without passing `removed`.
    fn reachable(successors: &[Vec<usize>], removed: Option<usize>) -> Vec<bool> {
        let mut seen = vec![false; successors.len()];
        let mut open: Vec<usize> = Some(0)
            .filter(|root| removed != Some(*root))
            .into_iter()
            .collect();
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut seen[node], true) {
                let next = successors[node].iter().copied();
                open.extend(next.filter(|next| Some(*next) != removed));
            }
        }
        seen
    }

    /// By definition: a node dominates what is lost when it is removed; the immediate one is dominated by all the others.
    fn by_removal(successors: &[Vec<usize>]) -> Vec<Option<usize>> {
        let all = reachable(successors, None);
        let without: Vec<Vec<bool>> = (0..successors.len())
            .map(|node| reachable(successors, Some(node)))
            .collect();
        let dominates = |a: usize, b: usize| a != b && all[a] && all[b] && !without[a][b];
        (0..successors.len())
            .map(|node| {
                let above: Vec<usize> = (0..successors.len())
                    .filter(|above| dominates(*above, node))
                    .collect();
                let is_nearest = |one: &&usize| {
                    above
                        .iter()
                        .all(|other| other == *one || dominates(*other, **one))
                };
                above.iter().find(is_nearest).copied()
            })
            .collect()
    }

    #[test]
    fn a_chain_of_diamonds_is_dominated_by_its_joints() {
        // 0 -> 1 -> {2, 3} -> 4 -> {5, 6} -> 7, with a way back from 7 to 2.
        let successors = [
            vec![1],
            vec![2, 3],
            vec![4],
            vec![4],
            vec![5, 6],
            vec![7],
            vec![7],
            vec![2],
        ];
        let expected = [
            None,
            Some(0),
            Some(1),
            Some(1),
            Some(1),
            Some(4),
            Some(4),
            Some(4),
        ];
        assert_eq!(dominators(&successors), expected);
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let count = 100_000;
        let successors: Vec<Vec<usize>> = (0..count)
            .map(|node| (node + 1..count).take(1).collect())
            .collect();
        let expected: Vec<Option<usize>> =
            (0..count).map(|node: usize| node.checked_sub(1)).collect();
        assert_eq!(dominators(&successors), expected);
    }

    proptest! {
        #[test]
        fn dominators_are_those_whose_removal_cuts_off(
            links in (1usize..14).prop_flat_map(|count| {
                (Just(count), prop::collection::vec((0..count, 0..count), 0..3 * count))
            })
        ) {
            let (count, links) = links;
            let mut successors = vec![Vec::new(); count];
            for (from, to) in links {
                successors[from].push(to);
            }
            prop_assert_eq!(dominators(&successors), by_removal(&successors));
        }
    }
}
