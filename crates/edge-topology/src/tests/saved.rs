//! Snapshots and logs.

use super::*;
use crate::{LogEntry, ReadError};

fn text(store: &Observations) -> String {
    store.snapshot().map(|line| line + "\n").collect()
}

/// Any history: observations with everything a reply can say, some of the same target, some forgotten again.
fn any_history() -> impl Strategy<Value = Vec<LogEntry>> {
    let address = prop_oneof![
        3 => (1u8..8).prop_map(router),
        1 => (1u8..4).prop_map(|number| IpAddr::from([10, 0, number, 1])),
        1 => (1u8..6).prop_map(|number| IpAddr::from([241, 0, number, 9])),
    ];
    let reply = (
        address,
        prop::option::of(0u64..50_000_000),
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::option::of(any::<u8>()),
    );
    let reply = reply.prop_map(|(address, rtt, shared, in_tunnel, reply_ttl)| HopReply {
        address,
        rtt: rtt.map(|rtt| Rtt(Duration::from_nanos(rtt))),
        shared,
        in_tunnel,
        reply_ttl,
    });
    let hop = prop_oneof![
        4 => reply.clone().prop_map(Hop::Reply),
        1 => Just(Hop::NoReply),
    ];
    let end = prop_oneof![
        3 => Just(PathEnd::Reached),
        1 => any::<u8>().prop_map(PathEnd::Unreachable),
        1 => Just(PathEnd::Silent),
        1 => Just(PathEnd::MaxTtl),
        1 => Just(PathEnd::TimedOut),
    ];
    let path = (
        1u8..6,
        0u64..2000,
        prop::collection::vec(hop, 0..8),
        prop::collection::vec((0u8..10, reply), 0..6),
        end,
    );
    let insert = path.prop_map(|(number, second, mut hops, further, end)| {
        let target = IpAddr::from([241, 0, number, 9]);
        if end == PathEnd::Reached {
            hops.push(Hop::Reply(HopReply::new(target, Rtt::default())));
        }
        LogEntry::Insert(PathObservation {
            target,
            observed_at: MonotonicTime(Duration::from_secs(second)),
            hops,
            further,
            end,
            probes_sent: 9,
        })
    });
    let remove = (1u8..6).prop_map(|number| LogEntry::Remove([241, 0, number, 9].into()));
    prop::collection::vec(prop_oneof![6 => insert, 1 => remove], 0..24)
}

fn live(history: &[LogEntry]) -> Observations {
    let mut store = Observations::new(Limits::default());
    for entry in history {
        match entry {
            LogEntry::Insert(path) => drop(store.insert(path)),
            LogEntry::Remove(target) => store.remove(*target),
        }
    }
    store
}

proptest! {
    #[test]
    fn a_snapshot_loads_to_an_equal_store_and_equal_trees(
        history in any_history(),
        later in any_history(),
    ) {
        let store = live(&history);
        let saved = text(&store);
        let mut loaded = Observations::load(saved.as_bytes(), Limits::default()).unwrap();
        prop_assert_eq!(&loaded, &store);
        prop_assert_eq!(text(&loaded), saved);

        // And it goes on as the other does.
        let mut store = store;
        for entry in &later {
            if let LogEntry::Insert(path) = entry {
                prop_assert_eq!(loaded.insert(path), store.insert(path));
            }
        }
        let clients: Vec<String> = (1..6).map(|number| format!("241.0.{number}.9")).collect();
        let clients: Vec<(&str, u64)> = clients.iter().map(|client| (client.as_str(), 7)).collect();
        let view = |store: &Observations| {
            store.tree(Generation(1), PrefixGrouping::SITE, &demand(&clients))
        };
        prop_assert_eq!(format!("{:?}", view(&loaded)), format!("{:?}", view(&store)));
    }

    #[test]
    fn a_log_replays_to_the_state_of_the_live_store(history in any_history()) {
        let mut log = LogEntry::header() + "\n";
        for entry in &history {
            log += &(entry.to_line() + "\n");
        }
        let read: Vec<LogEntry> = LogEntry::read(log.as_bytes()).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(&read, &history);

        let replay = Observations::replay(log.as_bytes(), Limits::default());
        prop_assert!(replay.problem.is_none());
        prop_assert_eq!(replay.entries, history.len());
        prop_assert_eq!(text(&replay.observations), text(&live(&history)));
        prop_assert_eq!(replay.observations, live(&history));
    }

    #[test]
    fn damaged_files_are_refused_or_sound(
        history in any_history(),
        at in any::<prop::sample::Index>(),
        octet in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut log = LogEntry::header();
        for entry in &history {
            log += &("\n".to_owned() + &entry.to_line());
        }
        for text in [text(&live(&history)), log] {
            let mut damaged = text.into_bytes();
            let at = at.index(damaged.len());
            if cut {
                damaged.truncate(at);
            } else {
                damaged[at] = octet;
            }
            if let Ok(store) = Observations::load(&damaged, Limits::default()) {
                let again = self::text(&store);
                prop_assert_eq!(Observations::load(again.as_bytes(), Limits::default()).unwrap(), store);
            }
            let _ = Observations::replay(&damaged, Limits::default());
        }
    }
}

fn check(lines: &[&str], expected: &str) {
    let text = lines.join("\n");
    let error = Observations::load(text.as_bytes(), Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn errors_say_which_line_and_why() {
    let header = r#"{"format":"edge-topology snapshot","version":1}"#;
    let path = r#"{"path":{"target":"241.0.1.9","at_ns":5,"reached":true,"hops":["240.0.1.1","241.0.1.9"]}}"#;
    let interface = r#"{"interface":{"address":"240.0.1.1","minima":[[5,7]],"latest":[[5,7]]}}"#;
    let end = r#"{"end":{"paths":1,"interfaces":1}}"#;
    let sound = [header, path, interface, end].join("\n");
    let store = Observations::load(sound.as_bytes(), Limits::default()).unwrap();
    assert_eq!(store.rtt(router(1)), Some(Rtt(Duration::from_nanos(7))));

    let no_header = "no edge-topology snapshot of version 1";
    check(&[], no_header);
    check(&[path], no_header);
    check(&[&header.replace(":1}", ":2}")], no_header);
    check(
        &[header, path, interface],
        "it ends after line 3, before the end",
    );
    check(&[header, path, "{\"path\":"], "malformed line 3");
    check(
        &[header, &path.replace("reached", "arrived")],
        "malformed line 2",
    );
    check(
        &[header, path, path],
        "line 3 is not sound: targets are not in order",
    );
    check(
        &[header, interface],
        "line 2 is not sound: the interface is on no path",
    );
    check(
        &[header, path, end],
        "line 3 is not sound: some lines are missing",
    );
    check(
        &[header, path, interface, end, end],
        "line 5 is not sound: it comes after the end",
    );
    let backwards = interface.replace("\"latest\":[[5,7]]", "\"latest\":[[5,7],[4,7]]");
    check(
        &[header, path, &backwards],
        "line 3 is not sound: no interface has such round trips",
    );
    let looping = path.replace("\"240.0.1.1\"", "\"240.0.1.1\",\"240.0.2.1\",\"240.0.1.1\"");
    check(
        &[header, &looping],
        "line 2 is not sound: the path was not normalised",
    );
    let long = path.replace("[\"240", &format!("[{}\"240", "null,".repeat(64)));
    check(&[header, &long], "line 2 is not taken");
    check(
        &[header, &" ".repeat(1 << 19)],
        "line 2 has more than 262144 octets",
    );
}

#[test]
fn a_log_that_was_cut_short_gives_what_came_before() {
    let entry = LogEntry::Insert(path(A, "R1@1 !@2")).to_line();
    let log = [&LogEntry::header(), &entry, &entry[..20]]
        .map(ToOwned::to_owned)
        .join("\n");
    let replay = Observations::replay(log.as_bytes(), Limits::default());
    assert_eq!(replay.entries, 1);
    assert_eq!(replay.observations.targets(), 1);
    assert!(matches!(
        replay.problem,
        Some(ReadError::Malformed { line: 3, .. })
    ));
}
