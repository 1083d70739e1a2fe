//! Fills rows from the leaves to the cloud, and reads the chosen sites off from the cloud to the leaves.

use super::algebra::{Algebra, Number};
use super::arena::Arena;
use crate::algorithm::Effort;
use crate::problem::{Problem, Service};

/// What joining two rows takes beside what it takes for their lengths.
const PER_JOIN: u64 = 8;

pub(super) struct Engine<'p, A: Algebra> {
    problem: &'p Problem,
    arena: &'p Arena,
    algebra: A,
    /// `best(v)`, and whose each point is.
    best: Vec<A::Row>,
    by: Vec<Vec<u32>>,
    /// `T(v, cloud)`, until it is joined into the parent's.
    cloud: Vec<A::Row>,
    /// Rows under way, by node, and in which pass they were begun.
    under_way: Vec<A::Row>,
    begun: Vec<u64>,
    pass: u64,
    work: u64,
    effort: u64,
}

/// A site at or behind a node, its distance from there in microseconds, and `F` of both.
type Inside<A> = (usize, u64, <A as Algebra>::Row);

impl<'p, A: Algebra> Engine<'p, A> {
    pub(super) fn new(problem: &'p Problem, arena: &'p Arena, algebra: A, effort: Effort) -> Self {
        let nodes = arena.len();
        Self {
            problem,
            arena,
            algebra,
            best: vec![A::Row::default(); nodes],
            by: vec![Vec::new(); nodes],
            cloud: vec![A::Row::default(); nodes],
            under_way: vec![A::Row::default(); nodes],
            begun: vec![0; nodes],
            pass: 0,
            work: 0,
            effort: effort.0,
        }
    }

    /// The sites of the optimum; `None` if it took too much.
    pub(super) fn chosen(mut self) -> Option<Vec<usize>> {
        self.solve()?;
        self.read_off()
    }

    /// Fills all rows; `None` if it took too much.
    pub(super) fn solve(&mut self) -> Option<()> {
        let mut inside: Vec<Vec<Inside<A>>> = vec![Vec::new(); self.arena.len()];
        for node in (0..self.arena.len()).rev() {
            if self.problem.service() == Service::AnyNearest {
                let from_behind: Vec<(usize, Vec<Inside<A>>)> = self
                    .arena
                    .children(node)
                    .map(|child| (child, std::mem::take(&mut inside[child])))
                    .collect();
                inside[node] = self.rise(node, from_behind)?;
            }
            for site in self.arena.sites_at(node) {
                let site = *site as usize;
                let access = self.problem.sites()[site].access;
                let mut row = A::Row::default();
                self.algebra.set(&mut row, self.costs(node, access));
                let row = self.outside(node, None, access, row)?;
                self.offer(node, site, &row);
                inside[node].push((site, access, row));
            }
            if self.problem.service() == Service::OnPath {
                inside[node].clear();
            }
            let mut row = A::Row::default();
            self.algebra
                .set(&mut row, self.costs(node, self.arena.round_trip[node]));
            for child in self.arena.children(node) {
                let mut behind = std::mem::take(&mut self.cloud[child]);
                self.algebra.lower(&mut behind, &self.best[child]);
                self.work += self.algebra.join(&mut row, &behind)?;
            }
            self.cloud[node] = row;
        }
        Some(())
    }

    /// `F(node, r)` of all sites that came from behind and are still nearer than the cloud.
    fn rise(
        &mut self,
        node: usize,
        from_behind: Vec<(usize, Vec<Inside<A>>)>,
    ) -> Option<Vec<Inside<A>>> {
        let mut inside = Vec::new();
        for (child, sites) in from_behind {
            let link = self.arena.round_trip[child] - self.arena.round_trip[node];
            for (site, micros, mut row) in sites {
                let micros = micros + link;
                if !self.problem.uses(self.arena.round_trip[node], micros) {
                    continue;
                }
                self.algebra.raise(&mut row, self.costs(node, micros));
                let row = self.outside(node, Some(child), micros, row)?;
                self.offer(node, site, &row);
                inside.push((site, micros, row));
            }
        }
        Some(inside)
    }

    fn costs(&self, node: usize, micros: u64) -> A::N {
        A::N::of(u128::from(self.arena.demand[node]) * u128::from(micros))
    }

    fn offer(&mut self, node: usize, site: usize, row: &A::Row) {
        let opened = self.algebra.open(row, site, &self.problem.sites()[site]);
        self.algebra
            .offer(&mut self.best[node], &mut self.by[node], &opened, site);
    }

    /// Joins `min(T(c, r), best(c))` of all children `c` but one into the row of `node`, from where `r` is so far.
    fn outside(
        &mut self,
        node: usize,
        but: Option<usize>,
        micros: u64,
        row: A::Row,
    ) -> Option<A::Row> {
        if self.work > self.effort {
            return None;
        }
        self.pass += 1;
        self.under_way[node] = row;
        self.begun[node] = self.pass;
        let offset = micros.wrapping_sub(self.arena.round_trip[node]);
        let first = node + 1;
        let last = node + self.arena.size[node] as usize;
        match but {
            Some(child) => {
                self.sweep(child + self.arena.size[child] as usize..last, offset)?;
                self.sweep(first..child, offset)?;
            }
            None => self.sweep(first..last, offset)?,
        }
        Some(std::mem::take(&mut self.under_way[node]))
    }

    /// Joins the rows of these nodes, each into its parent's, the last first; they are served from `round trip + offset` away.
    fn sweep(&mut self, nodes: std::ops::Range<usize>, offset: u64) -> Option<()> {
        for node in nodes.rev() {
            let mut row = std::mem::take(&mut self.under_way[node]);
            if self.begun[node] != self.pass {
                let micros = self.arena.round_trip[node].wrapping_add(offset);
                self.algebra.set(&mut row, self.costs(node, micros));
            }
            self.algebra.lower(&mut row, &self.best[node]);
            let parent = self.arena.parent[node] as usize;
            if self.begun[parent] != self.pass {
                self.begun[parent] = self.pass;
                let micros = self.arena.round_trip[parent].wrapping_add(offset);
                let cost = self.costs(parent, micros);
                self.algebra.set(&mut self.under_way[parent], cost);
            }
            self.work += PER_JOIN + self.algebra.join(&mut self.under_way[parent], &row)?;
            self.under_way[node] = row;
        }
        Some(())
    }

    /// The row of all, once solved: its costs, and where it is least.
    pub(super) fn result(&self) -> (Vec<u128>, Option<A::Point>) {
        let mut row = self.cloud[0].clone();
        self.algebra.lower(&mut row, &self.best[0]);
        (self.algebra.costs(&row), self.algebra.goal(&row))
    }

    fn read_off(&mut self) -> Option<Vec<usize>> {
        let point = self.result().1?;
        let mut chosen = Vec::new();
        // Nodes, who serves them, and what is to be taken at and behind them.
        let mut open = vec![if self.algebra.cost(&self.cloud[0], point)
            <= self.algebra.cost(&self.best[0], point)
        {
            (0, None, point)
        } else {
            self.switch(0, point, &mut chosen)?
        }];
        while let Some((node, site, point)) = open.pop() {
            for (child, point) in self.part(node, site, point)? {
                let next = self.switch(child, point, &mut chosen)?;
                open.push(next);
            }
        }
        Some(chosen)
    }

    /// Opens the site that the point on `best(node)` is of.
    fn switch(
        &self,
        node: usize,
        point: A::Point,
        chosen: &mut Vec<usize>,
    ) -> Option<(usize, Option<usize>, A::Point)> {
        let site = self.algebra.who(&self.best[node], &self.by[node], point)?;
        chosen.push(site);
        let what = &self.problem.sites()[site];
        Some((node, Some(site), self.algebra.close(point, site, what)))
    }

    /// Follows the nodes at and behind `node` that are served by `site`, and gives those right behind them that are not, each
    /// with its point on `best`.
    fn part(
        &mut self,
        node: usize,
        site: Option<usize>,
        point: A::Point,
    ) -> Option<Vec<(usize, A::Point)>> {
        let size = self.arena.size[node] as usize;
        // Distances from the site, and which nodes have to be served by it.
        let mut micros = vec![0; size];
        let mut is_forced = vec![false; size];
        match site {
            None => micros.copy_from_slice(&self.arena.round_trip[node..node + size]),
            Some(site) => {
                let (at, access) = (self.arena.node_of(site), self.problem.sites()[site].access);
                let mut step = at;
                loop {
                    is_forced[step - node] = true;
                    micros[step - node] =
                        self.arena.round_trip[at] - self.arena.round_trip[step] + access;
                    if step == node {
                        break;
                    }
                    step = self.arena.parent[step] as usize;
                }
                for next in 1..size {
                    if !is_forced[next] {
                        let parent = self.arena.parent[node + next] as usize;
                        let link =
                            self.arena.round_trip[node + next] - self.arena.round_trip[parent];
                        micros[next] = micros[parent - node] + link;
                    }
                }
            }
        }
        // Rows of all these nodes for this site, and what each gives its parent.
        let mut rows: Vec<A::Row> = vec![A::Row::default(); size];
        for at in (0..size).rev() {
            let mut row = A::Row::default();
            self.algebra
                .set(&mut row, self.costs(node + at, micros[at]));
            for child in self.arena.children(node + at) {
                let given = self.given(&rows, node, child, &is_forced);
                self.work += self.algebra.join(&mut row, &given)?;
            }
            rows[at] = row;
        }
        let mut others = Vec::new();
        let mut open = vec![(node, point)];
        while let Some((at, mut point)) = open.pop() {
            let children: Vec<usize> = self.arena.children(at).collect();
            let mut row = A::Row::default();
            self.algebra
                .set(&mut row, self.costs(at, micros[at - node]));
            let mut before = Vec::new();
            for child in &children {
                before.push(row.clone());
                let given = self.given(&rows, node, *child, &is_forced);
                self.algebra.join(&mut row, &given)?;
            }
            for (child, before) in children.into_iter().zip(before).rev() {
                let given = self.given(&rows, node, child, &is_forced);
                let (here, behind) = self.algebra.split(&before, &given, point);
                let own = self.algebra.cost(&rows[child - node], behind);
                if is_forced[child - node] || own <= self.algebra.cost(&self.best[child], behind) {
                    open.push((child, behind));
                } else {
                    others.push((child, behind));
                }
                point = here;
            }
        }
        Some(others)
    }

    /// What a child's row gives to its parent's.
    fn given(&self, rows: &[A::Row], node: usize, child: usize, is_forced: &[bool]) -> A::Row {
        let mut given = rows[child - node].clone();
        if !is_forced[child - node] {
            self.algebra.lower(&mut given, &self.best[child]);
        }
        given
    }
}
