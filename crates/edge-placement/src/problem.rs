//! A placement problem in whole numbers: a network, who asks from where, where one may serve, and the limits.

use std::collections::BTreeMap;

use edge_topology::MAX_CLIENT_DEMAND;

use crate::network::{MAX_MICROS, Network};

/// Which sites a client may be served by. The two are kept apart because their best sites differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// The nearest chosen site, wherever it is (paper section 2.5).
    #[default]
    AnyNearest,
    /// Only a site on the client's way from the cloud, where discovery found it (paper section 2.3).
    OnPath,
}

/// A place where the service may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    /// The node that it hangs on.
    pub node: usize,
    /// Microseconds that a request takes beyond `node`: the way on to the site, and from the site back to the cloud for what
    /// the service calls there.
    pub access: u64,
    /// What it takes of [`Limits::budget`].
    pub price: u128,
    /// What it adds to the cost that is minimised, in microseconds × thousandths of a request per second; 0 if only
    /// latency counts. A site is worth it if it saves more.
    pub rent: u128,
    /// Most demand that it can serve, in thousandths of a request per second; `None` for any.
    pub capacity: Option<u64>,
}

/// Limits of a solution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Most sites.
    pub sites: usize,
    /// Most that their prices may sum up to.
    pub budget: u128,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Self {
        sites: usize::MAX,
        budget: u128::MAX,
    };
}

/// No problem could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProblemError {
    /// There is not one demand for each node.
    #[error("{demands} demands were given for {nodes} nodes")]
    DemandMismatch {
        /// How many demands there are.
        demands: usize,
        /// How many nodes there are.
        nodes: usize,
    },
    /// A demand is above [`MAX_CLIENT_DEMAND`] times a million, the most that sums are exact for.
    #[error("the demand of all nodes up to {node} is out of range")]
    DemandOutOfRange {
        /// The node.
        node: usize,
    },
    /// A client has no way to the cloud.
    #[error("node {node} has clients but no way to the cloud; leave it out")]
    Unreachable {
        /// The node.
        node: usize,
    },
    /// A site hangs on a node that there is not.
    #[error("site {site} is at node {node} of {nodes}")]
    NoSuchNode {
        /// The site's position.
        site: usize,
        /// The node that was given.
        node: usize,
        /// How many nodes there are.
        nodes: usize,
    },
    /// A site is too far from its node.
    #[error("site {site} is more than 71 minutes from its node")]
    TooFar {
        /// The site's position.
        site: usize,
    },
    /// Prices or rents do not sum up to a number.
    #[error("the prices of all sites up to {site} are out of range")]
    PriceOutOfRange {
        /// The site's position.
        site: usize,
    },
}

/// Most demand of all nodes together: a million prefixes at most each. Times [`MAX_MICROS`] it fits `u128` by far.
const MAX_DEMAND: u64 = MAX_CLIENT_DEMAND * 1_000_000;

/// Most that rents of all sites may sum up to, so that adding latencies never overflows.
const MAX_RENTS: u128 = u128::MAX / 4;

/// A network, demand, sites and limits. What is to be found: the sites within the limits for which
/// `Σ demand × round trip + Σ rent` is least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    network: Network,
    demand: Vec<u64>,
    sites: Vec<Site>,
    service: Service,
    limits: Limits,
    margin: u64,
    /// By site and node, where it is not what the network says.
    measured: BTreeMap<(usize, usize), u64>,
}

impl Problem {
    /// Demand of each node, in thousandths of a request per second, on a network where every node but the cloud is a site that
    /// costs nothing; any-nearest, without limits.
    ///
    /// # Errors
    /// [`ProblemError`], if the demand does not fit the network.
    pub fn new(network: Network, demand: Vec<u64>) -> Result<Self, ProblemError> {
        if demand.len() != network.len() {
            return Err(ProblemError::DemandMismatch {
                demands: demand.len(),
                nodes: network.len(),
            });
        }
        let mut sum = 0u64;
        for (node, (demand, micros)) in demand.iter().zip(network.round_trips()).enumerate() {
            sum = sum
                .checked_add(*demand)
                .filter(|sum| *sum <= MAX_DEMAND)
                .ok_or(ProblemError::DemandOutOfRange { node })?;
            if *demand > 0 && *micros == u64::MAX {
                return Err(ProblemError::Unreachable { node });
            }
        }
        let sites = (1..network.len()).map(|node| Site {
            node,
            ..Site::default()
        });
        Ok(Self {
            sites: sites.collect(),
            network,
            demand,
            service: Service::AnyNearest,
            limits: Limits::NONE,
            margin: 1,
            measured: BTreeMap::new(),
        })
    }

    /// A network that nobody asks anything of, and without sites.
    pub(crate) fn idle(network: Network) -> Self {
        Self {
            demand: vec![0; network.len()],
            network,
            sites: Vec::new(),
            service: Service::AnyNearest,
            limits: Limits::NONE,
            margin: 1,
            measured: BTreeMap::new(),
        }
    }

    /// With these sites instead. Solutions name them by position; where all else is equal the earlier is preferred.
    ///
    /// # Errors
    /// [`ProblemError`], if a site is nowhere or the prices are out of range.
    pub fn with_sites(mut self, sites: Vec<Site>) -> Result<Self, ProblemError> {
        let (mut prices, mut rents) = (0u128, 0u128);
        for (position, site) in sites.iter().enumerate() {
            if site.node >= self.network.len() {
                return Err(ProblemError::NoSuchNode {
                    site: position,
                    node: site.node,
                    nodes: self.network.len(),
                });
            }
            if site.access > MAX_MICROS {
                return Err(ProblemError::TooFar { site: position });
            }
            let error = ProblemError::PriceOutOfRange { site: position };
            prices = prices.checked_add(site.price).ok_or(error)?;
            rents = rents
                .checked_add(site.rent)
                .filter(|rents| *rents <= MAX_RENTS)
                .ok_or(error)?;
        }
        self.sites = sites;
        Ok(self)
    }

    /// With this service model.
    #[must_use]
    pub const fn with_service(mut self, service: Service) -> Self {
        self.service = service;
        self
    }

    /// Within these limits.
    #[must_use]
    pub const fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// With at most so many sites.
    #[must_use]
    pub const fn at_most(mut self, sites: usize) -> Self {
        self.limits.sites = sites;
        self
    }

    /// A client is sent to a site only if that is nearer than the cloud by at least this, in microseconds. It is 1 unless
    /// set; 0 counts as 1.
    #[must_use]
    pub fn with_margin(mut self, micros: u64) -> Self {
        self.margin = micros.clamp(1, MAX_MICROS);
        self
    }

    /// With round trips, in microseconds, between sites and the clients of nodes that were measured and replace what the
    /// network says, whatever the service model. Entries for what is no site or node count for nothing.
    #[must_use]
    pub fn with_measured(mut self, measured: BTreeMap<(usize, usize), u64>) -> Self {
        self.measured = measured;
        let (sites, nodes) = (self.sites.len(), self.network.len());
        self.measured
            .retain(|(site, node), _| *site < sites && *node < nodes);
        for micros in self.measured.values_mut() {
            *micros = (*micros).min(MAX_MICROS);
        }
        self
    }

    /// The network.
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// Demand by node, in thousandths of a request per second.
    pub fn demand(&self) -> &[u64] {
        &self.demand
    }

    /// Demand of all nodes.
    pub fn total_demand(&self) -> u64 {
        self.demand.iter().sum()
    }

    /// The sites.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The service model.
    pub const fn service(&self) -> Service {
        self.service
    }

    /// The limits.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// By how much a site must beat the cloud, in microseconds.
    pub const fn margin(&self) -> u64 {
        self.margin
    }

    /// `Σ demand × round trip` if the cloud serves all.
    pub fn cloud_only(&self) -> u128 {
        let all = self.demand.iter().zip(self.network.round_trips());
        all.filter(|(demand, _)| **demand > 0)
            .map(|(demand, micros)| u128::from(*demand) * u128::from(*micros))
            .sum()
    }

    /// Has any site a limit to what it can serve?
    pub fn has_capacities(&self) -> bool {
        self.sites.iter().any(|site| site.capacity.is_some())
    }

    /// Does the network say everything: no capacities, nothing measured?
    pub(crate) fn is_plain(&self) -> bool {
        self.measured.is_empty() && !self.has_capacities()
    }

    /// Measured round trip between a site and the clients of a node.
    pub(crate) fn measured(&self, site: usize, node: usize) -> Option<u64> {
        if self.measured.is_empty() {
            return None;
        }
        self.measured.get(&(site, node)).copied()
    }

    /// What a request takes, in microseconds, for whom the cloud is `cloud` away and the best site `site`.
    pub(crate) const fn served(&self, cloud: u64, site: u64) -> u64 {
        if self.uses(cloud, site) { site } else { cloud }
    }

    /// Is the site near enough to be used instead of the cloud?
    pub(crate) const fn uses(&self, cloud: u64, site: u64) -> bool {
        site.saturating_add(self.margin) <= cloud
    }
}
