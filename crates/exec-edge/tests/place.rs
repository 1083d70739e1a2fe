//! `exec-edge place` on a network small enough to see through.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
#[expect(dead_code, reason = "other tests run scenarios")]
mod program;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use program::{Answer, program, run};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

/// Two regions 40 ms away: one with six client networks, each 10 ms further, one with two. A site of the first was traced.
fn topology(directory: &Path) -> PathBuf {
    let mut text = String::new();
    let mut path = |target: &str, region: u8, last_ms: u8| {
        let hop = |ttl: u8, from: &str, ms: u8| {
            format!(r#"{{"hop":{ttl},"result":[{{"from":"{from}","rtt":{ms}}}]}}"#)
        };
        let router = format!("240.{region}.0.1");
        writeln!(
            text,
            r#"{{"dst_addr":"{target}","result":[{},{},{}]}}"#,
            hop(1, "240.0.0.1", 2),
            hop(2, &router, 40),
            hop(3, target, last_ms)
        )
        .unwrap();
    };
    for client in 1..=6 {
        path(&format!("241.1.{client}.9"), 1, 50);
    }
    for client in 1..=2 {
        path(&format!("241.2.{client}.9"), 2, 50);
    }
    path("242.1.1.1", 1, 43);
    let file = directory.join("paths.json");
    fs::write(&file, text).unwrap();
    file
}

const OFFERS: &str = r#"
[[offer]]
site = "first"
at = "242.1.1.1"
price = 30
[[offer]]
site = "second"
at = "240.2.0.0/24"
price = "20"
[[offer]]
site = "beside the cloud"
at = "240.0.0.1"
price = 1
[[offer]]
site = "elsewhere"
at = "243.0.0.1"
price = 1
"#;

fn place(directory: &Path, offers: &str, arguments: &[&str]) -> Answer {
    let (topology, file) = (topology(directory), directory.join("offers.toml"));
    fs::write(&file, offers).unwrap();
    let mut command = program(&["place", "--topology"]);
    command.arg(topology).arg("--offers").arg(file);
    run(command.args(arguments), PATIENCE)
}

fn told(directory: &Path, arguments: &[&str]) -> Value {
    let answer = place(directory, OFFERS, &[&["--json"], arguments].concat());
    assert_eq!(answer.code, Some(0), "{answer:?}");
    serde_json::from_str(&answer.out).unwrap()
}

fn names<'a>(told: &'a Value, list: &str) -> Vec<&'a str> {
    let sites = told[list].as_array().unwrap().iter();
    sites.map(|site| site["site"].as_str().unwrap()).collect()
}

fn near(value: &Value, expected: f64) -> bool {
    (value.as_f64().unwrap() - expected).abs() < 0.01
}

#[test]
fn the_site_with_most_clients_comes_first_and_all_else_has_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let told = told(directory.path(), &["--k", "1"]);
    assert_eq!(names(&told, "chosen"), ["first"]);
    assert!(near(&told["cloud_only_ms"], 50.0), "{told}");
    // Six at 10 ms from their router and 3 ms on to the site, two at 50 ms.
    assert!(
        near(&told["mean_ms"], (6.0 * 13.0 + 2.0 * 50.0) / 8.0),
        "{told}"
    );
    assert_eq!(
        (&told["gap"], &told["proof"]),
        (&0.0.into(), &"exact".into())
    );
    assert!(near(&told["chosen"][0]["mean_without_ms"], 50.0));
    assert_eq!(told["rejected"][0]["reason"], "too-many-sites");
    assert!(near(
        &told["rejected"][0]["mean_with_ms"],
        (6.0 * 13.0 + 2.0 * 10.0) / 8.0
    ));
    assert_eq!(names(&told, "unplaced"), ["elsewhere"]);
}

#[test]
fn how_far_off_is_told_of_every_algorithm_and_with_capacities() {
    let directory = tempfile::tempdir().unwrap();
    let most_clients = told(
        directory.path(),
        &["--k", "1", "--algorithm", "most-clients"],
    );
    assert_eq!(most_clients["gap"], 0.0, "{most_clients}");
    let none = place(
        directory.path(),
        OFFERS,
        &["--json", "--k", "2", "--algorithm", "cloud-only"],
    );
    let none: Value = serde_json::from_str(&none.out).unwrap();
    // The best two leave (6 × 13 + 2 × 10) / 8 ms of 50.
    assert!(near(&none["gap"], 50.0 / 12.25 - 1.0), "{none}");
    // There is room for two of the six clients behind the first, and for none at the second.
    let full = OFFERS
        .replace("price = 30", "price = 30\ncapacity_rps = 2.0")
        .replace("price = \"20\"", "price = \"20\"\ncapacity_rps = 0.5");
    let answer = place(directory.path(), &full, &["--json", "--k", "2"]);
    let told: Value = serde_json::from_str(&answer.out).unwrap();
    assert!(
        near(&told["mean_ms"], (2.0 * 13.0 + 6.0 * 48.0) / 8.0),
        "{told}"
    );
    assert!(told["gap"].as_f64().unwrap() < 0.01, "{told}");
}

#[test]
fn who_did_not_answer_is_left_out_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let file = topology(directory.path());
    let mut text = fs::read_to_string(&file).unwrap();
    for client in 1..=3 {
        text.push_str(&format!(
            r#"{{"dst_addr":"241.1.7{client}.9","result":[{{"hop":1,"result":[{{"from":"240.0.0.1","rtt":2}}]}},{{"hop":2,"result":[{{"x":"*"}}]}}]}}"#
        ));
        text.push('\n');
    }
    fs::write(&file, text).unwrap();
    let mut command = program(&[
        "place",
        "--json",
        "--everywhere",
        "1",
        "--k",
        "1",
        "--topology",
    ]);
    let answer = run(command.arg(file), PATIENCE);
    let told: Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(
        (&told["clients"], &told["unanswered"]),
        (&9.into(), &3.into())
    );
    assert!(
        near(&told["cloud_only_ms"], (8.0 * 50.0 + 43.0) / 9.0),
        "{told}"
    );
}

#[test]
fn of_offers_of_one_site_the_best_counts() {
    let directory = tempfile::tempdir().unwrap();
    let again = format!("{OFFERS}[[offer]]\nsite = \"first\"\nat = \"242.1.1.1\"\nprice = 29\n");
    let answer = place(directory.path(), &again, &["--json", "--k", "3"]);
    let told: Value = serde_json::from_str(&answer.out).unwrap();
    let first = told["chosen"].as_array().unwrap().iter();
    let prices: Vec<&Value> = first
        .filter(|site| site["site"] == "first")
        .map(|site| &site["price"])
        .collect();
    assert_eq!(prices, ["29"], "{told}");
    assert_eq!(names(&told, "unplaced"), ["first", "elsewhere"]);
    let elsewhere = again.replace("\"242.1.1.1\"\nprice = 29", "\"242.1.1.2\"\nprice = 29");
    let answer = place(directory.path(), &elsewhere, &["--k", "3"]);
    assert_eq!(answer.code, Some(64), "{answer:?}");
    assert!(answer.err.contains("one place"), "{answer:?}");
}

#[test]
fn budgets_and_ways_limit_the_choice() {
    let directory = tempfile::tempdir().unwrap();
    let chosen = |arguments: &[&str]| {
        let told = told(directory.path(), arguments);
        let mut chosen: Vec<String> = names(&told, "chosen")
            .into_iter()
            .map(str::to_owned)
            .collect();
        chosen.sort();
        chosen
    };
    assert_eq!(chosen(&["--budget", "50"]), ["first", "second"]);
    // 29 pays for the second and for what is beside the cloud, which still saves 2 ms for the six others.
    assert_eq!(chosen(&["--budget", "29"]), ["beside the cloud", "second"]);
    // The first is beside its router, not on anybody's way, but packets pass the node that it hangs on.
    assert_eq!(chosen(&["--k", "1", "--on-path"]), ["first"]);
}

#[test]
fn every_group_of_routers_can_be_tried_and_the_tree_drawn() {
    let directory = tempfile::tempdir().unwrap();
    let svg = directory.path().join("tree.svg");
    let mut command = program(&[
        "place",
        "--json",
        "--everywhere",
        "7",
        "--k",
        "2",
        "--topology",
    ]);
    command
        .arg(topology(directory.path()))
        .arg("--svg")
        .arg(&svg);
    let answer = run(&mut command, PATIENCE);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let told: Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(names(&told, "chosen"), ["240.1.0.0/24", "240.2.0.0/24"]);
    assert_eq!(told["price"], "14");
    let drawing = fs::read_to_string(svg).unwrap();
    roxmltree::Document::parse(&drawing).unwrap();
    assert!(drawing.contains("240.1.0.0/24"), "{drawing}");
}

#[test]
fn nothing_worth_it_is_an_answer_and_nonsense_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let answer = place(directory.path(), "", &["--k", "3"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.out.contains("0 sites"), "{}", answer.out);
    let offer = |rest: &str| format!("[[offer]]\nsite = \"x\"\nat = \"240.2.0.0/24\"\n{rest}");
    for (offers, arguments, told) in [
        (offer("price = -1"), &["--k", "1"][..], "whole number"),
        (offer("price = 1.5"), &["--k", "1"], "whole number"),
        (
            offer("price = 1\ncapacity_rps = -3.0"),
            &["--k", "1"],
            "capacity_rps",
        ),
        (
            offer("price = 1\ncapacity_rps = nan"),
            &["--k", "1"],
            "capacity_rps",
        ),
        (offer("price = 1\ncolour = 3"), &["--k", "1"], "colour"),
        (offer("price = 1"), &[], "--k"),
        (
            offer("price = 1"),
            &["--k", "1", "--algorithm", "best"],
            "celf",
        ),
    ] {
        let answer = place(directory.path(), &offers, arguments);
        assert_eq!(
            (answer.code, &*answer.out),
            (Some(64), ""),
            "{offers} {answer:?}"
        );
        assert!(answer.err.contains(told), "{offers}: {}", answer.err);
    }
    let huge = offer("price = \"340282366920938463463374607431768211455\"");
    let twice = format!("{huge}\n{}", huge.replace("\"x\"", "\"y\""));
    let answer = place(directory.path(), &twice, &["--k", "1"]);
    assert_eq!(answer.code, Some(64), "{answer:?}");
}
