//! Which autonomous system announces an address, for budgets per system (security rule 2).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::IpAddr;

use edge_types::IpNet;

/// Most prefixes of a table; the whole Internet announces about 1.3 million.
const MOST_PREFIXES: usize = 3_000_000;

/// Knows who announces what.
pub trait OriginAs: Debug + Send + Sync {
    /// The number of the autonomous system that `address` belongs to, if that is known.
    fn origin_as(&self, address: IpAddr) -> Option<u32>;
}

/// Origins by prefix, of which the longest counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginTable {
    origins: BTreeMap<IpNet, u32>,
    lengths: BTreeSet<u8>,
}

/// Why a line is not one of a table of origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.what())]
pub enum OriginLineError {
    /// There is no comma.
    NoComma,
    /// What is before the comma is no prefix.
    Prefix,
    /// What is behind the comma is no number of an autonomous system.
    Number,
    /// There are too many lines already.
    Full,
}

impl OriginLineError {
    /// What the line is instead.
    pub const fn what(self) -> &'static str {
        match self {
            Self::NoComma => {
                "not a prefix and the number of an autonomous system with a comma between"
            }
            Self::Prefix => "without a prefix before the comma",
            Self::Number => "without the number of an autonomous system behind the comma",
            Self::Full => "one prefix too many (3,000,000 at most)",
        }
    }
}

impl OriginTable {
    /// Takes in `PREFIX,ASN`, like `192.0.2.0/24,64500` or `2001:db8::/32,AS64500`. Of two lines about one prefix the
    /// later counts.
    pub fn add_line(&mut self, line: &str) -> Result<(), OriginLineError> {
        let (prefix, number) = line.split_once(',').ok_or(OriginLineError::NoComma)?;
        let prefix: IpNet = prefix.trim().parse().map_err(|_| OriginLineError::Prefix)?;
        let number = number.trim();
        let number = number.strip_prefix("AS").unwrap_or(number);
        let number = number.parse().map_err(|_| OriginLineError::Number)?;
        if self.origins.len() >= MOST_PREFIXES {
            return Err(OriginLineError::Full);
        }
        self.origins.insert(prefix.trunc(), number);
        self.lengths.insert(prefix.prefix_len());
        Ok(())
    }
}

impl OriginAs for OriginTable {
    fn origin_as(&self, address: IpAddr) -> Option<u32> {
        let longest_first = self.lengths.iter().rev();
        longest_first
            .filter_map(|length| IpNet::new(address, *length).ok())
            .find_map(|prefix| self.origins.get(&prefix.trunc()).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_tells_the_origin() {
        let mut table = OriginTable::default();
        for line in [
            "240.0.0.0/8,1",
            "240.1.0.0/16, AS2",
            "240.1.2.3/24,3",
            "3fff::/20,4",
        ] {
            table.add_line(line).unwrap();
        }
        let origin = |address: &str| table.origin_as(address.parse().unwrap());
        assert_eq!(origin("240.1.2.9"), Some(3));
        assert_eq!(origin("240.1.3.9"), Some(2));
        assert_eq!(origin("240.2.0.1"), Some(1));
        assert_eq!(origin("241.0.0.1"), None);
        assert_eq!(origin("3fff::1"), Some(4));
        assert_eq!(origin("::1"), None);
    }

    #[test]
    fn a_line_that_is_none_says_why() {
        let mut table = OriginTable::default();
        for (line, error) in [
            ("240.0.0.0/8 1", OriginLineError::NoComma),
            ("240.0.0.0/33,1", OriginLineError::Prefix),
            ("240.0.0.0/8,ASx", OriginLineError::Number),
            ("240.0.0.0/8,4294967296", OriginLineError::Number),
        ] {
            assert_eq!(table.add_line(line), Err(error));
        }
        assert_eq!(table, OriginTable::default());
    }
}
