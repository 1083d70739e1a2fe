//! One run of one prober in a lab of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::bench::exec_edge;
use crate::shell;

/// Longest time for one run.
const LIMIT_S: u32 = 170;

/// How often a run is repeated if the lab was late.
const TRIES: u32 = 3;

/// What the shell says before and after the prober.
const START: &str = "bench: start";
const END: &str = "bench: end ";

/// How the run went.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It ran to its end, or was ended as planned.
    Ran(Ran),
    /// The program does not know the options.
    NotAvailable,
    /// The lab was late at every try; its 99th percentile in ms at the last.
    Void(f64),
}

/// What came out of a run.
#[derive(Debug)]
pub(super) struct Ran {
    /// Lines, each with the time since the prober's start.
    pub(super) lines: Vec<(Duration, String)>,
    /// From the prober's start to its end.
    pub(super) wall: Duration,
    /// Packets that the cloud sent, counted by the lab, without questions about names.
    pub(super) sent: u64,
    /// The lab's lateness in ms, 99th percentile.
    pub(super) late_ms: f64,
    /// What the prober said to people.
    pub(super) complaints: PathBuf,
}

/// Runs a command line in a new lab, so that no router's ration is spent already. A lab that hands packets over later
/// than `latest_ms`, at the 99th percentile, measures itself.
pub(super) fn in_lab(scenario: &Path, command: &str, latest_ms: f64) -> Result<Outcome> {
    let mut late_ms = 0.0;
    for _ in 0..TRIES {
        let Some(ran) = once(scenario, command)? else {
            return Ok(Outcome::NotAvailable);
        };
        if ran.late_ms <= latest_ms {
            return Ok(Outcome::Ran(ran));
        }
        late_ms = ran.late_ms;
        shell::say(&format!("    void: the lab was {late_ms:.1} ms late (p99)"));
    }
    Ok(Outcome::Void(late_ms))
}

fn once(scenario: &Path, command: &str) -> Result<Option<Ran>> {
    let folder = super::folder()?;
    let (statistics, complaints) = (folder.join("statistics.json"), folder.join("complaints"));
    let script = format!(
        "echo '{START}'; timeout --kill-after 1 {LIMIT_S} {command} 2> '{}'; code=$?; echo; echo \"{END}$code\"",
        complaints.display()
    );
    let mut lab = exec_edge(&["lab", "run"]);
    lab.arg(scenario).arg("--statistics").arg(&statistics);
    let mut child = lab
        .args(["--", "sh", "-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a lab")?;
    let output = child.stdout.take().context("reading from a lab")?;
    let (mut started, mut ended) = (None, None);
    let mut lines = Vec::new();
    for line in BufReader::new(output).lines() {
        let (now, line) = (Instant::now(), line.context("reading from a lab")?);
        match (started, line.strip_prefix(END)) {
            (None, _) if line == START => started = Some(now),
            (Some(start), Some(code)) => ended = Some((now.duration_since(start), code.to_owned())),
            (Some(start), None) => lines.push((now.duration_since(start), line)),
            (None, _) => {}
        }
    }
    let status = child.wait().context("waiting for a lab")?;
    let Some((wall, code)) = ended else {
        bail!("the lab of {} ended with {status}", scenario.display());
    };
    match code.as_str() {
        "64" => return Ok(None),
        "124" | "137" => shell::say(&format!("    ended after {LIMIT_S} s")),
        "127" => bail!("there is no such program: {command}"),
        _ => {}
    }
    let text = std::fs::read_to_string(&statistics)
        .with_context(|| format!("reading {}", statistics.display()))?;
    let carried: Value = serde_json::from_str(&text).context("parsing the lab's statistics")?;
    let count = |what: &str| carried[what].as_u64().unwrap_or(0);
    Ok(Some(Ran {
        lines,
        wall,
        sent: count("sent_by_cloud").saturating_sub(count("sent_to_dns")),
        late_ms: carried["lateness_ms"]["p99"].as_f64().unwrap_or(f64::MAX),
        complaints,
    }))
}
