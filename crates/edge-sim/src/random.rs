//! Repeatable choices from a seed.

/// A repeatable source of choices (`SplitMix64`, Steele et al., OOPSLA'14).
///
/// What it gives out is part of every simulated result: the same seed has to give the same numbers in every version.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The source for a seed.
    pub const fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// A source of its own for the `number`th part of a simulation, so that parts can run in any order or at once.
    #[must_use]
    pub const fn part(seed: u64, number: u64) -> Self {
        Self(mix(mix(seed) ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93)))
    }

    /// Any number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`; 0 for a bound of 0. The bias is below 2^-64 × `bound`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the upper half of a product is below its 64-bit factor"
    )]
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }

    /// A position in a list of `length`; 0 for an empty one.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is below a length, which is a usize"
    )]
    pub const fn position(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// A fraction from 0 up to but not including 1, in steps of 2^-53.
    pub fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Puts items into a random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.position(last + 1));
        }
    }
}

const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_in_every_version() {
        let mut random = Random::new(7);
        let numbers: Vec<u64> = (0..3).map(|_| random.below(1_000_000)).collect();
        assert_eq!(numbers, [649_704, 549_374, 604_234]);
    }

    #[test]
    fn parts_differ_from_each_other_and_from_the_whole() {
        let mut first = [
            Random::new(1).next(),
            Random::part(1, 0).next(),
            Random::part(1, 1).next(),
            Random::part(2, 0).next(),
        ];
        first.sort_unstable();
        assert!(first.windows(2).all(|pair| pair[0] != pair[1]));
    }

    proptest! {
        #[test]
        fn choices_are_within_bounds(seed: u64, bound: u64, length in 0_usize..50) {
            let mut random = Random::new(seed);
            prop_assert!(random.below(bound) < bound.max(1));
            prop_assert!((0.0..1.0).contains(&random.fraction()));
            let mut items: Vec<usize> = (0..length).collect();
            random.shuffle(&mut items);
            items.sort_unstable();
            prop_assert_eq!(items, (0..length).collect::<Vec<_>>());
        }
    }
}
