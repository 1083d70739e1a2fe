//! What no reply, target or asker can make the engine do.

use super::*;

#[test]
fn forged_replies_are_rejected() {
    let mut world = World::new(config(), Manner::Always);
    world.way(host(0), chain(3), 10_000);
    world.begin(host(0)).unwrap();
    let Some(Action::Send(probe)) = world.engine.poll(world.now) else {
        panic!("a probe")
    };
    world.send(&probe);
    let genuine = Reply {
        responder: router(66),
        kind: ReplyKind::Error(ErrorKind::TimeExceeded),
        target: probe.target,
        source_port: probe.source_port,
        destination_port: probe.destination_port,
        proof: Proof::Long(probe.tag.long),
        ttl_left: Some(1),
        arrived_with: None,
        in_tunnel: false,
    };
    let forgeries = [
        Reply {
            proof: Proof::Long(probe.tag.long ^ 1),
            ..genuine
        },
        Reply {
            proof: Proof::Short(probe.tag.short ^ 1),
            ..genuine
        },
        Reply {
            source_port: probe.source_port ^ 1,
            ..genuine
        },
        Reply {
            destination_port: 53,
            ..genuine
        },
        Reply {
            target: host(1),
            ..genuine
        },
    ];
    let now = MonotonicTime(Duration::from_millis(1));
    for forged in &forgeries {
        world.engine.on_reply(forged, now, now);
    }
    assert_eq!(world.engine.counters().rejected, 5);
    world.run();
    assert_eq!(world.path(host(0)), world.truth(host(0)));
}

#[test]
fn a_reply_counts_once() {
    let mut world = World::new(config(), Manner::Always);
    world.way(host(0), chain(3), 10_000);
    world.begin(host(0)).unwrap();
    assert!(matches!(
        world.engine.poll(world.now),
        Some(Action::Send(probe)) if { world.send(&probe); true }
    ));
    let reply = *world.on_the_way.first_key_value().unwrap().1;
    for _ in 0..3 {
        world.engine.on_reply(&reply, world.now, world.now);
    }
    assert_eq!(
        world.engine.counters(),
        ProbeCounters {
            sent: 1,
            replies: 1,
            rejected: 2
        }
    );
}

#[test]
fn the_packet_rate_is_never_exceeded() {
    let config = ProberConfig {
        packets_per_second: 200,
        ..config()
    };
    let mut world = World::new(config, Manner::Always);
    tree(&mut world, 3, 5, 81);
    for number in 0..81 {
        world.begin(host(number)).unwrap();
    }
    world.run();
    for window in world.send_times.windows(24) {
        // 24 packets are 16 intervals of 5 ms and a burst of 8.
        assert!(window[23].since(window[0]) >= Duration::from_millis(80));
    }
}

#[test]
fn time_and_probes_for_one_target_are_bounded() {
    let config = ProberConfig {
        time_limit: Duration::from_secs(2),
        probes_per_target: 12,
        attempts: 7,
        gap_limit: 30,
        ..config()
    };
    let mut world = World::new(config, Manner::Never);
    world.way(host(0), chain(9), 3_000);
    world.ways.get_mut(&host(0)).unwrap().end = End::Silent;
    let seen = world.trace(host(0));
    assert!(seen.observed_at.0 <= Duration::from_secs(2));
    assert!(seen.probes_sent <= 12);
    assert_eq!(seen.end, PathEnd::TimedOut);
}

#[test]
fn too_many_targets_are_refused_and_what_is_not_used_is_returned() {
    let config = ProberConfig {
        max_targets: 2,
        ..config()
    };
    let mut world = World::new(config, Manner::Always);
    for number in 0..3 {
        world.way(host(number), chain(3), 1_000);
    }
    world.begin(host(0)).unwrap();
    world.begin(host(0)).unwrap();
    world.begin(host(1)).unwrap();
    assert!(matches!(
        world.begin(host(2)),
        Err(TraceError::OverBudget {
            scope: BudgetScope::Global,
            ..
        })
    ));
    world.run();
    // 640 probes per minute and prefix are 10 traces at once, but unused probes come back.
    for _ in 0..20 {
        world.trace(host(2));
    }
}

#[test]
fn an_abandoned_trace_leaves_nothing_behind() {
    let mut world = World::new(config(), Manner::Always);
    world.way(host(0), chain(3), 1_000);
    world.way(host(1), chain(3), 1_000);
    world.begin(host(0)).unwrap();
    world.begin(host(1)).unwrap();
    world.engine.abandon(host(0), world.now);
    world.run();
    assert_eq!(world.done.keys().collect::<Vec<_>>(), [&host(1)]);
    assert!(world.engine.timers.is_empty());
    assert!(world.engine.queue.is_empty());
}
