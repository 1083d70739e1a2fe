//! Who holds an address, where no name of it tells: from tables, RDAP (RFC 9083) and whois (RFC 3912).
//!
//! Registries know organisations, not domains. A domain is guessed from the table, or from the mail addresses of the
//! organisation's contacts, and is a hint as weak as a PTR record. An answer holds for the whole prefix that it names, so one
//! question serves all routers in it.

mod bootstrap;
mod rdap;
mod whois;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use edge_types::{DnsName, IpNet, MonotonicTime};

pub use bootstrap::{Bootstrap, BootstrapError};
pub use rdap::read_rdap;
pub use whois::{WhoisAnswer, read_whois};

use crate::zones::{CandidateZone, Standing, candidate_zones};

/// Longest name of an organisation kept, in characters.
const MAX_ORGANISATION: usize = 100;
/// Most domains taken from one answer.
const MAX_DOMAINS: usize = 4;
/// Prefixes remembered.
const MAX_PREFIXES: usize = 50_000;

/// Domains of mail addresses that say nothing about a holder: registries, and mail for everybody.
const NOBODYS_DOMAINS: [&str; 16] = [
    "afrinic.net",
    "apnic.net",
    "arin.net",
    "gmail.com",
    "gmx.de",
    "gmx.net",
    "googlemail.com",
    "hotmail.com",
    "iana.org",
    "lacnic.net",
    "mail.ru",
    "outlook.com",
    "qq.com",
    "ripe.net",
    "yahoo.com",
    "yandex.ru",
];

/// Where an answer is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnerSource {
    /// A table.
    Table,
    /// A registry's RDAP server.
    Rdap,
    /// A registry's whois server.
    Whois,
}

impl std::fmt::Display for OwnerSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Rdap => "RDAP",
            Self::Whois => "whois",
        })
    }
}

/// Who holds a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The prefix: the longest around the address asked for that the answer covers.
    pub prefix: IpNet,
    /// Name, in the registry's words, without control characters.
    pub organisation: String,
    /// Domains that may be the holder's, most likely first.
    pub domains: Vec<DnsName>,
    /// Who says so.
    pub source: OwnerSource,
}

/// What came of a question for the holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerAnswer {
    /// Somebody holds it.
    Found(Owner),
    /// The registry knows nobody.
    Nobody,
    /// Nothing is known.
    Unanswered(NoOwner),
}

/// Why no holder is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoOwner {
    /// No server is known for the address.
    #[error("no server is known for this address")]
    NoServer,
    /// The server asked to wait.
    #[error("the server asked to wait {wait:?}")]
    RateLimited {
        /// How long.
        wait: Duration,
    },
    /// No answer in time.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// How long we waited.
        after: Duration,
    },
    /// The server could not be reached or asked.
    #[error("the server cannot be asked: {0}")]
    Unreachable(String),
    /// The answer is none.
    #[error("not an answer: {0}")]
    Malformed(&'static str),
}

/// A name in the registry's words, made fit for reports.
fn tidy(text: &str) -> String {
    let kept = text.chars().filter(|c| !c.is_control());
    kept.take(MAX_ORGANISATION)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// The domain behind a mail address, if it may be the holder's.
fn domain_of_mail(mail: &str) -> Option<DnsName> {
    let host: DnsName = mail.trim().rsplit_once('@')?.1.parse().ok()?;
    let zones = candidate_zones(&host, 1).ok()?;
    let found = zones.into_iter().next_back()?;
    let is_nobodys = NOBODYS_DOMAINS.contains(&found.zone.as_str());
    (found.standing == Standing::Registrant && !is_nobodys).then_some(found.zone)
}

fn push_domain(domains: &mut Vec<DnsName>, found: Option<DnsName>) {
    if let Some(domain) = found
        && domains.len() < MAX_DOMAINS
        && !domains.contains(&domain)
    {
        domains.push(domain);
    }
}

/// The longest prefix around `address` within the range; `None` if the address is outside.
fn prefix_within(address: IpAddr, first: IpAddr, last: IpAddr) -> Option<IpNet> {
    if first.is_ipv4() != address.is_ipv4() || last.is_ipv4() != address.is_ipv4() {
        return None;
    }
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (0..=longest)
        .filter_map(|length| Some(IpNet::new(address, length).ok()?.trunc()))
        .find(|prefix| prefix.network() >= first && prefix.broadcast() <= last)
}

/// Which holders are known, and which are to be asked for.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    known: BTreeMap<IpNet, (OwnerAnswer, MonotonicTime)>,
    waiting: BTreeSet<IpAddr>,
    /// Since when.
    under_way: BTreeMap<IpAddr, MonotonicTime>,
    questions_left: usize,
}

/// How long answers hold: registries change slowly and ask not to be asked often.
const FOUND_HOLDS: Duration = Duration::from_hours(24);
const NOBODY_HOLDS: Duration = Duration::from_hours(3);
const SILENCE_HOLDS: Duration = Duration::from_mins(5);
/// A question that was not answered for this long was given up by who asked it.
const UNDER_WAY_FOR: Duration = Duration::from_mins(1);
/// A server cannot make us wait longer.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

impl Owners {
    /// What is known about an address.
    pub(crate) fn get(&self, address: IpAddr) -> Option<&OwnerAnswer> {
        self.entry(address).map(|(answer, _)| answer)
    }

    fn entry(&self, address: IpAddr) -> Option<&(OwnerAnswer, MonotonicTime)> {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (0..=longest).rev().find_map(|length| {
            let prefix = IpNet::new(address, length).ok()?.trunc();
            self.known.get(&prefix)
        })
    }

    /// Asks for the holder, unless that is known and still holds.
    pub(crate) fn want(&mut self, address: IpAddr, now: MonotonicTime) {
        let holds = self.entry(address).is_some_and(|(_, until)| now < *until);
        let is_asked = self.under_way.contains_key(&address);
        if !holds && !is_asked && self.waiting.len() < MAX_PREFIXES {
            self.waiting.insert(address);
        }
    }

    /// Begins anew, with so many questions. Registries are slow: what is under way may still be answered.
    pub(crate) fn start_run(&mut self, questions: usize, now: MonotonicTime) {
        self.waiting.clear();
        self.under_way
            .retain(|_, since| now.since(*since) < UNDER_WAY_FOR);
        self.questions_left = questions;
    }

    /// The domains of the holder, as candidate zones.
    pub(crate) fn ladders(&self, address: IpAddr) -> Vec<Vec<CandidateZone>> {
        let Some(OwnerAnswer::Found(owner)) = self.get(address) else {
            return Vec::new();
        };
        let domains = owner.domains.iter().take(MAX_DOMAINS);
        domains
            .map(|domain| {
                vec![CandidateZone {
                    zone: domain.clone(),
                    standing: Standing::Registrant,
                }]
            })
            .collect()
    }

    /// The next address to ask for: none whose neighbour is being asked for, since one answer may tell of both.
    pub(crate) fn poll(&mut self, now: MonotonicTime) -> Option<IpAddr> {
        if self.questions_left == 0 {
            return None;
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|address| self.entry(*address).is_none_or(|(_, until)| now >= *until));
        let near_asked: BTreeSet<_> = self.under_way.keys().map(|ip| neighbourhood(*ip)).collect();
        let next = waiting
            .iter()
            .copied()
            .find(|address| !near_asked.contains(&neighbourhood(*address)));
        self.waiting = waiting;
        let next = next?;
        self.waiting.remove(&next);
        self.questions_left -= 1;
        self.under_way.insert(next, now);
        Some(next)
    }

    /// Takes an answer; false if it was not asked for.
    pub(crate) fn answer(
        &mut self,
        address: IpAddr,
        answer: OwnerAnswer,
        now: MonotonicTime,
    ) -> bool {
        if self.under_way.remove(&address).is_none() {
            return false;
        }
        let (prefix, holds) = match &answer {
            OwnerAnswer::Found(owner) if owner.prefix.contains(&address) => {
                (owner.prefix.trunc(), FOUND_HOLDS)
            }
            OwnerAnswer::Unanswered(NoOwner::RateLimited { wait }) => (
                IpNet::from(address),
                (*wait).min(LONGEST_WAIT).max(SILENCE_HOLDS),
            ),
            OwnerAnswer::Nobody => (IpNet::from(address), NOBODY_HOLDS),
            _ => (IpNet::from(address), SILENCE_HOLDS),
        };
        if self.known.len() >= MAX_PREFIXES {
            self.known.retain(|_, (_, until)| now < *until);
        }
        if self.known.len() < MAX_PREFIXES {
            self.known.insert(prefix, (answer, now.after(holds)));
        }
        true
    }
}

/// The part of the address space in which one holder is likely.
fn neighbourhood(address: IpAddr) -> Option<IpNet> {
    let length = if address.is_ipv4() { 16 } else { 32 };
    Some(IpNet::new(address, length).ok()?.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime(Duration::from_secs(seconds))
    }

    fn found(prefix: &str) -> OwnerAnswer {
        OwnerAnswer::Found(Owner {
            prefix: prefix.parse().unwrap(),
            organisation: "ISP".to_owned(),
            domains: Vec::new(),
            source: OwnerSource::Rdap,
        })
    }

    #[test]
    fn one_question_serves_a_whole_prefix() {
        let mut owners = Owners::default();
        owners.start_run(100, at(0));
        for host in ["240.1.0.1", "240.1.0.2", "240.1.200.1", "240.2.0.1"] {
            owners.want(address(host), at(0));
        }
        assert_eq!(owners.poll(at(0)), Some(address("240.1.0.1")));
        assert_eq!(owners.poll(at(0)), Some(address("240.2.0.1")));
        assert_eq!(owners.poll(at(0)), None, "neighbours wait");
        assert!(owners.answer(address("240.1.0.1"), found("240.1.0.0/16"), at(0)));
        assert_eq!(owners.poll(at(0)), None, "and are answered");
        assert_eq!(
            owners.get(address("240.1.200.1")),
            Some(&found("240.1.0.0/16"))
        );
        owners.want(address("240.1.9.9"), at(86_399));
        assert_eq!(owners.poll(at(86_399)), None);
        owners.want(address("240.1.9.9"), at(86_400));
        assert_eq!(owners.poll(at(86_400)), Some(address("240.1.9.9")));
    }

    #[test]
    fn an_answer_that_takes_longer_than_a_run_counts() {
        let mut owners = Owners::default();
        owners.start_run(100, at(0));
        let host = address("240.1.0.1");
        owners.want(host, at(0));
        assert_eq!(owners.poll(at(0)), Some(host));
        owners.start_run(100, at(20));
        owners.want(host, at(20));
        assert_eq!(owners.poll(at(20)), None, "it is being asked for");
        owners.start_run(100, at(60));
        owners.want(host, at(60));
        assert_eq!(owners.poll(at(60)), Some(host), "nobody will answer");
        assert!(owners.answer(host, found("240.1.0.0/16"), at(61)));
    }

    #[test]
    fn questions_are_counted() {
        let mut owners = Owners::default();
        owners.start_run(1, at(0));
        owners.want(address("240.1.0.1"), at(0));
        owners.want(address("240.2.0.1"), at(0));
        assert!(owners.poll(at(0)).is_some());
        assert_eq!(owners.poll(at(0)), None);
    }

    #[test]
    fn an_answer_counts_for_no_prefix_that_does_not_hold_the_address() {
        let mut owners = Owners::default();
        owners.start_run(100, at(0));
        owners.want(address("240.1.0.1"), at(0));
        let asked = owners.poll(at(0)).unwrap();
        assert!(owners.answer(asked, found("240.2.0.0/16"), at(0)));
        assert_eq!(owners.get(address("240.2.0.1")), None);
        assert!(!owners.answer(asked, found("240.1.0.0/16"), at(0)), "once");
    }

    #[test]
    fn a_server_that_asks_to_wait_is_waited_for() {
        let mut owners = Owners::default();
        owners.start_run(100, at(0));
        let host = address("240.1.0.1");
        owners.want(host, at(0));
        assert_eq!(owners.poll(at(0)), Some(host));
        let wait = Duration::from_secs(3000);
        let limited = OwnerAnswer::Unanswered(NoOwner::RateLimited { wait });
        owners.answer(host, limited, at(0));
        owners.want(host, at(2999));
        assert_eq!(owners.poll(at(2999)), None);
        owners.want(host, at(3000));
        assert_eq!(owners.poll(at(3000)), Some(host));
    }

    #[test]
    fn registries_and_public_mail_are_no_holders() {
        for (mail, want) in [
            ("noc@core.isp.example", Some("isp.example")),
            ("abuse@ripe.net", None),
            ("someone@gmail.com", None),
            ("x@someone.github.io", None),
            ("nobody", None),
            ("a@b@c.isp.example", Some("isp.example")),
        ] {
            let found = domain_of_mail(mail).map(|domain| domain.to_string());
            assert_eq!(found.as_deref(), want, "{mail}");
        }
    }
}
