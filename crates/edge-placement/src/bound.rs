//! Proofs of how good a solution is: what no solution within the limits can be better than.
//!
//! ## Model
//! Saving as a facility location programme: `max Σ saving(c, s) x(c, s) - Σ rent(s) y(s)`, where each client is served once, only
//! by sites that are open, and the open ones keep within the limits.
//!
//! ## Rule
//! For any multipliers `λ(c) ≥ 0`, no solution saves more than `Σ λ(c)` and what the sites that fit are worth beyond it, where a site
//! is worth `Σ max(0, saving(c, s) - λ(c)) - rent(s)`. With `λ` the savings of a solution at hand, that is the bound by
//! submodularity; steps along the subgradient bring it down to the bound of the linear programme. Of sites limited in number
//! the worthiest are taken, of sites limited by a budget the worthiest per price and a part of the last; with both limits the
//! smaller sum counts. A site with a capacity is worth what the clients are that fill it with most worth per demand, and a part
//! of the last, none of whom asks more than the capacity.
//!
//! ## Determinism
//! Multipliers are whole numbers, so the bound is exact whatever steps led to it; steps use only the four operations of IEEE 754.
//!
//! ## Source
//! Fisher 1981 (Lagrangian relaxation); Held, Wolfe and Crowder 1974 (steps); Leskovec et al. 2007 (online bound).

use std::cmp::Reverse;

use crate::algorithm::Effort;
use crate::celf::Greedy;
use crate::problem::Problem;
use crate::ratio::compare_ratios;
use crate::reach::Reach;
use crate::solution::{Bound, Proof, Solution};

/// Most steps along the subgradient.
const STEPS: u64 = 400;

/// Steps without a better bound after which they are halved.
const PATIENCE: u32 = 12;

/// The best bound that the effort allows.
pub(crate) fn certify(
    problem: &Problem,
    reach: Option<&Reach>,
    greedy: &Greedy,
    solution: &Solution,
    effort: Effort,
) -> Bound {
    let cloud_only = solution.cloud_only;
    let bound = |saved: u128, proof| Bound {
        at_least: cloud_only.saturating_sub(saved),
        proof,
    };
    let Some(reach) = reach else {
        // What was saved by the greedy run, and what others could add to that.
        let saved = crate::solution::evaluate(problem, &greedy.chosen);
        let saved = cloud_only - saved.latency;
        let worth = worths(problem, |site| greedy.further[site]);
        return bound(saved + fitting(problem, &worth), Proof::Submodular);
    };
    let value_of = |saved: u128| cloud_only.saturating_sub(saved);
    let steps = (effort.0 / 4 / (reach.pairs() as u64 + 1)).min(STEPS);
    let reached = cloud_only.saturating_sub(solution.cost());
    let mut dual = Dual::new(problem, reach, solution);
    let first = dual.value();
    let mut least = first;
    let (mut scale, mut since) = (1.0f64, 0u32);
    for _ in 0..steps {
        if value_of(least) >= solution.cost() {
            break;
        }
        dual.step(scale, reached);
        let value = dual.value();
        if value < least {
            least = value;
            since = 0;
        } else {
            since += 1;
            if since >= PATIENCE {
                (scale, since) = (scale / 2.0, 0);
            }
        }
    }
    let proof = if least < first {
        Proof::Dual
    } else {
        Proof::Submodular
    };
    bound(least, proof)
}

/// What each site is worth beyond its rent, where that is anything.
fn worths(problem: &Problem, gain: impl Fn(usize) -> u128) -> Vec<(u128, u128, usize)> {
    let sites = problem.sites().iter().enumerate();
    sites
        .filter(|(_, site)| site.price <= problem.limits().budget)
        .map(|(at, site)| (gain(at).saturating_sub(site.rent), site.price, at))
        .filter(|(worth, _, _)| *worth > 0)
        .collect()
}

/// The most that sites of these worths, each with its price, could be worth together within the limits.
fn fitting(problem: &Problem, worth: &[(u128, u128, usize)]) -> u128 {
    selected(problem, worth).0
}

/// The same, and the sites taken as a whole by the tighter of the limits.
fn selected(problem: &Problem, worth: &[(u128, u128, usize)]) -> (u128, Vec<usize>) {
    let limits = problem.limits();
    let mut by_worth: Vec<_> = worth.to_vec();
    if by_worth.len() > limits.sites {
        by_worth.sort_by_key(|(worth, _, site)| (Reverse(*worth), *site));
        by_worth.truncate(limits.sites);
    }
    let of_number = by_worth.iter().map(|(worth, _, _)| worth).sum();
    let number = || by_worth.iter().map(|(_, _, site)| *site).collect();
    let prices = worth
        .iter()
        .fold(0u128, |sum, (_, price, _)| sum.saturating_add(*price));
    if prices <= limits.budget {
        return (of_number, number());
    }
    let mut by_ratio: Vec<_> = worth.to_vec();
    by_ratio.sort_by(|a, b| compare_ratios((b.0, b.1), (a.0, a.1)).then(a.2.cmp(&b.2)));
    let (mut left, mut of_budget, mut taken) = (limits.budget, 0u128, Vec::new());
    for (worth, price, site) in by_ratio {
        if price <= left {
            left -= price;
            of_budget += worth;
            taken.push(site);
        } else {
            of_budget += part(worth, left, price);
            break;
        }
    }
    if of_budget < of_number {
        (of_budget, taken)
    } else {
        (of_number, number())
    }
}

/// `worth · left / price`, rounded up, where `left < price`.
fn part(worth: u128, left: u128, price: u128) -> u128 {
    match worth.checked_mul(left) {
        Some(product) => product.div_ceil(price),
        // Too large to multiply: the whole is no less.
        None => worth,
    }
}

struct Dual<'a> {
    problem: &'a Problem,
    reach: &'a Reach,
    /// By client, in microseconds × thousandths of a request per second.
    multipliers: Vec<u128>,
    /// By client, how often the last value served it.
    served: Vec<u32>,
    last: u128,
}

impl<'a> Dual<'a> {
    fn new(problem: &'a Problem, reach: &'a Reach, solution: &Solution) -> Self {
        let micros = reach.services(&solution.serving);
        let multipliers = reach
            .clients
            .iter()
            .map(|client| {
                let saved = client.cloud - micros[client.node];
                u128::from(saved) * u128::from(client.demand)
            })
            .collect();
        Self {
            problem,
            reach,
            multipliers,
            served: vec![0; reach.clients.len()],
            last: 0,
        }
    }

    /// Clients for whom a site saves more than their multiplier, and how much more.
    fn beyond(&self, site: usize) -> impl Iterator<Item = (u128, usize)> {
        self.reach.sites[site]
            .iter()
            .filter_map(|(client, micros)| {
                let saving = self.reach.saving(*client, *micros);
                let worth = saving.checked_sub(self.multipliers[*client as usize])?;
                (worth > 0).then_some((worth, *client as usize))
            })
    }

    /// The most that clients within a capacity are worth to a site, and those who are served whole.
    fn filled(&self, site: usize, capacity: u64) -> (u128, Vec<usize>) {
        let demand = |client: usize| self.reach.clients[client].demand;
        let fits = self
            .beyond(site)
            .filter(|(_, client)| demand(*client) <= capacity);
        let mut by_ratio: Vec<_> = fits
            .map(|(worth, client)| (worth, u128::from(demand(client)), client))
            .collect();
        by_ratio.sort_by(|a, b| compare_ratios((b.0, b.1), (a.0, a.1)).then(a.2.cmp(&b.2)));
        let (mut left, mut sum, mut served) = (u128::from(capacity), 0, Vec::new());
        for (worth, demand, client) in by_ratio {
            if demand > left {
                sum += part(worth, left, demand);
                break;
            }
            left -= demand;
            sum += worth;
            served.push(client);
        }
        (sum, served)
    }

    /// Value at the multipliers: no solution saves more.
    fn value(&mut self) -> u128 {
        let worth = worths(self.problem, |site| {
            match self.problem.sites()[site].capacity {
                None => self.beyond(site).map(|(worth, _)| worth).sum(),
                Some(capacity) => self.filled(site, capacity).0,
            }
        });
        let (value, taken) = selected(self.problem, &worth);
        let mut served = vec![0; self.served.len()];
        for site in taken {
            match self.problem.sites()[site].capacity {
                None => self
                    .beyond(site)
                    .for_each(|(_, client)| served[client] += 1),
                Some(capacity) => {
                    let (_, clients) = self.filled(site, capacity);
                    clients.into_iter().for_each(|client| served[client] += 1);
                }
            }
        }
        self.served = served;
        self.last = value + self.multipliers.iter().sum::<u128>();
        self.last
    }

    /// Raises multipliers of clients served more than once and lowers those of clients not served.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and any whole number is a valid multiplier"
    )]
    fn step(&mut self, scale: f64, reached: u128) {
        let length: f64 = self
            .served
            .iter()
            .map(|served| (f64::from(*served) - 1.0) * (f64::from(*served) - 1.0))
            .sum();
        if length == 0.0 {
            return;
        }
        let step = scale * self.last.saturating_sub(reached) as f64 / length;
        for (multiplier, served) in self.multipliers.iter_mut().zip(&self.served) {
            let change = step * (f64::from(*served) - 1.0);
            *multiplier = if change >= 0.0 {
                multiplier.saturating_add(change as u128)
            } else {
                multiplier.saturating_sub(-change as u128)
            };
        }
    }
}
