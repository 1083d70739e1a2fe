//! What a record consists of, as it is written down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use edge_placement::{
    Application, Candidate, Effort, PlanBasis, Policy, Service, Trust, Whereabouts,
};
use edge_topology::{AggregateTree, LogEntry, Observations};
use edge_types::{
    Amount, Asset, ChainAddress, Country, Generation, IepId, IpNet, OfferId, PathObservation,
    PrefixGrouping, Rtt, Slot, UtcTime,
};
use serde::{Deserialize, Serialize};

/// A part of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// The first.
    Begin(Begin),
    /// A path was observed or forgotten.
    Path(LogEntry),
    /// A tree was made.
    Tree(TreeLine),
    /// A plan was made.
    Plan(Box<PlanLine>),
    /// The last, and why it is: the run ended, or the record was full, or did not keep up.
    End(String),
}

/// What holds for all of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    /// Length of the prefixes by which routers are nodes of the tree, IPv4.
    pub routers_v4: u8,
    /// The same, IPv6.
    pub routers_v6: u8,
    /// Most targets whose paths are kept.
    pub most_targets: usize,
}

/// The demand of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeLine {
    /// When, in microseconds since the run began.
    pub at_us: u64,
    /// The tree's number.
    pub generation: u64,
    /// Client prefix; the address in it that is traced, `None` where it asked too little for that; thousandths of a request per second; requests since
    /// the last tree.
    pub prefixes: Vec<(IpNet, Option<IpAddr>, u64, u64)>,
    /// Is there more of the same tree in the next entry?
    #[serde(default, skip_serializing_if = "is_false")]
    pub goes_on: bool,
}

/// What a plan came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Sites chosen, each with its offer, in order.
    pub sites: Vec<(String, Option<String>)>,
    /// Demand × round trip (microseconds × thousandths of a request per second) that was predicted.
    pub planned: u128,
    /// What is newly rented costs.
    pub cost: u128,
    /// A digest of who serves whom.
    pub served: u64,
}

/// A plan with all that it was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanLine {
    pub(super) at_us: u64,
    generation: u64,
    topology: u64,
    sites_found: usize,
    candidates: Vec<CandidateLine>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    excluded: Vec<String>,
    /// Site, prefix, microseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    measured: Vec<(String, IpNet, u64)>,
    on_path: bool,
    calls_per_thousand: u32,
    policy: PolicyLine,
    algorithm: String,
    effort: u64,
    pub(super) decision: Decision,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CandidateLine {
    site: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offer: Option<String>,
    path: LogEntry,
    price: (Option<String>, u128),
    slot: (u64, u64),
    running: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capacity: Option<u64>,
    trust: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asn: Option<u32>,
    #[serde(default = "as_now", skip_serializing_if = "is_as_now")]
    outlook_percent: u32,
}

/// An outlook that nothing will change.
const fn as_now() -> u32 {
    100
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_as_now(outlook: &u32) -> bool {
    *outlook == as_now()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyLine {
    max_sites: usize,
    max_share_percent: u8,
    budget: (Option<String>, u128),
    value_per_second: Option<u128>,
    min_saving_us: u64,
    min_trust: u8,
    countries: Option<Vec<String>>,
    asns: Option<BTreeSet<u32>>,
}

/// An entry that nothing that was written says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not sound")]
pub struct Unsound(pub(super) &'static str);

const TRUSTS: [Trust; 4] = [Trust::Named, Trust::Bound, Trust::Proven, Trust::Own];

impl Begin {
    /// A store as empty as that of the run at its beginning.
    pub(super) fn observations(self) -> Observations {
        Observations::new(edge_topology::Limits {
            max_targets: self.most_targets,
            ..edge_topology::Limits::default()
        })
    }

    pub(super) fn grouping(self) -> Result<PrefixGrouping, Unsound> {
        PrefixGrouping::new(self.routers_v4, self.routers_v6).ok_or(Unsound("a prefix length"))
    }
}

impl PlanLine {
    pub(super) fn new(at_us: u64, basis: &PlanBasis, decision: Decision) -> Self {
        let policy = &basis.policy;
        let micros = |rtt: Rtt| super::micros(rtt.0);
        Self {
            at_us,
            generation: basis.generation.0,
            topology: basis.topology.0,
            sites_found: basis.sites_found,
            candidates: basis
                .candidates
                .iter()
                .map(|(candidate, path)| CandidateLine::new(candidate, path))
                .collect(),
            excluded: basis.excluded.iter().map(ToString::to_string).collect(),
            measured: basis
                .measured
                .iter()
                .map(|((site, prefix), rtt)| (site.to_string(), *prefix, micros(*rtt)))
                .collect(),
            on_path: basis.application.service == Service::OnPath,
            calls_per_thousand: basis.application.calls_per_thousand,
            policy: PolicyLine {
                max_sites: policy.max_sites,
                max_share_percent: policy.max_share_percent,
                budget: amount_line(policy.budget),
                value_per_second: policy.value_per_second,
                min_saving_us: micros(policy.min_saving),
                min_trust: trust_line(policy.min_trust),
                countries: policy
                    .countries
                    .as_ref()
                    .map(|allowed| allowed.iter().map(ToString::to_string).collect()),
                asns: policy.asns.clone(),
            },
            algorithm: match basis.algorithm {
                edge_placement::Algorithm::Random { seed } => format!("random:{seed}"),
                other => other.to_string(),
            },
            effort: basis.effort.0,
            decision,
        }
    }

    /// What the plan was made from; the tree's number is compared by whoever has the tree.
    pub(super) fn basis(&self, tree: &AggregateTree) -> Result<PlanBasis, Unsound> {
        if tree.generation().0 != self.topology {
            return Err(Unsound("the tree of a plan"));
        }
        let policy = &self.policy;
        let candidates = self.candidates.iter().map(CandidateLine::candidate);
        let measured = self.measured.iter().map(|(site, prefix, micros)| {
            let rtt = Rtt(Duration::from_micros(*micros));
            Ok(((site_of(site)?, *prefix), rtt))
        });
        Ok(PlanBasis {
            generation: Generation(self.generation),
            topology: tree.generation(),
            sites_found: self.sites_found,
            candidates: candidates.collect::<Result<_, _>>()?,
            excluded: self
                .excluded
                .iter()
                .map(|site| site_of(site))
                .collect::<Result<_, _>>()?,
            measured: measured.collect::<Result<BTreeMap<_, _>, _>>()?,
            application: Application {
                service: if self.on_path {
                    Service::OnPath
                } else {
                    Service::AnyNearest
                },
                calls_per_thousand: self.calls_per_thousand,
            },
            policy: Policy {
                max_sites: policy.max_sites,
                max_share_percent: policy.max_share_percent,
                budget: amount_of(&policy.budget)?,
                value_per_second: policy.value_per_second,
                min_saving: Rtt(Duration::from_micros(policy.min_saving_us)),
                min_trust: trust_of(policy.min_trust)?,
                countries: policy
                    .countries
                    .as_ref()
                    .map(|allowed| allowed.iter().map(|code| country_of(code)).collect())
                    .transpose()?,
                asns: policy.asns.clone(),
            },
            algorithm: self
                .algorithm
                .parse()
                .map_err(|_| Unsound("the name of an algorithm"))?,
            effort: Effort(self.effort),
        })
    }
}

fn country_of(code: &str) -> Result<Country, Unsound> {
    code.parse().map_err(|_| Unsound("a country"))
}

impl CandidateLine {
    fn new(candidate: &Candidate, path: &PathObservation) -> Self {
        Self {
            site: candidate.site.to_string(),
            offer: candidate.offer.map(|offer| offer.to_string()),
            path: LogEntry::Insert(path.clone()),
            price: amount_line(candidate.price_per_second),
            slot: (candidate.slot.start.0, candidate.slot.end.0),
            running: candidate.already_running,
            capacity: candidate.capacity,
            trust: trust_line(candidate.trust),
            country: candidate
                .whereabouts
                .country
                .map(|country| country.to_string()),
            asn: candidate.whereabouts.asn,
            outlook_percent: candidate.outlook_percent,
        }
    }

    fn candidate(&self) -> Result<(Candidate, PathObservation), Unsound> {
        let LogEntry::Insert(path) = &self.path else {
            return Err(Unsound("the path of a candidate"));
        };
        let offer = self.offer.as_ref().map(|offer| offer.parse());
        let candidate = Candidate {
            site: site_of(&self.site)?,
            offer: offer
                .transpose()
                .map_err(|_| Unsound("the number of an offer"))?,
            // Where it hangs is worked out on the tree.
            attachment: edge_topology::Attachment {
                generation: Generation(0),
                node: edge_topology::NodeIndex(0),
                rtt: Rtt(Duration::ZERO),
                beyond: Rtt(Duration::ZERO),
                reached: false,
            },
            price_per_second: amount_of(&self.price)?,
            slot: Slot {
                start: UtcTime(self.slot.0),
                end: UtcTime(self.slot.1),
            },
            already_running: self.running,
            capacity: self.capacity,
            trust: trust_of(self.trust)?,
            whereabouts: Whereabouts {
                country: self.country.as_deref().map(country_of).transpose()?,
                asn: self.asn,
            },
            outlook_percent: self.outlook_percent,
        };
        Ok((candidate, path.clone()))
    }
}

pub(super) fn site_offer((site, offer): (IepId, Option<OfferId>)) -> (String, Option<String>) {
    (site.to_string(), offer.map(|offer| offer.to_string()))
}

fn site_of(text: &str) -> Result<IepId, Unsound> {
    let unsound = Unsound("the name of a site");
    let (host, port) = text.rsplit_once(':').ok_or(unsound)?;
    Ok(IepId {
        host: host.parse().map_err(|_| unsound)?,
        port: port.parse().map_err(|_| unsound)?,
    })
}

fn trust_line(trust: Trust) -> u8 {
    let position = TRUSTS.iter().position(|known| *known == trust);
    position
        .and_then(|position| u8::try_from(position).ok())
        .unwrap_or(0)
}

fn trust_of(number: u8) -> Result<Trust, Unsound> {
    let known = TRUSTS.get(usize::from(number));
    known.copied().ok_or(Unsound("how a site is trusted"))
}

/// The token, if it is not the chain's own currency, and the number.
fn amount_line(amount: Amount) -> (Option<String>, u128) {
    let token = match amount.asset {
        Asset::Native => None,
        Asset::Token(token) => Some(token.to_string()),
    };
    (token, amount.units)
}

fn amount_of((token, units): &(Option<String>, u128)) -> Result<Amount, Unsound> {
    let token = token.as_ref().map(|token| token.parse::<ChainAddress>());
    let asset = match token {
        None => Asset::Native,
        Some(Ok(token)) => Asset::Token(token),
        Some(Err(_)) => return Err(Unsound("a token")),
    };
    Ok(Amount {
        asset,
        units: *units,
    })
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks with a reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}
