//! Who originates an address: the autonomous system (AS) that announces it, from tables.
//!
//! Two line formats, which may be mixed: `first,last,asn,"organisation"` (the columns of the npm package
//! `@ip-location-db/asn` and its like), and our own `prefix asn domain organisation…`, where the domain may be `-`. Own
//! lines come first where both cover an address.

use std::net::IpAddr;

use edge_types::DnsName;

use crate::ranges::{RangeValue, Ranges};

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

/// A table in memory.
pub type OriginRanges = Ranges<Origin>;

impl OriginTable for OriginRanges {
    fn origin(&self, address: IpAddr) -> Option<&Origin> {
        self.find(address).map(|(_, origin)| origin)
    }
}

impl RangeValue for Origin {
    fn of_prefix(words: &[&str]) -> Result<Self, &'static str> {
        let domain = match words.get(1) {
            None | Some(&"-") => None,
            Some(name) => Some(name.parse().map_err(|_| "the domain is no name")?),
        };
        Ok(Self {
            asn: asn(words.first().copied().unwrap_or_default())?,
            organisation: words.get(2..).unwrap_or_default().join(" "),
            domain,
        })
    }

    fn of_range(rest: &str) -> Result<Self, &'static str> {
        let (number, organisation) = rest.split_once(',').unwrap_or((rest, ""));
        let quoted = organisation
            .strip_prefix('"')
            .and_then(|inner| inner.strip_suffix('"'));
        Ok(Self {
            asn: asn(number)?,
            organisation: quoted
                .map_or(organisation.to_owned(), |inner| inner.replace("\"\"", "\"")),
            domain: None,
        })
    }
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
