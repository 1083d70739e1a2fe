//! `exec-edge provider doctor`: looks at a provider from outside, as an orchestrator would.

mod findings;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use edge_discovery::{
    Answer, ControlOutcome, IepCandidate, Lookup, NoAnswer, Question, RecordKind, Security,
    ServiceTrail, SiteOutcome, SiteRejection, SiteTrail,
};
use edge_http::client::{ClientError, ClientTimeouts, ContactBudget, FirstContact, IepClient};
use edge_http::entry_tls::TlsPolicy;
use edge_ports::{Clock as _, NameLookup as _, Signer as _, SystemClock};
use edge_provider::ProviderConfig;
use edge_resolver::{Resolver, drive};
use edge_types::{ChainAddress, DnsName};

use self::findings::Findings;
use super::dns_records;
use crate::authorities;
use crate::discover::{told, unanswered};
use crate::dns::{DnsArgs, zone_name};
use crate::key::read_key;
use edge_console::exit::{Exit, Failure};
use edge_console::output;

/// What the exit codes mean here.
const EXIT_CODES: &str = "Exit codes: 0 no problem found; 1 there are problems; 2 failed while running; 64 wrong usage or input.";

/// Questions to the resolver at once.
const PARALLEL_QUESTIONS: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

/// A difference of clocks up to this comes from whole seconds and the way.
const CLOCK_OK_SECONDS: u64 = 5;
/// Above this, signed requests are taken for expired.
const CLOCK_BAD_SECONDS: u64 = 30;

/// Options of `exec-edge provider doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// The zone that names the provider's sites, in Unicode or not.
    #[arg(value_parser = zone_name)]
    zone: DnsName,
    /// Check also that everything is as this configuration of the provider says.
    #[arg(long, value_name = "FILE")]
    expect_config: Option<PathBuf>,
    /// Account that has to be found everywhere, instead of reading the key file that the configuration names.
    #[arg(long, value_name = "0xADDRESS")]
    account: Option<ChainAddress>,
    /// Certificate authorities to believe, PEM, instead of the system's.
    #[arg(long, value_name = "FILE")]
    certificates: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    dns: DnsArgs,
}

/// What the owner says should be found, and who is believed over TLS.
struct Expected {
    config: Option<ProviderConfig>,
    account: Option<ChainAddress>,
    tls: TlsPolicy,
}

/// Runs it; exit code 1 if there are problems.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let config = match &args.expect_config {
        Some(file) => Some(super::read_config(file)?),
        None => None,
    };
    let account = match (args.account, &config) {
        (Some(account), _) => Some(account),
        (None, Some(config)) => Some(
            read_key(&config.key_file)
                .map_err(dns_records::with_account_hint)?
                .address(),
        ),
        (None, None) => None,
    };
    let roots = authorities::read_if_any(args.certificates.as_deref()).map_err(Failure::usage)?;
    let expected = Expected {
        config,
        account,
        tls: TlsPolicy::new(roots, true),
    };
    let executor = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the async runtime")?;
    let findings = executor.block_on(examine(args, &expected));
    executor.shutdown_background();
    let findings = findings?;
    output::line(&if args.json {
        findings.json(&args.zone)
    } else {
        findings.text(&args.zone)
    });
    Ok(if findings.problems() == 0 {
        ExitCode::SUCCESS
    } else {
        Exit::Negative.into()
    })
}

async fn examine(args: &Args, expected: &Expected) -> Result<Findings, Failure> {
    let clock = SystemClock::start();
    let resolver = args
        .dns
        .resolver(args.dns.servers(&DnsArgs::resolv_conf())?)?;
    let mut discovery = args.dns.discovery(false)?;
    discovery.start_run(clock.monotonic());
    discovery.observe_zone(args.zone.clone(), clock.monotonic());
    drive(
        &mut discovery,
        &resolver,
        &clock,
        PARALLEL_QUESTIONS,
        |_| {},
    )
    .await;
    let trail = discovery.trail();
    let zone = &args.zone;
    let mut findings = Findings::default();
    match trail.zones.into_iter().find(|asked| asked.zone == *zone).map(|asked| asked.service) {
        Some(Lookup::Records(service)) => {
            records(zone, &service, &mut findings);
            security(zone, args, &resolver, &mut findings).await;
            for site in &service.sites {
                look_at_site(site, &args.dns, expected, clock, &mut findings).await;
            }
            compare(zone, &service, expected, &mut findings);
        }
        Some(other) => findings.problem(
            zone.as_str(),
            "entry points",
            format!("{}.{zone} SRV: {}", args.dns.service, told(&other)),
            match other {
                Lookup::Unanswered(NoAnswer::Bogus { .. }) => "sign the zone anew, and compare its DS record with its keys",
                Lookup::Absent { .. } => "publish what `exec-edge provider dns-records` prints",
                _ => "look whether the zone's name servers answer, and ask another resolver by --resolver",
            },
        ),
        None => findings.problem(zone.as_str(), "entry points", "the zone was not asked".to_owned(), "try again"),
    }
    Ok(findings)
}

fn records(zone: &DnsName, service: &ServiceTrail, findings: &mut Findings) {
    let sites: Vec<String> = service.sites.iter().map(|site| name_of(site)).collect();
    findings.ok(zone.as_str(), "entry points", sites.join(", "));
    if service.over_limit > 0 {
        let text = format!(
            "{} further records are above what others read",
            service.over_limit
        );
        findings.problem(
            zone.as_str(),
            "number",
            text,
            "publish fewer SRV records, and the other sites in zones below",
        );
    }
    match &service.control {
        ControlOutcome::Explicit => findings.ok(zone.as_str(), "no wildcard", "a made-up service has no records".to_owned()),
        ControlOutcome::Wildcard { .. } | ControlOutcome::Rotating => findings.problem(
            zone.as_str(),
            "wildcard",
            "a made-up service has the same records, so nobody believes these".to_owned(),
            "remove the wildcard record that covers `_tcp`, or publish the SRV records in a zone below",
        ),
        _ => findings.problem(
            zone.as_str(),
            "wildcard",
            "it is not known whether a wildcard answers for every service".to_owned(),
            "look whether the zone's name servers answer for names that do not exist",
        ),
    }
}

async fn security(zone: &DnsName, args: &Args, resolver: &Resolver, findings: &mut Findings) {
    let Ok(service) = zone.with_prefix(args.dns.service.as_str()) else {
        return;
    };
    let answer = resolver
        .lookup(&Question::new(service, RecordKind::Srv))
        .await;
    let remedy = "sign the zone, or expect only customers whose policy takes keys from plain DNS";
    match answer {
        Answer::Records {
            security: Security::Secure,
            ..
        } => {
            findings.ok(
                zone.as_str(),
                "signed",
                "the resolver has validated the records".to_owned(),
            );
        }
        Answer::Records {
            security: Security::Insecure,
            ..
        } => {
            findings.warning(
                zone.as_str(),
                "signed",
                "the zone is not signed".to_owned(),
                remedy,
            );
        }
        Answer::Records {
            security: Security::Indeterminate,
            ..
        } => findings.warning(
            zone.as_str(),
            "signed",
            "it is not known whether the zone is signed".to_owned(),
            "ask a validating resolver: --resolver ADDRESS --trust-resolver",
        ),
        Answer::Unanswered(reason) => {
            findings.warning(zone.as_str(), "signed", unanswered(&reason), "try again")
        }
        Answer::Absent { .. } => findings.warning(
            zone.as_str(),
            "steady",
            "asked again, the zone had no records".to_owned(),
            "look whether all of the zone's name servers have the same records",
        ),
    }
}

fn name_of(site: &SiteTrail) -> String {
    match &site.record.target {
        edge_discovery::AnswerName::Name(name) => format!("{name}:{}", site.record.port),
        edge_discovery::AnswerName::Root => ".".to_owned(),
        edge_discovery::AnswerName::Unacceptable { .. } => "an unacceptable name".to_owned(),
    }
}

async fn look_at_site(
    site: &SiteTrail,
    dns: &DnsArgs,
    expected: &Expected,
    clock: SystemClock,
    findings: &mut Findings,
) {
    let name = name_of(site);
    for refused in &site.addresses_refused {
        findings.problem(
            &name,
            "address",
            refused.to_string(),
            "publish a public address, or tell customers in the same network to allow the prefix",
        );
    }
    for (holder, refusal) in &site.keys_refused {
        findings.problem(
            &name,
            "key record",
            format!("at {holder}: {refusal}"),
            "publish the one TXT record that `exec-edge provider dns-records` prints",
        );
    }
    for refusal in &site.pins_refused {
        findings.problem(
            &name,
            "TLSA record",
            refusal.to_string(),
            "publish the TLSA record that `exec-edge provider dns-records` prints, in a signed zone",
        );
    }
    let candidate = match &site.outcome {
        SiteOutcome::Candidate(candidate) => candidate,
        // Told where the zone's own record is.
        SiteOutcome::Listed => return,
        SiteOutcome::Rejected(reason) => {
            findings.problem(
                &name,
                "usable",
                reason.to_string(),
                match reason {
                    SiteRejection::TlsUnknown { .. } => {
                        "look whether the zone's name servers answer for names and kinds of records that they do not have"
                    }
                    _ => "publish the lines that `exec-edge provider dns-records` prints",
                },
            );
            return;
        }
        SiteOutcome::Pending => {
            findings.problem(
                &name,
                "usable",
                "not all questions were answered".to_owned(),
                "try again",
            );
            return;
        }
    };
    match &candidate.key {
        Some(key) => findings.ok(
            &name,
            "key record",
            format!("{} on chain {}", key.address, key.chain.0),
        ),
        None => findings.warning(
            &name,
            "key record",
            "no key is published, so no money can move here".to_owned(),
            "publish the TXT record that `exec-edge provider dns-records` prints",
        ),
    }
    let policy = dns.policy();
    let contacts = ContactBudget::default();
    for address in candidate
        .addresses
        .iter()
        .filter(|address| policy.check(**address).is_ok())
    {
        look_at_address(candidate, *address, &contacts, expected, clock, findings).await;
    }
}

async fn look_at_address(
    candidate: &IepCandidate,
    address: IpAddr,
    contacts: &ContactBudget,
    expected: &Expected,
    clock: SystemClock,
    findings: &mut Findings,
) {
    let entry_point = SocketAddr::new(address, candidate.id.port);
    let subject = format!("{} at {entry_point}", candidate.id);
    let tls = match expected.tls.transport(candidate) {
        Ok(tls) => tls,
        Err(refusal) => {
            let remedy = "publish the profile that `exec-edge provider dns-records` prints";
            findings.problem(&subject, "profile", refusal.to_string(), remedy);
            return;
        }
    };
    let client =
        IepClient::new(entry_point, candidate.id.clone(), ClientTimeouts::default()).over(tls);
    let contact = match client.contact(contacts, clock.monotonic()).await {
        Ok(contact) => contact,
        Err(error) => {
            let remedy = match &error {
                ClientError::Tls { .. } => {
                    "publish what `exec-edge provider dns-records` prints for the certificate that it shows, or have it show the right one"
                }
                ClientError::Connect { .. } => {
                    "start `exec-edge provider` there, and let the port through firewalls"
                }
                ClientError::Timeout { .. } => {
                    "let the port through firewalls, or reach a provider without public address by a relay"
                }
                _ => "look whether something else listens at this port",
            };
            let check = if matches!(error, ClientError::Tls { .. }) {
                "tls"
            } else {
                "greeting"
            };
            let text = format!("{:#}", anyhow::Error::new(error));
            findings.problem(&subject, check, text, remedy);
            return;
        }
    };
    let rtt = contact
        .rtt
        .map_or_else(String::new, |rtt| format!(", {:.1} ms away", rtt.as_ms()));
    findings.ok(
        &subject,
        "greeting",
        format!("{}{rtt}", contact.greeting.software),
    );
    match contact.proof {
        Some(proof) => findings.ok(&subject, "tls", proof.to_string()),
        None => findings.warning(
            &subject,
            "tls",
            "it is spoken to in the clear, and its offers can be read on the way".to_owned(),
            "give the site `tls` in its configuration, and publish what `exec-edge provider dns-records` prints",
        ),
    }
    judge_clock(&subject, &contact, clock, findings);
    judge_greeting(&subject, candidate, &contact, expected, findings);
}

fn judge_clock(subject: &str, contact: &FirstContact, clock: SystemClock, findings: &mut Findings) {
    let Some(time) = contact.time else {
        findings.warning(
            subject,
            "clock",
            "it does not tell its time".to_owned(),
            "let the Date header through proxies",
        );
        return;
    };
    let ours = clock.utc();
    let apart = ours.seconds_since(time).max(time.seconds_since(ours));
    let text = if apart <= 1 {
        "as ours".to_owned()
    } else {
        format!("{apart} s from ours")
    };
    let remedy = "set both clocks by NTP";
    match apart {
        0..=CLOCK_OK_SECONDS => findings.ok(subject, "clock", text),
        ..=CLOCK_BAD_SECONDS => findings.warning(subject, "clock", text, remedy),
        _ => findings.problem(
            subject,
            "clock",
            format!("{text}: signed requests expire on the way"),
            remedy,
        ),
    }
}

fn judge_greeting(
    subject: &str,
    candidate: &IepCandidate,
    contact: &FirstContact,
    expected: &Expected,
    findings: &mut Findings,
) {
    let greeting = &contact.greeting;
    if greeting.site == candidate.id {
        findings.ok(
            subject,
            "site",
            format!("it calls itself {}", greeting.site),
        );
    } else {
        findings.problem(
            subject,
            "site",
            format!("it calls itself {}", greeting.site),
            "give `host` and `port` of its configuration as in the SRV record",
        );
    }
    let settles = greeting.settlements.iter().any(|kind| kind == "escrow");
    if let Some(key) = &candidate.key {
        if key.address != greeting.provider {
            findings.problem(
                subject,
                "key",
                format!(
                    "it signs with {}, DNS names {}",
                    greeting.provider, key.address
                ),
                "publish the key that it uses, or use the one published",
            );
        } else if settles && key.chain != greeting.chain {
            findings.problem(
                subject,
                "chain",
                format!(
                    "it settles on chain {}, DNS names {}",
                    greeting.chain.0, key.chain.0
                ),
                "publish the chain that it settles on",
            );
        } else {
            findings.ok(subject, "key", "it signs with the published key".to_owned());
        }
    }
    if let Some(account) = expected.account
        && account != greeting.provider
    {
        findings.problem(
            subject,
            "expected key",
            format!("it signs with {}, not {account}", greeting.provider),
            "restart it with the expected key file",
        );
    }
}

/// What the configuration has and the zone has not, and the other way round.
fn compare(zone: &DnsName, service: &ServiceTrail, expected: &Expected, findings: &mut Findings) {
    let published: BTreeSet<String> = service.sites.iter().map(name_of).collect();
    if let Some(config) = &expected.config {
        for site in &config.sites {
            let name = site.id.to_string();
            if !published.contains(&name) {
                findings.problem(
                    &name,
                    "expected site",
                    format!("not named by {zone}"),
                    "publish its SRV record",
                );
                continue;
            }
            let found = service.sites.iter().find_map(|known| match &known.outcome {
                SiteOutcome::Candidate(candidate) if candidate.id == site.id => Some(candidate),
                _ => None,
            });
            let address = dns_records::address(site);
            if found.is_some_and(|found| !found.addresses.contains(&address)) {
                findings.warning(
                    &name,
                    "expected address",
                    format!("{address} is not published"),
                    "publish it, if it is public, or set `listen` to the public address",
                );
            }
        }
    }
    if let Some(account) = expected.account {
        for site in &service.sites {
            if let SiteOutcome::Candidate(IepCandidate {
                key: Some(key), id, ..
            }) = &site.outcome
                && key.address != account
            {
                findings.problem(
                    &id.to_string(),
                    "expected key",
                    format!("DNS names {}, not {account}", key.address),
                    "publish the TXT record that `exec-edge provider dns-records` prints",
                );
            }
        }
    }
}
