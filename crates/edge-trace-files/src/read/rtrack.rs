//! Reads routes of the tool `rtrack`.
//!
//! A record is `Target: ADDRESS`, perhaps with the number of an opinion where the target was traced again; then
//! `TTL: N`, the target's distance, or `Unreachable`; then one line for each hop, `N - ADDRESS` or `N - Anonymous`, perhaps with a
//! label. `#` stands between records. There are no round trips.

use std::iter::Peekable;

use super::{Outcome, Read, Records};
use crate::assemble::{Answer, Assembly, Told};
use crate::frames::Lines;
use crate::limits::Limits;
use crate::problem::{Place, Reason};
use crate::record::{PathRecord, TraceDetails};

const HEADER: &str = "Target: ";

#[derive(Debug)]
pub(super) struct Routes<'a> {
    lines: Peekable<Lines<'a>>,
    line: u64,
}

impl<'a> Routes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let lines = Lines::new(bytes).peekable();
        Self { lines, line: 1 }
    }
}

impl Records for Routes<'_> {
    fn place(&self) -> Place {
        Place::Line(self.line)
    }

    fn advance(&mut self, limits: &Limits, outcome: &mut Outcome) -> bool {
        let Some((number, line)) = self.lines.next() else {
            return false;
        };
        self.line = number;
        if !line.starts_with(HEADER.as_bytes()) {
            if !matches!(line.trim_ascii(), b"" | b"#") {
                outcome.stray(Place::Line(number), Reason::Stray);
            }
            return true;
        }
        let mut route = text(line, limits).and_then(|text| begin(text, limits));
        let mut bytes = line.len();
        let belongs = |line: &[u8]| !line.starts_with(b"#") && !line.starts_with(HEADER.as_bytes());
        while let Some((number, line)) = self.lines.next_if(|(_, line)| belongs(line)) {
            bytes += line.len();
            let Ok(assembly) = &mut route else { continue };
            let result = if bytes > limits.record_bytes {
                Err(Reason::TooLarge {
                    limit: limits.record_bytes,
                })
            } else {
                text(line, limits).and_then(|text| take(text.trim(), assembly))
            };
            if let Err(reason) = result {
                self.line = number;
                route = Err(reason);
            }
        }
        let read = route.map(|assembly| {
            let (path, left_out) = assembly.finish(Told::Nothing);
            let details = TraceDetails::default();
            Some((PathRecord { path, details }, left_out))
        });
        outcome.record(Place::Line(self.line), read as Read);
        true
    }
}

fn text<'a>(line: &'a [u8], limits: &Limits) -> Result<&'a str, Reason> {
    if line.len() > limits.record_bytes {
        let limit = limits.record_bytes;
        return Err(Reason::TooLarge { limit });
    }
    std::str::from_utf8(line).map_err(|_| Reason::NotText)
}

fn begin<'a>(header: &str, limits: &'a Limits) -> Result<Assembly<'a>, Reason> {
    let target = header[HEADER.len()..].split_whitespace().next();
    let target = target.ok_or(Reason::Missing("target address"))?;
    let target = target
        .parse()
        .map_err(|_| Reason::value("target", target))?;
    Ok(Assembly::new(target, limits))
}

fn take(text: &str, assembly: &mut Assembly<'_>) -> Result<(), Reason> {
    if text.is_empty() || text == "Unreachable" {
        return Ok(());
    }
    if let Some(distance) = text.strip_prefix("TTL: ") {
        let ttl = distance
            .parse()
            .map_err(|_| Reason::value("TTL", distance))?;
        let ttl = assembly.ttl(ttl)?;
        return assembly.reply(ttl, Answer::new(assembly.target(), None));
    }
    let (ttl, hop) = text
        .split_once(" - ")
        .ok_or_else(|| Reason::value("hop", text))?;
    let ttl = ttl.parse().map_err(|_| Reason::value("ttl", ttl))?;
    let ttl = assembly.ttl(ttl)?;
    let (hop, label) = hop.split_once(' ').unwrap_or((hop, ""));
    if hop == "Anonymous" {
        return Ok(());
    }
    let address = hop.parse().map_err(|_| Reason::value("hop", hop))?;
    // Repaired and predicted hops were silent here and are known from other routes; the other labels tell of an address that did
    // answer, but late, or more than once in the route.
    let shared = label.starts_with("[Repaired") || label.starts_with("[Predicted");
    assembly.reply(
        ttl,
        Answer {
            shared,
            ..Answer::new(address, None)
        },
    )
}
