//! Saving placement: sites that save most client time, alone or per price.
//!
//! ## Model
//! Every client prefix is served by the nearest of the cloud and the chosen sites. The value of a set of sites is the client
//! time it saves against the cloud alone, per second of wall time.
//!
//! ## Symbols
//! `f(S) = Σ demand(c) · (rtt(c, cloud) - min rtt(c, S ∪ cloud))` in microseconds × thousandths of a request per second;
//! `gain(s | S) = f(S ∪ s) - f(S)`; `cost(s)` in units of the budget's asset.
//!
//! ## Rule
//! Two greedy runs within the limits: one adds the site with the largest gain, the other the one with the largest gain per
//! cost. The better of the two counts; on a tie the cheaper, then the first. Equal gains go to the lower cost, then
//! the smaller site.
//!
//! ## Why this rule
//! `f` is monotone and submodular, so with a limit on the number of sites alone the greedy run reaches at least 1 - 1/e
//! (63 %) of the best saving, and with a budget alone the better run at least half of that; in practice both are within
//! a few percent. Gain without price wastes the budget on dear sites; gain per price alone may miss one large site.
//!
//! ## Limits
//! The bounds are on the saving, not on the latency that remains, and do not hold for both limits at once. No capacities.
//!
//! ## Cost
//! Lazy: a gain only shrinks as sites are added, so a site whose old gain is already too small is not looked at again.
//!
//! ## Determinism
//! Whole numbers, exact fractions; every comparison ends in the site's name.
//!
//! ## Source
//! Nemhauser, Wolsey and Fisher 1978 (the bound); Leskovec et al. 2007 (CELF: lazy, and the better of two runs).

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::field::{Field, Selection};

/// What a greedy run maximises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Gain,
    GainPerCost,
}

/// The better of both greedy runs.
pub(crate) fn choose<'f>(field: &'f Field<'f>) -> Selection<'f> {
    let by_gain = greedy(field, Goal::Gain);
    let by_ratio = greedy(field, Goal::GainPerCost);
    let value = |selection: &Selection<'_>| (selection.saved(), Reverse(selection.spent()));
    if value(&by_ratio) > value(&by_gain) {
        by_ratio
    } else {
        by_gain
    }
}

/// Options by what each would save alone.
pub(crate) fn ranking(field: &Field<'_>) -> Vec<usize> {
    let nothing = Selection::new(field);
    let mut ranking: Vec<usize> = (0..field.options.len()).collect();
    ranking.sort_by_cached_key(|option| {
        let cost = field.options[*option].cost;
        (Reverse(nothing.gain(*option)), cost, *option)
    });
    ranking
}

fn greedy<'f>(field: &'f Field<'f>, goal: Goal) -> Selection<'f> {
    let mut selection = Selection::new(field);
    loop {
        let entry = |selection: &Selection<'_>, option| Entry {
            gain: selection.gain(option),
            cost: field.options[option].cost,
            option,
            goal,
        };
        let mut heap: BinaryHeap<Entry> = (0..field.options.len())
            .map(|option| entry(&selection, option))
            .collect();
        let mut added = false;
        while let Some(top) = heap.pop() {
            if !selection.fits(top.option) {
                continue;
            }
            let now = entry(&selection, top.option);
            if now.gain == 0 {
                continue;
            }
            if heap.peek().is_some_and(|next| *next > now) {
                heap.push(now);
                continue;
            }
            selection.add(top.option);
            added = true;
        }
        // Sites that became useless have left room for some that did not fit before.
        if !added {
            return selection;
        }
    }
}

/// An option with the gain it had when last looked at; the greatest is the best.
#[derive(Clone, Copy, Debug)]
struct Entry {
    gain: u128,
    cost: u128,
    option: usize,
    goal: Goal,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_goal = match self.goal {
            Goal::Gain => self.gain.cmp(&other.gain),
            Goal::GainPerCost => compare_ratios((self.gain, self.cost), (other.gain, other.cost)),
        };
        by_goal
            .then(self.gain.cmp(&other.gain))
            .then(other.cost.cmp(&self.cost))
            .then(other.option.cmp(&self.option))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

/// Compares `a.0 / a.1` with `b.0 / b.1` exactly, where something over nothing is the largest and nothing over
/// nothing the smallest. Cross-multiplying could overflow; comparing whole parts and then turned-over remainders,
/// as in a continued fraction, cannot.
fn compare_ratios(mut a: (u128, u128), mut b: (u128, u128)) -> Ordering {
    loop {
        match (a.1, b.1) {
            (0, 0) => return (a.0 > 0).cmp(&(b.0 > 0)),
            (0, _) if a.0 > 0 => return Ordering::Greater,
            (_, 0) if b.0 > 0 => return Ordering::Less,
            (0, _) => return 0.cmp(&b.0),
            (_, 0) => return a.0.cmp(&0),
            _ => {}
        }
        let whole = (a.0 / a.1).cmp(&(b.0 / b.1));
        if whole != Ordering::Equal {
            return whole;
        }
        // a.1 / remainder is the turned-over rest, so the sides change places.
        (a, b) = ((b.1, b.0 % b.1), (a.1, a.0 % a.1));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ratios_compare_as_cross_products(a: u64, b: u64, c: u64, d: u64) {
            let wide = |x: u64, y: u64| u128::from(x) * u128::from(y);
            prop_assume!(b > 0 && d > 0);
            let expected = wide(a, d).cmp(&wide(c, b));
            let pair = |x: u64, y: u64| (u128::from(x), u128::from(y));
            prop_assert_eq!(compare_ratios(pair(a, b), pair(c, d)), expected);
        }

        #[test]
        fn small_ratios_compare_as_cross_products(a in 0u128..20, b in 1u128..20, c in 0u128..20, d in 1u128..20) {
            prop_assert_eq!(compare_ratios((a, b), (c, d)), (a * d).cmp(&(c * b)));
        }
    }

    #[test]
    fn something_for_nothing_is_best() {
        assert_eq!(compare_ratios((1, 0), (u128::MAX, 1)), Ordering::Greater);
        assert_eq!(compare_ratios((1, 0), (2, 0)), Ordering::Equal);
        assert_eq!(compare_ratios((0, 0), (0, 7)), Ordering::Equal);
        assert_eq!(compare_ratios((0, 0), (1, 7)), Ordering::Less);
    }
}
