//! Figure 5: mean latency where only a share of the places have an edge, and a share of these is used.

use edge_placement::{Algorithm, Effort, Problem, evaluate, rank, solve};

use super::estimate::Estimate;
use super::over_share::{Rounds, SimulationError, part, scattered};
use super::places::Places;
use crate::random::Random;

/// The figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Equipped {
    /// Shares of places with an edge, in percent.
    pub equipped: Vec<u32>,
    /// Shares of these that are used, in percent.
    pub used: Vec<u32>,
    /// Milliseconds by betweenness, as the paper places, by equipped and used share.
    pub centrality_ms: Vec<Vec<Estimate>>,
    /// Milliseconds by saving, with as many sites.
    pub saving_ms: Vec<Vec<Estimate>>,
    /// Places that an edge may be at.
    pub hosts: usize,
}

/// Runs it; `tell` hears the number of rounds done.
///
/// # Errors
/// [`SimulationError`].
pub fn equipped(
    places: &Places,
    rounds: &Rounds,
    equipped: &[u32],
    used: &[u32],
    mut tell: impl FnMut(u32),
) -> Result<Equipped, SimulationError> {
    let hosts = places.hosts().len();
    let mut centrality = vec![vec![Vec::new(); used.len()]; equipped.len()];
    let mut saving = centrality.clone();
    for round in 0..rounds.rounds {
        tell(round);
        let mut random = Random::part(rounds.seed, u64::from(round));
        let problem = scattered(places, rounds.clients, &mut random)?;
        let order = rank(&problem, Algorithm::Freeman);
        // The same order of equipping in a round, so that more equipment never takes any away.
        let mut chance: Vec<usize> = (0..hosts).collect();
        random.shuffle(&mut chance);
        for (row, share) in equipped.iter().enumerate() {
            let count = part(hosts, *share);
            let mut has_edge = vec![false; hosts];
            for site in &chance[..count] {
                has_edge[*site] = true;
            }
            let ranked: Vec<usize> = order
                .iter()
                .copied()
                .filter(|site| has_edge[*site])
                .collect();
            let only = only(&problem, &has_edge)?;
            for (column, share) in used.iter().enumerate() {
                let count = part(ranked.len(), *share);
                let by_centrality = evaluate(&problem, &ranked[..count]);
                centrality[row][column].push(by_centrality.mean_micros() / 1e3);
                let limited = only.clone().at_most(count);
                let by_saving = solve(&limited, Algorithm::Celf, Effort(0))?;
                saving[row][column].push(by_saving.mean_micros() / 1e3);
            }
        }
    }
    let estimates = |rows: Vec<Vec<Vec<f64>>>| {
        let row = |row: Vec<Vec<f64>>| row.iter().map(|rounds| Estimate::of(rounds)).collect();
        rows.into_iter().map(row).collect()
    };
    Ok(Equipped {
        equipped: equipped.to_vec(),
        used: used.to_vec(),
        centrality_ms: estimates(centrality),
        saving_ms: estimates(saving),
        hosts,
    })
}

/// The problem with only the sites that there are.
fn only(problem: &Problem, has_edge: &[bool]) -> Result<Problem, SimulationError> {
    let sites = problem.sites().iter().zip(has_edge);
    let sites = sites
        .filter(|(_, has_edge)| **has_edge)
        .map(|(site, _)| *site);
    let problem = problem.clone().with_sites(sites.collect());
    problem.map_err(|error| super::places::PlacesError::Problem(error).into())
}
