//! Who asks: ours and the peers, each at its best settings, and how to read what each prints.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::servers::Lab;
use super::world::{PREFIX, Question, ROOT, World};
use crate::shell;

/// Longest time for one run, in seconds.
const LIMIT_S: u32 = 60;

/// A program that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// Ours, of the servers of the zones.
    OursDirectly,
    /// Ours, of the resolver.
    OursByResolver,
    Adnshost,
    Hickory,
    Massdns,
}

impl Tool {
    pub(super) const ALL: [Self; 5] = [
        Self::OursDirectly,
        Self::OursByResolver,
        Self::Adnshost,
        Self::Hickory,
        Self::Massdns,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::OursDirectly => "ours, directly",
            Self::OursByResolver => "ours, unbound",
            Self::Adnshost => "adnshost",
            Self::Hickory => "hickory-resolver",
            Self::Massdns => "massdns",
        }
    }

    pub(super) const fn is_ours(self) -> bool {
        matches!(self, Self::OursDirectly | Self::OursByResolver)
    }

    /// Debian 12 has no massdns: it takes part where it was built.
    pub(super) fn is_there(self) -> bool {
        match self {
            Self::Massdns => shell::on_path("massdns"),
            _ => true,
        }
    }

    /// What the shell runs, in the folder with the questions.
    fn script(self) -> String {
        let ask = shell::target().join("release/examples/ask");
        let hickory = shell::target().join("peers/release/hickory-ask");
        match self {
            Self::OursDirectly => format!(
                "{} --direct --allow {PREFIX} --at-a-time 8192 --per-second 40000 {ROOT} < questions",
                ask.display()
            ),
            Self::OursByResolver => {
                format!("{} --at-a-time 8192 127.0.0.1 < questions", ask.display())
            }
            Self::Adnshost => {
                "stdbuf -oL adnshost --config 'nameserver 127.0.0.1' -a -Qq -Qa -f < adns"
                    .to_owned()
            }
            Self::Hickory => format!("{} 127.0.0.1 1000 < questions", hickory.display()),
            // It asks for one type at a time, so there are two of it.
            Self::Massdns => {
                let massdns = |kind: &str| {
                    format!(
                        "massdns -r resolver -t {kind} -o S --flush --root -q -s 10000 {kind} 2> massdns-{kind}.log"
                    )
                };
                format!("{} & {}; wait", massdns("PTR"), massdns("SRV"))
            }
        }
    }
}

/// Writes the questions in the ways that the programs want them.
pub(super) fn write_questions(world: &World, folder: &Path) -> Result<()> {
    let lines = |filter: &str, separator: &str| -> String {
        let questions = world.questions.iter();
        let wanted = questions.filter(|(kind, _)| filter.is_empty() || *kind == filter);
        wanted
            .map(|(kind, name)| match separator {
                "" => format!("{name}\n"),
                "- " => format!("- {name}\n"),
                _ => format!("{kind} {name}\n"),
            })
            .collect()
    };
    // The types with a hyphen are the raw ones, as for everybody else.
    let adns = format!(
        "-tptr-\n{}-tsrv-\n{}",
        lines("PTR", "- "),
        lines("SRV", "- ")
    );
    for (file, text) in [
        ("questions", lines("", " ")),
        ("PTR", lines("PTR", "")),
        ("SRV", lines("SRV", "")),
        ("adns", adns),
        ("resolver", "127.0.0.1\n".to_owned()),
    ] {
        let file: PathBuf = folder.join(file);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// What came out of a run.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// When each question got all of its true answer, sorted.
    pub(super) answered: Vec<Duration>,
    /// Answerable questions without.
    pub(super) lost: usize,
    /// Records that are not there.
    pub(super) wrong: usize,
}

impl Outcome {
    /// When `share` of the answerable questions had their answer, in ms.
    pub(super) fn time_to(&self, share: f64) -> f64 {
        let total = self.answered.len() + self.lost;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few thousand"
        )]
        let needed = (total as f64 * share).ceil() as usize;
        match self.answered.get(needed.saturating_sub(1)) {
            Some(time) => time.as_secs_f64() * 1e3,
            None => f64::INFINITY,
        }
    }
}

/// Lets a tool ask everything.
pub(super) fn run(tool: Tool, lab: &Lab, world: &World) -> Result<Outcome> {
    Ok(score(tool, &lines(lab, &tool.script())?, world))
}

/// What a shell prints that runs the script in the cloud, and when, from the script's start.
pub(super) fn lines(lab: &Lab, script: &str) -> Result<Vec<(Duration, String)>> {
    let script =
        format!("ulimit -n $(ulimit -H -n); echo start; exec timeout {LIMIT_S} sh -c \"{script}\"");
    let mut child = lab
        .command("cloud", &["sh", "-c", &script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("starting a script")?;
    let output = child.stdout.take().context("reading from the lab")?;
    let mut lines = Vec::new();
    let mut started = None;
    for line in BufReader::new(output).lines() {
        let (now, line) = (Instant::now(), line?);
        match started {
            None => started = Some(now),
            Some(start) => lines.push((now.duration_since(start), line)),
        }
    }
    child.wait()?;
    Ok(lines)
}

fn score(tool: Tool, lines: &[(Duration, String)], world: &World) -> Outcome {
    let mut found: BTreeMap<Question, BTreeSet<String>> = BTreeMap::new();
    let mut outcome = Outcome::default();
    let mut done: BTreeSet<Question> = BTreeSet::new();
    for (time, line) in lines {
        let Some((question, records)) = read(tool, line) else {
            continue;
        };
        let truth = world.truth.get(&question);
        let so_far = found.entry(question.clone()).or_default();
        for record in records {
            if truth.is_none_or(|truth| !truth.contains(&record)) {
                outcome.wrong += 1;
            }
            so_far.insert(record);
        }
        if truth.is_some_and(|truth| truth == so_far) && done.insert(question) {
            outcome.answered.push(*time);
        }
    }
    // What is not there cannot be told by a program that prints only what is.
    let countable = world
        .truth
        .iter()
        .filter(|(_, records)| !records.is_empty() || tool != Tool::Massdns);
    outcome.lost = countable.count().saturating_sub(outcome.answered.len());
    outcome
}

/// What a line says: a question with its records, none of which means that there are none. Failures are no lines.
fn read(tool: Tool, line: &str) -> Option<(Question, Vec<String>)> {
    let kind_of = |text: &str| match text {
        "PTR" => Some("PTR"),
        "SRV" => Some("SRV"),
        _ => None,
    };
    let host = |text: &str| text.trim_end_matches('.').to_ascii_lowercase();
    match tool {
        Tool::OursDirectly | Tool::OursByResolver => {
            let (question, answer) = line.split_once(": ")?;
            let (kind, name) = question.split_once(' ')?;
            let question = (kind_of(kind)?, host(name));
            let (records, _) = answer.rsplit_once(" (")?;
            Some(match records {
                "NxDomain" | "NoData" => (question, Vec::new()),
                // An unanswered question has braces, not records.
                other if other.contains('{') => return None,
                records => (question, records.split(", ").map(host).collect()),
            })
        }
        Tool::Hickory => {
            let (question, answer) = line.split_once(": ")?;
            let (kind, name) = question.split_once(' ')?;
            let question = (kind_of(kind)?, host(name));
            match answer.strip_prefix("! ") {
                Some(error) if error.contains("no records found") => Some((question, Vec::new())),
                Some(_) => None,
                None => Some((question, answer.split(", ").map(host).collect())),
            }
        }
        Tool::Adnshost => {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                [_, "0", _, _, "nxdomain" | "nodata", name, ..] => {
                    let kind = if name.starts_with('_') { "SRV" } else { "PTR" };
                    Some(((kind, host(name)), Vec::new()))
                }
                [name, kind, ref record @ ..] => {
                    Some(((kind_of(kind)?, host(name)), vec![host(&record.join(" "))]))
                }
                _ => None,
            }
        }
        Tool::Massdns => {
            let (name, rest) = line.split_once(' ')?;
            let (kind, record) = rest.split_once(' ')?;
            Some(((kind_of(kind)?, host(name)), vec![host(record)]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tools_lines_are_read() {
        let ptr = ("PTR", "1.2.3.240.in-addr.arpa".to_owned());
        let srv = ("SRV", "_edge._tcp.a.example".to_owned());
        let site = vec!["10 1 443 x.a.example".to_owned()];
        for (tool, line, want) in [
            (
                Tool::OursDirectly,
                "PTR 1.2.3.240.in-addr.arpa: r.a.example (Indeterminate)",
                Some((ptr.clone(), vec!["r.a.example".to_owned()])),
            ),
            (
                Tool::OursDirectly,
                "SRV _edge._tcp.a.example: NxDomain (Insecure)",
                Some((srv.clone(), vec![])),
            ),
            (
                Tool::OursDirectly,
                "SRV _edge._tcp.a.example: TimedOut { after: 2.8s }",
                None,
            ),
            (
                Tool::Adnshost,
                "7 0 permfail 300 nxdomain _edge._tcp.a.example $ \"No such domain\"",
                Some((srv.clone(), vec![])),
            ),
            (
                Tool::Adnshost,
                "_edge._tcp.a.example SRV 10 1 443 x.a.example",
                Some((srv.clone(), site.clone())),
            ),
            (
                Tool::Adnshost,
                "5598 0 remotefail 30 timeout _edge._tcp.a.example $ \"DNS query timed out\"",
                None,
            ),
            (
                Tool::Massdns,
                "_edge._tcp.a.example. SRV 10 1 443 x.a.example.",
                Some((srv.clone(), site.clone())),
            ),
            (
                Tool::Hickory,
                "SRV _edge._tcp.a.example: 10 1 443 x.a.example",
                Some((srv, site)),
            ),
        ] {
            assert_eq!(read(tool, line), want, "{line}");
        }
    }
}
