//! Replies without a tag: nothing false is believed, whatever is lost, copied or late.

use super::*;

fn untagged(sharing: Sharing) -> World {
    let config = ProberConfig {
        sharing,
        ..config()
    };
    let mut world = World::new(config, Manner::Always);
    world.untagged = true;
    world
}

#[test]
fn a_path_of_routers_that_quote_nothing_is_found_whole() {
    for sharing in [Sharing::Off, Sharing::Verified { confirmations: 3 }] {
        let mut world = untagged(sharing);
        world.way(host(0), chain(14), 40_000 / 15);
        let seen = world.trace(host(0));
        assert_eq!(world.path(host(0)), world.truth(host(0)));
        assert_eq!(seen.end, PathEnd::Reached);
        assert!(seen.observed_at.0 <= Duration::from_secs(3), "{seen:?}");
        for (ttl, reply) in seen.replies() {
            let truth = Duration::from_micros(2 * u64::from(ttl) * (40_000 / 15));
            assert_eq!(reply.rtt, Some(Rtt(truth)));
        }
    }
}

#[test]
fn a_single_probe_is_out_once_a_reply_was_in_doubt() {
    let mut world = untagged(Sharing::Off);
    world.way(host(0), chain(9), 5_000);
    world.trace(host(0));
    let late: Vec<_> = world.send_times.iter().rev().take(8).collect();
    for pair in late.windows(2) {
        let apart = pair[0].since(*pair[1]);
        assert!(apart >= Duration::from_millis(10), "{apart:?}");
    }
}

#[test]
fn copies_of_replies_without_a_tag_make_no_false_hop() {
    for later_ms in [0, 1, 40, 120] {
        for sharing in [Sharing::Off, Sharing::Verified { confirmations: 3 }] {
            let mut world = untagged(sharing);
            world.copied_after = Some(Duration::from_millis(later_ms));
            world.way(host(0), chain(7), 5_000);
            world.trace(host(0));
            assert_eq!(
                world.path(host(0)),
                world.truth(host(0)),
                "{later_ms} ms later"
            );
        }
    }
}

#[test]
fn many_targets_share_a_trunk_of_routers_that_quote_nothing() {
    let mut world = untagged(Sharing::Verified { confirmations: 3 });
    for number in 0..40 {
        let mut routers = chain(4);
        routers.push(router(100 + number % 8));
        world.way(host(number), routers, 5_000);
    }
    for number in 0..40 {
        world.begin(host(number)).unwrap();
    }
    world.run();
    for number in 0..40 {
        assert_eq!(world.path(host(number)), world.truth(host(number)));
    }
}

/// 64 hosts behind 16 routers and a trunk, 7 hops away.
fn told_by_the_way_back(end_is_longer: i16) -> World {
    let config = ProberConfig {
        sharing: Sharing::Verified { confirmations: 3 },
        ..config()
    };
    let mut world = World::new(config, Manner::Always);
    world.end_is_longer_back = Some(end_is_longer);
    for number in 0..64 {
        let mut routers = chain(5);
        routers.push(router(100 + number % 16));
        world.way(host(number), routers, 5_000);
    }
    for number in 0..64 {
        world.begin(host(number)).unwrap();
    }
    world.run();
    world
}

#[test]
fn the_way_back_of_its_answer_and_of_the_last_routers_tells_where_the_end_is() {
    let world = told_by_the_way_back(0);
    for number in 0..64 {
        assert_eq!(world.path(host(number)), world.truth(host(number)));
    }
    let checked = world.sent_ttls.iter().filter(|(ttl, _)| *ttl == 7).count();
    assert!(
        (8..48).contains(&checked),
        "{checked} asked at its distance"
    );
}

#[test]
fn a_way_back_of_another_length_is_no_distance() {
    for longer in [-2, -1, 1, 2] {
        let world = told_by_the_way_back(longer);
        let wrong = (0..64)
            .filter(|number| world.path(host(*number)) != world.truth(host(*number)))
            .count();
        assert_eq!(wrong, 0, "{longer} hops longer");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_lost_copied_or_silent_no_hop_is_false(
        length in 1_u32..20, step_us in 100_u64..8_000, loss in 0_u64..6, copied_ms in prop::option::of(0_u64..100),
        silent in prop::collection::btree_set(1_u32..20, 0..4), answers: bool, key: [u8; 16], shared: bool, told: bool,
    ) {
        let sharing = if shared { Sharing::Verified { confirmations: 3 } } else { Sharing::Off };
        let mut world = World::with_key(ProberConfig { sharing, ..config() }, Manner::Always, key);
        world.untagged = true;
        world.end_is_longer_back = told.then_some(0);
        world.loss = if loss == 1 { 2 } else { loss };
        world.copied_after = copied_ms.map(Duration::from_millis);
        for number in 0..3 {
            world.way(host(number), chain(length), step_us);
            world.ways.get_mut(&host(number)).unwrap().end = if answers { End::Answers } else { End::Silent };
        }
        for number in &silent {
            world.manner(router(*number), Manner::Never);
        }
        for number in 0..3 {
            world.begin(host(number)).unwrap();
        }
        world.run();
        for number in 0..3 {
            let (path, truth) = (world.path(host(number)), world.truth(host(number)));
            for (at, seen) in path.iter().enumerate() {
                let last = at + 1 == path.len() && at + 1 >= truth.len() && *seen == Some(host(number));
                prop_assert!(seen.is_none() || last || truth.get(at) == Some(seen), "{path:?}");
            }
            let (_, done) = &world.done[&host(number)];
            prop_assert!(done.0 <= Duration::from_secs(6));
        }
    }
}
