//! Which sites may serve which clients, and how fast: the problem as lists, for what a network alone does not tell.

use crate::network::Network;
use crate::problem::{Problem, Service};

/// A node with demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) node: usize,
    /// Thousandths of a request per second.
    pub(crate) demand: u64,
    /// Round trip to the cloud in microseconds.
    pub(crate) cloud: u64,
}

/// Clients, and by site the clients that it beats the cloud for.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    pub(crate) clients: Vec<Client>,
    /// By site: client and round trip in microseconds, in order of client.
    pub(crate) sites: Vec<Vec<(u32, u64)>>,
    /// By site and client, who could serve.
    by_client: Vec<Vec<(u64, u32)>>,
}

impl Reach {
    /// All sites and all nodes with demand, in O(sites × nodes).
    pub(crate) fn new(problem: &Problem) -> Self {
        let is_wanted = vec![true; problem.sites().len()];
        Self::among(problem, &is_wanted, true)
    }

    /// These sites and all nodes, those without demand, too.
    pub(crate) fn of(problem: &Problem, chosen: &[usize]) -> Self {
        let mut is_wanted = vec![false; problem.sites().len()];
        for site in chosen {
            is_wanted[*site] = true;
        }
        Self::among(problem, &is_wanted, false)
    }

    fn among(problem: &Problem, is_wanted: &[bool], only_demand: bool) -> Self {
        let network = problem.network();
        let demand = problem.demand().iter().enumerate();
        let clients: Vec<Client> = demand
            .filter(|(node, demand)| {
                network.round_trips()[*node] != u64::MAX && (**demand > 0 || !only_demand)
            })
            .map(|(node, demand)| Client {
                node,
                demand: *demand,
                cloud: network.round_trips()[node],
            })
            .collect();
        let behind = match problem.service() {
            Service::AnyNearest => None,
            Service::OnPath => Some(Behind::new(network)),
        };
        let mut at_node: Option<(usize, Vec<u64>)> = None;
        let mut by_client = vec![Vec::new(); clients.len()];
        let mut sites = Vec::with_capacity(problem.sites().len());
        for (position, site) in problem.sites().iter().enumerate() {
            if !is_wanted[position] {
                sites.push(Vec::new());
                continue;
            }
            let distances = match at_node.take() {
                Some((node, distances)) if node == site.node => distances,
                _ => network.distances(site.node),
            };
            let mut reach = Vec::new();
            for (index, client) in clients.iter().enumerate() {
                let measured = problem.measured(position, client.node);
                let by_network = || {
                    let may = behind
                        .as_ref()
                        .is_none_or(|behind| behind.is_on_the_way(site.node, client.node));
                    may.then(|| distances[client.node].saturating_add(site.access))
                };
                let Some(micros) = measured.or_else(by_network) else {
                    continue;
                };
                if problem.uses(client.cloud, micros) {
                    reach.push((crate::network::small(index), micros));
                    by_client[index].push((micros, crate::network::small(position)));
                }
            }
            sites.push(reach);
            at_node = Some((site.node, distances));
        }
        for list in &mut by_client {
            list.sort_unstable();
        }
        Self {
            clients,
            sites,
            by_client,
        }
    }

    /// Who could serve a client, nearest first, the first on a tie.
    pub(crate) fn servers(&self, client: usize) -> &[(u64, u32)] {
        &self.by_client[client]
    }

    /// Round trip of each node's clients in microseconds, by who serves them.
    pub(crate) fn services(&self, serving: &[Option<usize>]) -> Vec<u64> {
        let mut micros = vec![0; serving.len()];
        for (index, client) in self.clients.iter().enumerate() {
            let site = serving[client.node];
            micros[client.node] = site
                .and_then(|site| self.micros(site, index))
                .unwrap_or(client.cloud);
        }
        micros
    }

    fn micros(&self, site: usize, client: usize) -> Option<u64> {
        let list = &self.sites[site];
        let at = list.binary_search_by_key(&client, |(client, _)| *client as usize);
        at.ok().map(|at| list[at].1)
    }

    /// What serving it from there saves, in microseconds × thousandths of a request per second.
    pub(crate) fn saving(&self, client: u32, micros: u64) -> u128 {
        let client = &self.clients[client as usize];
        u128::from(client.cloud - micros) * u128::from(client.demand)
    }

    /// Number of pairs.
    pub(crate) fn pairs(&self) -> usize {
        self.sites.iter().map(Vec::len).sum()
    }
}

/// Answers which nodes are on the way from the cloud to which others.
#[derive(Clone, Debug)]
pub(crate) struct Behind {
    /// When a walk of the tree first enters each node, and how many nodes it visits from then until it leaves.
    spans: Vec<(u32, u32)>,
}

impl Behind {
    pub(crate) fn new(network: &Network) -> Self {
        let order = network.order();
        let mut spans = vec![(u32::MAX, 0); network.len()];
        for node in order.iter().rev() {
            spans[*node as usize].1 += 1;
            if let Some(parent) = network.parent(*node as usize) {
                spans[parent].1 += spans[*node as usize].1;
            }
        }
        // Where the next child of each node is entered.
        let mut next = vec![0; network.len()];
        for node in order {
            let node = node as usize;
            spans[node].0 = match network.parent(node) {
                Some(parent) => {
                    let at = next[parent];
                    next[parent] += spans[node].1;
                    at
                }
                None => 0,
            };
            next[node] = spans[node].0 + 1;
        }
        Self { spans }
    }

    /// Is `site` on the way to `client`, or the same node?
    pub(crate) fn is_on_the_way(&self, site: usize, client: usize) -> bool {
        let (start, size) = self.spans[site];
        let at = self.spans[client].0;
        at >= start && at - start < size
    }

    /// When a walk of the tree enters the node, and how many nodes are at or behind it.
    pub(crate) fn span(&self, node: usize) -> (u32, u32) {
        self.spans[node]
    }
}
