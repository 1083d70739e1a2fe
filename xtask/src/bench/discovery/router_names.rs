//! The names that real routers have, as a reverse zone: what becomes of each on the way from an address to zones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::row;
use super::servers::Lab;
use super::tools;
use super::world::{PREFIX, ROOT, Server, World};
use crate::shell;

pub(super) const CASE: &str = "router-names";
/// Reads the names.
const SCRIPT: &str = include_str!("router_names.py");
/// Octets of a label and of a name as it is sent (RFC 1035 section 2.3.4).
const LABEL: usize = 63;
const NAME: usize = 255;

/// Names of routers by address, in lower case, as DNS compares them; and how many no DNS name can be.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_address: BTreeMap<IpAddr, BTreeSet<String>>,
    impossible: usize,
}

impl Names {
    /// All that the files of `data` tell.
    pub(super) fn read(data: &Path) -> Result<Self> {
        let data = fs::canonicalize(data).with_context(|| format!("finding {}", data.display()))?;
        let python = shell::command("python3", &["-c", SCRIPT, &data.to_string_lossy()]);
        let mut names = Self::default();
        for line in shell::capture(python)?.lines() {
            let (address, name) = line.split_once('\t').context("a line without a name")?;
            let address: IpAddr = address
                .parse()
                .with_context(|| format!("reading the address {address:?}"))?;
            if is_possible(name) {
                let own = names.by_address.entry(address).or_default();
                own.insert(name.to_ascii_lowercase());
            } else {
                names.impossible += 1;
            }
        }
        if names.by_address.is_empty() {
            bail!("no names of routers in {}", data.display());
        }
        Ok(names)
    }

    fn count(&self) -> usize {
        self.by_address.values().map(BTreeSet::len).sum()
    }

    /// One server that has the root and everything in reverse.
    pub(super) fn world(&self) -> World {
        let mut reverse = "@ NS a.root-server.\n".to_owned();
        for (address, names) in &self.by_address {
            for name in names {
                let (owner, name) = (reverse_name(*address), escaped(name));
                let _infallible = writeln!(reverse, "{owner}. PTR {name}.");
            }
        }
        let root = "@ NS a.root-server.\na.root-server. A 240.16.0.1\narpa. NS a.root-server.\n";
        World {
            servers: vec![Server {
                name: "names",
                addresses: vec![ROOT.to_owned()],
                zones: vec![
                    super::world::zone(".", root),
                    super::world::zone("arpa.", &reverse),
                ],
            }],
            silent: Vec::new(),
            questions: Vec::new(),
            truth: BTreeMap::new(),
        }
    }
}

pub(super) fn conditions(names: &Names) -> String {
    format!(
        "{} names of {} routers as a reverse zone on NSD, 80 ms away; {} names that no DNS message can hold are left out; every \
         address and every zone that a name leads to is asked, from the root down and through Unbound",
        names.count(),
        names.by_address.len(),
        names.impossible
    )
}

/// What became of the names in one run.
#[derive(Debug, Default)]
struct Outcome {
    /// Neither led to zones nor refused.
    lost: usize,
    /// In no zone, yet found.
    made_up: usize,
    /// By what became of them.
    counts: BTreeMap<String, usize>,
}

pub(super) fn run(runs: u32, lab: &Lab, names: &Names, folder: &Path) -> Result<Vec<Value>> {
    let addresses = names.by_address.keys();
    let lines: String = addresses.map(|address| format!("{address}\n")).collect();
    fs::write(folder.join("addresses"), lines).context("writing the addresses")?;
    let ask = shell::target().join("release/examples/ask");
    let ask = ask.display();
    // What counts is what becomes of the names, so the one server is asked no faster than it and the lab can answer.
    let programs = [
        (
            "directly",
            format!(
                "{ask} --names --direct --allow {PREFIX} --at-a-time 2048 --per-second 2000 {ROOT} < addresses"
            ),
        ),
        (
            "by-resolver",
            format!("{ask} --names --at-a-time 256 --per-second 2000 127.0.0.1 < addresses"),
        ),
    ];
    let mut rows = Vec::new();
    for (way, script) in programs {
        let mut outcomes = Vec::new();
        for run in 1..=runs {
            let _resolver = lab.cold_resolver()?;
            let lines = tools::lines(lab, &script)?;
            let outcome = judge(names, lines.iter().map(|(_, line)| line.as_str()));
            shell::say(&format!(
                "  run {run} of {runs}: {way:<12} {} lost, {} made up, {:?}",
                outcome.lost, outcome.made_up, outcome.counts
            ));
            outcomes.push(outcome);
        }
        let samples = |figure: &dyn Fn(&Outcome) -> usize| -> Vec<f64> {
            outcomes
                .iter()
                .map(|outcome| figure(outcome) as f64)
                .collect()
        };
        let none = ("names", "lower", Some(0.0));
        let of = |what: &str| format!("{CASE}/{what}-{way}");
        rows.push(row(&of("lost"), none, &samples(&|run| run.lost), &[]));
        rows.push(row(&of("made-up"), none, &samples(&|run| run.made_up), &[]));
        let kinds: BTreeSet<&String> = outcomes.iter().flat_map(|run| run.counts.keys()).collect();
        for kind in kinds {
            let better = if kind == "led-to-zones" {
                "higher"
            } else {
                "lower"
            };
            let counts = samples(&|run| run.counts.get(kind).copied().unwrap_or_default());
            rows.push(row(&of(kind), ("names", better, None), &counts, &[]));
        }
    }
    Ok(rows)
}

/// Compares what was printed with what the zone holds. A name that cannot be shown is printed as `-`.
fn judge<'a>(names: &Names, lines: impl Iterator<Item = &'a str>) -> Outcome {
    let mut told: BTreeMap<IpAddr, Vec<&str>> = BTreeMap::new();
    let mut outcome = Outcome::default();
    for line in lines {
        let mut parts = line.split('\t');
        let (Some(Ok(address)), Some(what)) = (parts.next().map(str::parse), parts.next()) else {
            continue;
        };
        *outcome.counts.entry(what.to_owned()).or_default() += 1;
        if let Some(name) = parts.next() {
            told.entry(address).or_default().push(name);
        }
    }
    for (address, names) in &names.by_address {
        let told = told.remove(address).unwrap_or_default();
        let shown: BTreeSet<&str> = told.iter().copied().filter(|name| *name != "-").collect();
        let hidden = told.iter().filter(|name| **name == "-").count();
        let known = names
            .iter()
            .filter(|name| shown.contains(name.as_str()))
            .count();
        outcome.made_up += shown.len() - known;
        let missing = names.len() - known;
        outcome.lost += missing.saturating_sub(hidden);
        outcome.made_up += hidden.saturating_sub(missing);
    }
    outcome.made_up += told.values().map(Vec::len).sum::<usize>();
    outcome
}

fn is_possible(name: &str) -> bool {
    let labels = || name.split('.').map(str::len);
    labels().all(|length| (1..=LABEL).contains(&length))
        && labels().map(|length| length + 1).sum::<usize>() < NAME
}

/// As a zone file has it: what is no letter or digit by its number.
fn escaped(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, octet| {
        match octet {
            b'.' | b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => text.push(octet.into()),
            other => {
                let _infallible = write!(text, "\\{other:03}");
            }
        }
        text
    })
}

fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let digits = v6.octets().into_iter().rev();
            let digits = digits.map(|octet| format!("{:x}.{:x}.", octet & 15, octet >> 4));
            digits.collect::<String>() + "ip6.arpa"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_missing_and_names_that_nobody_gave_are_counted() {
        let address: IpAddr = "9.9.9.1".parse().unwrap();
        let other: IpAddr = "9.9.9.2".parse().unwrap();
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let names = Names {
            by_address: [
                (address, set(&["a.isp.example", "b c.isp.example"])),
                (other, set(&["d.isp.example"])),
            ]
            .into(),
            impossible: 0,
        };
        let count = |lines: &[&str]| {
            let outcome = judge(&names, lines.iter().copied());
            (
                outcome.lost,
                outcome.made_up,
                outcome.counts.values().sum::<usize>(),
            )
        };
        let all = [
            "9.9.9.1\tled-to-zones\ta.isp.example",
            "9.9.9.1\trefused-not-a-host-name\t-",
            "9.9.9.2\tled-to-zones\td.isp.example",
        ];
        assert_eq!(count(&all), (0, 0, 3));
        assert_eq!(count(&all[..2]), (1, 0, 2));
        assert_eq!(count(&all[1..]), (1, 0, 2));
        assert_eq!(
            count(&[all[0], all[1], all[1], all[2], "9.9.9.3\tled-to-zones\tx"]),
            (0, 2, 5)
        );
    }

    #[test]
    fn every_octet_can_be_written_and_no_label_is_too_long() {
        assert_eq!(escaped("a_1/2 b.isp"), "a\\0951\\0472\\032b.isp");
        assert!(is_possible("a.b") && !is_possible("a..b") && !is_possible(&"a".repeat(64)));
        assert_eq!(
            reverse_name("9.8.7.6".parse().unwrap()),
            "6.7.8.9.in-addr.arpa"
        );
        let long = reverse_name("2001:db8::1".parse().unwrap());
        assert!(long.starts_with("1.0.0.0.") && long.ends_with(".8.b.d.0.1.0.0.2.ip6.arpa"));
    }
}
