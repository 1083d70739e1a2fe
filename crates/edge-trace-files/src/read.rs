//! Records one after the other, whatever the format.

use std::collections::VecDeque;

use crate::format::{Format, UnknownFormat};
use crate::limits::Limits;
use crate::problem::{Place, Problem, ReadLog, Reason};
use crate::record::PathRecord;

mod atlas;
mod json_lines;
mod map;
mod nmap;
mod rtrack;
mod scamper_json;
mod traceroute;
mod warts;

/// What a file holds next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all are paths")]
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
    source: Source<'a>,
    limits: Limits,
    outcome: Outcome,
    has_ended: bool,
}

#[derive(Debug)]
enum Source<'a> {
    JsonLines(json_lines::Records<'a>),
    ScamperJson(scamper_json::Records<'a>),
    Warts(warts::Records<'a>),
    Atlas(atlas::Records<'a>),
    Traceroute(traceroute::Records<'a>),
    Nmap(nmap::Records<'a>),
    Rtrack(rtrack::Records<'a>),
    Map(map::Records<'a>),
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
        let source = match format {
            Format::JsonLines => Source::JsonLines(json_lines::Records::new(bytes, limits)),
            Format::ScamperJson => Source::ScamperJson(scamper_json::Records::new(bytes, limits)),
            Format::Warts => Source::Warts(warts::Records::new(bytes)),
            Format::Atlas => Source::Atlas(atlas::Records::new(bytes, limits)),
            Format::Traceroute => Source::Traceroute(traceroute::Records::new(bytes)),
            Format::Nmap => Source::Nmap(nmap::Records::new(bytes)),
            Format::Rtrack => Source::Rtrack(rtrack::Records::new(bytes)),
            Format::Map => Source::Map(map::Records::new(bytes)),
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

    /// Reads on; false at the end.
    fn advance(&mut self) -> bool {
        let (limits, outcome) = (&self.limits, &mut self.outcome);
        match &mut self.source {
            Source::JsonLines(records) => records.advance(limits, outcome),
            Source::ScamperJson(records) => records.advance(limits, outcome),
            Source::Warts(records) => records.advance(limits, outcome),
            Source::Atlas(records) => records.advance(limits, outcome),
            Source::Traceroute(records) => records.advance(limits, outcome),
            Source::Nmap(records) => records.advance(limits, outcome),
            Source::Rtrack(records) => records.advance(limits, outcome),
            Source::Map(records) => records.advance(limits, outcome),
        }
    }

    fn place(&self) -> Place {
        match &self.source {
            Source::JsonLines(records) => records.place(),
            Source::ScamperJson(records) => records.place(),
            Source::Warts(records) => records.place(),
            Source::Atlas(records) => records.place(),
            Source::Traceroute(records) => records.place(),
            Source::Nmap(records) => records.place(),
            Source::Rtrack(records) => records.place(),
            Source::Map(records) => records.place(),
        }
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
            if self.outcome.records >= self.limits.records {
                self.has_ended = true;
                let limit = self.limits.records;
                let place = self.place();
                self.outcome.items.clear();
                if self.advance() && !self.outcome.items.is_empty() {
                    self.outcome.items.clear();
                    self.outcome
                        .problem(place, Reason::TooManyRecords { limit }, false);
                }
            } else if !self.advance() {
                self.has_ended = true;
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
