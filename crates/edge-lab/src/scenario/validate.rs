//! What the types of a scenario cannot say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use edge_types::{DnsName, IpNet};

use super::{ClientPrefix, FORMAT, Link, Problem, Provider, Router, Scenario};

const MAX_ROUTERS: usize = 4096;
const MAX_LINKS: usize = 16_384;
const MAX_CLIENTS: usize = 16_384;
const MAX_PROVIDERS: usize = 256;
const MAX_SITES: usize = 64;
const MAX_ADDRESSES: usize = 8;
const MAX_MS: f64 = 10_000.0;

/// A field's name and what is wrong with it.
type Finding = (String, Problem);

impl Scenario {
    /// Checks everything that the types cannot say; the first finding, in file order.
    pub fn validate(&self) -> Result<(), (String, Problem)> {
        if self.format != FORMAT {
            return Err(("format".into(), Problem::Format(self.format)));
        }
        if self.name.is_empty() || self.name.len() > 128 {
            return Err(("name".into(), Problem::Id(self.name.clone())));
        }
        count("routers", self.routers.len(), 1, MAX_ROUTERS)?;
        count("links", self.links.len(), 0, MAX_LINKS)?;
        count("clients", self.clients.len(), 1, MAX_CLIENTS)?;
        count("providers", self.providers.len(), 0, MAX_PROVIDERS)?;
        milliseconds("defaults.access_ms", self.defaults.access_ms)?;

        let mut check = Check {
            routers: BTreeSet::new(),
            addresses: BTreeMap::new(),
            cloud_families: self.cloud.addresses.iter().map(family).collect(),
        };
        for (i, router) in self.routers.iter().enumerate() {
            check.router(&format!("routers[{i}]"), router)?;
        }
        self.check_links(&check)?;
        for (field, host) in [("dns", &self.dns), ("chain", &self.chain)] {
            check.attached(field, &host.router, &host.addresses, host.access_ms)?;
        }
        let cloud = &self.cloud;
        check.attached("cloud", &cloud.router, &cloud.addresses, cloud.access_ms)?;
        self.check_providers(&mut check)?;
        self.check_clients(&check)?;
        self.check_connected()
    }

    fn check_links(&self, check: &Check<'_>) -> Result<(), Finding> {
        let mut seen = BTreeSet::new();
        for (i, link) in self.links.iter().enumerate() {
            let field = |name: &str| format!("links[{i}].{name}");
            for (name, end) in [("a", &link.a), ("b", &link.b)] {
                check.known(&field(name), end)?;
            }
            if link.a == link.b {
                return Err((field("b"), Problem::SelfLink(link.a.clone())));
            }
            if !seen.insert((link.a.as_str().min(&link.b), link.a.as_str().max(&link.b))) {
                let problem = Problem::DuplicateLink(link.a.clone(), link.b.clone());
                return Err((format!("links[{i}]"), problem));
            }
            check_link_numbers(link, field)?;
        }
        Ok(())
    }

    fn check_providers<'a>(&'a self, check: &mut Check<'a>) -> Result<(), Finding> {
        let mut zones: Vec<&DnsName> = Vec::new();
        let mut hosts = BTreeSet::new();
        for (i, provider) in self.providers.iter().enumerate() {
            let field = format!("providers[{i}].domain");
            let domain = &provider.domain;
            if zones.contains(&domain) {
                return Err((field, Problem::Duplicate(domain.to_string())));
            }
            for other in &zones {
                disjoint(&field, domain, other)?;
            }
            if self.cloud.host.is_within(domain) {
                let problem = Problem::NestedZone(self.cloud.host.to_string(), domain.to_string());
                return Err(("cloud.host".into(), problem));
            }
            zones.push(domain);
            check_sites(i, provider, check, &mut hosts)?;
        }
        Ok(())
    }

    fn check_clients(&self, check: &Check<'_>) -> Result<(), Finding> {
        let mut prefixes: Vec<IpNet> = Vec::new();
        for (i, client) in self.clients.iter().enumerate() {
            let field = |name: &str| format!("clients[{i}].{name}");
            let ClientPrefix { prefix, .. } = *client;
            let lengths = match prefix {
                IpNet::V4(_) => 16..=32,
                IpNet::V6(_) => 32..=64,
            };
            if prefix.trunc() != prefix || !lengths.contains(&prefix.prefix_len()) {
                return Err((field("prefix"), Problem::Prefix(prefix.to_string())));
            }
            if !in_lab(prefix.network()) || !in_lab(prefix.broadcast()) {
                return Err((field("prefix"), Problem::OutsideLab(prefix.to_string())));
            }
            prefixes.push(prefix);
            check.family(&field("prefix"), prefix.addr())?;
            check.known(&field("router"), &client.router)?;
            range(&field("weight"), client.weight, 0.001, 1e6)?;
            client
                .access_ms
                .map_or(Ok(()), |ms| milliseconds(&field("access_ms"), ms))?;
            let covered = check
                .addresses
                .range(prefix.network()..=prefix.broadcast())
                .next();
            if let Some((address, owner)) = covered {
                let other = format!("{address} of {owner}");
                return Err((field("prefix"), Problem::Overlap(prefix.to_string(), other)));
            }
        }
        let mut order: Vec<usize> = (0..prefixes.len()).collect();
        order.sort_by_key(|i| prefixes[*i]);
        for pair in order.windows(2) {
            let (low, high) = (prefixes[pair[0]], prefixes[pair[1]]);
            if low.contains(&high.network()) {
                let problem = Problem::Overlap(high.to_string(), low.to_string());
                return Err((format!("clients[{}].prefix", pair[1]), problem));
            }
        }
        Ok(())
    }

    fn check_connected(&self) -> Result<(), Finding> {
        let mut neighbours: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for link in &self.links {
            neighbours.entry(&link.a).or_default().push(&link.b);
            neighbours.entry(&link.b).or_default().push(&link.a);
        }
        let mut reached = BTreeSet::from([self.cloud.router.as_str()]);
        let mut open = vec![self.cloud.router.as_str()];
        while let Some(router) = open.pop() {
            for next in neighbours.get(router).into_iter().flatten() {
                if reached.insert(next) {
                    open.push(next);
                }
            }
        }
        match self
            .routers
            .iter()
            .find(|router| !reached.contains(router.id.as_str()))
        {
            Some(router) => Err(("links".into(), Problem::Disconnected(router.id.clone()))),
            None => Ok(()),
        }
    }
}

fn check_link_numbers(link: &Link, field: impl Fn(&str) -> String) -> Result<(), Finding> {
    milliseconds(&field("delay_ms"), link.delay_ms)?;
    if let Some(ms) = link.reverse_delay_ms {
        milliseconds(&field("reverse_delay_ms"), ms)?;
    }
    milliseconds(&field("jitter_ms"), link.jitter_ms)?;
    range(&field("loss"), link.loss, 0.0, 0.999)?;
    if let Some(mbps) = link.bandwidth_mbps {
        range(&field("bandwidth_mbps"), mbps, 0.001, 1e6)?;
    }
    for (name, cost) in [("cost", link.cost), ("reverse_cost", link.reverse_cost)] {
        if cost == Some(0) {
            return Err((field(name), Problem::ZeroCost));
        }
    }
    Ok(())
}

fn check_sites<'a>(
    i: usize,
    provider: &'a Provider,
    check: &mut Check<'a>,
    hosts: &mut BTreeSet<&'a DnsName>,
) -> Result<(), Finding> {
    count(
        &format!("providers[{i}].sites"),
        provider.sites.len(),
        1,
        MAX_SITES,
    )?;
    for (j, site) in provider.sites.iter().enumerate() {
        let base = format!("providers[{i}].sites[{j}]");
        let field = |name: &str| format!("{base}.{name}");
        inside(&field("host"), &site.host, &provider.domain)?;
        if !hosts.insert(&site.host) {
            return Err((field("host"), Problem::Duplicate(site.host.to_string())));
        }
        check.attached(&base, &site.router, &site.addresses, site.access_ms)?;
        for address in &site.addresses {
            check.family(&field("addresses"), *address)?;
        }
        range(&field("port"), site.port.into(), 1.0, 65535.0)?;
        range(&field("milli_cpu"), site.milli_cpu.into(), 1.0, 1e6)?;
        range(&field("memory_mib"), site.memory_mib.into(), 1.0, 1e6)?;
        range(&field("pids"), site.pids.into(), 1.0, 1e6)?;
    }
    Ok(())
}

/// What was seen so far.
struct Check<'a> {
    routers: BTreeSet<&'a str>,
    addresses: BTreeMap<IpAddr, String>,
    cloud_families: BTreeSet<u8>,
}

impl<'a> Check<'a> {
    fn router(&mut self, base: &str, router: &'a Router) -> Result<(), Finding> {
        let field = |name: &str| format!("{base}.{name}");
        let id_is_plain = router
            .id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if router.id.is_empty() || router.id.len() > 64 || !id_is_plain {
            return Err((field("id"), Problem::Id(router.id.clone())));
        }
        if !self.routers.insert(&router.id) {
            return Err((field("id"), Problem::Duplicate(router.id.clone())));
        }
        count(&field("addresses"), router.addresses.len(), 1, 2)?;
        for (name, addresses) in [
            ("addresses", &router.addresses),
            ("reply_from", &router.reply_from),
        ] {
            let mut families = BTreeSet::new();
            for address in addresses {
                if !families.insert(family(address)) {
                    return Err((field(name), Problem::TwoAddresses(family(address))));
                }
                self.own(&field(name), *address, &format!("router {}", router.id))?;
            }
        }
        match (&router.name, &router.zone) {
            (Some(name), Some(zone)) => inside(&field("name"), name, zone)?,
            (None, None) => {}
            _ => return Err((field("name"), Problem::NameWithoutZone)),
        }
        if router.icmp.is_some() && router.icmp_rate.is_some() {
            return Err((field("icmp_rate"), Problem::TwoRates));
        }
        if let Some(rate) = router.icmp_rate {
            range(&field("icmp_rate.burst"), rate.burst.into(), 1.0, 1e6)?;
            range(
                &field("icmp_rate.per_second"),
                rate.per_second,
                0.000_001,
                1e6,
            )?;
        }
        if let Some(slow_path) = router.slow_path {
            milliseconds(&field("slow_path.base_ms"), slow_path.base_ms)?;
            milliseconds(&field("slow_path.mean_ms"), slow_path.mean_ms)?;
        }
        Ok(())
    }

    fn attached(
        &mut self,
        base: &str,
        router: &str,
        addresses: &[IpAddr],
        access_ms: Option<f64>,
    ) -> Result<(), Finding> {
        self.known(&format!("{base}.router"), router)?;
        let field = format!("{base}.addresses");
        count(&field, addresses.len(), 1, MAX_ADDRESSES)?;
        for address in addresses {
            self.own(&field, *address, base)?;
        }
        access_ms.map_or(Ok(()), |ms| milliseconds(&format!("{base}.access_ms"), ms))
    }

    fn known(&self, field: &str, router: &str) -> Result<(), Finding> {
        if self.routers.contains(router) {
            Ok(())
        } else {
            Err((field.to_owned(), Problem::UnknownRouter(router.to_owned())))
        }
    }

    fn own(&mut self, field: &str, address: IpAddr, owner: &str) -> Result<(), Finding> {
        if !in_lab(address) {
            let problem = Problem::OutsideLab(address.to_string());
            return Err((field.to_owned(), problem));
        }
        match self.addresses.insert(address, owner.to_owned()) {
            Some(other) => Err((field.to_owned(), Problem::AddressTaken(address, other))),
            None => Ok(()),
        }
    }

    fn family(&self, field: &str, address: IpAddr) -> Result<(), Finding> {
        let family = family(&address);
        if self.cloud_families.contains(&family) {
            Ok(())
        } else {
            Err((field.to_owned(), Problem::CloudFamily(family)))
        }
    }
}

fn count(field: &str, count: usize, least: usize, limit: usize) -> Result<(), Finding> {
    if count < least {
        Err((field.to_owned(), Problem::Empty))
    } else if count > limit {
        Err((field.to_owned(), Problem::TooMany { count, limit }))
    } else {
        Ok(())
    }
}

fn milliseconds(field: &str, value: f64) -> Result<(), Finding> {
    range(field, value, 0.0, MAX_MS)
}

fn range(field: &str, value: f64, least: f64, most: f64) -> Result<(), Finding> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        let problem = Problem::Range { value, least, most };
        Err((field.to_owned(), problem))
    }
}

fn inside(field: &str, name: &DnsName, zone: &DnsName) -> Result<(), Finding> {
    if name != zone && name.is_within(zone) {
        Ok(())
    } else {
        let problem = Problem::OutsideZone {
            name: name.to_string(),
            zone: zone.to_string(),
        };
        Err((field.to_owned(), problem))
    }
}

fn disjoint(field: &str, zone: &DnsName, other: &DnsName) -> Result<(), Finding> {
    let problem = if zone.is_within(other) {
        Problem::NestedZone(zone.to_string(), other.to_string())
    } else if other.is_within(zone) {
        Problem::NestedZone(other.to_string(), zone.to_string())
    } else {
        return Ok(());
    };
    Err((field.to_owned(), problem))
}

const fn family(address: &IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 4,
        IpAddr::V6(_) => 6,
    }
}

/// Is this an address that no real host has: 240.0.0.0/4 (RFC 1112 section 4) or `3fff::/20` (RFC 9637)?
pub(crate) fn in_lab(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[0] >= 240 && !v4.is_broadcast(),
        IpAddr::V6(v6) => v6.segments()[0] == 0x3fff && v6.segments()[1] < 0x1000,
    }
}
