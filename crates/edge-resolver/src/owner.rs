//! Holders of addresses: from a table, then by RDAP, then by whois.
//!
//! Servers named by strangers (referrals of whois servers) are looked up here, their addresses checked, and contacted as
//! they are (security rule 4). A server that asks to wait is left alone for as long as it asks.

mod http;
mod whois;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edge_discovery::{
    Answer, Bootstrap, NoOwner, OriginRanges, Owner, OwnerAnswer, OwnerSource, Question,
    RecordData, RecordKind, read_rdap,
};
use edge_ports::{BoxFuture, Clock, NameLookup, PrefixOwner};
use edge_types::{AddressPolicy, DnsName, MonotonicTime};

pub use http::PlainHttp;
use whois::ask_whois;

/// Time for one question to one server.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest RDAP answer taken, in octets.
const MOST_OCTETS: usize = 256 * 1024;
/// Where a server that asks to wait does not say how long.
const USUAL_WAIT: Duration = Duration::from_secs(60);
/// Servers remembered that asked to wait.
const MOST_LIMITED: usize = 1024;
/// Addresses of a server that are tried.
const ADDRESSES: usize = 2;

/// A web server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Its status.
    pub status: u16,
    /// For how long the server asked not to be asked again.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Vec<u8>,
}

/// Fetches documents by HTTP. Redirects are not followed.
pub trait HttpGet: Send + Sync + std::fmt::Debug {
    /// `GET url`, taking `most` octets of body.
    ///
    /// # Errors
    /// [`NoOwner::Unreachable`], [`NoOwner::TimedOut`] or [`NoOwner::Malformed`].
    fn get<'a>(
        &'a self,
        url: &'a str,
        accept: &'static str,
        most: usize,
    ) -> BoxFuture<'a, Result<HttpAnswer, NoOwner>>;
}

/// Where holders are asked for.
#[derive(Debug)]
pub struct Registries {
    /// Asked first; what has no domain there is asked for elsewhere.
    pub table: Option<Arc<OriginRanges>>,
    /// Which RDAP server knows which prefix.
    pub bootstrap: Bootstrap,
    /// Reaches RDAP servers.
    pub http: Option<Arc<dyn HttpGet>>,
    /// The whois server asked first, `whois.iana.org`, which knows the others.
    pub whois: Option<DnsName>,
    /// Port of whois servers, 43.
    pub whois_port: u16,
    /// Looks up servers.
    pub lookup: Arc<dyn NameLookup>,
    /// What may be contacted.
    pub policy: AddressPolicy,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Until when servers are left alone.
    pub limited: Limited,
}

/// Servers that asked to wait, by base address.
#[derive(Debug, Default)]
pub struct Limited(Mutex<BTreeMap<String, MonotonicTime>>);

impl Limited {
    fn left(&self, server: &str, now: MonotonicTime) -> Option<Duration> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = *known.get(server)?;
        (now < until).then(|| until.since(now))
    }

    fn wait(&self, server: &str, until: MonotonicTime, now: MonotonicTime) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, until| now < *until);
        if known.len() < MOST_LIMITED {
            known.insert(server.to_owned(), until);
        }
    }
}

impl PrefixOwner for Registries {
    fn owner(&self, address: IpAddr) -> BoxFuture<'_, OwnerAnswer> {
        Box::pin(async move {
            let in_table = self.by_table(address);
            if in_table
                .as_ref()
                .is_some_and(|owner| !owner.domains.is_empty())
            {
                return in_table.map_or(OwnerAnswer::Nobody, OwnerAnswer::Found);
            }
            let by_rdap = self.by_rdap(address).await;
            if matches!(by_rdap, OwnerAnswer::Found(_)) {
                return by_rdap;
            }
            let by_whois = self.by_whois(address).await;
            match (by_whois, in_table) {
                (found @ OwnerAnswer::Found(_), _) => found,
                (_, Some(owner)) => OwnerAnswer::Found(owner),
                // What RDAP said comes first, unless it was not asked at all.
                (other, None) => match by_rdap {
                    OwnerAnswer::Unanswered(NoOwner::NoServer) => other,
                    by_rdap => by_rdap,
                },
            }
        })
    }
}

impl Registries {
    fn by_table(&self, address: IpAddr) -> Option<Owner> {
        let (prefix, origin) = self.table.as_ref()?.find(address)?;
        Some(Owner {
            prefix,
            organisation: origin.organisation.clone(),
            domains: origin.domain.iter().cloned().collect(),
            source: OwnerSource::Table,
        })
    }

    async fn by_rdap(&self, address: IpAddr) -> OwnerAnswer {
        let (Some(http), Some(server)) = (&self.http, self.bootstrap.server(address)) else {
            return OwnerAnswer::Unanswered(NoOwner::NoServer);
        };
        if let Some(wait) = self.limited.left(server, self.clock.monotonic()) {
            return OwnerAnswer::Unanswered(NoOwner::RateLimited { wait });
        }
        let url = format!("{server}/ip/{address}");
        let asked = http.get(&url, "application/rdap+json", MOST_OCTETS);
        let answer = match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => return OwnerAnswer::Unanswered(failure),
            Err(_) => return OwnerAnswer::Unanswered(NoOwner::TimedOut { after: TIMEOUT }),
        };
        match answer.status {
            200 => read_rdap(&answer.body, address),
            404 => OwnerAnswer::Nobody,
            // RFC 7480 section 5.5
            429 | 503 => {
                let wait = answer.retry_after.unwrap_or(USUAL_WAIT);
                let now = self.clock.monotonic();
                self.limited.wait(server, now.after(wait), now);
                OwnerAnswer::Unanswered(NoOwner::RateLimited { wait })
            }
            status => OwnerAnswer::Unanswered(NoOwner::Unreachable(format!("status {status}"))),
        }
    }

    async fn by_whois(&self, address: IpAddr) -> OwnerAnswer {
        let Some(server) = &self.whois else {
            return OwnerAnswer::Unanswered(NoOwner::NoServer);
        };
        let asked = ask_whois(self, server.clone(), address);
        tokio::time::timeout(TIMEOUT, asked)
            .await
            .unwrap_or(OwnerAnswer::Unanswered(NoOwner::TimedOut {
                after: TIMEOUT,
            }))
    }
}

/// The addresses of a server that may be contacted.
async fn addresses_of(
    host: &DnsName,
    lookup: &dyn NameLookup,
    policy: &AddressPolicy,
) -> Result<Vec<IpAddr>, NoOwner> {
    let mut allowed = Vec::new();
    let mut refused = None;
    for kind in [RecordKind::Aaaa, RecordKind::A] {
        let question = Question::new(host.clone(), kind);
        let Answer::Records { records, .. } = lookup.lookup(&question).await else {
            continue;
        };
        for record in records {
            let RecordData::Address(address) = record else {
                continue;
            };
            match policy.check(address) {
                Ok(()) if allowed.len() < ADDRESSES => allowed.push(address),
                Ok(()) => {}
                Err(refusal) => refused = Some(refusal),
            }
        }
    }
    if !allowed.is_empty() {
        return Ok(allowed);
    }
    Err(NoOwner::Unreachable(match refused {
        Some(refusal) => format!("{host} may not be contacted: {refusal}"),
        None => format!("{host} has no address"),
    }))
}
