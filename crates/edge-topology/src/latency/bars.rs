//! How far off the difference between two nodes may be: rules 5 and 6 of [`crate::latency`].

use std::time::Duration;

use edge_types::Rtt;

use crate::tree::NodeIndex;

/// One case in so many may be worse than an error bar says.
const CASES: u64 = 20;

/// A share of 1 in fixed point.
const ONE: u64 = 1 << 20;

/// What the bars of differences are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bars {
    nodes: Vec<NodeBar>,
    detours: Detours,
}

/// What is known of the round trip to one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeBar {
    /// The estimate of it.
    pub(super) estimate: Duration,
    /// What its replies say without those from behind it; `None` where it did not answer.
    pub(super) own: Option<Duration>,
    /// What that may be off.
    pub(super) noise: Duration,
    /// What the constant part that was taken off its replies may be off.
    pub(super) base_noise: Duration,
    /// By how many hops its replies' way back is longer than the way there, if that is known.
    pub(super) extra_hops: Option<i16>,
    /// Is it a router, rather than a client or the origin?
    pub(super) is_router: bool,
}

/// What ways back other than the ways there add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Detours {
    /// Where there is no sign of one: between routers, and at the ends of paths.
    hidden: [Duration; 2],
    /// Where there is, and the link looks shorter than this.
    shown: Duration,
}

impl NodeBar {
    /// Did something from behind the node come back sooner, by more than noise?
    fn is_overtaken(&self) -> bool {
        self.own
            .is_some_and(|own| own.saturating_sub(self.estimate) > self.noise)
    }

    /// What the difference between the two may be off, detours apart. What was added to two replies has the same sign, so that the
    /// larger bar holds.
    fn noise_against(&self, other: &Self) -> Duration {
        let noise = self.noise.max(other.noise);
        if self.is_router == other.is_router {
            noise
        } else {
            noise.saturating_add(self.base_noise.max(other.base_noise))
        }
    }

    /// Do replies of the two come back over detours of different lengths in hops?
    fn differs_in_hops_from(&self, other: &Self) -> bool {
        let hops = self.extra_hops.zip(other.extra_hops);
        hops.is_some_and(|(one, other)| one != other)
    }

    /// Is there a sign that replies of the two come back different ways?
    fn differs_from(&self, other: &Self) -> bool {
        self.differs_in_hops_from(other) || self.is_overtaken() || other.is_overtaken()
    }
}

impl Bars {
    pub(super) fn new(nodes: Vec<NodeBar>, parents: &[Option<NodeIndex>]) -> Self {
        let detours = Detours::of(&nodes, parents);
        Self { nodes, detours }
    }

    /// How far off the `difference` between two nodes may be.
    pub(crate) fn between(&self, a: NodeIndex, b: NodeIndex, difference: Rtt) -> Duration {
        let (Some(a), Some(b)) = (self.nodes.get(a.0), self.nodes.get(b.0)) else {
            return Duration::MAX;
        };
        let detour = if a.differs_from(b) {
            self.detours.shown.max(difference.0)
        } else {
            self.detours.hidden[usize::from(a.is_router != b.is_router)]
        };
        a.noise_against(b).saturating_add(detour)
    }
}

impl Detours {
    /// Measures them on all links between nodes that answered.
    fn of(nodes: &[NodeBar], parents: &[Option<NodeIndex>]) -> Self {
        // How much sooner than the parent the child answered, beyond noise; and how long the links without a sign look.
        let mut excesses = Vec::new();
        let mut kinds = [LinksOfOneKind::default(), LinksOfOneKind::default()];
        for (child, parent) in nodes.iter().zip(parents) {
            let Some(parent) = parent.map(|parent| &nodes[parent.0]) else {
                continue;
            };
            let (Some(near), Some(far)) = (parent.own, child.own) else {
                continue;
            };
            let noise = parent.noise_against(child);
            let excess = near.saturating_sub(far).saturating_sub(noise);
            if excess > Duration::ZERO {
                excesses.push(excess);
            }
            let kind = &mut kinds[usize::from(child.is_router != parent.is_router)];
            if !parent.differs_in_hops_from(child) {
                kind.alike += 1;
                kind.overtaken += u64::from(excess > Duration::ZERO);
            }
            if !parent.differs_from(child) {
                let length = child.estimate.saturating_sub(parent.estimate);
                kind.lengths.push(length);
            }
        }
        let mut lengths = kinds
            .each_ref()
            .map(|kind| kind.lengths.as_slice())
            .concat();
        lengths.sort_unstable();
        excesses.sort_unstable();
        let shown = lengths.get(lengths.len() * 19 / 20).copied();
        let shown = shown.unwrap_or_default();
        let Some(half_life) = excesses.get(excesses.len() / 2).copied() else {
            return Self {
                hidden: [Duration::ZERO; 2],
                shown,
            };
        };
        let all = LinksOfOneKind {
            lengths,
            alike: kinds[0].alike + kinds[1].alike,
            overtaken: kinds[0].overtaken + kinds[1].overtaken,
        };
        let hidden = kinds.map(|kind| kind.hidden(half_life).max(all.hidden(half_life)));
        Self { hidden, shown }
    }
}

/// What is counted of links between routers, or at the ends of paths.
#[derive(Debug, Default)]
struct LinksOfOneKind {
    /// Lengths of those without a sign of a detour.
    lengths: Vec<Duration>,
    /// Those whose ends do not differ in hops, as far as is known.
    alike: u64,
    /// Of these, those whose child answered sooner than the parent, by more than noise.
    overtaken: u64,
}

impl LinksOfOneKind {
    /// What to allow where nothing shows. Half of the detours make the child's answer sooner; of those, as many show as are larger
    /// than their links.
    fn hidden(&self, half_life: Duration) -> Duration {
        let visible = self
            .lengths
            .iter()
            .map(|length| share_beyond(*length, half_life))
            .fold(self.overtaken.saturating_mul(ONE), u64::saturating_add);
        let share = self.overtaken.saturating_mul(2 * ONE).saturating_mul(ONE) / visible.max(1);
        let detours = self.alike.saturating_mul(share.min(ONE));
        let hidden = detours.saturating_sub(self.overtaken.saturating_mul(ONE));
        let others = u64::try_from(self.lengths.len()).unwrap_or(u64::MAX).max(1);
        allowance(half_life, (hidden / others).min(ONE))
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
