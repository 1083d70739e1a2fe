//! Who originates an address: the autonomous system (AS) that announces it, from tables.
//!
//! Two line formats, which may be mixed: `first,last,asn,"organisation"` (the columns of the npm package
//! `@ip-location-db/asn` and its like), and our own `prefix asn domain organisation…`, where the domain may be `-`. Own
//! lines come first where both cover an address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use edge_types::{DnsName, IpNet};

/// Most ranges kept. The whole routing table has about a million and a half.
const MAX_RANGES: usize = 4_000_000;
/// Longest line looked at, in octets.
const MAX_LINE_OCTETS: usize = 512;
/// Problems that are told one by one.
const PROBLEMS_TOLD: usize = 16;

/// Who originates an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Number of the autonomous system.
    pub asn: u32,
    /// Its organisation, in the table's words.
    pub organisation: String,
    /// Its domain, if the table tells.
    pub domain: Option<DnsName>,
}

/// Tells who originates addresses.
pub trait OriginTable: std::fmt::Debug + Send + Sync {
    /// The origin of `address`, if known.
    fn origin(&self, address: IpAddr) -> Option<&Origin>;
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
#[derive(Debug, Default)]
pub struct OriginRanges {
    /// First and last address, sorted and disjoint.
    ranges: Vec<(IpAddr, IpAddr, Arc<Origin>)>,
    own: BTreeMap<IpNet, Arc<Origin>>,
    /// The first lines that were not used.
    pub problems: Vec<LineProblem>,
    /// How many were not used in all.
    pub refused: usize,
}

impl OriginRanges {
    /// Reads a table. Lines that cannot be read, or overlap others, are counted and left out.
    pub fn read(text: &str) -> Self {
        let mut table = Self::default();
        let mut origins: BTreeMap<Origin, Arc<Origin>> = BTreeMap::new();
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
                Ok((block, origin)) => {
                    let shared = origins.entry(origin);
                    let origin = shared.or_insert_with_key(|origin| Arc::new(origin.clone()));
                    let origin = Arc::clone(origin);
                    match block {
                        Block::Range(first, last) => table.ranges.push((first, last, origin)),
                        Block::Prefix(prefix) => {
                            table.own.insert(prefix, origin);
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

    /// The origin of `address`, and the longest prefix around it that has this origin by the same line.
    pub fn find(&self, address: IpAddr) -> Option<(IpNet, &Origin)> {
        let address = address.to_canonical();
        let longest = if address.is_ipv4() { 32 } else { 128 };
        for length in (0..=longest).rev() {
            let prefix = IpNet::new(address, length).ok()?.trunc();
            if let Some(origin) = self.own.get(&prefix) {
                return Some((prefix, origin));
            }
        }
        let after = self
            .ranges
            .partition_point(|(first, _, _)| *first <= address);
        let (first, last, origin) = self.ranges.get(after.checked_sub(1)?)?;
        if address > *last {
            return None;
        }
        let prefix = (0..=longest)
            .filter_map(|length| Some(IpNet::new(address, length).ok()?.trunc()))
            .find(|prefix| prefix.network() >= *first && prefix.broadcast() <= *last)?;
        Some((prefix, origin))
    }

    fn refuse(&mut self, line: usize, problem: &'static str) {
        self.refused += 1;
        if self.problems.len() < PROBLEMS_TOLD {
            self.problems.push(LineProblem { line, problem });
        }
    }
}

impl OriginTable for OriginRanges {
    fn origin(&self, address: IpAddr) -> Option<&Origin> {
        self.find(address).map(|(_, origin)| origin)
    }
}

enum Block {
    Range(IpAddr, IpAddr),
    Prefix(IpNet),
}

fn read_line(text: &str) -> Result<(Block, Origin), &'static str> {
    let first_word = text.split(char::is_whitespace).next().unwrap_or_default();
    if let Ok(prefix) = first_word.parse::<IpNet>() {
        let mut words = text.split_whitespace().skip(1);
        let asn = asn(words.next().unwrap_or_default())?;
        let domain = match words.next() {
            None | Some("-") => None,
            Some(name) => Some(name.parse().map_err(|_| "the domain is no name")?),
        };
        let organisation = words.collect::<Vec<_>>().join(" ");
        let origin = Origin {
            asn,
            organisation,
            domain,
        };
        return Ok((Block::Prefix(prefix.trunc()), origin));
    }
    let mut fields = text.splitn(4, ',');
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
    let asn = asn(fields.next().unwrap_or_default())?;
    let organisation = fields.next().unwrap_or_default();
    let organisation = match organisation
        .strip_prefix('"')
        .and_then(|inner| inner.strip_suffix('"'))
    {
        Some(inner) => inner.replace("\"\"", "\""),
        None => organisation.to_owned(),
    };
    let origin = Origin {
        asn,
        organisation,
        domain: None,
    };
    Ok((Block::Range(first, last), origin))
}

fn asn(text: &str) -> Result<u32, &'static str> {
    let digits = text.strip_prefix("AS").unwrap_or(text);
    digits.parse().map_err(|_| "the AS is no number")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: &str = "\
# ours
240.1.2.0/24 AS64500 isp.example Example ISP
240.1.0.0/16,64999 broken
3fff::/32 64501 - Six
240.1.0.0,240.1.255.255,64502,\"Broad, \"\"Inc\"\".\"
240.1.128.0,240.2.0.0,64503,Overlapping
240.3.0.9,240.3.0.20,64504,Odd
240.4.0.0,240.3.0.0,1,Backwards
";

    fn asn_at(table: &OriginRanges, address: &str) -> Option<u32> {
        table
            .origin(address.parse().unwrap())
            .map(|found| found.asn)
    }

    #[test]
    fn own_lines_come_before_ranges() {
        let table = OriginRanges::read(TABLE);
        assert_eq!(asn_at(&table, "240.1.2.3"), Some(64500));
        assert_eq!(asn_at(&table, "::ffff:240.1.2.3"), Some(64500));
        assert_eq!(asn_at(&table, "240.1.3.3"), Some(64502));
        assert_eq!(asn_at(&table, "3fff::9"), Some(64501));
        assert_eq!(asn_at(&table, "240.9.0.1"), None);
        let (_, origin) = table.find("240.1.2.3".parse().unwrap()).unwrap();
        assert_eq!(origin.domain, Some("isp.example".parse().unwrap()));
        let (_, origin) = table.find("240.1.3.3".parse().unwrap()).unwrap();
        assert_eq!(origin.organisation, "Broad, \"Inc\".");
    }

    #[test]
    fn lines_that_cannot_be_used_are_counted_and_told() {
        let table = OriginRanges::read(TABLE);
        assert_eq!((table.len(), table.refused), (4, 3));
        let told: Vec<usize> = table.problems.iter().map(|problem| problem.line).collect();
        assert_eq!(told, [3, 8]);
    }

    #[test]
    fn the_prefix_stays_within_the_line() {
        let table = OriginRanges::read(TABLE);
        let prefix = |address: &str| table.find(address.parse().unwrap()).unwrap().0.to_string();
        assert_eq!(prefix("240.1.2.3"), "240.1.2.0/24");
        assert_eq!(prefix("240.1.3.3"), "240.1.0.0/16");
        assert_eq!(prefix("240.3.0.9"), "240.3.0.9/32");
        assert_eq!(prefix("240.3.0.14"), "240.3.0.12/30");
    }

    proptest! {
        #[test]
        fn any_text_is_survived_and_prefixes_hold_the_address(
            text in "([0-9a-f.:/]{0,20}[, ][0-9.:a-f]{0,15}[, ][0-9]{0,12}[, ]\\PC{0,10}\n){0,8}",
            address in any::<u32>(),
        ) {
            let table = OriginRanges::read(&text);
            let address = IpAddr::from(std::net::Ipv4Addr::from(address));
            if let Some((prefix, _)) = table.find(address) {
                prop_assert!(prefix.contains(&address));
            }
        }
    }
}
