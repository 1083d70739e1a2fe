//! `exec-edge trace`: the prober as a tool of its own.

mod args;
mod explain;
mod interrupt;
mod lines;
mod progress;
mod resume;
mod sink;
mod table;
mod targets;
mod views;

use std::collections::VecDeque;
use std::net::{IpAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use edge_ports::{Clock, SystemClock, TraceError};
use edge_probe::{Prober, ProberConfig, TraceStream};
use edge_trace_files::{Method, PathRecord, TraceDetails};
use edge_types::{PathEnd, PathObservation};

pub(crate) use self::args::Args;
use self::interrupt::Interrupted;
use self::progress::{Counts, Progress, Style};
use self::resume::Earlier;
use self::sink::{Sink, SinkError};
use self::targets::Targets;
use edge_console::exit::{Exit, Failure};
use edge_console::output;

/// Longest wait before progress and Ctrl-C are looked at.
const PATIENCE: Duration = Duration::from_millis(100);
/// Time after which targets that were over the budget of their prefix are tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Such targets that are kept waiting; while there are as many, no others are begun.
const MOST_WAITING: usize = 8192;

/// Runs it; exit code 1 if no target was reached.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let config = args.config()?;
    let mut targets = Targets::gather(args)?;
    let tell = |text: &str| {
        if !args.quiet {
            output::error(text);
        }
    };
    if targets.repeated > 0 {
        let repeated = table::counted(targets.repeated as u64, "target");
        tell(&format!("{repeated} named again, traced once"));
    }
    let mut reached_before = 0;
    let sink = if let Some(file) = &args.resume {
        let earlier = Earlier::open(file)?;
        let shown = file.display();
        if earlier.is_repaired {
            tell(&format!("{shown}: the last line was cut, and is dropped"));
        }
        let named = targets.addresses.len();
        targets
            .addresses
            .retain(|target| !earlier.done.contains(target));
        let done = named - targets.addresses.len();
        if done > 0 {
            let done = table::counted(done as u64, "target");
            tell(&format!("{done} already in {shown}"));
        }
        reached_before = earlier.reached;
        Sink::appending(earlier.file)
    } else {
        Sink::open(args.output(), args.to.as_deref())?
    };
    let prober = Prober::start(config.clone()).context("starting the prober")?;
    let run = Run {
        prober: &prober,
        stream: prober.stream(),
        most_under_way: config.max_targets,
        details: details(args, &config),
        sink,
        progress: Progress::start(Style::choose(args.progress, args.quiet)),
        counts: Counts {
            total: targets.addresses.len(),
            ..Counts::default()
        },
        waiting: VecDeque::new(),
        retry_at: Instant::now(),
        outside: 0,
    };
    let interrupted = Interrupted::listen()?;
    let (counts, summary) = run.all(targets.addresses, &interrupted)?;
    tell(&summary);
    if interrupted.is_told() {
        let remedy = match &args.resume {
            Some(_) => "the same command goes on from there",
            None => "a run with --resume FILE can be gone on with",
        };
        tell(&format!("interrupted; {remedy}"));
        return Ok(Exit::Runtime.into());
    }
    Ok(if counts.reached + reached_before > 0 {
        ExitCode::SUCCESS
    } else {
        Exit::Negative.into()
    })
}

/// What is the same of all traces of a run.
fn details(args: &Args, config: &ProberConfig) -> TraceDetails {
    let (method, has_ports) = match args.method {
        args::Method::Udp => (Method::UdpParis, true),
        args::Method::Icmp => (Method::IcmpEchoParis, false),
        args::Method::Tcp => (Method::Tcp, true),
    };
    TraceDetails {
        method: Some(method),
        source_port: config.source_port.filter(|_| has_ports),
        destination_port: has_ports.then_some(config.destination_port),
        ..TraceDetails::default()
    }
}

/// The address that packets to `target` leave from.
fn source_for(target: IpAddr) -> Option<IpAddr> {
    let any = match target {
        IpAddr::V4(_) => "0.0.0.0:0",
        IpAddr::V6(_) => "[::]:0",
    };
    // Sends nothing: it only asks the routing table.
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect((target, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// A run under way.
struct Run<'a> {
    prober: &'a Prober,
    stream: TraceStream<'a>,
    most_under_way: usize,
    details: TraceDetails,
    sink: Sink,
    progress: Progress,
    counts: Counts,
    /// Targets that were over the budget of their prefix.
    waiting: VecDeque<IpAddr>,
    retry_at: Instant,
    /// Targets refused because they are outside global unicast.
    outside: usize,
}

impl Run<'_> {
    /// Traces all targets, or as many as an interruption or a reader that goes away leaves time for. Gives the counts,
    /// and them in words.
    fn all(
        mut self,
        targets: Vec<IpAddr>,
        interrupted: &Interrupted,
    ) -> Result<(Counts, String), Failure> {
        let mut targets = targets.into_iter();
        let mut written = Ok(());
        while written.is_ok() && !interrupted.is_told() {
            self.begin(&mut targets);
            match self.stream.next_within(PATIENCE) {
                Some(Ok(path)) => written = self.take(path),
                Some(Err(TraceError::Stopped)) => {
                    written = Err(SinkError::Other(TraceError::Stopped.into()));
                }
                Some(Err(error)) => self.refused(error),
                None if self.stream.under_way() == 0
                    && self.waiting.is_empty()
                    && targets.len() == 0 =>
                {
                    break;
                }
                None => {}
            }
            self.counts.probes = self.prober.counters().sent;
            self.counts.waiting = self.waiting.len();
            self.progress.tick(self.counts);
        }
        self.progress.clear();
        self.counts.probes = self.prober.counters().sent;
        let mut summary = self
            .progress
            .summary(self.counts, &self.prober.backend().to_string());
        if self.outside > 0 {
            summary += "\naddresses outside global unicast are probed only with --allow PREFIX";
        }
        match written.and_then(|()| self.sink.finish()) {
            Ok(()) | Err(SinkError::Closed) => Ok((self.counts, summary)),
            Err(SinkError::Write(error)) => {
                Err(Failure::runtime(error).with_hint("make room, or write elsewhere by --to FILE"))
            }
            Err(SinkError::Other(error)) => Err(Failure::runtime(error)),
        }
    }

    /// Begins as many targets as there is room for, many together: so they are known to be many.
    fn begin(&mut self, targets: &mut impl Iterator<Item = IpAddr>) {
        let room = self.most_under_way - self.stream.under_way();
        if room <= self.most_under_way / 2 {
            return;
        }
        let mut batch = Vec::new();
        if Instant::now() >= self.retry_at {
            let due = self.waiting.len().min(room);
            batch.extend(self.waiting.drain(..due));
            self.retry_at = Instant::now() + RETRY;
        }
        if self.waiting.len() < MOST_WAITING {
            batch.extend(targets.take(room - batch.len()));
        }
        if !batch.is_empty() {
            self.stream.begin(batch);
        }
    }

    fn take(&mut self, path: PathObservation) -> Result<(), SinkError> {
        self.counts.traced += 1;
        self.counts.reached += usize::from(path.end == PathEnd::Reached);
        let record = PathRecord {
            details: TraceDetails {
                ended: Some(SystemClock::start().utc()),
                source: source_for(path.target),
                ..self.details
            },
            path,
        };
        if self.sink.is_terminal {
            self.progress.clear();
        }
        let trail = self.prober.take_trail(record.path.target);
        let words = trail.map(|trail| explain::words(&record.path, &trail));
        match words {
            Some(words) if !self.sink.is_prose() => {
                self.progress.clear();
                let about = format!("{}\n{words}", record.path.target);
                output::error(about.trim_end());
                self.sink.path(&record, "")
            }
            words => self.sink.path(&record, &words.unwrap_or_default()),
        }
    }

    fn refused(&mut self, error: TraceError) {
        if let TraceError::OverBudget { target, .. } | TraceError::LeftOut(target) = error {
            // Its turn comes: what the budget lacks now it has a little later.
            self.waiting.push_back(target);
            return;
        }
        self.counts.refused += 1;
        self.outside += usize::from(matches!(error, TraceError::NotAllowed(_)));
        self.progress.clear();
        output::error(&format!("{:#}", anyhow::Error::new(error)));
    }
}
