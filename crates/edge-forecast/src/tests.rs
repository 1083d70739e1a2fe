//! What holds for all forecasters, and what each is good at.

use proptest::prelude::*;

use crate::*;

fn all(season: usize) -> Vec<Box<dyn Forecaster>> {
    let learning = Learning {
        lags: 3,
        season,
        harmonics: 2,
        memory: 0.999,
    };
    let smoothing = Smoothing::default();
    vec![
        Box::new(LastValue::default()),
        Box::new(SeasonalNaive::new(season)),
        Box::new(Ewma::new(0.2)),
        Box::new(HoltWinters::new(season, smoothing, Scale::Additive)),
        Box::new(HoltWinters::new(season, smoothing, Scale::Logarithmic)),
        Box::new(Learner::new(learning)),
    ]
}

fn mix(season: usize) -> Mix {
    Mix::new(all(season))
}

/// A day of 48 steps between 100 and 900, by an hour's shape that is no sine wave.
fn days(steps: usize) -> Vec<u64> {
    (0..steps)
        .map(|step| match step % 48 {
            phase @ 0..24 => 100 + 800 * phase as u64 / 24,
            phase => 900 - 800 * (phase as u64 - 24) / 24,
        })
        .collect()
}

/// Chance as of throwing many coins: mean × (1 ± some), repeatable.
fn noisy(mean: u64, step: u64) -> u64 {
    let mut z = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut ones = 0;
    let draws = mean.div_ceil(32);
    for _ in 0..draws {
        z = z
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mixed = (z ^ (z >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        ones += u64::from((mixed ^ (mixed >> 33)).count_ones());
    }
    // Of 64 coins per draw half show heads; the variance is half that of a Poisson count.
    ones * mean / (draws * 32).max(1)
}

fn examination() -> Examination {
    Examination {
        warm_up: 480,
        window: 6,
        stride: 5,
        season: 48,
    }
}

#[test]
fn those_that_know_seasons_forecast_a_regular_day() {
    let counts = days(48 * 40);
    for forecaster in &mut all(48) {
        let wape = examine(&mut **forecaster, &counts, examination())
            .wape
            .unwrap();
        let knows_seasons = !matches!(forecaster.name(), "last value" | "EWMA");
        assert_eq!(wape < 0.02, knows_seasons, "{} {wape}", forecaster.name());
    }
    let mixed = examine(&mut mix(48), &counts, examination()).wape.unwrap();
    assert!(mixed < 0.02, "{mixed}");
}

#[test]
fn a_window_is_forecast_at_once() {
    let counts = days(48 * 40);
    let wape = |forecaster: &mut dyn Forecaster| {
        let examined = examine(forecaster, &counts, examination());
        examined.wape.unwrap()
    };
    let direct = wape(&mut Direct::new(6, 48));
    let smooth = wape(&mut Ewma::new(0.3));
    assert!(
        direct < 0.05 && direct < smooth / 2.0,
        "{direct} beside {smooth}"
    );
}

#[test]
fn means_are_those_of_paths() {
    let mut forecasters = all(48);
    forecasters.push(Box::new(Direct::new(6, 48)));
    for forecaster in &mut forecasters {
        for count in days(200) {
            forecaster.observe(count);
        }
        let mut path = vec![0.0; 6];
        forecaster.path(&mut path);
        let mean = path.iter().sum::<f64>() / 6.0;
        let off = (forecaster.mean(6) - mean).abs();
        assert!(off < 1e-9, "{} {off}", forecaster.name());
    }
}

#[test]
fn seasonal_naive_has_the_error_by_which_others_are_scaled() {
    let counts: Vec<u64> = (0..4800_u64)
        .map(|step| noisy(days(48)[step as usize % 48], step))
        .collect();
    let mase =
        |forecaster: &mut dyn Forecaster| examine(forecaster, &counts, examination()).mase.unwrap();
    let naive = mase(&mut SeasonalNaive::new(48));
    assert!((0.9..1.1).contains(&naive), "{naive}");
    let smooth = Smoothing {
        level: 0.01,
        trend: 0.0,
        damping: 1.0,
        season: 0.1,
    };
    let smoothed = mase(&mut HoltWinters::new(48, smooth, Scale::Logarithmic));
    assert!(smoothed < 0.9, "{smoothed}");
}

#[test]
fn holt_winters_follows_a_line_with_a_season() {
    let smoothing = Smoothing {
        level: 0.3,
        trend: 0.1,
        damping: 1.0,
        season: 0.2,
    };
    let mut forecaster = HoltWinters::new(4, smoothing, Scale::Additive);
    let truth = |step: u64| 1000 + 10 * step + [0, 50, 0, 100][step as usize % 4];
    for step in 0..400 {
        forecaster.observe(truth(step));
    }
    for ahead in 1..=8 {
        let expected = truth(399 + ahead as u64) as f64;
        let error = (forecaster.forecast(ahead) - expected).abs();
        assert!(error < 1.0, "{ahead}: {error}");
    }
}

#[test]
fn holt_winters_is_what_its_formulas_say() {
    // One season of two, then two steps, by hand: parts -10 and 10; level after the first season 20.
    let smoothing = Smoothing {
        level: 0.5,
        trend: 0.5,
        damping: 0.5,
        season: 0.5,
    };
    let mut forecaster = HoltWinters::new(2, smoothing, Scale::Additive);
    for count in [10, 30] {
        forecaster.observe(count);
    }
    // Level 10, then 20, less the part 10: 10; trend 0.
    assert_eq!(
        [1, 2, 3].map(|ahead| forecaster.forecast(ahead)),
        [0.0, 20.0, 0.0]
    );
    forecaster.observe(10);
    // Level 10 + 0.5 × (10 + 10 - 10) = 15, trend 2.5, part -10 + 0.5 × (10 - 15 + 10) = -7.5.
    assert_eq!(forecaster.forecast(1), 15.0 + 1.25 + 10.0);
    assert_eq!(forecaster.forecast(2), 15.0 + 1.25 + 0.625 - 7.5);
}

#[test]
fn the_learner_finds_an_autoregression() {
    let mut learner = Learner::new(Learning {
        lags: 2,
        season: 0,
        harmonics: 0,
        memory: 1.0,
    });
    // On logarithms: x = 1 + 0.5 x(-1) + 0.3 x(-2), disturbed, settles at 5.
    let (mut one, mut two) = (2.0_f64, 2.0_f64);
    for step in 0..2000_u64 {
        let disturbance = noisy(3200, step) as f64 / 3200.0 - 1.0;
        (one, two) = (1.0 + 0.5 * one + 0.3 * two + 5.0 * disturbance, one);
        learner.observe(one.exp_m1().round().max(0.0) as u64);
    }
    let far = learner.forecast(200).ln_1p();
    assert!((far - 5.0).abs() < 0.2, "{far}");
}

#[test]
fn the_mix_trusts_the_best() {
    let mut mix = mix(48);
    for count in days(48 * 60) {
        mix.observe(count);
    }
    let trusted = mix.trust().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert!(
        ["learner", "seasonal naive"].contains(&trusted.0),
        "{trusted:?}"
    );
    assert!(mix.regret() < mix.regret_bound() / 2.0);
}

#[test]
fn without_experts_nothing_is_expected() {
    let mut mix = Mix::new(Vec::new());
    mix.observe(5);
    assert_eq!((mix.forecast(3), mix.regret()), (0.0, 0.0));
}

#[test]
fn a_flash_crowd_is_told_within_two_steps_and_once() {
    let mut alarm = Alarm::new(AlarmSettings::default());
    let told: Vec<(u64, Surge)> = (0..300)
        .filter_map(|step| {
            let mean = if (100..200).contains(&step) {
                1000
            } else {
                200
            };
            alarm.observe(noisy(mean, step)).map(|surge| (step, surge))
        })
        .collect();
    assert!(
        matches!(told[..], [(100..=102, Surge::Up), (200..=203, Surge::Down)]),
        "{told:?}"
    );
}

#[test]
fn steady_demand_and_the_time_of_day_raise_no_alarm() {
    let mut alarm = Alarm::new(AlarmSettings::default());
    let false_alarms = (0..20_000).filter(|step| alarm.observe(noisy(200, *step)).is_some());
    assert!(false_alarms.count() <= 2);
    let mut alarm = Alarm::new(AlarmSettings::default());
    let day = |step: u64| 2000 + 1500 * (step % 1440).min(1440 - step % 1440) / 720;
    let false_alarms = (0..14_400).filter(|step| alarm.observe(noisy(day(*step), *step)).is_some());
    assert!(false_alarms.count() <= 2);
}

#[test]
fn a_single_glitch_raises_no_alarm() {
    let mut alarm = Alarm::new(AlarmSettings::default());
    let told = (0..200).filter_map(|step| {
        alarm.observe(if step == 100 {
            100_000
        } else {
            noisy(200, step)
        })
    });
    assert_eq!(told.count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn forecasts_are_always_numbers_within_bounds(
        counts in prop::collection::vec(prop_oneof![0_u64..50, Just(0), Just(u64::MAX), any::<u64>()], 0..80),
        season in 0_usize..9,
        ahead in 0_usize..40,
    ) {
        let mut forecasters = all(season);
        forecasters.push(Box::new(mix(season)));
        forecasters.push(Box::new(Direct::new(ahead, season)));
        for forecaster in &mut forecasters {
            for count in &counts {
                let mut path = vec![f64::NAN; ahead.max(1)];
                forecaster.path(&mut path);
                path.push(forecaster.forecast(ahead));
                for forecast in path {
                    prop_assert!((0.0..=MAX_COUNT as f64).contains(&forecast), "{} {forecast}", forecaster.name());
                }
                forecaster.observe(*count);
            }
        }
    }

    #[test]
    fn absurd_settings_are_survived(
        numbers in prop::collection::vec(prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY)], 5),
        size in prop_oneof![0_usize..5, Just(usize::MAX)],
        counts in prop::collection::vec(any::<u64>(), 1..60),
    ) {
        let smoothing = Smoothing { level: numbers[0], trend: numbers[1], damping: numbers[2], season: numbers[3] };
        let learning = Learning { lags: size, season: 3, harmonics: size, memory: numbers[4] };
        let settings = AlarmSettings { allowance: numbers[0], threshold: numbers[1], memory: numbers[2], settle: 3 };
        let mut alarm = Alarm::new(settings);
        let forecasters: [Box<dyn Forecaster>; 3] = [
            Box::new(HoltWinters::new(3, smoothing, Scale::Additive)),
            Box::new(Learner::new(learning)),
            Box::new(Ewma::new(numbers[0])),
        ];
        for mut forecaster in forecasters {
            for count in &counts {
                forecaster.observe(*count);
                alarm.observe(*count);
                prop_assert!((0.0..=MAX_COUNT as f64).contains(&forecaster.forecast(7)));
            }
        }
    }

    #[test]
    fn the_mix_loses_no_more_than_its_bound(
        counts in prop::collection::vec(prop_oneof![0_u64..10, 0_u64..100_000], 1..200),
        season in 1_usize..9,
    ) {
        let mut mix = mix(season);
        for count in counts {
            mix.observe(count);
            prop_assert!(mix.regret() <= mix.regret_bound() + 1e-9);
            let trust: f64 = mix.trust().map(|(_, trust)| trust).sum();
            prop_assert!((trust - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn errors_are_numbers_or_not_there(
        counts in prop::collection::vec(0_u64..5, 0..60),
        warm_up in 0_usize..70,
        window in 0_usize..9,
        stride in 0_usize..4,
        season in 0_usize..5,
    ) {
        let accuracy = examine(&mut SeasonalNaive::new(season), &counts, Examination { warm_up, window, stride, season });
        for figure in [accuracy.mase, accuracy.wape].into_iter().flatten() {
            prop_assert!(figure.is_finite() && figure >= 0.0);
        }
    }
}
