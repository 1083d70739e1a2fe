//! The network that a figure is drawn of: places, each with its round trip from the cloud, some of them with clients.
//!
//! The paper groups routers and clients by prefix and takes each group for one node, at which clients are and an edge may be
//! (section 3). So a client prefix and the routers of the same prefix are one place here, which they are not in
//! [`AggregateTree`].

use std::collections::BTreeMap;

use edge_placement::{Network, NetworkError, Problem, ProblemError, Site, Tree, micros};
use edge_topology::{AggregateTree, NodeId};

/// Most places of a network, so that all distances fit into memory.
pub const MAX_PLACES: usize = 5000;

/// One place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What it is called.
    pub name: String,
    /// The place before it on the way from the cloud; `None` for the cloud itself. Always a smaller index.
    pub parent: Option<usize>,
    /// Places between it and the cloud, and 1; 0 for the cloud.
    pub depth: u32,
    /// Round trip from the cloud in microseconds; never less than the parent's.
    pub micros: u64,
    /// May an edge be here? Not at the cloud, and not where nobody ever answered.
    pub can_host: bool,
}

/// A network as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    places: Vec<Place>,
    /// Places where clients are, in order.
    homes: Vec<usize>,
}

/// A tree cannot be used for figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacesError {
    /// All distances would not fit into memory.
    #[error("the network has {0} places, more than {MAX_PLACES}")]
    TooMany(usize),
    /// There is nobody to serve.
    #[error("no client of the network answered")]
    NoClients,
    /// There is no place for an edge.
    #[error("the network has no place for an edge")]
    NoHosts,
    /// The places make no network to place services on.
    #[error("no services can be placed on the network")]
    Network(#[source] NetworkError),
    /// The clients make no placement problem.
    #[error("no services can be placed for these clients")]
    Problem(#[source] ProblemError),
}

impl Places {
    /// The places of a tree. Clients that never answered are left out: how far they are is not known.
    ///
    /// # Errors
    /// [`PlacesError`].
    pub fn of_tree(tree: &AggregateTree) -> Result<Self, PlacesError> {
        let mut places: Vec<Place> = Vec::new();
        // Index here of each node of the tree, except of clients.
        let mut here: Vec<Option<usize>> = vec![None; tree.nodes().len()];
        let mut homes: BTreeMap<String, usize> = BTreeMap::new();
        let add = |places: &mut Vec<Place>, name: String, parent: Option<usize>, own, can_host| {
            let above = parent.map(|parent| &places[parent]);
            let place = Place {
                name,
                parent,
                depth: above.map_or(0, |above| above.depth + 1),
                micros: above.map_or(own, |above| above.micros.max(own)),
                can_host,
            };
            places.push(place);
            places.len() - 1
        };
        for (index, node) in tree.nodes().iter().enumerate() {
            if node.client.is_none() {
                let parent = node.parent.and_then(|parent| here[parent.0]);
                let is_group = matches!(node.id, NodeId::Group(_));
                let name = node.id.to_string();
                let at = add(
                    &mut places,
                    name.clone(),
                    parent,
                    micros(node.rtt.rtt),
                    is_group,
                );
                here[index] = Some(at);
                if is_group {
                    homes.insert(name, at);
                }
            }
        }
        let mut is_inner = vec![false; places.len()];
        for parent in places.iter().filter_map(|place| place.parent) {
            is_inner[parent] = true;
        }
        let mut clients = Vec::new();
        for (_, node, leaf) in tree.clients().filter(|(_, _, leaf)| leaf.answered) {
            let name = leaf.prefix.to_string();
            let to_client = micros(node.rtt.rtt);
            let home = homes.get(&name).copied().unwrap_or_else(|| {
                let parent = node.parent.and_then(|parent| here[parent.0]);
                add(&mut places, name, parent, to_client, true)
            });
            // Where ways end the clients are the place. Where others pass it they count as being at its routers.
            if !is_inner.get(home).copied().unwrap_or(false) {
                places[home].micros = places[home].micros.max(to_client);
            }
            clients.push(home);
        }
        clients.sort_unstable();
        clients.dedup();
        if places.len() > MAX_PLACES {
            return Err(PlacesError::TooMany(places.len()));
        }
        if clients.is_empty() {
            return Err(PlacesError::NoClients);
        }
        if !places.iter().any(|place| place.can_host) {
            return Err(PlacesError::NoHosts);
        }
        Ok(Self {
            places,
            homes: clients,
        })
    }

    /// Places by the parent of each but the cloud and the length of the link from it in microseconds, parents first; clients are
    /// where no others are behind.
    pub(super) fn made(links: &[(usize, u64)]) -> Self {
        let mut places = vec![Place {
            name: "cloud".to_owned(),
            parent: None,
            depth: 0,
            micros: 0,
            can_host: false,
        }];
        let mut is_inner = vec![false; links.len() + 1];
        for (number, (parent, link)) in links.iter().enumerate() {
            is_inner[*parent] = true;
            places.push(Place {
                name: format!("node {}", number + 1),
                parent: Some(*parent),
                depth: places[*parent].depth + 1,
                micros: places[*parent].micros + link,
                can_host: true,
            });
        }
        let homes = (0..places.len()).filter(|place| !is_inner[*place]);
        Self {
            homes: homes.collect(),
            places,
        }
    }

    /// All places, the cloud first and every parent before its children.
    pub fn all(&self) -> &[Place] {
        &self.places
    }

    /// Places where clients are, in order.
    pub fn homes(&self) -> &[usize] {
        &self.homes
    }

    /// Places where an edge may be.
    pub fn hosts(&self) -> Vec<usize> {
        (0..self.places.len())
            .filter(|place| self.places[*place].can_host)
            .collect()
    }

    /// Hosts with other places behind them, through which others' ways lead.
    pub fn inner_hosts(&self) -> usize {
        let mut has_child = vec![false; self.places.len()];
        for parent in self.places.iter().filter_map(|place| place.parent) {
            has_child[parent] = true;
        }
        let hosts = self.places.iter().zip(has_child);
        hosts
            .filter(|(place, has_child)| place.can_host && *has_child)
            .count()
    }

    /// The places as placement sees them, in the same order.
    ///
    /// # Errors
    /// [`PlacesError::Network`], if a place is more than an hour away.
    pub fn tree(&self) -> Result<Tree, PlacesError> {
        let links: Vec<(usize, u64)> = self.places[1..]
            .iter()
            .map(|place| {
                let parent = place.parent.unwrap_or(0);
                (parent, place.micros - self.places[parent].micros)
            })
            .collect();
        Tree::new(&links).map_err(PlacesError::Network)
    }

    /// The placement problem of this many clients at each home, each asking once per second: the hosts are the sites, in
    /// order, and cost nothing.
    ///
    /// # Errors
    /// [`PlacesError::Problem`], for more clients than sums are exact for.
    pub fn problem(&self, clients: &[u64]) -> Result<Problem, PlacesError> {
        let mut demand = vec![0; self.places.len()];
        for (home, clients) in self.homes.iter().zip(clients) {
            demand[*home] = clients.saturating_mul(1000);
        }
        let sites = self.hosts().into_iter().map(|node| Site {
            node,
            ..Site::default()
        });
        Problem::new(Network::Tree(self.tree()?), demand)
            .and_then(|problem| problem.with_sites(sites.collect()))
            .map_err(PlacesError::Problem)
    }
}
