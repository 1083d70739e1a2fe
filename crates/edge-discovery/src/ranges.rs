//! What is known of blocks of addresses, from tables: lines `first,last,…` as of the npm packages `@ip-location-db/*`, or
//! our own `prefix …`, which may be mixed. Own lines come first where both cover an address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use edge_types::IpNet;

/// Most ranges kept. The whole routing table has about a million and a half.
const MAX_RANGES: usize = 4_000_000;
/// Longest line looked at, in octets.
const MAX_LINE_OCTETS: usize = 512;
/// Problems that are told one by one.
const PROBLEMS_TOLD: usize = 16;

/// What a table tells of a block of addresses.
pub trait RangeValue: Ord + Clone {
    /// Of what follows the two addresses and their commas.
    ///
    /// # Errors
    /// What is wrong with it.
    fn of_range(rest: &str) -> Result<Self, &'static str>;

    /// Of the words that follow a prefix.
    ///
    /// # Errors
    /// What is wrong with them.
    fn of_prefix(words: &[&str]) -> Result<Self, &'static str>;
}

/// A line of a table was not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct LineProblem {
    /// Its number, from 1.
    pub line: usize,
    /// Why.
    pub problem: &'static str,
}

/// A table in memory.
#[derive(Debug)]
pub struct Ranges<T> {
    /// First and last address, sorted and disjoint.
    ranges: Vec<(IpAddr, IpAddr, Arc<T>)>,
    own: BTreeMap<IpNet, Arc<T>>,
    /// The first lines that were not used.
    pub problems: Vec<LineProblem>,
    /// How many were not used in all.
    pub refused: usize,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self {
            ranges: Vec::new(),
            own: BTreeMap::new(),
            problems: Vec::new(),
            refused: 0,
        }
    }
}

impl<T: RangeValue> Ranges<T> {
    /// Reads a table. Lines that cannot be read, or overlap others, are counted and left out.
    pub fn read(text: &str) -> Self {
        let mut table = Self::default();
        let mut values: BTreeMap<T, Arc<T>> = BTreeMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let is_full = table.ranges.len() + table.own.len() >= MAX_RANGES;
            let read = match text.len() {
                _ if is_full => Err("over the limit of lines"),
                length if length > MAX_LINE_OCTETS => Err("too long"),
                _ => read_line(text),
            };
            match read {
                Ok((block, value)) => {
                    let shared = values.entry(value);
                    let value = shared.or_insert_with_key(|value| Arc::new(value.clone()));
                    let value = Arc::clone(value);
                    match block {
                        Block::Range(first, last) => table.ranges.push((first, last, value)),
                        Block::Prefix(prefix) => {
                            table.own.insert(prefix, value);
                        }
                    }
                }
                Err(problem) => table.refuse(line, problem),
            }
        }
        table.ranges.sort_by_key(|(first, last, _)| (*first, *last));
        let before = table.ranges.len();
        let mut end = None;
        table.ranges.retain(|(first, last, _)| {
            let is_disjoint = end.is_none_or(|end| end < *first);
            if is_disjoint {
                end = Some(*last);
            }
            is_disjoint
        });
        table.refused += before - table.ranges.len();
        table
    }

    /// Number of ranges and prefixes known.
    pub fn len(&self) -> usize {
        self.ranges.len() + self.own.len()
    }

    /// Is nothing known?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is known of `address`, and the longest prefix around it of which the same line tells it.
    pub fn find(&self, address: IpAddr) -> Option<(IpNet, &T)> {
        let address = address.to_canonical();
        let longest = if address.is_ipv4() { 32 } else { 128 };
        for length in (0..=longest).rev() {
            let prefix = IpNet::new(address, length).ok()?.trunc();
            if let Some(value) = self.own.get(&prefix) {
                return Some((prefix, value));
            }
        }
        let after = self
            .ranges
            .partition_point(|(first, _, _)| *first <= address);
        let (first, last, value) = self.ranges.get(after.checked_sub(1)?)?;
        if address > *last {
            return None;
        }
        let prefix = (0..=longest)
            .filter_map(|length| Some(IpNet::new(address, length).ok()?.trunc()))
            .find(|prefix| prefix.network() >= *first && prefix.broadcast() <= *last)?;
        Some((prefix, value))
    }

    fn refuse(&mut self, line: usize, problem: &'static str) {
        self.refused += 1;
        if self.problems.len() < PROBLEMS_TOLD {
            self.problems.push(LineProblem { line, problem });
        }
    }
}

enum Block {
    Range(IpAddr, IpAddr),
    Prefix(IpNet),
}

fn read_line<T: RangeValue>(text: &str) -> Result<(Block, T), &'static str> {
    let mut words = text.split_whitespace();
    if let Some(Ok(prefix)) = words.next().map(str::parse::<IpNet>) {
        let words: Vec<&str> = words.collect();
        return Ok((Block::Prefix(prefix.trunc()), T::of_prefix(&words)?));
    }
    let mut fields = text.splitn(3, ',');
    let mut address = || -> Result<IpAddr, &'static str> {
        let field = fields.next().unwrap_or_default();
        field
            .parse()
            .map_err(|_| "neither a prefix nor two addresses")
    };
    let (first, last) = (address()?, address()?);
    if first.is_ipv4() != last.is_ipv4() || first > last {
        return Err("the range ends before it begins");
    }
    let value = T::of_range(fields.next().unwrap_or_default())?;
    Ok((Block::Range(first, last), value))
}
