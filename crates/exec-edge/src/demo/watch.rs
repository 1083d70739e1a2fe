//! Watching the loop close: the orchestrator's status, the clients' progress, memory; and showing it to people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_lab::clients::Progress;
use edge_orchestrator::status::{StatusReport, TreeReport};

use super::cast::{Cast, LEASE_S};
use super::stage::clock;
use super::{Args, say};
use crate::admin::exchange;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(250);
/// Time between two lines of progress without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// How long agreements may take to be settled after the clients have stopped.
const SETTLING: Duration = Duration::from_secs(40);

/// What was seen of a run.
#[derive(Debug)]
pub(super) struct Seen {
    /// The orchestrator's last word.
    pub(super) status: StatusReport,
    /// The tree when most clients asked.
    pub(super) tree: TreeReport,
    /// The orchestrator's start, in milliseconds after the clients' start; negative.
    pub(super) orchestrator_start_ms: f64,
    /// Largest sum of proportional set sizes over all processes, in MB.
    pub(super) pss_mb: f64,
}

/// Watches until the clients have stopped and the agreements are settled, or a process ends that should not.
pub(super) fn until_the_end(
    args: &Args,
    cast: &Cast,
    mut population: Child,
    others: &mut [(String, Child)],
    started: Instant,
) -> Result<Seen> {
    let output = population
        .stdout
        .take()
        .context("reading the clients' progress")?;
    let (told, progress) = mpsc::channel::<Progress>();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Ok(progress) = serde_json::from_str(&line)
                && told.send(progress).is_err()
            {
                return;
            }
        }
    });

    let mut show = Show::new(args.headless, started);
    let mut clients = Clients::default();
    let mut pss = Pss::default();
    let mut seen: Option<Seen> = None;
    let mut wound_down = false;
    let mut stopped_at: Option<Instant> = None;
    loop {
        std::thread::sleep(INTERVAL);
        clients.take(&progress);
        pss.measure();
        if let Some(status) = population.try_wait().context("waiting for the clients")?
            && stopped_at.is_none()
        {
            if !status.success() {
                bail!("the clients ended with {status}");
            }
            stopped_at = Some(Instant::now());
        }
        for (name, child) in &mut *others {
            if let Some(status) = child
                .try_wait()
                .with_context(|| format!("waiting for {name}"))?
            {
                bail!("{name} ended with {status}");
            }
        }
        let status: StatusReport = ask(&cast.admin, "GET", "/status")?;
        let since_clients = clients.elapsed_ms();
        // No lease is begun that would outlast the clients by much.
        let last_begin_s = args.duration.saturating_sub(LEASE_S).max(args.duration / 4);
        if !wound_down && since_clients > last_begin_s as f64 * 1e3 {
            let _accepted: bool = ask(&cast.admin, "POST", "/wind-down")?;
            wound_down = true;
        }
        let tree = match (&seen, stopped_at) {
            (Some(seen), Some(_)) => seen.tree.clone(),
            _ => ask(&cast.admin, "GET", "/tree")?,
        };
        show.update(&status, &clients);
        let orchestrator_start_ms = since_clients - status.uptime_ms as f64;
        let ended = status.wound_down && stopped_at.is_some();
        seen = Some(Seen {
            status,
            tree,
            orchestrator_start_ms,
            pss_mb: pss.peak_mb,
        });
        match (ended, stopped_at, seen) {
            (true, _, Some(seen)) => {
                show.finish();
                return Ok(seen);
            }
            (false, Some(at), Some(seen)) if at.elapsed() > SETTLING => {
                show.finish();
                say("not all agreements were settled in time");
                return Ok(seen);
            }
            (_, _, unfinished) => seen = unfinished,
        }
    }
}

/// The clients' progress so far.
#[derive(Debug, Default)]
struct Clients {
    latest: Progress,
    /// When the latest line came.
    heard: Option<Instant>,
    /// Mean latencies per half second: cloud only, ExEC.
    history: Vec<(f64, f64)>,
}

impl Clients {
    fn take(&mut self, progress: &mpsc::Receiver<Progress>) {
        while let Ok(latest) = progress.try_recv() {
            self.latest = latest;
            self.heard = Some(Instant::now());
            if latest.exec_mean_us > 0 && latest.control_mean_us > 0 {
                self.history.push((
                    latest.control_mean_us as f64 / 1e3,
                    latest.exec_mean_us as f64 / 1e3,
                ));
            }
        }
    }

    /// Milliseconds since the clients began.
    fn elapsed_ms(&self) -> f64 {
        let since = self
            .heard
            .map_or(0.0, |heard| heard.elapsed().as_secs_f64() * 1e3);
        self.latest.at_ms as f64 + since
    }
}

/// Memory of all processes of the sandbox.
#[derive(Debug, Default)]
struct Pss {
    peak_mb: f64,
    rounds: u32,
}

impl Pss {
    /// Adds up `Pss` of every process; once a second, since the kernel walks page tables for it.
    fn measure(&mut self) {
        self.rounds += 1;
        if self.rounds % 4 != 1 {
            return;
        }
        let Ok(processes) = std::fs::read_dir("/proc") else {
            return;
        };
        let kilobytes: u64 = processes
            .flatten()
            .filter(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
            })
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("smaps_rollup")).ok())
            .filter_map(|text| {
                text.lines().find_map(|line| {
                    line.strip_prefix("Pss:")?
                        .trim()
                        .strip_suffix(" kB")?
                        .parse::<u64>()
                        .ok()
                })
            })
            .sum();
        self.peak_mb = self.peak_mb.max(kilobytes as f64 / 1024.0);
    }
}

/// One exchange with the orchestrator's admin socket.
fn ask<T: serde::de::DeserializeOwned>(socket: &Path, method: &str, path: &str) -> Result<T> {
    let (status, body) = exchange(socket, method, path)
        .with_context(|| format!("asking the orchestrator for {path}"))?;
    if status != 200 {
        bail!("the orchestrator answers {path} with status {status}");
    }
    serde_json::from_str(&body).with_context(|| format!("understanding the orchestrator's {path}"))
}

/// What people see: a block that is redrawn on a terminal, single lines otherwise.
struct Show {
    started: Instant,
    is_live: bool,
    lines_drawn: usize,
    events_shown: usize,
    last_line: Instant,
}

impl Show {
    fn new(headless: bool, started: Instant) -> Self {
        let is_live = !headless && std::io::stderr().is_terminal();
        Self {
            started,
            is_live,
            lines_drawn: 0,
            events_shown: 0,
            last_line: Instant::now(),
        }
    }

    fn update(&mut self, status: &StatusReport, clients: &Clients) {
        if self.is_live {
            let picture = self.picture(status, clients);
            self.redraw(&picture);
            return;
        }
        for event in status.events.iter().skip(self.events_shown) {
            if event.text.starts_with("plan") || !event.text.starts_with("found") {
                say(&format!("[{}] {}", clock(self.started), event.text));
            }
        }
        self.events_shown = status.events.len();
        if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            say(&format!(
                "[{}] {}",
                clock(self.started),
                summary(status, clients)
            ));
        }
    }

    fn picture(&self, status: &StatusReport, clients: &Clients) -> String {
        let topology = &status.topology;
        let mut text = String::new();
        let mut row = |name: &str, done: usize, all: usize, more: String| {
            let _infallible = writeln!(
                text,
                "  {name:<22} {} {done:>4} of {all:<4} {more}",
                bar(done, all)
            );
        };
        row(
            "1 paths traced",
            topology.leaves,
            topology.prefixes_seen,
            format!(
                "{} probes, {} nodes in the tree",
                topology.probes_sent, topology.nodes
            ),
        );
        let discovery = &status.discovery;
        let measured = discovery
            .sites
            .iter()
            .filter(|site| site.rtt_ms.is_some())
            .count();
        row(
            "2 sites found in DNS",
            measured,
            discovery.sites.len(),
            format!("{} zones asked", discovery.zones_asked),
        );
        row(
            "3 offers accepted",
            status.offers.green_listed,
            status.offers.asked,
            String::new(),
        );
        let states = states(status);
        let count = |wanted: &[&str]| {
            wanted
                .iter()
                .filter_map(|state| states.get(*state))
                .sum::<usize>()
        };
        let confirmed = status
            .agreements
            .iter()
            .filter(|agreement| agreement.confirmed_ms.is_some())
            .count();
        row(
            "4 agreements confirmed",
            confirmed,
            status.agreements.len(),
            describe(&states),
        );
        row(
            "5 sites serving",
            count(&["running"]),
            confirmed,
            format!("{} prefixes redirected", status.prefixes_redirected),
        );
        row(
            "6 agreements settled",
            count(&["settled"]),
            confirmed,
            String::new(),
        );
        let latest = clients.latest;
        let _infallible = writeln!(
            text,
            "  clients: {} requests, {} at the edge, {} errors;  latency of 25 kB: cloud only {:.0} ms, ExEC {:.0} ms",
            latest.requests,
            latest.by_edge,
            latest.errors,
            latest.control_mean_us as f64 / 1e3,
            latest.exec_mean_us as f64 / 1e3,
        );
        let _infallible = writeln!(
            text,
            "  cloud only {}\n  ExEC       {}",
            sparks(clients, |pair| pair.0),
            sparks(clients, |pair| pair.1)
        );
        let running: Vec<_> = status
            .agreements
            .iter()
            .filter(|agreement| agreement.state == "running")
            .collect();
        for agreement in running.iter().take(8) {
            let site = discovery
                .sites
                .iter()
                .find(|site| site.site == agreement.site);
            let rtt = site.and_then(|site| site.rtt_ms).unwrap_or_default();
            let _infallible = writeln!(
                text,
                "    {:<44} {rtt:>6.1} ms from the cloud",
                agreement.site
            );
        }
        if running.len() > 8 {
            let _infallible = writeln!(text, "    and {} more", running.len() - 8);
        }
        for event in status.events.iter().rev().take(4).rev() {
            let _infallible = writeln!(text, "  > {:.110}", event.text);
        }
        format!("[{}]\n{text}", clock(self.started))
    }

    fn redraw(&mut self, picture: &str) {
        let mut out = String::new();
        if self.lines_drawn > 0 {
            let _infallible = write!(out, "\x1b[{}A\x1b[J", self.lines_drawn);
        }
        out.push_str(picture);
        self.lines_drawn = picture.lines().count();
        let mut terminal = std::io::stderr().lock();
        let _closed = terminal
            .write_all(out.as_bytes())
            .and_then(|()| terminal.flush());
    }

    fn finish(&mut self) {
        self.lines_drawn = 0;
    }
}

fn summary(status: &StatusReport, clients: &Clients) -> String {
    format!(
        "{} of {} prefixes traced, {} sites found, agreements: {}; {} prefixes redirected; cloud only {:.0} ms, ExEC {:.0} ms",
        status.topology.leaves,
        status.topology.prefixes_seen,
        status.discovery.sites.len(),
        describe(&states(status)),
        status.prefixes_redirected,
        clients.latest.control_mean_us as f64 / 1e3,
        clients.latest.exec_mean_us as f64 / 1e3,
    )
}

fn states(status: &StatusReport) -> BTreeMap<&str, usize> {
    let mut states = BTreeMap::new();
    for agreement in &status.agreements {
        *states.entry(agreement.state.as_str()).or_default() += 1;
    }
    states
}

fn describe(states: &BTreeMap<&str, usize>) -> String {
    if states.is_empty() {
        return "none".to_owned();
    }
    states
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn bar(done: usize, all: usize) -> String {
    const WIDTH: usize = 20;
    let filled = (done * WIDTH).checked_div(all).unwrap_or(0).min(WIDTH);
    format!("[{}{}]", "#".repeat(filled), ".".repeat(WIDTH - filled))
}

/// The last half minute as bars of text, both cohorts on one scale.
fn sparks(clients: &Clients, of: impl Fn(&(f64, f64)) -> f64) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let recent = &clients.history[clients.history.len().saturating_sub(60)..];
    let top = recent
        .iter()
        .map(|pair| pair.0.max(pair.1))
        .fold(1.0, f64::max);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the eight levels"
    )]
    let level = |value: f64| LEVELS[((value / top * 8.0) as usize).min(7)];
    recent.iter().map(|pair| level(of(pair))).collect()
}
