//! Linear regression, learned one observation after the other.

/// How little the first weights are trusted.
const START: f64 = 100.0;

/// The inverse correlation starts anew where it would grow beyond this: what is seen has not changed for too long.
const LARGEST_INVERSE: f64 = 1e9;

/// Expects a value to be a linear function of features, by recursive least squares with forgetting (Haykin, *Adaptive Filter Theory*).
#[derive(Clone, Debug)]
pub(crate) struct LeastSquares {
    weights: Vec<f64>,
    /// The inverse correlation of what it saw, row by row.
    inverse: Vec<f64>,
    /// What an observation still weighs after the next.
    memory: f64,
    /// The feature that is the best guess before anything was learned.
    guess: usize,
}

impl LeastSquares {
    /// For so many features, of which one is the first guess.
    pub(crate) fn new(size: usize, guess: usize, memory: f64) -> Self {
        let mut fresh = Self {
            weights: vec![0.0; size],
            inverse: Vec::new(),
            memory,
            guess,
        };
        fresh.forget();
        fresh
    }

    /// Number of features.
    pub(crate) const fn size(&self) -> usize {
        self.weights.len()
    }

    /// The value that it expects.
    pub(crate) fn expected(&self, features: &[f64]) -> f64 {
        dot(&self.weights, features)
    }

    /// These features came with this value.
    pub(crate) fn learn(&mut self, features: &[f64], value: f64) {
        let size = self.size();
        let seen: Vec<f64> = self
            .inverse
            .chunks(size)
            .map(|row| dot(row, features))
            .collect();
        let spread = self.memory + dot(&seen, features);
        let error = value - self.expected(features);
        for (weight, seen) in self.weights.iter_mut().zip(&seen) {
            *weight += seen / spread * error;
        }
        let mut largest: f64 = 0.0;
        for (row, share) in self.inverse.chunks_mut(size).zip(&seen) {
            for (entry, seen) in row.iter_mut().zip(&seen) {
                *entry = (*entry - share / spread * seen) / self.memory;
                largest = largest.max(entry.abs());
            }
        }
        let is_lost = self
            .weights
            .iter()
            .any(|weight| !weight.is_finite() || weight.abs() > 1e6);
        if is_lost {
            self.forget();
        // A comparison that is false for what is not a number.
        } else if !(largest <= LARGEST_INVERSE) {
            self.inverse = start(size);
        }
    }

    fn forget(&mut self) {
        self.weights.fill(0.0);
        self.weights[self.guess] = 1.0;
        self.inverse = start(self.size());
    }
}

fn start(size: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; size * size];
    for diagonal in inverse.iter_mut().step_by(size + 1) {
        *diagonal = START;
    }
    inverse
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
