//! `cargo xtask test`: everything that must hold, cheapest first.
//!
//! Tests whose names start with one of [`GROUPS`] need more than a Rust toolchain. Where the machine lacks it they are
//! skipped, but only if `tests/skips.toml` lists them with a reason; any other skip is a failure.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::bench::agreement;
use crate::{packages, shell, tidy};

/// Options of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install nothing; tests whose peers are missing are skipped as `tests/skips.toml` allows.
    #[arg(long)]
    no_install: bool,
}

/// Name prefixes of tests that need something, and what that is.
const GROUPS: [(&str, &str); 3] = [
    (
        "netns_",
        "root or an unprivileged user namespace, and /dev/net/tun",
    ),
    ("oci_", "root and cgroup controllers"),
    ("peer_", "Debian and npm packages"),
];

/// What is optional and has tests of its own.
const FEATURES: &str = "--features=exec-edge/png";

/// `tests/skips.toml`.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Skips {
    #[serde(default)]
    skip: Vec<Skip>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    /// When and why these may be skipped.
    reason: String,
    /// Full names, as `cargo test` prints them.
    tests: Vec<String>,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<()> {
    tidy::run()?;
    if shell::on_path("cargo-fmt") {
        shell::run(shell::command("cargo", &["fmt", "--all", "--check"]))?;
    }
    let missing = if args.no_install {
        Vec::new()
    } else {
        packages::install_missing()?
    };
    shell::run(shell::command(
        "cargo",
        &["test", "--workspace", FEATURES, "--no-run"],
    ))?;

    let lacking = lacking_groups(args.no_install || !missing.is_empty());
    let skipped = check_skips(&lacking)?;
    let mut total = Tally::default();
    let mut plain = vec!["test", "--workspace", FEATURES, "--no-fail-fast", "--"];
    for (group, _) in GROUPS {
        plain.extend(["--skip", group]);
    }
    total.add(&run_tests(&plain)?);
    for (group, need) in GROUPS {
        if lacking.contains(&group) {
            shell::say(&format!("skipping {group}*: this machine lacks {need}"));
            continue;
        }
        // One at a time: they share the machine's namespaces, cgroups and processors.
        let serial = [
            "test",
            "--workspace",
            FEATURES,
            "--no-fail-fast",
            "--tests",
            "--",
            group,
            "--test-threads=1",
        ];
        total.add(&run_tests(&serial)?);
    }
    if lacking.contains(&"peer_") {
        shell::say("skipping the contract's tests by forge: this machine lacks npm packages");
    } else {
        let passed = agreement::contract_tests()?;
        shell::say(&format!("{passed} tests of the contract passed by forge"));
        total.passed += passed;
    }
    shell::say(&format!(
        "{} passed, {} failed, {skipped} skipped",
        total.passed, total.failed
    ));
    if total.failed > 0 || total.broken {
        bail!("{} tests failed", total.failed);
    }
    if total.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Tally {
    passed: u64,
    failed: u64,
    /// A test program ended without a result line of its own.
    broken: bool,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.broken |= other.broken;
    }
}

/// Runs `cargo test` and reads the `test result:` lines, which stay visible.
fn run_tests(arguments: &[&str]) -> Result<Tally> {
    use std::io::{BufRead, BufReader};

    let mut command = shell::command("cargo", arguments);
    shell::say(&format!("$ cargo {}", arguments.join(" ")));
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .context("starting cargo test")?;
    let output = child.stdout.take().context("reading cargo test")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("reading cargo test")?;
        if !line.trim().is_empty()
            && !line.ends_with("... ok")
            && !line.starts_with("running 0 tests")
        {
            shell::say(&line);
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            tally.passed += count(result, "passed");
            tally.failed += count(result, "failed");
        }
    }
    let status = child.wait().context("waiting for cargo test")?;
    tally.broken = !status.success();
    Ok(tally)
}

/// The number before `word` in `ok. 7 passed; 0 failed; …`.
fn count(result: &str, word: &str) -> u64 {
    let mut words = result
        .split([' ', ';', '.'])
        .filter(|part| !part.is_empty())
        .peekable();
    while let Some(number) = words.next() {
        if words.peek() == Some(&word) {
            return number.parse().unwrap_or(0);
        }
    }
    0
}

fn lacking_groups(peers_missing: bool) -> Vec<&'static str> {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|meta| {
        use std::os::unix::fs::MetadataExt;
        meta.uid() == 0
    });
    let tun = std::path::Path::new("/dev/net/tun").exists();
    let cgroups = std::path::Path::new("/sys/fs/cgroup/pids").exists()
        || std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let mut lacking = Vec::new();
    if !(is_root && tun) {
        lacking.push("netns_");
    }
    if !(is_root && cgroups) {
        lacking.push("oci_");
    }
    if peers_missing {
        lacking.push("peer_");
    }
    lacking
}

/// Counts the tests that will be skipped and fails if one of them may not be.
fn check_skips(lacking: &[&str]) -> Result<usize> {
    let path = shell::root().join("tests/skips.toml");
    let text = std::fs::read_to_string(&path).context("reading tests/skips.toml")?;
    let skips: Skips = toml::from_str(&text).context("parsing tests/skips.toml")?;
    let mut allowed: BTreeMap<&str, bool> = BTreeMap::new();
    for skip in &skips.skip {
        if skip.reason.trim().is_empty() {
            bail!(
                "tests/skips.toml gives no reason for {}",
                skip.tests.join(", ")
            );
        }
        allowed.extend(skip.tests.iter().map(|test| (test.as_str(), false)));
    }
    let all = list_tests(&[])?;
    for test in &all {
        if let Some(seen) = allowed.get_mut(test.as_str()) {
            *seen = true;
        }
    }
    if let Some((gone, _)) = allowed.iter().find(|(_, seen)| !**seen) {
        bail!("tests/skips.toml lists {gone}, which does not exist");
    }
    let ignored = list_tests(&["--ignored"])?;
    let skipped: Vec<&String> = all
        .iter()
        .filter(|test| {
            ignored.contains(test) || lacking.iter().any(|group| is_in_group(test, group))
        })
        .collect();
    let unlisted: Vec<&str> = skipped
        .iter()
        .map(|test| test.as_str())
        .filter(|test| !allowed.contains_key(test))
        .collect();
    if !unlisted.is_empty() {
        bail!(
            "these tests would be skipped, but tests/skips.toml does not list them: {}",
            unlisted.join(", ")
        );
    }
    Ok(skipped.len())
}

fn is_in_group(test: &str, group: &str) -> bool {
    test.rsplit("::")
        .next()
        .is_some_and(|name| name.starts_with(group))
}

fn list_tests(extra: &[&str]) -> Result<Vec<String>> {
    let mut arguments = vec![
        "test",
        "--quiet",
        "--workspace",
        FEATURES,
        "--tests",
        "--",
        "--list",
        "--format",
        "terse",
    ];
    arguments.extend(extra);
    let listing = shell::capture(shell::command("cargo", &arguments))?;
    Ok(listing
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_counts_of_a_result_line() {
        let line =
            "FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(
            (
                count(line, "passed"),
                count(line, "failed"),
                count(line, "absent")
            ),
            (12, 3, 0)
        );
    }

    #[test]
    fn groups_go_by_the_name_of_the_function() {
        assert!(is_in_group("forwarder::tests::netns_delay", "netns_"));
        assert!(!is_in_group("netns_like::tests::delay", "netns_"));
    }
}
