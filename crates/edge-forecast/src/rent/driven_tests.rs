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
fn a_lease_is_begun_for_what_it_brings_not_for_the_last_step() {
    // A busy step in ten would pay for a lease if it lasted, and never does.
    let terms = terms(5, 250, 1000);
    let gains: Vec<u64> = (0..2000)
        .map(|step| if step % 10 == 9 { 100 } else { 20 })
        .collect();
    let reacting = follow(&mut Reactive::new(terms), terms, &gains);
    assert!(reacting.leases() > 100, "{reacting:?}");
    let mut policy = Expecting::new(terms, Box::new(Ewma::new(0.1)));
    assert_eq!(follow(&mut policy, terms, &gains).leases(), 0);
    // What always pays is rented once, and renewed.
    let mut policy = Expecting::new(terms, Box::new(Ewma::new(0.1)));
    let account = follow(&mut policy, terms, &[70; 200]);
    assert_eq!((account.deployments(), account.leases()), (1, 40));
}

#[test]
fn what_can_be_avoided_is_told_from_what_cannot() {
    // A share of 25 a step. Idle: what is beyond the share is missed. Rented: what the share is beyond the gain, and deploying.
    let terms = terms(4, 100, 500);
    let mut account = Account::new(terms);
    assert_eq!([30, 20].map(|gain| account.excess(gain)), [5000, 0]);
    account.decide(true);
    assert_eq!([30, 20].map(|gain| account.excess(gain)), [15_000, 15_000]);
    account.step(30);
    assert_eq!([30, 20].map(|gain| account.excess(gain)), [0, 5000]);
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
            Box::new(Expecting::new(terms, Box::new(Ewma::new(0.5)))),
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
