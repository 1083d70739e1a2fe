//! By which rule the requests of one service are spread over a tree and its sites.
//!
//! The rule, fixed before anything was measured with it:
//!
//! 1. One million inhabitants live at the tree's clients; the client of rank r gets each of them with a probability proportional to
//!    r^-0.8, ranks drawn from the seed ([`Population`]).
//! 2. Sites are where the optimum for these inhabitants puts them, any client using the nearest ([`edge_placement::solve`]).
//! 3. All clients of a site live in one time zone, a whole number of hours from -3 to 3 off that of the trace, drawn from the seed.
//!    Those that no site serves live in the trace's own.
//! 4. In each minute the requests of the trace are divided in proportion to inhabitants × how much people ask for at that time of their
//!    day, the curve [`DAY`]. All clients together ask for what the trace says.
//! 5. To a client's part comes chance: its square root times a sum of twelve uniform numbers less six, rounded, and not below zero.
//! 6. The gain of a site in a minute is the sum over its clients of requests × microseconds that the site is nearer than the cloud.

use edge_placement::{Algorithm, Effort, Network, Problem, ProblemError, SolveError, Tree, solve};

use crate::population::{Population, Skew};
use crate::random::Random;

/// How much people ask for at each full hour of their day, in percent of the busiest; straight lines between.
pub(super) const DAY: [u64; 24] = [
    40, 30, 24, 20, 20, 24, 32, 44, 58, 70, 80, 86, 90, 94, 96, 98, 100, 100, 98, 96, 92, 84, 72,
    56,
];

/// Inhabitants of the tree.
const INHABITANTS: u64 = 1_000_000;

/// Exponent of the clients' inhabitants.
const SKEW: f64 = 0.8;

/// Hours that a time zone is off the trace's at most.
const FURTHEST_ZONE: usize = 3;

/// More requests in a minute, and more inhabitants of a place, count as this, so that all products fit.
const MOST: u64 = 1 << 40;

/// A client of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its inhabitants.
    pub inhabitants: u64,
    /// The site that serves it, by position; `None` for the cloud.
    pub site: Option<usize>,
    /// Microseconds that the site is nearer than the cloud.
    pub saved_micros: u64,
    /// Minutes by which its day is earlier than the trace's, 0 to 1439.
    pub zone_minutes: usize,
}

/// A tree with its clients and sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// The clients.
    pub places: Vec<Place>,
    /// Number of sites.
    pub sites: usize,
}

/// No scene could be made of a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SceneError {
    /// It is no placement problem.
    #[error("putting inhabitants on the tree")]
    Problem(#[from] ProblemError),
    /// No sites were found.
    #[error("choosing sites on the tree")]
    Solve(#[from] SolveError),
}

impl Scene {
    /// Rules 1 to 3 for a tree, the nodes of it that are clients, and a number of sites.
    ///
    /// # Errors
    /// [`SceneError`], if the tree is out of the range of placement.
    pub fn new(
        tree: &Tree,
        clients: &[usize],
        sites: usize,
        seed: u64,
    ) -> Result<Self, SceneError> {
        let skew = Skew::Zipf { exponent: SKEW };
        let inhabitants = Population::draw(clients.len(), INHABITANTS, skew, seed).clients;
        let mut demand = vec![0; tree.len()];
        for (client, inhabitants) in clients.iter().zip(&inhabitants) {
            if let Some(demand) = demand.get_mut(*client) {
                *demand += inhabitants;
            }
        }
        let network = Network::Tree(tree.clone());
        let problem = Problem::new(network, demand)?.at_most(sites);
        let solution = solve(&problem, Algorithm::Auto, Effort::default())?;
        let mut random = Random::part(seed, 1);
        let zones: Vec<usize> = solution
            .chosen
            .iter()
            .map(|_| {
                (1440 + random.position(2 * FURTHEST_ZONE + 1) * 60 - FURTHEST_ZONE * 60) % 1440
            })
            .collect();
        let distances: Vec<Vec<u64>> = solution
            .chosen
            .iter()
            .map(|site| problem.network().distances(problem.sites()[*site].node))
            .collect();
        let cloud = problem.network().round_trips();
        let places = clients
            .iter()
            .zip(inhabitants)
            .map(|(client, inhabitants)| {
                let serving = solution.serving.get(*client).copied().flatten();
                let site = serving.and_then(|site| solution.chosen.binary_search(&site).ok());
                let saved =
                    site.map(|site| cloud[*client].saturating_sub(distances[site][*client]));
                Place {
                    inhabitants,
                    site,
                    saved_micros: saved.unwrap_or(0),
                    zone_minutes: site.map_or(0, |site| zones[site]),
                }
            });
        Ok(Self {
            places: places.collect(),
            sites: solution.chosen.len(),
        })
    }
}

/// How much people ask for at a minute of their day, in hundredths of a percent of the busiest.
fn busy(minute: usize) -> u64 {
    let hour = minute / 60 % 24;
    let part = (minute % 60) as u64;
    (DAY[hour] * (60 - part) + DAY[(hour + 1) % 24] * part) * 100 / 60
}

/// Rules 4 to 6: the gain of each site in each minute, for requests of a service by minute, the first of them at `first_minute` of a day.
pub fn site_gains(
    scene: &Scene,
    requests: &[u64],
    first_minute: usize,
    seed: u64,
) -> Vec<Vec<u64>> {
    let mut gains = vec![vec![0_u64; requests.len()]; scene.sites];
    let mut random = Random::part(seed, 2);
    for (minute, requests) in requests.iter().enumerate() {
        let share = |place: &Place| {
            let local = (first_minute + minute + place.zone_minutes) % 1440;
            u128::from(place.inhabitants.min(MOST)) * u128::from(busy(local))
        };
        let all: u128 = scene.places.iter().map(share).sum();
        if all == 0 {
            continue;
        }
        for place in &scene.places {
            // Thousandths of a request.
            let part = u128::from((*requests).min(MOST)) * 1000 * share(place) / all;
            let asked = by_chance(u64::try_from(part).unwrap_or(u64::MAX), &mut random);
            if let Some(site) = place.site {
                let gain = &mut gains[site][minute];
                *gain = gain.saturating_add(asked.saturating_mul(place.saved_micros));
            }
        }
    }
    gains
}

/// Rule 5, for thousandths of a request.
fn by_chance(thousandths: u64, random: &mut Random) -> u64 {
    let mut sum = 0;
    for _ in 0..3 {
        // Four numbers of 16 bits each.
        let bits = random.next();
        sum += (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
    }
    // The deviation of a count of n is √n; of n in thousandths, √(1000 n).
    let deviation = i128::from(thousandths.saturating_mul(1000).isqrt());
    let off = deviation * (i128::from(sum) - 6 * 0xffff) / 0xffff;
    let asked = (i128::from(thousandths) + off + 500) / 1000;
    u64::try_from(asked.max(0)).unwrap_or(u64::MAX)
}
