//! The network of a placement problem: a tree, or a graph with its shortest paths, rooted at the cloud.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use edge_topology::AggregateTree;
use edge_types::Rtt;

/// Longest round trip that is told apart, in microseconds (71 minutes), so that sums stay exact.
pub const MAX_MICROS: u64 = u32::MAX as u64;

/// Most nodes.
pub const MAX_NODES: usize = 1 << 28;

/// Whole microseconds of a round trip, at most [`MAX_MICROS`].
pub fn micros(rtt: Rtt) -> u64 {
    u64::try_from(rtt.0.as_micros()).map_or(MAX_MICROS, |micros| micros.min(MAX_MICROS))
}

/// No network could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// There is not even the cloud.
    #[error("the network has no nodes, not even the cloud")]
    Empty,
    /// More than [`MAX_NODES`].
    #[error("the network has {nodes} nodes, at most {MAX_NODES} are allowed")]
    TooLarge {
        /// How many there are.
        nodes: usize,
    },
    /// A node's parent does not come before it; so there is no cycle and no second root.
    #[error("the parent of node {node} is {parent}, but parents come before their children")]
    ParentNotBefore {
        /// The node.
        node: usize,
        /// The parent that was given.
        parent: usize,
    },
    /// A link ends at a node that there is not.
    #[error("a link ends at node {node} of {nodes}")]
    NoSuchNode {
        /// The end that was given.
        node: usize,
        /// How many nodes there are.
        nodes: usize,
    },
    /// A node is further than [`MAX_MICROS`] from the cloud.
    #[error("node {node} is more than 71 minutes from the cloud")]
    TooFar {
        /// The node.
        node: usize,
    },
}

/// A tree of nodes; node 0 is the cloud, and every parent comes before its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Parent of each node; the cloud is its own.
    parents: Vec<u32>,
    /// Round trip from the cloud in microseconds; never less than the parent's.
    round_trips: Vec<u64>,
}

impl Tree {
    /// The tree of the cloud and these nodes, 1 and on: each with its parent and the round trip along the link to it, in
    /// microseconds.
    ///
    /// # Errors
    /// [`NetworkError`], if a parent does not come before its child, or the tree is too large or too long.
    pub fn new(links: &[(usize, u64)]) -> Result<Self, NetworkError> {
        if links.len() >= MAX_NODES {
            return Err(NetworkError::TooLarge {
                nodes: links.len() + 1,
            });
        }
        let mut parents = vec![0];
        let mut round_trips = vec![0];
        for (before, (parent, link)) in links.iter().enumerate() {
            let node = before + 1;
            let error = NetworkError::ParentNotBefore {
                node,
                parent: *parent,
            };
            let to_parent: u64 = *round_trips.get(*parent).ok_or(error)?;
            let to_node = to_parent
                .checked_add(*link)
                .filter(|micros| *micros <= MAX_MICROS)
                .ok_or(NetworkError::TooFar { node })?;
            parents.push(small(*parent));
            round_trips.push(to_node);
        }
        Ok(Self {
            parents,
            round_trips,
        })
    }

    /// Number of nodes, with the cloud.
    pub const fn len(&self) -> usize {
        self.parents.len()
    }

    /// Is there only the cloud?
    pub const fn is_empty(&self) -> bool {
        self.parents.len() <= 1
    }

    /// Parent of a node; `None` for the cloud and for what is no node.
    pub fn parent(&self, node: usize) -> Option<usize> {
        let parent = *self.parents.get(node)?;
        (node > 0).then_some(parent as usize)
    }

    /// Parents by node; the cloud counts as its own.
    pub(crate) fn parents(&self) -> &[u32] {
        &self.parents
    }

    /// Round trips from the cloud in microseconds, by node.
    pub fn round_trips(&self) -> &[u64] {
        &self.round_trips
    }

    /// The node and all before it, up to the cloud.
    pub fn chain(&self, from: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(from), |node| self.parent(*node))
    }

    /// Round trip between two nodes in microseconds, over the last node on the ways to both.
    pub fn distance(&self, a: usize, b: usize) -> u64 {
        let (mut upper, mut lower) = (a.min(b), a.max(b));
        while upper != lower {
            // Parents come first, so the later of two different nodes is no ancestor of the other.
            let parent = self.parents[lower] as usize;
            (upper, lower) = (upper.min(parent), upper.max(parent));
        }
        let shared = self.round_trips[upper];
        self.round_trips[a] - shared + self.round_trips[b] - shared
    }

    /// Sums of `values` over the node and all behind it, by node; saturating.
    pub fn sums(&self, values: &[u64]) -> Vec<u64> {
        let mut sums = values.to_vec();
        for node in (1..self.len()).rev() {
            let parent = self.parents[node] as usize;
            sums[parent] = sums[parent].saturating_add(sums[node]);
        }
        sums
    }
}

impl From<&AggregateTree> for Tree {
    /// Nodes keep their positions.
    fn from(tree: &AggregateTree) -> Self {
        let nodes = tree.nodes().iter();
        let (mut parents, mut round_trips): (Vec<u32>, Vec<u64>) = nodes
            .map(|node| {
                let parent = node.parent.map_or(0, |parent| small(parent.0));
                (parent, micros(node.rtt.rtt))
            })
            .unzip();
        if parents.is_empty() {
            parents.push(0);
            round_trips.push(0);
        }
        Self {
            parents,
            round_trips,
        }
    }
}

/// An undirected graph; node 0 is the cloud. Packets take shortest ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// Where each node's links begin in `ends`; one more at the end.
    starts: Vec<u32>,
    /// The other end of each link and its round trip in microseconds, by node and end.
    ends: Vec<(u32, u64)>,
    /// Shortest round trip from the cloud; [`u64::MAX`] where there is no way.
    round_trips: Vec<u64>,
    /// The node before on the shortest way from the cloud, the first settled on a tie; the node itself where there is none.
    parents: Vec<u32>,
    /// Nodes with a way to the cloud, each after its parent.
    order: Vec<u32>,
}

impl Graph {
    /// The graph of `nodes` nodes and these links, each with its round trip in microseconds. Links of a node to itself count
    /// for nothing; of several between the same two nodes the shortest counts.
    ///
    /// # Errors
    /// [`NetworkError`], if a link ends nowhere, or the graph is too large or too long.
    pub fn new(nodes: usize, links: &[(usize, usize, u64)]) -> Result<Self, NetworkError> {
        if nodes == 0 {
            return Err(NetworkError::Empty);
        }
        if nodes > MAX_NODES || links.len() > MAX_NODES {
            return Err(NetworkError::TooLarge { nodes });
        }
        let mut both = Vec::with_capacity(2 * links.len());
        for (a, b, micros) in links {
            for node in [*a, *b] {
                if node >= nodes {
                    return Err(NetworkError::NoSuchNode { node, nodes });
                }
            }
            if a != b {
                both.push((small(*a), small(*b), *micros));
                both.push((small(*b), small(*a), *micros));
            }
        }
        both.sort_unstable();
        both.dedup_by_key(|(a, b, _)| (*a, *b));
        let mut starts = vec![0u32; nodes + 1];
        for (a, _, _) in &both {
            starts[*a as usize + 1] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut graph = Self {
            starts,
            ends: both.into_iter().map(|(_, b, micros)| (b, micros)).collect(),
            round_trips: Vec::new(),
            parents: Vec::new(),
            order: Vec::new(),
        };
        let (round_trips, parents, order) = graph.shortest(0);
        if let Some(node) = round_trips
            .iter()
            .position(|micros| *micros > MAX_MICROS && *micros != u64::MAX)
        {
            return Err(NetworkError::TooFar { node });
        }
        graph.round_trips = round_trips;
        graph.parents = parents;
        graph.order = order;
        Ok(graph)
    }

    /// Number of nodes, with the cloud.
    pub const fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Is there only the cloud?
    pub const fn is_empty(&self) -> bool {
        self.len() <= 1
    }

    /// Neighbours of a node, with the round trip of the link in microseconds, in order.
    pub fn neighbours(&self, node: usize) -> &[(u32, u64)] {
        let range = self.starts[node] as usize..self.starts[node + 1] as usize;
        &self.ends[range]
    }

    /// Shortest round trips from a node in microseconds, [`u64::MAX`] where there is no way.
    pub fn distances(&self, from: usize) -> Vec<u64> {
        self.shortest(from).0
    }

    /// Distances by Dijkstra, the node before each on its way, and the order in which they were settled.
    fn shortest(&self, from: usize) -> (Vec<u64>, Vec<u32>, Vec<u32>) {
        let mut distances = vec![u64::MAX; self.len()];
        let mut before: Vec<u32> = (0..self.len()).map(small).collect();
        let mut open = BinaryHeap::from([Reverse((0u64, small(from)))]);
        let mut order = Vec::new();
        distances[from] = 0;
        while let Some(Reverse((micros, node))) = open.pop() {
            if micros > distances[node as usize] {
                continue;
            }
            order.push(node);
            for (end, link) in self.neighbours(node as usize) {
                // One below the mark of what cannot be reached.
                let by_here = micros.saturating_add(*link).min(u64::MAX - 1);
                let known = &mut distances[*end as usize];
                if by_here < *known {
                    *known = by_here;
                    before[*end as usize] = node;
                    open.push(Reverse((by_here, *end)));
                }
            }
        }
        (distances, before, order)
    }
}

/// What placement problems are set on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// A tree: exact solutions.
    Tree(Tree),
    /// Anything else: good solutions with a certified gap.
    Graph(Graph),
}

impl Network {
    /// Number of nodes, with the cloud.
    pub const fn len(&self) -> usize {
        match self {
            Self::Tree(tree) => tree.len(),
            Self::Graph(graph) => graph.len(),
        }
    }

    /// Is there only the cloud?
    pub const fn is_empty(&self) -> bool {
        self.len() <= 1
    }

    /// Round trips from the cloud in microseconds, by node; [`u64::MAX`] where there is no way.
    pub fn round_trips(&self) -> &[u64] {
        match self {
            Self::Tree(tree) => &tree.round_trips,
            Self::Graph(graph) => &graph.round_trips,
        }
    }

    /// The node before this one on the way from the cloud; `None` for the cloud and where there is no way.
    pub fn parent(&self, node: usize) -> Option<usize> {
        let parent = match self {
            Self::Tree(tree) => *tree.parents.get(node)?,
            Self::Graph(graph) => *graph.parents.get(node)?,
        };
        (parent as usize != node).then_some(parent as usize)
    }

    /// Nodes with a way to the cloud, each after its parent.
    pub fn order(&self) -> Vec<u32> {
        match self {
            Self::Tree(tree) => (0..tree.len()).map(small).collect(),
            Self::Graph(graph) => graph.order.clone(),
        }
    }

    /// Links from the cloud on the way to each node; 0 where there is no way.
    pub fn depths(&self) -> Vec<u32> {
        let mut depths = vec![0; self.len()];
        for node in self.order() {
            if let Some(parent) = self.parent(node as usize) {
                depths[node as usize] = depths[parent] + 1;
            }
        }
        depths
    }

    /// Round trips from a node to all in microseconds; [`u64::MAX`] where there is no way.
    pub fn distances(&self, from: usize) -> Vec<u64> {
        let tree = match self {
            Self::Graph(graph) => return graph.distances(from),
            Self::Tree(tree) => tree,
        };
        // Round trip to the last node in common, for each node; parents come first.
        let mut shared = vec![u64::MAX; tree.len()];
        for node in tree.chain(from) {
            shared[node] = tree.round_trips[node];
        }
        for node in 1..tree.len() {
            if shared[node] == u64::MAX {
                shared[node] = shared[tree.parents[node] as usize];
            }
        }
        let round_trips = tree.round_trips.iter().zip(shared);
        round_trips
            .map(|(to_node, shared)| to_node - shared + tree.round_trips[from] - shared)
            .collect()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "at most MAX_NODES, which fits"
)]
pub(crate) const fn small(index: usize) -> u32 {
    index as u32
}
