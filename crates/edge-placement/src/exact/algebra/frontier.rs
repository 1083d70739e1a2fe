//! With any limits: a row is the combinations of price, number of sites and cost that no other one beats in all three.

use super::{Algebra, Limits, Number, Site};

pub(in crate::exact) struct Frontier<N> {
    limits: Limits,
    /// Does the number of sites matter? If not, it counts as 0.
    is_counted: bool,
    /// Most work for one join.
    most: u64,
    scratch: Vec<Combination<N>>,
}

impl<N> Frontier<N> {
    pub(in crate::exact) const fn new(limits: Limits, is_counted: bool, most: u64) -> Self {
        Self {
            limits,
            is_counted,
            most,
            scratch: Vec::new(),
        }
    }

    const fn number(&self) -> usize {
        if self.is_counted { 1 } else { 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::exact) struct Combination<N> {
    price: u128,
    number: usize,
    cost: N,
    /// Who made it, where that is noted.
    by: u32,
}

/// In order of price; drops what another one beats.
fn prune<N: Number>(row: &mut Vec<Combination<N>>) {
    row.sort_unstable();
    // By ascending number and falling cost, the best so far.
    let mut stairs: Vec<(usize, N)> = Vec::new();
    row.retain(|next| {
        let upto = stairs.partition_point(|(number, _)| *number <= next.number);
        if upto > 0 && stairs[upto - 1].1 <= next.cost {
            return false;
        }
        let from = stairs.partition_point(|(number, _)| *number < next.number);
        let beaten = stairs[from..]
            .iter()
            .take_while(|(_, cost)| *cost >= next.cost);
        let until = from + beaten.count();
        stairs.splice(from..until, [(next.number, next.cost)]);
        true
    });
}

impl<N: Number> Algebra for Frontier<N> {
    type N = N;
    type Row = Vec<Combination<N>>;
    type Point = (u128, usize);

    fn set(&self, row: &mut Self::Row, cost: N) {
        row.clear();
        row.push(Combination {
            price: 0,
            number: 0,
            cost,
            by: u32::MAX,
        });
    }

    fn raise(&self, row: &mut Self::Row, cost: N) {
        for one in row {
            one.cost = one.cost.plus(cost);
        }
    }

    fn join(&mut self, row: &mut Self::Row, other: &Self::Row) -> Option<u64> {
        let work = row.len() as u64 * other.len() as u64 * 4;
        if work > self.most {
            return None;
        }
        self.scratch.clear();
        for one in row.iter() {
            for other in other {
                let price = one.price.saturating_add(other.price);
                let number = one.number + other.number;
                if price <= self.limits.budget && number <= self.limits.sites {
                    self.scratch.push(Combination {
                        price,
                        number,
                        cost: one.cost.plus(other.cost),
                        by: u32::MAX,
                    });
                }
            }
        }
        prune(&mut self.scratch);
        std::mem::swap(row, &mut self.scratch);
        Some(work)
    }

    fn lower(&self, row: &mut Self::Row, other: &Self::Row) {
        row.extend_from_slice(other);
        prune(row);
    }

    fn open(&self, row: &Self::Row, _: usize, what: &Site) -> Self::Row {
        let opened = row.iter().map(|one| Combination {
            price: one.price.saturating_add(what.price),
            number: one.number + self.number(),
            cost: one.cost.plus(N::of(what.rent)),
            by: u32::MAX,
        });
        opened
            .filter(|one| one.price <= self.limits.budget && one.number <= self.limits.sites)
            .collect()
    }

    fn offer(&self, row: &mut Self::Row, _: &mut Vec<u32>, other: &Self::Row, site: usize) {
        let by = crate::network::small(site);
        row.extend(other.iter().map(|one| Combination { by, ..*one }));
        prune(row);
    }

    fn goal(&self, row: &Self::Row) -> Option<(u128, usize)> {
        let best = row.iter().min_by_key(|one| (one.cost, one.price))?;
        Some((best.price, best.number))
    }

    fn cost(&self, row: &Self::Row, point: (u128, usize)) -> N {
        let at = row.binary_search_by_key(&point, |one| (one.price, one.number));
        at.map_or(N::NEVER, |at| row[at].cost)
    }

    fn split(
        &self,
        row: &Self::Row,
        other: &Self::Row,
        point: (u128, usize),
    ) -> ((u128, usize), (u128, usize)) {
        let ways = row.iter().filter_map(|one| {
            let left = (
                point.0.checked_sub(one.price)?,
                point.1.checked_sub(one.number)?,
            );
            let cost = self.cost(other, left);
            (cost < N::NEVER).then(|| (one.cost.plus(cost), (one.price, one.number), left))
        });
        let best = ways.min_by_key(|(cost, _, _)| *cost);
        best.map_or(((0, 0), point), |(_, here, left)| (here, left))
    }

    fn who(&self, row: &Self::Row, _: &[u32], point: (u128, usize)) -> Option<usize> {
        let at = row.binary_search_by_key(&point, |one| (one.price, one.number));
        let by = at.map(|at| row[at].by).unwrap_or(u32::MAX);
        (by != u32::MAX).then_some(by as usize)
    }

    fn close(&self, point: (u128, usize), _: usize, what: &Site) -> (u128, usize) {
        (
            point.0.saturating_sub(what.price),
            point.1.saturating_sub(self.number()),
        )
    }

    fn costs(&self, row: &Self::Row) -> Vec<u128> {
        row.iter().map(|one| one.cost.wide()).collect()
    }
}
