//! The optimum on trees, by dynamic programming.
//!
//! ## Model
//! A tree; sites that hang on its nodes; every client takes the nearest chosen site that may serve it, or the cloud. Any-nearest:
//! wherever the site is. On-path: only if the site's node is on the client's way from the cloud; that also works on graphs,
//! whose shortest ways from the cloud are a tree.
//!
//! ## Symbols
//! `T(v, r)`: least cost at and behind `v` if `v` is served by `r` from outside or at `v`, not counting `r` itself;
//! `F(v, r)`: the same for an `r` behind `v`; `best(v)`: least cost at and behind `v` if `v` is served by a site of
//! its own, counting that. Each is a row of costs by what the sites behind `v` take of the limits (`algebra`).
//!
//! ## Rule
//! `T(v, r) = demand(v) · rtt(v, r) ⊕ Σ min(T(c, r), best(c))` over children `c`, where `⊕ Σ` adds up costs for every way to
//! divide the limits; `F(v, r)` is the same, but the child towards `r` has to be served by `r`, too. `best(v)` is the least of all `r`
//! behind or at `v`; on-path, at `v`. What is no nearer than the cloud to `v` is no nearer to anything reached through `v`.
//!
//! ## Why this rule
//! The clients that take a site are one connected part of the tree, since the way of all to it leads through each other's
//! nodes. So only the site of a node and that of its parent have to be known together.
//!
//! ## Cost
//! Every pair of a site and a node is looked at once: O(nodes · sites) without limits, times the length of rows with. On-path
//! only pairs of a site and a node behind it. Memory O(nodes · length of rows): rows of one site are made again when
//! the solution is read off.
//!
//! ## Determinism
//! Whole numbers; the first of equals in a fixed order.
//!
//! ## Source
//! Kariv and Hakimi 1979, Tamir 1996 (medians of trees); Li et al. 1999, Vigneron et al. 2000 (on-path); rows by pairs, and the
//! reading off, are ours.

mod algebra;
mod arena;
mod engine;

use crate::algorithm::{Algorithm, Effort};
use crate::problem::Problem;
use crate::solution::{Bound, Proof, Solution, evaluate};
use algebra::{Counted, Free, Frontier, Number};
use arena::Arena;
use engine::Engine;

/// Longest rows of budgets; above that, rows of combinations that are not dominated.
const LONGEST_ROW: u128 = 4096;

/// The optimum; `None` if that takes more than the effort. For plain problems on trees, or on-path.
pub(crate) fn optimum(problem: &Problem, effort: Effort) -> Option<Solution> {
    let arena = Arena::new(problem);
    let chosen = if fits_u64(problem) {
        choose::<u64>(problem, &arena, effort)
    } else {
        choose::<u128>(problem, &arena, effort)
    }?;
    let mut solution = evaluate(problem, &chosen);
    solution.algorithm = Algorithm::Exact;
    solution.bound = Some(Bound {
        at_least: solution.cost(),
        proof: Proof::Exact,
    });
    Some(solution)
}

/// Least costs of at most 0, 1, … `sites` sites, with no regard to [`crate::Limits`] and prices; it ends early where more
/// sites help no more. `None` as for [`crate::Algorithm::Exact`].
pub fn optimal_costs(problem: &Problem, sites: usize, effort: Effort) -> Option<Vec<u128>> {
    let is_tree = matches!(problem.network(), crate::Network::Tree(_));
    if !problem.is_plain() || !(is_tree || problem.service() == crate::Service::OnPath) {
        return None;
    }
    let free = problem.clone().with_limits(crate::Limits::NONE);
    let arena = Arena::new(&free);
    let counted = Counted::<u128>::new(vec![1; free.sites().len()], sites);
    let mut engine = Engine::new(&free, &arena, counted, effort);
    engine.solve()?;
    Some(engine.result().0)
}

/// Do all sums fit 62 bits?
fn fits_u64(problem: &Problem) -> bool {
    let rents = problem
        .sites()
        .iter()
        .fold(0u128, |sum, site| sum.saturating_add(site.rent));
    // A node may be served from as far as the margin allows, so never beyond the cloud's distance.
    problem.cloud_only().saturating_add(rents) < 1 << 62
}

fn choose<N: Number>(problem: &Problem, arena: &Arena, effort: Effort) -> Option<Vec<usize>> {
    let limits = problem.limits();
    let usable = arena.sites().map(|site| &problem.sites()[site]);
    let (mut number, mut prices, mut divisor) = (0usize, 0u128, 0u128);
    for site in usable {
        number += 1;
        prices = prices.saturating_add(site.price);
        divisor = gcd(divisor, site.price);
    }
    let (few, poor) = (number > limits.sites, prices > limits.budget);
    let sites = problem.sites();
    if !few && !poor {
        let free = Free::<N>::new();
        return Engine::new(problem, arena, free, effort).chosen();
    }
    if !poor {
        let counted = Counted::<N>::new(vec![1; sites.len()], limits.sites);
        return Engine::new(problem, arena, counted, effort).chosen();
    }
    let length = limits.budget / divisor.max(1);
    if !few && length < LONGEST_ROW {
        let weights = sites.iter().map(|site| {
            let weight = site.price / divisor.max(1);
            usize::try_from(weight).unwrap_or(usize::MAX)
        });
        let length = usize::try_from(length).ok()?;
        let counted = Counted::<N>::new(weights.collect(), length);
        return Engine::new(problem, arena, counted, effort).chosen();
    }
    let frontier = Frontier::<N>::new(limits, few, effort.0);
    Engine::new(problem, arena, frontier, effort).chosen()
}

const fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}
