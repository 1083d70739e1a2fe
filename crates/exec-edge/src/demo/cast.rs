//! Everything that the demo's processes are given: keys, image, zones, configurations. Only the clients, the name
//! server and the providers are told where they are in the network; the orchestrator is not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_chain::LocalKey;
use edge_chain::dev::dev_escrow_address;
use edge_image::{BuiltImage, build_from_self};
use edge_lab::clients::{Client, Cohort, Object, Population};
use edge_lab::scenario::{Decision, Provider, Scenario, SettlementKind};
use edge_lab::zones::Zones;
use edge_ports::Signer;
use edge_types::{ChainAddress, ChainId, DnsName, IpNet};

use super::Args;
use crate::app;

/// The lab's chain.
pub(super) const CHAIN: ChainId = ChainId(1337);
/// Port of the chain's JSON-RPC.
pub(super) const RPC_PORT: u16 = 8545;
/// Port of the application's own server.
const ORIGIN_PORT: u16 = 8081;
/// Port of the image registry.
const REGISTRY_PORT: u16 = 5000;
/// Name of the edge service, and of its image's repository.
const EDGE_SERVICE: &str = "objects";

/// Length of a lease.
pub(super) const LEASE_S: u64 = 40;
/// How long before a lease's end a site sends clients back.
const NOTICE_S: u64 = 4;
/// Most that the orchestrator may put into escrow.
const BUDGET_WEI: u128 = 400_000_000_000_000;
/// Most for one site: a tenth of the budget (security rule 9).
const SITE_WEI: u128 = BUDGET_WEI / 10;
/// Most for one provider until it has served a lease: some have many sites, and all leases begin at once here.
const PROVIDER_WEI: u128 = BUDGET_WEI / 2;
/// Requests per second of each cohort, all prefixes together. Two slow cores carry it with both cohorts, the forwarder and all
/// parties, so that what is measured is the network and the loop, and not a processor that is late.
const COHORT_RPS: f64 = 240.0;
/// The least of one prefix.
const PREFIX_RPS: f64 = 1.2;
/// The least of a late one: how soon it is served by an edge is told by its requests, and never finer than their distance.
const LATE_PREFIX_RPS: f64 = 3.0;
/// Every so many-th prefix begins to ask late, when sites already serve.
const LATE_EVERY: usize = 6;
/// Time between the beginnings of two neighbouring prefixes among the late, in milliseconds.
const LATE_APART_MS: u64 = 40;

/// What is ready to be performed.
#[derive(Debug)]
pub(super) struct Cast {
    /// Client-facing address of the application.
    pub(super) front_end: SocketAddr,
    /// Where the application's own server listens.
    pub(super) origin: SocketAddr,
    /// JSON-RPC endpoint.
    pub(super) rpc: SocketAddr,
    /// Escrow contract.
    pub(super) escrow: ChainAddress,
    /// A key that owns nothing, for reading the chain.
    pub(super) reader: LocalKey,
    /// Accounts with a balance at the beginning.
    pub(super) funds: Vec<(ChainAddress, u128)>,
    /// Zones for the name server.
    pub(super) zones: PathBuf,
    /// Addresses of the name server.
    pub(super) resolvers: Vec<SocketAddr>,
    /// Configuration and API addresses of each provider, by domain.
    pub(super) providers: BTreeMap<DnsName, (PathBuf, Vec<SocketAddr>)>,
    /// The orchestrator's configuration.
    pub(super) orchestrator: PathBuf,
    /// The orchestrator's admin socket.
    pub(super) admin: PathBuf,
    /// The clients' instructions.
    pub(super) population: PathBuf,
    /// Where the clients' records go.
    pub(super) records: PathBuf,
    /// Prefix of each client index.
    pub(super) prefixes: Vec<IpNet>,
    /// When late prefixes begin, in milliseconds after the others.
    pub(super) late_from_ms: u64,
    /// The edge service's image.
    pub(super) image: BuiltImage,
}

impl Cast {
    /// Prepares everything in `directory`.
    pub(super) fn prepare(args: &Args, scenario: &Scenario, directory: &Path) -> Result<Self> {
        let keys = directory.join("keys");
        std::fs::create_dir_all(&keys).context("making the keys' folder")?;
        let key = |name: &str| -> Result<(LocalKey, PathBuf)> {
            let file = keys.join(format!("{name}.key"));
            let key = LocalKey::generate().context("making a key")?;
            key.write_plain(&file)
                .with_context(|| format!("writing {}", file.display()))?;
            Ok((key, file))
        };
        let (buyer, buyer_file) = key("orchestrator")?;
        let mut provider_keys = BTreeMap::new();
        let mut accounts = BTreeMap::new();
        for provider in &scenario.providers {
            let (key, file) = key(provider.domain.as_str())?;
            accounts.insert(provider.domain.clone(), key.address());
            provider_keys.insert(provider.domain.clone(), file);
        }
        // Gas is paid by everybody; the buyer's budget comes on top.
        let gas = 1_000_000_000_000_000_000;
        let mut funds = vec![(buyer.address(), BUDGET_WEI + gas)];
        funds.extend(accounts.values().map(|account| (*account, gas)));

        let layout = directory.join("image");
        let image = build_from_self(&layout, &app::image_options())
            .context("building the edge service's image")?;
        let zones = directory.join("zones.json");
        write_json(&zones, &Zones::build(scenario, CHAIN, &accounts))?;

        let first =
            |addresses: &[IpAddr]| addresses.first().copied().context("a host without address");
        let cloud = first(&scenario.cloud.addresses)?;
        let mut cast = Self {
            front_end: SocketAddr::new(cloud, 80),
            origin: SocketAddr::new(cloud, ORIGIN_PORT),
            rpc: SocketAddr::new(first(&scenario.chain.addresses)?, RPC_PORT),
            escrow: dev_escrow_address(),
            reader: LocalKey::generate().context("making a key")?,
            funds,
            zones,
            resolvers: scenario
                .dns
                .addresses
                .iter()
                .map(|address| SocketAddr::new(*address, 53))
                .collect(),
            providers: BTreeMap::new(),
            orchestrator: directory.join("orchestrator.toml"),
            admin: directory.join("admin.sock"),
            population: directory.join("population.json"),
            records: directory.join("records.jsonl"),
            prefixes: scenario
                .clients
                .iter()
                .map(|client| client.prefix)
                .collect(),
            late_from_ms: args.duration * 1000 / 3,
            image,
        };
        for provider in &scenario.providers {
            let file = directory.join(format!("{}.toml", provider.domain));
            let state = directory
                .join(super::stage::SITES)
                .join(provider.domain.as_str());
            let text = cast.provider_config(provider, &provider_keys[&provider.domain], &state);
            std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
            let apis = provider
                .sites
                .iter()
                .filter_map(|site| Some(SocketAddr::new(*site.addresses.first()?, site.port)));
            cast.providers
                .insert(provider.domain.clone(), (file, apis.collect()));
        }
        let text = cast.orchestrator_config(args, scenario, &buyer_file, &layout);
        std::fs::write(&cast.orchestrator, text)
            .context("writing the orchestrator's configuration")?;
        write_json(&cast.population, &cast.population(args, scenario))?;
        Ok(cast)
    }

    fn provider_config(&self, provider: &Provider, key: &Path, state: &Path) -> String {
        let mut text = format!(
            "key_file = {key:?}\nstate_directory = {state:?}\nallow_addresses = [\"240.0.0.0/4\", \"3fff::/20\"]\n\n\
             [ledger]\nrpc_url = \"http://{}\"\nchain_id = {}\ncontract = \"{}\"\npoll_interval_ms = 100\n",
            self.rpc, CHAIN.0, self.escrow,
        );
        for site in &provider.sites {
            let Some(address) = site.addresses.first() else {
                continue;
            };
            let accept = match provider.decision {
                Decision::Confirm => "confirm",
                Decision::Reject => "reject",
            };
            let _infallible = write!(
                text,
                "\n[[site]]\nhost = \"{}\"\nport = {}\nlisten = \"{}\"\nservice_address = \"{address}\"\n\
                 service_ports = [20000, 20019]\nmilli_cpu = {}\nmemory_mib = {}\npids = {}\n\
                 price_per_second_wei = \"{}\"\naccept = \"{accept}\"\nreceipt_interval_seconds = 5\n\
                 notice_seconds = {NOTICE_S}\n",
                site.host,
                site.port,
                SocketAddr::new(*address, site.port),
                site.milli_cpu,
                site.memory_mib,
                site.pids,
                site.price_wei_per_second,
            );
            if provider.settlement == SettlementKind::Contact {
                let _infallible = writeln!(text, "contact = \"mailto:edge@{}\"", provider.domain);
            }
        }
        text
    }

    /// What the orchestrator is given: a resolver, a key, a budget, its application, and which prefixes count as
    /// reachable although they are reserved.
    fn orchestrator_config(
        &self,
        args: &Args,
        scenario: &Scenario,
        key: &Path,
        layout: &Path,
    ) -> String {
        let host = &scenario.cloud.host;
        let registry = SocketAddr::new(self.front_end.ip(), REGISTRY_PORT);
        format!(
            "registry = \"{registry}\"\nstate_directory = {state:?}\nadmin = {admin:?}\n\n\
             [application]\nname = \"gallery\"\nlisten = [{listen}]\nhosts = [\"{host}\"]\n\
             control_hosts = [\"{control}\"]\ncalls = [{{ from = \"{EDGE_SERVICE}\", to = \"origin\", \
             local_port = {backend}, share = 0.05 }}]\n\n\
             [[application.services]]\nplacement = \"cloud\"\nname = \"origin\"\naddress = \"{origin}\"\n\
             public_address = \"{origin}\"\n\n\
             [[application.services]]\nplacement = \"edge\"\nname = \"{EDGE_SERVICE}\"\nimage = {layout:?}\n\
             digest = \"{digest}\"\nport = {port}\nhealth = \"/healthz\"\nchallenge = \"{challenge}\"\n\
             environment = {{ BACKEND = \"127.0.0.1:{backend}\" }}\n\
             needs = {{ milli_cpu = 500, memory_mib = 64, pids = 32 }}\n\n\
             [resolver]\naddresses = [{resolvers}]\n\n\
             [wallet]\nkey_file = {key:?}\nchain_id = {chain}\nrpc = \"{rpc}\"\nescrow = \"{escrow}\"\n\n\
             [budget]\nwei_per_hour = \"{BUDGET_WEI}\"\nwei_per_day = \"{BUDGET_WEI}\"\nwei_per_site = \"{SITE_WEI}\"\nwei_per_new_provider = \"{PROVIDER_WEI}\"\n\n\
             [policy]\nalgorithm = \"{algorithm}\"\nmax_sites = 24\nlease_s = {LEASE_S}\nmin_saving_ms = 3\nkey_binding = \"dns\"\n\
             allowed_prefixes = [\"240.0.0.0/4\", \"3fff::/20\"]\nmax_redirect_s = 300\n\n\
             [pace]\ntopology_ms = 50\nplatforms_ms = 5000\nprobes_per_s = 2000\n\
             trace_limit_ms = 750\nsettle_ms = 2300\nrefresh_s = 8\nhealth_ms = 400\n",
            state = self.admin.with_extension("state"),
            admin = self.admin,
            listen = quoted(
                scenario
                    .cloud
                    .addresses
                    .iter()
                    .map(|address| SocketAddr::new(*address, 80))
            ),
            control = control_host(host),
            backend = app::BACKEND_PORT,
            challenge = app::CHALLENGE_PATH,
            origin = self.origin,
            digest = self.image.digest,
            port = app::EDGE_PORT,
            resolvers = quoted(self.resolvers.iter().copied()),
            chain = CHAIN.0,
            algorithm = args.algorithm,
            rpc = self.rpc,
            escrow = self.escrow,
        )
    }

    fn population(&self, args: &Args, scenario: &Scenario) -> Population {
        let total: f64 = scenario.clients.iter().map(|client| client.weight).sum();
        let mut clients = Vec::new();
        for (prefix, network) in scenario.clients.iter().enumerate() {
            let is_late = prefix % LATE_EVERY == LATE_EVERY - 1;
            let least = if is_late { LATE_PREFIX_RPS } else { PREFIX_RPS };
            let rate = (COHORT_RPS * network.weight / total).max(least);
            for (cohort, host, offset) in [
                (Cohort::Exec, scenario.cloud.host.to_string(), 10),
                (
                    Cohort::Control,
                    control_host(&scenario.cloud.host),
                    0x80 + 10,
                ),
            ] {
                clients.push(Client {
                    address: host_in(network.prefix, offset),
                    prefix,
                    cohort,
                    host,
                    seed: prefix as u64,
                    interval_ms: milliseconds(1.0 / rate),
                    start_ms: if is_late {
                        self.late_from_ms + prefix as u64 * LATE_APART_MS
                    } else {
                        0
                    },
                });
            }
        }
        let object = |label: &str, target: &str, weight| Object {
            target: target.to_owned(),
            label: label.to_owned(),
            weight,
        };
        Population {
            seed: args.seed,
            duration_ms: args.duration * 1000,
            timeout_ms: 20_000,
            hosts: BTreeMap::from([(
                control_host(&scenario.cloud.host),
                scenario.cloud.addresses.clone(),
            )]),
            port: self.front_end.port(),
            objects: vec![
                object("25k", "/object?size=25k", 94),
                object("1m", "/object?size=1m", 1),
                object("dynamic", "/dynamic", 5),
            ],
            clients,
            records: self.records.clone(),
        }
    }
}

/// The host name under which the control cohort asks.
fn control_host(host: &DnsName) -> String {
    format!("control.{host}")
}

/// Addresses as the inside of a TOML array.
fn quoted(addresses: impl Iterator<Item = SocketAddr>) -> String {
    addresses
        .map(|address| format!("\"{address}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The address at `offset` in a client network.
fn host_in(prefix: IpNet, offset: u8) -> IpAddr {
    match prefix.network() {
        IpAddr::V4(network) => IpAddr::from((u32::from(network) | u32::from(offset)).to_be_bytes()),
        IpAddr::V6(network) => {
            IpAddr::from((u128::from(network) | u128::from(offset)).to_be_bytes())
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are within sane bounds"
)]
fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1e3).clamp(50.0, 60_000.0) as u64
}

fn write_json(file: &Path, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(value)
        .with_context(|| format!("writing {} as JSON", file.display()))?;
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}
