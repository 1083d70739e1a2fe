//! Betweenness placement: sites at nodes through which most client paths pass.
//!
//! ## Model
//! Nodes of the aggregate tree; only client leaves weigh anything, and what they weigh is their demand. Every pair of
//! clients is joined by the one path between them in the tree; a node is credited for the pairs whose path passes it.
//!
//! ## Symbols
//! `w(v)`: demand of a node itself, 0 but for client leaves; `S(v)`: demand at or behind the node; `W = S(origin)`; all
//! in thousandths of a request per second.
//!
//! ## Rule
//! `B(v) = ((W - w(v))² - Σ S(c)² over children c - (W - S(v))²) / 2`: pairs that do not end in `v`, less those within one
//! part of what is left when `v` is taken away. On a chain without branches this is `S (W - S)` for every node. Candidates are
//! ranked by `B` of their node; ties go to the deeper node, then the shorter way from the node to the site, the lower
//! cost, and the smaller site. They are added in this order as long as count and budget allow, each only if it
//! serves somebody better than those before it; one that others have made useless is given back, and the round
//! is repeated while anything is added.
//!
//! ## Why this rule
//! It needs no optimisation and is nearly as good as the best when few sites are rented, which is the usual case since each
//! costs money (paper, Figure 4a). Weighted by demand, both nodes `C` and `D` of the paper's Figure 3 have the same
//! value, as the paper says; Freeman's plain count gives them different ones.
//!
//! ## Limits
//! It looks at prices only as a limit. All leaves have value 0, so beyond the inner nodes the order is but that of the ties;
//! `celf` is better there. A balanced pair of routers is credited as one.
//!
//! ## Cost
//! O(nodes) for the values, O(candidates · nodes) for the distances.
//!
//! ## Determinism
//! Whole numbers; every comparison ends in the site's name.
//!
//! ## Source
//! Paper section 2.4 after Freeman 1977; closed form on trees by counting. **Departure:** a site that would serve nobody
//! better is not rented, however central; the paper takes the most central ones as they come.

use std::cmp::Reverse;

use edge_topology::AggregateTree;

use crate::field::{Field, Selection};

/// Demand-weighted betweenness of every node, in order of [`AggregateTree::nodes`]: the sum over unordered pairs of
/// client prefixes, other than the node itself, whose path in the tree passes the node, of the product of their demands.
pub fn betweenness(tree: &AggregateTree) -> Vec<u128> {
    let square = |demand: u64| u128::from(demand) * u128::from(demand);
    let all = tree.total_demand();
    let mut within_children = vec![0u128; tree.nodes().len()];
    for node in tree.nodes() {
        if let Some(parent) = node.parent {
            within_children[parent.0] += square(node.demand);
        }
    }
    tree.nodes()
        .iter()
        .zip(within_children)
        .map(|(node, within_children)| {
            let own = node.client.map_or(0, |client| client.demand);
            (square(all - own) - within_children - square(all - node.demand)) / 2
        })
        .collect()
}

/// Options in the order in which they are tried.
pub(crate) fn ranking(field: &Field<'_>, centrality: &[u128], tree: &AggregateTree) -> Vec<usize> {
    let mut ranking: Vec<usize> = (0..field.options.len()).collect();
    ranking.sort_by_key(|index| {
        let option = &field.options[*index];
        let at = &option.candidate.attachment;
        let depth = tree.node(at.node).map_or(0, |node| node.depth);
        (
            Reverse(centrality[at.node.0]),
            Reverse(depth),
            at.beyond,
            option.cost,
            *index,
        )
    });
    ranking
}

/// Adds options in order until nothing more can be added.
pub(crate) fn choose<'f>(field: &'f Field<'f>, ranking: &[usize]) -> Selection<'f> {
    let mut selection = Selection::new(field);
    loop {
        let mut added = false;
        for option in ranking {
            if selection.fits(*option) && selection.gain(*option) > 0 {
                selection.add(*option);
                added = true;
            }
        }
        if !added {
            return selection;
        }
    }
}
