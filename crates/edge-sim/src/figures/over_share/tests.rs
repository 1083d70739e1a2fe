//! Figures 4a and 5 on a network small enough to see through.

use std::time::Duration;

use edge_topology::{ClientDemand, Demand, Limits, Observations};
use edge_types::{
    Generation, Hop, HopReply, MonotonicTime, PathEnd, PathObservation, PrefixGrouping, Rtt,
};

use super::super::equipped::equipped;
use super::*;

fn reply(address: [u8; 4], ms: u64) -> Hop {
    Hop::Reply(HopReply::new(
        address.into(),
        Rtt(Duration::from_millis(ms)),
    ))
}

/// Three regions of four homes each: cloud - region (20 ms) - its router (30 ms) - home (50 ms). The first home of each region also
/// leads on to another (60 ms).
fn network() -> Places {
    let mut observations = Observations::new(Limits::default());
    let mut demand = Demand::new();
    let mut add = |hops: Vec<Hop>, target: [u8; 4]| {
        let path = PathObservation {
            target: target.into(),
            observed_at: MonotonicTime::ZERO,
            hops,
            further: vec![],
            end: PathEnd::Reached,
            probes_sent: 0,
        };
        observations.insert(&path).unwrap();
        let client = ClientDemand {
            target: path.target,
            milli_requests_per_second: 1000,
        };
        demand.insert(PrefixGrouping::SITE.group(path.target), client);
    };
    for region in 1..=3 {
        let way = || {
            vec![
                reply([240, region, 0, 1], 20),
                reply([240, region, 1, 1], 30),
            ]
        };
        for home in 10..14 {
            let mut hops = way();
            hops.push(reply([240, region, home, 1], 50));
            add(hops, [240, region, home, 1]);
        }
        let mut hops = way();
        hops.push(reply([240, region, 10, 1], 50));
        hops.push(reply([240, region, 20, 1], 60));
        add(hops, [240, region, 20, 1]);
    }
    let tree = observations.tree(Generation(1), PrefixGrouping::SITE, &demand);
    Places::of_tree(&tree).unwrap()
}

const ROUNDS: Rounds = Rounds {
    rounds: 3,
    clients: 3000,
    seed: 7,
};

#[test]
fn a_prefix_with_routers_and_clients_is_one_place() {
    let places = network();
    // The cloud; in each region two routers, four homes, and the one behind.
    assert_eq!(places.all().len(), 1 + 3 * 7);
    assert_eq!(places.hosts().len(), 3 * 7);
    assert_eq!(places.homes().len(), 3 * 5);
    assert_eq!(places.inner_hosts(), 3 * 3);
}

#[test]
fn the_cloud_serves_all_where_nobody_else_does() {
    let figure = over_share(&network(), &ROUNDS, &[0], |_| ()).unwrap();
    for scheme in Scheme::ALL {
        assert_eq!(figure.at(scheme, 0), Some(figure.cloud_ms.mean));
    }
    // Four homes in five are 50 ms away, one 60 ms.
    assert!((51.0..53.0).contains(&figure.cloud_ms.mean), "{figure:?}");
}

#[test]
fn no_scheme_is_better_than_the_optimum_and_all_end_at_nothing() {
    let shares = [5, 15, 30, 50, 100];
    let figure = over_share(&network(), &ROUNDS, &shares, |_| ()).unwrap();
    for scheme in Scheme::ALL {
        for share in shares {
            let (one, best) = (figure.at(scheme, share), figure.at(Scheme::Optimum, share));
            assert!(
                one.unwrap() >= best.unwrap() - 1e-9,
                "{scheme:?} at {share} %"
            );
        }
        assert_eq!(figure.at(scheme, 100), Some(0.0), "{scheme:?}");
    }
}

#[test]
fn one_scheme_overtakes_another_only_if_it_stays_ahead() {
    let curve = |scheme, means: [f64; 4]| SchemeCurve {
        scheme,
        sites: vec![0, 10, 20, 30],
        ms: means
            .map(|mean| Estimate {
                mean,
                half_width: 0.0,
            })
            .to_vec(),
    };
    let figure = OverShare {
        curves: vec![
            curve(Scheme::Greedy, [9.0, 3.0, 8.0, 1.0]),
            curve(Scheme::Centrality, [9.0, 5.0, 4.0, 2.0]),
        ],
        cloud_ms: Estimate::default(),
        hosts: 100,
        inner: 20,
    };
    assert_eq!(
        figure.overtakes(Scheme::Greedy, Scheme::Centrality),
        Some(30.0)
    );
    assert_eq!(figure.overtakes(Scheme::Centrality, Scheme::Greedy), None);
    assert_eq!(figure.reaches(Scheme::Centrality, 4.5), Some(20.0));
    assert_eq!(figure.reaches(Scheme::Centrality, 1.0), None);
}

#[test]
fn equal_seeds_give_equal_figures() {
    let run = |seed| {
        let rounds = Rounds { seed, ..ROUNDS };
        over_share(&network(), &rounds, &[10, 40], |_| ()).unwrap()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn more_equipment_and_more_use_are_never_slower() {
    let shares = [0, 10, 30, 100];
    let figure = equipped(&network(), &ROUNDS, &shares, &[0, 50, 100], |_| ()).unwrap();
    let cloud = figure.centrality_ms[0][0].mean;
    for row in &figure.centrality_ms {
        assert!((row[0].mean - cloud).abs() < 1e-9);
        assert!(
            row.windows(2)
                .all(|pair| pair[1].mean <= pair[0].mean + 1e-9)
        );
    }
    for (more, less) in figure.centrality_ms[1..].iter().zip(&figure.centrality_ms) {
        assert!(more[2].mean <= less[2].mean + 1e-9);
    }
    for (ours, theirs) in figure.saving_ms.iter().zip(&figure.centrality_ms) {
        // All that is equipped is used, so there is nothing to choose.
        assert!((ours[2].mean - theirs[2].mean).abs() < 1e-9);
    }
    assert!(figure.centrality_ms[3][2].mean.abs() < 1e-9);
}
