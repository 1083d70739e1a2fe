//! The probers that are compared: how each is called, and how its output is read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;

use super::truth::address;
use crate::bench::program;
use crate::packages;
use crate::shell;

/// The one flow to each target.
pub(super) const SOURCE_PORT: u16 = 40_000;
/// The one flow to each target.
pub(super) const DESTINATION_PORT: u16 = 33_434;

/// The version of trippy that is compared.
const TRIPPY: &str = "0.13.0";

/// A prober with its settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tool {
    /// Its name in rows.
    pub(super) name: &'static str,
    kind: Kind,
    options: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ours,
    OursWithoutCapabilities,
    Scamper,
    Traceroute,
    Trippy,
}

const fn tool(name: &'static str, kind: Kind, options: &'static str) -> Tool {
    Tool {
        name,
        kind,
        options,
    }
}

pub(super) const OURS: Tool = tool("ours", Kind::Ours, "--json-lines");
/// For routers that take longer to answer than a target usually has.
pub(super) const OURS_PATIENT: Tool = tool("ours", Kind::Ours, "--json-lines --time-limit 30");
/// Estimates of links want at least 5 samples.
pub(super) const OURS_LINKS: Tool = tool("ours", Kind::Ours, "--output links --samples 8");
pub(super) const OURS_LINKS_TWICE: Tool = tool("ours", Kind::Ours, "--output links --samples 16");
pub(super) const OURS_PRIVILEGED: Tool = tool("ours privileged", Kind::Ours, "--json-lines");
pub(super) const OURS_UNPRIVILEGED: Tool = tool(
    "ours",
    Kind::OursWithoutCapabilities,
    "--json-lines --backend unprivileged",
);
pub(super) const SCAMPER: Tool = tool("scamper default", Kind::Scamper, "");
pub(super) const SCAMPER_TUNED: Tool =
    tool("scamper -N 4 -w 1 -q 1", Kind::Scamper, "-N 4 -w 1 -q 1");
pub(super) const SCAMPER_TWICE: Tool =
    tool("scamper -N 4 -w 1 -q 2", Kind::Scamper, "-N 4 -w 1 -q 2");
pub(super) const SCAMPER_DOUBLETREE: Tool = tool(
    "scamper doubletree -q 1",
    Kind::Scamper,
    "-f 6 -Z stop -w 1 -q 1",
);
pub(super) const SCAMPER_DOUBLETREE_TWICE: Tool = tool(
    "scamper doubletree -q 2",
    Kind::Scamper,
    "-f 6 -Z stop -w 1 -q 2",
);
pub(super) const TRACEROUTE: Tool = tool("traceroute default", Kind::Traceroute, "");
pub(super) const TRACEROUTE_TUNED: Tool = tool(
    "traceroute -q 1 -N 32 -w 1",
    Kind::Traceroute,
    "-q 1 -N 32 -w 1",
);
pub(super) const TRIPPY_ONCE: Tool = tool("trippy -C 1", Kind::Trippy, "");
pub(super) const TRIPPY_TUNED: Tool = tool(
    "trippy -C 1 -i 100ms -T 300ms",
    Kind::Trippy,
    "-i 100ms -T 300ms",
);

/// What a run needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task<'a> {
    /// Packets per second.
    pub(super) rate: u32,
    /// File with one target a line.
    pub(super) targets: &'a str,
    /// The first of them.
    pub(super) target: IpAddr,
}

/// One path as a prober tells it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) target: IpAddr,
    /// When it came, from the prober's start.
    pub(super) at: Duration,
    /// Who answered at distance `i + 1`.
    pub(super) hops: Vec<Option<IpAddr>>,
    /// The round trips in ms.
    pub(super) rtt_ms: Vec<Option<f64>>,
    pub(super) reached: bool,
    /// Every distance up to the last is accounted for, with an answer or as unknown, and the end is told.
    pub(super) is_accounted: bool,
}

impl Tool {
    /// Installs it where that is possible.
    pub(super) fn install(self) -> Result<()> {
        match self.kind {
            Kind::Ours | Kind::OursWithoutCapabilities => Ok(()),
            Kind::Scamper | Kind::Traceroute => {
                let missing = packages::install_missing()?;
                if missing.contains(&"scamper") || missing.contains(&"traceroute") {
                    bail!(
                        "scamper and traceroute are compared: apt-get install scamper traceroute"
                    );
                }
                Ok(())
            }
            Kind::Trippy => install_trippy(),
        }
    }

    /// The command line, for a shell in the lab.
    pub(super) fn command(self, task: &Task<'_>) -> String {
        let (options, targets) = (self.options, task.targets);
        match self.kind {
            Kind::Ours | Kind::OursWithoutCapabilities => {
                let drop = if self.kind == Kind::OursWithoutCapabilities {
                    "setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all "
                } else {
                    ""
                };
                format!(
                    "{drop}'{}' trace --rate {} --sport {SOURCE_PORT} --dport {DESTINATION_PORT} --allow 240.0.0.0/4 \
                     {options} --file '{targets}'",
                    program().display(),
                    task.rate,
                )
            }
            Kind::Scamper => format!(
                "scamper -p {} -O json -f '{targets}' -c 'trace -P udp-paris -s {SOURCE_PORT} -d {DESTINATION_PORT} \
                 {options}'",
                task.rate
            ),
            Kind::Traceroute => format!("traceroute -n {options} {}", task.target),
            Kind::Trippy => format!(
                "'{}' --mode json --report-cycles 1 --protocol udp {options} {}",
                trippy().display(),
                task.target
            ),
        }
    }

    /// The paths in the lines that it printed, each with the time at which it came.
    pub(super) fn read(self, lines: &[(Duration, String)]) -> Vec<Seen> {
        match self.kind {
            Kind::Ours | Kind::OursWithoutCapabilities => each(lines, ours),
            Kind::Scamper => each(lines, scamper),
            Kind::Traceroute => traceroute(lines).into_iter().collect(),
            Kind::Trippy => trippy_report(lines).into_iter().collect(),
        }
    }
}

fn trippy() -> std::path::PathBuf {
    shell::target().join("peers/bin/trip")
}

fn install_trippy() -> Result<()> {
    if trippy().is_file() {
        return Ok(());
    }
    let root = shell::target().join("peers");
    shell::run(shell::command(
        "cargo",
        &[
            "install",
            "trippy",
            "--version",
            TRIPPY,
            "--locked",
            "--root",
            &root.to_string_lossy(),
        ],
    ))
}

fn each(
    lines: &[(Duration, String)],
    read: impl Fn(&Value, Duration) -> Option<Seen>,
) -> Vec<Seen> {
    let parsed = lines.iter().filter_map(|(at, line)| {
        let json = serde_json::from_str(line).ok()?;
        read(&json, *at)
    });
    parsed.collect()
}

/// A line of `exec-edge trace --json-lines`.
fn ours(json: &Value, at: Duration) -> Option<Seen> {
    let hops = json["hops"].as_array()?;
    let end = json["end"].as_str();
    let in_order = (1..).zip(hops).all(|(ttl, hop)| hop["ttl"] == ttl);
    Some(Seen {
        target: address(&json["target"])?,
        at,
        hops: hops.iter().map(|hop| address(&hop["addr"])).collect(),
        rtt_ms: hops.iter().map(|hop| hop["rtt_ms"].as_f64()).collect(),
        reached: end == Some("reached"),
        is_accounted: in_order && end.is_some(),
    })
}

/// A line of scamper's JSON.
fn scamper(json: &Value, at: Duration) -> Option<Seen> {
    if json["type"] != "trace" {
        return None;
    }
    let mut answers: BTreeMap<usize, (IpAddr, Option<f64>)> = BTreeMap::new();
    for hop in json["hops"].as_array().into_iter().flatten() {
        let ttl = usize::try_from(hop["probe_ttl"].as_u64()?).ok()?;
        if let Some(who) = address(&hop["addr"]) {
            answers.entry(ttl).or_insert((who, hop["rtt"].as_f64()));
        }
    }
    let (hops, rtt_ms) = by_distance(&answers);
    Some(Seen {
        target: address(&json["dst"])?,
        at,
        hops,
        rtt_ms,
        reached: json["stop_reason"] == "COMPLETED",
        is_accounted: json["stop_reason"].is_string(),
    })
}

fn by_distance(
    answers: &BTreeMap<usize, (IpAddr, Option<f64>)>,
) -> (Vec<Option<IpAddr>>, Vec<Option<f64>>) {
    let last = answers.keys().next_back().copied().unwrap_or(0);
    (1..=last)
        .map(|ttl| match answers.get(&ttl) {
            Some((who, rtt)) => (Some(*who), *rtt),
            None => (None, None),
        })
        .unzip()
}

/// The whole output of traceroute for one target: `traceroute to TARGET (ADDRESS), …`, then a line for each distance.
fn traceroute(lines: &[(Duration, String)]) -> Option<Seen> {
    let (first, hops) = lines.split_first()?;
    let target: IpAddr = first.1.split_whitespace().nth(2)?.parse().ok()?;
    let mut answers = BTreeMap::new();
    for (_, line) in hops {
        let mut words = line.split_whitespace();
        let Some(ttl) = words.next().and_then(|word| word.parse().ok()) else {
            continue;
        };
        let words: Vec<&str> = words.collect();
        let who = words.iter().find_map(|word| word.parse().ok());
        let rtt = words
            .windows(2)
            .find(|pair| pair[1] == "ms")
            .and_then(|pair| pair[0].parse().ok());
        if let Some(who) = who {
            answers.insert(ttl, (who, rtt));
        }
    }
    let (hops, rtt_ms) = by_distance(&answers);
    Some(Seen {
        target,
        at: lines.last()?.0,
        reached: hops.last() == Some(&Some(target)),
        hops,
        rtt_ms,
        is_accounted: true,
    })
}

/// trippy's JSON report of one target, over many lines.
fn trippy_report(lines: &[(Duration, String)]) -> Option<Seen> {
    let text: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
    let json: Value = serde_json::from_str(&text.join("\n")).ok()?;
    let target = address(&json["info"]["target"]["ip"])?;
    let mut answers = BTreeMap::new();
    for hop in json["hops"].as_array()? {
        let ttl = usize::try_from(hop["ttl"].as_u64()?).ok()?;
        if let Some(who) = address(&hop["hosts"][0]["ip"]) {
            let best = hop["best"].as_str().and_then(|text| text.parse().ok());
            answers.insert(ttl, (who, best));
        }
    }
    let (hops, rtt_ms) = by_distance(&answers);
    Some(Seen {
        target,
        at: lines.last()?.0,
        reached: hops.last() == Some(&Some(target)),
        hops,
        rtt_ms,
        is_accounted: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(text: &str) -> Vec<(Duration, String)> {
        (1..)
            .zip(text.lines())
            .map(|(second, line)| (Duration::from_secs(second), line.to_owned()))
            .collect()
    }

    fn at(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn reads_our_lines() {
        let text = r#"{"target":"240.2.0.1","reached":false,"end":"silent","probes":4,"hops":[{"ttl":1,"addr":"240.1.0.1","rtt_ms":0.5,"shared":true},{"ttl":2,"addr":null,"rtt_ms":null,"shared":false}]}"#;
        let seen = OURS.read(&stamped(text));
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].hops, [at("240.1.0.1"), None]);
        assert_eq!(seen[0].rtt_ms, [Some(0.5), None]);
        assert!(!seen[0].reached && seen[0].is_accounted);
        let gap = text.replace("\"ttl\":2", "\"ttl\":3");
        assert!(!OURS.read(&stamped(&gap))[0].is_accounted);
    }

    #[test]
    fn reads_scampers_lines() {
        let text = r#"{"type":"cycle-start"}
{"type":"trace","dst":"240.2.0.1","stop_reason":"COMPLETED","hops":[{"addr":"240.1.0.1","probe_ttl":1,"rtt":0.5},{"addr":"240.2.0.1","probe_ttl":3,"rtt":7.25}]}"#;
        let seen = SCAMPER.read(&stamped(text));
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].at, Duration::from_secs(2));
        assert_eq!(seen[0].hops, [at("240.1.0.1"), None, at("240.2.0.1")]);
        assert_eq!(seen[0].rtt_ms, [Some(0.5), None, Some(7.25)]);
        assert!(seen[0].reached);
    }

    #[test]
    fn reads_traceroutes_lines() {
        let text = "traceroute to 240.2.0.1 (240.2.0.1), 30 hops max, 60 byte packets\n 1  240.1.0.1  0.6 ms  0.5 ms  0.4 ms\n 2  * * *\n 3  240.2.0.1  7.2 ms * 7 ms\n";
        let seen = TRACEROUTE.read(&stamped(text));
        assert_eq!(seen[0].hops, [at("240.1.0.1"), None, at("240.2.0.1")]);
        assert_eq!(seen[0].rtt_ms, [Some(0.6), None, Some(7.2)]);
        assert!(seen[0].reached);
    }

    #[test]
    fn reads_trippys_report() {
        let text = r#"{"info":{"target":{"ip":"240.2.0.1","hostname":"240.2.0.1"}},
"hops":[{"ttl":1,"hosts":[{"ip":"240.1.0.1","hostname":"x"}],"best":"0.61"},
{"ttl":2,"hosts":[],"best":"0.0"},{"ttl":3,"hosts":[{"ip":"240.2.0.1","hostname":"y"}],"best":"7.5"}]}"#;
        let seen = TRIPPY_ONCE.read(&stamped(text));
        assert_eq!(seen[0].hops, [at("240.1.0.1"), None, at("240.2.0.1")]);
        assert!(seen[0].reached);
    }
}
