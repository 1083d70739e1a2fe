//! The order in which a client tries the targets of an SRV answer (RFC 2782).
//!
//! The RFC's recipe, read to the letter with weight-0 targets first, favours whoever stands first: weights {1, 1} give
//! 2/3 and 1/3. "In any order" is allowed, so equal-priority targets are shuffled before every running sum, which makes
//! equal weights fair. The orchestrator wants all sites of a zone, not one, and does not use this.

use crate::question::SrvRecord;

/// Indices into `records` in the order to try them.
///
/// `random(bound)` must give a uniform number from 0 to `bound`, both included; larger results are taken modulo.
pub fn weighted_order(records: &[SrvRecord], mut random: impl FnMut(u32) -> u32) -> Vec<usize> {
    let mut uniform = |bound: u32| u64::from(random(bound)) % (u64::from(bound) + 1);
    let mut rest: Vec<usize> = (0..records.len()).collect();
    rest.sort_by_key(|&index| records[index].priority);
    let mut order = Vec::with_capacity(rest.len());
    for mut group in rest
        .chunk_by(|&a, &b| records[a].priority == records[b].priority)
        .map(<[usize]>::to_vec)
    {
        while !group.is_empty() {
            for last in (1..group.len()).rev() {
                let bound = u32::try_from(last).unwrap_or(u32::MAX);
                let other = usize::try_from(uniform(bound)).unwrap_or(last);
                group.swap(last, other);
            }
            let sum: u32 = group.iter().fold(0, |sum: u32, &index| {
                sum.saturating_add(records[index].weight.into())
            });
            let pick = uniform(sum);
            let mut running = 0;
            let chosen = group
                .iter()
                .position(|&index| {
                    running += u64::from(records[index].weight);
                    running >= pick
                })
                .unwrap_or(0);
            order.push(group.remove(chosen));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::AnswerName;
    use proptest::prelude::*;

    fn record(priority: u16, weight: u16) -> SrvRecord {
        SrvRecord {
            priority,
            weight,
            port: 80,
            target: AnswerName::Root,
        }
    }

    fn generator(mut state: u64) -> impl FnMut(u32) -> u32 {
        move |bound| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let value = (state >> 33) % (u64::from(bound) + 1);
            u32::try_from(value).unwrap()
        }
    }

    fn share_of_first(weights: &[u16]) -> f64 {
        let records: Vec<_> = weights.iter().map(|&weight| record(1, weight)).collect();
        let mut random = generator(7);
        let draws = 40_000;
        let hits = (0..draws)
            .filter(|_| weighted_order(&records, &mut random)[0] == 0)
            .count();
        hits as f64 / f64::from(draws)
    }

    #[test]
    fn equal_weights_get_equal_shares() {
        assert!((share_of_first(&[1, 1]) - 0.5).abs() < 0.02);
        assert!((share_of_first(&[0, 0, 0]) - 1.0 / 3.0).abs() < 0.02);
        assert!((share_of_first(&[10, 30]) - 0.25).abs() < 0.02);
    }

    #[test]
    fn lower_priorities_come_first() {
        let records = [record(20, 9), record(10, 0), record(10, 0), record(5, 0)];
        let order = weighted_order(&records, generator(1));
        assert_eq!((order[0], order[3]), (3, 0));
    }

    proptest! {
        #[test]
        fn every_target_comes_once(
            fields in prop::collection::vec((any::<u16>(), any::<u16>()), 0..20),
            numbers in prop::collection::vec(any::<u32>(), 1..8),
        ) {
            let records: Vec<_> = fields.into_iter().map(|(p, w)| record(p % 3, w)).collect();
            let mut numbers = numbers.into_iter().cycle();
            let mut order = weighted_order(&records, |_| numbers.next().unwrap_or(0));
            prop_assert!(order.is_sorted_by_key(|&index| records[index].priority));
            order.sort_unstable();
            prop_assert_eq!(order, (0..records.len()).collect::<Vec<_>>());
        }
    }
}
