//! How much of a difference of round trips may be the way back: rules 4 and 5 of [`crate::latency`].

use std::time::Duration;

use crate::latency::{RttBasis, RttEstimate};
use crate::tree::NodeIndex;

/// One case in so many may be worse than an error bar says.
const CASES: u64 = 20;

/// A share of 1 in fixed point.
const ONE: u64 = 1 << 20;

/// What ways back other than the ways there add to the bars of links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Detours {
    /// At links that touch a node which showed one.
    pub(crate) where_shown: Duration,
    /// At all others.
    pub(crate) elsewhere: Duration,
}

impl Detours {
    /// Measures them on all links between nodes that answered.
    pub(crate) fn of(
        estimates: &[RttEstimate],
        noises: &[Duration],
        parents: &[Option<NodeIndex>],
    ) -> Self {
        let mut excesses = Vec::new();
        let mut lengths = Vec::new();
        let mut touched = 0u64;
        for (child, parent) in parents.iter().enumerate() {
            let Some(NodeIndex(parent)) = *parent else {
                continue;
            };
            let (RttBasis::Measured { own: near }, RttBasis::Measured { own: far }) =
                (estimates[parent].basis, estimates[child].basis)
            else {
                continue;
            };
            let noise = noises[parent].max(noises[child]);
            let excess = near.0.saturating_sub(far.0).saturating_sub(noise);
            if excess > Duration::ZERO {
                excesses.push(excess);
            }
            let shows = [parent, child].map(|end| Self::show_at(&estimates[end], noises[end]));
            touched += u64::from(shows.contains(&true));
            lengths.push(
                estimates[child]
                    .rtt
                    .0
                    .saturating_sub(estimates[parent].rtt.0),
            );
        }
        excesses.sort_unstable();
        let Some(half_life) = excesses.get(excesses.len() / 2).copied() else {
            return Self::default();
        };

        // Of the differences, half are negative; of those, as many show as are larger than their links.
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let links = count(lengths.len());
        let visible: u64 = lengths
            .iter()
            .map(|length| share_beyond(*length, half_life))
            .fold(0, u64::saturating_add);
        let differing = u128::from(count(excesses.len())) * 2 * u128::from(links) * u128::from(ONE)
            / u128::from(visible.max(1));
        let differing = u64::try_from(differing).map_or(links, |differing| differing.min(links));
        let hidden = differing.saturating_sub(touched);
        let others = links.saturating_sub(touched).max(1);
        Self {
            where_shown: allowance(half_life, ONE),
            elsewhere: allowance(half_life, hidden.saturating_mul(ONE) / others),
        }
    }

    /// Does the node answer later than something behind it, by more than noise?
    pub(crate) fn show_at(estimate: &RttEstimate, noise: Duration) -> bool {
        match estimate.basis {
            RttBasis::Measured { own } => own.0.saturating_sub(estimate.rtt.0) > noise,
            _ => false,
        }
    }
}

/// The share, of [`ONE`], that exceeds `length` of what halves every `half_life`.
fn share_beyond(length: Duration, half_life: Duration) -> u64 {
    let steps = length.as_nanos().saturating_mul(1024) / half_life.as_nanos().max(1);
    let (whole, part) = (steps / 1024, u64::try_from(steps % 1024).unwrap_or(0));
    let share = ONE - ONE / 2 * part / 1024;
    u32::try_from(whole)
        .ok()
        .and_then(|whole| share.checked_shr(whole))
        .unwrap_or(0)
}

/// What all but one case in [`CASES`] keep to, if a `share` of them, of [`ONE`], halves every `half_life` and the rest is nothing.
fn allowance(half_life: Duration, share: u64) -> Duration {
    let ratio = share.saturating_mul(CASES);
    if ratio <= ONE {
        return Duration::ZERO;
    }
    let whole = (ratio / ONE).ilog2();
    let part = (ratio >> whole) - ONE;
    let part = u32::try_from(part >> 10).unwrap_or(0);
    half_life
        .saturating_mul(whole)
        .saturating_add(half_life.saturating_mul(part) / (1 << 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_every_half_life() {
        let ms = Duration::from_millis;
        assert_eq!(share_beyond(ms(0), ms(3)), ONE);
        assert_eq!(share_beyond(ms(3), ms(3)), ONE / 2);
        assert_eq!(share_beyond(ms(9), ms(3)), ONE / 8);
        assert_eq!(share_beyond(Duration::MAX, ms(3)), 0);
        assert_eq!(share_beyond(ms(9), Duration::ZERO), 0);

        assert_eq!(allowance(ms(8), ONE / CASES), Duration::ZERO);
        let one_step = allowance(ms(8), 2 * ONE / CASES);
        assert!(one_step > ms(7) && one_step <= ms(8), "{one_step:?}");
        assert_eq!(allowance(ms(8), ONE), ms(34));
        assert_eq!(allowance(Duration::MAX, ONE), Duration::MAX);
    }
}
