//! An append-only log of what was observed and forgotten.

use std::net::IpAddr;

use edge_types::{Hop, HopReply, PathEnd, PathObservation};
use serde::{Deserialize, Serialize};

use crate::observations::{Limits, Observations};
use crate::saved::{Header, ReadError, lines_of, nanoseconds, parse, rtt, time, to_line};

const FORMAT: &str = "edge-topology log";
const VERSION: u32 = 1;

/// Something that happened to a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Line", into = "Line")]
pub enum LogEntry {
    /// [`Observations::insert`], whether it was taken or not.
    Insert(PathObservation),
    /// [`Observations::remove`].
    Remove(IpAddr),
}

/// What a log gave.
#[derive(Debug)]
pub struct Replay {
    /// The store after all entries that could be read.
    pub observations: Observations,
    /// Number of these.
    pub entries: usize,
    /// How many of them the store refused, as it did when they were new.
    pub refused: usize,
    /// Why reading stopped before the end, if it did. The last line of a log whose writer died may be cut short.
    pub problem: Option<ReadError>,
}

impl LogEntry {
    /// The first line of a log.
    pub fn header() -> String {
        Header::line(FORMAT, VERSION)
    }

    /// The line of this entry, without the line break.
    pub fn to_line(&self) -> String {
        to_line(&Line::from(self.clone()))
    }

    /// The entries of a log, in order. What comes after the first that cannot be read depends on it, and is left out.
    pub fn read(text: &[u8]) -> Result<impl Iterator<Item = Result<Self, ReadError>>, ReadError> {
        let lines = lines_of(text, FORMAT, VERSION)?;
        let mut failed = false;
        Ok(lines.map_while(move |(line, text)| {
            if failed {
                return None;
            }
            let entry = parse::<Self>(line, text);
            failed = entry.is_err();
            Some(entry)
        }))
    }
}

impl Observations {
    /// Does again what a log says happened to a store with these limits.
    pub fn replay(text: &[u8], limits: Limits) -> Replay {
        let mut replay = Replay {
            observations: Self::new(limits),
            entries: 0,
            refused: 0,
            problem: None,
        };
        let entries = match LogEntry::read(text) {
            Ok(entries) => entries,
            Err(problem) => {
                replay.problem = Some(problem);
                return replay;
            }
        };
        for entry in entries {
            match entry {
                Ok(LogEntry::Insert(path)) => {
                    replay.refused += usize::from(replay.observations.insert(&path).is_err());
                }
                Ok(LogEntry::Remove(target)) => replay.observations.remove(target),
                Err(problem) => {
                    replay.problem = Some(problem);
                    return replay;
                }
            }
            replay.entries += 1;
        }
        replay
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Insert(PathLine),
    Remove(IpAddr),
}

impl From<LogEntry> for Line {
    fn from(entry: LogEntry) -> Self {
        match entry {
            LogEntry::Insert(path) => Self::Insert(PathLine::from(&path)),
            LogEntry::Remove(target) => Self::Remove(target),
        }
    }
}

impl From<Line> for LogEntry {
    fn from(line: Line) -> Self {
        match line {
            Line::Insert(path) => Self::Insert(path.into()),
            Line::Remove(target) => Self::Remove(target),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathLine {
    target: IpAddr,
    at_ns: u64,
    end: EndLine,
    probes: u32,
    hops: Vec<Option<ReplyLine>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    further: Vec<(u8, ReplyLine)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplyLine {
    address: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rtt_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_ttl: Option<u8>,
    #[serde(default, skip_serializing_if = "is_false")]
    shared: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    in_tunnel: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks with a reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EndLine {
    Reached,
    Unreachable(u8),
    Silent,
    MaxTtl,
    TimedOut,
}

impl From<&PathObservation> for PathLine {
    fn from(path: &PathObservation) -> Self {
        let hop = |hop: &Hop| match hop {
            Hop::Reply(reply) => Some(ReplyLine::from(reply)),
            Hop::NoReply => None,
        };
        let further = path.further.iter();
        Self {
            target: path.target,
            at_ns: nanoseconds(path.observed_at.0),
            end: match path.end {
                PathEnd::Reached => EndLine::Reached,
                PathEnd::Unreachable(code) => EndLine::Unreachable(code),
                PathEnd::Silent => EndLine::Silent,
                PathEnd::MaxTtl => EndLine::MaxTtl,
                PathEnd::TimedOut => EndLine::TimedOut,
            },
            probes: path.probes_sent,
            hops: path.hops.iter().map(hop).collect(),
            further: further.map(|(ttl, reply)| (*ttl, reply.into())).collect(),
        }
    }
}

impl From<PathLine> for PathObservation {
    fn from(line: PathLine) -> Self {
        let hop =
            |hop: Option<ReplyLine>| hop.map_or(Hop::NoReply, |reply| Hop::Reply(reply.into()));
        let further = line.further.into_iter();
        Self {
            target: line.target,
            observed_at: time(line.at_ns),
            hops: line.hops.into_iter().map(hop).collect(),
            further: further.map(|(ttl, reply)| (ttl, reply.into())).collect(),
            end: match line.end {
                EndLine::Reached => PathEnd::Reached,
                EndLine::Unreachable(code) => PathEnd::Unreachable(code),
                EndLine::Silent => PathEnd::Silent,
                EndLine::MaxTtl => PathEnd::MaxTtl,
                EndLine::TimedOut => PathEnd::TimedOut,
            },
            probes_sent: line.probes,
        }
    }
}

impl From<&HopReply> for ReplyLine {
    fn from(reply: &HopReply) -> Self {
        Self {
            address: reply.address,
            rtt_ns: reply.rtt.map(|rtt| nanoseconds(rtt.0)),
            reply_ttl: reply.reply_ttl,
            shared: reply.shared,
            in_tunnel: reply.in_tunnel,
        }
    }
}

impl From<ReplyLine> for HopReply {
    fn from(line: ReplyLine) -> Self {
        Self {
            address: line.address,
            rtt: line.rtt_ns.map(rtt),
            shared: line.shared,
            in_tunnel: line.in_tunnel,
            reply_ttl: line.reply_ttl,
        }
    }
}
