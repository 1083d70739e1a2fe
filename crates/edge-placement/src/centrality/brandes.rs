//! Betweenness on graphs: folded trees by counting, the core by Brandes's accumulation.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::network::{Graph, small};

/// Which ways between two nodes are shortest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ways {
    /// Those with the least round trip.
    Shortest,
    /// Those with the fewest links, whatever these take.
    FewestLinks,
}

/// Sources whose sums are taken together, so that the order of sums does not depend on the number of threads.
const CHUNKS: usize = 16;

/// Betweenness of every node of a graph for these weights, by node. `threads` at 0 counts as 1.
///
/// # Panics
/// If there is not one weight for each node.
pub fn graph_betweenness(graph: &Graph, weights: &[u64], ways: Ways, threads: usize) -> Vec<f64> {
    assert_eq!(weights.len(), graph.len(), "one weight for each node");
    let folded = Folded::new(graph, weights);
    let mut values = folded.by_trees();
    let core = Core::new(graph, &folded, ways);
    for (node, value) in core.nodes.iter().zip(core.betweenness(threads.max(1))) {
        values[*node as usize] += value;
    }
    values
}

/// Trees that hang on the rest, folded into the nodes that they hang on.
struct Folded {
    /// The node that each folded node was folded into; itself where it was not.
    into: Vec<u32>,
    own: Vec<f64>,
    /// Weight at the node and what was folded into it.
    held: Vec<f64>,
    /// Sum of the squares of the weights of the trees folded into it.
    squares: Vec<f64>,
    /// Weight of everything connected with it.
    all: Vec<f64>,
}

impl Folded {
    fn new(graph: &Graph, weights: &[u64]) -> Self {
        let mut degrees: Vec<usize> = (0..graph.len())
            .map(|node| graph.neighbours(node).len())
            .collect();
        let own: Vec<f64> = weights.iter().map(|weight| *weight as f64).collect();
        let mut folded = Self {
            into: (0..graph.len()).map(small).collect(),
            held: own.clone(),
            squares: vec![0.0; graph.len()],
            all: Self::connected(graph, &own),
            own,
        };
        let mut leaves: Vec<u32> = (0..graph.len())
            .filter(|node| degrees[*node] == 1)
            .map(small)
            .collect();
        while let Some(leaf) = leaves.pop() {
            let at = leaf as usize;
            if degrees[at] != 1 {
                continue; // The last of a tree has nothing left to be folded into.
            }
            let rest = graph.neighbours(at).iter();
            let Some((hub, _)) = rest
                .into_iter()
                .find(|(end, _)| degrees[*end as usize] > 0 && folded.into[*end as usize] == *end)
            else {
                continue;
            };
            let hub_at = *hub as usize;
            folded.into[at] = *hub;
            folded.held[hub_at] += folded.held[at];
            folded.squares[hub_at] += folded.held[at] * folded.held[at];
            degrees[at] = 0;
            degrees[hub_at] -= 1;
            if degrees[hub_at] == 1 {
                leaves.push(*hub);
            }
        }
        folded
    }

    /// By node, the weight of everything connected with it.
    fn connected(graph: &Graph, own: &[f64]) -> Vec<f64> {
        let mut all = vec![f64::NAN; graph.len()];
        for start in 0..graph.len() {
            if !all[start].is_nan() {
                continue;
            }
            all[start] = 0.0;
            let mut part = vec![small(start)];
            let mut next = 0;
            while let Some(node) = part.get(next).copied() {
                next += 1;
                for (end, _) in graph.neighbours(node as usize) {
                    if all[*end as usize].is_nan() {
                        all[*end as usize] = 0.0;
                        part.push(*end);
                    }
                }
            }
            let sum = part.iter().map(|node| own[*node as usize]).sum();
            for node in part {
                all[node as usize] = sum;
            }
        }
        all
    }

    fn is_core(&self, node: usize) -> bool {
        self.into[node] as usize == node
    }

    /// Pairs of which at least one end is in a tree folded into the node, or all pairs where the node was folded itself: what is not
    /// in those trees is one part, seen from here.
    fn by_trees(&self) -> Vec<f64> {
        (0..self.own.len())
            .map(|node| {
                let others = self.all[node] - self.own[node];
                let rest = self.all[node] - self.held[node];
                (others * others - self.squares[node] - rest * rest) / 2.0
            })
            .collect()
    }
}

/// What is left after folding, with numbers of its own.
struct Core {
    nodes: Vec<u32>,
    starts: Vec<u32>,
    ends: Vec<u32>,
    /// Round trips of links; empty where only their number counts.
    lengths: Vec<u64>,
    weights: Vec<f64>,
}

impl Core {
    fn new(graph: &Graph, folded: &Folded, ways: Ways) -> Self {
        // Numbered breadth first, so that what is visited together lies together.
        let mut number = vec![u32::MAX; graph.len()];
        let mut nodes: Vec<u32> = Vec::new();
        for start in (0..graph.len()).filter(|node| folded.is_core(*node)) {
            if number[start] != u32::MAX {
                continue;
            }
            number[start] = small(nodes.len());
            let mut next = nodes.len();
            nodes.push(small(start));
            while let Some(node) = nodes.get(next).copied() {
                next += 1;
                for (end, _) in graph.neighbours(node as usize) {
                    let at = *end as usize;
                    if folded.is_core(at) && number[at] == u32::MAX {
                        number[at] = small(nodes.len());
                        nodes.push(*end);
                    }
                }
            }
        }
        let (mut starts, mut ends, mut lengths) = (vec![0], Vec::new(), Vec::new());
        for node in &nodes {
            for (end, micros) in graph.neighbours(*node as usize) {
                if folded.is_core(*end as usize) {
                    ends.push(number[*end as usize]);
                    if ways == Ways::Shortest {
                        lengths.push(*micros);
                    }
                }
            }
            starts.push(small(ends.len()));
        }
        Self {
            weights: nodes
                .iter()
                .map(|node| folded.held[*node as usize])
                .collect(),
            nodes,
            starts,
            ends,
            lengths,
        }
    }

    fn links(&self, node: u32) -> std::ops::Range<usize> {
        self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize
    }

    /// By core node, over pairs of different core nodes.
    fn betweenness(&self, threads: usize) -> Vec<f64> {
        let size = self.nodes.len().div_ceil(CHUNKS).max(1);
        let chunks: Vec<Vec<usize>> = (0..CHUNKS)
            .map(|chunk| {
                let end = ((chunk + 1) * size).min(self.nodes.len());
                (chunk * size..end).collect()
            })
            .collect();
        let mut sums: Vec<Vec<f64>> = vec![Vec::new(); CHUNKS];
        std::thread::scope(|scope| {
            let work: Vec<_> = (0..threads.min(CHUNKS))
                .map(|thread| {
                    let mine: Vec<usize> = (thread..CHUNKS).step_by(threads).collect();
                    let chunks = &chunks;
                    scope.spawn(move || {
                        let mut walk = Walk::new(self);
                        let sums = mine.into_iter().map(|chunk| {
                            let mut sum = vec![0.0; self.nodes.len()];
                            for source in &chunks[chunk] {
                                walk.accumulate(small(*source), &mut sum);
                            }
                            (chunk, sum)
                        });
                        sums.collect::<Vec<_>>()
                    })
                })
                .collect();
            for thread in work {
                for (chunk, sum) in thread.join().unwrap_or_default() {
                    sums[chunk] = sum;
                }
            }
        });
        let mut values = vec![0.0; self.nodes.len()];
        for sum in sums {
            for (value, part) in values.iter_mut().zip(sum) {
                *value += part;
            }
        }
        // Every pair was counted from both ends.
        for value in &mut values {
            *value /= 2.0;
        }
        values
    }
}

/// Shortest ways from one source after the other.
struct Walk<'c> {
    core: &'c Core,
    distances: Vec<u64>,
    /// Number of shortest ways from the source; floating, since it grows exponentially.
    ways: Vec<f64>,
    /// What depends on the node, per shortest way to it.
    dependency: Vec<f64>,
    order: Vec<u32>,
    /// Position in `order`, where lengths count; of the nodes not settled yet the largest.
    settled: Vec<u32>,
    open: BinaryHeap<Reverse<(u64, u32)>>,
}

impl<'c> Walk<'c> {
    fn new(core: &'c Core) -> Self {
        let nodes = core.nodes.len();
        Self {
            core,
            distances: vec![u64::MAX; nodes],
            ways: vec![0.0; nodes],
            dependency: vec![0.0; nodes],
            order: Vec::with_capacity(nodes),
            settled: vec![u32::MAX; nodes],
            open: BinaryHeap::new(),
        }
    }

    fn accumulate(&mut self, source: u32, sum: &mut [f64]) {
        let core = self.core;
        let by_length = !core.lengths.is_empty();
        self.distances[source as usize] = 0;
        self.ways[source as usize] = 1.0;
        if by_length {
            self.settle(source);
        } else {
            self.spread(source);
        }
        let weight = core.weights[source as usize];
        // From the furthest inwards: (w(t) + δ(t)) / σ(t) flows to every node before t.
        for node in self.order.iter().rev() {
            let at = *node as usize;
            let depends = self.dependency[at] * self.ways[at];
            if *node != source {
                sum[at] += weight * depends;
            }
            let flow = (core.weights[at] + depends) / self.ways[at];
            let here = self.distances[at];
            for link in core.links(*node) {
                let end = core.ends[link] as usize;
                let length = if by_length { core.lengths[link] } else { 1 };
                if self.distances[end] + length == here
                    && (length > 0 || self.settled[end] < self.settled[at])
                {
                    self.dependency[end] += flow;
                }
            }
        }
        for node in self.order.drain(..) {
            let at = node as usize;
            self.distances[at] = u64::MAX;
            self.ways[at] = 0.0;
            self.dependency[at] = 0.0;
        }
    }

    /// Breadth first.
    fn spread(&mut self, source: u32) {
        self.order.push(source);
        let mut next = 0;
        while let Some(node) = self.order.get(next).copied() {
            next += 1;
            let beyond = self.distances[node as usize] + 1;
            let ways = self.ways[node as usize];
            for link in self.core.links(node) {
                let end = self.core.ends[link] as usize;
                if self.distances[end] == u64::MAX {
                    self.distances[end] = beyond;
                    self.order.push(self.core.ends[link]);
                }
                if self.distances[end] == beyond {
                    self.ways[end] += ways;
                }
            }
        }
    }

    /// Dijkstra's; a link of no length leads on from the node settled first.
    fn settle(&mut self, source: u32) {
        self.open.push(Reverse((0, source)));
        self.settled.fill(u32::MAX);
        while let Some(Reverse((micros, node))) = self.open.pop() {
            if self.settled[node as usize] != u32::MAX {
                continue;
            }
            self.settled[node as usize] = small(self.order.len());
            self.order.push(node);
            let ways = self.ways[node as usize];
            for link in self.core.links(node) {
                let end = self.core.ends[link];
                let at = end as usize;
                if self.settled[at] != u32::MAX {
                    continue;
                }
                let by_here = micros.saturating_add(self.core.lengths[link]);
                if by_here < self.distances[at] {
                    self.distances[at] = by_here;
                    self.ways[at] = ways;
                    self.open.push(Reverse((by_here, end)));
                } else if by_here == self.distances[at] {
                    self.ways[at] += ways;
                }
            }
        }
    }
}
