//! Path observations from and to the files of other tools, and our own JSON lines.
//!
//! Traceroute "can be either completely replaced or augmented" (paper section 2.2): whoever has traces from elsewhere
//! gets [`PathObservation`](edge_types::PathObservation)s from them here. Bytes go in, values come out; opening files, inflating them and
//! asking for what they lack is for others. Which formats there are is told by [`Format`].
//!
//! - [`Reader`] goes through a file record by record; [`read`] takes all of it. What cannot be read is an
//!   [`Item::Problem`] with the number of its record, its line or offset and the reason: counted, never fatal, never
//!   silently dropped. A record of which a part cannot stand is kept without it, and the part is told.
//! - [`write_json_line`] and [`write_scamper_json`] write.
//!
//! Files are hostile. Their records are bounded by [`Limits`], nothing is allocated by a length that a file
//! claims, and no input makes a reader panic.
//!
//! # Time
//! Files tell wall-clock time, observations have monotonic time, and there is no conversion between the two. So
//! a reader leaves [`observed_at`](edge_types::PathObservation::observed_at) at [`MonotonicTime::ZERO`](edge_types::MonotonicTime::ZERO) and
//! gives what the file says beside the path ([`TraceDetails`]). Who replays files on a clock of their own
//! uses [`PathRecord::since`].
//!
//! ```
//! use edge_trace_files::{Format, Limits, read};
//! use edge_types::PathEnd;
//!
//! let text = b"traceroute to 240.0.2.1 (240.0.2.1), 30 hops max, 60 byte packets\n\
//!               1  240.0.0.1  0.5 ms  0.4 ms *\n\
//!               2  240.0.2.1  7.1 ms  7.0 ms  7.2 ms\n";
//! let import = read(text, None, &Limits::default())?;
//! assert_eq!(import.format, Format::Traceroute);
//! assert_eq!(import.records[0].path.end, PathEnd::Reached);
//! assert_eq!(import.log.lost, 0);
//! # Ok::<(), edge_trace_files::UnknownFormat>(())
//! ```

mod assemble;
mod format;
mod frames;
mod limits;
mod problem;
mod read;
mod record;
mod write;

#[doc(hidden)]
pub mod fuzzing;

pub use format::{Format, UnknownFormat};
pub use limits::Limits;
pub use problem::{Place, Problem, ReadLog, Reason};
pub use read::{Import, Item, Reader, read};
pub use record::{Method, PathRecord, TraceDetails, UnknownMethod};
pub use write::{write_json_line, write_scamper_json};
