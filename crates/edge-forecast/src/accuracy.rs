//! How good forecasts are, by rolling origin.

use crate::forecaster::{Forecaster, number};

/// How a forecaster is examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Examination {
    /// Steps that it sees before it is asked.
    pub warm_up: usize,
    /// How many steps ahead it is asked for; the error is that of their sum.
    pub window: usize,
    /// Steps from one question to the next; 0 counts as 1.
    pub stride: usize,
    /// The season by which errors are scaled; 0 counts as 1.
    pub season: usize,
}

/// Errors of a forecaster. Without a question, or where a scale is zero, the figure is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Accuracy {
    /// Questions asked.
    pub questions: usize,
    /// Mean absolute scaled error (Hyndman and Koehler, 2006): errors divided by the mean error that repeating the last season had
    /// within the steps before the question, for windows of equal length.
    pub mase: Option<f64>,
    /// Sum of absolute errors as a share of all that was asked for.
    pub wape: Option<f64>,
}

/// Lets a forecaster go through all counts, asking it now and then for the sum of a window of steps ahead.
pub fn examine(
    forecaster: &mut dyn Forecaster,
    counts: &[u64],
    examination: Examination,
) -> Accuracy {
    let window = examination.window.max(1);
    let season = examination.season.max(1);
    let stride = examination.stride.max(1);
    // Sums of all counts before a step.
    let mut before = vec![0.0];
    let mut sum = 0.0;
    before.extend(counts.iter().map(|count| {
        sum += number(*count);
        sum
    }));
    let summed = |from: usize| before[from + window] - before[from];
    let mut path = vec![0.0; window];
    let (mut scaled, mut errors, mut asked) = (0.0, 0.0, 0.0);
    let (mut questions, mut scalable) = (0, 0);
    // Errors of windows that ended, by the window a season before; a season shorter than the window is taken as often as it fits.
    let apart = season * window.div_ceil(season);
    let (mut naive, mut naive_windows) = (0.0, 0_usize);
    for (step, count) in counts.iter().enumerate() {
        if step >= examination.warm_up
            && (step - examination.warm_up).is_multiple_of(stride)
            && step + window <= counts.len()
        {
            forecaster.path(&mut path);
            let truth = summed(step);
            let error = (path.iter().sum::<f64>() - truth).abs();
            questions += 1;
            errors += error;
            asked += truth;
            if naive_windows > 0 && naive > 0.0 {
                scaled += error / (naive / naive_windows as f64);
                scalable += 1;
            }
        }
        forecaster.observe(*count);
        if let Some(from) = (step + 1).checked_sub(window)
            && let Some(earlier) = from.checked_sub(apart)
        {
            naive += (summed(from) - summed(earlier)).abs();
            naive_windows += 1;
        }
    }
    Accuracy {
        questions,
        mase: (scalable > 0).then(|| scaled / f64::from(scalable)),
        wape: (asked > 0.0).then(|| errors / asked),
    }
}
