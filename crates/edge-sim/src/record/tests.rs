//! Records of made-up runs, and what becomes of them.

use std::collections::{BTreeMap, BTreeSet};

use edge_placement::{
    Algorithm, Application, Candidate, Effort, PlanInput, Policy, Trust, Whereabouts,
};
use edge_topology::{ClientDemand, Limits, Observations};
use edge_types::{Amount, PrefixGrouping, Rtt, Slot, UtcTime};

use super::*;
use crate::population::Skew;
use crate::world::{World, WorldSize};

const MOST_TARGETS: usize = 1000;

fn begin() -> Begin {
    Begin {
        routers_v4: 24,
        routers_v6: 48,
        most_targets: MOST_TARGETS,
    }
}

/// What a run of so many plans writes, with pseudonyms of a key.
fn record(plans: u64, key: u8) -> Vec<Entry> {
    let scribe = Scribe::new(Anonymiser::new([key; 16]));
    let size = WorldSize {
        clients: 10_000,
        prefixes: 64,
        prefixes_per_metro: 4,
        metros_per_region: 4,
        equipped_percent: 60,
        skew: Skew::Zipf { exponent: 0.8 },
    };
    let world = World::new(size, 5);
    let mut observations = Observations::new(Limits {
        max_targets: MOST_TARGETS,
        ..Limits::default()
    });
    let mut entries = vec![Entry::Begin(begin())];
    let at = |plan: u64| MonotonicTime(Duration::from_secs(10 * plan));
    let mut demand = Demand::new();
    let sites: Vec<(IepId, PathObservation, Amount)> = (0..16)
        .filter_map(|metro| {
            let address: IpAddr = format!("243.0.{metro}.1").parse().unwrap();
            let path = world.trace(address, at(0))?;
            let site = IepId {
                host: format!("edge.metro{metro}.example").parse().unwrap(),
                port: 5060,
            };
            Some((site, path, world.price(metro)?))
        })
        .collect();
    assert!(sites.len() > 5);
    for number in 1..=plans {
        let mut requests = BTreeMap::new();
        for prefix in 0..size.prefixes {
            let client = world.client(prefix, number % 5);
            let group = PrefixGrouping::SITE.group(client);
            let asked = world.population.clients[prefix] * (1 + (number + prefix as u64) % 3);
            requests.insert(group, asked);
            // A few are traced with each plan, and a few never.
            if prefix as u64 % plans < number && prefix % 9 != 8 {
                let path = world.trace(client, at(number)).unwrap();
                entries.push(scribe.path(&path));
                observations.insert(&path).unwrap();
                demand.insert(
                    group,
                    ClientDemand {
                        target: client,
                        milli_requests_per_second: 100 * asked,
                    },
                );
            }
        }
        if number == 3 {
            let gone = world.client(0, number % 5);
            entries.push(scribe.forgotten(gone));
            observations.remove(gone);
        }
        let tree = observations.tree(Generation(40 + number), PrefixGrouping::SITE, &demand);
        entries.extend(scribe.tree(at(number), tree.generation(), &demand, &requests));
        let candidates: Vec<Candidate> = sites
            .iter()
            .map(|(site, path, price)| Candidate {
                site: site.clone(),
                offer: Some(OfferId([7; 32])),
                attachment: tree.attach(path),
                price_per_second: *price,
                slot: Slot {
                    start: UtcTime(10 * number),
                    end: UtcTime(10 * number + 3600),
                },
                already_running: number % 2 == 0,
                capacity: None,
                trust: Trust::Named,
                whereabouts: Whereabouts::default(),
                outlook_percent: 100,
            })
            .collect();
        let measured = BTreeMap::from([(
            (sites[0].0.clone(), *demand.keys().next().unwrap()),
            Rtt(Duration::from_millis(1)),
        )]);
        let input = PlanInput {
            generation: Generation(number),
            tree: &tree,
            sites_found: sites.len(),
            candidates: &candidates,
            excluded: &BTreeSet::from([sites[1].0.clone()]),
            measured: &measured,
            application: Application::default(),
            policy: Policy {
                max_sites: 4,
                ..Policy::within(Amount::wei(1_000_000))
            },
            algorithm: Algorithm::Auto,
            effort: Effort::default(),
        };
        let plan = edge_placement::plan(&input);
        assert!(!plan.chosen.is_empty());
        let basis = PlanBasis::of(&input, |wanted| {
            let site = sites.iter().find(|(site, ..)| site == wanted);
            site.map(|(_, path, _)| path.clone())
        });
        entries.push(scribe.plan(at(number), &basis, &plan));
    }
    entries.push(Entry::End("the run ended".to_owned()));
    entries
}

fn replayed(entries: &[Entry], threads: usize) -> (String, Summary) {
    let mut text = String::new();
    let summary = replay(entries, threads, |plan| text += &format!("{plan}\n")).unwrap();
    (text, summary)
}

#[test]
fn a_record_replays_byte_equally_on_any_number_of_threads_and_as_it_was() {
    let entries = record(40, 1);
    let (text, summary) = replayed(&entries, 1);
    assert_eq!(text.lines().count(), 40);
    assert_eq!((summary.trees, summary.different), (40, 0), "{text}");
    assert!(summary.as_recorded >= 38, "{text}");
    assert!(summary.requests > 40 * 10_000);
    assert_eq!(summary.ended.as_deref(), Some("the run ended"));
    for threads in [2, 4] {
        assert_eq!(replayed(&entries, threads), (text.clone(), summary.clone()));
    }
}

#[test]
fn a_record_says_the_same_after_it_was_written_and_read() {
    let entries = record(4, 1);
    let read: Vec<Entry> = entries
        .iter()
        .map(|entry| serde_json::from_str(&serde_json::to_string(entry).unwrap()).unwrap())
        .collect();
    assert_eq!(read, entries);
}

#[test]
fn no_address_or_name_is_in_a_record() {
    for entry in record(3, 2) {
        let text = serde_json::to_string(&entry).unwrap();
        assert!(!text.contains("metro"), "{text}");
        assert!(
            !text.contains("\"244.0.") && !text.contains("\"243.0."),
            "{text}"
        );
    }
}

#[test]
fn a_changed_record_is_decided_otherwise() {
    let mut entries = record(4, 1);
    // The first path becomes another: that of the next target, as if it were the first's.
    let paths: Vec<usize> = (0..entries.len())
        .filter(|at| matches!(entries[*at], Entry::Path(LogEntry::Insert(_))))
        .collect();
    for at in paths {
        let Entry::Path(LogEntry::Insert(path)) = &mut entries[at] else {
            unreachable!();
        };
        path.hops.drain(..2);
    }
    assert!(replayed(&entries, 2).1.different > 0);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let good = record(2, 1);
    let of = |entries: &[Entry]| replay(entries, 1, |_| ()).unwrap_err().to_string();
    assert_eq!(
        of(&good[1..]),
        "entry 1: the record begins in its middle, or twice"
    );
    let plan = good.iter().find(|entry| matches!(entry, Entry::Plan(_)));
    let without_tree = [good[0].clone(), plan.unwrap().clone()];
    assert_eq!(of(&without_tree), "entry 2");
    let mut begin = begin();
    begin.routers_v4 = 33;
    assert_eq!(of(&[Entry::Begin(begin)]), "entry 1");
}
