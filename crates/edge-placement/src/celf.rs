//! Greedy placement: the site that saves most next, one after the other, alone or per price.
//!
//! ## Model
//! The value of a set of sites is the client time that it saves against the cloud alone, per second of wall time, less rents.
//!
//! ## Symbols
//! `f(S) = Σ demand(c) · (rtt(c, cloud) - rtt(c, S ∪ cloud))` in microseconds × thousandths of a request per second;
//! `gain(s | S) = f(S ∪ s) - f(S) - rent(s)`; `price(s)` in units of the budget.
//!
//! ## Rule
//! Two greedy runs within the limits: one adds the site with the largest gain, the other the one with the largest gain per
//! price. The better of the two counts; on a tie the cheaper, then the first. Equal gains go to the lower price, then
//! the earlier site. Sites that others have made useless are given back, and what does then fit is added.
//!
//! ## Why this rule
//! `f` is monotone and submodular, so with a limit on the number of sites alone and no rents the greedy run reaches at least
//! 1 - 1/e (63 %) of the best saving, and with a budget alone the better run at least half of that; in practice both are
//! within a few percent. Gain without price wastes the budget on dear sites; gain per price alone may miss one large site.
//!
//! ## Limits
//! The bounds are on the saving, not on the latency that remains, and do not hold for both limits at once, nor with
//! capacities.
//!
//! ## Cost
//! Lazy: a gain only shrinks as sites are added, so a site whose old gain is already too small is not looked at again.
//!
//! ## Determinism
//! Whole numbers, exact fractions; every comparison ends in the site's position.
//!
//! ## Source
//! Nemhauser, Wolsey and Fisher 1978 (the bound); Leskovec et al. 2007 (CELF: lazy, and the better of two runs).

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::gains::{Gains, gains};
use crate::problem::Problem;
use crate::ratio::compare_ratios;
use crate::reach::Reach;
use crate::solution::evaluate;

/// What a greedy run maximises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Gain,
    GainPerPrice,
}

/// What a greedy run came to.
#[derive(Clone, Debug)]
pub(crate) struct Greedy {
    /// Ascending.
    pub(crate) chosen: Vec<usize>,
    /// What no site can add to the chosen ones more than, by site, rents not taken off; 0 for these.
    pub(crate) further: Vec<u128>,
}

/// The better of both greedy runs.
pub(crate) fn choose(problem: &Problem, reach: Option<&Reach>) -> Greedy {
    let by_gain = greedy(problem, reach, Goal::Gain);
    if problem.sites().iter().all(|site| site.price == 0) {
        return by_gain;
    }
    let by_ratio = greedy(problem, reach, Goal::GainPerPrice);
    let value = |greedy: &Greedy| {
        let solution = evaluate(problem, &greedy.chosen);
        (solution.cost(), solution.price)
    };
    if value(&by_ratio) < value(&by_gain) {
        by_ratio
    } else {
        by_gain
    }
}

/// Adds sites to these until nothing more helps, and gives back those that became useless.
pub(crate) fn complete(problem: &Problem, reach: Option<&Reach>, chosen: &[usize]) -> Vec<usize> {
    extend(problem, reach, Goal::Gain, chosen.to_vec(), None).chosen
}

fn greedy(problem: &Problem, reach: Option<&Reach>, goal: Goal) -> Greedy {
    let alone = gains(problem, reach).alone(problem.sites().len());
    extend(problem, reach, goal, Vec::new(), Some(alone))
}

fn extend(
    problem: &Problem,
    reach: Option<&Reach>,
    goal: Goal,
    mut chosen: Vec<usize>,
    mut known: Option<Vec<u128>>,
) -> Greedy {
    loop {
        let mut state = gains(problem, reach);
        for site in &chosen {
            state.add(*site);
        }
        let known = known
            .take()
            .unwrap_or_else(|| state.alone(problem.sites().len()));
        let before = chosen.clone();
        let further = run(problem, &mut *state, goal, &mut chosen, known);
        drop(state);
        let useful = useful(problem, &chosen);
        let is_done = useful.len() == chosen.len() || useful == before;
        chosen = useful;
        if is_done {
            return Greedy { chosen, further };
        }
    }
}

/// Those of the sites that serve anybody with demand, ascending.
pub(crate) fn useful(problem: &Problem, chosen: &[usize]) -> Vec<usize> {
    let solution = evaluate(problem, chosen);
    let mut serves = vec![false; problem.sites().len()];
    for (site, demand) in solution.serving.iter().zip(problem.demand()) {
        if let Some(site) = site
            && *demand > 0
        {
            serves[*site] = true;
        }
    }
    let mut chosen = solution.chosen;
    chosen.retain(|site| serves[*site]);
    chosen
}

/// Adds sites while they help and fit; what is known of the others' gains in the end.
fn run(
    problem: &Problem,
    state: &mut dyn Gains,
    goal: Goal,
    chosen: &mut Vec<usize>,
    known: Vec<u128>,
) -> Vec<u128> {
    let sites = problem.sites();
    let limits = problem.limits();
    let mut left = chosen.iter().fold(limits.budget, |left, site| {
        left.saturating_sub(sites[*site].price)
    });
    let mut further = known;
    for site in chosen.iter() {
        further[*site] = 0;
    }
    let entry = |site: usize, gain: u128| Entry {
        gain: gain.saturating_sub(sites[site].rent),
        price: sites[site].price,
        site,
        goal,
    };
    let mut heap: BinaryHeap<Entry> = further
        .iter()
        .enumerate()
        .filter(|(site, gain)| **gain > sites[*site].rent)
        .map(|(site, gain)| entry(site, *gain))
        .collect();
    while let Some(top) = heap.pop() {
        if chosen.len() >= limits.sites {
            break;
        }
        if top.price > left {
            continue;
        }
        let gain = state.gain(top.site);
        further[top.site] = gain;
        let now = entry(top.site, gain);
        if now.gain == 0 {
            continue;
        }
        if heap.peek().is_some_and(|next| *next > now) {
            heap.push(now);
            continue;
        }
        state.add(top.site);
        further[top.site] = 0;
        left -= top.price;
        chosen.push(top.site);
    }
    further
}

/// A site with the gain it had when last looked at; the greatest is the best.
#[derive(Clone, Copy, Debug)]
struct Entry {
    gain: u128,
    price: u128,
    site: usize,
    goal: Goal,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_goal = match self.goal {
            Goal::Gain => self.gain.cmp(&other.gain),
            Goal::GainPerPrice => {
                compare_ratios((self.gain, self.price), (other.gain, other.price))
            }
        };
        by_goal
            .then(self.gain.cmp(&other.gain))
            .then(other.price.cmp(&self.price))
            .then(Reverse(self.site).cmp(&Reverse(other.site)))
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
