//! What the command line says of itself and of arguments that it cannot use.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use program::{Answer, BINARY, program, run, scenario};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

/// Every command, and whether it can end in more ways than well.
const COMMANDS: &[(&[&str], bool)] = &[
    (&[], true),
    (&["demo"], true),
    (&["orchestrator"], true),
    (&["provider"], true),
    (&["provider", "template"], false),
    (&["provider", "dns-records"], true),
    (&["provider", "doctor"], true),
    (&["provider", "well-known"], true),
    (&["discover"], true),
    (&["relay"], true),
    (&["aggregator"], false),
    (&["aggregator", "sign"], true),
    (&["trace"], true),
    (&["paths"], true),
    (&["topology"], true),
    (&["place"], true),
    (&["simulate"], false),
    (&["simulate", "figures"], true),
    (&["lab"], false),
    (&["lab", "up"], true),
    (&["lab", "run"], true),
    (&["lab", "show"], false),
    (&["chain"], false),
    (&["chain", "dev"], true),
    (&["chain", "key"], false),
];

fn answer(arguments: &[&str]) -> Answer {
    run(&mut program(arguments), PATIENCE)
}

fn small_scenario(directory: &Path) -> PathBuf {
    scenario(directory, "two-continents.toml", |text| text)
}

#[test]
fn every_command_has_help_with_its_exit_codes() {
    let mut without = Vec::new();
    for (command, has_exit_codes) in COMMANDS {
        let help = answer(&[command, &["--help"][..]].concat());
        assert_eq!((help.code, help.err.as_str()), (Some(0), ""), "{command:?}");
        assert!(help.out.contains("Usage: exec-edge"), "{}", help.out);
        assert!(
            !help.out.contains("runtime-helper") && !help.out.contains("demo-part"),
            "{}",
            help.out
        );
        if *has_exit_codes && !help.out.to_lowercase().contains("exit code") {
            without.push(command.join(" "));
        }
    }
    assert!(without.is_empty(), "help without exit codes: {without:?}");
    let help = answer(&["--help"]).out;
    for code in ["0 ", "1 ", "2 ", "64 "] {
        assert!(help.contains(code), "{help}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let version = answer(&["--version"]);
    assert_eq!(
        version.out,
        format!("exec-edge {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!((version.code, version.err.as_str()), (Some(0), ""));
}

#[test]
fn wrong_arguments_are_usage_errors() {
    let directory = tempfile::tempdir().unwrap();
    let file = small_scenario(directory.path());
    let file = file.to_str().unwrap();
    for (arguments, named) in [
        (&["dmeo"][..], "dmeo"),
        (&["demo", "--speed", "2"], "--speed"),
        (&["demo", "--duration", "5"], "--duration"),
        (&["demo", "--seed", "x"], "--seed"),
        (&["lab", "show", file, "--targets", "--truth"], "--truth"),
        (&["lab", "run", file, "--at", "cloud"], "COMMAND"),
        (
            &["lab", "run", file, "--at", "nobody", "--", "true"],
            "--at nobody",
        ),
        (&["trace"], "TARGETS"),
        (&["trace", "app.cloud.example"], "app.cloud.example"),
        (&["trace", "192.0.2.1", "--sport", "65536"], "--sport"),
        (
            &["trace", "192.0.2.1", "--allow", "240.0.0.0/33"],
            "--allow",
        ),
        (&["chain", "dev"], "--data"),
        (
            &["chain", "dev", "--data", "/nonexistent", "--fund", "0x1=1"],
            "--fund",
        ),
        (&["orchestrator"], "--config"),
        (&["provider"], "--config"),
    ] {
        let answer = answer(arguments);
        assert_eq!(
            (answer.code, answer.out.as_str()),
            (Some(64), ""),
            "{arguments:?}: {answer:?}"
        );
        assert!(answer.err.contains(named), "{arguments:?}: {}", answer.err);
    }
}

#[test]
fn an_unknown_place_in_the_lab_is_answered_with_those_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let file = small_scenario(directory.path());
    let answer = answer(&[
        "lab",
        "run",
        file.to_str().unwrap(),
        "--at",
        "nobody",
        "--",
        "true",
    ]);
    for place in [
        "cloud",
        "clients",
        "dns",
        "chain",
        "eastlink.example",
        "nordlink.example",
    ] {
        assert!(answer.err.contains(place), "{}", answer.err);
    }
}

#[test]
fn the_file_of_targets_is_read_strictly() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("targets");
    fs::write(&file, "# comment\n\n240.16.0.10\n240.16.0.x\n").unwrap();
    let file = file.to_str().unwrap();
    let bad = answer(&["trace", "--file", file]);
    assert_eq!((bad.code, bad.out.as_str()), (Some(64), ""));
    assert_eq!(
        bad.err,
        format!("error: {file}, line 4: \"240.16.0.x\" is not an address\n")
    );
    let missing = answer(&["trace", "--file", "/nonexistent/targets"]);
    assert_eq!(missing.code, Some(64));
    assert!(
        missing.err.contains("/nonexistent/targets"),
        "{}",
        missing.err
    );
}

#[test]
fn a_scenario_can_be_looked_at_without_running_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = small_scenario(directory.path());
    let file = file.to_str().unwrap();
    let targets = answer(&["lab", "show", file, "--targets"]);
    let expected =
        "240.16.0.10\n240.16.1.10\n240.16.2.10\n240.16.3.10\n240.16.4.10\n3fff:16:5::a\n";
    assert_eq!((targets.code, targets.out.as_str()), (Some(0), expected));
    let truth: Value =
        serde_json::from_str(&answer(&["lab", "show", file, "--truth"]).out).unwrap();
    assert_eq!(truth["format"], 1);
    let count = |field: &str| truth[field].as_array().unwrap().len();
    assert_eq!(
        [count("routers"), count("prefixes"), count("ieps")],
        [10, 6, 3]
    );
    let summary = answer(&["lab", "show", file]).out;
    assert!(summary.contains("routers          10"), "{summary}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), "paper-240.toml", |text| text);
    let mut command = program(&["lab", "show", "--truth"]);
    let mut child = command
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

/// The exit code of a command in the lab is its own.
#[test]
fn netns_a_command_in_the_lab_ends_as_it_would_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let file = small_scenario(directory.path());
    let file = file.to_str().unwrap();
    for (command, code) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "kill -TERM $$"], 128 + 15),
        (&["/nonexistent/program"], 127),
    ] {
        let arguments = [&["lab", "run", file, "--at", "clients", "--"], command].concat();
        let answer = answer(&arguments);
        assert_eq!(answer.code, Some(code), "{answer:?}");
    }
}

/// In a network namespace without any link, so that nothing could leave this machine.
#[test]
fn netns_addresses_outside_global_unicast_are_not_probed() {
    let targets = [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "240.16.0.10",
        "::1",
        "fe80::1",
    ];
    let mut command = Command::new("unshare");
    command
        .args(["--net", BINARY, "trace", "--json", "--quiet"])
        .args(targets);
    let answer = run(&mut command, PATIENCE);
    assert_eq!(
        (answer.code, answer.out.trim()),
        (Some(1), "[]"),
        "{answer:?}"
    );
    assert_eq!(answer.err.lines().count(), targets.len(), "{}", answer.err);
    for target in targets {
        assert!(answer.err.contains(target), "{target}: {}", answer.err);
    }
}
