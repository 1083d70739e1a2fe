//! The aggregate tree: an immutable view of the observations, rooted at the vantage point.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use edge_types::{Generation, IpNet, PathObservation, PrefixGrouping, Rtt};

use crate::normalise::RouterPath;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeId {
    /// The vantage point: the orchestrator's cloud.
    Origin,
    /// Routers whose addresses share this prefix.
    Group(IpNet),
    /// A silent hop, known by its neighbours only. Never one node for all silence: that would be a hub that is not there.
    Silent {
        /// The last node that answered before it; `None` for the origin.
        after: Option<IpNet>,
        /// The next that did: a group, or the client prefix.
        before: IpNet,
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
            Self::Group(prefix) | Self::Client(prefix) => write!(f, "{prefix}"),
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

/// An estimated round trip, with what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RttEstimate {
    /// The estimate.
    pub rtt: Rtt,
    /// How far off it may well be, to either side: median less minimum where measured, half the span where interpolated.
    pub error: Duration,
    /// Where it comes from.
    pub basis: RttBasis,
}

/// Where an estimate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RttBasis {
    /// It is zero, at the vantage point.
    Origin,
    /// The node answered.
    Measured {
        /// Smallest round trip of its own. The estimate is lower where an answer came back sooner from behind the node:
        /// the node answers slowly, or its answers come back another way.
        own: Rtt,
    },
    /// The node is silent; the estimate lies evenly between its neighbours'.
    Interpolated,
    /// The node and all behind it are silent; the estimate is the parent's, a lower bound.
    Inherited,
    /// Put together from estimates along the tree.
    Composed,
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
    /// Edges to the origin.
    pub depth: u32,
    /// Round trip from the origin; never less than the parent's.
    pub rtt: RttEstimate,
    /// Addresses that answered here, in order; empty where silent.
    pub members: Vec<IpAddr>,
    /// Demand of all clients at or behind the node (`S_v`), in thousandths of a request per second.
    pub demand: u64,
    /// The client prefix, at a leaf.
    pub client: Option<ClientLeaf>,
}

/// Where something that is no client hangs on the tree of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The tree it belongs to.
    pub generation: Generation,
    /// Last node of the tree on the way there.
    pub node: NodeIndex,
    /// Round trip from the origin to the place itself, or to the last hop that answered if `reached` is false.
    pub rtt: Rtt,
    /// The part of it beyond `node`.
    pub beyond: Rtt,
    /// Did the place itself answer?
    pub reached: bool,
}

/// The paths to all clients merged into one tree, numbered and immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateTree {
    pub(crate) generation: Generation,
    pub(crate) grouping: PrefixGrouping,
    pub(crate) nodes: Vec<TreeNode>,
    pub(crate) index: BTreeMap<NodeId, NodeIndex>,
    pub(crate) untraced: Vec<IpNet>,
}

impl AggregateTree {
    /// Its number.
    pub const fn generation(&self) -> Generation {
        self.generation
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
    pub fn find(&self, id: NodeId) -> Option<NodeIndex> {
        self.index.get(&id).copied()
    }

    /// The leaf of a client prefix.
    pub fn client(&self, prefix: IpNet) -> Option<&TreeNode> {
        self.node(self.find(NodeId::Client(prefix))?)
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

    /// Hangs the end of a path, usually an edge site, on the tree.
    pub fn attach(&self, path: &PathObservation) -> Attachment {
        let clean = RouterPath::new(path);
        let routers = clean.routers.places.iter().map(|(_, router)| *router);
        let node = routers
            .chain(clean.arrival.map(|reply| reply.address))
            .filter_map(|address| self.find(NodeId::Group(self.grouping.group(address))))
            .next_back()
            .unwrap_or(NodeIndex(0));
        let last = clean.arrival.map(|reply| reply.rtt);
        let rtt = last
            .unwrap_or_else(|| path.replies().filter_map(|(_, reply)| reply.rtt).last())
            .unwrap_or_default();
        let rtt_to_node = self.node(node).map_or(Rtt::default(), |node| node.rtt.rtt);
        Attachment {
            generation: self.generation,
            node,
            rtt,
            beyond: Rtt(rtt.0.saturating_sub(rtt_to_node.0)),
            reached: clean.arrival.is_some(),
        }
    }

    /// Estimated round trip between a node, usually a client leaf, and an attached site: from each to the last node that
    /// both have in common, there and back.
    ///
    /// Traffic between siblings may in truth take a shorter way that a single vantage point cannot see, so this is an
    /// upper bound in spirit. `None` if either is not of this tree.
    pub fn distance(&self, client: NodeIndex, site: &Attachment) -> Option<RttEstimate> {
        if site.generation != self.generation {
            return None;
        }
        let meeting = self.node(self.common_ancestor(client, site.node)?)?;
        let (client, site_node) = (self.node(client)?, self.node(site.node)?);
        let shared = meeting.rtt.rtt.0;
        let to_client = client.rtt.rtt.0.saturating_sub(shared);
        let to_site_node = site_node.rtt.rtt.0.saturating_sub(shared);
        Some(RttEstimate {
            rtt: Rtt(to_client
                .saturating_add(to_site_node)
                .saturating_add(site.beyond.0)),
            error: client.rtt.error.saturating_add(site_node.rtt.error),
            basis: RttBasis::Composed,
        })
    }

    /// [`AggregateTree::distance`] from every node to one site at once, in order of [`AggregateTree::nodes`], in O(nodes).
    /// `None` if the site is not of this tree.
    pub fn distances(&self, site: &Attachment) -> Option<Vec<Rtt>> {
        let site_node = self.node(site.node)?;
        if site.generation != self.generation {
            return None;
        }
        let mut on_the_way = vec![false; self.nodes.len()];
        for (index, _) in self.chain(site.node) {
            on_the_way[index.0] = true;
        }
        // Round trip to the last node in common with the site, for each node; parents come first.
        let mut shared: Vec<Duration> = Vec::with_capacity(self.nodes.len());
        let mut distances = Vec::with_capacity(self.nodes.len());
        for (node, on_the_way) in self.nodes.iter().zip(on_the_way) {
            let meeting = match node.parent {
                Some(parent) if !on_the_way => shared[parent.0],
                _ => node.rtt.rtt.0,
            };
            shared.push(meeting);
            let to_node = node.rtt.rtt.0.saturating_sub(meeting);
            let to_site_node = site_node.rtt.rtt.0.saturating_sub(meeting);
            distances.push(Rtt(to_node
                .saturating_add(to_site_node)
                .saturating_add(site.beyond.0)));
        }
        Some(distances)
    }
}
