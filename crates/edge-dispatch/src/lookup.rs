//! Longest-prefix match over a fixed set of prefixes.
//!
//! Prefixes either nest or are disjoint. In order of first address, shorter prefix first, the last one that starts at
//! or before an address is either the longest match or inside the same ancestors as it; so one binary search and a few steps
//! up the nesting find the match. Why not a trie: the table never changes once built, and a sorted array is
//! smaller, quicker to build and quicker to walk.

use std::net::IpAddr;

use edge_types::IpNet;

/// Values keyed by prefix, found by address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrefixMap<V> {
    v4: Family<V>,
    v6: Family<V>,
}

/// One address family. The first addresses stand apart, so that the search touches little memory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Family<V> {
    firsts: Vec<u128>,
    entries: Vec<Entry<V>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<V> {
    first: u128,
    last: u128,
    /// The innermost entry around this one.
    around: Option<usize>,
    prefix: IpNet,
    value: V,
}

/// A prefix that occurs twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Duplicate(pub(crate) IpNet);

impl<V> PrefixMap<V> {
    pub(crate) const fn empty() -> Self {
        Self {
            v4: Family::empty(),
            v6: Family::empty(),
        }
    }

    pub(crate) fn new(items: impl IntoIterator<Item = (IpNet, V)>) -> Result<Self, Duplicate> {
        let (v4, v6): (Vec<_>, Vec<_>) = items
            .into_iter()
            .map(|(prefix, value)| Entry {
                first: number(prefix.network()),
                last: number(prefix.broadcast()),
                around: None,
                prefix: prefix.trunc(),
                value,
            })
            .partition(|entry| matches!(entry.prefix, IpNet::V4(_)));
        Ok(Self {
            v4: Family::new(v4)?,
            v6: Family::new(v6)?,
        })
    }

    /// The longest prefix that covers `address`, and its value. An IPv4-mapped address counts as IPv4.
    pub(crate) fn find(&self, address: IpAddr) -> Option<(IpNet, &V)> {
        let address = address.to_canonical();
        let family = match address {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        let number = number(address);
        let mut at = family
            .firsts
            .partition_point(|first| *first <= number)
            .checked_sub(1);
        while let Some(entry) = family.entries.get(at?) {
            if number <= entry.last {
                return Some((entry.prefix, &entry.value));
            }
            at = entry.around;
        }
        None
    }

    pub(crate) fn len(&self) -> usize {
        self.v4.entries.len() + self.v6.entries.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpNet, &V)> {
        let entries = self.v4.entries.iter().chain(&self.v6.entries);
        entries.map(|entry| (entry.prefix, &entry.value))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

impl<V> Family<V> {
    const fn empty() -> Self {
        Self {
            firsts: Vec::new(),
            entries: Vec::new(),
        }
    }

    fn new(entries: Vec<Entry<V>>) -> Result<Self, Duplicate> {
        let entries = nest(entries)?;
        Ok(Self {
            firsts: entries.iter().map(|entry| entry.first).collect(),
            entries,
        })
    }
}

/// Sorts the entries and links each to the innermost one around it.
fn nest<V>(mut entries: Vec<Entry<V>>) -> Result<Vec<Entry<V>>, Duplicate> {
    entries.sort_by(|a, b| a.first.cmp(&b.first).then(b.last.cmp(&a.last)));
    let mut open: Vec<usize> = Vec::new();
    for index in 0..entries.len() {
        let (first, last) = (entries[index].first, entries[index].last);
        while open
            .last()
            .is_some_and(|outer| entries[*outer].last < first)
        {
            open.pop();
        }
        if let Some(outer) = open.last() {
            let outer = &entries[*outer];
            if (outer.first, outer.last) == (first, last) {
                return Err(Duplicate(outer.prefix));
            }
        }
        entries[index].around = open.last().copied();
        open.push(index);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net() -> impl Strategy<Value = IpNet> {
        prop_oneof![
            (any::<u32>(), 0u8..=32).prop_map(|(bits, length)| IpNet::new(
                // Few distinct leading bits, so that prefixes nest.
                IpAddr::V4((bits & 0xf00f_00ff).into()),
                length
            )),
            (any::<u128>(), 0u8..=128).prop_map(|(bits, length)| IpNet::new(
                IpAddr::V6((bits & (0xf00f << 112 | 0xff)).into()),
                length
            )),
        ]
        .prop_map(|net| net.unwrap().trunc())
    }

    proptest! {
        #[test]
        fn equals_a_linear_search_for_the_longest_match(
            nets in prop::collection::btree_set(net(), 0..40),
            probes in prop::collection::vec(net(), 1..40),
        ) {
            let map = PrefixMap::new(nets.iter().map(|net| (*net, net.to_string()))).unwrap();
            prop_assert_eq!(map.len(), nets.len());
            for probe in probes.iter().chain(&nets) {
                for address in [probe.network(), probe.broadcast()] {
                    let expected = nets
                        .iter()
                        .filter(|net| net.contains(&address))
                        .max_by_key(|net| net.prefix_len());
                    // A v6 probe in ::ffff:0:0/96 would be looked up as IPv4.
                    if address == address.to_canonical() {
                        prop_assert_eq!(map.find(address).map(|(net, _)| net), expected.copied());
                    }
                }
            }
        }
    }

    #[test]
    fn refuses_a_prefix_twice() {
        let net: IpNet = "240.1.0.0/16".parse().unwrap();
        assert_eq!(PrefixMap::new([(net, 1), (net, 2)]), Err(Duplicate(net)));
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        let net: IpNet = "240.1.0.0/16".parse().unwrap();
        let map = PrefixMap::new([(net, 7)]).unwrap();
        assert_eq!(
            map.find("::ffff:240.1.2.3".parse().unwrap()),
            Some((net, &7))
        );
        assert_eq!(map.find("240.2.0.0".parse().unwrap()), None);
    }
}
