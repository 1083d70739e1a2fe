//! `exec-edge topology` on small files of paths, against sizes counted by hand and against a script that shares nothing with it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
#[expect(dead_code, reason = "other tests run scenarios")]
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use program::{program, run};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

/// Two responders at one hop, a silent hop, a loop, private space, a target that does not answer.
const ATLAS: &str = r#"{"dst_addr":"241.1.1.9","result":[{"hop":1,"result":[{"from":"240.0.1.1","rtt":1.5},{"from":"240.0.2.1","rtt":1.6}]},{"hop":2,"result":[{"x":"*"}]},{"hop":3,"result":[{"from":"240.1.3.1","rtt":4}]},{"hop":4,"result":[{"from":"241.1.1.9","rtt":9.5}]}]}
{"dst_addr":"241.1.2.9","result":[{"hop":1,"result":[{"from":"240.0.2.1","rtt":1.5}]},{"hop":2,"result":[{"from":"10.0.0.1","rtt":2}]},{"hop":3,"result":[{"from":"240.1.3.1","rtt":4}]},{"hop":4,"result":[{"from":"240.2.0.1","rtt":5}]},{"hop":5,"result":[{"from":"240.1.3.1","rtt":6}]},{"hop":6,"result":[{"x":"*"}]}]}
"#;

/// A target that was traced twice, a silent first hop, a target that cannot be reached.
const RTRACK: &str = "\
#
Target: 241.1.1.9
TTL: 3
1 - Anonymous
2 - 240.0.9.1
#
Target: 241.1.1.9 (opinion n\u{b0}2)
TTL: 3
1 - Anonymous
2 - 240.0.1.1 [Repaired-1]
#
Target: 241.2.1.9
Unreachable
1 - Anonymous
2 - 240.0.1.1
3 - 240.0.2.1 [Cycle]
4 - Anonymous
";

fn written(directory: &Path, name: &str, text: &str) -> PathBuf {
    let file = directory.join(name);
    fs::write(&file, text).unwrap();
    file
}

fn told(arguments: &[&str], files: &[&Path]) -> Value {
    let mut command = program(&["topology", "--json"]);
    let answer = run(command.args(arguments).args(files), PATIENCE);
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""));
    serde_json::from_str(&answer.out).unwrap()
}

fn check(told: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(told[name], *value, "{name} of {told}");
    }
}

#[test]
fn trees_have_the_size_counted_by_hand() {
    let directory = tempfile::tempdir().unwrap();
    let file = written(directory.path(), "paths.jsonl", ATLAS);
    // 240.0.1, 240.0.2, 10.0.0 behind it, 240.1.3; a silent hop; the loop over 240.2.0 is erased. The ways meet in 240.1.3, which
    // hangs on one of them in the tree, so that the other ends.
    check(
        &told(&["--group", "24"], &[&file]),
        &json!({ "targets": 2, "clients": 2, "groups": 4, "silent": 1, "nodes": 8, "leaves": 3,
            "last_groups": 1, "links": 8, "diamonds": 1, "depth": 4 }),
    );
    // One client, traced by the target that answered.
    check(
        &told(&["--group", "16", "--clients", "16"], &[&file]),
        &json!({ "targets": 2, "clients": 1, "groups": 2, "silent": 1, "nodes": 5, "links": 4,
            "diamonds": 0, "depth": 4 }),
    );
    let file = written(directory.path(), "routes.traces", RTRACK);
    check(
        &told(&["--group", "24"], &[&file]),
        &json!({ "targets": 2, "superseded": 1, "clients": 2, "groups": 2, "silent": 1, "nodes": 6,
            "leaves": 2, "last_groups": 1, "links": 5, "diamonds": 0, "depth": 4 }),
    );
}

#[test]
fn files_are_put_together_and_compared() {
    let directory = tempfile::tempdir().unwrap();
    let one = written(directory.path(), "one.traces", RTRACK);
    let text = RTRACK.replace("241.2.1.9", "241.3.1.9");
    let other = written(directory.path(), "other.traces", &text);
    let both = told(&[], &[&one, &other]);
    check(&both, &json!({ "targets": 3, "superseded": 3 }));

    let change = |arguments: &[&str], old, new| {
        let told = told(&[&["--compare"], arguments].concat(), &[old, new]);
        told["change"].as_f64().unwrap()
    };
    assert!(change(&[], &one, &one).abs() < 1e-12);
    // One target of both, one of either.
    assert!((change(&[], &one, &other) - 2.0 / 3.0).abs() < 1e-12);
    assert!(change(&["--common"], &one, &other).abs() < 1e-12);
    let moved = RTRACK.replace("240.0.1.1", "240.0.7.1");
    let moved = written(directory.path(), "moved.traces", &moved);
    assert!((change(&["--common"], &one, &moved) - 1.0).abs() < 1e-12);
}

#[test]
fn wrong_use_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = written(directory.path(), "routes.traces", RTRACK);
    for (arguments, named) in [
        (&["--compare"][..], "two files"),
        (&["--common"], "--compare"),
        (&["--group", "17"], "16, 24, address"),
    ] {
        let mut command = program(&["topology"]);
        let answer = run(command.args(arguments).arg(&file), PATIENCE);
        assert_eq!(answer.code, Some(64), "{answer:?}");
        assert!(answer.err.contains(named), "{}", answer.err);
    }
}

#[test]
fn peer_a_script_counts_the_same_trees() {
    let directory = tempfile::tempdir().unwrap();
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/src/bench/paths/tree_sizes.py");
    for (name, text) in [("paths.jsonl", ATLAS), ("routes.traces", RTRACK)] {
        let file = written(directory.path(), name, text);
        for (group, clients) in [
            ("16", "16"),
            ("24", "24"),
            ("24", "address"),
            ("address", "16"),
        ] {
            let mut command = Command::new("python3");
            command.arg(&script).arg(&file).args([group, clients]);
            let answer = run(&mut command, PATIENCE);
            assert_eq!(answer.code, Some(0), "{answer:?}");
            let mut theirs: Value = serde_json::from_str(&answer.out).unwrap();
            let theirs = theirs.as_object_mut().unwrap();
            for of_the_file in ["records", "round_trips", "addresses"] {
                theirs.remove(of_the_file);
            }
            let ours = told(&["--group", group, "--clients", clients], &[&file]);
            check(&ours, &Value::Object(theirs.clone()));
        }
    }
}
