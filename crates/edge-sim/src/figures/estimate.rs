//! A mean over rounds with its confidence interval.

/// Quantiles of Student's t for a two-sided interval of 95 %, by degrees of freedom from 1 to 30.
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// The quantile for more than 30, on the safe side up to 60 and at most 2 % too narrow or wide beyond.
const T_BEYOND: f64 = 2.0;

/// A mean over rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The mean; 0 of no rounds.
    pub mean: f64,
    /// Half the width of the interval that holds the true mean in 95 of 100 cases, by Student's t; 0 of fewer than two rounds.
    pub half_width: f64,
}

impl Estimate {
    /// Of the values of rounds, in order.
    pub fn of(rounds: &[f64]) -> Self {
        if rounds.is_empty() {
            return Self::default();
        }
        let count = rounds.len() as f64;
        let mean = rounds.iter().sum::<f64>() / count;
        if rounds.len() == 1 {
            return Self {
                mean,
                half_width: 0.0,
            };
        }
        let squares: f64 = rounds.iter().map(|value| (value - mean).powi(2)).sum();
        let error = (squares / (count - 1.0) / count).sqrt();
        let t = T.get(rounds.len() - 2).copied().unwrap_or(T_BEYOND);
        Self {
            mean,
            half_width: t * error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_students() {
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!((estimate.mean - 3.0).abs() < 1e-12);
        // s = 1.5811, s / sqrt(5) = 0.70711, t(4) = 2.776.
        assert!((estimate.half_width - 1.9629).abs() < 1e-3, "{estimate:?}");
    }

    #[test]
    fn few_rounds_have_no_interval() {
        assert_eq!(Estimate::of(&[]), Estimate::default());
        assert_eq!(Estimate::of(&[7.0]).half_width, 0.0);
        assert_eq!(
            Estimate::of(&[2.0; 40]),
            Estimate {
                mean: 2.0,
                half_width: 0.0
            }
        );
    }
}
