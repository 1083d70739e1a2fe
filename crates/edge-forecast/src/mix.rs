//! Several forecasters as one that is hardly worse than the best of them.

use crate::forecaster::{Forecaster, bounded, number};

/// Weighs experts by how well they forecast the next step so far (Hedge, Freund and Schapire; with the rate of
/// Cesa-Bianchi and Lugosi, *Prediction, Learning, and Games*, theorem 2.3).
///
/// The loss of a step is the absolute error as a share of the largest of the count and all forecasts, so it is from 0 to 1. After T
/// steps the mix has lost at most [`Mix::regret_bound`] more than the best of N experts.
#[derive(Debug)]
pub struct Mix {
    experts: Vec<Box<dyn Forecaster>>,
    /// What each has lost so far.
    lost: Vec<f64>,
    weights: Vec<f64>,
    own: f64,
    steps: u64,
}

impl Mix {
    /// A mix that trusts all equally at first.
    pub fn new(experts: Vec<Box<dyn Forecaster>>) -> Self {
        let weight = 1.0 / experts.len().max(1) as f64;
        Self {
            lost: vec![0.0; experts.len()],
            weights: vec![weight; experts.len()],
            experts,
            own: 0.0,
            steps: 0,
        }
    }

    /// Names of the experts with how much each is trusted; the sum is 1.
    pub fn trust(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let names = self.experts.iter().map(|expert| expert.name());
        names.zip(self.weights.iter().copied())
    }

    /// What the mix lost beyond the best expert; may be negative.
    pub fn regret(&self) -> f64 {
        let best = self.lost.iter().copied().fold(f64::INFINITY, f64::min);
        if best.is_finite() {
            self.own - best
        } else {
            0.0
        }
    }

    /// The most that [`Mix::regret`] can be after these steps: 2 √(T/2 ln N) + √(ln N / 8).
    pub fn regret_bound(&self) -> f64 {
        let experts = (self.experts.len().max(1) as f64).ln();
        2.0 * (self.steps as f64 / 2.0 * experts).sqrt() + (experts / 8.0).sqrt()
    }

    fn weigh(&mut self) {
        let experts = self.experts.len().max(1) as f64;
        let rate = (8.0 * experts.ln() / (self.steps + 1) as f64).sqrt();
        let best = self.lost.iter().copied().fold(f64::INFINITY, f64::min);
        for (weight, lost) in self.weights.iter_mut().zip(&self.lost) {
            *weight = (-rate * (lost - best)).exp();
        }
        let sum: f64 = self.weights.iter().sum();
        for weight in &mut self.weights {
            *weight /= sum;
        }
    }

    fn mixed(&self, forecasts: impl Iterator<Item = f64>) -> f64 {
        let parts = forecasts.zip(&self.weights);
        bounded(parts.map(|(forecast, weight)| forecast * weight).sum())
    }
}

impl Forecaster for Mix {
    fn name(&self) -> &'static str {
        "expert mix"
    }

    fn observe(&mut self, count: u64) {
        let value = number(count);
        let forecasts: Vec<f64> = self
            .experts
            .iter()
            .map(|expert| expert.forecast(1))
            .collect();
        let scale = forecasts.iter().copied().fold(value, f64::max);
        if scale > 0.0 {
            let mixed = self.mixed(forecasts.iter().copied());
            self.own += (mixed - value).abs() / scale;
            for (lost, forecast) in self.lost.iter_mut().zip(&forecasts) {
                *lost += (forecast - value).abs() / scale;
            }
        }
        self.steps += 1;
        self.weigh();
        for expert in &mut self.experts {
            expert.observe(count);
        }
    }

    fn path(&self, steps: &mut [f64]) {
        let mut path = vec![0.0; steps.len()];
        steps.fill(0.0);
        for (expert, weight) in self.experts.iter().zip(&self.weights) {
            // What does not count any more is not worth its work.
            if *weight < 1e-6 {
                continue;
            }
            expert.path(&mut path);
            for (step, part) in steps.iter_mut().zip(&path) {
                *step = bounded(*step + part * weight);
            }
        }
    }
}
