//! Estimated round trips of the links between the interfaces that answered.

use std::net::IpAddr;

use anyhow::{Context, anyhow};
use edge_topology::{ClientDemand, Demand, Limits, NodeIndex, Observations, TreeNode};
use edge_types::{Generation, IpNet, PathObservation, PrefixGrouping};
use serde::Serialize;

/// A link from one answering interface to the next one further out.
#[derive(Serialize)]
struct Link {
    parent: IpAddr,
    child: IpAddr,
    /// Round trip over this link alone.
    estimate_ms: f64,
    /// How far off that may well be, to either side.
    error_ms: f64,
}

/// The links of the tree of interfaces, a line of JSON each; those at silent hops are left out.
pub(super) fn estimate(paths: &[PathObservation]) -> anyhow::Result<Vec<String>> {
    let mut observations = Observations::new(Limits {
        max_targets: usize::MAX,
        ..Limits::default()
    });
    let mut demand = Demand::new();
    for path in paths {
        observations.insert(path)?;
        let client = ClientDemand {
            target: path.target,
            milli_requests_per_second: 1,
        };
        demand.insert(IpNet::from(path.target), client);
    }
    let interfaces =
        PrefixGrouping::new(32, 128).context("whole addresses are groups of their own")?;
    let tree = observations.tree(Generation(1), interfaces, &demand);
    let mut lines = Vec::new();
    for (index, child) in tree.nodes().iter().enumerate() {
        let parent = child.parent.and_then(|parent| tree.node(parent));
        let ends = parent.and_then(address).zip(address(child));
        let (Some((parent, child)), Some(estimate)) = (ends, tree.link(NodeIndex(index))) else {
            continue;
        };
        let link = Link {
            parent,
            child,
            estimate_ms: estimate.rtt.as_ms(),
            error_ms: estimate.error.as_secs_f64() * 1000.0,
        };
        lines.push(serde_json::to_string(&link).map_err(|error| anyhow!(error))?);
    }
    Ok(lines)
}

/// The address that answered at a node.
fn address(node: &TreeNode) -> Option<IpAddr> {
    let client = node.client.filter(|client| client.answered);
    client
        .map(|client| client.target)
        .or_else(|| node.members.first().copied())
}
