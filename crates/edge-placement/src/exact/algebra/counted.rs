//! With a limit that is a small number, of sites or of coins: a row is the least cost by how much may be taken at most.

use super::{Algebra, Number, Site};

pub(in crate::exact) struct Counted<N> {
    /// What each site takes.
    weights: Vec<usize>,
    limit: usize,
    scratch: Vec<N>,
}

impl<N> Counted<N> {
    pub(in crate::exact) const fn new(weights: Vec<usize>, limit: usize) -> Self {
        Self {
            weights,
            limit,
            scratch: Vec::new(),
        }
    }
}

/// More than the row is long costs what its last point does.
fn at<N: Number>(row: &[N], point: usize) -> N {
    row.get(point).or(row.last()).copied().unwrap_or(N::NEVER)
}

impl<N: Number> Algebra for Counted<N> {
    type N = N;
    type Row = Vec<N>;
    type Point = usize;

    fn set(&self, row: &mut Vec<N>, cost: N) {
        row.clear();
        row.push(cost);
    }

    fn raise(&self, row: &mut Vec<N>, cost: N) {
        for value in row {
            *value = value.plus(cost);
        }
    }

    fn join(&mut self, row: &mut Vec<N>, other: &Vec<N>) -> Option<u64> {
        if let [only] = other[..] {
            for value in row.iter_mut() {
                *value = value.plus(only);
            }
            return Some(row.len() as u64);
        }
        let length = (row.len() + other.len() - 1).min(self.limit.saturating_add(1));
        self.scratch.clear();
        self.scratch.resize(length, N::NEVER);
        for (taken, cost) in row.iter().enumerate() {
            let Some(sums) = self.scratch.get_mut(taken..) else {
                break;
            };
            for (sum, more) in sums.iter_mut().zip(other) {
                *sum = (*sum).min(cost.plus(*more));
            }
        }
        while let [.., before, last] = self.scratch[..]
            && before == last
        {
            self.scratch.pop();
        }
        let work = row.len() * other.len();
        std::mem::swap(row, &mut self.scratch);
        Some(work as u64)
    }

    fn lower(&self, row: &mut Vec<N>, other: &Vec<N>) {
        let Some(last) = row.last().copied() else {
            row.clone_from(other);
            return;
        };
        if other.len() > row.len() {
            row.resize(other.len(), last);
        }
        for (value, other) in row.iter_mut().zip(other) {
            *value = (*value).min(*other);
        }
        if let Some(least) = other.last()
            && other.len() < row.len()
        {
            for value in &mut row[other.len()..] {
                *value = (*value).min(*least);
            }
        }
    }

    fn open(&self, row: &Vec<N>, site: usize, what: &Site) -> Vec<N> {
        let weight = self.weights[site];
        let rent = N::of(what.rent);
        let Some(room) = self.limit.checked_sub(weight) else {
            return Vec::new();
        };
        let costs = row.iter().take(room.saturating_add(1));
        let nothing = std::iter::repeat_n(N::NEVER, weight);
        nothing.chain(costs.map(|cost| cost.plus(rent))).collect()
    }

    fn offer(&self, row: &mut Vec<N>, by: &mut Vec<u32>, other: &Vec<N>, site: usize) {
        let Some(other_last) = other.last().copied() else {
            return;
        };
        let length = row.len().max(other.len());
        let (last, last_by) = (at(row, usize::MAX), by.last().copied().unwrap_or(u32::MAX));
        row.resize(length, last);
        by.resize(length, last_by);
        let others = other.iter().copied().chain(std::iter::repeat(other_last));
        for ((value, by), other) in row.iter_mut().zip(by).zip(others) {
            if other < *value {
                *value = other;
                *by = crate::network::small(site);
            }
        }
    }

    fn goal(&self, row: &Vec<N>) -> Option<usize> {
        (at(row, self.limit) < N::NEVER).then_some(self.limit)
    }

    fn cost(&self, row: &Vec<N>, point: usize) -> N {
        at(row, point)
    }

    fn split(&self, row: &Vec<N>, other: &Vec<N>, point: usize) -> (usize, usize) {
        let here = 0..=point.min(row.len().saturating_sub(1));
        let ways = here.map(|taken| (taken, point - taken));
        ways.min_by_key(|(taken, left)| at(row, *taken).plus(at(other, *left)))
            .unwrap_or((0, point))
    }

    fn who(&self, _: &Vec<N>, by: &[u32], point: usize) -> Option<usize> {
        let who = by.get(point).or(by.last())?;
        (*who != u32::MAX).then_some(*who as usize)
    }

    fn close(&self, point: usize, site: usize, _: &Site) -> usize {
        point.saturating_sub(self.weights[site])
    }

    fn costs(&self, row: &Vec<N>) -> Vec<u128> {
        row.iter().map(|cost| cost.wide()).collect()
    }
}
