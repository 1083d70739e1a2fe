//! Figure 4a: mean latency of placement schemes over the share of places that have an edge.
//!
//! Every place has an edge that can be used, as in the paper. In each round clients are scattered over the homes by chance; each scheme
//! then takes so many places, and every client is served by the nearest of them and the cloud.

use edge_placement::{
    Algorithm, Effort, Problem, SolveError, evaluate, optimal_costs, rank, solve,
};

use super::estimate::Estimate;
use super::places::{Places, PlacesError};
use crate::population::{Population, Skew};
use crate::random::Random;

/// A scheme of the figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// The paper's random one.
    Random,
    /// The paper's greedy one: most clients.
    Greedy,
    /// The paper's: betweenness, by Freeman's definition.
    Centrality,
    /// Betweenness weighted by clients, ties to places nearer to them: what the text of the paper asks for.
    Weighted,
    /// Ours: what saves most, one after the other.
    Saving,
    /// The best possible.
    Optimum,
}

impl Scheme {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Random,
        Self::Greedy,
        Self::Centrality,
        Self::Weighted,
        Self::Saving,
        Self::Optimum,
    ];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Greedy => "greedy (most clients)",
            Self::Centrality => "betweenness",
            Self::Weighted => "betweenness by demand",
            Self::Saving => "ours: saving",
            Self::Optimum => "optimum",
        }
    }

    /// The algorithm behind it; the seed is for the random one.
    const fn algorithm(self, seed: u64) -> Algorithm {
        match self {
            Self::Random => Algorithm::Random { seed },
            Self::Greedy => Algorithm::MostClients,
            Self::Centrality => Algorithm::Freeman,
            Self::Weighted => Algorithm::Betweenness,
            Self::Saving => Algorithm::Celf,
            Self::Optimum => Algorithm::Exact,
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// How many.
    pub rounds: u32,
    /// Clients in each.
    pub clients: u64,
    /// Seed of all of them.
    pub seed: u64,
}

/// A scheme's mean latency at each share.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemeCurve {
    /// The scheme.
    pub scheme: Scheme,
    /// Numbers of sites, ascending.
    pub sites: Vec<usize>,
    /// Milliseconds over the rounds, for each number of sites.
    pub ms: Vec<Estimate>,
}

/// The figure.
#[derive(Clone, Debug, PartialEq)]
pub struct OverShare {
    /// One curve per scheme, in the order of [`Scheme::ALL`].
    pub curves: Vec<SchemeCurve>,
    /// Milliseconds with the cloud alone.
    pub cloud_ms: Estimate,
    /// Places that an edge may be at.
    pub hosts: usize,
    /// Of these, how many others' ways lead through.
    pub inner: usize,
}

/// A simulation cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimulationError {
    /// The network is of no use.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// A scheme failed.
    #[error("placement failed")]
    Solve(#[from] SolveError),
}

/// Runs it for these shares of the hosts, in percent; `tell` hears the number of rounds done.
///
/// # Errors
/// [`SimulationError`].
pub fn over_share(
    places: &Places,
    rounds: &Rounds,
    shares: &[u32],
    tell: impl FnMut(u32),
) -> Result<OverShare, SimulationError> {
    compare(places, rounds, shares, &Scheme::ALL, tell)
}

/// The same of some schemes only.
pub(crate) fn compare(
    places: &Places,
    rounds: &Rounds,
    shares: &[u32],
    schemes: &[Scheme],
    mut tell: impl FnMut(u32),
) -> Result<OverShare, SimulationError> {
    let hosts = places.hosts().len();
    let mut sites: Vec<usize> = shares.iter().map(|share| part(hosts, *share)).collect();
    sites.sort_unstable();
    sites.dedup();
    let mut by_round: Vec<(Scheme, Vec<Vec<f64>>)> = schemes
        .iter()
        .map(|scheme| (*scheme, vec![Vec::new(); sites.len()]))
        .collect();
    let mut cloud = Vec::new();
    for round in 0..rounds.rounds {
        tell(round);
        let mut random = Random::part(rounds.seed, u64::from(round));
        let problem = scattered(places, rounds.clients, &mut random)?;
        cloud.push(evaluate(&problem, &[]).mean_micros() / 1e3);
        let seed = random.next();
        for (scheme, values) in &mut by_round {
            let means = means(&problem, *scheme, seed, &sites)?;
            for (values, mean) in values.iter_mut().zip(means) {
                values.push(mean);
            }
        }
    }
    let curves = by_round.into_iter().map(|(scheme, values)| SchemeCurve {
        scheme,
        sites: sites.clone(),
        ms: values.iter().map(|rounds| Estimate::of(rounds)).collect(),
    });
    Ok(OverShare {
        curves: curves.collect(),
        cloud_ms: Estimate::of(&cloud),
        hosts,
        inner: places.inner_hosts(),
    })
}

/// A share of a count, rounded to the nearest; at most all.
pub(crate) fn part(count: usize, percent: u32) -> usize {
    ((count * percent as usize + 50) / 100).min(count)
}

/// Clients scattered over the homes by chance.
pub(crate) fn scattered(
    places: &Places,
    clients: u64,
    random: &mut Random,
) -> Result<Problem, PlacesError> {
    let population = Population::draw(places.homes().len(), clients, Skew::Uniform, random.next());
    places.problem(&population.clients)
}

/// Mean milliseconds of a scheme with so many sites.
fn means(
    problem: &Problem,
    scheme: Scheme,
    seed: u64,
    sites: &[usize],
) -> Result<Vec<f64>, SolveError> {
    let algorithm = scheme.algorithm(seed);
    let means: Result<Vec<f64>, SolveError> = match scheme {
        Scheme::Random | Scheme::Greedy | Scheme::Centrality | Scheme::Weighted => {
            let order = rank(problem, algorithm);
            let taken = sites
                .iter()
                .map(|count| evaluate(problem, &order[..*count]));
            Ok(taken.map(|solution| solution.mean_micros()).collect())
        }
        Scheme::Saving => sites
            .iter()
            .map(|count| {
                let limited = problem.clone().at_most(*count);
                Ok(solve(&limited, algorithm, Effort(0))?.mean_micros())
            })
            .collect(),
        Scheme::Optimum => {
            let most = sites.iter().max().copied().unwrap_or(0);
            let effort = Effort(u64::MAX);
            let costs = optimal_costs(problem, most, effort).ok_or(SolveError::NeedsTree)?;
            let demand = problem.total_demand().max(1) as f64;
            // They end where more sites help no more.
            let cost = |count: &usize| costs.get(*count).or(costs.last()).copied().unwrap_or(0);
            Ok(sites
                .iter()
                .map(|count| cost(count) as f64 / demand)
                .collect())
        }
    };
    Ok(means?.into_iter().map(|micros| micros / 1e3).collect())
}

impl OverShare {
    /// Numbers of sites of a scheme with its means, ascending.
    fn curve(&self, scheme: Scheme) -> impl Iterator<Item = (usize, f64)> {
        let curve = self
            .curves
            .iter()
            .filter(move |curve| curve.scheme == scheme);
        curve.flat_map(|curve| {
            let means = curve.ms.iter().map(|estimate| estimate.mean);
            curve.sites.iter().copied().zip(means)
        })
    }

    /// A number of sites as a share of all hosts, in percent.
    pub fn percent(&self, sites: usize) -> f64 {
        100.0 * sites as f64 / self.hosts as f64
    }

    /// Mean of a scheme in milliseconds at this share of the hosts in percent; `None` if it was not asked for.
    pub fn at(&self, scheme: Scheme, percent: u32) -> Option<f64> {
        let wanted = part(self.hosts, percent);
        let mut curve = self.curve(scheme);
        curve
            .find(|(sites, _)| *sites == wanted)
            .map(|(_, mean)| mean)
    }

    /// The least share in percent from which on one scheme is never slower than another; `None` if it is at the end.
    pub fn overtakes(&self, one: Scheme, other: Scheme) -> Option<f64> {
        let mut first = None;
        for ((sites, one), (_, other)) in self.curve(one).zip(self.curve(other)) {
            if one > other {
                first = None;
            } else {
                first = first.or(Some(sites));
            }
        }
        first.map(|sites| self.percent(sites))
    }

    /// The least share in percent at which a scheme's mean is at most so many milliseconds.
    pub fn reaches(&self, scheme: Scheme, ms: f64) -> Option<f64> {
        let mut curve = self.curve(scheme);
        curve
            .find(|(_, mean)| *mean <= ms)
            .map(|(sites, _)| self.percent(sites))
    }
}

#[cfg(test)]
mod tests;
