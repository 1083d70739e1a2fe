//! Accounts, policies and the clairvoyant against each other and against brute force.

use proptest::prelude::*;

use super::*;

pub(super) fn terms(lease_steps: usize, price: u64, deploy_millisteps: u64) -> Terms {
    Terms {
        lease_steps,
        price,
        deploy_millisteps,
    }
}

/// All that a policy does over some gains.
pub(super) fn follow(policy: &mut dyn Policy, terms: Terms, gains: &[u64]) -> Account {
    let mut account = Account::new(terms);
    for gain in gains {
        if account.is_open() {
            account.decide(policy.wants(account.is_running()));
        }
        account.step(*gain);
        policy.observe(*gain);
    }
    account
}

/// The cheapest of all sequences of decisions, by trying them.
fn by_brute_force(account: &Account, gains: &[u64]) -> u128 {
    let Some((gain, rest)) = gains.split_first() else {
        return account.cost();
    };
    let choices: &[bool] = if account.is_open() {
        &[false, true]
    } else {
        &[false]
    };
    let costs = choices.iter().map(|rent| {
        let mut next = account.clone();
        next.decide(*rent);
        next.step(*gain);
        by_brute_force(&next, rest)
    });
    costs.min().unwrap_or_default()
}

#[test]
fn a_lease_costs_its_price_and_what_deploying_forgoes() {
    let mut account = Account::new(terms(3, 50, 1500));
    account.step(10);
    account.decide(true);
    for gain in [10, 10, 10] {
        assert!(!account.is_open() || gain == 0);
        account.step(gain);
    }
    // 10 before; 10 and half of 10 while deploying; 50 for the lease.
    assert_eq!((account.paid(), account.cost()), (50, 75));
    assert!(account.is_open() && account.is_running());
    account.decide(true);
    account.step(10);
    assert_eq!(
        (account.cost(), account.leases(), account.deployments()),
        (125, 2, 1)
    );
}

#[test]
fn a_lease_that_nobody_renews_ends() {
    let mut account = Account::new(terms(1, 5, 0));
    account.decide(true);
    account.step(7);
    account.decide(false);
    account.step(7);
    assert_eq!(account.cost(), 5 + 7);
    account.decide(true);
    assert_eq!(account.deployments(), 2);
}

#[test]
fn a_reactive_policy_follows_the_last_step() {
    let mut policy = Reactive::new(terms(10, 100, 2000));
    policy.observe(11);
    assert!(policy.wants(true));
    assert!(
        !policy.wants(false),
        "88 in the eight steps that it would serve"
    );
    policy.observe(13);
    assert!(policy.wants(false));
    policy.observe(10);
    assert!(!policy.wants(true));
}

#[test]
fn a_time_to_live_outlasts_a_gap() {
    let terms = terms(1, 10, 0);
    let mut gains = [20, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0].to_vec();
    gains.resize(20, 0);
    let short = follow(&mut TimeToLive::new(terms, 1), terms, &gains);
    let long = follow(&mut TimeToLive::new(terms, 4), terms, &gains);
    assert_eq!((short.deployments(), short.leases()), (2, 2));
    assert_eq!((long.deployments(), long.leases()), (1, 8));
}

#[test]
fn hysteresis_does_not_thrash_where_reacting_does() {
    let terms = terms(2, 200, 3000);
    let gains: Vec<u64> = (0..400)
        .map(|step| if step / 4 % 2 == 0 { 290 } else { 10 })
        .collect();
    let reacting = follow(&mut Reactive::new(self::terms(2, 200, 0)), terms, &gains);
    let steady = follow(&mut Hysteresis::new(terms, 20), terms, &gains);
    assert!(reacting.deployments() > 40, "{reacting:?}");
    assert!(steady.deployments() <= 4, "{steady:?}");
    assert!(steady.cost() < reacting.cost());
}

#[test]
fn hysteresis_rents_what_pays_and_leaves_what_does_not() {
    let terms = terms(10, 100, 1000);
    let gains: Vec<u64> = (0..300)
        .map(|step| if step < 150 { 40 } else { 1 })
        .collect();
    let account = follow(&mut Hysteresis::new(terms, 20), terms, &gains);
    let best = least_cost(terms, &gains);
    assert!(account.deployments() == 1 && best.deployments() == 1);
    assert!(
        account.cost() * 4 < best.cost() * 5,
        "{} {}",
        account.cost(),
        best.cost()
    );
}

#[test]
fn absurd_numbers_are_survived() {
    let worst = terms(0, u64::MAX, u64::MAX);
    let gains = [u64::MAX; 5];
    for policy in [
        &mut Reactive::new(worst) as &mut dyn Policy,
        &mut TimeToLive::new(worst, usize::MAX),
        &mut Hysteresis::new(worst, u64::MAX),
    ] {
        assert!(follow(policy, worst, &gains).cost() >= least_cost(worst, &gains).cost());
    }
    assert_eq!(least_cost(terms(usize::MAX, 1, 0), &gains).cost(), 1);
    assert_eq!(least_cost(worst, &[]).cost(), 0);
}

proptest! {
    #[test]
    fn the_clairvoyant_is_as_good_as_brute_force(
        lease in 1_usize..4,
        price in 0_u64..30,
        deploy in 0_u64..2500,
        gains in prop::collection::vec(0_u64..20, 0..10),
    ) {
        let terms = terms(lease, price, deploy);
        let best = least_cost(terms, &gains);
        prop_assert_eq!(best.cost(), by_brute_force(&Account::new(terms), &gains));
    }

    #[test]
    fn nobody_beats_the_clairvoyant(
        lease in 1_usize..12,
        price in 0_u64..3000,
        deploy in 0_u64..5000,
        gains in prop::collection::vec(0_u64..500, 0..150),
        percent in 0_u64..50,
    ) {
        let terms = terms(lease, price, deploy);
        let best = least_cost(terms, &gains).cost();
        for policy in [
            &mut Reactive::new(terms) as &mut dyn Policy,
            &mut TimeToLive::new(terms, lease),
            &mut Hysteresis::new(terms, percent),
        ] {
            prop_assert!(follow(policy, terms, &gains).cost() >= best, "{}", policy.name());
        }
        let cloud: u64 = gains.iter().sum();
        prop_assert!(best <= u128::from(cloud));
    }
}
