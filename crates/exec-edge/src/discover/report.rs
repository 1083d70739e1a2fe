//! What was found, for people and for machines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use edge_discovery::{
    Absence, InstanceOutcome, Lookup, NoAnswer, SiteOutcome, SiteRejection, Trail, shown,
};
use edge_http::entry_tls::Proof;
use edge_types::{AddressRefusal, DnsName, IepOrigin};
use serde_json::{Value, json};

use super::{Look, Site, Source};
use crate::explain::entry_point;

/// A zone that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone {
    zone: DnsName,
    led_by: BTreeSet<Source>,
    answer: String,
}

/// The zones of a discovery, in order.
pub(super) fn zones(trail: &Trail, led_by: &BTreeMap<DnsName, BTreeSet<Source>>) -> Vec<Zone> {
    let asked = trail.zones.iter().map(|asked| {
        let answer = match &asked.service {
            Lookup::Records(service) => {
                let usable = service.sites.iter();
                let usable =
                    usable.filter(|site| matches!(site.outcome, SiteOutcome::Candidate(_)));
                format!(
                    "{} entry points, {} of them usable",
                    service.sites.len(),
                    usable.count()
                )
            }
            other => told(other),
        };
        Zone {
            zone: asked.zone.clone(),
            led_by: led_by.get(&asked.zone).cloned().unwrap_or_default(),
            answer,
        }
    });
    asked.collect()
}

/// An entry point that a zone names and that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    zone: DnsName,
    entry_point: String,
    why: SiteRejection,
    addresses_refused: Vec<AddressRefusal>,
}

/// Entry points that are told one by one to people.
const DROPPED_TOLD: usize = 20;

/// The entry points of a discovery that are not used, by zone.
pub(super) fn dropped(trail: &Trail) -> Vec<Dropped> {
    let mut all = Vec::new();
    for asked in &trail.zones {
        let followed = match &asked.instances {
            Some(Lookup::Records(found)) => found.instances.as_slice(),
            _ => &[],
        };
        let followed = followed
            .iter()
            .filter_map(|instance| match &instance.outcome {
                InstanceOutcome::Followed { service, .. } => Some(service),
                InstanceOutcome::Refused(_) => None,
            });
        for service in std::iter::once(&asked.service).chain(followed) {
            let Lookup::Records(service) = service else {
                continue;
            };
            all.extend(service.sites.iter().filter_map(|site| {
                let SiteOutcome::Rejected(why) = &site.outcome else {
                    return None;
                };
                Some(Dropped {
                    zone: asked.zone.clone(),
                    entry_point: entry_point(&site.record),
                    why: why.clone(),
                    addresses_refused: site.addresses_refused.clone(),
                })
            }));
        }
    }
    all
}

impl Dropped {
    /// Why, in words.
    fn told(&self) -> String {
        let refused = self.addresses_refused.iter();
        let refused: Vec<String> = refused.map(ToString::to_string).collect();
        if refused.is_empty() {
            self.why.to_string()
        } else {
            format!("{} ({})", self.why, refused.join("; "))
        }
    }
}

/// A line for each of them, and how to learn more.
pub(super) fn left_out(dropped: &[Dropped]) -> String {
    let mut lines = vec![format!("not used, {} in all:", dropped.len())];
    lines.extend(dropped.iter().take(DROPPED_TOLD).map(|dropped| {
        let zone = shown(&dropped.zone);
        format!("  {} ({zone}): {}", dropped.entry_point, dropped.told())
    }));
    if dropped.len() > DROPPED_TOLD {
        lines.push("  …; --json tells all, `exec-edge explain zone` why".to_owned());
    }
    lines.join("\n")
}

/// Why a question gave no records.
pub(crate) fn told<T>(lookup: &Lookup<T>) -> String {
    match lookup {
        Lookup::Records(_) => "answered".to_owned(),
        Lookup::Pending => "not answered".to_owned(),
        Lookup::NotAsked(reason) => format!("not asked: {reason}"),
        Lookup::Absent {
            absence: Absence::NxDomain,
            ..
        } => "no such name".to_owned(),
        Lookup::Absent {
            absence: Absence::NoData,
            ..
        } => "no such record".to_owned(),
        Lookup::Unanswered(reason) => unanswered(reason),
    }
}

/// Why a question was not answered.
pub(crate) fn unanswered(reason: &NoAnswer) -> String {
    match reason {
        NoAnswer::TimedOut { after } => format!("no answer within {:.1} s", after.as_secs_f64()),
        NoAnswer::Unreachable => "the resolver cannot be reached".to_owned(),
        NoAnswer::Failed { response_code: 2 } => "the resolver failed (SERVFAIL)".to_owned(),
        NoAnswer::Failed { response_code: 5 } => "the resolver refused".to_owned(),
        NoAnswer::Failed { response_code } => {
            format!("the resolver answered with code {response_code}")
        }
        NoAnswer::Malformed { detail } => format!("a malformed answer: {detail}"),
        NoAnswer::Bogus { reason } => format!("signatures do not hold: {reason}"),
        NoAnswer::RunOver => "no answer in time".to_owned(),
    }
}

/// A line for each site, nearest first, and below it what it offers; empty without sites.
pub(super) fn table(sites: &[Site]) -> String {
    if sites.is_empty() {
        return "no edge provider found".to_owned();
    }
    let cells: Vec<[String; 6]> = sites.iter().map(cells).collect();
    let header = ["RTT", "ENTRY POINT", "ADDRESS", "KEY", "TRUST", "FOUND BY"].map(str::to_owned);
    let width = |column: usize| {
        let rows = std::iter::once(&header).chain(&cells);
        rows.map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2), width(3), width(4)];
    let line = |row: &[String; 6]| {
        format!(
            "{:>w0$}  {:<w1$}  {:<w2$}  {:<w3$}  {:<w4$}  {}",
            row[0],
            row[1],
            row[2],
            row[3],
            row[4],
            row[5],
            w0 = widths[0],
            w1 = widths[1],
            w2 = widths[2],
            w3 = widths[3],
            w4 = widths[4],
        )
        .trim_end()
        .to_owned()
    };
    let indent = " ".repeat(widths[0] + 2);
    let mut lines = vec![line(&header)];
    for (site, row) in sites.iter().zip(&cells) {
        lines.push(line(row));
        if let Some(problem) = &site.measured.problem {
            lines.push(format!("{indent}! {problem}"));
        }
        if let Some(objection) = &site.trust.objection {
            lines.push(format!("{indent}! not where it seems: {objection}"));
        }
        match &site.measured.services {
            None => {}
            Some(Ok(listed)) if listed.is_empty() => {
                lines.push(format!("{indent}- offers nothing here"))
            }
            Some(Ok(listed)) => {
                let names = listed
                    .iter()
                    .map(|service| service.name.chars().count())
                    .max()
                    .unwrap_or(0);
                lines.extend(listed.iter().map(|service| {
                    let mut text = format!("{indent}- {:<names$}  {}", service.name, service.url);
                    if !service.description.is_empty() {
                        let _infallible = write!(text, "  {}", service.description);
                    }
                    text
                }));
            }
            Some(Err(reason)) => lines.push(format!("{indent}- services not told: {reason}")),
        }
    }
    lines.join("\n")
}

fn cells(site: &Site) -> [String; 6] {
    let rtt = site
        .measured
        .rtt
        .map_or_else(|| "-".to_owned(), |rtt| format!("{:.1} ms", rtt.as_ms()));
    let address = site
        .measured
        .address
        .or_else(|| site.candidate.addresses.first().copied());
    let key = match &site.candidate.key {
        None => "none".to_owned(),
        Some(key) => {
            let account = key.address.to_string();
            let short = format!("{}…{}", &account[..6], &account[account.len() - 4..]);
            if key.authenticated {
                format!("{short} signed")
            } else {
                short
            }
        }
    };
    let found_by: Vec<String> = site.found_by.iter().map(ToString::to_string).collect();
    [
        rtt,
        site.candidate.id.to_string(),
        address.map_or_else(String::new, |address| address.to_string()),
        key,
        site.trust.tier.to_string(),
        match &site.candidate.origin {
            IepOrigin::Zone(zone) => format!("{} ({})", shown(zone), found_by.join(", ")),
            _ => found_by.join(", "),
        },
    ]
}

/// Where was looked, when nothing was found.
pub(super) fn nothing(zones: &[Zone]) -> String {
    if zones.is_empty() {
        return "no domain to look in: neither name, search list nor network tell one; name a zone by --zone".to_owned();
    }
    let lines = zones.iter().map(|zone| {
        let led_by: Vec<String> = zone.led_by.iter().map(ToString::to_string).collect();
        let led_by = if led_by.is_empty() {
            String::new()
        } else {
            format!(" ({})", led_by.join(", "))
        };
        format!("  {}{led_by}: {}", shown(&zone.zone), zone.answer)
    });
    std::iter::once("looked in".to_owned())
        .chain(lines)
        .collect::<Vec<_>>()
        .join("\n")
}

/// What is different from the time before, a line each.
pub(super) fn changes(before: &[Site], now: &[Site]) -> Vec<String> {
    let by_id = |sites: &[Site]| -> BTreeMap<_, Site> {
        sites
            .iter()
            .map(|site| (site.candidate.id.clone(), site.clone()))
            .collect()
    };
    let (old, new) = (by_id(before), by_id(now));
    let mut lines = Vec::new();
    for (id, site) in &new {
        let [rtt, _, address, key, _, found_by] = cells(site);
        match old.get(id) {
            None => lines.push(format!("+ {id} at {address}, {rtt}, key {key}, {found_by}")),
            Some(known)
                if known.candidate.key != site.candidate.key
                    || known.candidate.addresses != site.candidate.addresses =>
            {
                lines.push(format!("~ {id} now at {address}, key {key}"));
            }
            Some(known) if known.measured.services != site.measured.services => {
                lines.push(format!("~ {id} offers other services"));
            }
            Some(known) if known.trust.tier != site.trust.tier => {
                lines.push(format!("~ {id} is {} now", site.trust.tier));
            }
            Some(_) => {}
        }
    }
    let gone = old.keys().filter(|id| !new.contains_key(id));
    lines.extend(gone.map(|id| format!("- {id} is no longer named")));
    lines
}

/// Everything, on one line.
pub(super) fn json(look: &Look) -> String {
    let led =
        |led_by: &BTreeSet<Source>| led_by.iter().map(ToString::to_string).collect::<Vec<_>>();
    let sites: Vec<Value> = look
        .sites
        .iter()
        .map(|site| {
            let trust = &site.trust;
            let signs: Vec<String> = trust.signs.iter().map(ToString::to_string).collect();
            let objection = trust.objection.map(|objection| objection.to_string());
            let candidate = &site.candidate;
            let key = candidate.key.as_ref().map(|key| {
                json!({
                    "account": key.address.to_string(),
                    "chain": key.chain.0,
                    "authenticated": key.authenticated,
                })
            });
            let services = site
                .measured
                .services
                .as_ref()
                .map(|services| match services {
                    Ok(listed) => json!({ "listed": listed }),
                    Err(reason) => json!({ "not_told": reason }),
                });
            json!({
                "site": candidate.id.to_string(),
                "zone": candidate.zone.as_str(),
                "origin": candidate.origin.to_string(),
                "trust": {
                    "tier": trust.tier.to_string(),
                    "signs": signs,
                    "objection": objection,
                },
                "found_by": led(&site.found_by),
                "addresses": candidate.addresses,
                "priority": candidate.priority,
                "weight": candidate.weight,
                "key": key,
                "address": site.measured.address,
                "rtt_ms": site.measured.rtt.map(edge_types::Rtt::as_ms),
                "problem": site.measured.problem,
                "services": services,
                "proven_by": site.measured.proof.map(|proof| match proof {
                    Proof::Dane => "dane",
                    Proof::WebPki => "webpki",
                }),
            })
        })
        .collect();
    let zones: Vec<Value> = look
        .zones
        .iter()
        .map(|zone| json!({ "zone": zone.zone.as_str(), "found_by": led(&zone.led_by), "answer": zone.answer }))
        .collect();
    let dropped = look.dropped.iter().map(|dropped| {
        json!({
            "entry_point": dropped.entry_point,
            "zone": dropped.zone.as_str(),
            "reason": dropped.why.kind(),
            "told": dropped.told(),
        })
    });
    let dropped: Vec<Value> = dropped.collect();
    json!({ "sites": sites, "dropped": dropped, "zones": zones, "problems": look.problems })
        .to_string()
}
