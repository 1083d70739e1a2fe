//! `exec-edge simulate figures` as its users run it, in few rounds.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::Path;
use std::time::Duration;

use program::{Answer, BINARY, program, run, scenario};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_mins(2);

/// Runs it into `out` and gives what it says of each figure.
fn figures(out: &Path, arguments: &[&str]) -> Vec<Value> {
    let mut command = program(&["simulate", "figures", "--json", "--out"]);
    let answer = run(command.arg(out).args(arguments), PATIENCE);
    let told = if cfg!(feature = "png") {
        ""
    } else {
        "no PNG drawn: this program was built without it; cargo build --release --features png\n"
    };
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), told));
    serde_json::from_str(&answer.out).unwrap()
}

fn check_files(figure: &Value) {
    let files = figure["files"].as_array().unwrap();
    let read = |file: usize| {
        let name = files[file].as_str().unwrap();
        fs::read(name).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let (svg, csv) = (read(0), read(1));
    let svg = String::from_utf8(svg).unwrap();
    roxmltree::Document::parse(&svg).unwrap();
    assert!(!svg.contains("NaN"), "{svg}");
    if cfg!(feature = "png") {
        assert_eq!(&read(2)[1..4], b"PNG");
    } else {
        assert_eq!(files.len(), 2);
    }
    let csv = String::from_utf8(csv).unwrap();
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(columns > 3 && csv.lines().count() > 20, "{csv}");
    assert!(!csv.contains("NaN"), "{csv}");
    for statement in figure["statements"].as_array().unwrap() {
        let verdict = statement["verdict"].as_str().unwrap();
        assert!(["held", "held-only-if", "not-held"].contains(&verdict));
        assert!(
            !statement["because"].as_str().unwrap().contains("NaN"),
            "{statement}"
        );
    }
}

fn verdict<'a>(figure: &'a Value, start: &str) -> &'a str {
    let statements = figure["statements"].as_array().unwrap();
    let mut found = statements
        .iter()
        .filter(|statement| statement["quote"].as_str().unwrap().starts_with(start));
    found.next().unwrap()["verdict"].as_str().unwrap()
}

#[test]
fn every_calculated_figure_is_drawn_tabulated_and_judged_and_equal_seeds_give_equal_files() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| directory.path().join(name));
    let few = [
        "--without-lab",
        "--rounds",
        "2",
        "--clients",
        "20000",
        "--seed",
        "3",
    ];
    let all = ["--figure", "3", "--figure", "4a", "--figure", "5"];
    let drawn = figures(&one, &[&few[..], &all].concat());
    let names: Vec<&str> = drawn
        .iter()
        .map(|figure| figure["figure"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["3", "4a", "5"]);
    drawn.iter().for_each(check_files);

    // What does not hang on the number of rounds.
    assert_eq!(verdict(&drawn[0], "both nodes"), "held-only-if");
    assert_eq!(verdict(&drawn[1], "(ours) placement by saving"), "held");
    assert_eq!(verdict(&drawn[2], "when the network has"), "held");

    figures(
        &two,
        &[&few[..], &["--figure", "4a", "--figure", "3"]].concat(),
    );
    for name in [
        "figure-3-scenario.svg",
        "figure-4a-scenario.csv",
        #[cfg(feature = "png")]
        "figure-4a-scenario.png",
    ] {
        assert!(
            fs::read(one.join(name)).unwrap() == fs::read(two.join(name)).unwrap(),
            "{name}"
        );
    }
    assert!(!two.join("figure-5-scenario.svg").exists());
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let [file, out] = [file.to_str().unwrap(), directory.path().to_str().unwrap()];
    for (arguments, told) in [
        (&["--out", file][..], file),
        (&["--out", out, "--figure", "7"], "3, 4a, 4b, 5, 6"),
        (&["--out", out, "--rounds", "1"], "--rounds"),
        (&["--out", out, "--clients", "0"], "--clients"),
        (
            &["--out", out, "--figure", "4a", "--data", "/nonexistent"],
            "/nonexistent",
        ),
    ] {
        let mut command = program(&["simulate", "figures"]);
        let answer = run(command.args(arguments), PATIENCE);
        assert_eq!((answer.code, &*answer.out), (Some(64), ""), "{answer:?}");
        assert!(answer.err.contains(told), "{arguments:?}: {}", answer.err);
    }
}

/// Seconds that a part of a measurement tells of so many paths.
fn seconds(answer: &Answer, paths: usize) -> f64 {
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let told: Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(told["paths"], paths);
    told["seconds"].as_f64().unwrap()
}

#[test]
fn netns_what_is_calculated_of_traces_is_what_the_lab_measures() {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), "paper-240.toml", |text| text);
    let targets = run(program(&["lab", "show", "--targets"]).arg(&file), PATIENCE).out;
    let targets: Vec<&str> = targets.lines().collect();
    let one_by_one = (&["--at-once", "1"][..], 4);
    let all_at_once = (&["--at-once", "4096", "--shared"][..], 60);
    for (manner, number) in [one_by_one, all_at_once] {
        let targets = &targets[..number];
        let part = ["simulate", "part"];
        let mut command = program(&part);
        command.arg("calculate-paths").args(manner);
        command.arg("--scenario").arg(&file).args(targets);
        let calculated = seconds(&run(&mut command, PATIENCE), number);
        let mut command = program(&["lab", "run"]);
        command.arg(&file).arg("--").arg(BINARY).args(part);
        command.arg("measure-paths").args(manner).args(targets);
        let measured = seconds(&run(&mut command, PATIENCE), number);
        // A machine that does much else is late; it is never early.
        assert!(
            measured > 0.7 * calculated && measured < 1.6 * calculated + 1.0,
            "{number} targets: {measured} s measured, {calculated} s calculated"
        );
    }
}

#[test]
fn netns_redirects_in_the_lab_come_close_to_the_edge() {
    let directory = tempfile::tempdir().unwrap();
    let drawn = figures(directory.path(), &["--figure", "6", "--lab-requests", "6"]);
    check_files(&drawn[0]);
    assert_eq!(verdict(&drawn[0], "In case of large response"), "held");
}
