//! `exec-edge provider dns-records`: what a provider has to publish, ready to paste.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use edge_discovery::DiscoveryConfig;
use edge_ports::Signer as _;
use edge_provider::{ProviderConfig, SiteConfig};
use edge_types::{AddressPolicy, ChainAddress, DnsName, IepId};

use edge_wire::message::VERSION;

use super::certificate::Certificate;
use crate::dns::service_name;
use crate::key::read_key;
use edge_console::exit::{EXIT_CODES, Failure};
use edge_console::output;

/// Options of `exec-edge provider dns-records`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// The provider's configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Publish all sites in this zone, for example an aggregator's. Without it, each in the parent domain of its host.
    #[arg(long)]
    zone: Option<DnsName>,
    /// `bind`: lines of a zone file, good for all servers that read these; `powerdns`: commands for `pdnsutil`.
    #[arg(long, value_enum, default_value_t = Syntax::Bind)]
    syntax: Syntax,
    /// Name of the service, if customers look for another than usual.
    #[arg(long, value_name = "NAME", default_value = DiscoveryConfig::SERVICE, value_parser = service_name)]
    service: DnsName,
    /// Seconds that resolvers may keep the records.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    ttl: u32,
    /// Account to publish, instead of reading the key file that the configuration names.
    #[arg(long, value_name = "0xADDRESS")]
    account: Option<ChainAddress>,
    /// Certificate (PEM) of the entry points whose TLS is not served by the agent itself but before it: its key is bound to
    /// their names by TLSA, as that of the others is.
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Syntax {
    Bind,
    Powerdns,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let config = super::read_config(&args.config)?;
    let account = match args.account {
        Some(account) => account,
        None => read_key(&config.key_file)
            .map_err(with_account_hint)?
            .address(),
    };
    let file = args.tls_certificate.as_deref();
    let of_others = file.map(Certificate::read).transpose()?;
    let mut certificates = Certificates::new();
    for site in &config.sites {
        if let Some(shown) = Certificate::of(site)?.or_else(|| of_others.clone()) {
            certificates.insert(site.id.clone(), shown);
        }
    }
    let zones = zones(&config, args, account, &certificates)?;
    let text: Vec<String> = zones
        .iter()
        .map(|zone| match args.syntax {
            Syntax::Bind => bind(zone, args.ttl),
            Syntax::Powerdns => powerdns(zone, args.ttl),
        })
        .collect();
    output::line(text.join("\n").trim_end());
    Ok(ExitCode::SUCCESS)
}

/// Tells how to go on without the key file.
pub(super) fn with_account_hint(failure: Failure) -> Failure {
    failure.with_hint("or give the account by --account; `exec-edge chain key` told it")
}

/// What entry points show over TLS.
type Certificates = BTreeMap<IepId, Certificate>;

/// What belongs into one zone.
#[derive(Debug, PartialEq, Eq)]
struct ZoneRecords {
    zone: DnsName,
    sections: Vec<Section>,
}

/// Records that belong together, and what they are for.
#[derive(Debug, PartialEq, Eq)]
struct Section {
    comments: Vec<String>,
    records: Vec<Record>,
}

#[derive(Debug, PartialEq, Eq)]
struct Record {
    owner: DnsName,
    kind: &'static str,
    /// In presentation form, names with their final dot.
    data: String,
}

fn zones(
    config: &ProviderConfig,
    args: &Args,
    account: ChainAddress,
    certificates: &Certificates,
) -> Result<Vec<ZoneRecords>, Failure> {
    let mut by_zone: BTreeMap<DnsName, Vec<&SiteConfig>> = BTreeMap::new();
    for site in &config.sites {
        let host = &site.id.host;
        let Some(zone) = args.zone.clone().or_else(|| host.parent()) else {
            let problem = anyhow::anyhow!("site {}: the host has no parent domain", site.id);
            return Err(Failure::usage(problem).with_hint("name the zone by --zone"));
        };
        by_zone.entry(zone).or_default().push(site);
    }
    let key = format!("key=eip155:{}:{account}", config.chain().0);
    by_zone
        .into_iter()
        .map(|(zone, sites)| {
            ZoneRecords::build(zone.clone(), &args.service, &sites, &key, certificates).map_err(
                |error| {
                    Failure::usage(anyhow::Error::new(error).context(format!("zone {zone}")))
                        .with_hint("choose shorter names")
                },
            )
        })
        .collect()
}

impl ZoneRecords {
    fn build(
        zone: DnsName,
        service: &DnsName,
        sites: &[&SiteConfig],
        key: &str,
        certificates: &Certificates,
    ) -> Result<Self, edge_types::DnsNameError> {
        let service = zone.with_prefix(service.as_str())?;
        // In somebody else's zone each site speaks for itself: the zone's other sites have other keys.
        let is_own = sites.iter().all(|site| site.id.host.is_within(&zone));
        let text = format!("\"v=1 path={} {key}\"", edge_wire::BASE);
        let mut entry_points =
            Section::new("The entry points (RFC 2782): priority, weight, port, host.");
        let mut keys = Section::new("The key that signs offers and is paid.");
        let mut addresses = Section::new("Where the entry points are.");
        let mut tls = Section::new(
            "The TLS key of the entry points (RFC 6698); counts only in a signed zone.",
        );
        let mut browsing =
            Section::new("For DNS-SD (RFC 6763): names to browse, and what each offers.");
        browsing.add(
            &zone.with_prefix("b._dns-sd._udp")?,
            "PTR",
            format!("{zone}."),
        );
        browsing.add(
            &zone.with_prefix("lb._dns-sd._udp")?,
            "PTR",
            format!("{zone}."),
        );
        browsing.add(
            &zone.with_prefix("_services._dns-sd._udp")?,
            "PTR",
            format!("{service}."),
        );
        if is_own {
            keys.add(&service, "TXT", text.clone());
        }
        for site in sites {
            let host = &site.id.host;
            let srv = format!("10 0 {} {host}.", site.id.port);
            entry_points.add(&service, "SRV", srv.clone());
            if !is_own {
                keys.add(host, "TXT", text.clone());
            }
            let address = address(site);
            if let Err(refusal) = AddressPolicy::default().check(address) {
                addresses.comments.push(format!(
                    "Warning: {refusal}; others will not connect to it."
                ));
            }
            let kind = if address.is_ipv4() { "A" } else { "AAAA" };
            addresses.add(host, kind, address.to_string());
            let certificate = certificates.get(&site.id);
            if let Some(certificate) = certificate {
                let owner = host.with_prefix(&format!("_{}._tcp", site.id.port))?;
                tls.add(&owner, "TLSA", format!("3 1 1 {}", certificate.key_digest));
            }
            let instance = service.with_prefix(&instance_label(site, &zone))?;
            browsing.add(&service, "PTR", format!("{instance}."));
            browsing.add(&instance, "SRV", srv);
            // Who reads this without the TLSA record has only authorities to ask.
            let is_issued = certificate.is_some_and(|certificate| !certificate.is_self_issued);
            let protocol = if is_issued { " \"proto=https\"" } else { "" };
            browsing.add(
                &instance,
                "TXT",
                format!(
                    "\"v=1\" \"path={}\" \"api={VERSION}\"{protocol} \"{key}\"",
                    edge_wire::BASE
                ),
            );
        }
        for section in [&mut keys, &mut addresses, &mut tls] {
            if section
                .records
                .iter()
                .any(|record| !record.owner.is_within(&zone))
            {
                section
                    .comments
                    .push(format!("Names outside {zone} belong into their own zone."));
            }
        }
        let sections = [entry_points, keys, addresses, tls, browsing].into_iter();
        Ok(Self {
            zone,
            sections: sections
                .filter(|section| !section.records.is_empty())
                .collect(),
        })
    }

    /// Where a record has to go: into this zone, or into that of a host elsewhere.
    fn home(&self, record: &Record) -> DnsName {
        let mut home = self.zone.clone();
        if !record.owner.is_within(&home) {
            let host = record.owner.as_str().trim_start_matches(|c| c != '.');
            home = host.trim_start_matches('.').parse().unwrap_or(home);
            while home
                .labels()
                .next()
                .is_some_and(|label| label.starts_with('_'))
            {
                let Some(parent) = home.parent() else { break };
                home = parent;
            }
        }
        home
    }
}

impl Section {
    fn new(comment: &str) -> Self {
        Self {
            comments: vec![comment.to_owned()],
            records: Vec::new(),
        }
    }

    fn add(&mut self, owner: &DnsName, kind: &'static str, data: String) {
        let record = Record {
            owner: owner.clone(),
            kind,
            data,
        };
        if !self.records.contains(&record) {
            self.records.push(record);
        }
    }
}

/// Where the entry point is reached: at its public address, else where it listens, or if that is everywhere, where its
/// workloads are served.
pub(super) fn address(site: &SiteConfig) -> IpAddr {
    site.public_address.unwrap_or_else(|| {
        let listen = site.listen.ip();
        if listen.is_unspecified() {
            site.service_address
        } else {
            listen
        }
    })
}

/// A label for one site that no other of the zone has.
fn instance_label(site: &SiteConfig, zone: &DnsName) -> String {
    let host = site.id.host.as_str();
    let inner = host
        .strip_suffix(zone.as_str())
        .map_or(host, |inner| inner.trim_end_matches('.'));
    let mut label = if inner.is_empty() {
        "site".to_owned()
    } else {
        inner.replace('.', "-")
    };
    label.truncate(56);
    if site.id.port != 80 {
        let _infallible = write!(label, "-{}", site.id.port);
    }
    label
}

fn bind(zone: &ZoneRecords, ttl: u32) -> String {
    let mut text = format!(
        "; For the zone {}, by `exec-edge provider dns-records`.\n",
        zone.zone
    );
    let records = || zone.sections.iter().flat_map(|section| &section.records);
    let owners = records()
        .map(|record| record.owner.as_str().len() + 1)
        .max()
        .unwrap_or(0);
    for section in &zone.sections {
        text.push('\n');
        for comment in &section.comments {
            let _infallible = writeln!(text, "; {comment}");
        }
        for record in &section.records {
            let owner = format!("{}.", record.owner);
            let _infallible = writeln!(
                text,
                "{owner:<owners$}  {ttl}  IN  {:<4}  {}",
                record.kind, record.data
            );
        }
    }
    text
}

fn powerdns(zone: &ZoneRecords, ttl: u32) -> String {
    let mut text = format!(
        "# For the zone {}, by `exec-edge provider dns-records`.\n",
        zone.zone
    );
    let sections: Vec<_> = zone
        .sections
        .iter()
        .map(|section| {
            let records = section.records.iter();
            let lines = records.map(|record| {
                let home = zone.home(record);
                (home.to_string(), relative(&record.owner, &home), record)
            });
            (section, lines.collect::<Vec<_>>())
        })
        .collect();
    let all = || sections.iter().flat_map(|(_, lines)| lines);
    let homes = all().map(|(home, ..)| home.len()).max().unwrap_or(0);
    let owners = all().map(|(_, owner, _)| owner.len()).max().unwrap_or(0);
    for (section, lines) in &sections {
        text.push('\n');
        for comment in &section.comments {
            let _infallible = writeln!(text, "# {comment}");
        }
        for (home, owner, record) in lines {
            let _infallible = writeln!(
                text,
                "pdnsutil add-record {home:<homes$}  {owner:<owners$}  {:<4}  {ttl}  '{}'",
                record.kind, record.data
            );
        }
    }
    text
}

/// The name without the zone that it is in, `@` for the zone itself.
fn relative(owner: &DnsName, home: &DnsName) -> String {
    match owner.as_str().strip_suffix(home.as_str()) {
        Some("") => "@".to_owned(),
        Some(inner) => inner.trim_end_matches('.').to_owned(),
        None => owner.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use edge_provider::config::TEMPLATE;

    use super::*;

    fn records(zone: Option<&str>) -> Vec<ZoneRecords> {
        let config = ProviderConfig::parse(TEMPLATE).unwrap();
        let args = Args {
            config: PathBuf::new(),
            zone: zone.map(|zone| zone.parse().unwrap()),
            syntax: Syntax::Bind,
            service: DiscoveryConfig::SERVICE.parse().unwrap(),
            ttl: 300,
            account: None,
            tls_certificate: None,
        };
        let account = ChainAddress([0xaa; 20]);
        zones(&config, &args, account, &Certificates::new()).unwrap()
    }

    #[test]
    fn one_sites_records_stand_in_columns() {
        let text = bind(&records(None)[0], 300);
        let key = format!("key=eip155:1337:0x{}", "aa".repeat(20));
        let expected = format!(
            "; For the zone isp.example, by `exec-edge provider dns-records`.\n\
             \n\
             ; The entry points (RFC 2782): priority, weight, port, host.\n\
             _edge._tcp.isp.example.             300  IN  SRV   10 0 80 edge.isp.example.\n\
             \n\
             ; The key that signs offers and is paid.\n\
             _edge._tcp.isp.example.             300  IN  TXT   \"v=1 path=/exec/v1 {key}\"\n\
             \n\
             ; Where the entry points are.\n\
             ; Warning: 192.0.2.1 is documentation and not allowed by prefix; others will not connect to it.\n\
             edge.isp.example.                   300  IN  A     192.0.2.1\n\
             \n\
             ; For DNS-SD (RFC 6763): names to browse, and what each offers.\n\
             b._dns-sd._udp.isp.example.         300  IN  PTR   isp.example.\n\
             lb._dns-sd._udp.isp.example.        300  IN  PTR   isp.example.\n\
             _services._dns-sd._udp.isp.example.  300  IN  PTR   _edge._tcp.isp.example.\n\
             _edge._tcp.isp.example.             300  IN  PTR   edge._edge._tcp.isp.example.\n\
             edge._edge._tcp.isp.example.        300  IN  SRV   10 0 80 edge.isp.example.\n\
             edge._edge._tcp.isp.example.        300  IN  TXT   \"v=1\" \"path=/exec/v1\" \"api=1\" \"{key}\"\n"
        );
        let squeeze = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(squeeze(&text), squeeze(&expected));
        let columns: Vec<_> = text
            .lines()
            .filter_map(|line| line.find("  IN  "))
            .collect();
        assert_eq!(columns.len(), 9);
        assert!(columns.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
    }

    #[test]
    fn in_somebody_elses_zone_each_site_has_its_own_key() {
        let zone = &records(Some("edges.example"))[0];
        let text = powerdns(zone, 300);
        assert!(
            text.contains("pdnsutil add-record edges.example  _edge._tcp"),
            "{text}"
        );
        assert!(!text.contains("_edge._tcp                 TXT"), "{text}");
        let key_line = text
            .lines()
            .find(|line| line.contains("TXT") && !line.contains("_edge"))
            .unwrap();
        assert!(
            key_line.starts_with("pdnsutil add-record isp.example    edge "),
            "{key_line}"
        );
        assert!(text.contains("# Names outside edges.example belong into their own zone."));
    }
}
