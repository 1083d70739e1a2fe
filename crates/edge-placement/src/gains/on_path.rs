//! Gains where a client is served by a site on its way from the cloud: O(depth) each, from sums over what is behind.
//!
//! All clients behind a chosen site, and behind no better one, are saved the same, its level; they are its region.
//! A further site raises those of the region around it that are behind it, and whole regions behind it with lower levels.

use crate::gains::Gains;
use crate::network::small;
use crate::problem::Problem;
use crate::reach::Behind;

pub(super) struct OnPath<'p> {
    problem: &'p Problem,
    parents: Vec<u32>,
    behind: Behind,
    /// Is a chosen site here that raises somebody?
    is_open: Vec<bool>,
    /// What the region that begins here is saved, in microseconds; only where `is_open`.
    level: Vec<u64>,
    /// Demand behind the node in the region around it; where `is_open`, in the region that begins there.
    region: Vec<u64>,
    open: Vec<u32>,
    /// May a site be better than one behind it?
    may_invert: bool,
}

const NOBODY: u32 = u32::MAX;

impl<'p> OnPath<'p> {
    pub(super) fn new(problem: &'p Problem) -> Self {
        let network = problem.network();
        let parents: Vec<u32> = (0..network.len())
            .map(|node| network.parent(node).map_or(NOBODY, small))
            .collect();
        let mut region = problem.demand().to_vec();
        for node in network.order().iter().rev() {
            let parent = parents[*node as usize];
            if parent != NOBODY {
                region[parent as usize] += region[*node as usize];
            }
        }
        Self {
            problem,
            parents,
            behind: Behind::new(network),
            is_open: vec![false; network.len()],
            level: vec![0; network.len()],
            region,
            open: Vec::new(),
            may_invert: problem.sites().iter().any(|site| site.access > 0),
        }
    }

    /// What the site saves each request of those behind it, in microseconds; nothing if it may not be used.
    fn saves(&self, site: usize) -> u64 {
        let site = &self.problem.sites()[site];
        let cloud = self.problem.network().round_trips()[site.node];
        if cloud != u64::MAX && self.problem.uses(cloud, site.access) {
            cloud - site.access
        } else {
            0
        }
    }

    /// The level of the region that the node is in.
    fn level_at(&self, node: usize) -> u64 {
        if self.open.is_empty() {
            return 0;
        }
        let mut at = small(node);
        while at != NOBODY {
            if self.is_open[at as usize] {
                return self.level[at as usize];
            }
            at = self.parents[at as usize];
        }
        0
    }

    /// Regions that begin strictly behind the node and have lower levels.
    fn lower_behind(&self, node: usize, level: u64) -> Vec<u32> {
        if !self.may_invert {
            return Vec::new();
        }
        let lower = self.open.iter().filter(|open| {
            let open = **open as usize;
            open != node && self.level[open] < level && self.behind.is_on_the_way(node, open)
        });
        lower.copied().collect()
    }

    /// Takes `demand` off the region sums strictly above the node, up to where the region begins, or puts it back.
    fn shift(&mut self, node: usize, demand: u64, takes_off: bool) {
        let mut at = self.parents[node];
        while at != NOBODY {
            let region = &mut self.region[at as usize];
            *region = if takes_off {
                *region - demand
            } else {
                *region + demand
            };
            if self.is_open[at as usize] {
                return;
            }
            at = self.parents[at as usize];
        }
    }
}

impl Gains for OnPath<'_> {
    fn gain(&mut self, site: usize) -> u128 {
        let node = self.problem.sites()[site].node;
        let (saves, now) = (self.saves(site), self.level_at(node));
        if saves <= now {
            return 0;
        }
        let around = u128::from(saves - now) * u128::from(self.region[node]);
        let whole = self.lower_behind(node, saves).into_iter().map(|open| {
            let open = open as usize;
            u128::from(saves - self.level[open]) * u128::from(self.region[open])
        });
        around + whole.sum::<u128>()
    }

    fn add(&mut self, site: usize) {
        let node = self.problem.sites()[site].node;
        let saves = self.saves(site);
        if saves <= self.level_at(node) {
            return;
        }
        if self.is_open[node] {
            self.level[node] = saves;
        } else {
            self.shift(node, self.region[node], true);
            self.is_open[node] = true;
            self.level[node] = saves;
            self.open.push(small(node));
        }
        // Regions that are no better than this one become part of it.
        let mut lower = self.lower_behind(node, saves + 1);
        lower.sort_by_key(|open| self.behind.span(*open as usize).0);
        for open in lower {
            let open_at = open as usize;
            self.is_open[open_at] = false;
            self.open.retain(|other| *other != open);
            self.shift(open_at, self.region[open_at], false);
        }
    }
}
