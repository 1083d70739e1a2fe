//! Without limits: a row is one cost.

use super::{Algebra, Number, Site};

pub(in crate::exact) struct Free<N>(std::marker::PhantomData<N>);

impl<N> Free<N> {
    pub(in crate::exact) const fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

/// A cost, if there is one.
#[derive(Clone, Copy, Debug)]
pub(in crate::exact) struct One<N>(N);

impl<N: Number> Default for One<N> {
    fn default() -> Self {
        Self(N::NEVER)
    }
}

impl<N: Number> Algebra for Free<N> {
    type N = N;
    type Row = One<N>;
    type Point = ();

    #[inline]
    fn set(&self, row: &mut One<N>, cost: N) {
        row.0 = cost;
    }

    #[inline]
    fn raise(&self, row: &mut One<N>, cost: N) {
        row.0 = row.0.plus(cost);
    }

    #[inline]
    fn join(&mut self, row: &mut One<N>, other: &One<N>) -> Option<u64> {
        row.0 = row.0.plus(other.0);
        Some(1)
    }

    #[inline]
    fn lower(&self, row: &mut One<N>, other: &One<N>) {
        row.0 = row.0.min(other.0);
    }

    fn open(&self, row: &One<N>, _: usize, what: &Site) -> One<N> {
        One(row.0.plus(N::of(what.rent)))
    }

    fn offer(&self, row: &mut One<N>, by: &mut Vec<u32>, other: &One<N>, site: usize) {
        if other.0 < row.0 {
            row.0 = other.0;
            by.clear();
            by.push(crate::network::small(site));
        }
    }

    fn goal(&self, row: &One<N>) -> Option<()> {
        (row.0 < N::NEVER).then_some(())
    }

    fn cost(&self, row: &One<N>, (): ()) -> N {
        row.0
    }

    fn split(&self, _: &One<N>, _: &One<N>, (): ()) -> ((), ()) {
        ((), ())
    }

    fn who(&self, _: &One<N>, by: &[u32], (): ()) -> Option<usize> {
        by.first().map(|site| *site as usize)
    }

    fn close(&self, (): (), _: usize, _: &Site) {}

    fn costs(&self, row: &One<N>) -> Vec<u128> {
        vec![row.0.wide()]
    }
}
