//! The order in which a client tries the targets of an SRV answer (RFC 2782).
//!
//! The RFC's recipe, read to the letter with weight-0 targets first and a number from 0 to the sum inclusive, favours
//! whoever stands first: weights {1, 1} give 2/3 and 1/3, and even shuffled {1, 3} give 0.3 and 0.7. Drawing below the sum
//! makes every share exactly the target's part of it. Weight 0 counts as a thousandth of weight 1, the "very small chance"
//! that the RFC asks for. The orchestrator wants all sites of a zone, not one, and has no use for an order.

use crate::question::SrvRecord;

/// Parts of a share that weight 1 has; weight 0 has one.
const PARTS: u64 = 1000;

/// Indices into `records` in the order to try them: by priority, then at random by weight.
///
/// `random_below(bound)` must give a uniform number below `bound`, which is never 0; larger results are taken modulo.
pub fn weighted_order(
    records: &[SrvRecord],
    mut random_below: impl FnMut(u64) -> u64,
) -> Vec<usize> {
    let mut rest: Vec<usize> = (0..records.len()).collect();
    rest.sort_by_key(|&index| records[index].priority);
    let share = |index: usize| (u64::from(records[index].weight) * PARTS).max(1);
    let mut order = Vec::with_capacity(rest.len());
    while let Some(&first) = rest.first() {
        let group = rest.partition_point(|&i| records[i].priority == records[first].priority);
        let sum = rest[..group].iter().map(|&index| share(index)).sum();
        let mut left = random_below(sum) % sum;
        let chosen = rest[..group]
            .iter()
            .position(|&index| match left.checked_sub(share(index)) {
                Some(remaining) => {
                    left = remaining;
                    false
                }
                None => true,
            })
            .unwrap_or(0);
        order.push(rest.remove(chosen));
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

    /// How often each target comes first, over every number that can be drawn.
    fn shares(weights: &[u16]) -> Vec<u64> {
        let records: Vec<_> = weights.iter().map(|&weight| record(1, weight)).collect();
        let mut bound = 1;
        weighted_order(&records[..], |sum| {
            bound = bound.max(sum);
            0
        });
        let mut hits = vec![0; weights.len()];
        for number in 0..bound {
            let mut numbers = std::iter::once(number).chain(std::iter::repeat(0));
            hits[weighted_order(&records, |_| numbers.next().unwrap())[0]] += 1;
        }
        hits
    }

    #[test]
    fn each_share_is_exactly_its_part_of_the_sum() {
        assert_eq!(shares(&[1, 1]), [1000, 1000]);
        assert_eq!(shares(&[1, 3]), [1000, 3000]);
        assert_eq!(shares(&[3, 1]), [3000, 1000]);
        assert_eq!(shares(&[10, 30]), [10_000, 30_000]);
        assert_eq!(shares(&[0, 0, 0]), [1, 1, 1]);
        assert_eq!(shares(&[0, 1, 1]), [1, 1000, 1000]);
    }

    #[test]
    fn later_places_are_shared_by_weight_too() {
        let records = [record(1, 5), record(1, 1), record(1, 3)];
        let mut second = [0; 3];
        for number in 0..4000 {
            // The first number is below 5000 and takes target 0.
            let mut numbers = [0, number, 0].into_iter();
            second[weighted_order(&records, |_| numbers.next().unwrap())[1]] += 1;
        }
        assert_eq!(second, [0, 1000, 3000]);
    }

    #[test]
    fn lower_priorities_come_first() {
        let records = [record(20, 9), record(10, 0), record(10, 0), record(5, 0)];
        let order = weighted_order(&records, |bound| bound - 1);
        assert_eq!(order, [3, 2, 1, 0]);
    }

    proptest! {
        #[test]
        fn every_target_comes_once(
            fields in prop::collection::vec((any::<u16>(), any::<u16>()), 0..20),
            numbers in prop::collection::vec(any::<u64>(), 1..8),
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
