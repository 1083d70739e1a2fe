//! Traces, the spread and the contest on small inputs.

use edge_placement::Tree;
use proptest::prelude::*;

use super::contest::{follow, forecast_driven};
use super::spread::DAY;
use super::*;

/// Two routers with three clients each.
fn tree() -> (Tree, [usize; 6]) {
    let links = [
        (0, 20_000),
        (0, 40_000),
        (1, 1_000),
        (1, 2_000),
        (1, 3_000),
        (2, 1_000),
        (2, 2_000),
        (2, 3_000),
    ];
    (Tree::new(&links).unwrap(), [3, 4, 5, 6, 7, 8])
}

/// Weeks of a made-up service: days with two peaks, growing, with a flash crowd in each week.
fn service(days: usize) -> Vec<u64> {
    (0..days * 1440)
        .map(|minute| {
            let hour = minute / 60 % 24;
            let crowd = if minute % 10_080 > 9000 && minute % 10_080 < 9060 {
                5
            } else {
                1
            };
            DAY[hour] * crowd * (10 + minute as u64 / 5000)
        })
        .collect()
}

#[test]
fn a_trace_is_read_with_its_gaps() {
    let text = "minute,requests\n1998-02-28 23:59:00,5\n\n1998-03-01 00:01:00,7\n";
    assert_eq!(requests_per_minute(text), Ok(vec![5, 0, 7]));
    let leap = "2000-02-28 23:59:00,5\n2000-03-01 00:00:00,7\n";
    assert_eq!(requests_per_minute(leap).unwrap().len(), 1442);
    assert_eq!(requests_per_minute(""), Ok(Vec::new()));
}

#[test]
fn traces_that_are_none_are_refused() {
    use TraceError::{Malformed, OutOfOrder, TooLong};
    let first = "1998-05-01 00:00:00,5\n";
    for (second, error) in [
        ("1998-05-01 00:00:00,5", OutOfOrder { line: 2 }),
        ("1998-04-30 00:00:00,5", OutOfOrder { line: 2 }),
        ("2098-05-01 00:00:00,5", TooLong { line: 2 }),
        ("1998-05-01 00:01:00", Malformed { line: 2 }),
        ("1998-05-01 00:01:00,-3", Malformed { line: 2 }),
        ("1998-13-01 00:01:00,3", Malformed { line: 2 }),
        (
            "99999999999999999999-05-01 00:01:00,3",
            Malformed { line: 2 },
        ),
        ("1998-05-01,3", Malformed { line: 2 }),
        ("a,b", Malformed { line: 2 }),
    ] {
        assert_eq!(
            requests_per_minute(&format!("{first}{second}")),
            Err(error),
            "{second}"
        );
    }
}

#[test]
fn all_clients_together_ask_for_what_the_trace_says() {
    let (tree, clients) = tree();
    let mut scene = Scene::new(&tree, &clients, 2, 1).unwrap();
    assert_eq!(scene.sites, 2);
    for place in &mut scene.places {
        assert!(place.site.is_some() && place.saved_micros >= 17_000);
        place.saved_micros = 1;
    }
    let requests = service(2);
    let gains = site_gains(&scene, &requests, 0, 1);
    for minute in (0..2880).step_by(97) {
        let asked = gains[0][minute] + gains[1][minute];
        let deviation = (requests[minute] as f64).sqrt();
        assert!((asked as f64 - requests[minute] as f64).abs() < 6.0 * deviation + 3.0);
    }
}

#[test]
fn time_zones_move_demand_from_site_to_site() {
    let (tree, clients) = tree();
    let mut scene = Scene::new(&tree, &clients, 2, 1).unwrap();
    for place in &mut scene.places {
        place.inhabitants = 1000;
        place.zone_minutes = if place.site == Some(0) { 180 } else { 1260 };
        place.saved_micros = 1;
    }
    let gains = site_gains(&scene, &vec![60_000; 1440], 0, 1);
    // At six in the morning of the trace it is nine at the one site and three at the other.
    assert!(gains[0][360] > 2 * gains[1][360]);
    let sums: Vec<u64> = gains.iter().map(|gains| gains.iter().sum()).collect();
    assert!(sums[0].abs_diff(sums[1]) < sums[0] / 10, "{sums:?}");
}

#[test]
fn equal_seeds_give_equal_results_on_any_number_of_threads() {
    let (tree, clients) = tree();
    let requests = service(2);
    let grid = Grid {
        deploy_secs: vec![300],
        lease_minutes: vec![360],
        price_percent: vec![100],
        seeds: vec![1, 2],
    };
    let run = |threads| {
        let contest = Contest::new(&tree, &clients, 2, &requests, 90, &[1, 2], threads).unwrap();
        contest.run(&grid, threads)
    };
    let one = run(1);
    assert_eq!(one, run(4));
    assert_eq!(one.len(), 2);
}

#[test]
fn policies_are_in_the_order_that_they_have_to_be() {
    let (tree, clients) = tree();
    let contest = Contest::new(&tree, &clients, 2, &service(3), 0, &[1], 2).unwrap();
    let grid = Grid {
        deploy_secs: vec![60],
        lease_minutes: vec![360],
        price_percent: vec![50],
        seeds: vec![1],
    };
    for cell in contest.run(&grid, 2) {
        let best = cell.cost("clairvoyant");
        assert!(
            cell.policies.iter().all(|policy| policy.cost >= best),
            "{cell:?}"
        );
        assert!(best <= cell.cloud_only);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_text_is_read_or_refused(text in "[0-9:, \n-]{0,80}") {
        let _read_or_refused = requests_per_minute(&text);
    }

    #[test]
    fn absurd_scenes_are_survived(
        requests in prop::collection::vec(any::<u64>(), 0..5),
        inhabitants: u64,
        saved_micros: u64,
        first_minute in 0_usize..1440,
    ) {
        let place = Place { inhabitants, site: Some(0), saved_micros, zone_minutes: 0 };
        let scene = Scene { places: vec![place; 2], sites: 1 };
        let gains = site_gains(&scene, &requests, first_minute, 1);
        let terms = edge_forecast::Terms { lease_steps: 2, price: 7, deploy_millisteps: 100 };
        let _survives = follow(&mut forecast_driven(terms), terms, &gains[0]);
    }
}
