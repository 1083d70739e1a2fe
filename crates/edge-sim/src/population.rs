//! Who the clients are: how many of them sit at each place of a network.

use crate::random::Random;

/// How unequal places are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Skew {
    /// A client sits at any place with the same probability, as in section 3 of the paper.
    Uniform,
    /// The place of rank r, from 1, has the weight r^-s; ranks are drawn from the seed.
    Zipf {
        /// The exponent s; 0 is uniform, less counts as 0, and not a number as 1.
        exponent: f64,
    },
}

/// Numbers of clients by place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Population {
    /// Clients at each place, in the order of places.
    pub clients: Vec<u64>,
}

impl Population {
    /// Puts each of `clients` at one of `places` by chance; nobody is anywhere if there are none.
    pub fn draw(places: usize, clients: u64, skew: Skew, seed: u64) -> Self {
        let mut counts = vec![0; places];
        if places == 0 {
            return Self { clients: counts };
        }
        let mut random = Random::new(seed);
        let weights = weights(places, skew, &mut random);
        let mut until = Vec::with_capacity(places);
        let mut sum: u64 = 0;
        for weight in weights {
            sum += weight;
            until.push(sum);
        }
        for _ in 0..clients {
            let at = random.below(sum);
            counts[until.partition_point(|end| *end <= at)] += 1;
        }
        Self { clients: counts }
    }

    /// All clients.
    pub fn total(&self) -> u64 {
        self.clients.iter().sum()
    }
}

/// The weight of each place, at least 1 and at most 2^32, so that the sum over any number of places in memory fits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a power of at most 1 times 2^32"
)]
fn weights(places: usize, skew: Skew, random: &mut Random) -> Vec<u64> {
    let exponent = match skew {
        Skew::Uniform => return vec![1; places],
        Skew::Zipf { exponent } if exponent.is_nan() => 1.0,
        Skew::Zipf { exponent } => exponent.max(0.0),
    };
    let scale = (1_u64 << 32) as f64;
    let mut weights: Vec<u64> = (1..=places)
        .map(|rank| ((rank as f64).powf(-exponent) * scale).round().max(1.0) as u64)
        .collect();
    random.shuffle(&mut weights);
    weights
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_million_clients_are_spread_evenly() {
        let population = Population::draw(186, 1_000_000, Skew::Uniform, 1);
        let mean = 1_000_000.0 / 186.0;
        for count in &population.clients {
            // Six standard deviations.
            assert!((*count as f64 - mean).abs() < 6.0 * mean.sqrt(), "{count}");
        }
    }

    #[test]
    fn the_first_rank_has_twice_as_many_as_the_second() {
        let mut counts = Population::draw(100, 200_000, Skew::Zipf { exponent: 1.0 }, 3).clients;
        counts.sort_unstable();
        let ratio = counts[99] as f64 / counts[98] as f64;
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
    }

    proptest! {
        #[test]
        fn everybody_is_somewhere(places in 0_usize..40, clients in 0_u64..500, exponent: f64, seed: u64) {
            for skew in [Skew::Uniform, Skew::Zipf { exponent }] {
                let population = Population::draw(places, clients, skew, seed);
                prop_assert_eq!(population.clients.len(), places);
                prop_assert_eq!(population.total(), if places == 0 { 0 } else { clients });
                prop_assert_eq!(population, Population::draw(places, clients, skew, seed));
            }
        }
    }
}
