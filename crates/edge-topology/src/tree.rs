//! The aggregate tree: an immutable view of the observations, rooted at the vantage point.

mod attach;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use edge_types::{Generation, IpNet, Rtt};

use crate::graph::Paths;
use crate::grouping::{Grouping, Place};
use crate::latency::{Bars, RttBasis, RttEstimate};

pub use attach::Attachment;

/// Who sends requests: per client prefix, the address that was traced for it and the rate.
pub type Demand = BTreeMap<IpNet, ClientDemand>;

/// Largest rate of one client prefix that is told apart, in thousandths of a request per second: 10^9 requests per
/// second. It keeps all sums and products over a million prefixes exact.
pub const MAX_CLIENT_DEMAND: u64 = 1_000_000_000_000;

/// One client prefix's part of the demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientDemand {
    /// The address that stands for the prefix in traces.
    pub target: IpAddr,
    /// Thousandths of a request per second, 0 to [`MAX_CLIENT_DEMAND`]; more counts as that.
    pub milli_requests_per_second: u64,
}

/// What a node of the tree stands for; the same in every generation that sees the same places.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeId {
    /// The vantage point: the orchestrator's cloud.
    Origin,
    /// Routers of one place.
    Group(Place),
    /// A silent hop, known by its neighbours only. Never one node for all silence: that would be a hub that is not there.
    Silent {
        /// The last node that answered before it; `None` for the origin.
        after: Option<Place>,
        /// The next that did: a group, or the client prefix.
        before: Place,
        /// Silent hops between the two.
        length: u8,
        /// Which of them, from 0.
        position: u8,
    },
    /// A client prefix.
    Client(IpNet),
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin => f.write_str("cloud"),
            Self::Group(place) => place.fmt(f),
            Self::Client(prefix) => prefix.fmt(f),
            Self::Silent { after, before, .. } => match after {
                Some(after) => write!(f, "silent between {after} and {before}"),
                None => write!(f, "silent before {before}"),
            },
        }
    }
}

/// Position of a node in [`AggregateTree::nodes`]; means nothing in another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub usize);

/// By which rule a node of the graph gets one parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parents {
    /// The node before it through which most demand comes: for drawing, and to tell how much passes where today.
    Heaviest,
    /// Its immediate dominator, the last node that every way to it passes: for what must hold whichever way routers balance.
    Dominators,
}

/// An estimated round trip along the link between a node and its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkEstimate {
    /// The estimate, there and back along the link.
    pub rtt: Rtt,
    /// How far off it may well be, to either side; no link is shorter than zero though.
    pub error: Duration,
}

/// The client prefix at a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLeaf {
    /// The prefix.
    pub prefix: IpNet,
    /// The address that was traced for it.
    pub target: IpAddr,
    /// Its rate, in thousandths of a request per second.
    pub demand: u64,
    /// Did the traced address itself answer? If not, the leaf hangs below the last router that did.
    pub answered: bool,
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeNode {
    /// What it stands for.
    pub id: NodeId,
    /// The node before it on the way from the origin; `None` only for the origin. Always a smaller index.
    pub parent: Option<NodeIndex>,
    /// The last node before it that every way to it passes in the graph of all paths; `None` only for the origin.
    /// With [`Parents::Dominators`] the parent.
    pub dominator: Option<NodeIndex>,
    /// Edges to the origin.
    pub depth: u32,
    /// Round trip from the origin; never less than the parent's.
    pub rtt: RttEstimate,
    /// Addresses that answered here, in order; empty where silent.
    pub members: Vec<IpAddr>,
    /// Demand of all clients at or behind the node in the tree (`S_v`), in thousandths of a request per second.
    pub demand: u64,
    /// The client prefix, at a leaf.
    pub client: Option<ClientLeaf>,
}

/// The paths to all clients merged into one tree, numbered and immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateTree {
    pub(crate) generation: Generation,
    pub(crate) rule: Parents,
    pub(crate) grouping: Grouping,
    pub(crate) nodes: Vec<TreeNode>,
    pub(crate) index: BTreeMap<NodeId, NodeIndex>,
    pub(crate) paths: Arc<Paths>,
    pub(crate) bars: Bars,
    pub(crate) untraced: Vec<IpNet>,
}

impl AggregateTree {
    /// Its number.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// How its nodes got their parents.
    pub const fn rule(&self) -> Parents {
        self.rule
    }

    /// All nodes, the origin first and every parent before its children.
    pub fn nodes(&self) -> &[TreeNode] {
        &self.nodes
    }

    /// A node; `None` if the index is not of this tree.
    pub fn node(&self, index: NodeIndex) -> Option<&TreeNode> {
        self.nodes.get(index.0)
    }

    /// Where the node of this identity is.
    pub fn find(&self, id: &NodeId) -> Option<NodeIndex> {
        self.index.get(id).copied()
    }

    /// The leaf of a client prefix.
    pub fn client(&self, prefix: IpNet) -> Option<&TreeNode> {
        self.node(self.find(&NodeId::Client(prefix))?)
    }

    /// All client leaves, in order of prefix.
    pub fn clients(&self) -> impl Iterator<Item = (NodeIndex, &TreeNode, &ClientLeaf)> {
        self.index.values().filter_map(|index| {
            let node = self.node(*index)?;
            Some((*index, node, node.client.as_ref()?))
        })
    }

    /// Client prefixes of the demand whose target was never traced.
    pub fn untraced(&self) -> &[IpNet] {
        &self.untraced
    }

    /// Demand of all clients in the tree, in thousandths of a request per second.
    pub fn total_demand(&self) -> u64 {
        self.nodes.first().map_or(0, |origin| origin.demand)
    }

    /// The node and all before it, up to and with the origin.
    pub fn chain(&self, from: NodeIndex) -> impl Iterator<Item = (NodeIndex, &TreeNode)> {
        let step = |index: NodeIndex| self.node(index).map(|node| (index, node));
        std::iter::successors(step(from), move |(_, node)| step(node.parent?))
    }

    /// Last node that is on the way to both; `None` if an index is not of this tree.
    pub fn common_ancestor(&self, a: NodeIndex, b: NodeIndex) -> Option<NodeIndex> {
        let (mut a, mut b) = (a, b);
        while a != b {
            // Parents have smaller indices, so the larger of two different nodes is no ancestor of the other.
            let further = a.max(b);
            let parent = self.node(further)?.parent?;
            (a, b) = (parent, a.min(b));
        }
        self.node(a).map(|_| a)
    }

    /// The nodes that every way to this one passes, from the last to the origin; the node itself comes first.
    pub fn dominators(&self, from: NodeIndex) -> impl Iterator<Item = (NodeIndex, &TreeNode)> {
        let step = |index: NodeIndex| self.node(index).map(|node| (index, node));
        std::iter::successors(step(from), move |(_, node)| step(node.dominator?))
    }

    /// The nodes that the trace to a client passed, from the first behind the origin to the client's own; empty if the index is no
    /// client's. The tree's own way there may be another.
    pub fn path(&self, client: NodeIndex) -> impl Iterator<Item = NodeIndex> {
        let way = self.paths.get(&client);
        way.into_iter()
            .flat_map(move |way| way.iter().copied().chain([client]))
    }

    /// The link from its parent to this node; `None` for the origin, and where nothing at or behind the node ever answered.
    pub fn link(&self, child: NodeIndex) -> Option<LinkEstimate> {
        let node = self.node(child)?;
        let parent = node.parent?;
        let before = self.node(parent)?;
        if node.rtt.basis == RttBasis::Inherited {
            return None;
        }
        let rtt = Rtt(node.rtt.rtt.0.saturating_sub(before.rtt.rtt.0));
        Some(LinkEstimate {
            rtt,
            error: self.bars.between(parent, child, rtt),
        })
    }
}
