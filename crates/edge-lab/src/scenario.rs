//! Scenario files: an Internet described in TOML, written by hand or by the sampler.
//!
//! ```toml
//! format = 1
//! name = "three-hops"
//! seed = 7
//!
//! cloud = { router = "nyc", addresses = ["240.0.0.10"], host = "app.cloud.example" }
//! dns   = { router = "nyc", addresses = ["240.0.0.53"] }
//! chain = { router = "nyc", addresses = ["240.0.0.80"] }
//!
//! routers = [
//!   { id = "nyc", addresses = ["240.1.0.1"] },
//!   { id = "fra", addresses = ["240.1.1.1"], name = "core1.fra.nordlink.example", zone = "nordlink.example" },
//! ]
//! links = [
//!   { a = "nyc", b = "fra", delay_ms = 40 },
//! ]
//! clients = [
//!   { prefix = "240.16.0.0/24", router = "fra" },
//! ]
//!
//! [[providers]]
//! domain = "nordlink.example"
//! sites = [
//!   { host = "edge1.nordlink.example", router = "fra", addresses = ["240.32.0.1"], price_wei_per_second = "1000" },
//! ]
//! ```
//!
//! Unknown fields are refused, so that a misspelt one cannot silently mean its default.

mod error;
mod text;
mod validate;

use std::net::IpAddr;
use std::path::Path;

use edge_types::{DnsName, IpNet};
use serde::{Deserialize, Serialize};

pub use error::{Problem, ScenarioError};

/// The only version of the format so far.
pub const FORMAT: u32 = 1;

/// Largest scenario file read, in octets.
pub const MAX_FILE_OCTETS: u64 = 8 * 1024 * 1024;

/// A whole scenario. [`Scenario::load`] and [`Scenario::parse`] return only valid ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Version of the format: 1.
    pub format: u32,
    /// Name for reports.
    pub name: String,
    /// What this is and where it comes from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Seed of every choice that the lab makes: load balancing, jitter, loss, demand.
    pub seed: u64,
    /// Values for routers and hosts that do not say otherwise.
    #[serde(default)]
    pub defaults: Defaults,
    /// The application's home, where the orchestrator runs and probes start.
    pub cloud: Cloud,
    /// The authoritative name server.
    pub dns: Host,
    /// The ledger's JSON-RPC end point.
    pub chain: Host,
    /// Routers.
    pub routers: Vec<Router>,
    /// Links between routers.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Client networks.
    pub clients: Vec<ClientPrefix>,
    /// Edge providers. Domains that only name routers need no entry.
    #[serde(default)]
    pub providers: Vec<Provider>,
}

/// Values for routers and hosts that do not say otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// How routers ration their ICMP errors.
    pub icmp: Icmp,
    /// How much of the offending packet routers quote.
    pub quote: Quote,
    /// One-way delay of access links in milliseconds, 0 to 10,000.
    pub access_ms: f64,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            icmp: Icmp::Linux,
            quote: Quote::Full,
            access_ms: 0.2,
        }
    }
}

/// How a router rations its ICMP errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Icmp {
    /// As Linux does by default: 6 at once, then 1 per second, for each destination of the error.
    Linux,
    /// Always answers.
    Unlimited,
    /// Never answers.
    Silent,
}

/// A router's own ration of ICMP errors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IcmpRate {
    /// How many at once, at least 1.
    pub burst: u32,
    /// How many per second afterwards, above 0.
    pub per_second: f64,
    /// What shares one ration.
    #[serde(default)]
    pub scope: RateScope,
}

/// What shares one ration of ICMP errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateScope {
    /// Everybody.
    #[default]
    Router,
    /// Each destination of the errors has its own.
    Destination,
}

/// Extra delay of ICMP errors that a router's control processor makes: `base_ms` plus an exponentially distributed
/// time of mean `mean_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowPath {
    /// The least, 0 to 10,000.
    pub base_ms: f64,
    /// Mean of the random part, 0 to 10,000.
    #[serde(default)]
    pub mean_ms: f64,
}

/// How much of the offending packet's IP payload an ICMP error quotes, after its IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quote {
    /// Only the first 8 or 28 octets; RFC 792 asks for 8.
    Octets(u8),
    /// As much as fits (576 octets in all for IPv4, RFC 1812; 1280 for IPv6, RFC 4443).
    Full,
}

/// A router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Unique name within the file.
    pub id: String,
    /// Its address, at most one of each family. It answers only for the families that it has.
    pub addresses: Vec<IpAddr>,
    /// What the PTR records of its addresses say; none without.
    #[serde(
        default,
        with = "text::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub name: Option<DnsName>,
    /// The operator's domain that `name` lies in; the ground truth for discovery.
    #[serde(
        default,
        with = "text::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub zone: Option<DnsName>,
    /// How it rations ICMP errors; the default of the file without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp>,
    /// A ration of its own, in place of `icmp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_rate: Option<IcmpRate>,
    /// Extra delay of its ICMP errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_path: Option<SlowPath>,
    /// How much it quotes: 8, 28 or "full"; the default of the file without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<Quote>,
    /// Other addresses that its ICMP errors come from, at most one of each family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reply_from: Vec<IpAddr>,
}

/// A link between two routers, in both directions.
///
/// Packets take the path of least total cost. Where several cost the same, each router picks one by a hash of the
/// flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// One end, a router id.
    pub a: String,
    /// The other end, a router id.
    pub b: String,
    /// One-way delay from a to b in milliseconds, 0 to 10,000.
    pub delay_ms: f64,
    /// One-way delay from b to a, if other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse_delay_ms: Option<f64>,
    /// Random extra delay, uniform between 0 and this many milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub jitter_ms: f64,
    /// Share of packets lost, at least 0 and below 1.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub loss: f64,
    /// Capacity in megabits per second in each direction; unlimited without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_mbps: Option<f64>,
    /// Routing cost from a to b, at least 1; the delay in microseconds without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<u32>,
    /// Routing cost from b to a; `cost`, or the reverse delay in microseconds, without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse_cost: Option<u32>,
}

/// A host that plays one part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// The router that it hangs on.
    pub router: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// One-way delay of its access link; the default of the file without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_ms: Option<f64>,
}

/// The application's home.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cloud {
    /// The router that it hangs on.
    pub router: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The application's name, which clients resolve.
    #[serde(with = "text")]
    pub host: DnsName,
    /// One-way delay of its access link; the default of the file without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_ms: Option<f64>,
}

/// A network of clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientPrefix {
    /// Every address in it belongs to clients.
    pub prefix: IpNet,
    /// The router that it hangs on.
    pub router: String,
    /// Share of the demand, relative to the other prefixes; above 0.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: f64,
    /// Do its addresses answer probes?
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub answers_probes: bool,
    /// Its addresses' PTR records name hosts of this domain; they have none without.
    #[serde(
        default,
        with = "text::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub domain: Option<DnsName>,
    /// One-way delay of its access link; the default of the file without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_ms: Option<f64>,
}

/// An edge provider: one domain, one agent, one or more sites.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Its domain.
    #[serde(with = "text")]
    pub domain: DnsName,
    /// Does the domain publish SRV records for the sites?
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub listed: bool,
    /// What it says to funded proposals.
    #[serde(default, skip_serializing_if = "is_default")]
    pub decision: Decision,
    /// How it wants to make contracts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub settlement: SettlementKind,
    /// Its sites, at least one.
    pub sites: Vec<Site>,
}

/// What a provider says to funded proposals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Confirms what it can serve.
    #[default]
    Confirm,
    /// Rejects everything.
    Reject,
}

/// How a provider wants to make contracts (paper section 2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SettlementKind {
    /// By the escrow contract.
    #[default]
    Escrow,
    /// By talking to it first.
    Contact,
}

/// One edge site, with its entry point (IEP).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// SRV target, within the provider's domain.
    #[serde(with = "text")]
    pub host: DnsName,
    /// The router that it hangs on.
    pub router: String,
    /// Its addresses, at least one.
    pub addresses: Vec<IpAddr>,
    /// Price of one second for the whole slot, in wei, decimal.
    #[serde(with = "text")]
    pub price_wei_per_second: u128,
    /// SRV port.
    #[serde(default = "http_port", skip_serializing_if = "is_http_port")]
    pub port: u16,
    /// SRV priority.
    #[serde(default = "ten", skip_serializing_if = "is_ten")]
    pub priority: u16,
    /// SRV weight.
    #[serde(default = "ten", skip_serializing_if = "is_ten")]
    pub weight: u16,
    /// Hardware: thousandths of a processor.
    #[serde(default = "two_processors", skip_serializing_if = "is_two_processors")]
    pub milli_cpu: u32,
    /// Hardware: memory in MiB.
    #[serde(default = "memory", skip_serializing_if = "is_memory")]
    pub memory_mib: u32,
    /// Hardware: processes and threads.
    #[serde(default = "pids", skip_serializing_if = "is_pids")]
    pub pids: u32,
    /// One-way delay of its access link; the default of the file without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_ms: Option<f64>,
}

impl Scenario {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ScenarioError`], whose text is one line that names the file, the field and the remedy.
    pub fn load(file: &Path) -> Result<Self, ScenarioError> {
        let name = file.display().to_string();
        let read = || -> std::io::Result<String> {
            use std::io::Read as _;
            let mut text = String::new();
            std::fs::File::open(file)?
                .take(MAX_FILE_OCTETS + 1)
                .read_to_string(&mut text)?;
            Ok(text)
        };
        let text = read().map_err(|source| ScenarioError::Read {
            file: name.clone(),
            source,
        })?;
        Self::parse(&name, &text)
    }

    /// Checks the text of a file; `file` is its name for errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, ScenarioError> {
        if text.len() as u64 > MAX_FILE_OCTETS {
            return Err(ScenarioError::TooLarge {
                file: file.to_owned(),
            });
        }
        let scenario: Self =
            toml::from_str(text).map_err(|cause| ScenarioError::parse(file, text, &cause))?;
        scenario
            .validate()
            .map_err(|(field, problem)| ScenarioError::Invalid {
                file: file.to_owned(),
                field,
                problem,
            })?;
        Ok(scenario)
    }
}

const fn yes() -> bool {
    true
}
const fn one() -> f64 {
    1.0
}
const fn http_port() -> u16 {
    80
}
const fn ten() -> u16 {
    10
}
const fn two_processors() -> u32 {
    2000
}
const fn memory() -> u32 {
    1024
}
const fn pids() -> u32 {
    256
}

macro_rules! is_value {
    ($($name:ident: $type:ty = $value:expr;)*) => {$(
        fn $name(value: &$type) -> bool {
            *value == $value
        }
    )*};
}
is_value! {
    is_yes: bool = yes();
    is_http_port: u16 = http_port();
    is_ten: u16 = ten();
    is_two_processors: u32 = two_processors();
    is_memory: u32 = memory();
    is_pids: u32 = pids();
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &f64) -> bool {
    value.abs() < f64::EPSILON
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(value: &f64) -> bool {
    (value - 1.0).abs() < f64::EPSILON
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests;
