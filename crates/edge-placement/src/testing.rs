//! Trees and candidates for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use edge_topology::{AggregateTree, ClientDemand, Limits, Observations};
use edge_types::{
    Amount, Generation, Hop, HopReply, IepId, IpNet, MonotonicTime, OfferId, PathEnd,
    PathObservation, PrefixGrouping, Rtt, Slot, UtcTime,
};
use proptest::prelude::*;

use crate::input::{Application, Candidate, PlanInput, Policy, Trust, Whereabouts};
use crate::{Algorithm, Effort};

/// A small made-up network: routers `1..`, each with a parent (0 is the cloud) and the length of its link.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// Per router: parent, link in ms.
    pub(crate) routers: Vec<(usize, u64)>,
    /// Per client prefix: router, link in ms, demand.
    pub(crate) clients: Vec<(usize, u64, u64)>,
    /// Per site: router, link in ms, price per second.
    pub(crate) sites: Vec<(usize, u64, u128)>,
}

pub(crate) fn router(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(240, 0, 0, u8::try_from(index).unwrap()))
}

fn client(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(241, 0, u8::try_from(index).unwrap(), 9))
}

pub(crate) fn client_prefix(index: usize) -> IpNet {
    IpNet::new(client(index), 24).unwrap().trunc()
}

pub(crate) fn site_id(index: usize) -> IepId {
    IepId {
        host: format!("edge{index}.example").parse().unwrap(),
        port: 5060,
    }
}

impl World {
    fn path(&self, to: usize, link: u64, target: IpAddr) -> PathObservation {
        let mut chain = Vec::new();
        let mut at = to;
        while at > 0 {
            chain.push(at);
            at = self.routers[at - 1].0;
        }
        let mut ms = 0;
        let mut hops = Vec::new();
        let mut reply = |address, link| {
            ms += link;
            let rtt = Rtt(Duration::from_millis(ms));
            hops.push(Hop::Reply(HopReply::new(address, rtt)));
        };
        for at in chain.into_iter().rev() {
            reply(router(at), self.routers[at - 1].1);
        }
        reply(target, link);
        PathObservation {
            target,
            observed_at: MonotonicTime::ZERO,
            hops,
            further: Vec::new(),
            end: PathEnd::Reached,
            probes_sent: 0,
        }
    }

    pub(crate) fn tree(&self) -> AggregateTree {
        let mut observations = Observations::new(Limits::default());
        let mut demand = BTreeMap::new();
        for (index, (to, link, milli_requests_per_second)) in self.clients.iter().enumerate() {
            let target = client(index);
            let path = self.path(*to, *link, target);
            observations.insert(&path).unwrap();
            let client = ClientDemand {
                target,
                milli_requests_per_second: *milli_requests_per_second,
            };
            demand.insert(client_prefix(index), client);
        }
        let by_address = PrefixGrouping::new(32, 128).unwrap();
        observations.tree(Generation(3), by_address, &demand)
    }

    pub(crate) fn candidates(&self, tree: &AggregateTree) -> Vec<Candidate> {
        let candidate = |(index, (to, link, price)): (usize, &(usize, u64, u128))| {
            let number = u8::try_from(index).unwrap();
            let address = IpAddr::V4(Ipv4Addr::new(242, 0, 0, number));
            Candidate {
                site: site_id(index),
                offer: Some(OfferId([number; 32])),
                attachment: tree.attach(&self.path(*to, *link, address)),
                price_per_second: Amount::wei(*price),
                slot: Slot {
                    start: UtcTime(1000),
                    end: UtcTime(1010),
                },
                already_running: false,
                capacity: None,
                trust: Trust::Bound,
                whereabouts: Whereabouts::default(),
                outlook_percent: 100,
            }
        };
        self.sites.iter().enumerate().map(candidate).collect()
    }

    /// A router at random per site and client, so that some routers have several and some none.
    pub(crate) fn any(routers: usize, clients: usize, sites: usize) -> impl Strategy<Value = Self> {
        let routers = prop::collection::vec((0usize..1000, 0u64..30), 1..=routers);
        let clients = prop::collection::vec((0usize..1000, 0u64..10, 0u64..50), 1..=clients);
        let sites = prop::collection::vec((0usize..1000, 0u64..5, 0u128..10), 0..=sites);
        (routers, clients, sites).prop_map(|(mut routers, mut clients, mut sites)| {
            for (index, (parent, _)) in routers.iter_mut().enumerate() {
                *parent %= index + 1;
            }
            for (to, ..) in &mut clients {
                *to = *to % routers.len() + 1;
            }
            for (to, ..) in &mut sites {
                *to = *to % routers.len() + 1;
            }
            Self {
                routers,
                clients,
                sites,
            }
        })
    }
}

static UNMEASURED: BTreeMap<(IepId, IpNet), Rtt> = BTreeMap::new();

pub(crate) fn input<'a>(
    tree: &'a AggregateTree,
    candidates: &'a [Candidate],
    excluded: &'a BTreeSet<IepId>,
    algorithm: Algorithm,
) -> PlanInput<'a> {
    PlanInput {
        generation: Generation(7),
        tree,
        sites_found: candidates.len(),
        candidates,
        excluded,
        measured: &UNMEASURED,
        application: Application::default(),
        policy: Policy::within(Amount::wei(u128::MAX)),
        algorithm,
        effort: Effort::default(),
    }
}
