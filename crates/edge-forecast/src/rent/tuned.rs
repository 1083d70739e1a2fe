//! Renting by what a lease is expected to bring, as experience with it says.

use super::driven::BETTER_BY;
use super::{Account, MAX_GAIN, Policy, Terms};
use crate::Forecaster;

/// What the mean step of the coming lease has to be expected to gain before a site is rented anew, in percent of a step's share of the
/// price.
const START: [u32; 4] = [85, 100, 115, 150];

/// The same for a site that is rented already.
const STAY: [u32; 4] = [70, 85, 100, 115];

/// Rents if a forecaster expects the coming lease to bring enough. How much is enough, it has learned: each pair of thresholds is followed
/// on an account of its own, and the one that cost least lately decides.
///
/// What a deployment costs, what a forecast is worth and how long demand lasts that has once come are all in these thresholds.
#[derive(Debug)]
pub struct Tuned {
    terms: Terms,
    forecaster: Box<dyn Forecaster>,
    rules: Vec<Rule>,
    best: usize,
    memory_bits: u32,
    /// What the coming lease is expected to bring, in percent of its price.
    percent: f64,
}

#[derive(Debug)]
struct Rule {
    start: u32,
    stay: u32,
    account: Account,
    /// Decayed cost, in thousandths.
    lately: u128,
}

impl Rule {
    fn wants(&self, percent: f64, running: bool) -> bool {
        percent > f64::from(if running { self.stay } else { self.start })
    }
}

/// The thresholds before anything was learned.
const UNLEARNED: (u32, u32) = (115, 100);

impl Tuned {
    /// For a site on these terms, by forecasts of its gains. `memory_bits` up to 40: the logarithm, to the base of 2, of the steps over which
    /// the past is forgotten.
    pub fn new(terms: Terms, forecaster: Box<dyn Forecaster>, memory_bits: u32) -> Self {
        let terms = terms.bounded();
        let rules = START.iter().flat_map(|start| {
            STAY.iter().map(|stay| Rule {
                start: *start,
                stay: *stay,
                account: Account::new(terms),
                lately: 0,
            })
        });
        let rules: Vec<Rule> = rules.collect();
        let unlearned = |rule: &Rule| (rule.start, rule.stay) == UNLEARNED;
        Self {
            terms,
            forecaster,
            best: rules.iter().position(unlearned).unwrap_or(0),
            rules,
            memory_bits: memory_bits.min(40),
            percent: 0.0,
        }
    }
}

impl Policy for Tuned {
    fn name(&self) -> &'static str {
        self.forecaster.name()
    }

    fn wants(&mut self, running: bool) -> bool {
        self.rules[self.best].wants(self.percent, running)
    }

    fn observe(&mut self, gain: u64) {
        let gain = gain.min(MAX_GAIN);
        for rule in &mut self.rules {
            let before = rule.account.cost();
            if rule.account.is_open() {
                let wants = rule.wants(self.percent, rule.account.is_running());
                rule.account.decide(wants);
            }
            rule.account.step(gain);
            let cost = (rule.account.cost() - before) * 1000;
            rule.lately = rule.lately - (rule.lately >> self.memory_bits) + cost;
        }
        let best = self.rules.iter().enumerate();
        if let Some((best, rule)) = best.min_by_key(|(_, rule)| rule.lately)
            && rule.lately + rule.lately / BETTER_BY < self.rules[self.best].lately
        {
            self.best = best;
        }
        self.forecaster.observe(gain);
        let lease = self.terms.lease_steps;
        let brings = self.forecaster.mean(lease) * lease as f64;
        self.percent = brings * 100.0 / (self.terms.price as f64).max(1.0);
    }
}
