//! The engine against a simulated network in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use proptest::prelude::*;

use crate::config::Budget;
use edge_ports::{BudgetScope, TraceError};
use edge_types::{AddressPolicy, Hop, HopReply, PathEnd};

use super::*;

mod bounds;
mod sampling;
mod scale;
mod sharing;
mod trails;
mod untagged;

/// How a router answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Always,
    /// Linux defaults: a burst of 6, then one per second.
    Limited,
    /// Another bucket.
    Rated {
        burst: f64,
        per_second: f64,
    },
    Never,
}

#[derive(Debug)]
struct Router {
    manner: Manner,
    tokens: f64,
    at: MonotonicTime,
    answered: u32,
}

/// The way to one target.
#[derive(Clone, Debug)]
struct Way {
    routers: Vec<IpAddr>,
    /// One-way delay from us to each router and to the target.
    delays_us: Vec<u64>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Answers,
    Silent,
    /// The last router says so.
    Refused(u8),
}

#[derive(Debug)]
struct World {
    engine: Engine,
    ways: BTreeMap<IpAddr, Way>,
    routers: BTreeMap<IpAddr, Router>,
    default_manner: Manner,
    on_the_way: BTreeMap<(MonotonicTime, u64), Reply>,
    /// No reply quotes a tag or a hop limit.
    untagged: bool,
    /// Replies tell how long their way back was instead of quoting a hop limit; that of the ends is so much longer.
    end_is_longer_back: Option<i16>,
    /// Every reply comes a second time, so much later.
    copied_after: Option<Duration>,
    /// Replies to what is sent before then come 30 ms late.
    slow_until: MonotonicTime,
    /// One packet in so many is lost; 0 for none.
    loss: u64,
    packets: u64,
    now: MonotonicTime,
    done: BTreeMap<IpAddr, (PathObservation, MonotonicTime)>,
    send_times: Vec<MonotonicTime>,
    sent_ttls: Vec<(u8, IpAddr)>,
    flows: BTreeSet<(IpAddr, u16, u16)>,
}

fn router(number: u32) -> IpAddr {
    Ipv4Addr::from(0xf100_0000 + number).into()
}

fn host(number: u32) -> IpAddr {
    Ipv4Addr::from(0xf200_0001 + (number << 8)).into()
}

fn config() -> ProberConfig {
    ProberConfig {
        policy: AddressPolicy::new(vec!["240.0.0.0/4".parse().unwrap()]),
        packets_per_second: 1000,
        ..ProberConfig::default()
    }
}

impl World {
    fn new(config: ProberConfig, default_manner: Manner) -> Self {
        Self::with_key(config, default_manner, [7; 16])
    }

    fn with_key(config: ProberConfig, default_manner: Manner, key: [u8; 16]) -> Self {
        Self {
            engine: Engine::new(config, key),
            ways: BTreeMap::new(),
            routers: BTreeMap::new(),
            default_manner,
            on_the_way: BTreeMap::new(),
            untagged: false,
            end_is_longer_back: None,
            copied_after: None,
            slow_until: MonotonicTime::ZERO,
            loss: 0,
            packets: 0,
            now: MonotonicTime::ZERO,
            done: BTreeMap::new(),
            send_times: Vec::new(),
            sent_ttls: Vec::new(),
            flows: BTreeSet::new(),
        }
    }

    /// A way with `step_us` between neighbours.
    fn way(&mut self, target: IpAddr, routers: Vec<IpAddr>, step_us: u64) {
        let delays_us = (1..=routers.len() as u64 + 1)
            .map(|hop| hop * step_us)
            .collect();
        let end = End::Answers;
        self.ways.insert(
            target,
            Way {
                routers,
                delays_us,
                end,
            },
        );
    }

    fn manner(&mut self, address: IpAddr, manner: Manner) {
        let now = self.now;
        self.routers.insert(
            address,
            Router {
                manner,
                tokens: match manner {
                    Manner::Rated { burst, .. } => burst,
                    _ => 6.0,
                },
                at: now,
                answered: 0,
            },
        );
    }

    fn may_answer(&mut self, address: IpAddr) -> bool {
        let now = self.now;
        let manner = self.default_manner;
        let router = self.routers.entry(address).or_insert(Router {
            manner,
            tokens: 6.0,
            at: now,
            answered: 0,
        });
        let can = match router.manner {
            Manner::Always => true,
            Manner::Never => false,
            Manner::Limited | Manner::Rated { .. } => {
                let (burst, per_second) = match router.manner {
                    Manner::Rated { burst, per_second } => (burst, per_second),
                    _ => (6.0, 1.0),
                };
                let gained = per_second * now.since(router.at).as_secs_f64();
                router.tokens = (router.tokens + gained).min(burst);
                router.at = now;
                router.tokens >= 1.0
            }
        };
        if can {
            router.tokens -= 1.0;
            router.answered += 1;
        }
        can
    }

    fn is_lost(&mut self) -> bool {
        self.packets += 1;
        // A fixed scramble of the packet count stands for chance.
        self.loss != 0
            && (self.packets.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33).is_multiple_of(self.loss)
    }

    fn send(&mut self, probe: &Probe) {
        self.send_times.push(self.now);
        self.sent_ttls.push((probe.ttl, probe.target));
        self.flows
            .insert((probe.target, probe.source_port, probe.destination_port));
        if self.is_lost() {
            return;
        }
        let way = self.ways[&probe.target].clone();
        let hop = usize::from(probe.ttl);
        let (responder, kind, at, left) = if hop <= way.routers.len() {
            (way.routers[hop - 1], ErrorKind::TimeExceeded, hop, 1)
        } else {
            let left = probe.ttl - u8::try_from(way.routers.len()).unwrap();
            match way.end {
                End::Answers => (
                    probe.target,
                    ErrorKind::Unreachable(3),
                    way.routers.len() + 1,
                    left,
                ),
                End::Silent => return,
                End::Refused(code) => (
                    way.routers[way.routers.len() - 1],
                    ErrorKind::Unreachable(code),
                    way.routers.len(),
                    left,
                ),
            }
        };
        if !self.may_answer(responder) || self.is_lost() {
            return;
        }
        let arrives = self
            .now
            .after(Duration::from_micros(2 * way.delays_us[at - 1]))
            .after(Duration::from_millis(if self.now < self.slow_until {
                30
            } else {
                0
            }));
        let proof = if self.untagged {
            Proof::Socket
        } else if self.packets.is_multiple_of(2) {
            Proof::Long(probe.tag.long)
        } else {
            Proof::Short(probe.tag.short)
        };
        let reply = Reply {
            responder,
            kind: ReplyKind::Error(kind),
            target: probe.target,
            source_port: probe.source_port,
            destination_port: probe.destination_port,
            proof,
            ttl_left: (!self.untagged && self.end_is_longer_back.is_none()).then_some(left),
            arrived_with: self.end_is_longer_back.map(|longer| {
                let longer = if responder == probe.target { longer } else { 0 };
                u8::try_from(65 - i16::try_from(at).unwrap() - longer).unwrap()
            }),
            in_tunnel: false,
        };
        self.on_the_way.insert((arrives, 2 * self.packets), reply);
        if let Some(later) = self.copied_after {
            let arrives = arrives.after(later);
            self.on_the_way
                .insert((arrives, 2 * self.packets + 1), reply);
        }
    }

    /// Whoever gives way to it.
    fn begin_as(
        &mut self,
        target: IpAddr,
        priority: TracePriority,
    ) -> Result<Option<IpAddr>, TraceError> {
        self.engine.begin(self.now, target, priority)
    }

    fn begin(&mut self, target: IpAddr) -> Result<(), TraceError> {
        self.begin_as(target, TracePriority::New).map(drop)
    }

    /// Runs until nothing is left to do.
    fn run(&mut self) {
        loop {
            while let Some(action) = self.engine.poll(self.now) {
                match action {
                    Action::Send(probe) => self.send(&probe),
                    Action::Done(observation) => {
                        self.done
                            .insert(observation.target, (observation, self.now));
                    }
                }
            }
            let reply = self.on_the_way.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = reply.into_iter().chain(self.engine.next_deadline()).min() else {
                return;
            };
            assert!(next >= self.now || self.engine.next_deadline() == Some(next));
            self.now = self.now.max(next);
            while let Some(entry) = self.on_the_way.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let ((at, _), reply) = entry.remove_entry();
                self.engine.on_reply(&reply, at, self.now);
            }
        }
    }

    fn trace(&mut self, target: IpAddr) -> PathObservation {
        self.begin(target).unwrap();
        self.run();
        self.done[&target].0.clone()
    }

    /// Addresses on a finished path; `None` for silence.
    fn path(&self, target: IpAddr) -> Vec<Option<IpAddr>> {
        self.done[&target].0.hops.iter().map(address).collect()
    }

    fn truth(&self, target: IpAddr) -> Vec<Option<IpAddr>> {
        let way = &self.ways[&target];
        way.routers
            .iter()
            .copied()
            .chain([target])
            .map(Some)
            .collect()
    }
}

fn address(hop: &Hop) -> Option<IpAddr> {
    match hop {
        Hop::Reply(reply) => Some(reply.address),
        Hop::NoReply => None,
    }
}

fn chain(length: u32) -> Vec<IpAddr> {
    (1..=length).map(router).collect()
}

#[test]
fn one_client_at_15_hops_and_80_ms_takes_at_most_600_ms_and_25_probes() {
    for sharing in [Sharing::Off, Sharing::Verified { confirmations: 3 }] {
        let config = ProberConfig {
            sharing,
            packets_per_second: 500,
            ..config()
        };
        let mut world = World::new(config, Manner::Limited);
        world.way(host(0), chain(14), 40_000 / 15);
        let seen = world.trace(host(0));
        let expected: Vec<Hop> = (1_u64..)
            .zip(chain(14).into_iter().chain([host(0)]))
            .map(|(hop, address)| {
                let rtt = Rtt(Duration::from_micros(2 * hop * (40_000 / 15)));
                Hop::Reply(HopReply::new(address, rtt))
            })
            .collect();
        assert_eq!(
            seen,
            PathObservation {
                target: host(0),
                observed_at: seen.observed_at,
                hops: expected,
                further: Vec::new(),
                end: PathEnd::Reached,
                probes_sent: seen.probes_sent,
            }
        );
        assert!(seen.probes_sent <= 16, "{}", seen.probes_sent);
        assert!(seen.observed_at.0 <= Duration::from_millis(400), "{seen:?}");
        assert_eq!(world.flows.len(), 1);
    }
}

#[test]
fn a_client_behind_two_silent_routers_takes_a_third_of_a_second_and_20_probes() {
    let config = ProberConfig {
        packets_per_second: 500,
        ..config()
    };
    let mut world = World::new(config, Manner::Limited);
    world.way(host(0), chain(14), 40_000 / 15);
    world.manner(router(4), Manner::Never);
    world.manner(router(9), Manner::Never);
    let seen = world.trace(host(0));
    let mut truth = world.truth(host(0));
    truth[3] = None;
    truth[8] = None;
    assert_eq!(world.path(host(0)), truth);
    assert_eq!(seen.end, PathEnd::Reached);
    assert!(seen.observed_at.0 <= Duration::from_millis(333), "{seen:?}");
    assert!(seen.probes_sent <= 20, "{}", seen.probes_sent);
}

#[test]
fn a_silent_client_at_15_hops_behind_two_silent_routers_takes_half_a_second_and_25_probes() {
    let mut world = World::new(config(), Manner::Limited);
    world.way(host(0), chain(14), 40_000 / 15);
    world.ways.get_mut(&host(0)).unwrap().end = End::Silent;
    for number in [6, 11] {
        world.manner(router(number), Manner::Never);
    }
    let seen = world.trace(host(0));
    assert_eq!(seen.end, PathEnd::Silent);
    assert_eq!(seen.replies().count(), 12);
    assert!(seen.observed_at.0 <= Duration::from_millis(500), "{seen:?}");
    assert!(seen.probes_sent <= 25, "{}", seen.probes_sent);
}

#[test]
fn a_far_path_is_not_asked_twice_for_being_far() {
    let mut world = World::new(config(), Manner::Limited);
    world.way(host(0), chain(14), 10_000);
    let seen = world.trace(host(0));
    assert_eq!(world.path(host(0)), world.truth(host(0)));
    assert!(seen.probes_sent <= 17, "{}", seen.probes_sent);
}

#[test]
fn a_silent_client_ends_behind_the_last_router_with_the_gap_kept() {
    let mut world = World::new(config(), Manner::Always);
    world.way(host(0), chain(11), 3_000);
    world.ways.get_mut(&host(0)).unwrap().end = End::Silent;
    let seen = world.trace(host(0));
    let mut expected: Vec<_> = chain(11).into_iter().map(Some).collect();
    expected.extend([None; 5]);
    assert_eq!(world.path(host(0)), expected);
    assert_eq!(seen.end, PathEnd::Silent);
    assert!(seen.observed_at.0 < Duration::from_secs(3), "{seen:?}");
}

#[test]
fn a_silent_client_nearer_than_the_guess_is_found_too() {
    let mut world = World::new(config(), Manner::Always);
    world.way(host(0), chain(2), 3_000);
    world.ways.get_mut(&host(0)).unwrap().end = End::Silent;
    let seen = world.trace(host(0));
    assert_eq!(world.path(host(0))[..2], [Some(router(1)), Some(router(2))]);
    assert_eq!(seen.end, PathEnd::Silent);
}

#[test]
fn a_refusal_ends_the_path_at_the_router_that_refuses() {
    let mut world = World::new(config(), Manner::Always);
    world.way(host(0), chain(6), 3_000);
    world.ways.get_mut(&host(0)).unwrap().end = End::Refused(1);
    let seen = world.trace(host(0));
    assert_eq!(seen.end, PathEnd::Unreachable(1));
    assert_eq!(
        world.path(host(0)),
        chain(6).into_iter().map(Some).collect::<Vec<_>>()
    );
}

#[test]
fn a_port_unreachable_from_somebody_else_is_not_the_target() {
    let mut world = World::new(config(), Manner::Always);
    world.way(host(0), chain(6), 3_000);
    world.ways.get_mut(&host(0)).unwrap().end = End::Refused(3);
    assert_eq!(world.trace(host(0)).end, PathEnd::Unreachable(3));
}

#[test]
fn a_neighbour_without_routers_between_is_one_hop() {
    let mut world = World::new(config(), Manner::Always);
    world.way(host(0), vec![], 3_000);
    let seen = world.trace(host(0));
    assert_eq!((seen.hops.len(), seen.end), (1, PathEnd::Reached));
}

#[test]
fn paths_longer_than_the_largest_ttl_say_so() {
    let config = ProberConfig {
        max_ttl: 6,
        ..config()
    };
    let mut world = World::new(config, Manner::Always);
    world.way(host(0), chain(9), 3_000);
    let seen = world.trace(host(0));
    assert_eq!(seen.end, PathEnd::MaxTtl);
    assert_eq!(
        world.path(host(0)),
        chain(6).into_iter().map(Some).collect::<Vec<_>>()
    );
}

#[test]
fn lost_packets_are_asked_for_again() {
    for sharing in [Sharing::Off, Sharing::Verified { confirmations: 3 }] {
        let mut world = World::new(
            ProberConfig {
                sharing,
                ..config()
            },
            Manner::Always,
        );
        world.loss = 20;
        for number in 0..20 {
            world.way(host(number), chain(12), 2_000);
        }
        for number in 0..20 {
            world.begin(host(number)).unwrap();
        }
        world.run();
        let holes = (0..20)
            .flat_map(|number| world.path(host(number)))
            .filter(Option::is_none)
            .count();
        let reached = world
            .done
            .values()
            .filter(|(seen, _)| seen.end == PathEnd::Reached)
            .count();
        assert_eq!(reached, 20);
        assert!(holes <= 1, "{holes} holes with {sharing:?}");
    }
}

/// Routers in a tree of `arity` children each, `depth` levels, with one host per leaf router; `count` hosts.
fn tree(world: &mut World, arity: u32, depth: u32, count: u32) {
    let leaves = arity.pow(depth - 1);
    for number in 0..count {
        let mut position = number % leaves;
        let mut routers = Vec::new();
        for level in (0..depth).rev() {
            routers.push(router(((level + 1) << 16) + position));
            position /= arity;
        }
        routers.reverse();
        world.way(host(number), routers, 4_000);
    }
}

fn edges(paths: impl Iterator<Item = Vec<Option<IpAddr>>>) -> BTreeSet<(IpAddr, IpAddr)> {
    paths
        .flat_map(|path| {
            path.windows(2)
                .filter_map(|pair| Some((pair[0]?, pair[1]?)))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn the_papers_tree_is_complete_in_seconds_under_linux_rate_limits() {
    let mut world = World::new(config(), Manner::Limited);
    tree(&mut world, 3, 6, 186);
    let targets: Vec<_> = world.ways.keys().copied().collect();
    for target in &targets {
        world.begin(*target).unwrap();
    }
    world.run();
    let truth = edges(targets.iter().map(|target| world.truth(*target)));
    let seen = edges(targets.iter().map(|target| world.path(*target)));
    assert!(seen.is_subset(&truth));
    let found = seen.len() as f64 / truth.len() as f64;
    assert!(found >= 0.99, "{found} of {} edges", truth.len());
    let whole = targets
        .iter()
        .filter(|target| world.path(**target) == world.truth(**target))
        .count();
    assert!(whole >= 184, "{whole} whole paths");
    let last = world.done.values().map(|(_, at)| *at).max().unwrap();
    assert!(last.0 <= Duration::from_secs(5), "{last:?}");
    let sent = world.engine.counters().sent;
    assert!(sent <= 186 * 6, "{sent} probes");
}

#[test]
fn without_sharing_the_same_tree_starves_and_with_it_a_hub_does_not() {
    for (sharing, complete) in [
        (Sharing::Off, false),
        (Sharing::Verified { confirmations: 3 }, true),
    ] {
        let mut world = World::new(
            ProberConfig {
                sharing,
                ..config()
            },
            Manner::Limited,
        );
        // A trunk of three routers, then a hub with 8 children.
        for number in 0..64 {
            let mut routers = chain(4);
            routers.push(router(100 + number % 8));
            world.way(host(number), routers, 5_000);
        }
        for number in 0..64 {
            world.begin(host(number)).unwrap();
        }
        world.run();
        let whole = (0..64)
            .filter(|number| world.path(host(*number)) == world.truth(host(*number)))
            .count();
        assert_eq!(whole == 64, complete, "{whole} with {sharing:?}");
    }
}

#[test]
fn who_tells_its_distance_late_walks_once() {
    let mut world = World::new(
        ProberConfig {
            initial_timeout: Duration::from_millis(50),
            packets_per_second: 2_000,
            ..config()
        },
        Manner::Always,
    );
    for number in 0..200 {
        world.way(host(number), chain(4), 25_000);
        world.begin(host(number)).unwrap();
    }
    world.run();
    assert_eq!(world.done.len(), 200);
    assert_eq!(world.engine.walking, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_the_network_does_every_trace_ends_in_time_and_tells_no_lies(
        key: [u8; 16],
        (arity, depth) in (1_u32..5, 1_u32..6),
        count in 1_u32..40,
        together in 1_usize..40,
        loss in prop::sample::select(vec![0_u64, 50, 10, 3]),
        manner in prop::sample::select(vec![Manner::Always, Manner::Limited]),
        sharing in prop::sample::select(vec![
            Sharing::Off,
            Sharing::Verified { confirmations: 1 },
            Sharing::Verified { confirmations: 3 },
        ]),
        odd in prop::collection::vec((0_usize..200, 0_u32..200), 0..6),
        ends in prop::collection::vec(
            prop::sample::select(vec![End::Answers, End::Answers, End::Silent, End::Refused(1), End::Refused(13)]),
            40,
        ),
    ) {
        let config = ProberConfig { sharing, ..config() };
        let limit = config.time_limit;
        let most = config.probes_per_target;
        let mut world = World::with_key(config, manner, key);
        world.loss = loss;
        tree(&mut world, arity, depth, count);
        let routers: Vec<_> = world.ways.values().flat_map(|way| way.routers.clone()).collect();
        for (silent, slow) in odd {
            world.manner(routers[silent % routers.len()], Manner::Never);
            let host = host(slow % count);
            world.ways.get_mut(&host).unwrap().delays_us.iter_mut().for_each(|delay| *delay *= 40);
        }
        for (way, end) in world.ways.values_mut().zip(ends) {
            way.end = end;
        }
        let targets: Vec<_> = world.ways.keys().copied().collect();
        for batch in targets.chunks(together) {
            let started = world.now;
            for target in batch {
                world.begin(*target).unwrap();
            }
            world.run();
            for target in batch {
                let (seen, at) = &world.done[target];
                // Its time counts from its turn to start.
                prop_assert!(at.since(started) <= limit + Duration::from_secs(1), "{:?}", seen);
                prop_assert!(seen.probes_sent <= most);
                let truth = world.truth(*target);
                let mut hops = seen.hops.as_slice();
                if let (PathEnd::Unreachable(_), [.., Hop::NoReply, Hop::Reply(_)]) = (seen.end, hops) {
                    // Whoever refuses may be the silent hop before.
                    hops = &hops[..hops.len() - 1];
                }
                for (ttl, hop) in (1..).zip(hops) {
                    if let Hop::Reply(reply) = hop {
                        prop_assert_eq!(truth.get(ttl - 1), Some(&Some(reply.address)), "{:?}", seen);
                    }
                }
                let ends_at_target = seen.hops.last().and_then(address) == Some(*target);
                prop_assert_eq!(ends_at_target, seen.end == PathEnd::Reached, "{:?}", seen);
            }
            prop_assert!(world.engine.timers.iter().all(|(at, _)| *at <= world.now.after(limit)));
        }
    }

    #[test]
    fn the_papers_tree_does_not_depend_on_the_key(key: [u8; 16]) {
        let mut world = World::with_key(config(), Manner::Limited, key);
        tree(&mut world, 3, 6, 186);
        let targets: Vec<_> = world.ways.keys().copied().collect();
        for target in &targets {
            world.begin(*target).unwrap();
        }
        world.run();
        let truth = edges(targets.iter().map(|target| world.truth(*target)));
        let seen = edges(targets.iter().map(|target| world.path(*target)));
        prop_assert!(seen.is_subset(&truth));
        prop_assert!(seen.len() * 100 >= truth.len() * 98, "{} of {}", seen.len(), truth.len());
    }
}
