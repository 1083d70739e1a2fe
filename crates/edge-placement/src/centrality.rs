//! Betweenness: how many shortest paths pass a node.
//!
//! ## Model
//! Every unordered pair of nodes is joined by the shortest ways between them; a node that is no end of the pair is credited with
//! the share of these ways that pass it, times the weights of both ends. With weight 1 each that is Freeman's; with
//! demand as weights only clients count.
//!
//! ## Symbols
//! `w(v)`: weight of a node; `S(v)`: weight at or behind the node on a tree; `W`: weight of all.
//!
//! ## Rule
//! On trees `B(v) = ((W - w(v))² - Σ S(c)² over children c - (W - S(v))²) / 2`: pairs that do not end in `v`, less those within
//! one part of what is left when `v` is taken away. On a chain without branches that is `S (W - S)` for every node.
//! On graphs, trees that hang on the rest are folded into the node that they hang on, by the same rule, and what is left is
//! counted by Brandes's accumulation.
//!
//! ## Cost
//! O(nodes) on trees; on graphs O(core nodes × core links), where the core is what is left after folding.
//!
//! ## Determinism
//! Whole numbers on trees. On graphs sums are taken in a fixed order, whatever the number of threads.
//!
//! ## Source
//! Freeman 1977; Brandes 2001; closed form on trees by counting.

use crate::network::{Network, Tree};
use crate::problem::Problem;

mod brandes;

pub use brandes::{Ways, graph_betweenness};

/// Betweenness of every node of a tree for these weights, by node. What is missing weighs nothing; all together weigh less
/// than 2^63.
pub fn tree_betweenness(tree: &Tree, weights: &[u64]) -> Vec<u128> {
    let known = &weights[..weights.len().min(tree.len())];
    let all = known.iter().fold(0u64, |sum, own| sum.saturating_add(*own));
    if u32::try_from(all).is_ok() {
        narrow(tree, known, all)
    } else {
        wide(tree, known, all)
    }
}

/// Where all weigh less than 2^32, so that no square overflows: whole words, and no division of sums before their end.
fn narrow(tree: &Tree, weights: &[u64], all: u64) -> Vec<u128> {
    // By node, the weight at or behind it, and the sum of the squares of its children's.
    let mut behind: Vec<(u64, u64)> = Vec::with_capacity(tree.len());
    behind.extend(weights.iter().map(|own| (*own, 0)));
    behind.resize(tree.len(), (0, 0));
    for (node, parent) in tree.parents().iter().enumerate().skip(1).rev() {
        let (here, _) = behind[node];
        let above = &mut behind[*parent as usize];
        above.0 += here;
        above.1 += here * here;
    }
    let own = weights.iter().copied().chain(std::iter::repeat(0));
    let ends = behind.iter().zip(own).map(|((here, within), own)| {
        let (others, rest) = (all - own, all - here);
        u128::from((others * others - rest * rest - within) / 2)
    });
    ends.collect()
}

fn wide(tree: &Tree, weights: &[u64], all: u64) -> Vec<u128> {
    let square = |weight: u64| u128::from(weight) * u128::from(weight);
    let mut behind = weights.to_vec();
    behind.resize(tree.len(), 0);
    // By node, first the squares of its children's weights; these come after it, so they are complete when it is reached.
    let mut values = vec![0u128; tree.len()];
    for node in (0..tree.len()).rev() {
        let (own, here) = (weights.get(node).copied().unwrap_or(0), behind[node]);
        let ends = square(all - own).saturating_sub(square(all - here));
        values[node] = ends.saturating_sub(values[node]) / 2;
        if let Some(parent) = tree.parent(node) {
            behind[parent] = behind[parent].saturating_add(here).min(all);
            values[parent] = values[parent].saturating_add(square(here));
        }
    }
    values
}

/// Betweenness between all nodes, in thousandths.
pub(crate) fn between_nodes(network: &Network) -> Vec<u128> {
    weighted(network, &vec![1; network.len()])
}

/// Betweenness between clients, weighted by demand, in thousandths.
pub(crate) fn between_clients(problem: &Problem) -> Vec<u128> {
    weighted(problem.network(), problem.demand())
}

fn weighted(network: &Network, weights: &[u64]) -> Vec<u128> {
    match network {
        Network::Tree(tree) => {
            let values = tree_betweenness(tree, weights).into_iter();
            values.map(|value| value.saturating_mul(1000)).collect()
        }
        Network::Graph(graph) => graph_betweenness(graph, weights, Ways::Shortest, 1)
            .into_iter()
            .map(thousandths)
            .collect(),
    }
}

/// Whole thousandths, so that what differs by rounding alone is a tie.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and betweenness is not negative"
)]
fn thousandths(value: f64) -> u128 {
    (value * 1000.0).round() as u128
}
