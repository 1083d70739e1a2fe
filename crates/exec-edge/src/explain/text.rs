//! The account for people: a tree of zones, records and verdicts.

use std::fmt::Display;
use std::net::IpAddr;

use edge_discovery::{
    Absence, AddressOutcome, AnswerName, Assessment, CertificateUsage, ControlOutcome,
    IepCandidate, InstanceOutcome, InstancesTrail, Lookup, Matching, NoAnswer, Position, Security,
    Selector, ServiceTrail, SiteOutcome, SiteTrail, SrvRecord, TlsPin, Trail, ZoneDecision,
    ZoneTrail, assess, shown,
};

/// A line and what is below it.
struct Node {
    line: String,
    below: Vec<Self>,
}

impl Node {
    fn leaf(line: impl Display) -> Self {
        Self {
            line: line.to_string(),
            below: Vec::new(),
        }
    }

    fn new(line: impl Display, below: Vec<Self>) -> Self {
        Self {
            line: line.to_string(),
            below,
        }
    }

    fn draw(&self, indent: &str, text: &mut String) {
        for (index, node) in self.below.iter().enumerate() {
            let is_last = index + 1 == self.below.len();
            let (branch, below) = if is_last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            text.push_str(&format!("{indent}{branch}{}\n", node.line));
            node.draw(&format!("{indent}{below}"), text);
        }
    }
}

/// The whole account.
pub(super) fn tree(trail: &Trail) -> String {
    let addresses = trail.addresses.iter().map(|found| {
        let below = match &found.outcome {
            AddressOutcome::NotAllowed(refusal) => {
                vec![Node::leaf(format!("not asked for: {refusal}"))]
            }
            AddressOutcome::Ptr(found) => names(found),
        };
        Node::new(found.address, below)
    });
    let zones = trail.zones.iter().map(zone);
    let mut text = String::new();
    for root in addresses.chain(zones) {
        text.push_str(&root.line);
        text.push('\n');
        root.draw("", &mut text);
        text.push('\n');
    }
    let sites: Vec<&SiteTrail> = trail.zones.iter().flat_map(all_sites).collect();
    let count = |is_wanted: fn(&SiteOutcome) -> bool| {
        sites.iter().filter(|site| is_wanted(&site.outcome)).count()
    };
    let good = count(|outcome| matches!(outcome, SiteOutcome::Candidate(_)));
    let dropped = count(|outcome| matches!(outcome, SiteOutcome::Rejected(_)));
    text.push_str(&format!(
        "{} of {} to contact, {dropped} dropped",
        good,
        counted(good + dropped, "entry point")
    ));
    text
}

fn counted(count: usize, name: &str) -> String {
    match count {
        1 => format!("1 {name}"),
        count => format!("{count} {name}s"),
    }
}

fn all_sites(zone: &ZoneTrail) -> Vec<&SiteTrail> {
    let mut sites = Vec::new();
    if let Lookup::Records(service) = &zone.service {
        sites.extend(&service.sites);
    }
    if let Some(Lookup::Records(found)) = &zone.instances {
        for instance in &found.instances {
            if let InstanceOutcome::Followed {
                service: Lookup::Records(service),
                ..
            } = &instance.outcome
            {
                sites.extend(&service.sites);
            }
        }
    }
    sites
}

/// The nodes of records, or one that says why there are none.
fn looked_up<T>(found: &Lookup<T>, what: &str, records: impl FnOnce(&T) -> Vec<Node>) -> Vec<Node> {
    match found {
        Lookup::Records(found) => records(found),
        other => vec![Node::leaf(none(other, what))],
    }
}

/// Why there is no record of some kind.
pub(super) fn none<T>(found: &Lookup<T>, what: &str) -> String {
    match found {
        Lookup::Records(_) => String::new(),
        Lookup::Pending => format!("{what}: not answered yet"),
        Lookup::NotAsked(reason) => format!("{what}: not asked, {reason}"),
        Lookup::Absent { absence, apex } => {
            let apex = apex
                .as_ref()
                .map_or(String::new(), |apex| format!(", says zone {}", shown(apex)));
            match absence {
                Absence::NxDomain => format!("{what}: no such name{apex}"),
                Absence::NoData => format!("{what}: none{apex}"),
            }
        }
        Lookup::Unanswered(reason) => format!("{what}: no answer, {}", no_answer(reason)),
    }
}

/// Why there was no answer.
pub(super) fn no_answer(reason: &NoAnswer) -> String {
    match reason {
        NoAnswer::TimedOut { after } => format!("nobody answered within {after:?}"),
        NoAnswer::Unreachable => "the server cannot be reached".to_owned(),
        NoAnswer::Failed { response_code } => match response_code {
            2 => "the server failed (SERVFAIL)".to_owned(),
            5 => "the server refused (REFUSED)".to_owned(),
            code => format!("the server answered with code {code}"),
        },
        NoAnswer::Malformed { detail } => format!("what came is none: {detail}"),
        NoAnswer::Bogus { reason } => format!("what came is forged or broken (bogus): {reason}"),
        NoAnswer::RunOver => "the time was over".to_owned(),
    }
}

fn names(found: &Lookup<edge_discovery::PtrTrail>) -> Vec<Node> {
    looked_up(found, "name", |found| {
        let mut nodes: Vec<Node> = found
            .names
            .iter()
            .map(|name| {
                let line = name
                    .name
                    .as_ref()
                    .map_or("a name that cannot be shown".to_owned(), shown);
                match &name.zones {
                    Err(refusal) => Node::leaf(format!("{line}: leads nowhere, {refusal}")),
                    Ok(steps) => {
                        let steps = steps.iter().map(|step| {
                            let decision = match &step.decision {
                                ZoneDecision::Asked => "asked, see below".to_owned(),
                                ZoneDecision::Waiting => "not asked yet".to_owned(),
                                ZoneDecision::NotACut { apex } => {
                                    format!("no zone starts here, it is all {}", shown(apex))
                                }
                            };
                            let zone = shown(&step.zone);
                            Node::leaf(format!("{zone} ({}): {decision}", step.standing))
                        });
                        Node::new(line, steps.collect())
                    }
                }
            })
            .collect();
        if found.over_limit > 0 {
            nodes.push(Node::leaf(format!(
                "{} more names not looked at",
                found.over_limit
            )));
        }
        nodes
    })
}

fn zone(zone: &ZoneTrail) -> Node {
    let mut below = looked_up(&zone.service, "edge service (SRV)", |found| {
        vec![service("edge service (SRV)", found)]
    });
    if let Some(found) = &zone.instances {
        below.extend(looked_up(found, "instances (DNS-SD)", instances));
    }
    if !zone.routers.is_empty() {
        let routers = zone.routers.iter().map(|router| {
            let verdict = match &router.confirmed {
                Lookup::Records(true) => "leads back to it".to_owned(),
                Lookup::Records(false) => "leads to other addresses".to_owned(),
                other => none(other, "address"),
            };
            Node::leaf(format!(
                "{} is called {}: {verdict}",
                router.address,
                shown(&router.name)
            ))
        });
        below.push(Node::new("routers whose names led here", routers.collect()));
    }
    let asked = if zone.is_configured {
        ", asked by you"
    } else {
        ""
    };
    Node::new(format!("zone {}{asked}", shown(&zone.zone)), below)
}

pub(super) fn security(security: Security) -> &'static str {
    match security {
        Security::Secure => "signed",
        Security::Insecure => "not signed",
        Security::Indeterminate => "signatures not checked",
    }
}

pub(super) fn control(control: &ControlOutcome) -> String {
    match control {
        ControlOutcome::Pending => "wildcard check not answered yet".to_owned(),
        ControlOutcome::Explicit => "meant: made-up names have none".to_owned(),
        ControlOutcome::Wildcard { shared } => {
            format!("from a wildcard: made-up names have {shared} of them too")
        }
        ControlOutcome::Rotating => "from a wildcard that gives each name other ones".to_owned(),
        ControlOutcome::Unanswered(reason) => {
            format!("wildcard check without answer, {}", no_answer(reason))
        }
        ControlOutcome::NotAsked(reason) => format!("wildcard check not asked, {reason}"),
    }
}

fn service(title: &str, found: &ServiceTrail) -> Node {
    let mut below: Vec<Node> = found.sites.iter().map(site).collect();
    if found.over_limit > 0 {
        below.push(Node::leaf(format!(
            "{} more records not looked at",
            found.over_limit
        )));
    }
    let line = format!(
        "{title}: {}, {}, {}",
        counted(found.sites.len(), "record"),
        security(found.security),
        control(&found.control)
    );
    Node::new(line, below)
}

fn instances(found: &InstancesTrail) -> Vec<Node> {
    let mut below: Vec<Node> = found
        .instances
        .iter()
        .map(|instance| {
            let name = match &instance.name {
                AnswerName::Name(name) => shown(name),
                AnswerName::Root => ".".to_owned(),
                AnswerName::Unacceptable { .. } => "a name that cannot be shown".to_owned(),
            };
            match &instance.outcome {
                InstanceOutcome::Refused(refusal) => Node::leaf(format!("{name}: no, {refusal}")),
                InstanceOutcome::Followed {
                    service: found,
                    profile,
                } => {
                    let mut below = looked_up(found, "entry point (SRV)", |found| {
                        vec![service("entry point (SRV)", found)]
                    });
                    below.push(match profile {
                        Lookup::Records(Ok(profile)) => {
                            let mut words = Vec::new();
                            words.extend(profile.path.as_ref().map(|path| format!("path {path}")));
                            words.extend(profile.api.map(|api| format!("API version {api}")));
                            if !profile.protocols.is_empty() {
                                words.push(format!("by {}", profile.protocols.join(", ")));
                            }
                            if !profile.unknown.is_empty() {
                                let unknown: Vec<&str> =
                                    profile.unknown.iter().map(String::as_str).collect();
                                words.push(format!("unknown keys {}", unknown.join(", ")));
                            }
                            Node::leaf(format!("profile: {}", words.join("; ")))
                        }
                        Lookup::Records(Err(refusal)) => Node::leaf(format!("profile: {refusal}")),
                        other => Node::leaf(none(other, "profile")),
                    });
                    Node::new(name, below)
                }
            }
        })
        .collect();
    if found.over_limit > 0 {
        below.push(Node::leaf(format!(
            "{} more instances not looked at",
            found.over_limit
        )));
    }
    let line = format!(
        "instances (DNS-SD): {}, {}",
        found.instances.len(),
        control(&found.control)
    );
    vec![Node::new(line, below)]
}

/// Target and port of a record, as far as they can be shown.
pub(crate) fn entry_point(record: &SrvRecord) -> String {
    match &record.target {
        AnswerName::Name(name) => format!("{}:{}", shown(name), record.port),
        AnswerName::Root => ".".to_owned(),
        AnswerName::Unacceptable { .. } => "a target that cannot be shown".to_owned(),
    }
}

fn site(site: &SiteTrail) -> Node {
    let (verdict, mut below) = match &site.outcome {
        SiteOutcome::Pending => ("not known yet".to_owned(), Vec::new()),
        SiteOutcome::Listed => ("told elsewhere in this zone".to_owned(), Vec::new()),
        SiteOutcome::Candidate(found) => ("yes".to_owned(), candidate(found)),
        SiteOutcome::Rejected(rejection) => (format!("no, {rejection}"), Vec::new()),
    };
    below.extend(
        site.addresses_refused
            .iter()
            .map(|refusal| Node::leaf(format!("address not used: {refusal}"))),
    );
    if site.addresses_over_limit > 0 {
        let line = format!("{} more addresses not looked at", site.addresses_over_limit);
        below.push(Node::leaf(line));
    }
    below.extend(
        site.keys_refused.iter().map(|(name, refusal)| {
            Node::leaf(format!("key at {} not used: {refusal}", shown(name)))
        }),
    );
    below.extend(
        site.pins_refused
            .iter()
            .map(|refusal| Node::leaf(format!("TLS key not used: {refusal}"))),
    );
    let line = format!(
        "{}, priority {}, weight {}: {verdict}",
        entry_point(&site.record),
        site.record.priority,
        site.record.weight
    );
    Node::new(line, below)
}

/// What DNS alone says of a candidate's trust.
pub(super) fn by_dns(found: &IepCandidate) -> Option<Assessment> {
    let address: IpAddr = *found.addresses.first()?;
    Some(assess(found, address, None, &Position::default()))
}

fn candidate(found: &IepCandidate) -> Vec<Node> {
    let addresses: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
    let mut nodes = vec![Node::leaf(format!(
        "at {} ({})",
        addresses.join(", "),
        security(found.evidence.addresses)
    ))];
    nodes.push(match &found.key {
        Some(key) => Node::leaf(format!(
            "key {} on chain {} at {} ({})",
            key.address,
            key.chain.0,
            shown(&key.published_at),
            if key.authenticated {
                "signed"
            } else {
                "not proven"
            }
        )),
        None => Node::leaf("no key: it can be greeted, not paid"),
    });
    nodes.extend(found.pins.iter().map(|pin| Node::leaf(tls_key(pin))));
    if let Some(assessment) = by_dns(found) {
        let signs = assessment.signs.iter().map(Node::leaf).collect();
        nodes.push(Node::new(
            format!("trust by DNS alone: {}", assessment.tier),
            signs,
        ));
    }
    nodes
}

pub(super) fn tls_key(pin: &TlsPin) -> String {
    let usage = match pin.usage {
        CertificateUsage::PkixTa => "PKIX-TA",
        CertificateUsage::PkixEe => "PKIX-EE",
        CertificateUsage::DaneTa => "DANE-TA",
        CertificateUsage::DaneEe => "DANE-EE",
    };
    let selector = match pin.selector {
        Selector::Certificate => "certificate",
        Selector::PublicKey => "public key",
    };
    let hex =
        |octets: &[u8]| -> String { octets.iter().map(|octet| format!("{octet:02x}")).collect() };
    let matching = match &pin.matching {
        Matching::Exact(octets) => format!("of {} octets in full", octets.len()),
        Matching::Sha256(digest) => format!("SHA-256 {}", hex(digest)),
        Matching::Sha512(digest) => format!("SHA-512 {}", hex(&digest[..])),
    };
    format!("TLS {selector} {matching} ({usage})")
}
