//! `exec-edge record`: the orchestrator, with what it decides from written down without the names of anybody.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::JoinHandle;

use anyhow::{Context as _, anyhow};
use edge_journal::{Journal, Keep};
use edge_orchestrator::record::{Recorded, RecordedTree, Recorder, Recording};
use edge_sim::anonymise::Anonymiser;
use edge_sim::record::{Begin, Entry, KIND, Scribe};
use edge_types::{Generation, IpNet};

use crate::orchestrator;
use edge_console::exit::{EXIT_CODES, Failure};
use edge_console::output;

/// Trees that may wait for a plan that was made on them. Those before them are not written.
const MOST_TREES: usize = 256;

/// Octets left for the last entry.
const RESERVE: u64 = 4096;

/// Options of `exec-edge record`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
#[group(skip)]
pub(crate) struct Args {
    #[command(flatten)]
    orchestrator: orchestrator::Args,
    /// The file to write; there must be none of this name. `exec-edge simulate replay` reads it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The record ends, and the orchestrator goes on, when the file has this size.
    #[arg(long, default_value_t = 256, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1024))]
    limit_mib: u64,
    /// File with 32 hexadecimal digits, the secret key of the pseudonyms, where several records shall have the same. Otherwise a
    /// key is drawn and forgotten.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let settings = orchestrator::settings(&args.orchestrator)?;
    let scribe = Scribe::new(Anonymiser::new(key(args.key_file.as_deref())?));
    let policy = &settings.config.policy;
    if policy.group_routers_by_domain {
        let error =
            anyhow!("a record has no names, by which policy.group_routers_by_domain makes trees");
        return Err(Failure::usage(error).with_hint("switch it off to record"));
    }
    let begin = Begin {
        routers_v4: policy.group_routers_v4,
        routers_v6: policy.group_routers_v6,
        most_targets: policy.max_prefixes,
    };
    if args.out.exists() {
        let error = anyhow!("{} exists", args.out.display());
        return Err(Failure::usage(error).with_hint("a record goes into a file of its own"));
    }
    let opened = Journal::open::<Entry>(&args.out, KIND).map_err(Failure::usage)?;
    let (recorder, recording) = Recorder::new();
    let writer = Writer {
        journal: opened.journal,
        scribe,
        limit: args.limit_mib << 20,
        waiting: VecDeque::new(),
        requests: BTreeMap::new(),
        trees: 0,
        plans: 0,
        left_out: 0,
    };
    let writing = writer.start(begin, recording);
    let ran = orchestrator::serve(settings, Some(recorder));
    let (plans, left_out) = writing
        .join()
        .map_err(|_| anyhow!("the writer of the record ended abnormally"))?
        .with_context(|| format!("writing {}", args.out.display()))?;
    let left_out = match left_out {
        0 => String::new(),
        number => format!(", {number} left out whose trees were too old"),
    };
    output::error(&format!(
        "{plans} plans in {}{left_out}",
        args.out.display()
    ));
    ran.map(|()| ExitCode::SUCCESS)
}

fn key(file: Option<&Path>) -> Result<[u8; 16], Failure> {
    let mut key = [0; 16];
    let Some(file) = file else {
        getrandom::fill(&mut key).context("drawing a key for pseudonyms")?;
        return Ok(key);
    };
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("reading the key {shown}"))
        .map_err(Failure::usage)?;
    let text = text.trim();
    let number = u128::from_str_radix(text, 16)
        .ok()
        .filter(|_| text.len() == 32 && text.is_ascii())
        .ok_or_else(|| Failure::usage(anyhow!("{shown} has not 32 hexadecimal digits")))?;
    Ok(number.to_be_bytes())
}

/// Writes what is told, in an order in which it can be done again: all paths that a plan's tree knows before the tree, and the tree before
/// the plan.
struct Writer {
    journal: Journal,
    scribe: Scribe,
    limit: u64,
    /// What was told and not written yet: paths, and trees of which is not known whether plans are made on them.
    waiting: VecDeque<Recorded>,
    /// Requests since the last tree that was written.
    requests: BTreeMap<IpNet, u64>,
    /// Trees that wait.
    trees: usize,
    plans: usize,
    /// Plans whose trees waited no longer.
    left_out: usize,
}

/// Nothing more can be written.
enum Stop {
    Full,
    Failed(anyhow::Error),
}

impl Writer {
    /// Writes in a thread of its own until everything was told; gives the number of plans, and of those left out.
    fn start(
        mut self,
        begin: Begin,
        recording: Recording,
    ) -> JoinHandle<anyhow::Result<(usize, usize)>> {
        std::thread::spawn(move || {
            let ended = self.write_all(begin, &recording);
            // Nobody listens from here on.
            let has_lost = recording.has_lost();
            drop(recording);
            let why = match ended {
                Ok(()) if has_lost => "more was told than could be written",
                Ok(()) => "the run ended",
                Err(Stop::Full) => "the file has the size that it may have",
                Err(Stop::Failed(error)) => {
                    tracing::error!(error = format!("{error:#}"), "the record ends");
                    return Err(error);
                }
            };
            tracing::info!(why, "the record ends");
            self.journal
                .append(&Entry::End(why.to_owned()), Keep::Disk)?;
            let _left_behind = std::fs::remove_file(self.journal.path().with_extension("lock"));
            Ok((self.plans, self.left_out))
        })
    }

    fn write_all(&mut self, begin: Begin, recording: &Recording) -> Result<(), Stop> {
        self.write(&Entry::Begin(begin))?;
        while let Ok(told) = recording.told.recv() {
            match told {
                Recorded::Plan(plan) => {
                    if !self.write_until(plan.basis.topology)? {
                        self.left_out += 1;
                        continue;
                    }
                    let entry = self.scribe.plan(plan.at, &plan.basis, &plan.plan);
                    self.write(&entry)?;
                    self.plans += 1;
                }
                Recorded::Tree(tree) => {
                    self.trees += 1;
                    self.waiting.push_back(Recorded::Tree(tree));
                    if self.trees > MOST_TREES {
                        self.give_up_oldest();
                    }
                }
                path => self.waiting.push_back(path),
            }
        }
        // What was asked since the last plan.
        let last = self.waiting.iter().rev().find_map(|waiting| match waiting {
            Recorded::Tree(tree) => Some(tree.snapshot.tree.generation()),
            _ => None,
        });
        match last {
            Some(last) => self.write_until(last).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Writes what was told until the tree of this number, and the tree; is it there? It may have been written before.
    fn write_until(&mut self, generation: Generation) -> Result<bool, Stop> {
        let number = |waiting: &Recorded| match waiting {
            Recorded::Tree(tree) => Some(tree.snapshot.tree.generation()),
            _ => None,
        };
        if !self
            .waiting
            .iter()
            .any(|waiting| number(waiting) == Some(generation))
        {
            return Ok(false);
        }
        while let Some(first) = self.waiting.pop_front() {
            match first {
                Recorded::Path(path) => self.write(&self.scribe.path(&path))?,
                Recorded::Forgotten(target) => self.write(&self.scribe.forgotten(target))?,
                Recorded::Tree(tree) => {
                    self.trees -= 1;
                    self.count(&tree);
                    if tree.snapshot.tree.generation() == generation {
                        let requests = std::mem::take(&mut self.requests);
                        let demand = &tree.snapshot.demand;
                        for entry in self.scribe.tree(tree.at, generation, demand, &requests) {
                            self.write(&entry)?;
                        }
                        return Ok(true);
                    }
                }
                Recorded::Plan(_) => {}
            }
        }
        Ok(true)
    }

    /// No plan will be made on the oldest tree any more; what was asked counts with the next.
    fn give_up_oldest(&mut self) {
        let oldest = self
            .waiting
            .iter()
            .position(|waiting| matches!(waiting, Recorded::Tree(_)));
        if let Some(Recorded::Tree(tree)) = oldest.and_then(|at| self.waiting.remove(at)) {
            self.trees -= 1;
            self.count(&tree);
        }
    }

    fn count(&mut self, tree: &RecordedTree) {
        for (prefix, requests) in &tree.requests {
            *self.requests.entry(*prefix).or_default() += requests;
        }
    }

    fn write(&mut self, entry: &Entry) -> Result<(), Stop> {
        let written = self.journal.append(entry, Keep::Process);
        written.map_err(|error| Stop::Failed(error.into()))?;
        if self.journal.octets() + RESERVE > self.limit {
            return Err(Stop::Full);
        }
        Ok(())
    }
}
