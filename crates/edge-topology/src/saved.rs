//! Stores as text: a snapshot of what is known, and a log of what was observed.
//!
//! Both are lines of JSON, the first of which says what follows and in which version. A snapshot holds the paths and samples of a
//! store, so that loading takes no longer than reading; its last line says how many there were, since a file may be cut
//! short. A log holds the observations themselves; replaying it gives the store that took them live, equal in every view.
//!
//! Files are not trusted: lines are of bounded length, everything is checked on the way in, and nothing is allocated by a number in
//! the file. Times are those of the clock that observed. It goes on after a restart, or later observations pass for
//! older ones: see [`Observations::newest`].

mod log;
mod snapshot;

use std::time::Duration;

use edge_types::{MonotonicTime, Rtt};
use serde::{Deserialize, Serialize};

pub use log::{LogEntry, Replay};

use crate::observations::InsertError;

/// Longest line, in octets. A path of 255 hops with a thousand further replies is within it.
const LONGEST_LINE: usize = 1 << 18;

/// Why a snapshot or log was not read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It does not begin with the line that says what it is.
    #[error("no {expected} of version {version}")]
    Header {
        /// What was expected.
        expected: &'static str,
        /// In which version.
        version: u32,
    },
    /// A line is longer than any that was written.
    #[error("line {line} has more than {limit} octets")]
    TooLong {
        /// Its number, from 1.
        line: usize,
        /// The limit.
        limit: usize,
    },
    /// A line is not JSON of the kind expected, or not UTF-8.
    #[error("malformed line {line}")]
    Malformed {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        cause: serde_json::Error,
    },
    /// A line is well formed, but nothing that was written says this.
    #[error("line {line} is not sound: {reason}")]
    Unsound {
        /// Its number, from 1.
        line: usize,
        /// What does not fit.
        reason: &'static str,
    },
    /// The limits of the store that reads are narrower than those of the one that wrote.
    #[error("line {line} is not taken")]
    Refused {
        /// Its number, from 1.
        line: usize,
        /// Why.
        #[source]
        cause: InsertError,
    },
    /// The end is missing.
    #[error("it ends after line {line}, before the end")]
    CutShort {
        /// Number of the last line.
        line: usize,
    },
}

/// The first line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
}

impl Header {
    fn line(format: &str, version: u32) -> String {
        to_line(&Self {
            format: format.to_owned(),
            version,
        })
    }
}

/// Lines with their numbers, the header checked and left out.
fn lines_of<'a>(
    text: &'a [u8],
    format: &'static str,
    version: u32,
) -> Result<impl Iterator<Item = (usize, &'a [u8])>, ReadError> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut lines = (1..).zip(text.split(|octet| *octet == b'\n'));
    let header = lines.next().map(|(line, text)| parse::<Header>(line, text));
    match header {
        Some(Ok(header)) if header.format == format && header.version == version => Ok(lines),
        _ => Err(ReadError::Header {
            expected: format,
            version,
        }),
    }
}

fn parse<'a, T: Deserialize<'a>>(line: usize, text: &'a [u8]) -> Result<T, ReadError> {
    if text.len() > LONGEST_LINE {
        return Err(ReadError::TooLong {
            line,
            limit: LONGEST_LINE,
        });
    }
    serde_json::from_slice(text).map_err(|cause| ReadError::Malformed { line, cause })
}

fn to_line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("all keys are strings, and nothing fails to serialize")
}

/// Nanoseconds; later than 584 years is as late as that.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

const fn time(nanoseconds: u64) -> MonotonicTime {
    MonotonicTime(Duration::from_nanos(nanoseconds))
}

const fn rtt(nanoseconds: u64) -> Rtt {
    Rtt(Duration::from_nanos(nanoseconds))
}
