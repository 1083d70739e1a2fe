//! Records that are JSON objects.

use super::{Outcome, Read, Records};
use crate::frames::JsonFrames;
use crate::limits::Limits;
use crate::problem::{Place, Reason};

/// How one object is read.
pub(super) type ReadObject = fn(&[u8], &Limits) -> Read;

/// The objects of a file.
#[derive(Debug)]
pub(super) struct Objects<'a> {
    frames: JsonFrames<'a>,
    record: ReadObject,
    line: u64,
}

impl<'a> Objects<'a> {
    pub(super) fn new(bytes: &'a [u8], record: ReadObject, limits: &Limits) -> Self {
        let frames = JsonFrames::new(bytes, limits.record_bytes);
        Self {
            frames,
            record,
            line: 1,
        }
    }
}

impl Records for Objects<'_> {
    fn place(&self) -> Place {
        Place::Line(self.line)
    }

    fn advance(&mut self, limits: &Limits, outcome: &mut Outcome) -> bool {
        let Some((line, frame)) = self.frames.next() else {
            return false;
        };
        self.line = line;
        let read = frame.and_then(|bytes| {
            let limit = limits.record_bytes;
            if bytes.len() > limit {
                return Err(Reason::TooLarge { limit });
            }
            (self.record)(bytes, limits)
        });
        outcome.record(self.place(), read);
        true
    }
}
