//! What happens to packets between the parties: a function of the network, its seed, the packets and the time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use edge_packet::{
    ErrorKind, FlowKey, IpHeader, IpVersion, QuoteSize, checksum, deserves_error, protocol,
    set_hop_limit, write_icmp_error,
};

use super::burst::Offload;
use super::queue::{Buffer, Pool, Schedule};
use super::ration::Rations;
use super::statistics::{DropReason, Statistics, TrafficClass, Volume};
use crate::network::{LinkId, Location, Network, PartyId, Ration, Route, RouterIndex};
use crate::scenario::Quote;

/// Longest time that a packet waits for a link of limited bandwidth; a later one is dropped.
const LINK_BUFFER: Duration = Duration::from_millis(100);

/// Hop limit of the messages that routers send.
const ROUTER_HOP_LIMIT: u8 = 255;

/// Octets enough for any ICMP error.
const ERROR_OCTETS: usize = 1280;

/// Flows whose order is watched; those that have nothing under way are forgotten when there are more.
const MAX_FLOWS: usize = 1 << 16;

/// Packets handled by one call of [`Engine::run_due`], so that reading is not put off for long.
const DUE_BATCH: usize = 128;

/// What is due so soon goes along with what is due now: far below any delay that matters, and many packets share one
/// waking-up.
pub(super) const AHEAD: Duration = Duration::from_micros(50);

/// A device's position among the forwarder's devices; the same as the party's in [`Network::parties`].
pub(super) type Device = usize;

/// What happens to a packet when it has crossed its links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Deliver(Device),
    Expire(RouterIndex),
    NoRoute(RouterIndex),
    AtRouter(RouterIndex),
}

/// A packet under way.
#[derive(Debug)]
struct Journey {
    buffer: Buffer,
    offload: Offload,
    /// Packets and octets on the wire.
    volume: Volume,
    class: TrafficClass,
    flow: u64,
    route: Arc<Route>,
    uplink: Option<LinkId>,
    downlink: Option<LinkId>,
    /// Links crossed so far, and to be crossed in all.
    crossed: usize,
    legs: usize,
    /// Did chance delay it, so that it could overtake its flow or be overtaken?
    jittered: bool,
    then: Then,
}

impl Journey {
    fn next_link(&self) -> Option<LinkId> {
        if self.crossed >= self.legs {
            return None;
        }
        let within = match (self.uplink, self.crossed) {
            (Some(uplink), 0) => return Some(uplink),
            (Some(_), crossed) => crossed - 1,
            (None, crossed) => crossed,
        };
        self.route.links.get(within).copied().or(self.downlink)
    }
}

/// The network at work.
#[derive(Debug)]
pub(super) struct Engine {
    network: Arc<Network>,
    statistics: Arc<Statistics>,
    schedule: Schedule<Journey>,
    pool: Pool,
    rations: Rations,
    /// When each link of limited bandwidth has sent what it has queued.
    link_free: HashMap<LinkId, Duration>,
    /// When the latest packet of a jittered flow reaches a point of its way.
    flow_order: HashMap<(u64, usize), Duration>,
    random: u64,
}

impl Engine {
    pub(super) fn new(network: Arc<Network>, statistics: Arc<Statistics>) -> Self {
        Self {
            random: network.seed() ^ 0x6c61_6220_7061_7468,
            network,
            statistics,
            schedule: Schedule::default(),
            pool: Pool::default(),
            rations: Rations::default(),
            link_free: HashMap::new(),
            flow_order: HashMap::new(),
        }
    }

    /// When something is to happen next.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.schedule.next_due()
    }

    /// Takes a packet that a party sent.
    pub(super) fn receive(
        &mut self,
        now: Duration,
        device: Device,
        mut offload: Offload,
        packet: &mut [u8],
    ) {
        offload.complete_checksum(packet);
        self.statistics.receive(offload.volume(packet));
        if let Err(reason) = self.admit(now, device, offload, packet) {
            self.statistics.drop_for(reason);
        }
        self.statistics.set_in_flight(self.schedule.len());
    }

    fn admit(
        &mut self,
        now: Duration,
        device: Device,
        offload: Offload,
        packet: &mut [u8],
    ) -> Result<(), DropReason> {
        let mut header = IpHeader::parse(packet).map_err(|_| DropReason::Malformed)?;
        if let Some(meant) = error_speaker(&header, packet)
            && self.is_client(header.source)
            && self.is_client(meant)
        {
            set_v6_source(packet, meant);
            header.source = meant.into();
        }
        let packet = packet
            .get(..header.claimed_len)
            .ok_or(DropReason::Malformed)?;
        if !is_routable(header.destination) || !is_routable(header.source) {
            return Err(DropReason::NotRouted);
        }
        let party = self.network.parties().get(device).map(|party| party.id);
        let source = self
            .network
            .locate(header.source)
            .filter(|source| Some(source.party) == party)
            .ok_or(DropReason::Spoofed)?;
        if !source.answers_probes && is_probe_answer(&header, packet) {
            return Err(DropReason::HostSilent);
        }
        let flow = FlowKey::of(&header, packet).hash(0);
        let target = self.network.locate(header.destination);
        let (route, then, forwarders) = if let Some(target) = target {
            let route = self.network.path(source.router, target.router, flow);
            let routers = route.routers.len();
            (route, Then::Deliver(self.device_of(target.party)), routers)
        } else if let Some(router) = self.network.router_at(header.destination) {
            let route = self.network.path(source.router, router, flow);
            let routers = route.routers.len() - 1;
            (route, Then::AtRouter(router), routers)
        } else {
            let route = self.network.path(source.router, source.router, flow);
            (route, Then::NoRoute(source.router), 0)
        };
        let mut journey = Journey {
            buffer: self.pool.copy(packet).ok_or(DropReason::LabQueue)?,
            offload,
            volume: offload.volume(packet),
            class: class_of((header.source, Some(source)), (header.destination, target)),
            flow,
            legs: match then {
                Then::Deliver(_) => route.links.len() + 2,
                _ => route.links.len() + 1,
            },
            route,
            uplink: Some(source.uplink),
            downlink: target.map(|target| target.downlink),
            crossed: 0,
            jittered: false,
            then,
        };
        let left = usize::from(header.hop_limit.max(1));
        let hop_limit = if left > forwarders {
            left - forwarders
        } else {
            journey.then = Then::Expire(journey.route.routers[left - 1]);
            journey.legs = left;
            1
        };
        let hop_limit = u8::try_from(hop_limit).unwrap_or(u8::MAX);
        set_hop_limit(journey.buffer.packet_mut(), hop_limit).map_err(|_| DropReason::Malformed)?;
        self.travel(now, journey);
        Ok(())
    }

    fn is_client(&self, address: impl Into<IpAddr>) -> bool {
        self.network
            .locate(address.into())
            .is_some_and(|location| location.party == PartyId::Clients)
    }

    fn device_of(&self, party: PartyId) -> Device {
        let parties = self.network.parties();
        // Cloud, DNS, chain, providers in order, clients: see `Network::parties`.
        match party {
            PartyId::Cloud => 0,
            PartyId::Dns => 1,
            PartyId::Chain => 2,
            PartyId::Provider(i) => 3 + usize::from(i),
            PartyId::Clients => parties.len() - 1,
        }
    }

    /// Moves a packet that is somewhere at `now` on to the next point where something can happen to it.
    fn travel(&mut self, now: Duration, mut journey: Journey) {
        let mut time = now;
        while let Some(id) = journey.next_link() {
            let link = self.network.link(id);
            let (delay, jitter, loss, rate) =
                (link.delay, link.jitter, link.loss, link.octets_per_second);
            if let Some(rate) = rate {
                if time > now {
                    // Others may get to this link's queue before.
                    break;
                }
                let start = self.link_free.get(&id).map_or(time, |free| time.max(*free));
                if start.saturating_sub(time) > LINK_BUFFER {
                    return self.discard(journey, DropReason::LinkQueue);
                }
                time = start + Duration::from_secs_f64(journey.volume.octets as f64 / rate);
                self.link_free.insert(id, time);
            }
            self.statistics.cross(id, journey.class, journey.volume);
            if loss > 0.0 && self.chance() < loss {
                return self.discard(journey, DropReason::LinkLoss);
            }
            time += delay;
            if jitter > Duration::ZERO {
                time += jitter.mul_f64(self.chance());
                journey.jittered = true;
            }
            journey.crossed += 1;
        }
        if journey.jittered {
            time = self.keep_order(now, time, &journey);
        }
        if let Err(journey) = self.schedule.push(time, journey) {
            self.discard(journey, DropReason::LabQueue);
        }
    }

    /// The time, but not before that of an earlier packet of the flow at the same point.
    fn keep_order(&mut self, now: Duration, time: Duration, journey: &Journey) -> Duration {
        if self.flow_order.len() >= MAX_FLOWS {
            self.flow_order.retain(|_, latest| *latest > now);
        }
        let latest = self
            .flow_order
            .entry((journey.flow, journey.crossed))
            .or_default();
        *latest = time.max(*latest);
        *latest
    }

    /// Does what is due; hands over packets to `deliver`, which says whether they were taken. `clock` tells the time.
    pub(super) fn run_due(
        &mut self,
        clock: &impl Fn() -> Duration,
        deliver: &mut impl FnMut(Device, &Offload, &[u8]) -> bool,
    ) {
        let mut now = clock();
        for _ in 0..DUE_BATCH {
            let Some((due, journey)) = self.schedule.pop_due(now + AHEAD) else {
                break;
            };
            if journey.crossed < journey.legs {
                self.travel(due, journey);
                continue;
            }
            match journey.then {
                Then::Deliver(device) => {
                    let packet = journey.buffer.packet();
                    now = clock();
                    if deliver(device, &journey.offload, packet) {
                        self.statistics
                            .deliver(journey.volume, now.saturating_sub(due));
                    } else {
                        self.statistics.drop_for(DropReason::Receiver);
                    }
                }
                Then::Expire(router) => {
                    self.statistics.drop_for(DropReason::HopLimit);
                    self.report(
                        due,
                        router,
                        ErrorKind::TimeExceeded,
                        journey.buffer.packet(),
                    );
                }
                Then::NoRoute(router) => {
                    self.statistics.drop_for(DropReason::NoRoute);
                    let kind = ErrorKind::no_route(IpVersion::V4);
                    self.report(due, router, kind, journey.buffer.packet());
                }
                Then::AtRouter(router) => {
                    self.answer(due, router, journey.buffer.packet());
                }
            }
            self.pool.give_back(journey.buffer);
        }
        self.statistics.set_in_flight(self.schedule.len());
    }

    /// A router reports an error about a packet to its source, if it does so at all.
    fn report(&mut self, now: Duration, router: RouterIndex, kind: ErrorKind, original: &[u8]) {
        let Ok(header) = IpHeader::parse(original) else {
            return;
        };
        if !deserves_error(original) {
            return;
        }
        let behaviour = self.network.router(router).icmp;
        let answers_with = self.network.router(router).answers_with(header.source);
        let Some(mut from) = answers_with.filter(|_| {
            self.rations
                .take(now, router, behaviour.ration, header.source)
        }) else {
            return self.statistics.drop_for(DropReason::RouterSilent);
        };
        // About a packet to itself a router speaks as the address that was meant.
        if self.network.router_at(header.destination) == Some(router)
            && matches!(kind, ErrorKind::Unreachable(_))
        {
            from = header.destination;
        }
        let quote = match behaviour.quote {
            Quote::Octets(octets) => QuoteSize::Bytes(header.header_len + usize::from(octets)),
            Quote::Full => QuoteSize::Full,
        };
        let mut message = [0; ERROR_OCTETS];
        let Ok(octets) =
            write_icmp_error(&mut message, from, ROUTER_HOP_LIMIT, kind, original, quote)
        else {
            return;
        };
        let random = -(1.0 - self.chance()).ln();
        let slow_path = behaviour.slow_path_base + behaviour.slow_path_mean.mul_f64(random);
        self.send_from(now + slow_path, router, &message[..octets]);
    }

    /// A router answers a packet to one of its own addresses.
    fn answer(&mut self, now: Duration, router: RouterIndex, packet: &[u8]) {
        let Ok(header) = IpHeader::parse(packet) else {
            return;
        };
        if header.protocol == protocol::UDP {
            let kind = ErrorKind::port_unreachable(header.version());
            return self.report(now, router, kind, packet);
        }
        let (request, reply) = match header.protocol {
            protocol::ICMP => (8, 0),
            protocol::ICMPV6 => (128, 129),
            _ => return,
        };
        let start = header.payload.start;
        if packet.get(start) != Some(&request) || header.payload.len() < 8 {
            return;
        }
        if self.network.router(router).icmp.ration == Ration::Silent {
            return self.statistics.drop_for(DropReason::RouterSilent);
        }
        let mut message = packet.to_vec();
        let addresses = match header.version() {
            IpVersion::V4 => 12..20,
            IpVersion::V6 => 8..40,
        };
        let half = addresses.len() / 2;
        message[addresses].rotate_left(half);
        message[start] = reply;
        let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let changed = u16::from_be_bytes([reply, packet[start + 1]]);
        let sum = checksum::update(word(start + 2), word(start), changed);
        message[start + 2..start + 4].copy_from_slice(&sum.to_be_bytes());
        if set_hop_limit(&mut message, ROUTER_HOP_LIMIT).is_ok() {
            self.send_from(now, router, &message);
        }
    }

    /// Sends a router's own message on its way.
    fn send_from(&mut self, now: Duration, router: RouterIndex, message: &[u8]) {
        let Ok(header) = IpHeader::parse(message) else {
            return;
        };
        let Some(target) = self.network.locate(header.destination) else {
            return;
        };
        // Messages of one router to one host take one path, whatever they say.
        let flow = FlowKey {
            source: header.source,
            destination: header.destination,
            protocol: header.protocol,
            transport: [0; 4],
        }
        .hash(0);
        let route = self.network.path(router, target.router, flow);
        let Some(mut buffer) = self.pool.copy(message) else {
            return self.statistics.drop_for(DropReason::LabQueue);
        };
        let hops = u8::try_from(route.links.len()).unwrap_or(u8::MAX);
        let hop_limit = ROUTER_HOP_LIMIT.saturating_sub(hops).max(1);
        if set_hop_limit(buffer.packet_mut(), hop_limit).is_err() {
            return;
        }
        self.statistics.router_message();
        let offload = Offload::default();
        let journey = Journey {
            offload,
            volume: offload.volume(buffer.packet()),
            buffer,
            class: class_of((header.source, None), (header.destination, Some(target))),
            flow,
            legs: route.links.len() + 1,
            route,
            uplink: None,
            downlink: Some(target.downlink),
            crossed: 0,
            jittered: false,
            then: Then::Deliver(self.device_of(target.party)),
        };
        self.travel(now, journey);
    }

    fn discard(&mut self, journey: Journey, reason: DropReason) {
        self.statistics.drop_for(reason);
        self.pool.give_back(journey.buffer);
    }

    /// Uniform in [0, 1).
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = crate::network::mix(self.random) >> 11;
        bits as f64 / (1u64 << 53) as f64
    }
}

/// Does the lab carry packets to or from it at all?
fn is_routable(address: IpAddr) -> bool {
    let special = address.is_multicast() || address.is_unspecified() || address.is_loopback();
    !special
        && match address {
            IpAddr::V4(v4) => !v4.is_broadcast() && !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        }
}

/// Who an ICMPv6 error should come from: the destination of the packet that it is about. Linux lets it come from an
/// address of the interface instead where the destination is one of a prefix that the host owns as a whole.
fn error_speaker(header: &IpHeader, packet: &[u8]) -> Option<Ipv6Addr> {
    if header.protocol != protocol::ICMPV6 {
        return None;
    }
    let message = packet.get(header.payload.clone())?;
    if *message.first()? >= 128 {
        return None;
    }
    // The quote starts behind 8 octets, its destination 24 octets further.
    let octets: [u8; 16] = message.get(32..48)?.try_into().ok()?;
    Some(octets.into())
}

/// Sets the source of an ICMPv6 packet without extension headers and corrects its checksum.
fn set_v6_source(packet: &mut [u8], source: Ipv6Addr) {
    const SOURCE: usize = 8;
    const CHECKSUM: usize = 40 + 2;
    if packet.len() < CHECKSUM + 2 || packet[6] != protocol::ICMPV6 {
        return;
    }
    let word = |packet: &[u8], at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let mut sum = word(packet, CHECKSUM);
    for (at, new) in (SOURCE..).step_by(2).zip(source.segments()) {
        sum = checksum::update(sum, word(packet, at), new);
        packet[at..at + 2].copy_from_slice(&new.to_be_bytes());
    }
    packet[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
}

/// What hosts behind most home routers do not send: "port unreachable" and echo replies.
fn is_probe_answer(header: &IpHeader, packet: &[u8]) -> bool {
    let kind = packet.get(header.payload.start).copied();
    let code = packet.get(header.payload.start + 1).copied();
    match header.protocol {
        protocol::ICMP => matches!((kind, code), (Some(0), _) | (Some(3), Some(3))),
        protocol::ICMPV6 => matches!((kind, code), (Some(129), _) | (Some(1), Some(4))),
        _ => false,
    }
}

fn class_of(
    source: (IpAddr, Option<Location>),
    destination: (IpAddr, Option<Location>),
) -> TrafficClass {
    let client = [source, destination]
        .into_iter()
        .find(|(_, location)| location.is_some_and(|location| location.party == PartyId::Clients));
    let last = match client {
        None => return TrafficClass::Infrastructure,
        Some((IpAddr::V4(v4), _)) => v4.octets()[3],
        Some((IpAddr::V6(v6), _)) => v6.octets()[15],
    };
    if last & 0x80 == 0 {
        TrafficClass::Exec
    } else {
        TrafficClass::Control
    }
}

#[cfg(test)]
mod tests;
