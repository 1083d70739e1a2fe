//! Rows of costs by what sites take of the limits, and how rows are put together.

use std::fmt;

use crate::problem::{Limits, Site};

mod counted;
mod free;
mod frontier;

pub(super) use counted::Counted;
pub(super) use free::Free;
pub(super) use frontier::Frontier;

/// What costs are counted in: 64 bits where they fit, for speed.
pub(super) trait Number: Copy + Ord + fmt::Debug {
    /// Stands for what cannot be had.
    const NEVER: Self;

    fn of(value: u128) -> Self;
    fn plus(self, other: Self) -> Self;
    fn wide(self) -> u128;
}

impl Number for u64 {
    const NEVER: Self = Self::MAX;

    fn of(value: u128) -> Self {
        Self::try_from(value).unwrap_or(Self::MAX)
    }

    #[inline]
    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }

    fn wide(self) -> u128 {
        self.into()
    }
}

impl Number for u128 {
    const NEVER: Self = Self::MAX;

    fn of(value: u128) -> Self {
        value
    }

    #[inline]
    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }

    fn wide(self) -> u128 {
        self
    }
}

/// Rows, and points on them: how much of the limits is taken.
pub(super) trait Algebra {
    type N: Number;
    /// Costs by point. An empty one has none.
    type Row: Clone + Default + fmt::Debug;
    type Point: Copy + fmt::Debug;

    /// Makes it the row of no sites at this cost.
    fn set(&self, row: &mut Self::Row, cost: Self::N);

    /// Adds a cost at every point.
    fn raise(&self, row: &mut Self::Row, cost: Self::N);

    /// Costs of both together, for every way to divide the limits. Returns how much work it was, or `None` if that was too much.
    fn join(&mut self, row: &mut Self::Row, other: &Self::Row) -> Option<u64>;

    /// The lesser of both at every point.
    fn lower(&self, row: &mut Self::Row, other: &Self::Row);

    /// The row with the site opened.
    fn open(&self, row: &Self::Row, site: usize, what: &Site) -> Self::Row;

    /// [`Algebra::lower`], noting by whom.
    fn offer(&self, row: &mut Self::Row, by: &mut Vec<u32>, other: &Self::Row, site: usize);

    /// Where the cost is least within the limits; `None` on an empty row.
    fn goal(&self, row: &Self::Row) -> Option<Self::Point>;

    /// The cost at a point; [`Number::NEVER`] where there is none.
    fn cost(&self, row: &Self::Row, point: Self::Point) -> Self::N;

    /// How the point on both joined divides.
    fn split(
        &self,
        row: &Self::Row,
        other: &Self::Row,
        point: Self::Point,
    ) -> (Self::Point, Self::Point);

    /// Whose the point is.
    fn who(&self, row: &Self::Row, by: &[u32], point: Self::Point) -> Option<usize>;

    /// The point before the site was opened.
    fn close(&self, point: Self::Point, site: usize, what: &Site) -> Self::Point;

    /// All costs of a row, in order of points.
    fn costs(&self, row: &Self::Row) -> Vec<u128>;
}
