//! Our prober against Debian's scamper and against the truth, in the lab.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use program::{BINARY, program, run, scenario};
use serde_json::Value;

/// How long a lab with its traces may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// What both probers send with: one flow per target.
const SOURCE_PORT: u16 = 40_000;
const DESTINATION_PORT: u16 = 33_434;

/// Routers that answer without limits: two probers that send at different moments lose different answers to limits,
/// which says nothing about either.
const UNLIMITED: &str = "icmp = \"unlimited\"";

/// A path as one prober saw it: who answered at each distance, up to the last that did.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    hops: Vec<Option<IpAddr>>,
    reached: bool,
}

impl Seen {
    fn new(mut hops: Vec<Option<IpAddr>>, reached: bool) -> Self {
        while hops.last() == Some(&None) {
            hops.pop();
        }
        Self { hops, reached }
    }

    /// Is it `path`, with answers missing at most where `may_miss` allows, and the target where it was reached?
    fn is(&self, path: &[Option<IpAddr>], target: IpAddr, may_miss: bool) -> bool {
        let mut path = path.to_vec();
        if self.reached {
            path.push(Some(target));
        }
        let agrees = |(seen, truth): (&Option<IpAddr>, &Option<IpAddr>)| {
            seen == truth || (may_miss && seen.is_none())
        };
        let truth = Self::new(path, self.reached);
        let is_long_enough =
            self.hops.len() == truth.hops.len() || (may_miss && self.hops.len() < truth.hops.len());
        is_long_enough && self.hops.iter().zip(&truth.hops).all(agrees)
    }
}

/// What there is to be seen of a scenario.
struct Truth {
    /// The possible paths to each target, without the target.
    paths: BTreeMap<IpAddr, Vec<Vec<Option<IpAddr>>>>,
    /// Targets that answer probes.
    answering: BTreeSet<IpAddr>,
}

fn truth(file: &Path) -> Truth {
    let answer = run(program(&["lab", "show", "--truth"]).arg(file), PATIENCE);
    let json: Value = serde_json::from_str(&answer.out).unwrap();
    let prefixes = json["prefixes"].as_array().unwrap();
    let target = |prefix: &Value| address(&prefix["target"]).unwrap();
    let path = |path: &Value| {
        path.as_array()
            .unwrap()
            .iter()
            .map(|hop| address(&hop["address"]))
            .collect()
    };
    Truth {
        paths: prefixes
            .iter()
            .map(|prefix| {
                (
                    target(prefix),
                    prefix["paths"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(path)
                        .collect(),
                )
            })
            .collect(),
        answering: prefixes
            .iter()
            .filter(|prefix| prefix["answers_probes"] == true)
            .map(target)
            .collect(),
    }
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str().map(|text| text.parse().unwrap())
}

/// Our paths, from the JSON that `exec-edge trace` prints.
fn ours(text: &str) -> BTreeMap<IpAddr, Seen> {
    let traces: Vec<Value> =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let seen = |trace: &Value| {
        let hops = trace["hops"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hop| address(&hop["addr"]));
        (
            address(&trace["target"]).unwrap(),
            Seen::new(hops.collect(), trace["end"] == "reached"),
        )
    };
    traces.iter().map(seen).collect()
}

/// scamper's paths, from its lines of JSON; fails if it did not probe with the flow that it was told to.
fn theirs(text: &str) -> BTreeMap<IpAddr, Seen> {
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let trace: Value = serde_json::from_str(line).unwrap();
        if trace["type"] != "trace" {
            continue;
        }
        assert_eq!(trace["method"], "udp-paris");
        assert_eq!(
            (&trace["sport"], &trace["dport"]),
            (&SOURCE_PORT.into(), &DESTINATION_PORT.into())
        );
        let mut hops = Vec::new();
        for hop in trace["hops"].as_array().into_iter().flatten() {
            let distance = usize::try_from(hop["probe_ttl"].as_u64().unwrap()).unwrap();
            hops.resize(distance.max(hops.len()), None);
            hops[distance - 1] = address(&hop["addr"]);
        }
        let reached = trace["stop_reason"] == "COMPLETED";
        all.insert(address(&trace["dst"]).unwrap(), Seen::new(hops, reached));
    }
    all
}

/// Traces all targets of a scenario in one lab, with us and then, if asked for, with scamper. Returns both outputs.
fn trace_in_lab(file: &Path, options: &str, with_scamper: bool) -> (String, String) {
    let directory = file.parent().unwrap();
    let targets = run(program(&["lab", "show", "--targets"]).arg(file), PATIENCE);
    fs::write(directory.join("targets"), targets.out).unwrap();
    let mut script = format!(
        "set -e; cd \"$1\"\n\"$2\" trace {options} --rate 2000 --dport {DESTINATION_PORT} --allow 240.0.0.0/4 \
         --allow 3fff::/20 --json --quiet --file targets > ours\n"
    );
    if with_scamper {
        let _infallible = writeln!(
            script,
            "command -v scamper > /dev/null || {{ echo 'scamper is missing: apt-get install scamper' >&2; exit 9; }}\n\
             scamper -p 1000 -O json -o theirs -f targets \
             -c 'trace -P udp-paris -s {SOURCE_PORT} -d {DESTINATION_PORT} -q 2 -w 1'"
        );
    }
    let mut command = program(&["lab", "run"]);
    command
        .arg(file)
        .args(["--at", "cloud", "--", "sh", "-c", &script, "sh"])
        .arg(directory)
        .arg(BINARY);
    let answer = run(&mut command, PATIENCE);
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""));
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
    (read("ours"), read("theirs"))
}

/// Every trace that is not as it should be, one a line.
fn expect_none(wrong: &[String], of: usize) {
    assert!(
        wrong.is_empty(),
        "{} of {of} paths are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Traces every client prefix of a scenario and compares hop by hop.
fn compare(name: &str, change: impl FnOnce(String) -> String) {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), name, change);
    let truth = truth(&file);
    let flow = format!("--exact --sport {SOURCE_PORT}");
    let (ours_text, theirs_text) = trace_in_lab(&file, &flow, true);
    let (ours, theirs) = (ours(&ours_text), theirs(&theirs_text));
    let all: Vec<IpAddr> = truth.paths.keys().copied().collect();
    assert_eq!(ours.keys().copied().collect::<Vec<_>>(), all, "our targets");
    assert_eq!(
        theirs.keys().copied().collect::<Vec<_>>(),
        all,
        "scamper's targets"
    );
    let mut wrong = Vec::new();
    for (target, paths) in &truth.paths {
        let (we, they) = (&ours[target], &theirs[target]);
        if we != they {
            wrong.push(format!("{target}\n  we      {we:?}\n  scamper {they:?}"));
        }
        if we.reached != truth.answering.contains(target)
            || !paths.iter().any(|path| we.is(path, *target, false))
        {
            wrong.push(format!("{target}\n  we      {we:?}\n  truth   {paths:?}"));
        }
    }
    expect_none(&wrong, all.len());
}

#[test]
fn peer_scamper_sees_the_same_paths_between_two_continents() {
    compare("two-continents.toml", |text| {
        let seed = "seed = 7";
        assert!(text.contains(seed));
        text.replace(seed, &format!("{seed}\ndefaults = {{ {UNLIMITED} }}"))
    });
}

#[test]
fn peer_scamper_sees_the_same_paths_to_all_of_the_papers_networks() {
    compare("paper-240.toml", |text| {
        let linux = "icmp = \"linux\"";
        assert!(text.contains(linux));
        text.replace(linux, UNLIMITED)
    });
}

/// As the orchestrator traces: targets share what they learn, and routers limit their answers.
#[test]
fn netns_shared_traces_lie_in_the_truth() {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), "paper-240.toml", |text| text);
    let truth = truth(&file);
    let (text, _) = trace_in_lab(&file, "", false);
    let ours = ours(&text);
    let mut wrong = Vec::new();
    let (mut seen_routers, mut routers) = (BTreeSet::<IpAddr>::new(), BTreeSet::<IpAddr>::new());
    for (target, paths) in &truth.paths {
        routers.extend(paths.iter().flatten().flatten());
        let Some(seen) = ours.get(target) else {
            wrong.push(format!("{target}: not traced"));
            continue;
        };
        seen_routers.extend(seen.hops.iter().flatten());
        if !paths.iter().any(|path| seen.is(path, *target, true)) {
            wrong.push(format!("{target}\n  we    {seen:?}\n  truth {paths:?}"));
        }
    }
    expect_none(&wrong, truth.paths.len());
    let missed: Vec<_> = routers.difference(&seen_routers).collect();
    assert!(
        missed.len() * 20 < routers.len(),
        "of {} routers these were not seen: {missed:?}",
        routers.len()
    );
}
