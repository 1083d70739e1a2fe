//! Several round trips of each interface.

use super::*;

fn sampled(samples: u8) -> World {
    let config = ProberConfig {
        samples,
        ..config()
    };
    World::new(config, Manner::Always)
}

#[test]
fn each_interface_is_sampled_as_often_as_asked_for_and_spread_in_time() {
    let mut world = sampled(5);
    world.way(host(0), chain(9), 2_000);
    let seen = world.trace(host(0));
    assert_eq!(world.path(host(0)), world.truth(host(0)));
    for ttl in 1..=10 {
        let further: Vec<_> = seen.further.iter().filter(|(at, _)| *at == ttl).collect();
        assert_eq!(further.len(), 4, "at {ttl}: {seen:?}");
        let responder = address(&seen.hops[usize::from(ttl) - 1]);
        assert!(
            further
                .iter()
                .all(|(_, reply)| Some(reply.address) == responder)
        );
    }
    let last = world.done[&host(0)].1;
    assert!(last.0 >= Duration::from_millis(800), "{last:?}");
    assert!(last.0 <= Duration::from_millis(1_500), "{last:?}");
}

#[test]
fn the_fastest_sample_stands_on_the_path() {
    let mut world = sampled(4);
    world.way(host(0), chain(3), 2_000);
    // Routers answer late at first.
    world.slow_until = MonotonicTime(Duration::from_millis(250));
    let seen = world.trace(host(0));
    for (ttl, reply) in seen.replies() {
        let truth = Duration::from_micros(2 * 2_000 * u64::from(ttl));
        assert_eq!(reply.rtt, Some(Rtt(truth)));
    }
}

#[test]
fn what_many_targets_have_in_common_is_sampled_once() {
    let mut world = sampled(4);
    tree(&mut world, 3, 5, 60);
    let targets: Vec<_> = world.ways.keys().copied().collect();
    for target in &targets {
        world.begin(*target).unwrap();
    }
    world.run();
    let mut samples: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for (path, _) in world.done.values() {
        for (_, reply) in &path.further {
            *samples.entry(reply.address).or_default() += 1;
        }
    }
    for target in &targets {
        assert_eq!(world.path(*target), world.truth(*target));
    }
    let routers: BTreeSet<_> = world
        .ways
        .values()
        .flat_map(|way| way.routers.clone())
        .collect();
    assert!(
        routers.iter().all(|router| samples.get(router) == Some(&3)),
        "{samples:?}"
    );
}

#[test]
fn samples_that_get_no_answer_are_given_up_in_time() {
    let mut world = sampled(8);
    world.way(host(0), chain(4), 2_000);
    for number in 1..=4 {
        world.manner(router(number), Manner::Limited);
    }
    world.loss = 4;
    world.trace(host(0));
    let last = world.done[&host(0)].1;
    assert!(last.0 <= Duration::from_secs(17), "{last:?}");
}
