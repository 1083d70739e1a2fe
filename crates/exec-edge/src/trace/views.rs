//! What is made of all paths together: links, the graph for Graphviz, the picture of the tree.

use std::fmt::Write;
use std::net::IpAddr;

use anyhow::{Context, anyhow};
use edge_orchestrator::status::TreeReport;
use edge_topology::{
    AggregateTree, ClientDemand, Demand, GraphNode, Limits, NodeId, NodeIndex, Observations,
    Parents, PathGraph, RttBasis, TreeNode,
};
use edge_types::{Generation, IpNet, PathObservation, PrefixGrouping};
use serde::Serialize;

use super::table::counted;
use crate::drawing::tree::{Weight, draw};

/// The paths of a run; each target weighs the same.
#[derive(Debug)]
pub(super) struct Gathered {
    observations: Observations,
    demand: Demand,
}

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

impl Gathered {
    pub(super) fn new() -> Self {
        let limits = Limits {
            max_targets: usize::MAX,
            ..Limits::default()
        };
        Self {
            observations: Observations::new(limits),
            demand: Demand::new(),
        }
    }

    pub(super) fn insert(&mut self, path: &PathObservation) -> anyhow::Result<()> {
        self.observations.insert(path)?;
        let client = ClientDemand {
            target: path.target,
            milli_requests_per_second: 1000,
        };
        self.demand.insert(IpNet::from(path.target), client);
        Ok(())
    }

    fn graph(&self) -> anyhow::Result<(PathGraph, AggregateTree)> {
        let interfaces =
            PrefixGrouping::new(32, 128).context("whole addresses are groups of their own")?;
        let graph = self.observations.graph(interfaces, &self.demand);
        let tree = graph.tree(Generation(1), Parents::Heaviest);
        Ok((graph, tree))
    }

    /// The links of the tree of interfaces, a line of JSON each; those at silent hops are left out.
    pub(super) fn links(&self) -> anyhow::Result<String> {
        let (_, tree) = self.graph()?;
        let mut lines = String::new();
        for (index, child) in tree.nodes().iter().enumerate() {
            let parent = child.parent.and_then(|parent| tree.node(parent));
            let ends = parent.and_then(address).zip(address(child));
            let (Some((parent, child)), Some(estimate)) = (ends, tree.link(NodeIndex(index)))
            else {
                continue;
            };
            let link = Link {
                parent,
                child,
                estimate_ms: estimate.rtt.as_ms(),
                error_ms: estimate.error.as_secs_f64() * 1000.0,
            };
            lines += &serde_json::to_string(&link).map_err(|error| anyhow!(error))?;
            lines.push('\n');
        }
        Ok(lines)
    }

    /// The graph of interfaces for Graphviz: links by the number of paths that take them, silent hops dashed.
    pub(super) fn dot(&self) -> anyhow::Result<String> {
        let (graph, tree) = self.graph()?;
        let mut text = "digraph paths {\n  rankdir=LR;\n  node [shape=ellipse, fontname=\"sans-serif\", fontsize=10];\n  \
                        edge [arrowsize=0.6, fontname=\"sans-serif\", fontsize=9];\n"
            .to_owned();
        for ((index, node), placed) in graph.nodes().iter().enumerate().zip(tree.nodes()) {
            let (label, style) = dot_node(node, placed);
            let _infallible = writeln!(text, "  n{index} [label=\"{label}\"{style}];");
            for link in &node.links {
                let width = 1.0 + (link.paths as f64).log2() / 2.0;
                let style = match node.id {
                    NodeId::Silent { .. } => ", style=dashed",
                    _ => "",
                };
                let _infallible = writeln!(
                    text,
                    "  n{} -> n{index} [weight={}, label=\"{}\", penwidth={width:.2}{style}];",
                    link.from.0, link.paths, link.paths
                );
            }
        }
        for (from, to) in graph.bypasses() {
            let _infallible = writeln!(
                text,
                "  n{} -> n{} [style=dotted, constraint=false];",
                from.0, to.0
            );
        }
        text.push_str("}\n");
        Ok(text)
    }

    /// The picture of the tree of interfaces.
    pub(super) fn svg(&self) -> anyhow::Result<String> {
        let (_, tree) = self.graph()?;
        let title = format!("Paths to {}", counted(self.demand.len() as u64, "target"));
        Ok(draw(&TreeReport::of(&tree), &title, Weight::Paths))
    }
}

/// Label and attributes of a node.
fn dot_node(node: &GraphNode, placed: &TreeNode) -> (String, &'static str) {
    let style = match (&node.id, node.client) {
        (NodeId::Origin, _) => return ("here".to_owned(), ", shape=doublecircle"),
        (NodeId::Silent { .. }, _) => return ("*".to_owned(), ", style=dashed"),
        (_, Some(client)) if !client.answered => ", shape=box, style=dashed",
        (_, Some(_)) => ", shape=box",
        _ => "",
    };
    let who = if let Some(client) = node.client {
        client.target.to_string()
    } else {
        let members: Vec<String> = node.members.iter().map(ToString::to_string).collect();
        members.join("\\n")
    };
    match placed.rtt.basis {
        RttBasis::Inherited => (who, style),
        _ => (format!("{who}\\n{:.1} ms", placed.rtt.rtt.as_ms()), style),
    }
}

/// The address that answered at a node.
fn address(node: &TreeNode) -> Option<IpAddr> {
    let client = node.client.filter(|client| client.answered);
    client
        .map(|client| client.target)
        .or_else(|| node.members.first().copied())
}
