//! The agent's configuration file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use edge_negotiation::{BookLimits, SiteTerms};
use edge_types::{
    AddressPolicy, Amount, ChainAddress, ChainId, ContentCategory, ContentPolicy, Guarantee,
    HardwareProfile, IepId, IpNet, Settlement, SiteConditions, SlaTerms, TeeKind,
};
use edge_wire::relay::MAX_PORTS;
use edge_wire::services::{ServiceListing, Services};
use edge_wire::signing::text_hash;
use serde::Deserialize;

/// A file with every setting, its default and its meaning.
pub const TEMPLATE: &str = include_str!("template.toml");

/// The agreement's prose. Its hash is part of every offer, so that text and parameters stand together.
pub const SLA_TEXT: &str = include_str!("sla.txt");

/// Everything that `exec-edge provider` needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// File with the key that signs and is paid.
    pub key_file: PathBuf,
    /// The ledger.
    pub ledger: LedgerSettings,
    /// Where images and containers are kept.
    pub state_directory: PathBuf,
    /// Which registries and egress addresses workloads may use (security rules 4 and 14).
    pub addresses: AddressPolicy,
    /// A relay through which the sites are reached, if they cannot be directly.
    pub relay: Option<SocketAddr>,
    /// Bounds of the book.
    pub limits: BookLimits,
    /// The sites.
    pub sites: Vec<SiteConfig>,
}

/// Where the escrow is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerSettings {
    /// JSON-RPC endpoint of a node: `http://address:port`.
    pub rpc_url: String,
    /// A second node, of another operator: where one is named, what both say alike counts (security rule 10).
    pub second_rpc_url: Option<String>,
    /// The chain.
    pub chain: ChainId,
    /// The escrow.
    pub contract: ChainAddress,
    /// Blocks after which a transaction counts, itself included.
    pub confirmations: u64,
    /// Time between two looks for a new block.
    pub poll_interval: Duration,
    /// The most that a unit of gas may cost, gwei.
    pub max_fee_gwei: u32,
}

/// One site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteConfig {
    /// Its entry point, as in its SRV record.
    pub id: IepId,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where workloads are served to clients.
    pub service_address: IpAddr,
    /// By which address others know the site, if by another than where it listens: behind NAT or a relay.
    pub public_address: Option<IpAddr>,
    /// First and last TCP port for workloads, one each.
    pub service_ports: (u16, u16),
    /// All hardware that can be let.
    pub capacity: HardwareProfile,
    /// Price of one second of one lease.
    pub price_per_second: Amount,
    /// The promises.
    pub sla: SlaTerms,
    /// What stands behind them.
    pub guarantee: Guarantee,
    /// What the site is and takes.
    pub conditions: SiteConditions,
    /// Contact information, for a site that wants people to talk first; `None` settles by escrow.
    pub contact: Option<String>,
    /// False: rejects every agreement.
    pub accepts: bool,
    /// Files of the certificate and key with which the API is served over TLS; `None` serves plain HTTP. Workloads are served as
    /// they are.
    pub tls: Option<TlsFiles>,
    /// What clients nearby are told about if they ask; `None` if the owner tells nobody.
    pub listing: Option<Vec<ServiceListing>>,
}

/// PEM files for TLS. They may be replaced while the agent runs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The site's certificate, followed by those of the authorities above it, if any.
    pub certificates: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl SiteConfig {
    /// How many ports it has, its entry point's included.
    fn ports(&self) -> usize {
        let (first, last) = self.service_ports;
        usize::from(last - first) + 2
    }

    pub(crate) fn terms(&self, provider: ChainAddress, ledger: &LedgerSettings) -> SiteTerms {
        SiteTerms {
            site: self.id.clone(),
            provider,
            capacity: self.capacity,
            price_per_second: self.price_per_second,
            sla: self.sla,
            guarantee: self.guarantee,
            conditions: self.conditions.clone(),
            settlement: self.contact.clone().map_or(
                Settlement::Escrow {
                    chain: ledger.chain,
                    contract: ledger.contract,
                },
                Settlement::Contact,
            ),
            accepts: self.accepts,
        }
    }
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML of the expected shape; unknown fields are refused.
    #[error("reading the configuration")]
    Syntax(#[source] toml::de::Error),
    /// A setting is out of range, or contradicts another.
    #[error("{setting}: {problem}")]
    Setting {
        /// Which; with the site's host name, if it is a site's.
        setting: String,
        /// What is wrong.
        problem: &'static str,
    },
}

impl ProviderConfig {
    /// Reads and checks a configuration file's text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(ConfigError::Syntax)?;
        let refuse = |setting: &str, problem| ConfigError::Setting {
            setting: setting.to_owned(),
            problem,
        };
        if file.site.is_empty() || file.site.len() > 256 {
            return Err(refuse("[[site]]", "1 to 256 sites are needed"));
        }
        let contract =
            file.ledger.contract.parse().map_err(|_| {
                refuse("ledger.contract", "not an address of 40 hexadecimal digits")
            })?;
        if file.ledger.confirmations == 0 {
            return Err(refuse("ledger.confirmations", "at least 1"));
        }
        if file.ledger.max_fee_gwei == 0 {
            return Err(refuse("ledger.max_fee_gwei", "at least 1"));
        }
        let allowed = file
            .allow_addresses
            .iter()
            .map(|prefix| prefix.parse())
            .collect::<Result<Vec<IpNet>, _>>()
            .map_err(|_| refuse("allow_addresses", "not prefixes as in 240.0.0.0/4"))?;
        let sites = file
            .site
            .into_iter()
            .map(|site| site.check(file.relay))
            .collect::<Result<Vec<_>, _>>()?;
        let (mut ids, mut listens) = (BTreeSet::new(), BTreeSet::new());
        for site in &sites {
            if !ids.insert(&site.id) || (site.listen.port() != 0 && !listens.insert(site.listen)) {
                return Err(refuse(
                    &format!("site {}", site.id),
                    "entry point or listening address used twice",
                ));
            }
        }
        let config = Self {
            key_file: file.key_file,
            ledger: LedgerSettings {
                rpc_url: file.ledger.rpc_url,
                second_rpc_url: file.ledger.second_rpc_url,
                chain: ChainId(file.ledger.chain_id),
                contract,
                confirmations: file.ledger.confirmations,
                poll_interval: Duration::from_millis(file.ledger.poll_interval_ms.max(10)),
                max_fee_gwei: file.ledger.max_fee_gwei,
            },
            state_directory: file.state_directory,
            addresses: AddressPolicy::new(allowed),
            limits: BookLimits {
                time_to_commit_seconds: file.time_to_commit_seconds,
                missed_receipts: file.missed_receipts,
                ..BookLimits::default()
            },
            relay: file.relay,
            sites,
        };
        if config.relay.is_some() {
            let services = config.relayed_services();
            let wanted: usize = config.sites.iter().map(SiteConfig::ports).sum();
            if services.len() < wanted {
                return Err(refuse(
                    "relay",
                    "two sites have the same port, and the relay has one address",
                ));
            }
            if wanted > MAX_PORTS {
                return Err(refuse(
                    "relay",
                    "at most 256 ports in all; give fewer service_ports",
                ));
            }
        }
        Ok(config)
    }

    /// What a relay makes reachable: own service by public port, which is the one that the site has itself.
    pub fn relayed_services(&self) -> BTreeMap<u16, SocketAddr> {
        let mut services = BTreeMap::new();
        for site in &self.sites {
            let mut listen = site.listen;
            if listen.ip().is_unspecified() {
                listen.set_ip(if listen.is_ipv4() {
                    Ipv4Addr::LOCALHOST.into()
                } else {
                    Ipv6Addr::LOCALHOST.into()
                });
            }
            services.insert(site.id.port, listen);
            let (first, last) = site.service_ports;
            services.extend(
                (first..=last).map(|port| (port, SocketAddr::new(site.service_address, port))),
            );
        }
        services
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_field_names,
    reason = "the names of the settings in the file"
)]
struct File {
    key_file: PathBuf,
    state_directory: PathBuf,
    #[serde(default)]
    allow_addresses: Vec<String>,
    #[serde(default)]
    relay: Option<SocketAddr>,
    #[serde(default = "defaults::time_to_commit")]
    time_to_commit_seconds: u64,
    #[serde(default = "defaults::missed_receipts")]
    missed_receipts: u32,
    ledger: Ledger,
    site: Vec<Site>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    rpc_url: String,
    #[serde(default)]
    second_rpc_url: Option<String>,
    chain_id: u64,
    contract: String,
    #[serde(default = "defaults::confirmations")]
    confirmations: u64,
    #[serde(default = "defaults::poll_interval_ms")]
    poll_interval_ms: u64,
    #[serde(default = "defaults::max_fee_gwei")]
    max_fee_gwei: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Site {
    host: String,
    port: u16,
    listen: SocketAddr,
    service_address: IpAddr,
    #[serde(default)]
    public_address: Option<IpAddr>,
    service_ports: (u16, u16),
    milli_cpu: u32,
    memory_mib: u32,
    pids: u32,
    price_per_second_wei: String,
    #[serde(default)]
    contact: Option<String>,
    #[serde(default)]
    accept: Accept,
    #[serde(default)]
    tls: Option<TlsFiles>,
    #[serde(default = "defaults::listing")]
    listing: bool,
    #[serde(default)]
    service: Vec<Service>,
    #[serde(default = "defaults::availability_ppm")]
    availability_ppm: u32,
    #[serde(default = "defaults::receipt_interval_seconds")]
    receipt_interval_seconds: u32,
    #[serde(default = "defaults::notice_seconds")]
    notice_seconds: u32,
    #[serde(default)]
    round_trip_ms: u32,
    #[serde(default = "defaults::stake_wei")]
    stake_wei: String,
    #[serde(default)]
    arbiter: Option<String>,
    #[serde(default)]
    answer_seconds: Option<u32>,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    tee: Option<String>,
    #[serde(default)]
    refuses: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Accept {
    #[default]
    Confirm,
    Reject,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    name: String,
    #[serde(default)]
    description: String,
    url: String,
}

mod defaults {
    pub(super) const fn listing() -> bool {
        true
    }
    pub(super) const fn time_to_commit() -> u64 {
        120
    }
    pub(super) const fn missed_receipts() -> u32 {
        3
    }
    pub(super) const fn confirmations() -> u64 {
        1
    }
    pub(super) const fn max_fee_gwei() -> u32 {
        100
    }
    pub(super) const fn poll_interval_ms() -> u64 {
        500
    }
    pub(super) const fn availability_ppm() -> u32 {
        950_000
    }
    pub(super) const fn receipt_interval_seconds() -> u32 {
        30
    }
    pub(super) const fn notice_seconds() -> u32 {
        10
    }
    pub(super) fn stake_wei() -> String {
        "0".to_owned()
    }
}

impl Site {
    fn conditions(&self) -> Result<SiteConditions, ConfigError> {
        let refuse = |setting: &str, problem| ConfigError::Setting {
            setting: format!("site {}: {setting}", self.host),
            problem,
        };
        let region = self.region.as_deref().map(str::parse).transpose();
        let tee: Option<TeeKind> = self
            .tee
            .as_deref()
            .map(str::parse)
            .transpose()
            .ok()
            .flatten();
        if self.tee.is_some() && !tee.as_ref().is_some_and(TeeKind::is_known) {
            return Err(refuse("tee", "none of cca, nitro, sev-snp, sgx, tdx"));
        }
        let refuses: BTreeSet<ContentCategory> = self
            .refuses
            .iter()
            .filter_map(|kind| kind.parse().ok())
            .filter(ContentCategory::is_known)
            .collect();
        if refuses.len() != self.refuses.len() {
            return Err(refuse(
                "refuses",
                "has something twice, or that is not among what can be refused, which the template lists",
            ));
        }
        Ok(SiteConditions {
            region: region.map_err(|_| refuse("region", "a country is two letters, like FI"))?,
            tee,
            content: ContentPolicy {
                refuses,
                ..ContentPolicy::default()
            },
        })
    }

    fn check(self, relay: Option<SocketAddr>) -> Result<SiteConfig, ConfigError> {
        let refuse = |setting: &str, problem| ConfigError::Setting {
            setting: format!("site {}: {setting}", self.host),
            problem,
        };
        let host = self
            .host
            .parse()
            .map_err(|_| refuse("host", "not a host name"))?;
        let (first, last) = self.service_ports;
        if first == 0 || first > last {
            return Err(refuse("service_ports", "first and last port, from 1"));
        }
        let overlaps = self.listen.ip() == self.service_address
            && (first..=last).contains(&self.listen.port());
        if overlaps {
            return Err(refuse("service_ports", "contains the port of listen"));
        }
        if self.milli_cpu == 0 || self.memory_mib == 0 || self.pids == 0 {
            return Err(refuse("milli_cpu, memory_mib, pids", "at least 1 each"));
        }
        let wei = |setting, text: &str| {
            Some(text)
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|text| text.parse::<u128>().ok())
                .ok_or_else(|| refuse(setting, "not a decimal string of wei"))
        };
        let units = wei("price_per_second_wei", &self.price_per_second_wei)?;
        // Who says no has to say it on the ledger; who says yes does it by signature, which costs nothing.
        let answer_seconds = self.answer_seconds.unwrap_or(match self.accept {
            Accept::Confirm => 0,
            Accept::Reject => 120,
        });
        if answer_seconds > 600 {
            return Err(refuse("answer_seconds", "at most 600"));
        }
        let arbiter = self.arbiter.as_deref().map(str::parse).transpose();
        let guarantee = Guarantee {
            stake: wei("stake_wei", &self.stake_wei)?,
            arbiter: arbiter
                .map_err(|_| refuse("arbiter", "not an address of 40 hexadecimal digits"))?,
            answer_seconds,
        };
        if self.availability_ppm > 1_000_000 {
            return Err(refuse("availability_ppm", "at most a million"));
        }
        if self.round_trip_ms > 60_000 {
            return Err(refuse("round_trip_ms", "at most 60000"));
        }
        if self.receipt_interval_seconds == 0 {
            return Err(refuse("receipt_interval_seconds", "at least 1"));
        }
        if self.contact.as_ref().is_some_and(|text| text.len() > 256) {
            return Err(refuse("contact", "at most 256 octets"));
        }
        let conditions = self.conditions()?;
        let services: Vec<_> = self
            .service
            .into_iter()
            .map(|service| ServiceListing {
                name: service.name,
                description: service.description,
                url: service.url,
            })
            .collect();
        if services.len() > Services::MOST
            || services.iter().any(|service| service.validate().is_err())
        {
            return Err(refuse(
                "[[site.service]]",
                "at most 64, each with a name of 1 to 64 octets, a description of at most 256, and an http or https url of at most 255",
            ));
        }
        Ok(SiteConfig {
            id: IepId {
                host,
                port: self.port,
            },
            listen: self.listen,
            service_address: self.service_address,
            public_address: self.public_address.or(relay.map(|relay| relay.ip())),
            service_ports: self.service_ports,
            capacity: HardwareProfile {
                milli_cpu: self.milli_cpu,
                memory_bytes: u64::from(self.memory_mib) << 20,
                pids: self.pids,
            },
            price_per_second: Amount::wei(units),
            sla: SlaTerms {
                text_hash: text_hash(SLA_TEXT),
                availability_ppm: self.availability_ppm,
                receipt_interval_seconds: self.receipt_interval_seconds,
                notice_seconds: self.notice_seconds,
                round_trip_ms: self.round_trip_ms,
            },
            guarantee,
            conditions,
            contact: self.contact,
            accepts: self.accept == Accept::Confirm,
            tls: self.tls,
            listing: self.listing.then_some(services),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_valid_configuration() {
        let config = ProviderConfig::parse(TEMPLATE).unwrap();
        assert_eq!(config.sites.len(), 1);
        let short: String = TEMPLATE
            .lines()
            .filter(|line| !line.contains("# default"))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_eq!(
            ProviderConfig::parse(&short).unwrap(),
            config,
            "its values are the defaults"
        );
    }

    #[test]
    fn a_site_says_what_it_is_and_takes() {
        let said = "region = \"fi\"\ntee = \"tdx\"\nrefuses = [\"mining\", \"adult\"]";
        let config = ProviderConfig::parse(&TEMPLATE.replace("refuses = []", said)).unwrap();
        let conditions = &config.sites[0].conditions;
        assert_eq!(conditions.region.unwrap().to_string(), "FI");
        assert_eq!(conditions.tee.as_ref().unwrap().as_str(), "tdx");
        assert_eq!(conditions.content.refuses.len(), 2);
        for kind in ContentCategory::KNOWN.iter().chain(TeeKind::KNOWN) {
            assert!(TEMPLATE.contains(kind), "{kind} is not in the template");
        }
    }

    #[test]
    fn behind_a_relay_sites_are_known_by_its_address() {
        let relayed = format!("relay = \"203.0.113.5:7000\"\n{TEMPLATE}");
        let config = ProviderConfig::parse(&relayed).unwrap();
        assert_eq!(
            config.sites[0].public_address,
            Some([203, 0, 113, 5].into())
        );
        let services = config.relayed_services();
        assert_eq!(services.len(), 101);
        assert_eq!(services[&80], "192.0.2.1:80".parse().unwrap());
        assert_eq!(services[&20_099], "192.0.2.1:20099".parse().unwrap());
        let many = relayed.replace("20099", "20900");
        assert!(
            ProviderConfig::parse(&many)
                .unwrap_err()
                .to_string()
                .contains("relay")
        );
        let direct = ProviderConfig::parse(TEMPLATE).unwrap();
        assert_eq!((direct.relay, direct.sites[0].public_address), (None, None));
    }

    #[test]
    fn bad_settings_are_named() {
        for (from, to, named) in [
            ("port = 80", "port = 80\nprot = 81", "prot"),
            ("20000, 20099", "20099, 20000", "service_ports"),
            ("20000, 20099", "80, 20099", "service_ports"),
            ("\"1000000000000\"", "\"1e12\"", "price_per_second_wei"),
            ("\"edge.isp.example\"", "\"edge isp\"", "host"),
            ("confirmations = 1", "confirmations = 0", "confirmations"),
            ("max_fee_gwei = 100", "max_fee_gwei = 0", "max_fee_gwei"),
            ("milli_cpu = 2000", "milli_cpu = 0", "milli_cpu"),
            (
                "milli_cpu",
                "tls = { certificates = \"a.pem\" }\nmilli_cpu",
                "key",
            ),
            (
                "milli_cpu",
                "tls = { certificates = \"a\", key = \"b\", keys = \"c\" }\nmilli_cpu",
                "keys",
            ),
            ("milli_cpu", "region = \"Finland\"\nmilli_cpu", "region"),
            ("milli_cpu", "tee = \"tpm\"\nmilli_cpu", "tee"),
            (
                "refuses = []",
                "refuses = [\"adult\", \"noise\"]",
                "refuses",
            ),
            (
                "listing = true",
                "listing = true\nservice = [{ name = \"a\", url = \"ftp://a\" }]\n#",
                "[[site.service]]",
            ),
        ] {
            let text = TEMPLATE.replace(from, to);
            assert_ne!(text, TEMPLATE, "{from}");
            let error = ProviderConfig::parse(&text).unwrap_err();
            let cause = std::error::Error::source(&error);
            let told = format!(
                "{error} {}",
                cause.map(ToString::to_string).unwrap_or_default()
            );
            assert!(told.contains(named), "{told}");
        }
    }
}
