//! From observations to the graph.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use edge_types::{IpNet, Rtt};

use crate::graph::order::{Rank, order};
use crate::graph::{GraphNode, Link, PathGraph, Reading};
use crate::grouping::{Grouping, Place};
use crate::interfaces::{InterfaceNumber, Known};
use crate::normalise::CleanPath;
use crate::observations::{Observations, StoredPath};
use crate::rtt::RttSummary;
use crate::tree::{ClientLeaf, Demand, MAX_CLIENT_DEMAND, NodeId, NodeIndex};

pub(super) fn graph(
    observations: &Observations,
    grouping: &Grouping,
    demand: &Demand,
) -> PathGraph {
    let mut union = Union::new(observations, grouping);
    let mut untraced = Vec::new();
    for (prefix, client) in demand {
        let Some(path) = observations.path(client.target) else {
            untraced.push(*prefix);
            continue;
        };
        let leaf = ClientLeaf {
            prefix: *prefix,
            target: client.target,
            demand: client.milli_requests_per_second.min(MAX_CLIENT_DEMAND),
            answered: path.arrival.is_some(),
        };
        union.add(path, leaf);
    }
    union.into_graph(grouping.clone(), untraced)
}

/// The union of all paths, after grouping.
struct Union<'a> {
    observations: &'a Observations,
    grouping: &'a Grouping,
    indices: BTreeMap<NodeId, usize>,
    vertices: Vec<Vertex>,
    successors: Vec<BTreeSet<usize>>,
    bypasses: BTreeSet<(usize, usize)>,
    /// Per client: its vertex, and those on the way, origin first.
    paths: Vec<Vec<usize>>,
    /// The vertex of each interface, by number.
    groups: Vec<Option<usize>>,
    /// Is the interface, by number, a member of its vertex already?
    is_member: Vec<bool>,
}

struct Vertex {
    id: NodeId,
    nearest: usize,
    /// By where the link comes from.
    links: BTreeMap<usize, Weight>,
    members: BTreeSet<IpAddr>,
    reading: Reading,
    client: Option<ClientLeaf>,
}

#[derive(Clone, Copy, Default)]
struct Weight {
    demand: u64,
    paths: usize,
}

const ORIGIN: usize = 0;

impl<'a> Union<'a> {
    fn new(observations: &'a Observations, grouping: &'a Grouping) -> Self {
        let interfaces = observations.known().places();
        let mut union = Self {
            observations,
            grouping,
            indices: BTreeMap::new(),
            vertices: Vec::new(),
            successors: Vec::new(),
            bypasses: BTreeSet::new(),
            paths: Vec::new(),
            groups: vec![None; interfaces],
            is_member: vec![false; interfaces],
        };
        union.vertex(NodeId::Origin);
        union.vertices[ORIGIN].nearest = 0;
        union
    }

    fn vertex(&mut self, id: NodeId) -> usize {
        if let Some(index) = self.indices.get(&id) {
            return *index;
        }
        let index = self.vertices.len();
        self.indices.insert(id.clone(), index);
        self.successors.push(BTreeSet::new());
        self.vertices.push(Vertex {
            id,
            nearest: usize::MAX,
            links: BTreeMap::new(),
            members: BTreeSet::new(),
            reading: Reading::default(),
            client: None,
        });
        index
    }

    fn group(&mut self, number: InterfaceNumber) -> usize {
        if let Some(index) = self.groups[number.place()] {
            return index;
        }
        let known = self.observations.known().get(number);
        let index = self.vertex(NodeId::Group(self.grouping.place(&known.interface)));
        self.groups[number.place()] = Some(index);
        index
    }

    fn add(&mut self, path: &StoredPath, leaf: ClientLeaf) {
        let steps = path.steps.iter();
        let groups: Vec<(u8, Option<usize>)> = steps
            .map(|step| (step.silent_before, Some(self.group(step.interface))))
            .collect();
        let client = self.vertex(NodeId::Client(leaf.prefix));
        let clean = CleanPath::new(groups.iter().copied());
        let way = self.way(&clean, path.tail, client);

        for (position, index) in way.iter().enumerate() {
            let vertex = &mut self.vertices[*index];
            vertex.nearest = vertex.nearest.min(position);
        }
        for pair in way.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let weight = self.vertices[to].links.entry(from).or_default();
            weight.demand = weight.demand.saturating_add(leaf.demand);
            weight.paths += 1;
            self.successors[from].insert(to);
        }

        for (step, (_, group)) in path.steps.iter().zip(&groups) {
            let is_new = !self.is_member[step.interface.place()];
            if let Some(group) = group.filter(|group| is_new && way.contains(group)) {
                self.is_member[step.interface.place()] = true;
                self.vertices[group].add(self.observations.known().get(step.interface));
            }
        }
        self.vertices[client].client = Some(leaf);
        if let Some(arrival) = path.arrival {
            let known = self.observations.known().get(arrival);
            self.vertices[client].add(known);
        } else if let Some(minimum) = path.connected
            && self.last_router(path).is_none_or(|least| least <= minimum)
        {
            // Where on its way it is, is not known, but how far away is. Nearer than the router before it there is only a proxy
            // that takes its connections.
            self.vertices[client].reading.own = Some(RttSummary {
                minimum,
                jitter: Duration::ZERO,
                samples: 1,
            });
        }
        for (position, other) in &path.beside {
            let (_, Some(first)) = groups[usize::from(*position)] else {
                continue;
            };
            let is_elsewhere = self.group(*other) != first;
            // A group is neither the first nor the last of the way.
            if let Some(at) = way.iter().position(|index| *index == first)
                && is_elsewhere
            {
                self.bypasses.insert((way[at - 1], way[at + 1]));
            }
        }
        self.paths.push(way);
    }

    /// The least round trip to the last router on a path that has any.
    fn last_router(&self, path: &StoredPath) -> Option<Rtt> {
        let mut steps = path.steps.iter().rev();
        let known = |interface| self.observations.known().get(interface);
        steps
            .find_map(|step| known(step.interface).summary())
            .map(|summary| summary.minimum)
    }

    /// The vertices on one path, from the origin to the client.
    fn way(&mut self, clean: &CleanPath<usize>, tail: u8, client: usize) -> Vec<usize> {
        let mut way = vec![ORIGIN];
        let mut after = None;
        for (length, group) in &clean.places {
            self.silence(&mut way, after, *group, *length);
            way.push(*group);
            after = Some(*group);
        }
        self.silence(&mut way, after, client, tail);
        way.push(client);
        way
    }

    fn silence(&mut self, way: &mut Vec<usize>, after: Option<usize>, before: usize, length: u8) {
        if length == 0 {
            return;
        }
        let place = |index: usize| match &self.vertices[index].id {
            NodeId::Group(place) => Some(place.clone()),
            NodeId::Client(prefix) => Some(Place::Prefix(*prefix)),
            NodeId::Origin | NodeId::Silent { .. } => None,
        };
        let after = after.and_then(place);
        let Some(before) = place(before) else { return };
        for position in 0..length {
            way.push(self.vertex(NodeId::Silent {
                after: after.clone(),
                before: before.clone(),
                length,
                position,
            }));
        }
    }

    fn into_graph(self, grouping: Grouping, untraced: Vec<IpNet>) -> PathGraph {
        let mut ranks: Vec<Rank> = self
            .vertices
            .iter()
            .map(|vertex| Rank {
                nearest: vertex.nearest,
                identity: 0,
            })
            .collect();
        for (identity, index) in self.indices.values().enumerate() {
            ranks[*index].identity = identity;
        }
        let order = order(&self.successors, &ranks);
        // What every path erased again cannot be reached, and is left out.
        let mut places = vec![NodeIndex(usize::MAX); self.vertices.len()];
        for (place, index) in order.iter().enumerate() {
            places[*index] = NodeIndex(place);
        }
        let mut vertices: Vec<Option<Vertex>> = self.vertices.into_iter().map(Some).collect();
        let nodes = order
            .iter()
            .filter_map(|index| vertices[*index].take())
            .map(|vertex| vertex.into_node(&places))
            .collect();
        let bypasses = self.bypasses.iter();
        let bypasses: BTreeSet<_> = bypasses
            .map(|(from, to)| (places[*from], places[*to]))
            .collect();
        let paths = self.paths.iter().filter_map(|way| {
            let (client, before) = way.split_last()?;
            let way = before.iter().skip(1).map(|index| places[*index]);
            Some((places[*client], way.collect()))
        });
        PathGraph {
            grouping,
            nodes,
            bypasses: bypasses.into_iter().collect(),
            paths: Arc::new(paths.collect()),
            untraced,
        }
    }
}

impl Vertex {
    fn add(&mut self, member: &Known) {
        self.members.insert(member.interface.address);
        self.reading.add(member);
    }

    fn into_node(self, places: &[NodeIndex]) -> GraphNode {
        let links = self.links.into_iter().map(|(from, weight)| Link {
            from: places[from],
            demand: weight.demand,
            paths: weight.paths,
        });
        let mut links: Vec<Link> = links.collect();
        links.sort_unstable_by_key(|link| link.from);
        GraphNode {
            id: self.id,
            links,
            members: self.members.into_iter().collect(),
            client: self.client,
            reading: self.reading,
        }
    }
}

impl Reading {
    fn add(&mut self, known: &Known) {
        if let Some(summary) = known.summary()
            && self.own.is_none_or(|own| summary.minimum < own.minimum)
        {
            self.own = Some(summary);
            self.extra_hops = known.extra_hops;
        }
        if let Some(bound) = known.tunnel_rtt {
            self.bound = Some(self.bound.map_or(bound, |known| known.min(bound)));
        }
    }
}
