//! The orchestrator as its users start it, on a market of this machine: what its modes do, what measurements change, and what its
//! decisions were recorded from.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/market.rs"]
mod market;
#[path = "support/program.rs"]
#[expect(dead_code, reason = "other tests run scenarios")]
mod program;
#[path = "support/zone_server.rs"]
mod zone_server;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use edge_orchestrator::plan_report::PlanReport;
use edge_orchestrator::status::StatusReport;
use edge_types::Rtt;
use market::{CLIENTS, Market, client_network};
use program::{Answer, program, run};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_mins(1);

/// Half of the sites that were found, as the paper's Figure 5 has it.
const RENTED: usize = 2;

/// Clients in the cities of that many sites.
const NEAR_RENTED: usize = CLIENTS as usize / market::SITES as usize * RENTED;

#[test]
fn to_observe_spends_nothing_and_tells_what_would_be_rented() {
    let mut market = Market::start(&["orchestrator"], "observe");
    let report = market.await_report(|report| {
        let plan = report.plan.as_ref();
        plan.is_some_and(|plan| plan.generation >= 3 && !plan.recommended.is_empty())
    });
    let plan = report.plan.unwrap();
    let mut recommended = plan.recommended.clone();
    recommended.sort();
    assert_eq!((plan.sites.len(), &recommended), (RENTED, &plan.sites));
    assert!(plan.planned_ms < plan.cloud_only_ms - 10.0, "{plan:?}");
    assert_eq!(plan.gap_percent, Some(0.0));
    let told: Vec<&str> = report
        .events
        .iter()
        .map(|event| event.text.as_str())
        .collect();
    assert!(
        told.iter()
            .any(|text| text.contains("to rent, which the mode leaves to others")),
        "{told:?}"
    );
    assert!(
        !told.iter().any(|text| text.starts_with("rent ")),
        "{told:?}"
    );
    assert_eq!(
        (report.agreements.len(), report.prefixes_redirected),
        (0, 0)
    );
    assert_eq!(report.offers.green_listed, usize::from(market::SITES));
    assert_eq!(market.ask(0).unwrap(), ("HTTP/1.1 200 OK".to_owned(), None));
    assert_eq!(market.balance(), Market::funds());
}

#[test]
fn a_plan_is_explained_site_by_site_and_client_by_client() {
    let mut market = Market::start(&["orchestrator"], "act");
    market.await_report(|report| {
        let plan = report.plan.as_ref();
        report.prefixes_redirected == NEAR_RENTED && plan.is_some_and(|plan| plan.generation >= 5)
    });
    let admin = market.file("admin");
    let explain = |arguments: &[&str]| {
        let mut command = program(&["explain", "plan", "--admin"]);
        run(command.arg(&admin).args(arguments), PATIENCE)
    };
    // Offers may be too old for one plan; then they are asked for anew.
    let mut tries = 0..20;
    let plan = loop {
        let told = explain(&["--json"]);
        assert_eq!(told.code, Some(0), "{told:?}");
        let plan: PlanReport = serde_json::from_str(&told.out).unwrap();
        if plan.rejected.iter().all(|no| no.cost_units.is_some()) {
            break plan;
        }
        assert!(tries.next().is_some(), "{plan:?}");
        std::thread::sleep(Duration::from_millis(300));
    };
    let running = plan.chosen.iter().filter(|site| site.already_running);
    assert_eq!((running.count(), plan.chosen.len()), (RENTED, RENTED));
    // Every site is told of once, with its price and what it would bring.
    assert_eq!(plan.rejected.len(), usize::from(market::SITES) - RENTED);
    for no in &plan.rejected {
        assert!(no.would_save_ms > 0.0, "{no:?}");
    }
    assert_eq!(plan.clients.len(), usize::from(CLIENTS));
    let site = &plan.chosen[0];
    let served = plan.clients.iter();
    let served: Vec<_> = served
        .filter(|clients| clients.served_by.as_deref() == Some(&*site.site))
        .collect();
    assert_eq!(served.len(), site.clients);
    assert!(
        site.predicted_ms > 0.0 && site.predicted_ms < 30.0,
        "{site:?}"
    );
    assert!((served[0].cloud_ms - served[0].predicted_ms - site.saves_ms).abs() < 1.0);

    let words = explain(&[]).out;
    assert!(
        words.contains(&format!("+ {} serves until ", site.site)),
        "{words}"
    );
    assert!(
        words.contains(&format!("- {}: ", plan.rejected[0].site)),
        "{words}"
    );
    let host = site.site.split(':').next().unwrap();
    let of_site = explain(&["--site", host]).out;
    assert!(
        of_site.contains(&site.site) && !of_site.contains("\n- "),
        "{of_site}"
    );
    let address = served[0].prefix.network().to_string();
    let of_client = explain(&["--client", &address]).out;
    assert!(
        of_client.contains(&format!("by {}, ", site.site)),
        "{of_client}"
    );
    assert_eq!(explain(&["--site", "nobody.example"]).code, Some(1));
    assert_eq!(explain(&["--client", "192.0.2.1"]).code, Some(1));
}

#[test]
fn to_recommend_tells_each_site_with_its_reasons_and_spends_nothing() {
    let mut market = Market::start(&["orchestrator"], "recommend");
    let report = market.await_report(|report| {
        let plan = report.plan.as_ref();
        plan.is_some_and(|plan| plan.generation >= 3 && plan.recommended.len() == RENTED)
    });
    let told: Vec<&str> = report
        .events
        .iter()
        .map(|event| event.text.as_str())
        .collect();
    for site in report.plan.unwrap().recommended {
        let start = format!("rent {site} from ");
        let reason = told.iter().find(|text| text.starts_with(&start));
        let reason = reason.unwrap_or_else(|| panic!("{site}: {told:?}"));
        assert!(
            reason.contains("prefixes with") && reason.contains("ms faster"),
            "{reason}"
        );
    }
    assert_eq!(
        (report.agreements.len(), report.prefixes_redirected),
        (0, 0)
    );
    assert_eq!(market.balance(), Market::funds());
}

#[test]
fn only_sites_where_the_policy_allows_are_rented() {
    let countries = "countries = [\"fi\"]\ncountry_tables = [\"FOLDER/countries\"]\n";
    let systems = "autonomous_systems = [64500, 64502]\norigins = [\"FOLDER/origins\"]\n";
    for policy in [countries, systems] {
        let mut market = Market::start_with(&["orchestrator"], "observe", policy, 600);
        let report = market.await_report(|report| {
            let plan = report.plan.as_ref();
            plan.is_some_and(|plan| plan.generation >= 3 && plan.recommended.len() == RENTED)
        });
        let mut recommended = report.plan.unwrap().recommended;
        recommended.sort();
        let allowed = [0, 2].map(|site| format!("site{site}.isp.example:8080"));
        assert_eq!(recommended, allowed, "{policy}");
    }
}

#[test]
fn leases_are_renewed_before_they_end_and_clients_notice_nothing() {
    // Room for all sites, so that none is exchanged.
    let policy = "max_share_percent = 100\n";
    let mut market = Market::start_with(&["orchestrator"], "act", policy, 16);
    let all = usize::from(CLIENTS);
    market.await_report(|report| report.prefixes_redirected == all);
    let renewed = |report: &StatusReport| {
        let mut leases: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for agreement in &report.agreements {
            let (over, running) = leases.entry(&agreement.site).or_default();
            *over += usize::from(agreement.state == "settled");
            *running += usize::from(agreement.state == "running");
        }
        let renewed = leases.values().filter(|lease| **lease == (1, 1));
        renewed.count() == usize::from(market::SITES)
    };
    market.await_report(|report| {
        assert_eq!(report.prefixes_redirected, all, "{report:#?}");
        renewed(report)
    });
}

/// Clients who are sent to a site now.
fn redirected(market: &Market) -> Vec<u8> {
    (0..CLIENTS)
        .filter(|number| {
            let (status, location) = market.ask(*number).unwrap();
            let is_redirected = status.starts_with("HTTP/1.1 30");
            assert_eq!(is_redirected, location.is_some(), "{status}");
            is_redirected
        })
        .collect()
}

#[test]
fn to_act_rents_and_what_sites_measure_sends_clients_elsewhere() {
    let mut market = Market::start(&["orchestrator"], "act");
    let report = market.await_report(|report| report.prefixes_redirected == NEAR_RENTED);
    assert_eq!(report.agreements.len(), RENTED);
    assert!(report.plan.unwrap().recommended.is_empty());
    assert!(market.balance() < Market::funds());
    let before = redirected(&market);
    assert_eq!(before.len(), NEAR_RENTED);

    let report = market.await_report(|report| report.plan.is_some());
    let full = report.plan.unwrap();
    // By the tree these clients are near to a site. Of two the sites measure that they are not; of the third what cannot be.
    let ms = |ms| Rtt(Duration::from_millis(ms));
    *market.distances.lock().unwrap() = vec![
        (client_network(before[0]), ms(900)),
        (client_network(before[1]), ms(900)),
        (client_network(before[2]), ms(0)),
    ];
    market.await_report(|report| report.prefixes_redirected == NEAR_RENTED - 2);
    assert_eq!(redirected(&market), before[2..]);

    // Both sites are rented and stay so, but plans go on: they expect what was measured, not what the tree says, and tell which
    // sites would do better now.
    let report = market.await_report(|report| {
        let plan = report.plan.as_ref();
        plan.is_some_and(|plan| plan.planned_ms > full.planned_ms && !plan.waiting.is_empty())
    });
    let plan = report.plan.unwrap();
    assert!(plan.generation > full.generation, "{plan:?}");
    assert_eq!((report.agreements.len(), plan.sites), (RENTED, full.sites));
    let told = format!(
        "{} would serve better than what is rented",
        plan.waiting.join(", ")
    );
    let mut told_of = report.events.iter().map(|event| &event.text);
    assert!(told_of.any(|text| text.contains(&told)), "{told}");
}

/// What a journal in the market's folder has of its agreements.
fn agreements(market: &Market, journal: &str) -> Vec<Value> {
    let mut command = program(&["agreement", "list", "--json", "--state"]);
    let told = run(command.arg(market.file(journal)), PATIENCE);
    serde_json::from_str(&told.out).unwrap()
}

fn units(value: &Value) -> u128 {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

#[test]
fn a_site_that_is_farther_from_clients_than_promised_is_paid_for_less() {
    let policy = "max_round_trip_ms = 150\nbounce_one_in = 1\nbounce_apart_s = 1\n";
    let promises = "round_trip_ms = 150";
    let mut market = Market::start_promising(&["orchestrator"], "act", policy, 600, promises);
    market.await_report(|report| report.prefixes_redirected == NEAR_RENTED);
    let near = redirected(&market);
    // Clients know nothing of it, but are far from one of the two sites, as if the network had changed since the plan.
    let far_site = market.follow(near[0], Duration::ZERO).unwrap();
    let wait = Duration::from_millis(600);
    let started = Instant::now();
    let (missed, kept) = loop {
        for number in &near {
            let city = number % market::SITES == near[0] % market::SITES;
            market.follow(*number, if city { wait } else { Duration::ZERO });
        }
        for number in 0..3 {
            let answer = market.report_failure(number, far_site);
            assert_eq!(answer, "HTTP/1.1 204 No Content");
        }
        let mut told = agreements(&market, "orchestrator");
        let has = |told: &Value, verdict: &str| {
            let mut intervals = told["intervals"].as_array().unwrap().iter();
            intervals.any(|it| it["verdict"] == verdict && it["bounces"].as_u64() >= Some(5))
        };
        told.retain(|told| has(told, "missed") || has(told, "kept"));
        told.sort_by_key(|told| has(told, "kept"));
        let due: BTreeMap<String, u128> = agreements(&market, "provider")
            .iter()
            .map(|told| (told["id"].to_string(), units(&told["due"])))
            .collect();
        if let [missed, kept] = told.as_slice()
            && has(missed, "missed")
            && has(kept, "kept")
            && due[&missed["id"].to_string()] + 3_000_000 < due[&kept["id"].to_string()]
        {
            break (missed.clone(), kept.clone());
        }
        assert!(started.elapsed() < PATIENCE, "{told:#?}\n{}", market.log());
    };
    let far_host = far_site.ip();
    assert_eq!(missed["runs_at"], far_site.to_string(), "{far_host}");
    for kept in kept["intervals"].as_array().unwrap() {
        assert_ne!(kept["verdict"], "missed", "{kept}");
        assert_eq!(kept["unpaid"], Value::Null);
    }
    let reported = missed["intervals"].as_array().unwrap().iter();
    let failing = reported.filter(|it| it["failing_networks"].as_u64() >= Some(3));
    assert!(failing.count() > 0, "{missed:#}");

    let mut command = program(&["explain", "agreement", missed["id"].as_str().unwrap()]);
    let words = run(
        command.arg("--state").arg(market.file("orchestrator")),
        PATIENCE,
    )
    .out;
    assert!(
        words.contains("150 ms promised: missed, ") && words.contains("not paid for it"),
        "{words}"
    );
    assert!(
        words.contains("failures reported by clients of 3 networks"),
        "{words}"
    );
    let report = market.await_report(|report| report.front_end.returned > 10);
    assert_eq!(report.front_end.tokens_refused, 0, "{report:#?}");
}

/// What a replay on so many threads says.
fn replay(file: &str, threads: &str) -> Answer {
    run(
        &mut program(&["simulate", "replay", file, "--threads", threads]),
        PATIENCE,
    )
}

#[test]
fn a_recording_of_a_live_run_replays_byte_equally_and_as_it_was_decided() {
    let folder = tempfile::tempdir().unwrap();
    let [file, key] = ["record.jsonl", "key"].map(|name| folder.path().join(name));
    fs::write(&key, "000102030405060708090a0b0c0d0e0f\n").unwrap();
    let [file, key] = [file.to_str().unwrap(), key.to_str().unwrap()];
    let mut market = Market::start(&["record", "--out", file, "--key-file", key], "observe");
    market.await_report(|report| {
        let plan = report.plan.as_ref();
        plan.is_some_and(|plan| plan.generation >= 4 && plan.sites.len() == RENTED)
    });
    market.interrupt();
    let text = fs::read_to_string(file).unwrap();
    assert!(
        !text.contains("isp.example") && !text.contains("127.251."),
        "{text}"
    );
    assert!(text.len() < 1 << 20, "{}", text.len());

    let one = replay(file, "1");
    assert_eq!((one.code, one.err.as_str()), (Some(0), ""), "{}", one.out);
    let plans = one
        .out
        .lines()
        .filter(|line| line.contains(" plan "))
        .count();
    assert!(plans >= 4, "{}", one.out);
    let all = format!("{plans} plans: {plans} as recorded, 0 as good, 0 different");
    assert!(one.out.contains(&all), "{}", one.out);
    assert!(one.out.ends_with("because the run ended\n"), "{}", one.out);
    assert_eq!(replay(file, "4").out, one.out);

    // Not what was written, and not the version that is understood.
    let damaged = folder.path().join("damaged.jsonl");
    let damaged = damaged.to_str().unwrap();
    for changed in [
        text.replacen("\"generation\":", "\"generation\":1", 1),
        text.replacen("exec-edge record 1", "exec-edge record 2", 1),
        text.lines().skip(1).collect::<Vec<_>>().join("\n"),
    ] {
        fs::write(damaged, &changed).unwrap();
        let answer = replay(damaged, "1");
        assert_eq!((answer.code, &*answer.out), (Some(64), ""), "{answer:?}");
        assert!(answer.err.contains(damaged), "{}", answer.err);
    }
    // Cut short, as by a crash: what is there is replayed, and that it is cut short is told.
    fs::write(damaged, &text[..text.len() * 3 / 4]).unwrap();
    let answer = replay(damaged, "2");
    assert!(
        answer.out.ends_with("the record is cut short\n"),
        "{answer:?}"
    );
    let config = market.file("orchestrator.toml");
    let mut again = program(&["record", "--out", file, "--config"]);
    let answer = run(again.arg(&config), PATIENCE);
    assert_eq!(answer.code, Some(64), "{answer:?}");
    assert!(answer.err.contains("exists"), "{}", answer.err);
    assert_eq!(
        fs::read_to_string(file).unwrap(),
        text,
        "nothing is overwritten"
    );
}

#[test]
fn whole_runs_in_virtual_time_say_the_same_on_any_number_of_threads() {
    let whole = |threads: &str, seed: &str| {
        let small = ["--clients", "20000", "--prefixes", "128", "--steps", "6"];
        let mut command = program(&["simulate", "run", "--threads", threads, "--seed", seed]);
        let answer = run(command.args(small), PATIENCE);
        assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""));
        answer.out
    };
    let one = whole("1", "1");
    assert_eq!(one.lines().count(), 7);
    assert!(
        one.lines().last().unwrap().contains("mean round trip"),
        "{one}"
    );
    assert_eq!(whole("4", "1"), one);
    assert_ne!(whole("4", "2"), one);
}
