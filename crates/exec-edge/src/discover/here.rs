//! The domains that the client itself is in (paper section 4).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use edge_discovery::{
    Answer, AnswerName, Question, RecordData, RecordKind, candidate_zones, reverse_name,
};
use edge_ports::NameLookup;
use edge_types::{DnsName, IpNet};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use super::Source;
use crate::dns::ResolvConf;

/// Prefix lengths of a subnet whose mask is not known.
const SUBNET_V4: u8 = 24;
const SUBNET_V6: u8 = 64;

/// Names where a network tells its browsing domains (RFC 6763 section 11).
const BROWSING: [&str; 2] = ["b._dns-sd._udp", "lb._dns-sd._udp"];

/// Most zones taken from one name.
const ZONES_PER_NAME: usize = 6;
/// Most names taken from one answer, and zones in all.
const NAMES_PER_ANSWER: usize = 8;
const ZONES: usize = 64;

/// Zones that may be the client's own, and what led to each.
pub(super) async fn zones(
    addresses: &[IpAddr],
    machine: &ResolvConf,
    lookup: &dyn NameLookup,
) -> Vec<(DnsName, Source)> {
    let mut found = Found::default();
    for domain in &machine.search {
        found.add(domain.clone(), Source::SearchList);
    }
    for address in addresses {
        for name in names(lookup, &Question::reverse(*address)).await {
            // A name that the local network made up leads nowhere; it is no error.
            for zone in candidate_zones(&name, ZONES_PER_NAME).unwrap_or_default() {
                found.add(zone.zone, Source::Name(*address));
            }
        }
    }
    let mut domains = machine.search.clone();
    domains.extend(addresses.iter().map(|address| reverse_subnet(*address)));
    for domain in domains {
        for prefix in BROWSING {
            let Ok(name) = domain.with_prefix(prefix) else {
                continue;
            };
            for browsed in names(lookup, &Question::new(name, RecordKind::Ptr)).await {
                found.add(browsed, Source::Browsing(domain.clone()));
            }
        }
    }
    found.zones
}

#[derive(Default)]
struct Found {
    seen: BTreeSet<(DnsName, Source)>,
    zones: Vec<(DnsName, Source)>,
}

impl Found {
    fn add(&mut self, zone: DnsName, source: Source) {
        if self.zones.len() < ZONES && self.seen.insert((zone.clone(), source.clone())) {
            self.zones.push((zone, source));
        }
    }
}

/// The names that a PTR question gives; none if there is no answer.
async fn names(lookup: &dyn NameLookup, question: &Question) -> Vec<DnsName> {
    let Answer::Records { records, .. } = lookup.lookup(question).await else {
        return Vec::new();
    };
    let names = records.into_iter().filter_map(|record| match record {
        RecordData::Ptr(AnswerName::Name(name)) => Some(name),
        _ => None,
    });
    names.take(NAMES_PER_ANSWER).collect()
}

/// The addresses that packets leave from, on the way to the resolvers and to the world.
pub(super) fn own_addresses(resolvers: &[SocketAddr]) -> Vec<IpAddr> {
    // Nothing is sent: only the routing table is asked. The two addresses stand for the world.
    let world = ["192.0.2.1:9", "[2001:db8::1]:9"].map(|text| text.parse::<SocketAddr>().ok());
    let mut found = Vec::new();
    for target in resolvers.iter().copied().chain(world.into_iter().flatten()) {
        let any = if target.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let source = UdpSocket::bind(any)
            .and_then(|socket| socket.connect(target).and_then(|()| socket.local_addr()));
        if let Ok(source) = source
            && !source.ip().is_loopback()
            && !found.contains(&source.ip())
        {
            found.push(source.ip());
        }
    }
    found
}

/// The reverse name of the subnet's first address, where RFC 6763 section 11 puts what concerns the subnet.
fn reverse_subnet(address: IpAddr) -> DnsName {
    let default = if address.is_ipv4() {
        SUBNET_V4
    } else {
        SUBNET_V6
    };
    let length = interface_prefix(address).unwrap_or(default);
    let network = IpNet::new(address, length).map_or(address, |subnet| subnet.network());
    reverse_name(network)
}

/// Length of the prefix of the interface that has this address.
fn interface_prefix(address: IpAddr) -> Option<u8> {
    let interface = getifaddrs()
        .ok()?
        .find(|interface| interface.address.as_ref().and_then(ip) == Some(address))?;
    let ones = match ip(interface.netmask.as_ref()?)? {
        IpAddr::V4(mask) => mask.to_bits().count_ones(),
        IpAddr::V6(mask) => mask.to_bits().count_ones(),
    };
    u8::try_from(ones).ok()
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_named_by_its_first_address() {
        assert_eq!(
            reverse_subnet("240.16.2.10".parse().unwrap()).as_str(),
            "0.2.16.240.in-addr.arpa"
        );
        let v6 = reverse_subnet("3fff:1:2:3::a".parse().unwrap());
        assert!(
            v6.as_str()
                .starts_with("0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.3.0.0.0."),
            "{v6}"
        );
        // The interface's own mask is used where there is one.
        assert_eq!(
            reverse_subnet("127.0.0.1".parse().unwrap()).as_str(),
            "0.0.0.127.in-addr.arpa"
        );
    }
}
