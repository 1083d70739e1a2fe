//! Which resolver commands ask, and what they may contact: options that several of them share.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;
use edge_discovery::{Discovery, DiscoveryConfig, Limits, from_people, is_service};
use edge_resolver::{Mode, Resolver, ResolverConfig, TrustAnchor, random_label};
use edge_types::{AddressPolicy, DnsName, IpNet};

use edge_console::exit::Failure;

/// Where the machine's resolvers are told.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Nobody's file of a few lines is larger.
const RESOLV_CONF_OCTETS: u64 = 64 * 1024;
/// Name servers and search domains that are taken from it.
const SERVERS: usize = 3;
const SEARCH_DOMAINS: usize = 8;

/// Options for asking the DNS.
#[derive(Debug, clap::Args)]
pub(crate) struct DnsArgs {
    /// Resolver to ask, port 53 unless given; may be repeated. Without it, those of /etc/resolv.conf.
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = resolver_address)]
    resolver: Vec<SocketAddr>,
    /// Believe the resolver that it has validated signatures (DNSSEC). Right if it does and the way to it is safe.
    #[arg(long)]
    trust_resolver: bool,
    /// Prove answers by DNSSEC from the key of the Internet's root, with further questions for the keys of zones.
    #[arg(long, conflicts_with = "trust_resolver")]
    validate: bool,
    /// Prefix outside global unicast whose addresses may be contacted all the same; may be repeated.
    #[arg(long, value_name = "PREFIX")]
    allow: Vec<IpNet>,
    /// Name of the service whose SRV records lead to sites.
    #[arg(long, value_name = "NAME", default_value = DiscoveryConfig::SERVICE, value_parser = service_name)]
    pub(crate) service: DnsName,
}

impl DnsArgs {
    pub(crate) fn policy(&self) -> AddressPolicy {
        AddressPolicy::new(self.allow.clone())
    }

    /// The machine's own setting; empty if it cannot be read.
    pub(crate) fn resolv_conf() -> ResolvConf {
        ResolvConf::read(Path::new(RESOLV_CONF)).unwrap_or_default()
    }

    /// The resolvers to ask.
    pub(crate) fn servers(&self, machine: &ResolvConf) -> Result<Vec<SocketAddr>, Failure> {
        if !self.resolver.is_empty() {
            return Ok(self.resolver.clone());
        }
        if machine.servers.is_empty() {
            let problem = anyhow::anyhow!("{RESOLV_CONF} names no resolver");
            return Err(Failure::usage(problem).with_hint("name one by --resolver ADDRESS"));
        }
        let servers = machine.servers.iter();
        Ok(servers.map(|server| SocketAddr::new(*server, 53)).collect())
    }

    pub(crate) fn resolver(&self, servers: Vec<SocketAddr>) -> Result<Resolver, Failure> {
        let config = ResolverConfig {
            mode: Mode::Recursive {
                trusts_authentic_data: self.trust_resolver,
            },
            trust_anchor: self.validate.then(TrustAnchor::root),
            ..ResolverConfig::new(servers)
        };
        Resolver::new(config).map_err(Failure::usage)
    }

    /// A discovery; one that `asks_owners` wants to know who holds routers whose names lead nowhere.
    pub(crate) fn discovery(&self, asks_owners: bool) -> Result<Discovery, Failure> {
        let label = random_label().context("drawing a random label")?;
        let config = DiscoveryConfig::new(
            self.service.as_str(),
            &label,
            self.policy(),
            Limits::default(),
        )
        .context("configuring discovery")?;
        Ok(Discovery::new(if asks_owners {
            config.asking_owners()
        } else {
            config
        }))
    }
}

/// A zone as people write it, in Unicode or not.
pub(crate) fn zone_name(text: &str) -> Result<DnsName, String> {
    from_people(text).map_err(|error| error.to_string())
}

/// Two labels that stand in front of a zone, as in `_edge._tcp` (RFC 2782).
pub(crate) fn service_name(text: &str) -> Result<DnsName, String> {
    let name: DnsName = text.parse().map_err(|error| format!("{error}"))?;
    if is_service(&name) {
        Ok(name)
    } else {
        Err("not two labels that begin with an underscore, as in _edge._tcp".to_owned())
    }
}

fn resolver_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .or_else(|_| {
            text.parse()
                .map(|address: IpAddr| SocketAddr::new(address, 53))
        })
        .map_err(|_| "neither an address nor ADDRESS:PORT".to_owned())
}

/// What resolv.conf(5) says, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    /// Resolvers.
    pub(crate) servers: Vec<IpAddr>,
    /// Domains in which short names are looked up; the machine's own come first.
    pub(crate) search: Vec<DnsName>,
}

impl ResolvConf {
    fn read(file: &Path) -> std::io::Result<Self> {
        let mut text = String::new();
        std::fs::File::open(file)?
            .take(RESOLV_CONF_OCTETS)
            .read_to_string(&mut text)?;
        Ok(Self::parse(&text))
    }

    /// Reads the file's text; what is not understood is left out, as resolvers do. The last `search` or `domain` counts.
    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if found.servers.len() < SERVERS => {
                    found
                        .servers
                        .extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                Some("search" | "domain") => {
                    let domains = words.filter_map(|word| word.parse().ok());
                    found.search = domains.take(SEARCH_DOMAINS).collect();
                }
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read_as_resolvers_do() {
        let text = "# comment\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver ::1\nnameserver 192.0.2.1\n\
                    nameserver 192.0.2.2\noptions edns0\ndomain old.example\nsearch Home.Example. . lan\n";
        let found = ResolvConf::parse(text);
        let servers: Vec<IpAddr> = ["127.0.0.53", "::1", "192.0.2.1"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        assert_eq!(found.servers, servers);
        let search: Vec<&str> = found.search.iter().map(DnsName::as_str).collect();
        assert_eq!(search, ["home.example", "lan"]);
        assert_eq!(
            ResolvConf::parse("\0\u{7f}\nsearch\n"),
            ResolvConf::default()
        );
    }

    #[test]
    fn resolvers_are_given_with_or_without_a_port() {
        for (text, want) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("::1", "[::1]:53"),
            ("[::1]:5353", "[::1]:5353"),
        ] {
            assert_eq!(resolver_address(text), Ok(want.parse().unwrap()));
        }
        assert!(resolver_address("dns.example").is_err());
    }
}
