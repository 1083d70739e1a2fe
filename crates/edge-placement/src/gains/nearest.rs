//! Gains where a client is served by the nearest site: a walk from the site, which ends where others are nearer.
//!
//! Whoever is served no better at a node is served no better behind it, since the way leads through it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::gains::Gains;
use crate::network::{Graph, Tree, small};
use crate::problem::Problem;

/// Round trip to the nearest chosen site, by node.
struct Near<'p> {
    problem: &'p Problem,
    round_trips: &'p [u64],
    micros: Vec<u64>,
}

impl<'p> Near<'p> {
    fn new(problem: &'p Problem) -> Self {
        let round_trips = problem.network().round_trips();
        Self {
            problem,
            round_trips,
            micros: vec![u64::MAX; round_trips.len()],
        }
    }

    /// Would something at this distance be of use at the node or behind it?
    fn improves(&self, node: usize, micros: u64) -> bool {
        micros < self.micros[node] && self.problem.uses(self.round_trips[node], micros)
    }

    /// What something at this distance saves at the node.
    fn saves(&self, node: usize, micros: u64) -> u128 {
        let demand = self.problem.demand()[node];
        if demand == 0 {
            return 0;
        }
        let now = self
            .problem
            .served(self.round_trips[node], self.micros[node]);
        u128::from(now.saturating_sub(micros)) * u128::from(demand)
    }
}

pub(super) struct NearestOnTree<'p> {
    near: Near<'p>,
    tree: &'p Tree,
    /// Children of each node, one after the other, and where each node's begin.
    children: Vec<u32>,
    starts: Vec<u32>,
    open: Vec<(u32, u32, u64)>,
}

impl<'p> NearestOnTree<'p> {
    pub(super) fn new(problem: &'p Problem, tree: &'p Tree) -> Self {
        let mut starts = vec![0u32; tree.len() + 1];
        for node in 1..tree.len() {
            starts[tree.parent(node).unwrap_or(0) + 1] += 1;
        }
        for node in 0..tree.len() {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut children = vec![0; tree.len().saturating_sub(1)];
        for node in 1..tree.len() {
            let at = &mut next[tree.parent(node).unwrap_or(0)];
            children[*at as usize] = small(node);
            *at += 1;
        }
        Self {
            near: Near::new(problem),
            tree,
            children,
            starts,
            open: Vec::new(),
        }
    }

    /// Visits every node where the site would be of use.
    fn walk(&mut self, site: usize, mut visit: impl FnMut(&mut Near<'_>, usize, u64)) {
        let site = &self.near.problem.sites()[site];
        let round_trips = self.tree.round_trips();
        let mut open = std::mem::take(&mut self.open);
        open.push((small(site.node), u32::MAX, site.access));
        while let Some((node, from, micros)) = open.pop() {
            let at = node as usize;
            if !self.near.improves(at, micros) {
                continue;
            }
            let range = self.starts[at] as usize..self.starts[at + 1] as usize;
            for child in &self.children[range] {
                if *child != from {
                    let link = round_trips[*child as usize] - round_trips[at];
                    open.push((*child, node, micros + link));
                }
            }
            if let Some(parent) = self.tree.parent(at)
                && small(parent) != from
            {
                let link = round_trips[at] - round_trips[parent];
                open.push((small(parent), node, micros + link));
            }
            visit(&mut self.near, at, micros);
        }
        self.open = open;
    }
}

impl Gains for NearestOnTree<'_> {
    fn gain(&mut self, site: usize) -> u128 {
        let mut gain = 0;
        self.walk(site, |near, node, micros| gain += near.saves(node, micros));
        gain
    }

    fn add(&mut self, site: usize) {
        self.walk(site, |near, node, micros| near.micros[node] = micros);
    }

    /// Beside the cloud alone, a site is of the same use to all clients with the same last node on the way to both.
    fn alone(&mut self, sites: usize) -> Vec<u128> {
        let problem = self.near.problem;
        let behind = self.tree.sums(problem.demand());
        let round_trips = self.tree.round_trips();
        let sites = problem.sites()[..sites].iter();
        sites
            .map(|site| {
                let mut gain = 0;
                let mut below = 0;
                for node in self.tree.chain(site.node) {
                    let to_meeting = round_trips[site.node] - round_trips[node] + site.access;
                    // Slack only shrinks on the way up.
                    if !problem.uses(round_trips[node], to_meeting) {
                        break;
                    }
                    let saved = round_trips[node] - to_meeting;
                    gain += u128::from(saved) * u128::from(behind[node] - below);
                    below = behind[node];
                }
                gain
            })
            .collect()
    }
}

pub(super) struct NearestOnGraph<'p> {
    near: Near<'p>,
    graph: &'p Graph,
    /// Distances of the walk under way, by node.
    distances: Vec<u64>,
}

impl<'p> NearestOnGraph<'p> {
    pub(super) fn new(problem: &'p Problem, graph: &'p Graph) -> Self {
        Self {
            near: Near::new(problem),
            graph,
            distances: vec![u64::MAX; graph.len()],
        }
    }

    /// Every node where the site would be of use, with its distance.
    fn walk(&mut self, site: usize) -> Vec<(usize, u64)> {
        let site = &self.near.problem.sites()[site];
        let mut open = BinaryHeap::from([Reverse((site.access, small(site.node)))]);
        let mut touched = vec![site.node];
        let mut visited = Vec::new();
        self.distances[site.node] = site.access;
        while let Some(Reverse((micros, node))) = open.pop() {
            let at = node as usize;
            if micros > self.distances[at] || !self.near.improves(at, micros) {
                continue;
            }
            visited.push((at, micros));
            for (end, link) in self.graph.neighbours(at) {
                let by_here = micros.saturating_add(*link);
                let known = &mut self.distances[*end as usize];
                if by_here < *known {
                    *known = by_here;
                    touched.push(*end as usize);
                    open.push(Reverse((by_here, *end)));
                }
            }
        }
        for node in touched {
            self.distances[node] = u64::MAX;
        }
        visited
    }
}

impl Gains for NearestOnGraph<'_> {
    fn gain(&mut self, site: usize) -> u128 {
        let visited = self.walk(site).into_iter();
        visited
            .map(|(node, micros)| self.near.saves(node, micros))
            .sum()
    }

    fn add(&mut self, site: usize) {
        for (node, micros) in self.walk(site) {
            self.near.micros[node] = micros;
        }
    }
}
