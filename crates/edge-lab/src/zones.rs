//! The DNS of a scenario: reverse zones, provider zones, the application's name, and a root to hold the rest.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use edge_types::{ChainAddress, ChainId, DnsName, IpNet};
use serde::{Deserialize, Serialize};

use crate::scenario::{ClientPrefix, Provider, Scenario};

/// Seconds that resolvers may keep positive answers.
const RECORD_TTL: u32 = 300;

/// The name server's own name.
const NAME_SERVER: &str = "ns.lab-dns.example";

/// Every zone of a lab. It is written as JSON for the server's process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zones {
    /// The zones; the server adds each one's SOA record.
    pub zones: Vec<Zone>,
}

/// One zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// The apex, without the final dot; empty for the root.
    pub origin: String,
    /// Records, at or below the apex.
    pub records: Vec<ZoneRecord>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneRecord {
    /// Whose, without the final dot. May start with a `*` label.
    pub name: String,
    /// Time to live, seconds.
    pub ttl: u32,
    /// Type and value.
    pub data: RecordData,
}

/// Type and value of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RecordData {
    /// A or AAAA.
    Address(IpAddr),
    /// PTR.
    Ptr(String),
    /// NS.
    Ns(String),
    /// SRV.
    Srv {
        /// Lower comes first.
        priority: u16,
        /// Share within a priority.
        weight: u16,
        /// Where the service listens.
        port: u16,
        /// On which host.
        target: String,
    },
    /// TXT.
    Txt(Vec<String>),
}

impl Zones {
    /// The zones of `scenario`. Providers in `keys` publish theirs at `_edge._tcp`, for `chain`.
    pub fn build(
        scenario: &Scenario,
        chain: ChainId,
        keys: &BTreeMap<DnsName, ChainAddress>,
    ) -> Self {
        let mut builder = Builder::new(scenario);
        let dns = scenario.dns.addresses.iter();
        dns.for_each(|address| builder.add(NAME_SERVER, RecordData::Address(*address)));
        for address in &scenario.cloud.addresses {
            builder.add(scenario.cloud.host.as_str(), RecordData::Address(*address));
        }
        for router in &scenario.routers {
            let Some(name) = &router.name else { continue };
            for address in router.addresses.iter().chain(&router.reply_from) {
                builder.add(name.as_str(), RecordData::Address(*address));
                builder.add(&reverse_name(*address), RecordData::Ptr(name.to_string()));
            }
        }
        for client in &scenario.clients {
            builder.add_clients(client);
        }
        for provider in &scenario.providers {
            builder.add_provider(provider, chain, keys.get(&provider.domain));
        }
        builder.finish()
    }
}

struct Builder {
    zones: BTreeMap<String, Vec<ZoneRecord>>,
}

impl Builder {
    fn new(scenario: &Scenario) -> Self {
        let providers = || scenario.providers.iter().map(|provider| &provider.domain);
        let mut origins = vec![
            String::new(),
            "in-addr.arpa".to_owned(),
            "ip6.arpa".to_owned(),
        ];
        origins.extend(providers().map(ToString::to_string));
        origins.extend(scenario.cloud.host.parent().map(|zone| zone.to_string()));
        let carriers = scenario
            .routers
            .iter()
            .filter_map(|router| router.zone.as_ref());
        origins.extend(
            carriers
                .filter(|zone| !providers().any(|provider| zone.is_within(provider)))
                .map(ToString::to_string),
        );
        let zones = origins.into_iter().map(|origin| (origin, Vec::new()));
        let mut builder = Self {
            zones: zones.collect(),
        };
        for (origin, records) in &mut builder.zones {
            records.push(ZoneRecord {
                name: origin.clone(),
                ttl: RECORD_TTL,
                data: RecordData::Ns(NAME_SERVER.to_owned()),
            });
        }
        builder
    }

    /// Puts a record into the deepest zone that its name is in.
    fn add(&mut self, name: &str, data: RecordData) {
        let mut origin = name;
        while !self.zones.contains_key(origin) {
            origin = origin.split_once('.').map_or("", |(_, parent)| parent);
        }
        if let Some(records) = self.zones.get_mut(origin) {
            records.push(ZoneRecord {
                name: name.to_owned(),
                ttl: RECORD_TTL,
                data,
            });
        }
    }

    fn add_clients(&mut self, client: &ClientPrefix) {
        let Some(domain) = &client.domain else { return };
        let customer = format!("customer.{domain}");
        for owner in reverse_owners(client.prefix) {
            self.add(&owner, RecordData::Ptr(customer.clone()));
        }
    }

    fn add_provider(&mut self, provider: &Provider, chain: ChainId, key: Option<&ChainAddress>) {
        let service = format!("_edge._tcp.{}", provider.domain);
        for site in &provider.sites {
            for address in &site.addresses {
                self.add(site.host.as_str(), RecordData::Address(*address));
                self.add(
                    &reverse_name(*address),
                    RecordData::Ptr(site.host.to_string()),
                );
            }
            if provider.listed {
                let data = RecordData::Srv {
                    priority: site.priority,
                    weight: site.weight,
                    port: site.port,
                    target: site.host.to_string(),
                };
                self.add(&service, data);
            }
        }
        if let (true, Some(key)) = (provider.listed, key) {
            let text = format!("v=1 key=eip155:{}:{key}", chain.0);
            self.add(&service, RecordData::Txt(vec![text]));
        }
    }

    fn finish(self) -> Zones {
        let zones = self.zones.into_iter();
        Zones {
            zones: zones
                .map(|(origin, records)| Zone { origin, records })
                .collect(),
        }
    }
}

/// The name that holds the PTR record of `address` (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub fn reverse_name(address: IpAddr) -> String {
    reverse_labels(address, address_labels(address))
}

const fn address_labels(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => 4,
        IpAddr::V6(_) => 32,
    }
}

/// The reverse name of the first `count` octets (nibbles for IPv6).
fn reverse_labels(address: IpAddr, count: usize) -> String {
    let join = |labels: Vec<String>, top: &str| {
        let mut labels: Vec<String> = labels.into_iter().take(count).collect();
        labels.reverse();
        labels.push(top.to_owned());
        labels.join(".")
    };
    match address {
        IpAddr::V4(v4) => join(
            v4.octets().map(|octet| octet.to_string()).into(),
            "in-addr.arpa",
        ),
        IpAddr::V6(v6) => {
            let nibbles = nibbles(v6).into_iter();
            join(
                nibbles.map(|nibble| format!("{nibble:x}")).collect(),
                "ip6.arpa",
            )
        }
    }
}

fn nibbles(address: Ipv6Addr) -> Vec<u8> {
    let octets = address.octets();
    octets
        .iter()
        .flat_map(|octet| [octet >> 4, octet & 15])
        .collect()
}

/// The owner names that cover every address of `prefix`: wildcards at the next octet (nibble) boundary.
fn reverse_owners(prefix: IpNet) -> Vec<String> {
    let bits = match prefix {
        IpNet::V4(_) => 8,
        IpNet::V6(_) => 4,
    };
    let boundary = prefix.prefix_len().div_ceil(bits) * bits;
    let subnets = prefix.subnets(boundary).into_iter().flatten();
    subnets
        .map(|subnet| {
            let labels = usize::from(boundary / bits);
            let name = reverse_labels(subnet.network(), labels);
            if labels == address_labels(subnet.network()) {
                name
            } else {
                format!("*.{name}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
