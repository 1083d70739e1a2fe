//! Lists of entry points on the web: a domain's own, and an aggregator's feed.

use std::error::Error;
use std::sync::Arc;

use edge_ports::{BoxFuture, Clock, Listing, SiteList};
use edge_types::{ChainAddress, DnsName, IepOrigin};
use edge_wire::MAX_BODY_BYTES;
use edge_wire::listing::{MAX_FEED_BYTES, WELL_KNOWN_PATH, WellKnown, read_feed};

use crate::fetch::{FetchError, Fetcher, WebAddress};

/// The document at `https://domain/.well-known/exec-edge`; where plain HTTP is allowed, that of port 80 if there is none by
/// https. Only what came with a certificate for the domain is authentic, and only for hosts within the domain.
#[derive(Clone, Debug)]
pub struct WellKnownList {
    domain: DnsName,
    fetcher: Fetcher,
    https_port: u16,
    http_port: u16,
}

impl WellKnownList {
    /// The list of `domain`.
    pub const fn new(domain: DnsName, fetcher: Fetcher) -> Self {
        Self {
            domain,
            fetcher,
            https_port: 443,
            http_port: 80,
        }
    }

    /// The same, at other ports; for laboratories.
    #[must_use]
    pub const fn at_ports(mut self, https: u16, http: u16) -> Self {
        (self.https_port, self.http_port) = (https, http);
        self
    }

    async fn fetch(&self) -> Result<(WellKnown, bool), String> {
        let by_https = WebAddress::https(self.domain.clone(), WELL_KNOWN_PATH);
        let by_http = by_https.clone().without_tls().at_port(self.http_port);
        let by_https = by_https.at_port(self.https_port);
        let (body, is_authentic) = match self.fetcher.fetch(&by_https, MAX_BODY_BYTES).await {
            Ok(body) => (body, true),
            // A server that shows a wrong certificate is not asked without any.
            Err(FetchError::Connect(..)) if self.fetcher.allows_plain() => {
                let fetched = self.fetcher.fetch(&by_http, MAX_BODY_BYTES).await;
                (fetched.map_err(|error| told(&error))?, false)
            }
            Err(error) => return Err(told(&error)),
        };
        let document = edge_wire::decode(&body).map_err(|error| told(&error))?;
        Ok((document, is_authentic))
    }
}

impl SiteList for WellKnownList {
    fn origin(&self) -> IepOrigin {
        IepOrigin::WellKnown(self.domain.clone())
    }

    fn read(&self) -> BoxFuture<'_, Listing> {
        Box::pin(async move {
            let (document, is_authentic) = match self.fetch().await {
                Ok(read) => read,
                Err(problem) => return failed(problem),
            };
            let mut listing = Listing {
                is_authentic,
                was_read: true,
                ..Listing::default()
            };
            for mut site in document.sites() {
                // A certificate for the domain speaks for nobody else's hosts.
                if !site.id.host.is_within(&self.domain) && site.key.take().is_some() {
                    listing.problems.push(format!(
                        "the key of {} is not taken from {}",
                        site.id, self.domain
                    ));
                }
                listing.sites.push(site);
            }
            listing
        })
    }
}

/// A feed, authentic by the signature of each line, wherever it comes from.
#[derive(Clone, Debug)]
pub struct FeedList {
    address: WebAddress,
    aggregator: ChainAddress,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
}

impl FeedList {
    /// The feed at `address` that `aggregator` signs.
    pub fn new(
        address: WebAddress,
        aggregator: ChainAddress,
        fetcher: Fetcher,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            address,
            aggregator,
            fetcher,
            clock,
        }
    }
}

impl SiteList for FeedList {
    fn origin(&self) -> IepOrigin {
        IepOrigin::Feed(self.aggregator)
    }

    fn read(&self) -> BoxFuture<'_, Listing> {
        Box::pin(async move {
            let body = match self.fetcher.fetch(&self.address, MAX_FEED_BYTES).await {
                Ok(body) => body,
                Err(error) => return failed(told(&error)),
            };
            let feed = read_feed(&body, self.aggregator, self.clock.utc());
            let refused = feed.refused.iter();
            let mut problems: Vec<String> = refused
                .map(|(line, refusal)| format!("line {line}: {}", told(refusal)))
                .collect();
            let more = feed.refused_in_all - problems.len();
            if more > 0 {
                problems.push(format!("{more} further lines are not used"));
            }
            Listing {
                sites: feed.sites,
                is_authentic: true,
                was_read: true,
                problems,
            }
        })
    }
}

fn failed(problem: String) -> Listing {
    Listing {
        problems: vec![problem],
        ..Listing::default()
    }
}

/// An error and its causes, on one line.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
