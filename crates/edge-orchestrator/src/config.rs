//! The orchestrator's configuration: its application, its money, its policy. Nothing about the network it will find.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use edge_discovery::{Tier, TrustPolicy};
use edge_negotiation::KeyBinding;
use edge_placement::Algorithm;
use edge_types::{
    Asset, ChainAddress, ChainId, ContentCategory, Country, CountryError, DnsName, HardwareProfile,
    ImageDigest, PrefixGrouping, TeeKind, WantedConditions,
};
use serde::Deserialize;

mod discovery;
mod pace;
mod placement;
mod policy;
mod services;

pub use discovery::{ConfiguredSite, Discovery, FeedSource, Lists};
pub use pace::Pace;
pub use placement::{Mode, Placement};
pub use policy::{Backing, Policy};
use services::services;

/// The configuration file, TOML. Times are in the unit that the name ends in; money is a decimal string of smallest units of `budget.asset`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is offered to clients and what of it may move.
    pub application: Application,
    /// Where names are resolved.
    pub resolver: Resolver,
    /// Who pays, and where.
    pub wallet: Wallet,
    /// How much may be spent.
    pub budget: Budget,
    /// Providers that were paid in advance, outside ExEC.
    #[serde(default)]
    pub partner: Vec<Partner>,
    /// What is acceptable.
    #[serde(default)]
    pub policy: Policy,
    /// What is done with plans.
    #[serde(default)]
    pub placement: Placement,
    /// How often and how fast.
    #[serde(default)]
    pub pace: Pace,
    /// Where paths come from, beside probes.
    #[serde(default)]
    pub topology: Topology,
    /// Where entry points are found, beside the zones of the routers on the paths.
    #[serde(default)]
    pub discovery: Discovery,
    /// Where edge sites pull the image of the edge service from: our own read-only registry listens here.
    pub registry: SocketAddr,
    /// Where agreements are written down, so that they outlive this process. Made if missing.
    pub state_directory: PathBuf,
    /// A Unix socket for status and control; none means no admin interface.
    #[serde(default)]
    pub admin: Option<PathBuf>,
}

/// The application manifest: its services and which of them call which.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// Name told to providers; at most 64 octets.
    pub name: String,
    /// Client-facing addresses of the front end, at least one, all with the same port.
    pub listen: Vec<SocketAddr>,
    /// Host names whose clients may be redirected.
    pub hosts: Vec<String>,
    /// Host names of the control group: served, counted, never redirected.
    #[serde(default)]
    pub control_hosts: Vec<String>,
    /// The services.
    pub services: Vec<Service>,
    /// Who calls whom.
    #[serde(default)]
    pub calls: Vec<Call>,
    /// Kinds of content that it has, of [`ContentCategory::KNOWN`]. Providers are told, and those that refuse one are not
    /// rented. Default: none.
    #[serde(default)]
    pub content: Vec<String>,
}

/// One service of the application.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "placement", rename_all = "lowercase", deny_unknown_fields)]
pub enum Service {
    /// Stays in the cloud.
    Cloud {
        /// Its name in `calls`.
        name: String,
        /// Where it listens, as seen from the orchestrator.
        address: SocketAddr,
        /// Where edge sites reach it, if any service at the edge calls it.
        #[serde(default)]
        public_address: Option<SocketAddr>,
    },
    /// May run at rented edge sites.
    Edge {
        /// Its name in `calls`.
        name: String,
        /// OCI image layout folder.
        image: PathBuf,
        /// Manifest digest, `sha256:…`.
        digest: String,
        /// Program and arguments; empty takes the image's own.
        #[serde(default)]
        command: Vec<String>,
        /// Environment; added at each site are `SITE`, its name, and `REPORTS`, where browsers may report requests that failed (headers
        /// `NEL` and `Report-To`).
        #[serde(default)]
        environment: BTreeMap<String, String>,
        /// TCP port that it listens on.
        port: u16,
        /// Path whose GET answers 200 when it serves.
        health: String,
        /// Path whose GET with `?nonce=N` answers HMAC-SHA256 of N, in hexadecimal, under the key in its environment variable `CHALLENGE_KEY`
        /// (64 hexadecimal digits). With it a site is asked now and then what only its own container can answer, and how far that is.
        #[serde(default)]
        challenge: Option<String>,
        /// What it needs.
        needs: Needs,
        /// Requests per second that it can serve on that; without, any number.
        #[serde(default)]
        most_requests_per_s: Option<f64>,
    },
    /// Already runs at sites that the application provider arranged by itself (paper footnote 1).
    Predeployed {
        /// Its name in `calls`.
        name: String,
        /// Where.
        sites: Vec<PredeployedSite>,
    },
}

/// A site that needs no agreement.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredeployedSite {
    /// Its name.
    pub host: String,
    /// Its client-facing address.
    pub address: SocketAddr,
}

/// Hardware that an edge service needs.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// Thousandths of a processor.
    pub milli_cpu: u32,
    /// Mebibytes of memory.
    pub memory_mib: u32,
    /// Processes and threads.
    pub pids: u32,
}

impl From<Needs> for HardwareProfile {
    fn from(needs: Needs) -> Self {
        Self {
            milli_cpu: needs.milli_cpu,
            memory_bytes: u64::from(needs.memory_mib) << 20,
            pids: needs.pids,
        }
    }
}

/// One service calling another: inside the caller the callee is `127.0.0.1:local_port`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Calling service.
    pub from: String,
    /// Called service.
    pub to: String,
    /// Port under which the caller finds it.
    pub local_port: u16,
    /// Share of requests that need it, 0 to 1.
    pub share: f64,
    /// Round trips that each of these takes, one after the other; 1 by default.
    #[serde(default = "one_round_trip")]
    pub round_trips: u16,
}

const fn one_round_trip() -> u16 {
    1
}

/// DNS.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolver {
    /// Resolvers, tried in order; with `mode = "direct"` servers of the root, those of the Internet's if there are none.
    #[serde(default)]
    pub addresses: Vec<SocketAddr>,
    /// Who finds the answers.
    #[serde(default)]
    pub mode: ResolverMode,
    /// Who proves answers by DNSSEC. Without, `own` where `policy.key_binding` is `dnssec`, else `none`.
    pub validation: Option<Validation>,
    /// File with DNSKEY records of the root, from which `validation = "own"` proves; without, the Internet's.
    pub trust_anchor: Option<PathBuf>,
}

/// Who finds the answers to questions of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResolverMode {
    /// The resolvers, by asking others.
    #[default]
    Recursive,
    /// We, by asking the servers of each zone from the root down.
    Direct,
}

/// Who proves answers by DNSSEC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Validation {
    /// We, with further questions for the keys of zones.
    Own,
    /// The resolvers, whose word is taken. Right only where they validate and the way to them is safe, e.g. on loopback.
    Resolver,
    /// Nobody: no answer counts as proven.
    None,
}

/// The paying key and its chain.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wallet {
    /// File with the key.
    pub key_file: PathBuf,
    /// The chain that it pays on. Without chain, node and escrow, only partners are paid, and what people agree on.
    #[serde(default)]
    pub chain_id: Option<u64>,
    /// JSON-RPC endpoint of a node of that chain.
    #[serde(default)]
    pub rpc: Option<SocketAddr>,
    /// A second node, of another operator: where one is named, what both say alike counts (security rule 10).
    #[serde(default)]
    pub second_rpc: Option<SocketAddr>,
    /// The escrow contract that is used there. Its code is checked before money moves.
    #[serde(default)]
    pub escrow: Option<String>,
    /// Blocks on top of a transaction before it counts, itself included.
    #[serde(default = "one")]
    pub confirmations: u64,
    /// The most that a unit of gas may cost, gwei; at least 1. Default: 100. The caps of the budget are for deposits, this one
    /// is for the fees beside them.
    #[serde(default = "max_fee_gwei")]
    pub max_fee_gwei: u32,
}

/// A provider that was paid in advance. Offers out of an allowance are accepted from partners only.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partner {
    /// The account of its key.
    pub provider: String,
    /// How much it was paid in all, smallest units.
    pub allowance: String,
}

/// Spending caps (security rule 13).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// What is paid in: `native`, the chain's own currency, or the address of an ERC-20 token, the only one that is accepted
    /// then. All money in this file is in its smallest units; for the chain's own currency `wei_` may stand for `units_`.
    #[serde(default = "native")]
    pub asset: String,
    /// Most units put into escrow within an hour.
    #[serde(alias = "wei_per_hour")]
    pub units_per_hour: String,
    /// Most units put into escrow within a day.
    #[serde(alias = "wei_per_day")]
    pub units_per_day: String,
    /// Most units for one agreement.
    #[serde(alias = "wei_per_site")]
    pub units_per_site: String,
    /// Most units for one agreement with a site that is trusted enough for a trial but not for more. Default: a tenth of
    /// `units_per_site`.
    #[serde(default, alias = "wei_per_trial")]
    pub units_per_trial: Option<String>,
    /// Most units in escrow at once with a provider, over all its sites, until an agreement with it was served and settled
    /// (security rule 9). Default: a tenth of `units_per_day`.
    #[serde(default, alias = "wei_per_new_provider")]
    pub units_per_new_provider: Option<String>,
}

/// Paths that are known already (paper section 2.2: traceroute can be replaced or augmented).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topology {
    /// Files of paths, in any format that `exec-edge paths` reads. A path to any address of a client prefix is one to
    /// the prefix. Default: none.
    pub imported: Vec<PathBuf>,
    /// When their paths are used. Default: `augment`.
    pub imported_use: ImportedUse,
    /// Paths that are older than so many seconds, or of unknown age, are not used. Default: none is too old.
    pub imported_max_age_s: Option<u64>,
    /// The latest paths are not written to the state directory, where the next process would begin with those of the last hour. They
    /// name addresses of clients. Default: they are written.
    pub forget: bool,
}

/// When imported paths are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportedUse {
    /// Instead of the first trace of a client prefix; refreshes probe.
    #[default]
    Augment,
    /// Instead of every trace of a client prefix that they know.
    Replace,
}

fn native() -> String {
    "native".to_owned()
}

const fn one() -> u64 {
    1
}

const fn max_fee_gwei() -> u32 {
    100
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML of the expected shape.
    #[error("malformed configuration")]
    Malformed(#[from] toml::de::Error),
    /// A value is out of range or does not fit the others.
    #[error("{field}: {problem}")]
    Value {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// A configuration whose text fields have been understood.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file as it was.
    pub config: Config,
    /// Grouping of client addresses.
    pub grouping: PrefixGrouping,
    /// Grouping of router addresses.
    pub router_grouping: PrefixGrouping,
    /// Chain and escrow contract of the wallet, if it uses any.
    pub escrow: Option<(ChainId, ChainAddress)>,
    /// What was paid to providers in advance, smallest units.
    pub partners: BTreeMap<ChainAddress, u128>,
    /// What is paid in; all sums are its smallest units.
    pub asset: Asset,
    /// Hourly cap.
    pub units_per_hour: u128,
    /// Daily cap.
    pub units_per_day: u128,
    /// Cap for one agreement.
    pub units_per_site: u128,
    /// Most in escrow at once with a provider that has not served an agreement to the end.
    pub units_per_new_provider: u128,
    /// Cap for one agreement with a site on trial.
    pub units_per_trial: u128,
    /// How far sites have to be trusted for what.
    pub trust: TrustPolicy,
    /// Countries where sites may be rented; `None` for any.
    pub countries: Option<BTreeSet<Country>>,
    /// What else is needed of sites, and which content they would get.
    pub conditions: WantedConditions,
    /// What has to stand behind an agreement.
    pub backing: Backing,
    /// Price ceiling of a second.
    pub price_ceiling: u128,
    /// Placement algorithm.
    pub algorithm: Algorithm,
    /// What a second less of waiting is worth.
    pub value_per_second: Option<u128>,
    /// The weakest binding of a provider's key to its zone with which money may move.
    pub min_key_binding: KeyBinding,
    /// The service in the cloud that answers what is not redirected.
    pub upstream: SocketAddr,
    /// The service that may run at the edge.
    pub edge_service: EdgeService,
    /// Sites that the application provider runs itself: name, and where clients reach them.
    pub predeployed: Vec<(DnsName, SocketAddr)>,
    /// Zones and lists that are asked beside what paths lead to.
    pub lists: Lists,
}

/// The edge service, resolved.
#[derive(Clone, Debug)]
pub struct EdgeService {
    /// Its name.
    pub name: String,
    /// OCI image layout folder.
    pub image: PathBuf,
    /// Manifest digest.
    pub digest: ImageDigest,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment.
    pub environment: BTreeMap<String, String>,
    /// TCP port inside.
    pub port: u16,
    /// Health path.
    pub health: String,
    /// Where only the container itself has the answer, if the service can do that.
    pub challenge: Option<String>,
    /// Hardware needed.
    pub needs: HardwareProfile,
    /// Most demand that it serves on that, in thousandths of a request per second.
    pub capacity: Option<u64>,
    /// Cloud services that it calls: port inside and address outside.
    pub egress: Vec<(u16, SocketAddr)>,
    /// Round trips to them in a thousand requests.
    pub calls_per_thousand: u32,
}

impl Settings {
    /// Reads and checks a configuration file's text.
    ///
    /// # Errors
    /// [`ConfigError`] with the field that is wrong.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::resolve(toml::from_str(text)?)
    }

    /// Checks a configuration.
    ///
    /// # Errors
    /// [`ConfigError`] with the field that is wrong.
    pub fn resolve(config: Config) -> Result<Self, ConfigError> {
        let group = |v4, v6, field| {
            PrefixGrouping::new(v4, v6).ok_or_else(|| value(field, "longer than an address"))
        };
        let policy = &config.policy;
        let grouping = group(
            policy.group_v4,
            policy.group_v6,
            "policy.group_v4, policy.group_v6",
        )?;
        let router_grouping = group(
            policy.group_routers_v4,
            policy.group_routers_v6,
            "policy.group_routers_v4, policy.group_routers_v6",
        )?;
        let resolver = &config.resolver;
        if resolver.addresses.is_empty() && resolver.mode == ResolverMode::Recursive {
            return Err(value(
                "resolver.addresses",
                "at least one resolver is needed",
            ));
        }
        if resolver.validation == Some(Validation::Resolver)
            && resolver.mode == ResolverMode::Direct
        {
            return Err(value(
                "resolver.validation",
                "servers of zones do not validate; \"own\" does",
            ));
        }
        let listen = &config.application.listen;
        if listen.is_empty()
            || listen
                .iter()
                .any(|address| address.port() != listen[0].port())
        {
            return Err(value(
                "application.listen",
                "at least one address, all with the same port",
            ));
        }
        if config.application.hosts.is_empty() {
            return Err(value(
                "application.hosts",
                "at least one host name is needed",
            ));
        }
        if config.application.name.is_empty() || config.application.name.len() > 64 {
            return Err(value("application.name", "1 to 64 octets"));
        }
        if config.wallet.max_fee_gwei == 0 {
            return Err(value("wallet.max_fee_gwei", "at least 1"));
        }
        if config.policy.lease_s == 0 {
            return Err(value("policy.lease_s", "a lease lasts at least a second"));
        }
        let algorithm = config
            .policy
            .algorithm
            .parse()
            .map_err(|error| value("policy.algorithm", &format!("{error}")))?;
        let min_key_binding = match config.policy.key_binding.as_str() {
            "dnssec" => KeyBinding::Dnssec,
            "dns" => KeyBinding::Dns,
            other => {
                let problem = format!("{other:?} is neither \"dnssec\" nor \"dns\"");
                return Err(value("policy.key_binding", &problem));
            }
        };
        let tier = |field, text: &str| {
            text.parse::<Tier>()
                .map_err(|error| value(field, &error.to_string()))
        };
        let trust = TrustPolicy {
            contact: tier("policy.contact", &policy.contact)?,
            trial: tier("policy.trial", &policy.trial)?,
            money: tier("policy.money", &policy.money)?,
        };
        if trust.contact > trust.trial || trust.trial > trust.money {
            let problem =
                "contact needs at most the trust of a trial, and a trial at most that of money";
            return Err(value("policy.contact, policy.trial, policy.money", problem));
        }
        let countries = countries(policy)?;
        let conditions = WantedConditions {
            regions: countries.clone().unwrap_or_default(),
            tee: known("policy.require_tee", &policy.require_tee, TeeKind::KNOWN)?,
            content: known(
                "application.content",
                &config.application.content,
                ContentCategory::KNOWN,
            )?,
        };
        if policy.autonomous_systems.is_some() && policy.origins.is_empty() {
            let problem = "policy.origins has to say which addresses are whose";
            return Err(value("policy.autonomous_systems", problem));
        }
        let asset = match config.budget.asset.as_str() {
            "native" => Asset::Native,
            token => Asset::Token(token.parse().map_err(|error| {
                let problem = format!("{token:?} is neither native nor a token: {error}");
                value("budget.asset", &problem)
            })?),
        };
        let units_per_site = units("budget.units_per_site", &config.budget.units_per_site)?;
        let units_per_trial = match &config.budget.units_per_trial {
            Some(text) => units("budget.units_per_trial", text)?,
            None => units_per_site / 10,
        };
        let units_per_day = units("budget.units_per_day", &config.budget.units_per_day)?;
        let units_per_new_provider = match &config.budget.units_per_new_provider {
            Some(text) => units("budget.units_per_new_provider", text)?,
            None => units_per_day / 10,
        };
        let (upstream, edge_service, predeployed) = services(&config.application)?;
        let lists = Lists::resolve(&config.discovery)?;
        Ok(Self {
            grouping,
            router_grouping,
            asset,
            escrow: config.wallet.escrow()?,
            partners: partners(&config.partner)?,
            units_per_hour: units("budget.units_per_hour", &config.budget.units_per_hour)?,
            units_per_day,
            units_per_new_provider,
            units_per_site,
            units_per_trial,
            trust,
            countries,
            conditions,
            backing: policy.backing()?,
            price_ceiling: units(
                "policy.price_ceiling_units_per_s",
                &config.policy.price_ceiling_units_per_s,
            )?,
            algorithm,
            value_per_second: config
                .placement
                .value_units_per_client_s
                .as_deref()
                .map(|text| units("placement.value_units_per_client_s", text))
                .transpose()?,
            min_key_binding,
            upstream,
            edge_service,
            predeployed,
            lists,
            config,
        })
    }

    /// The front end's port.
    pub fn port(&self) -> u16 {
        self.config
            .application
            .listen
            .first()
            .map_or(80, SocketAddr::port)
    }

    /// Where a site sends clients that it no longer serves: the front end, under its first host name.
    pub fn origin(&self) -> String {
        let application = &self.config.application;
        let host = application.hosts.first().map_or("", String::as_str);
        match self.port() {
            80 => format!("http://{host}"),
            port => format!("http://{host}:{port}"),
        }
    }

    /// Who proves answers by DNSSEC.
    pub fn validation(&self) -> Validation {
        let policy = &self.config.policy;
        self.config
            .resolver
            .validation
            .unwrap_or(match policy.key_binding.as_str() {
                "dnssec" => Validation::Own,
                _ => Validation::None,
            })
    }

    /// Addresses of the resolvers without their ports.
    pub fn resolver_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.config.resolver.addresses.iter().map(SocketAddr::ip)
    }
}

impl Wallet {
    /// Chain and escrow: all that belongs to them, or nothing.
    fn escrow(&self) -> Result<Option<(ChainId, ChainAddress)>, ConfigError> {
        let (chain, contract) = match (self.chain_id, self.rpc, &self.escrow) {
            (None, None, None) => return Ok(None),
            (Some(chain), Some(_), Some(contract)) => (ChainId(chain), contract),
            _ => {
                let problem = "all three, or none for a wallet without a chain";
                return Err(value("wallet.chain_id, wallet.rpc, wallet.escrow", problem));
            }
        };
        let contract = contract
            .parse()
            .map_err(|error| value("wallet.escrow", &format!("{error}")))?;
        Ok(Some((chain, contract)))
    }
}

fn partners(named: &[Partner]) -> Result<BTreeMap<ChainAddress, u128>, ConfigError> {
    let mut partners = BTreeMap::new();
    for partner in named {
        let provider = partner
            .provider
            .parse()
            .map_err(|error| value("partner.provider", &format!("{error}")))?;
        let allowance = units("partner.allowance", &partner.allowance)?;
        if partners.insert(provider, allowance).is_some() {
            return Err(value("partner.provider", "named twice"));
        }
    }
    Ok(partners)
}

fn countries(policy: &Policy) -> Result<Option<BTreeSet<Country>>, ConfigError> {
    let field = "policy.countries";
    let Some(allowed) = &policy.countries else {
        return Ok(None);
    };
    if policy.country_tables.is_empty() {
        let problem = "policy.country_tables has to say which addresses are where";
        return Err(value(field, problem));
    }
    let codes = allowed.iter().map(|code| code.parse());
    let known = codes.collect::<Result<_, CountryError>>();
    known
        .map(Some)
        .map_err(|error| value(field, &error.to_string()))
}

/// Words that all have a meaning: a mistyped one would be refused by nobody.
fn known<T: FromStr + Ord>(
    field: &'static str,
    words: &[String],
    all: &[&str],
) -> Result<BTreeSet<T>, ConfigError> {
    let understood = words.iter().map(|word| {
        let parsed = word.parse().ok();
        let meant = parsed.filter(|_| all.contains(&word.as_str()));
        meant.ok_or_else(|| {
            let problem = format!("{word:?} is none of {}", all.join(", "));
            value(field, &problem)
        })
    });
    understood.collect()
}

fn units(field: &'static str, text: &str) -> Result<u128, ConfigError> {
    text.parse().map_err(|_| {
        value(
            field,
            &format!("{text:?} is not a whole number of smallest units"),
        )
    })
}

fn value(field: &'static str, problem: &str) -> ConfigError {
    ConfigError::Value {
        field,
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests;
