//! Estimates against the truth of simulated networks. `cargo test -p edge-topology latency -- --nocapture` prints the figures.

use super::simulator::{Laws, Measured, Network, Outcome, coverage, quantile};

/// Sixty routers in a plane, 180 clients, replies that take a router 1 ms and an exponential time of mean 3 ms.
const SLOW_PATH: Laws = Laws {
    routers: 60,
    clients: 180,
    slow_base: 1.0,
    slow_mean: 3.0,
    uneven: None,
    avoided: 0.0,
    avoided_cost: 1.0,
    samples: 8,
    says_ttl: true,
};

/// One link in five is avoided on the way back, at four times its cost.
const DETOURS: Laws = Laws {
    slow_base: 0.0,
    slow_mean: 0.1,
    avoided: 0.2,
    avoided_cost: 4.0,
    ..SLOW_PATH
};

const SEEDS: std::ops::RangeInclusive<u64> = 1..=10;

fn measure(laws: Laws) -> Vec<Outcome> {
    SEEDS
        .map(|seed| Network::new(laws, seed).measure())
        .collect()
}

/// By how much the errors of single differences exceed ours: at the median and at the 95th percentile.
fn gain(outcomes: &[Outcome]) -> [f64; 2] {
    [0.5, 0.95].map(|share| {
        let raw = outcomes.iter().flat_map(|outcome| &outcome.raw_errors);
        let links = outcomes.iter().flat_map(|outcome| &outcome.links);
        quantile(raw.copied(), share) / quantile(links.map(|link| link.error), share)
    })
}

#[expect(clippy::print_stdout, reason = "figures, for those who ask for them")]
fn report(name: &str, outcomes: &[Outcome]) -> Figures {
    let links: Vec<Measured> = outcomes
        .iter()
        .flat_map(|outcome| outcome.links.clone())
        .collect();
    let routers: Vec<Measured> = outcomes.iter().flat_map(Outcome::between_routers).collect();
    let share = |share: f64, value: fn(&Measured) -> f64| quantile(links.iter().map(value), share);
    let gains = outcomes
        .iter()
        .map(|outcome| gain(std::slice::from_ref(outcome)));
    let gains: Vec<[f64; 2]> = gains.collect();
    let least = |at: usize| quantile(gains.iter().map(|gain| gain[at]), 0.0);
    let coverages = outcomes.iter().map(|outcome| coverage(&outcome.links));
    let figures = Figures {
        gain: gain(outcomes),
        coverage: coverage(&links),
        coverage_of_routers: coverage(&routers),
        least_coverage: quantile(coverages, 0.0),
        bar: share(0.5, |link| link.bar),
        length: share(0.5, |link| link.truth),
    };
    println!(
        "{name}: error p50 {:.3} p95 {:.3} ms, {:.1} and {:.1} times lower than raw (least of a seed {:.1} and {:.1}); bars cover \
         {:.3} of links (least of a seed {:.3}; between routers {:.3}), median bar {:.3} ms (p90 {:.2}), median link {:.2} ms",
        share(0.5, |link| link.error),
        share(0.95, |link| link.error),
        figures.gain[0],
        figures.gain[1],
        least(0),
        least(1),
        figures.coverage,
        figures.least_coverage,
        figures.coverage_of_routers,
        figures.bar,
        share(0.9, |link| link.bar),
        figures.length,
    );
    figures
}

struct Figures {
    gain: [f64; 2],
    coverage: f64,
    coverage_of_routers: f64,
    least_coverage: f64,
    bar: f64,
    length: f64,
}

#[test]
fn slow_routers_disturb_links_five_times_less_than_single_differences() {
    for (name, laws) in [
        ("slow path", SLOW_PATH),
        (
            "slow path, no constant part",
            Laws {
                slow_base: 0.0,
                ..SLOW_PATH
            },
        ),
        (
            "slow path, 5 ms constant part",
            Laws {
                slow_base: 5.0,
                ..SLOW_PATH
            },
        ),
        (
            "slow path, some routers slower and some fast",
            Laws {
                slow_base: 0.5,
                slow_mean: 2.0,
                uneven: Some(5.0),
                ..SLOW_PATH
            },
        ),
        (
            "slow path, some routers slower and some fast, more of them",
            Laws {
                routers: 240,
                clients: 186,
                slow_base: 0.5,
                slow_mean: 2.0,
                uneven: Some(5.0),
                ..SLOW_PATH
            },
        ),
        (
            "slow path, some routers slower and some fast, more of them, 16 samples",
            Laws {
                routers: 240,
                clients: 186,
                slow_base: 0.5,
                slow_mean: 2.0,
                uneven: Some(5.0),
                samples: 16,
                ..SLOW_PATH
            },
        ),
        (
            "slow path, 5 samples",
            Laws {
                samples: 5,
                ..SLOW_PATH
            },
        ),
    ] {
        let figures = report(name, &measure(laws));
        assert!(
            figures.gain.iter().all(|gain| *gain >= 5.0),
            "{name}: {:?}",
            figures.gain
        );
        assert!(figures.coverage >= 0.9, "{name}: {}", figures.coverage);
        assert!(
            figures.bar <= 1.1 * figures.length,
            "{name}: bars of {}",
            figures.bar
        );
    }
}

#[test]
fn bars_cover_links_where_answers_come_back_another_way() {
    for (name, laws) in [
        ("detours", DETOURS),
        (
            "many detours",
            Laws {
                avoided: 0.5,
                ..DETOURS
            },
        ),
        (
            "small detours",
            Laws {
                avoided_cost: 1.5,
                ..DETOURS
            },
        ),
        (
            "detours and slow path",
            Laws {
                slow_base: 0.5,
                slow_mean: 1.0,
                ..DETOURS
            },
        ),
        (
            "detours, 4 samples",
            Laws {
                samples: 4,
                ..DETOURS
            },
        ),
    ] {
        let figures = report(name, &measure(laws));
        assert!(
            figures.least_coverage >= 0.9 && figures.coverage_of_routers >= 0.9,
            "{name}: {} of a seed, {} between routers",
            figures.least_coverage,
            figures.coverage_of_routers
        );
        assert!(
            figures.bar <= figures.length / 2.0,
            "{name}: bars of {}",
            figures.bar
        );
    }
}

/// Without the TTLs of replies, only detours that are longer than their links show.
#[test]
fn bars_cover_most_links_if_ttls_of_replies_are_unknown() {
    let figures = report(
        "detours, no TTLs",
        &measure(Laws {
            says_ttl: false,
            ..DETOURS
        }),
    );
    assert!(figures.coverage >= 0.85, "{}", figures.coverage);
}
