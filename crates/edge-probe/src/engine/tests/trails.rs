//! What is told about how a path was found.

use super::*;

fn explained() -> ProberConfig {
    ProberConfig {
        explain: true,
        ..config()
    }
}

fn sent(trail: &Trail) -> Vec<(u8, ProbeReason)> {
    let events = trail.events.iter();
    events
        .filter_map(|(_, event)| match event {
            TrailEvent::Sent { ttl, why, .. } => Some((*ttl, *why)),
            _ => None,
        })
        .collect()
}

#[test]
fn every_probe_and_answer_is_in_the_trail_in_order() {
    let mut world = World::new(explained(), Manner::Always);
    world.way(host(0), chain(5), 2_000);
    world.manner(router(3), Manner::Never);
    let path = world.trace(host(0));
    let trail = world.engine.take_trail(host(0)).unwrap();
    assert_eq!(sent(&trail).len(), path.probes_sent as usize);
    assert_eq!(trail.distance, DistanceFrom::AllAtOnce);
    assert!(trail.events.is_sorted_by_key(|(after, _)| *after));
    for (ttl, reply) in path.replies() {
        let is_told = trail.events.iter().any(|(_, event)| {
            matches!(event, TrailEvent::Answered { ttl: at, address, rtt }
                if (*at, *address, Some(*rtt)) == (ttl, reply.address, reply.rtt))
        });
        // The end answers every probe that comes so far.
        assert!(is_told, "{ttl} {reply:?} {trail:?}");
    }
    let again = sent(&trail).contains(&(3, ProbeReason::Unanswered));
    assert!(again, "{trail:?}");
    assert_eq!(world.engine.take_trail(host(0)), None);
}

#[test]
fn hops_of_others_are_told_with_those_who_saw_them() {
    let mut world = World::new(explained(), Manner::Always);
    tree(&mut world, 2, 4, 24);
    let targets: Vec<_> = world.ways.keys().copied().collect();
    for target in &targets {
        world.begin(*target).unwrap();
    }
    world.run();
    let mut taken = 0;
    for target in &targets {
        let trail = world.engine.take_trail(*target).unwrap();
        let path = &world.done[target].0;
        assert_eq!(trail.distance, DistanceFrom::Quote);
        assert_eq!(sent(&trail)[0], (32, ProbeReason::Distance));
        for (_, event) in &trail.events {
            if let TrailEvent::TakenOver {
                ttl,
                address,
                from,
                flows,
            } = event
            {
                taken += 1;
                assert!(!from.is_empty() && *flows >= from.len(), "{event:?}");
                assert!(!from.contains(target), "{event:?}");
                let at = path.replies().find(|(at, _)| at == ttl);
                assert_eq!(at.map(|(_, reply)| reply.address), Some(*address));
            }
        }
    }
    assert!(taken > 0);
}

#[test]
fn nothing_is_kept_that_nobody_asked_for() {
    let mut world = World::new(config(), Manner::Always);
    world.way(host(0), chain(5), 2_000);
    world.trace(host(0));
    assert_eq!(world.engine.take_trail(host(0)), None);
}
