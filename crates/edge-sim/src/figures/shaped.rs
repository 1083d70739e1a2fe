//! Made-up trees of the paper's numbers of nodes, to ask what those numbers alone lead to.
//!
//! The paper's aggregate tree has 240 nodes, 186 of them leaves (section 3). Where it says that greedy placement overtakes betweenness
//! "over 20%" of the nodes, 22.5 % is where its 54 inner nodes run out, the only ones with a betweenness above 0.

use super::over_share::{Rounds, Scheme, SimulationError, compare};
use super::places::Places;
use crate::random::Random;

/// Inner nodes of the paper's tree.
pub const INNER: usize = 54;

/// Its leaves.
pub const LEAVES: usize = 186;

/// Shortest and longest link in microseconds; with them ways take about 100 ms in the mean, as the paper's do.
const LINKS: (u64, u64) = (5_000, 35_000);

/// Rounds for each tree.
const ROUNDS: u32 = 5;

/// A tree of the paper's shape: each inner node behind one before it by chance, each leaf behind an inner node by chance, and none of
/// these without one.
pub fn shaped(random: &mut Random) -> Places {
    let link = |random: &mut Random| LINKS.0 + random.below(LINKS.1 - LINKS.0 + 1);
    // The cloud is none of the 240, and has the first of them behind it.
    let mut links: Vec<(usize, u64)> = (0..INNER)
        .map(|inner| {
            let parent = match inner {
                0 => 0,
                _ => 1 + random.position(inner),
            };
            (parent, link(random))
        })
        .collect();
    let mut is_last = vec![true; INNER + 1];
    for (parent, _) in &links {
        is_last[*parent] = false;
    }
    let last = (1..=INNER).filter(|inner| is_last[*inner]);
    let mut parents: Vec<usize> = last.collect();
    while parents.len() < LEAVES {
        parents.push(1 + random.position(INNER));
    }
    for parent in parents {
        links.push((parent, link(random)));
    }
    Places::made(&links)
}

/// For each of so many trees the share of nodes in percent from which on greedy placement is never slower than betweenness;
/// `None` where there is none up to 60 %.
///
/// # Errors
/// [`SimulationError`].
pub fn crossings(trees: u32, clients: u64, seed: u64) -> Result<Vec<Option<f64>>, SimulationError> {
    let shares: Vec<u32> = (0..=60).collect();
    let schemes = [Scheme::Greedy, Scheme::Centrality];
    (0..trees)
        .map(|tree| {
            let places = shaped(&mut Random::part(seed, u64::from(tree)));
            let rounds = Rounds {
                rounds: ROUNDS,
                clients,
                seed: seed.wrapping_add(u64::from(tree)),
            };
            let figure = compare(&places, &rounds, &shares, &schemes, |_| {})?;
            Ok(figure.overtakes(Scheme::Greedy, Scheme::Centrality))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_have_the_paper_s_numbers_of_nodes() {
        for seed in 0..20 {
            let places = shaped(&mut Random::new(seed));
            assert_eq!(places.all().len(), 1 + INNER + LEAVES);
            assert_eq!(places.homes().len(), LEAVES);
            assert_eq!(places.inner_hosts(), INNER);
            let ways = places.homes().iter().map(|home| places.all()[*home].micros);
            let mean = ways.sum::<u64>() / LEAVES as u64;
            assert!((50_000..200_000).contains(&mean), "{mean}");
        }
    }

    #[test]
    fn equal_seeds_give_equal_crossings() {
        assert_eq!(crossings(2, 5000, 1), crossings(2, 5000, 1));
    }
}
