//! Renting by forecast: what it gains, and what it can lose at most.

use proptest::prelude::*;

use super::tests::{follow, terms};
use super::*;
use crate::{Ewma, Forecaster, SeasonalNaive};

/// Decides by a fixed list, over and over: right or wrong, who knows.
#[derive(Debug)]
struct Stubborn(Vec<bool>, usize);

impl Policy for Stubborn {
    fn name(&self) -> &'static str {
        "stubborn"
    }

    fn wants(&mut self, _running: bool) -> bool {
        self.0[self.1 % self.0.len()]
    }

    fn observe(&mut self, _gain: u64) {
        self.1 += 1;
    }
}

fn planned(terms: Terms, forecaster: impl Forecaster + 'static) -> Box<dyn Policy> {
    Box::new(Planned::new(terms, Box::new(forecaster)))
}

/// Twelve busy steps of every 24.
fn days(steps: usize) -> Vec<u64> {
    (0..steps)
        .map(|step| if step % 24 < 12 { 100 } else { 5 })
        .collect()
}

#[test]
fn who_knows_the_day_rents_before_it_begins() {
    // A lease of the busy time, and two of its steps are lost to a deployment that starts with it.
    let terms = terms(14, 700, 2000);
    let gains = days(24 * 60);
    let reacting = follow(&mut Reactive::new(terms), terms, &gains);
    let mut policy = Planned::new(terms, Box::new(SeasonalNaive::new(24)));
    let knowing = follow(&mut policy, terms, &gains);
    let best = least_cost(terms, &gains);
    assert!(
        best.cost() < reacting.cost() * 9 / 10,
        "{} {}",
        best.cost(),
        reacting.cost()
    );
    // But for the first days, of which it knows nothing.
    assert!(
        knowing.cost() < best.cost() * 105 / 100,
        "{} {}",
        knowing.cost(),
        best.cost()
    );
}

#[test]
fn thresholds_are_learned_from_what_leases_came_to() {
    // Half of a short lease is lost to a deployment, but busy times last for many of them: it pays to begin with a lease that does not.
    let terms = terms(4, 240, 2000);
    let gains: Vec<u64> = (0..24 * 100)
        .map(|step| if step % 24 < 12 { 100 } else { 5 })
        .collect();
    let reacting = follow(&mut Reactive::new(terms), terms, &gains).cost();
    let mut policy = Tuned::new(terms, Box::new(Ewma::new(1.0)), 8);
    let tuned = follow(&mut policy, terms, &gains).cost();
    let best = least_cost(terms, &gains).cost();
    assert!(
        tuned - best < (reacting - best) / 2,
        "{tuned}, at best {best}, reacting {reacting}"
    );
}

#[test]
fn the_best_forecaster_is_found_and_followed() {
    let terms = terms(14, 700, 2000);
    let gains = days(24 * 120);
    let experts = vec![
        planned(terms, Ewma::new(0.01)),
        planned(terms, SeasonalNaive::new(24)),
        Box::new(Stubborn(vec![true, false, false], 0)),
    ];
    let mut policy = ForecastDriven::new(terms, experts, 4, 8);
    let account = follow(&mut policy, terms, &gains);
    assert_eq!(policy.leader(), "seasonal naive");
    let reacting = follow(&mut Reactive::new(terms), terms, &gains).cost();
    let best = least_cost(terms, &gains).cost();
    assert!(
        account.cost() - best < (reacting - best) / 2,
        "{} {best} {reacting}",
        account.cost()
    );
}

#[test]
fn a_site_that_never_pays_is_never_rented_by_plan() {
    let terms = terms(10, 1000, 500);
    let gains = days(24 * 20)
        .iter()
        .map(|gain| gain / 2)
        .collect::<Vec<_>>();
    let mut policy = ForecastDriven::new(terms, vec![planned(terms, SeasonalNaive::new(24))], 4, 8);
    assert_eq!(follow(&mut policy, terms, &gains).leases(), 0);
}

proptest! {
    #[test]
    fn no_expert_leads_it_further_astray_than_the_slack(
        lease in 1_usize..9,
        price in 0_u64..2000,
        deploy in 0_u64..4000,
        slack in 0_u64..30,
        gains in prop::collection::vec(prop_oneof![0_u64..20, 0_u64..500], 1..400),
        stubborn in prop::collection::vec(any::<bool>(), 1..12),
        memory in 1_u32..10,
    ) {
        let terms = terms(lease, price, deploy);
        let experts = vec![
            Box::new(Stubborn(stubborn, 0)) as Box<dyn Policy>,
            planned(terms, Ewma::new(0.5)),
            planned(terms, SeasonalNaive::new(7)),
            Box::new(Tuned::new(terms, Box::new(Ewma::new(0.5)), memory)),
        ];
        let mut policy = ForecastDriven::new(terms, experts, slack, memory);
        let ours = follow(&mut policy, terms, &gains).cost();
        let reacting = follow(&mut Reactive::new(terms), terms, &gains).cost();
        let largest = u128::from(*gains.iter().max().unwrap_or(&0));
        let lost = (u128::from(deploy.div_ceil(1000)) + 1) * largest;
        let allowed = 2 * u128::from(ALLOWANCE) * (u128::from(price) + lost);
        let beyond = (allowed + 2 * (lost + largest)) * 100;
        prop_assert!(
            ours * 100 <= reacting * u128::from(100 + slack) + beyond,
            "{ours} beside {reacting}"
        );
    }
}
