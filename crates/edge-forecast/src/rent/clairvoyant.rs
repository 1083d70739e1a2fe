//! The best that anybody could have done, knowing everything in advance.

use super::{Account, MAX_GAIN, Terms};

/// The account of a site under the cheapest of all sequences of decisions, by a dynamic program over steps from the last to the first:
/// linear in the number of steps.
///
/// The last lease is paid in full even if it runs beyond the last step, as it is by any policy.
pub fn least_cost(terms: Terms, gains: &[u64]) -> Account {
    let terms = terms.bounded();
    let steps = gains.len();
    let price = u128::from(terms.price);
    // Costs from step t on: with nothing there before, and with the service running on a lease that ends before it.
    let mut idle = vec![0_u128; steps + 1];
    let mut running = vec![0_u128; steps + 1];
    for t in (0..steps).rev() {
        let end = t.saturating_add(terms.lease_steps).min(steps);
        let deploying = t.saturating_add(terms.deploy_steps()).min(end);
        let lost: u128 = gains[t..deploying]
            .iter()
            .enumerate()
            .map(|(age, gain)| u128::from(terms.lost(*gain, age)))
            .sum();
        let leave = u128::from(gains[t].min(MAX_GAIN)) + idle[t + 1];
        let renew = price + running[end];
        idle[t] = leave.min(renew + lost);
        running[t] = leave.min(renew);
    }
    let mut account = Account::new(terms);
    for t in 0..steps {
        if account.is_open() {
            let leave = u128::from(gains[t].min(MAX_GAIN)) + idle[t + 1];
            let best = if account.is_running() {
                running[t]
            } else {
                idle[t]
            };
            account.decide(best < leave);
        }
        account.step(gains[t]);
    }
    account
}
