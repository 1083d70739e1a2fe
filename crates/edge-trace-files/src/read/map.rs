//! Reads topology maps made in advance; see [`Format::Map`](crate::Format::Map) for the statements.
//!
//! Paths over links begin at the root and are the shortest, as shortest paths are what routing protocols aim at. Delays are
//! those of the map, there and back the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::{Outcome, Read, Records};
use crate::assemble::{Answer, Assembly, Told};
use crate::frames::Lines;
use crate::limits::Limits;
use crate::problem::{Place, Reason};
use crate::record::{PathRecord, TraceDetails};

#[derive(Debug)]
pub(super) struct Statements<'a> {
    lines: Lines<'a>,
    line: u64,
    map: Links,
    /// Targets still to come, once all lines are read, and the line that asks for each.
    wanted: Option<std::collections::btree_map::IntoIter<IpAddr, u64>>,
}

/// The links by their ends; in nanoseconds, if told.
#[derive(Debug, Default)]
struct Links {
    root: Option<IpAddr>,
    neighbours: BTreeMap<IpAddr, BTreeMap<IpAddr, Option<u64>>>,
    count: usize,
    targets: BTreeMap<IpAddr, u64>,
    /// From each address the one before it on the way from the root.
    towards_root: BTreeMap<IpAddr, IpAddr>,
}

impl<'a> Statements<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            lines: Lines::new(bytes),
            line: 1,
            map: Links::default(),
            wanted: None,
        }
    }

    fn statement(&mut self, line: &[u8], limits: &Limits) -> Read {
        if line.len() > limits.record_bytes {
            let limit = limits.record_bytes;
            return Err(Reason::TooLarge { limit });
        }
        let text = std::str::from_utf8(line).map_err(|_| Reason::NotText)?;
        let text = text.split_once('#').map_or(text, |(text, _)| text);
        let mut words = text.split_whitespace();
        let Some(keyword) = words.next() else {
            return Ok(None);
        };
        match keyword {
            "exec-map" => match words.next() {
                Some("1") => {}
                other => return Err(Reason::value("version", other.unwrap_or(""))),
            },
            "root" => self.map.root = Some(address(words.next())?),
            "target" => {
                self.map.targets.insert(address(words.next())?, self.line);
            }
            "link" => {
                let (one, other) = (address(words.next())?, address(words.next())?);
                let delay = words.next().map(|ms| delay(ms, limits)).transpose()?;
                self.map.link(one, other, delay, limits)?;
            }
            "path" => return path(address(words.next())?, words, limits).map(Some),
            other => return Err(Reason::value("statement", other)),
        }
        match words.next() {
            Some(more) => Err(Reason::value("statement", more)),
            None => Ok(None),
        }
    }
}

impl Records for Statements<'_> {
    fn place(&self) -> Place {
        Place::Line(self.line)
    }

    fn advance(&mut self, limits: &Limits, outcome: &mut Outcome) -> bool {
        if let Some(wanted) = &mut self.wanted {
            let Some((target, line)) = wanted.next() else {
                return false;
            };
            outcome.record(Place::Line(line), self.map.path(target, limits));
            return true;
        }
        let Some((number, line)) = self.lines.next() else {
            if self.map.count > 0 && self.map.root.is_none() {
                outcome.stray(self.place(), Reason::Missing("root"));
            }
            self.wanted = Some(self.map.solve().into_iter());
            return true;
        };
        self.line = number;
        let place = self.place();
        match self.statement(line, limits) {
            Ok(None) => {}
            Ok(Some(read)) => outcome.record(place, Ok(Some(read))),
            Err(reason) => outcome.stray(place, reason),
        }
        true
    }
}

fn address(word: Option<&str>) -> Result<IpAddr, Reason> {
    let word = word.ok_or(Reason::Missing("address"))?;
    word.parse().map_err(|_| Reason::value("address", word))
}

fn delay(ms: &str, limits: &Limits) -> Result<u64, Reason> {
    let wrong = || Reason::value("delay", ms);
    let delay: f64 = ms.parse().map_err(|_| wrong())?;
    let delay = crate::assemble::round_trip(delay * 1e6, limits).ok_or_else(wrong)?;
    u64::try_from(delay.0.as_nanos()).map_err(|_| wrong())
}

fn path<'t>(
    target: IpAddr,
    hops: impl Iterator<Item = &'t str>,
    limits: &Limits,
) -> Result<(PathRecord, Vec<Reason>), Reason> {
    let mut assembly = Assembly::new(target, limits);
    for (ttl, hop) in (1..).zip(hops) {
        let ttl = assembly.ttl(ttl)?;
        if hop == "*" {
            continue;
        }
        let (hop, rtt) = match hop.split_once('=') {
            Some((hop, ms)) => (
                hop,
                Some(ms.parse().map_err(|_| Reason::value("round trip", ms))?),
            ),
            None => (hop, None),
        };
        assembly.reply(ttl, Answer::new(address(Some(hop))?, rtt))?;
    }
    Ok(finished(assembly))
}

fn finished(assembly: Assembly<'_>) -> (PathRecord, Vec<Reason>) {
    let (path, left_out) = assembly.finish(Told::Nothing);
    let details = TraceDetails::default();
    (PathRecord { path, details }, left_out)
}

impl Links {
    fn link(
        &mut self,
        one: IpAddr,
        other: IpAddr,
        delay: Option<u64>,
        limits: &Limits,
    ) -> Result<(), Reason> {
        if one == other {
            return Err(Reason::value("link", other));
        }
        if self.count >= limits.links {
            let limit = limits.links;
            return Err(Reason::TooManyLinks { limit });
        }
        self.count += 1;
        for (from, to) in [(one, other), (other, one)] {
            let known = self
                .neighbours
                .entry(from)
                .or_default()
                .entry(to)
                .or_insert(delay);
            // Of links side by side the fastest counts.
            if delay.is_some_and(|delay| known.is_none_or(|known| delay < known)) {
                *known = delay;
            }
        }
        Ok(())
    }

    /// Finds the way to every address, and returns the targets.
    fn solve(&mut self) -> BTreeMap<IpAddr, u64> {
        let Some(root) = self.root else {
            return BTreeMap::new();
        };
        let has_delays = self
            .neighbours
            .values()
            .flat_map(BTreeMap::values)
            .all(Option::is_some);
        let mut open = BTreeSet::from([(0_u64, root, root)]);
        let mut done = BTreeSet::new();
        while let Some((cost, at, before)) = open.pop_first() {
            if !done.insert(at) {
                continue;
            }
            if at != root {
                self.towards_root.insert(at, before);
            }
            for (next, delay) in self.neighbours.get(&at).into_iter().flatten() {
                if !done.contains(next) {
                    let step = if has_delays { delay.unwrap_or(0) } else { 1 };
                    open.insert((cost.saturating_add(step), *next, at));
                }
            }
        }
        if !self.targets.is_empty() {
            return std::mem::take(&mut self.targets);
        }
        let leaves = self.neighbours.iter().filter(|(address, neighbours)| {
            neighbours.len() == 1 && **address != root && done.contains(*address)
        });
        leaves.map(|(address, _)| (*address, 1)).collect()
    }

    /// The way to `target`.
    fn path(&self, target: IpAddr, limits: &Limits) -> Read {
        let mut way = vec![target];
        let mut at = target;
        while let Some(before) = self.towards_root.get(&at) {
            if Some(*before) == self.root {
                break;
            }
            way.push(*before);
            at = *before;
        }
        if !self.towards_root.contains_key(&at) {
            return Err(Reason::NoWay(target));
        }
        let mut assembly = Assembly::new(target, limits);
        let mut one_way = self.root.map(|root| (root, Some(Duration::ZERO)));
        for (ttl, hop) in (1..).zip(way.into_iter().rev()) {
            let Some((before, so_far)) = one_way else {
                break;
            };
            let delay = self
                .neighbours
                .get(&before)
                .and_then(|ends| ends.get(&hop))
                .copied();
            let so_far =
                so_far.and_then(|so_far| Some(so_far + Duration::from_nanos(delay.flatten()?)));
            one_way = Some((hop, so_far));
            let ttl = assembly.ttl(ttl)?;
            let rtt = so_far.map(|so_far| 2e3 * so_far.as_secs_f64());
            assembly.reply(ttl, Answer::new(hop, rtt))?;
        }
        Ok(Some(finished(assembly)))
    }
}
