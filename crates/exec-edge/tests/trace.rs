//! `exec-edge trace` as its users run it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use edge_trace_files::{Format, Import, Limits, read};
use edge_types::PathEnd;
use program::{Answer, BINARY, program, run, scenario};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_mins(1);

/// Runs a script with `$trace` for the command and `$targets` for a file with all targets of a scenario, in its lab's cloud and
/// in `directory`.
fn in_lab(directory: &Path, name: &str, script: &str) -> Answer {
    let file = scenario(directory, name, |text| text);
    let targets = run(program(&["lab", "show", "--targets"]).arg(&file), PATIENCE);
    fs::write(directory.join("targets"), targets.out).unwrap();
    let script = format!(
        "cd \"$1\"; targets=targets; trace=\"$2 trace --allow 240.0.0.0/4 --allow 3fff::/20\"\n{script}"
    );
    let mut command = program(&["lab", "run"]);
    command
        .arg(&file)
        .args(["--at", "cloud", "--", "sh", "-c", &script, "sh"])
        .arg(directory)
        .arg(BINARY);
    run(&mut command, PATIENCE)
}

fn import(file: &Path) -> Import {
    read(&fs::read(file).unwrap(), None, &Limits::default()).unwrap()
}

/// Arguments that end before anything is sent.
fn refused(arguments: &[&str]) -> String {
    let answer = run(&mut program(arguments), PATIENCE);
    assert_eq!((answer.code, &*answer.out), (Some(64), ""), "{answer:?}");
    answer.err
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let foreign = directory.path().join("foreign");
    fs::write(&foreign, "240.16.0.10\n").unwrap();
    let foreign = foreign.to_str().unwrap();
    for (arguments, told) in [
        (&["app.cloud.example"][..], "names are not looked up"),
        (&["240.16.0.10", "--output", "pdf"], "json-lines"),
        (&["240.16.0.10", "--json", "-o", "dot"], "--output"),
        (&["240.16.0.10", "--resume", "x", "--to", "y"], "--resume"),
        (
            &["240.16.0.10", "--resume", foreign],
            "line 1 is not a path",
        ),
        (&["240.16.0.10", "--time-limit", "0"], "0.1 to 600"),
        (&["240.16.0.10", "--max-ttl", "64"], "--max-ttl"),
        (&["240.16.0.10", "--samples", "0"], "--samples"),
        (&["240.16.0.10", "--per-prefix", "1"], "--per-prefix"),
        (&["240.16.0.10", "--quiet", "--progress"], "--progress"),
        (
            &["240.16.0.10", "--to", "/nonexistent/file"],
            "/nonexistent/file",
        ),
        (
            &["240.16.0.10", "--opt-out", "/nonexistent"],
            "/nonexistent",
        ),
    ] {
        let err = refused(&[&["trace"], arguments].concat());
        assert!(err.contains(told), "{arguments:?}: {err}");
    }
    assert_eq!(fs::read_to_string(foreign).unwrap(), "240.16.0.10\n");
}

#[test]
fn wrong_lines_of_files_and_standard_input_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prefixes");
    fs::write(&file, "240.16.0.0/24 # asked\n\n240.16.0.0/33\n").unwrap();
    let file = file.to_str().unwrap();
    let err = refused(&["trace", "240.16.0.10", "--opt-out", file]);
    let told = format!("{file}, line 3: \"240.16.0.0/33\" is neither a prefix nor an address");
    assert!(err.contains(&told), "{err}");
    let mut piped = Command::new("sh");
    let script = format!("printf '240.16.0.10 # a\\n\\nnobody\\n' | {BINARY} trace 240.16.0.11 -");
    let answer = run(piped.args(["-c", &script]), PATIENCE);
    assert_eq!(answer.code, Some(64), "{answer:?}");
    assert_eq!(
        answer.err,
        "error: standard input, line 3: \"nobody\" is not an address\n"
    );
}

#[test]
fn netns_every_format_holds_all_paths() {
    let directory = tempfile::tempdir().unwrap();
    let answer = in_lab(
        directory.path(),
        "two-continents.toml",
        "for format in table json json-lines scamper links dot svg; do\n\
           $trace --quiet --output $format --to $format --file $targets --samples 2 || exit 3\n\
         done\n\
         head -2 $targets | $trace --json-lines - 240.16.2.10 240.16.2.10 --explain --progress",
    );
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let file = |name: &str| directory.path().join(name);
    let text = |name: &str| fs::read_to_string(file(name)).unwrap();
    let targets = text("targets");

    for (name, format) in [
        ("json-lines", Format::JsonLines),
        ("scamper", Format::ScamperJson),
    ] {
        let import = import(&file(name));
        assert_eq!((import.format, import.log.lost), (format, 0), "{name}");
        let mut seen: Vec<String> = import
            .records
            .iter()
            .map(|record| record.path.target.to_string())
            .collect();
        seen.sort_unstable();
        let mut wanted: Vec<&str> = targets.lines().collect();
        wanted.sort_unstable();
        assert_eq!(seen, wanted, "{name}");
        let source = import
            .records
            .iter()
            .find_map(|record| record.details.source);
        assert!(source.is_some(), "{name}");
    }
    let array: Value = serde_json::from_str(&text("json")).unwrap();
    assert_eq!(array.as_array().unwrap().len(), 6);
    for target in targets.lines() {
        assert!(text("table").contains(&format!("{target}: ")), "{target}");
        assert!(
            text("dot").contains(&format!("label=\"{target}")),
            "{target}"
        );
        assert!(
            text("svg").contains(&format!("<title>{target}")),
            "{target}"
        );
    }
    roxmltree::Document::parse(&text("svg")).unwrap();
    let links = text("links");
    let child = |line: &str| serde_json::from_str::<Value>(line).unwrap()["child"].clone();
    assert!(
        links.lines().map(child).any(|child| child == "240.1.9.1"),
        "{links}"
    );

    assert_eq!(answer.out.lines().count(), 3, "{answer:?}");
    for told in [
        "1 target named again, traced once",
        "3 of 3 targets traced, 3 reached",
        "raw sockets, since they are permitted",
        "distance: ",
        "end: the target itself answered",
    ] {
        assert!(answer.err.contains(told), "{told}: {}", answer.err);
    }
}

#[test]
fn netns_an_interrupted_run_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let answer = in_lab(
        directory.path(),
        "paper-240.toml",
        "timeout --foreground --preserve-status -s INT 4 $trace --rate 100 --resume paths --file $targets; echo $?\n\
         wc -l < paths; printf '{\"target\":\"240.' >> paths\n\
         $trace --rate 2000 --resume paths --file $targets; echo $?\n\
         $trace --resume paths --file $targets; echo $?",
    );
    let said: Vec<&str> = answer.out.split_whitespace().collect();
    let [interrupted, before, resumed, done] = said[..] else {
        panic!("{answer:?}");
    };
    assert_eq!([interrupted, resumed, done], ["2", "0", "0"], "{answer:?}");
    let before: usize = before.parse().unwrap();
    assert!((1..186).contains(&before), "{before}");
    for told in [
        "interrupted; the same command goes on from there",
        "the last line was cut, and is dropped",
        &format!("{} of {} targets traced", 186 - before, 186 - before),
        "186 targets already in paths",
    ] {
        assert!(answer.err.contains(told), "{told}: {}", answer.err);
    }
    let import = import(&directory.path().join("paths"));
    let mut times: BTreeMap<_, u32> = BTreeMap::new();
    for record in &import.records {
        *times.entry(record.path.target).or_default() += 1;
    }
    assert_eq!((import.log.lost, times.len()), (0, 186));
    assert!(times.values().all(|times| *times == 1));
    let reached = |record: &&edge_trace_files::PathRecord| record.path.end == PathEnd::Reached;
    assert!(import.records.iter().filter(reached).count() > 140);
}

#[test]
fn netns_targets_beyond_the_budget_of_their_prefix_wait_and_are_traced() {
    let directory = tempfile::tempdir().unwrap();
    let answer = in_lab(
        directory.path(),
        "two-continents.toml",
        "echo 240.16.1.0/24 > asked\n\
         $trace --per-prefix 40 --time-limit 2 --json-lines --opt-out asked \
           240.16.0.10 240.16.0.11 240.16.0.12 240.16.0.13 240.16.1.10",
    );
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert_eq!(answer.out.lines().count(), 4, "{answer:?}");
    assert!(
        answer.err.contains("240.16.1.10 has opted out"),
        "{answer:?}"
    );
    assert!(answer.err.contains("4 of 5 targets traced, "), "{answer:?}");
    assert!(answer.err.contains(", 1 refused"), "{answer:?}");
}

#[test]
fn netns_a_reader_that_goes_away_ends_a_run_well() {
    let directory = tempfile::tempdir().unwrap();
    let answer = in_lab(
        directory.path(),
        "paper-240.toml",
        "{ $trace --quiet --json-lines --file $targets; echo $? > code; } | head -n 1 > first; cat code",
    );
    assert_eq!((answer.out.trim(), &*answer.err), ("0", ""), "{answer:?}");
    assert_eq!(import(&directory.path().join("first")).records.len(), 1);
}
