//! The lab's network calculated instead of run: who answers a probe, and when, without a packet.
//!
//! Routes, delays, rations of ICMP errors and slow paths are the lab's own. Jitter, loss and queues are left out; figures that
//! rest on this are compared with runs in the lab.

use std::net::IpAddr;
use std::time::Duration;

use edge_lab::forwarder::Rations;
use edge_lab::network::{Location, Network, Route, RouterIndex};
use edge_lab::scenario::Scenario;
use edge_packet::{FlowKey, protocol};
use edge_probe::virtual_time::{VirtualProbe, VirtualReply};
use edge_sim::Random;

/// Ports of the flow that stands for all where no probe is sent.
const PORTS: (u16, u16) = (40_000, 33_434);

/// A network seen from a scenario's cloud.
#[derive(Debug)]
pub(super) struct Calculated {
    network: Network,
    source: IpAddr,
    cloud: Location,
    rations: Rations,
    random: Random,
}

/// A router on a way, and the round trip to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) router: RouterIndex,
    pub(super) round_trip: Duration,
}

impl Calculated {
    /// `None` if the scenario's cloud has no address.
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Option<Self> {
        let network = Network::compile(scenario);
        let source = *scenario.cloud.addresses.first()?;
        let cloud = network.locate(source)?;
        Some(Self {
            network,
            source,
            cloud,
            rations: Rations::default(),
            random: Random::new(seed),
        })
    }

    pub(super) const fn network(&self) -> &Network {
        &self.network
    }

    /// The routers on the way to another, by one flow, with the round trip to each.
    pub(super) fn way(&self, to: RouterIndex) -> Vec<Step> {
        let target = self.network.router(to).addresses.first();
        let hash = target.map_or(0, |target| self.hash(*target, PORTS));
        let route = self.network.path(self.cloud.router, to, hash);
        let steps = 1..=route.routers.len();
        let access = 2 * self.network.link(self.cloud.uplink).delay;
        steps
            .map(|count| Step {
                router: route.routers[count - 1],
                round_trip: access + 2 * self.delay(&route, count),
            })
            .collect()
    }

    /// What the network answers to a probe.
    pub(super) fn answer(&mut self, probe: &VirtualProbe) -> Option<VirtualReply> {
        let target = self.network.locate(probe.target)?;
        let hash = self.hash(probe.target, (probe.source_port, probe.destination_port));
        let route = self.network.path(self.cloud.router, target.router, hash);
        let ttl = usize::from(probe.ttl);
        let there = self.network.link(self.cloud.uplink).delay;
        let back = self.network.link(self.cloud.downlink).delay;
        if let Some(router) = ttl.checked_sub(1).and_then(|hop| route.routers.get(hop)) {
            let behaviour = self.network.router(*router).icmp;
            let from = self.network.router(*router).answers_with(probe.target)?;
            let there = there + self.delay(&route, ttl);
            let arrives = probe.at + there;
            let is_answered = self
                .rations
                .take(arrives, *router, behaviour.ration, self.source);
            let slow_path = behaviour
                .slow_path_mean
                .mul_f64(-(1.0 - self.random.fraction()).ln());
            let home = self.network.path(*router, self.cloud.router, hash);
            let after = there
                + behaviour.slow_path_base
                + slow_path
                + self.network.route_delay(&home)
                + back;
            return is_answered.then_some(VirtualReply {
                from,
                ttl_left: 1,
                after,
            });
        }
        if !target.answers_probes {
            return None;
        }
        let home = self.network.path(target.router, self.cloud.router, hash);
        let access =
            self.network.link(target.downlink).delay + self.network.link(target.uplink).delay;
        Some(VirtualReply {
            from: probe.target,
            ttl_left: u8::try_from(ttl - route.routers.len()).unwrap_or(u8::MAX),
            after: there
                + self.network.route_delay(&route)
                + access
                + self.network.route_delay(&home)
                + back,
        })
    }

    /// One-way delay from the cloud's router to the `count`th router of a route.
    fn delay(&self, route: &Route, count: usize) -> Duration {
        let links = route.links.iter().take(count.saturating_sub(1));
        links.map(|link| self.network.link(*link).delay).sum()
    }

    fn hash(&self, target: IpAddr, (source_port, destination_port): (u16, u16)) -> u64 {
        let ([a, b], [c, d]) = (source_port.to_be_bytes(), destination_port.to_be_bytes());
        let key = FlowKey {
            source: self.source,
            destination: target,
            protocol: protocol::UDP,
            transport: [a, b, c, d],
        };
        key.hash(0)
    }
}
