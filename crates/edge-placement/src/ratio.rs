//! Exact comparison of fractions that cross-multiplying could overflow.

use std::cmp::Ordering;

/// Compares `a.0 / a.1` with `b.0 / b.1` exactly, where something over nothing is the largest and nothing over
/// nothing the smallest. Cross-multiplying could overflow; comparing whole parts and then turned-over remainders,
/// as in a continued fraction, cannot.
pub(crate) fn compare_ratios(mut a: (u128, u128), mut b: (u128, u128)) -> Ordering {
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
