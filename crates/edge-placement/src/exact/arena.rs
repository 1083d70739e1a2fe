//! The tree in the order in which a walk enters its nodes, with all that the engine looks up.

use crate::network::small;
use crate::problem::Problem;
use crate::reach::Behind;

/// Nodes by the order in which they are entered, so that what is behind a node follows it without gaps.
pub(super) struct Arena {
    pub(super) parent: Vec<u32>,
    /// Number of nodes at and behind it.
    pub(super) size: Vec<u32>,
    /// Round trip from the cloud in microseconds.
    pub(super) round_trip: Vec<u64>,
    pub(super) demand: Vec<u64>,
    /// Usable sites by node, and where each node's begin.
    sites: Vec<u32>,
    starts: Vec<u32>,
    /// Node of each site; what is not usable is at none.
    at: Vec<u32>,
}

impl Arena {
    pub(super) fn new(problem: &Problem) -> Self {
        let network = problem.network();
        let order = network.order();
        let behind = Behind::new(network);
        let mut arena = Self {
            parent: vec![0; order.len()],
            size: vec![0; order.len()],
            round_trip: vec![0; order.len()],
            demand: vec![0; order.len()],
            sites: Vec::new(),
            starts: vec![0; order.len() + 1],
            at: vec![u32::MAX; problem.sites().len()],
        };
        for node in order {
            let node = node as usize;
            let (entered, size) = behind.span(node);
            let entered = entered as usize;
            arena.parent[entered] = network
                .parent(node)
                .map_or(u32::MAX, |parent| behind.span(parent).0);
            arena.size[entered] = size;
            arena.round_trip[entered] = network.round_trips()[node];
            arena.demand[entered] = problem.demand()[node];
        }
        let limits = problem.limits();
        let mut usable: Vec<(u32, u32)> = Vec::new();
        for (position, site) in problem.sites().iter().enumerate() {
            let cloud = network.round_trips()[site.node];
            let is_usable = cloud != u64::MAX
                && problem.uses(cloud, site.access)
                && site.price <= limits.budget
                && limits.sites > 0;
            if is_usable {
                let entered = behind.span(site.node).0;
                arena.at[position] = entered;
                usable.push((entered, small(position)));
            }
        }
        usable.sort_unstable();
        for (node, _) in &usable {
            arena.starts[*node as usize + 1] += 1;
        }
        for node in 0..arena.len() {
            arena.starts[node + 1] += arena.starts[node];
        }
        arena.sites = usable.into_iter().map(|(_, site)| site).collect();
        arena
    }

    pub(super) const fn len(&self) -> usize {
        self.parent.len()
    }

    /// Usable sites at a node.
    pub(super) fn sites_at(&self, node: usize) -> &[u32] {
        &self.sites[self.starts[node] as usize..self.starts[node + 1] as usize]
    }

    /// Usable sites.
    pub(super) fn sites(&self) -> impl Iterator<Item = usize> {
        self.sites.iter().map(|site| *site as usize)
    }

    /// The node of a usable site.
    pub(super) fn node_of(&self, site: usize) -> usize {
        self.at[site] as usize
    }

    /// The nodes right behind a node.
    pub(super) fn children(&self, node: usize) -> impl Iterator<Item = usize> {
        let end = node + self.size[node] as usize;
        let mut next = node + 1;
        std::iter::from_fn(move || {
            let child = next;
            (child < end).then(|| {
                next += self.size[child] as usize;
                child
            })
        })
    }
}
