//! Renting by what a lease is expected to bring.

use super::{MAX_GAIN, Policy, Terms};
use crate::Forecaster;

/// What the coming lease has to be expected to bring before a site is rented anew, in percent of its price: a little more than that, for
/// the deployment, and because who waits may still rent in the next step, while a lease commits.
const START: f64 = 105.0;

/// The same for a site that is rented already.
const STAY: f64 = 100.0;

/// Rents if a forecaster expects the coming lease to bring what it costs.
///
/// There is nothing to learn here but for the forecaster. To learn the thresholds too, from what leases came to under each of a grid of
/// them, was tried and did worse on real requests: changes of mind are rare, and what a grid's best owes to chance is more than what it
/// gains.
#[derive(Debug)]
pub struct Expecting {
    terms: Terms,
    forecaster: Box<dyn Forecaster>,
    /// What the coming lease is expected to bring, in percent of its price.
    percent: f64,
}

impl Expecting {
    /// For a site on these terms, by forecasts of its gains.
    pub fn new(terms: Terms, forecaster: Box<dyn Forecaster>) -> Self {
        Self {
            terms: terms.bounded(),
            forecaster,
            percent: 0.0,
        }
    }
}

impl Policy for Expecting {
    fn name(&self) -> &'static str {
        self.forecaster.name()
    }

    fn wants(&mut self, running: bool) -> bool {
        self.percent > if running { STAY } else { START }
    }

    fn observe(&mut self, gain: u64) {
        self.forecaster.observe(gain.min(MAX_GAIN));
        let lease = self.terms.lease_steps;
        let brings = self.forecaster.mean(lease) * lease as f64;
        self.percent = brings * 100.0 / (self.terms.price as f64).max(1.0);
    }
}
