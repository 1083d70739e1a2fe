//! The agent's configuration file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use edge_negotiation::{BookLimits, SiteTerms};
use edge_types::{
    AddressPolicy, Amount, ChainAddress, ChainId, Guarantee, HardwareProfile, IepId, IpNet,
    Settlement, SiteConditions, SlaTerms,
};
use edge_wire::prose::Prose;
use edge_wire::relay::MAX_PORTS;
use edge_wire::services::ServiceListing;
use serde::Deserialize;

mod site;

use site::Site;

/// A file with every setting, its default and its meaning.
pub const TEMPLATE: &str = include_str!("template.toml");

/// The agreement's prose where the owner of a site gives no other. Its hash is part of every offer, so that text and parameters stand together.
pub const SLA_TEXT: &str = include_str!("sla.txt");

/// Everything that `exec-edge provider` needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// File with the key that signs and is paid.
    pub key_file: PathBuf,
    /// The chain, unless there is none: then agreements are in the parties' own books.
    pub ledger: Option<LedgerSettings>,
    /// What buyers paid in advance, smallest units.
    pub allowances: BTreeMap<ChainAddress, u128>,
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
    /// The texts that its offers name: the agreement's, and the content policy's if it has one.
    pub texts: Vec<Prose>,
    /// How it is paid.
    pub settlement: SiteSettlement,
    /// False: rejects every agreement.
    pub accepts: bool,
    /// Files of the certificate and key with which the API is served over TLS; `None` serves plain HTTP. Workloads are served as
    /// they are.
    pub tls: Option<TlsFiles>,
    /// What clients nearby are told about if they ask; `None` if the owner tells nobody.
    pub listing: Option<Vec<ServiceListing>>,
}

/// How a site is paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteSettlement {
    /// Into the escrow of [`ProviderConfig::ledger`].
    Escrow,
    /// Out of what the buyer paid in advance.
    Allowance,
    /// People talk first: how to reach them.
    Contact(String),
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

    pub(crate) fn terms(
        &self,
        provider: ChainAddress,
        ledger: Option<&LedgerSettings>,
    ) -> SiteTerms {
        SiteTerms {
            site: self.id.clone(),
            provider,
            capacity: self.capacity,
            price_per_second: self.price_per_second,
            sla: self.sla,
            guarantee: self.guarantee,
            conditions: self.conditions.clone(),
            settlement: self.settlement(ledger),
            accepts: self.accepts,
        }
    }

    /// How its offers are paid. A site that is paid by escrow has a ledger: the configuration was checked.
    pub(crate) fn settlement(&self, ledger: Option<&LedgerSettings>) -> Settlement {
        match (&self.settlement, ledger) {
            (SiteSettlement::Contact(contact), _) => Settlement::Contact(contact.clone()),
            (SiteSettlement::Escrow, Some(ledger)) => Settlement::Escrow {
                chain: ledger.chain,
                contract: ledger.contract,
            },
            (SiteSettlement::Allowance | SiteSettlement::Escrow, _) => Settlement::Allowance,
        }
    }
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML of the expected shape; unknown fields are refused.
    #[error("reading the configuration")]
    Syntax(#[source] toml::de::Error),
    /// A text that a site's offers are to name cannot be read.
    #[error("{setting}: reading {}", path.display())]
    Text {
        /// Which setting names it.
        setting: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
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
    /// Reads and checks a configuration file's text, and the files of prose that it names.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(ConfigError::Syntax)?;
        let refuse = |setting: &str, problem| ConfigError::Setting {
            setting: setting.to_owned(),
            problem,
        };
        if file.site.is_empty() || file.site.len() > 256 {
            return Err(refuse("[[site]]", "1 to 256 sites are needed"));
        }
        let ledger = file.ledger.map(Ledger::check).transpose()?;
        let mut allowances = BTreeMap::new();
        for allowance in &file.allowance {
            let (buyer, units) = allowance.check()?;
            if allowances.insert(buyer, units).is_some() {
                return Err(refuse("[[allowance]]", "a buyer has one"));
            }
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
            .map(|site| site.check(file.relay, ledger.is_some()))
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
            ledger,
            allowances,
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

    /// The chain on which its key is known, for lists and records; 0 if it uses none.
    pub fn chain(&self) -> ChainId {
        let ledger = self.ledger.as_ref();
        ledger.map_or(ChainId(0), |ledger| ledger.chain)
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
    #[serde(default)]
    ledger: Option<Ledger>,
    #[serde(default)]
    allowance: Vec<Allowance>,
    site: Vec<Site>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowance {
    buyer: String,
    units: String,
}

impl Allowance {
    fn check(&self) -> Result<(ChainAddress, u128), ConfigError> {
        let refuse = |setting: &str, problem| ConfigError::Setting {
            setting: setting.to_owned(),
            problem,
        };
        let buyer = self
            .buyer
            .parse()
            .map_err(|_| refuse("allowance.buyer", "not an address of 40 hexadecimal digits"))?;
        let units = decimal(&self.units)
            .ok_or_else(|| refuse("allowance.units", "not a decimal string of smallest units"))?;
        Ok((buyer, units))
    }
}

fn decimal(text: &str) -> Option<u128> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_decimal)
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

impl Ledger {
    fn check(self) -> Result<LedgerSettings, ConfigError> {
        let refuse = |setting: &str, problem| ConfigError::Setting {
            setting: setting.to_owned(),
            problem,
        };
        let contract = self
            .contract
            .parse()
            .map_err(|_| refuse("ledger.contract", "not an address of 40 hexadecimal digits"))?;
        if self.confirmations == 0 {
            return Err(refuse("ledger.confirmations", "at least 1"));
        }
        if self.max_fee_gwei == 0 {
            return Err(refuse("ledger.max_fee_gwei", "at least 1"));
        }
        Ok(LedgerSettings {
            rpc_url: self.rpc_url,
            second_rpc_url: self.second_rpc_url,
            chain: ChainId(self.chain_id),
            contract,
            confirmations: self.confirmations,
            poll_interval: Duration::from_millis(self.poll_interval_ms.max(10)),
            max_fee_gwei: self.max_fee_gwei,
        })
    }
}

mod defaults {
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
}

#[cfg(test)]
mod tests;
