//! Records one after the other, whatever the format.

use std::collections::VecDeque;
use std::fmt;

use crate::format::{Format, UnknownFormat};
use crate::limits::Limits;
use crate::problem::{Place, Problem, ReadLog, Reason};
use crate::record::PathRecord;

mod atlas;
mod json;
mod json_lines;
mod map;
mod nmap;
mod rtrack;
mod scamper_json;
mod traceroute;
mod warts;

/// What a file holds next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A path.
    Path(PathRecord),
    /// Something that could not be read, or a part of the path before it that was left out.
    Problem(Problem),
    /// A well-formed record that is not about a path.
    Skipped(Place),
}

/// Goes through a file record by record, without a copy of it.
#[derive(Debug)]
pub struct Reader<'a> {
    source: Box<dyn Records + 'a>,
    limits: Limits,
    outcome: Outcome,
    has_ended: bool,
}

/// The records of one format.
trait Records: fmt::Debug + Send {
    /// Where reading is.
    fn place(&self) -> Place;

    /// Reads on by a step, which need not be a whole record; false at the end.
    fn advance(&mut self, limits: &Limits, outcome: &mut Outcome) -> bool;
}

/// What the records so far brought and nobody took yet.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    items: VecDeque<Item>,
    records: u64,
}

impl Outcome {
    /// Takes what one record at `place` came to: a path and the parts left out of it, nothing about paths, or a problem.
    fn record(&mut self, place: Place, read: Result<Option<(PathRecord, Vec<Reason>)>, Reason>) {
        self.records += 1;
        match read {
            Ok(Some((record, left_out))) => {
                self.items.push_back(Item::Path(record));
                for reason in left_out {
                    self.problem(place, reason, true);
                }
            }
            Ok(None) => self.items.push_back(Item::Skipped(place)),
            Err(reason) => self.problem(place, reason, false),
        }
    }

    /// Something between records cannot be read.
    fn stray(&mut self, place: Place, reason: Reason) {
        self.records += 1;
        self.problem(place, reason, false);
    }

    fn problem(&mut self, place: Place, reason: Reason, kept: bool) {
        let record = self.records;
        self.items.push_back(Item::Problem(Problem {
            record,
            place,
            reason,
            kept,
        }));
    }
}

/// What a record of some format comes to: a path and what was left out of it, or nothing about a path.
pub(crate) type Read = Result<Option<(PathRecord, Vec<Reason>)>, Reason>;

impl<'a> Reader<'a> {
    /// A reader of a whole file's bytes.
    pub fn new(format: Format, bytes: &'a [u8], limits: &Limits) -> Self {
        let json = |record| Box::new(json::Objects::new(bytes, record, limits));
        let source: Box<dyn Records + 'a> = match format {
            Format::JsonLines => json(json_lines::record),
            Format::ScamperJson => json(scamper_json::record),
            Format::Atlas => json(atlas::record),
            Format::Warts => Box::new(warts::Objects::new(bytes)),
            Format::Traceroute => Box::new(traceroute::Traces::new(bytes)),
            Format::Nmap => Box::new(nmap::Hosts::new(bytes)),
            Format::Rtrack => Box::new(rtrack::Routes::new(bytes)),
            Format::Map => Box::new(map::Statements::new(bytes)),
        };
        Self {
            source,
            limits: *limits,
            outcome: Outcome::default(),
            has_ended: false,
        }
    }

    /// Records begun so far.
    pub const fn records(&self) -> u64 {
        self.outcome.records
    }
}

impl Iterator for Reader<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.outcome.items.pop_front() {
                return Some(item);
            }
            if self.has_ended {
                return None;
            }
            let is_full = self.outcome.records >= self.limits.records;
            let place = self.source.place();
            self.has_ended = !self.source.advance(&self.limits, &mut self.outcome);
            if is_full && !self.outcome.items.is_empty() {
                self.has_ended = true;
                self.outcome.items.clear();
                let limit = self.limits.records;
                self.outcome
                    .problem(place, Reason::TooManyRecords { limit }, false);
            }
        }
    }
}

/// All of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// What the file is.
    pub format: Format,
    /// Its paths, in its order. There may be several to one target.
    pub records: Vec<PathRecord>,
    /// What else came of it.
    pub log: ReadLog,
}

/// Reads all of a file; without a `format`, in the one that its first bytes show.
///
/// # Errors
/// [`UnknownFormat`] if they show none.
pub fn read(
    bytes: &[u8],
    format: Option<Format>,
    limits: &Limits,
) -> Result<Import, UnknownFormat> {
    let format = format
        .or_else(|| Format::detect(bytes))
        .ok_or(UnknownFormat)?;
    let mut reader = Reader::new(format, bytes, limits);
    let mut records = Vec::new();
    let mut log = ReadLog::default();
    for item in &mut reader {
        match item {
            Item::Path(record) => {
                log.paths += 1;
                records.push(record);
            }
            Item::Problem(problem) => log.problem(problem, limits.problems),
            Item::Skipped(_) => log.skipped += 1,
        }
    }
    log.records = reader.records();
    Ok(Import {
        format,
        records,
        log,
    })
}
