//! What targets learn from each other, and where they must not.

use super::*;

#[test]
fn a_hub_of_20_under_linux_limits_is_asked_for_as_long_as_there_is_time() {
    let config = ProberConfig {
        time_limit: Duration::from_secs(20),
        ..config()
    };
    let mut world = World::new(config, Manner::Limited);
    for number in 0..60 {
        let mut routers = chain(4);
        routers.push(router(100 + number % 20));
        world.way(host(number), routers, 5_000);
    }
    for number in 0..60 {
        world.begin(host(number)).unwrap();
    }
    world.run();
    for number in 0..60 {
        assert_eq!(world.path(host(number)), world.truth(host(number)));
    }
}

#[test]
fn a_silent_router_on_the_trunk_is_learned_once() {
    let mut world = World::new(config(), Manner::Always);
    tree(&mut world, 3, 5, 81);
    world.manner(router(2 << 16), Manner::Never);
    let targets: Vec<_> = world.ways.keys().copied().collect();
    for target in &targets {
        world.begin(*target).unwrap();
    }
    world.run();
    for target in &targets {
        let mut truth = world.truth(*target);
        if truth[1] == Some(router(2 << 16)) {
            truth[1] = None;
        }
        assert_eq!(world.path(*target), truth);
    }
    let last = world.done.values().map(|(_, at)| *at).max().unwrap();
    assert!(last.0 <= Duration::from_secs(4), "{last:?}");
    // Later clients do not wait for it again.
    let before = world.now;
    let mut way = world.ways[&host(0)].clone();
    way.delays_us.push(24_000);
    world.ways.insert(host(500), way);
    world.trace(host(500));
    let took = world.done[&host(500)].1.since(before);
    assert!(took <= Duration::from_millis(400), "{took:?}");
}

/// 50 hosts behind ten routers around a hub at distance 7. Before the hub are a trunk of five routers with Linux limits
/// and the routers at distance 6 that `before_hub` chooses. Returns how many hosts' paths lack nothing but what
/// `may_lack` says.
fn trunk_and_hub(
    world: &mut World,
    before_hub: impl Fn(u32) -> IpAddr,
    may_lack: impl Fn(u8) -> bool,
) -> usize {
    for number in 0..50 {
        let mut routers = chain(5);
        routers.extend([before_hub(number), router(7), router(100 + number % 10)]);
        world.way(host(number), routers, 4_000);
    }
    world.manner(router(7), Manner::Always);
    for number in 0..50 {
        world.begin(host(number)).unwrap();
    }
    world.run();
    (0..50)
        .filter(|number| {
            let (path, truth) = (world.path(host(*number)), world.truth(host(*number)));
            let parallel: BTreeSet<_> = (0..50).map(|number| Some(before_hub(number))).collect();
            let fits = |(ttl, (seen, truth)): (u8, (&Option<IpAddr>, &Option<IpAddr>))| {
                let exists = seen == truth || (ttl == 6 && parallel.contains(seen));
                assert!(seen.is_none() || exists, "{path:?}");
                exists || may_lack(ttl)
            };
            path.len() == truth.len() && (1..).zip(path.iter().zip(&truth)).all(fits)
        })
        .count()
}

#[test]
fn what_lies_before_a_silent_router_on_the_trunk_is_asked_once() {
    let config = ProberConfig {
        time_limit: Duration::from_millis(1500),
        ..config()
    };
    let mut world = World::new(config, Manner::Limited);
    world.manner(router(6), Manner::Never);
    let whole = trunk_and_hub(&mut world, |_| router(6), |ttl| ttl == 6);
    let last = world.done.values().map(|(_, at)| *at).max().unwrap();
    let sent = world.engine.counters().sent;
    assert_eq!(whole, 50, "{last:?} {sent}");
    assert!(last.0 <= Duration::from_millis(1500), "{last:?}");
    assert!(sent <= 50 * 6, "{sent} probes");
}

#[test]
fn what_lies_before_parallel_routers_with_linux_limits_is_asked_once() {
    let config = ProberConfig {
        time_limit: Duration::from_millis(1500),
        ..config()
    };
    let mut world = World::new(config, Manner::Limited);
    let arm = |number: u32| router(60 + (number.wrapping_mul(0x9e37_79b9) >> 31));
    let whole = trunk_and_hub(&mut world, arm, |ttl| ttl == 6);
    let last = world.done.values().map(|(_, at)| *at).max().unwrap();
    let sent = world.engine.counters().sent;
    let known = (0..50)
        .filter(|number| world.path(host(*number))[5].is_some())
        .count();
    assert_eq!(whole, 50, "{last:?} {sent} {known}");
    assert!(last.0 <= Duration::from_millis(1500), "{last:?}");
    // Those that get no answer of their own are taken to pass one of the two.
    assert_eq!(known, 50);
    assert!(sent <= 50 * 8, "{sent} probes");
}

/// Two arms of equal length between the second router and the fifth, chosen per target.
fn diamond(world: &mut World, count: u32) {
    for number in 0..count {
        let arm = number.wrapping_mul(0x9e37_79b9) >> 31;
        let routers = vec![
            router(1),
            router(2),
            router(10 + arm),
            router(20 + arm),
            router(5),
            router(6),
        ];
        world.way(host(number), routers, 3_000);
    }
}

#[test]
fn in_a_diamond_every_path_is_one_that_exists_and_both_arms_are_found() {
    for manner in [Manner::Always, Manner::Limited] {
        let mut world = World::new(
            ProberConfig {
                sharing: Sharing::Verified { confirmations: 6 },
                ..config()
            },
            manner,
        );
        diamond(&mut world, 40);
        for number in 0..40 {
            world.begin(host(number)).unwrap();
        }
        world.run();
        for number in 0..40 {
            let path = world.path(host(number));
            let truth = world.truth(host(number));
            let other: Vec<_> = (0..2)
                .map(|arm| {
                    let mut way = truth.clone();
                    way[2] = Some(router(10 + arm));
                    way[3] = Some(router(20 + arm));
                    way
                })
                .collect();
            let fits = |way: &Vec<Option<IpAddr>>| {
                way.iter()
                    .zip(&path)
                    .all(|(truth, seen)| seen.is_none() || truth == seen)
            };
            assert!(other.iter().any(fits), "{path:?}");
        }
        let found = edges((0..40).map(|number| world.path(host(number))));
        for edge in [(10, 20), (11, 21), (2, 10), (2, 11)] {
            assert!(
                found.contains(&(router(edge.0), router(edge.1))),
                "{edge:?}"
            );
        }
    }
}

#[test]
fn what_others_know_is_taken_over_when_time_is_up() {
    let config = ProberConfig {
        time_limit: Duration::from_millis(450),
        ..config()
    };
    let mut world = World::new(config, Manner::Always);
    world.way(host(0), chain(8), 1_000);
    world.way(host(1), chain(8), 1_000);
    world.trace(host(0));
    // Two round trips: one for the distance, and one for some of the routers. What is asked then comes too late.
    world.ways.get_mut(&host(1)).unwrap().delays_us = vec![100_000; 9];
    let seen = world.trace(host(1));
    assert_eq!(world.path(host(1)), world.truth(host(1)));
    assert!(seen.replies().any(|(_, reply)| reply.shared), "{seen:?}");
}

#[test]
fn what_is_taken_over_when_time_is_up_fits_one_of_the_arms() {
    for limit in [100, 200, 400, 800, 1500] {
        for key in 0..20 {
            let config = ProberConfig {
                time_limit: Duration::from_millis(limit),
                ..config()
            };
            let mut world = World::with_key(config, Manner::Limited, [key; 16]);
            diamond(&mut world, 40);
            for number in 0..40 {
                world.begin(host(number)).unwrap();
            }
            world.run();
            for number in 0..40 {
                let path = world.path(host(number));
                let arms = [path.get(2), path.get(3)].map(|hop| hop.copied().flatten());
                let arms: BTreeSet<_> = arms
                    .into_iter()
                    .flatten()
                    .map(|seen| seen == router(10) || seen == router(20))
                    .collect();
                assert!(arms.len() <= 1, "{limit} {path:?}");
                let trunk: Vec<_> = path.iter().take(2).copied().collect();
                let truth = world.truth(host(number));
                for (seen, truth) in trunk.iter().zip(&truth) {
                    assert!(seen.is_none() || seen == truth, "{limit} {path:?}");
                }
            }
        }
    }
}

#[test]
fn without_sharing_a_diamond_is_exact_for_every_flow() {
    let mut world = World::new(
        ProberConfig {
            sharing: Sharing::Off,
            ..config()
        },
        Manner::Always,
    );
    diamond(&mut world, 30);
    for number in 0..30 {
        world.begin(host(number)).unwrap();
    }
    world.run();
    for number in 0..30 {
        assert_eq!(world.path(host(number)), world.truth(host(number)));
        let shared = world.done[&host(number)]
            .0
            .replies()
            .any(|(_, reply)| reply.shared);
        assert!(!shared);
    }
}

#[test]
fn shared_hops_are_marked() {
    let mut world = World::new(
        ProberConfig {
            sharing: Sharing::Verified { confirmations: 1 },
            ..config()
        },
        Manner::Always,
    );
    world.way(host(0), chain(8), 3_000);
    world.way(host(1), chain(8), 3_000);
    let first = world.trace(host(0));
    let second = world.trace(host(1));
    assert!(first.replies().all(|(_, reply)| !reply.shared));
    let shared: Vec<_> = second.replies().map(|(_, reply)| reply.shared).collect();
    // With one target at a time a few hops are asked ahead of the answer that makes them superfluous.
    assert!(shared[..4].iter().all(|shared| *shared), "{shared:?}");
    assert!(!shared[8]);
    assert!(second.probes_sent < first.probes_sent);
}

#[test]
fn a_silent_client_is_looked_for_where_its_neighbours_are() {
    let mut world = World::new(config(), Manner::Always);
    for number in 0..30 {
        world.way(host(number), chain(4), 3_000);
    }
    let far = |last: u32| chain(14).into_iter().chain([router(100 + last)]);
    for number in 101..106 {
        world.way(host(number), far(number).collect(), 3_000);
    }
    let silent = host(103);
    world.ways.get_mut(&silent).unwrap().end = End::Silent;
    for target in world.ways.keys().copied().collect::<Vec<_>>() {
        world.begin(target).unwrap();
    }
    world.run();
    let seen = &world.done[&silent].0;
    assert_eq!(world.path(silent)[..15], world.truth(silent)[..15]);
    assert_eq!(seen.end, PathEnd::Silent);
    let sent = world.sent_ttls.iter();
    let beyond = sent.filter(|(ttl, target)| *target == silent && *ttl > 15);
    assert!(
        beyond.count() <= 4,
        "a large TTL, and two behind the last router"
    );
}

#[test]
fn a_reply_that_comes_after_its_trace_serves_the_next() {
    let mut world = World::new(config(), Manner::Always);
    for number in 0..2 {
        world.way(host(number), chain(3), 10_000);
    }
    world.ways.get_mut(&host(0)).unwrap().delays_us[1] = 700_000;
    let first = world.trace(host(0));
    assert!(first.observed_at.0 < Duration::from_secs(1), "{first:?}");
    assert_eq!(world.path(host(0))[1], None);
    assert_eq!(
        world.engine.counters().rejected,
        0,
        "late replies are replies"
    );
    world.manner(router(2), Manner::Never);
    world.trace(host(1));
    assert_eq!(world.path(host(1)), world.truth(host(1)));
}
