//! What could not be read, where, and why.

use std::collections::BTreeMap;
use std::fmt;

/// Something of a file that is not in the paths read from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Number of the record, from 1, records that were skipped or lost included.
    pub record: u64,
    /// Where it is.
    pub place: Place,
    /// Why.
    pub reason: Reason,
    /// True if the record's path was read all the same, without the part that this is about.
    pub kept: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            record,
            place,
            reason,
            kept,
        } = self;
        let kept = if *kept { " (left out)" } else { "" };
        write!(f, "{place}, record {record}: {reason}{kept}")
    }
}

/// A position in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a text, from 1.
    Line(u64),
    /// Bytes before it, in a binary file.
    Offset(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Offset(offset) => write!(f, "byte {offset}"),
        }
    }
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A record is larger than [`Limits::record_bytes`](crate::Limits::record_bytes).
    #[error("larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// There are more records than [`Limits::records`](crate::Limits::records); reading stopped here.
    #[error("more than {limit} records; the rest is not read")]
    TooManyRecords {
        /// The limit.
        limit: u64,
    },
    /// A trace has more replies than [`Limits::replies`](crate::Limits::replies).
    #[error("more than {limit} replies")]
    TooManyReplies {
        /// The limit.
        limit: usize,
    },
    /// A map has more links than [`Limits::links`](crate::Limits::links).
    #[error("more than {limit} links")]
    TooManyLinks {
        /// The limit.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotText,
    /// Not JSON, or not of the expected shape; in the words of the JSON parser.
    #[error("{0}")]
    Json(Excerpt),
    /// Not XML; in the words of the XML parser.
    #[error("{0}")]
    Xml(Excerpt),
    /// A document type with declarations of its own, such as entities. They are never expanded.
    #[error("declares entities or other document types")]
    Declarations,
    /// The record ends in the middle.
    #[error("ends in the middle")]
    Truncated,
    /// A length in a record disagrees with what is there.
    #[error("the length of {0} disagrees with its content")]
    Length(&'static str),
    /// No object begins where one should.
    #[error("no object begins here")]
    NoObject,
    /// A field is absent.
    #[error("{0} is absent")]
    Missing(&'static str),
    /// A field has a value that makes no sense.
    #[error("{field}: {value:?} makes no sense")]
    Value {
        /// Which field.
        field: &'static str,
        /// The value, cut short.
        value: Excerpt,
    },
    /// An address is given by a number that nothing before it defines.
    #[error("address number {0} is not defined")]
    AddressNumber(u32),
    /// A line that belongs to no record.
    #[error("belongs to no record")]
    Stray,
    /// The tool that wrote the file could not trace.
    #[error("holds no trace")]
    NoTrace,
    /// The links of a map lead nowhere from its root to this target.
    #[error("no way from the root to {0}")]
    NoWay(std::net::IpAddr),
    /// A round trip is negative or longer than [`Limits::round_trip`](crate::Limits::round_trip).
    #[error("a round trip at TTL {ttl} makes no sense")]
    RoundTrip {
        /// Where.
        ttl: u8,
    },
    /// A reply to a probe that does not tell a distance, such as the last one of RIPE Atlas after a gap.
    #[error("a reply tells no distance")]
    NoDistance,
}

impl Reason {
    /// A name for counting.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::TooManyRecords { .. } => "too-many-records",
            Self::TooManyReplies { .. } => "too-many-replies",
            Self::TooManyLinks { .. } => "too-many-links",
            Self::NotText => "not-text",
            Self::Json(_) => "json",
            Self::Xml(_) => "xml",
            Self::Declarations => "declarations",
            Self::Truncated => "truncated",
            Self::Length(_) => "length",
            Self::NoObject => "no-object",
            Self::Missing(_) => "missing",
            Self::Value { .. } => "value",
            Self::AddressNumber(_) => "address-number",
            Self::Stray => "stray",
            Self::NoTrace => "no-trace",
            Self::NoWay(_) => "no-way",
            Self::RoundTrip { .. } => "round-trip",
            Self::NoDistance => "no-distance",
        }
    }

    pub(crate) fn value(field: &'static str, value: impl fmt::Display) -> Self {
        let value = Excerpt::of(&value.to_string());
        Self::Value { field, value }
    }

    pub(crate) fn json(error: &serde_json::Error) -> Self {
        Self::Json(Excerpt::of(&error.to_string()))
    }
}

/// At most 80 characters of what a file says, for showing: none of them controls a terminal.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    const LENGTH: usize = 80;

    pub(crate) fn of(text: &str) -> Self {
        let shown = |char: char| if char.is_control() { '\u{fffd}' } else { char };
        let mut taken: String = text.chars().take(Self::LENGTH).map(shown).collect();
        if text.chars().nth(Self::LENGTH).is_some() {
            taken.push('…');
        }
        Self(taken)
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// What came of reading a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadLog {
    /// Records of any kind: paths, skipped and lost ones.
    pub records: u64,
    /// Paths read.
    pub paths: u64,
    /// Well-formed records that are not about a path: other measurements, hosts that were not traced.
    pub skipped: u64,
    /// Records, or pieces of the file between records, that could not be read.
    pub lost: u64,
    /// Parts left out of paths that were read.
    pub left_out: u64,
    /// Problems by [`Reason::label`].
    pub by_reason: BTreeMap<&'static str, u64>,
    /// The first problems, at most [`Limits::problems`](crate::Limits::problems).
    pub first: Vec<Problem>,
}

impl ReadLog {
    /// Adds what another file brought; of its listed problems as many as fit `limit`.
    pub fn add(&mut self, other: &Self, limit: usize) {
        self.records += other.records;
        self.paths += other.paths;
        self.skipped += other.skipped;
        self.lost += other.lost;
        self.left_out += other.left_out;
        for (label, count) in &other.by_reason {
            *self.by_reason.entry(label).or_default() += count;
        }
        let room = limit.saturating_sub(self.first.len());
        self.first.extend(other.first.iter().take(room).cloned());
    }

    pub(crate) fn problem(&mut self, problem: Problem, limit: usize) {
        if problem.kept {
            self.left_out += 1;
        } else {
            self.lost += 1;
        }
        *self.by_reason.entry(problem.reason.label()).or_default() += 1;
        if self.first.len() < limit {
            self.first.push(problem);
        }
    }
}
