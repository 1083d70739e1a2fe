//! Where edge sites are found beside the zones of routers: lists of sites, and the holders of addresses without names.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use edge_discovery::{Bootstrap, NoOwner, OriginRanges, RangeValue, Ranges};
use edge_http::fetch::{Fetcher, WebAddress};
use edge_http::site_lists::{FeedList, WellKnownList};
use edge_orchestrator::config::Lists;
use edge_ports::{BoxFuture, FixedList, NameLookup, PrefixOwner, SiteList, SystemClock};
use edge_resolver::{HttpAnswer, HttpGet, Limited, Registries};
use edge_types::AddressPolicy;

use crate::authorities;
use edge_console::exit::Failure;

/// RFC 3912 section 2.
const WHOIS_PORT: u16 = 43;

/// What a configuration or a command line names.
#[derive(Debug)]
pub(crate) struct Sources {
    /// Lists of sites, and the whois server.
    pub(crate) lists: Lists,
    /// Files with lists of RDAP servers (RFC 9224).
    pub(crate) rdap: Vec<PathBuf>,
    /// May lists and registries be read without TLS?
    pub(crate) plain_http: bool,
    /// Certificate authorities to believe, instead of the system's.
    pub(crate) certificates: Option<PathBuf>,
    /// Addresses that may be contacted.
    pub(crate) policy: AddressPolicy,
    /// What stands before the names of the settings where they are told to people.
    pub(crate) prefix: &'static str,
}

impl Sources {
    /// Fetches documents from the web, if any are named.
    pub(crate) fn fetcher(&self, lookup: &Arc<dyn NameLookup>) -> Result<Option<Fetcher>, Failure> {
        if !self.lists.needs_web() && self.rdap.is_empty() {
            return Ok(None);
        }
        let roots = authorities::read(self.certificates.as_deref()).map_err(|error| {
            let hint = format!(
                "install ca-certificates, or set {}certificates to a PEM file",
                self.prefix
            );
            Failure::usage(error).with_hint(hint)
        })?;
        let (lookup, policy) = (Arc::clone(lookup), self.policy.clone());
        Ok(Some(Fetcher::new(lookup, policy, roots, self.plain_http)))
    }

    /// Who is asked for the holders of addresses; nobody where neither a table nor a registry is named.
    pub(crate) fn owners(
        &self,
        table: Option<Arc<OriginRanges>>,
        lookup: &Arc<dyn NameLookup>,
        fetcher: Option<Fetcher>,
        clock: SystemClock,
    ) -> Result<Option<Arc<dyn PrefixOwner>>, Failure> {
        if table.is_none() && self.rdap.is_empty() && self.lists.whois.is_none() {
            return Ok(None);
        }
        let mut bootstrap = Bootstrap::default();
        for file in &self.rdap {
            let context = || format!("{}rdap: reading {}", self.prefix, file.display());
            let text = std::fs::read(file)
                .with_context(context)
                .map_err(Failure::usage)?;
            bootstrap
                .read(&text)
                .with_context(context)
                .map_err(Failure::usage)?;
        }
        Ok(Some(Arc::new(Registries {
            table,
            bootstrap,
            http: fetcher.map(|fetcher| Arc::new(Rdap(fetcher)) as Arc<dyn HttpGet>),
            whois: self.lists.whois.clone(),
            whois_port: WHOIS_PORT,
            lookup: Arc::clone(lookup),
            policy: self.policy.clone(),
            clock: Arc::new(clock),
            limited: Limited::default(),
        })))
    }

    /// The lists of entry points.
    pub(crate) fn site_lists(
        &self,
        fetcher: Option<&Fetcher>,
        clock: SystemClock,
    ) -> Vec<Arc<dyn SiteList>> {
        let named = &self.lists;
        let mut lists: Vec<Arc<dyn SiteList>> = Vec::new();
        if !named.sites.is_empty() {
            lists.push(Arc::new(FixedList(named.sites.clone())));
        }
        if let Some(fetcher) = fetcher {
            for domain in &named.well_known {
                lists.push(Arc::new(WellKnownList::new(
                    domain.clone(),
                    fetcher.clone(),
                )));
            }
            for (address, key) in &named.feeds {
                let clock = Arc::new(clock);
                lists.push(Arc::new(FeedList::new(
                    address.clone(),
                    *key,
                    fetcher.clone(),
                    clock,
                )));
            }
        }
        lists
    }
}

/// RDAP servers, over https.
#[derive(Debug)]
struct Rdap(Fetcher);

impl HttpGet for Rdap {
    fn get<'a>(
        &'a self,
        url: &'a str,
        accept: &'static str,
        most: usize,
    ) -> BoxFuture<'a, Result<HttpAnswer, NoOwner>> {
        Box::pin(async move {
            let failed = |cause: anyhow::Error| NoOwner::Unreachable(format!("{cause:#}"));
            let address = url
                .parse::<WebAddress>()
                .map_err(|cause| failed(anyhow::Error::new(cause)))?;
            let fetched = self.0.get(&address, accept, most).await;
            let fetched = fetched.map_err(|cause| failed(anyhow::Error::new(cause)))?;
            Ok(HttpAnswer {
                status: fetched.status,
                retry_after: fetched.retry_after,
                body: fetched.body.to_vec(),
            })
        })
    }
}

/// Reads the tables of addresses that a field names; none if there are none.
pub(crate) fn table<T: RangeValue>(
    field: &str,
    files: &[PathBuf],
) -> Result<Option<Arc<Ranges<T>>>, Failure> {
    if files.is_empty() {
        return Ok(None);
    }
    let mut text = String::new();
    for file in files {
        let shown = file.display();
        let read = std::fs::read_to_string(file)
            .with_context(|| format!("{field}: reading the table {shown}"))
            .map_err(Failure::usage)?;
        text.push_str(&read);
        text.push('\n');
    }
    let table = Ranges::read(&text);
    for problem in &table.problems {
        tracing::warn!(%problem, field, "a line of a table is not used");
    }
    tracing::info!(
        field,
        ranges = table.len(),
        refused = table.refused,
        "table read"
    );
    Ok(Some(Arc::new(table)))
}
