//! What the making of replies adds to round trips: rules 1 and 2 of [`crate::latency`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::graph::GraphNode;
use crate::rtt::RttSummary;
use crate::tree::NodeIndex;

/// Fewest routers with a client right behind them that tell what a router's reply costs at least.
const ENOUGH: usize = 8;

/// Of those, as many as fill one such share of them are taken to be alike, ...
const GROUPS: usize = 4;

/// ... but no more than this: more would tell little more, and each router looks at them.
const MOST_ALIKE: usize = 64;

/// What an exponential time exceeds in one case of 50, in means: ln 50. One router's bad luck is that of all links it has.
const NOISE: u32 = 4;

/// What is assumed to be added to single replies where nobody answered often enough to say. Most routers do better.
const UNKNOWN: Duration = Duration::from_millis(1);

/// The smallest round trip to a node, without what the making of replies is likely to have added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reached {
    pub(super) rtt: Duration,
    /// What it may be off, in 49 cases of 50.
    pub(super) noise: Duration,
    /// What the constant part that was taken off may be off.
    pub(super) base_noise: Duration,
}

/// What routers' replies take longer than hosts', by how much their replies vary: a control processor that is slow at all is slow in both
/// ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RouterBase {
    /// Routers with a client right behind: the mean of what is added to single replies, and how much further the client is, ns. In
    /// order of the mean.
    seen: Vec<(Duration, i128)>,
}

/// For each node that answered.
pub(super) fn reached(nodes: &[GraphNode], parents: &[Option<NodeIndex>]) -> Vec<Option<Reached>> {
    let typical = [false, true].map(|is_client| typical(nodes, is_client));
    let added =
        |node: &GraphNode, own: RttSummary| mean(own, typical[usize::from(node.client.is_some())]);
    let mut reached: Vec<Option<Reached>> = nodes
        .iter()
        .map(|node| {
            let own = node.reading.own?;
            let of_minimum = added(node, own) / own.samples.max(1);
            Some(Reached {
                rtt: own.minimum.0,
                noise: of_minimum.saturating_mul(NOISE),
                base_noise: Duration::ZERO,
            })
        })
        .collect();
    let base = RouterBase::new(nodes, parents, &reached, |own| {
        own.mean_excess().unwrap_or(typical[0])
    });
    for (node, reached) in nodes.iter().zip(&mut reached) {
        if let (Some(reached), Some(own), None) = (reached, node.reading.own, node.client) {
            let (time, noise) = base.of(own.mean_excess().unwrap_or(typical[0]));
            reached.rtt = reached.rtt.saturating_sub(time);
            reached.base_noise = noise;
        }
    }
    reached
}

/// Mean of what is added to single replies of this node.
fn mean(own: RttSummary, typical: Duration) -> Duration {
    own.mean_excess().unwrap_or(own.jitter).max(typical)
}

/// The median of that over all routers or clients with samples enough to say.
fn typical(nodes: &[GraphNode], is_client: bool) -> Duration {
    let mut means: Vec<Duration> = nodes
        .iter()
        .filter(|node| node.client.is_some() == is_client)
        .filter_map(|node| node.reading.own?.mean_excess())
        .collect();
    means.sort_unstable();
    means.get(means.len() / 2).copied().unwrap_or(UNKNOWN)
}

impl RouterBase {
    /// Looks at the paths that show both a router and a client right behind it.
    fn new(
        nodes: &[GraphNode],
        parents: &[Option<NodeIndex>],
        reached: &[Option<Reached>],
        mean: impl Fn(RttSummary) -> Duration,
    ) -> Self {
        let mut nearest: BTreeMap<NodeIndex, i128> = BTreeMap::new();
        for (index, node) in nodes.iter().enumerate() {
            let Some(router) = parents[index].filter(|_| node.client.is_some()) else {
                continue;
            };
            let (Some(client), Some(own)) = (reached[index], reached[router.0]) else {
                continue;
            };
            if node.reading.extra_hops != nodes[router.0].reading.extra_hops {
                continue;
            }
            let further = nanoseconds(client.rtt) - nanoseconds(own.rtt);
            let nearest = nearest.entry(router).or_insert(further);
            *nearest = further.min(*nearest);
        }
        let mut seen: Vec<(Duration, i128)> = nearest
            .into_iter()
            .filter_map(|(router, further)| Some((mean(nodes[router.0].reading.own?), further)))
            .collect();
        seen.sort_unstable();
        Self { seen }
    }

    /// What a reply of a router takes longer than a host's, if this is the mean of what is added to its single replies; and what that
    /// may be off.
    ///
    /// The nearest client behind a router is further than it by the length of a link, and sooner by this. Links are of all lengths
    /// from nothing up, so this shows as the place where the differences begin, below zero. It is read off the quartiles
    /// of an exponential law, since a few routers may be odd for other reasons.
    fn of(&self, mean: Duration) -> (Duration, Duration) {
        let count = self.seen.len();
        let group = (count / GROUPS).clamp(ENOUGH, MOST_ALIKE);
        if count < group {
            return (Duration::ZERO, Duration::ZERO);
        }
        let at = self.seen.partition_point(|(other, _)| *other < mean);
        let first = at.saturating_sub(group / 2).min(count - group);
        let alike = &self.seen[first..first + group];
        let mut differences: Vec<i128> = alike.iter().map(|(_, further)| *further).collect();
        differences.sort_unstable();
        let quarter = differences[group / 4];
        let spread = differences[group * 3 / 4] - quarter;
        if quarter >= 0 {
            return (Duration::ZERO, Duration::ZERO);
        }
        // ln(4/3) / ln 3 of the distance between the quartiles lies before the first.
        let begin = quarter.saturating_sub(spread.saturating_mul(262) / 1000);
        // Two standard deviations of it, by that law.
        let root = i128::try_from(group * 100).unwrap_or(i128::MAX).isqrt();
        (
            from_nanoseconds(-begin),
            from_nanoseconds(16 * spread / root.max(1)),
        )
    }
}

fn nanoseconds(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)
}

fn from_nanoseconds(time: i128) -> Duration {
    Duration::from_nanos(u64::try_from(time.max(0)).unwrap_or(u64::MAX))
}
