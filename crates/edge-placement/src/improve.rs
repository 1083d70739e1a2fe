//! Local improvement: one site given back, exchanged or added, as long as that helps.

use crate::algorithm::Effort;
use crate::celf::{complete, useful};
use crate::problem::Problem;
use crate::reach::Reach;
use crate::solution::evaluate;

/// Exchanges sites one by one while the cost shrinks and the effort lasts.
///
/// For each site that could come in it is known at once what it saves beside all that are chosen, and for each that could go
/// what its clients lose; only the promising exchanges are evaluated in full.
pub(crate) fn improve(
    problem: &Problem,
    reach: &Reach,
    mut chosen: Vec<usize>,
    effort: Effort,
) -> Vec<usize> {
    let sites = problem.sites();
    let round = (reach.pairs() + reach.clients.len()) as u64 * 2;
    let mut left = effort.0 / 8;
    let cost = |chosen: &[usize]| {
        let solution = evaluate(problem, chosen);
        (solution.cost(), solution.price)
    };
    let evaluation = if problem.is_plain() {
        problem.network().len() as u64 * 4
    } else {
        round * 2
    };
    let mut best = cost(&chosen);
    while left > round {
        left -= round;
        let exchanges = Exchanges::new(problem, reach, &chosen);
        let found = exchanges.ranked().into_iter().find_map(|(out, into)| {
            left = left.checked_sub(evaluation)?;
            let mut other = chosen.clone();
            if let Some(out) = out {
                other.retain(|site| *site != out);
            }
            other.extend(into);
            let price = other
                .iter()
                .try_fold(0u128, |sum, site| sum.checked_add(sites[*site].price))?;
            if other.len() > problem.limits().sites || price > problem.limits().budget {
                return None;
            }
            let value = cost(&other);
            (value < best).then_some((value, other))
        });
        let Some((value, other)) = found else { break };
        best = value;
        chosen = useful(problem, &other);
        if chosen.len() < other.len() {
            chosen = complete(problem, Some(reach), &chosen);
            best = cost(&chosen);
        }
    }
    chosen.sort_unstable();
    chosen
}

/// What every single exchange would come to, without capacities.
struct Exchanges<'a> {
    problem: &'a Problem,
    chosen: &'a [usize],
    /// By site: what it would save beside those chosen.
    gains: Vec<i128>,
    /// By chosen site: what its clients lose without it.
    losses: Vec<i128>,
    /// By chosen site, by other site: what of the loss the other makes good.
    made_good: Vec<std::collections::BTreeMap<u32, i128>>,
}

impl<'a> Exchanges<'a> {
    fn new(problem: &'a Problem, reach: &Reach, chosen: &'a [usize]) -> Self {
        let mut at = vec![usize::MAX; problem.sites().len()];
        for (position, site) in chosen.iter().enumerate() {
            at[*site] = position;
        }
        let mut exchanges = Self {
            problem,
            chosen,
            gains: vec![0; problem.sites().len()],
            losses: vec![0; chosen.len()],
            made_good: vec![std::collections::BTreeMap::new(); chosen.len()],
        };
        for (index, client) in reach.clients.iter().enumerate() {
            let demand = i128::from(client.demand);
            let servers = reach.servers(index);
            let mut open = servers
                .iter()
                .filter(|(_, site)| at[*site as usize] < usize::MAX);
            let first = open.next();
            let second = open.next().map_or(client.cloud, |(micros, _)| *micros);
            let now = first.map_or(client.cloud, |(micros, _)| *micros);
            let lost = i128::from(second - now) * demand;
            if let Some((_, site)) = first {
                exchanges.losses[at[*site as usize]] += lost;
            }
            for (micros, site) in servers {
                if *micros >= second {
                    break;
                }
                if *micros < now {
                    exchanges.gains[*site as usize] += i128::from(now - micros) * demand;
                }
                if let Some((_, first)) = first
                    && at[*site as usize] == usize::MAX
                {
                    // Counted from the second: what lies beyond the first is in the gains already.
                    let good = i128::from(second - (*micros).max(now)) * demand;
                    *exchanges.made_good[at[*first as usize]]
                        .entry(*site)
                        .or_default() += good;
                }
            }
        }
        exchanges
    }

    /// Exchanges that would help if nothing else changed, the best first: what goes, and what comes. With capacities all numbers
    /// are optimistic or pessimistic guesses, so the best few are given in any case.
    fn ranked(&self) -> Vec<(Option<usize>, Option<usize>)> {
        let sites = self.problem.sites();
        let rent = |site: usize| i128::try_from(sites[site].rent).unwrap_or(i128::MAX);
        let mut all = Vec::new();
        for (into, gain) in self.gains.iter().enumerate() {
            if *gain > 0 && !self.chosen.contains(&into) {
                all.push((gain - rent(into), None, Some(into)));
            }
        }
        for (position, out) in self.chosen.iter().enumerate() {
            let without = rent(*out) - self.losses[position];
            all.push((without, Some(*out), None));
            for (into, good) in &self.made_good[position] {
                let into = *into as usize;
                let value = without + self.gains[into] - rent(into) + good;
                all.push((value, Some(*out), Some(into)));
            }
        }
        if self.problem.has_capacities() {
            all.sort_by_key(|(value, out, into)| (std::cmp::Reverse(*value), *out, *into));
            all.truncate(64);
        } else {
            all.retain(|(value, _, _)| *value > 0);
            all.sort_by_key(|(value, out, into)| (std::cmp::Reverse(*value), *out, *into));
        }
        all.into_iter().map(|(_, out, into)| (out, into)).collect()
    }
}
