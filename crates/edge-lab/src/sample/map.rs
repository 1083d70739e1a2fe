//! The world map as published.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

const MAX_NODES: usize = 100_000;

/// A world map cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// Not the JSON expected.
    #[error("not a node-link map in JSON")]
    Json(#[from] serde_json::Error),
    /// More nodes or edges than any map has.
    #[error("more than {MAX_NODES} nodes or edges")]
    TooLarge,
    /// An edge without length, or to nowhere.
    #[error("edge {0} has no sensible length or an unknown end")]
    Edge(usize),
}

/// Places, and the distances between neighbours.
pub(super) struct WorldMap {
    pub(super) places: BTreeMap<u32, Place>,
    /// Neighbours of each place with the distance in kilometres.
    pub(super) neighbours: BTreeMap<u32, Vec<(u32, f64)>>,
}

#[derive(Deserialize)]
pub(super) struct Place {
    id: u32,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    pub(super) name: Option<String>,
}

impl Place {
    pub(super) fn is_city(&self) -> bool {
        self.kind == "City" && self.name.is_some()
    }
}

#[derive(Deserialize)]
struct Edge {
    source: u32,
    target: u32,
    dist: f64,
}

#[derive(Deserialize)]
struct Document {
    nodes: Vec<Place>,
    edges: Vec<Edge>,
}

impl WorldMap {
    pub(super) fn parse(json: &[u8]) -> Result<Self, MapError> {
        let document: Document = serde_json::from_slice(json)?;
        if document.nodes.len() > MAX_NODES || document.edges.len() > MAX_NODES {
            return Err(MapError::TooLarge);
        }
        let known: BTreeSet<u32> = document.nodes.iter().map(|place| place.id).collect();
        let mut neighbours: BTreeMap<u32, Vec<(u32, f64)>> = BTreeMap::new();
        for (i, edge) in document.edges.iter().enumerate() {
            let is_sound = known.contains(&edge.source)
                && known.contains(&edge.target)
                && (0.0..=50_000.0).contains(&edge.dist);
            if !is_sound {
                return Err(MapError::Edge(i));
            }
            for (from, to) in [(edge.source, edge.target), (edge.target, edge.source)] {
                neighbours.entry(from).or_default().push((to, edge.dist));
            }
        }
        let places = document.nodes.into_iter().map(|place| (place.id, place));
        Ok(Self {
            places: places.collect(),
            neighbours,
        })
    }
}
