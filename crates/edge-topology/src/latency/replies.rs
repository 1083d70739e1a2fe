//! What the making of replies adds to round trips: rules 1 and 2 of [`crate::latency`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::graph::GraphNode;
use crate::rtt::RttSummary;
use crate::tree::NodeIndex;

/// Fewest routers with a client right behind them that tell what a router's reply costs at least.
const ENOUGH: usize = 8;

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
}

/// What every router's reply takes longer than a host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RouterBase {
    time: Duration,
    /// What that may be off.
    pub(super) noise: Duration,
}

/// For each node that answered; and what was taken off all routers.
pub(super) fn reached(
    nodes: &[GraphNode],
    parents: &[Option<NodeIndex>],
) -> (Vec<Option<Reached>>, RouterBase) {
    let typical = [false, true].map(|is_client| typical(nodes, is_client));
    let mut reached: Vec<Option<Reached>> = nodes
        .iter()
        .map(|node| {
            let own = node.reading.own?;
            let typical = typical[usize::from(node.client.is_some())];
            let of_minimum = mean(own, typical) / own.samples.max(1);
            Some(Reached {
                rtt: own.minimum.0,
                noise: of_minimum.saturating_mul(NOISE),
            })
        })
        .collect();
    let base = router_base(nodes, parents, &reached);
    for (node, reached) in nodes.iter().zip(&mut reached) {
        if let Some(reached) = reached
            && node.client.is_none()
        {
            reached.rtt = reached.rtt.saturating_sub(base.time);
        }
    }
    (reached, base)
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

/// What every router's reply takes longer than a host's, from the paths that show both.
///
/// The nearest client behind a router is further than it by the length of a link, and sooner by this. Links are of all lengths from
/// nothing up, so this shows as the place where the differences begin, below zero. It is read off the quartiles
/// of an exponential law, since a few routers may be odd for other reasons.
fn router_base(
    nodes: &[GraphNode],
    parents: &[Option<NodeIndex>],
    reached: &[Option<Reached>],
) -> RouterBase {
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
    if nearest.len() < ENOUGH {
        return RouterBase::default();
    }
    let mut differences: Vec<i128> = nearest.into_values().collect();
    differences.sort_unstable();
    let quarter = differences[differences.len() / 4];
    let spread = differences[differences.len() * 3 / 4] - quarter;
    if quarter >= 0 {
        return RouterBase::default();
    }
    // ln(4/3) / ln 3 of the distance between the quartiles lies before the first.
    let begin = quarter.saturating_sub(spread.saturating_mul(262) / 1000);
    let count = i128::try_from(differences.len()).unwrap_or(i128::MAX);
    RouterBase {
        time: from_nanoseconds(-begin),
        noise: from_nanoseconds(2 * spread / count.isqrt()),
    }
}

fn nanoseconds(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)
}

fn from_nanoseconds(time: i128) -> Duration {
    Duration::from_nanos(u64::try_from(time.max(0)).unwrap_or(u64::MAX))
}
