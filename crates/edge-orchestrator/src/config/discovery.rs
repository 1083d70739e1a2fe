//! Where entry points are found, beside the zones of the routers on the paths.

use std::path::PathBuf;

use edge_discovery::{DiscoveryConfig, is_service};
use edge_http::fetch::WebAddress;
use edge_types::{ChainAddress, DnsName, IepId, ListedSite};
use edge_wire::listing::read_account;
use serde::Deserialize;

use super::{ConfigError, value};

/// Zones and lists that are asked beside what paths lead to. Where a site is, is measured, whoever names it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Discovery {
    /// Name of the service whose SRV records lead to entry points. Default: `_edge._tcp`.
    pub service: String,
    /// Zones that are asked as if a router had a name in them, for example an aggregator's. Default: none.
    pub zones: Vec<String>,
    /// Sites that the operator knows. Their keys are believed. Default: none.
    pub sites: Vec<ConfiguredSite>,
    /// Domains whose `https://domain/.well-known/exec-edge` is read. Keys of hosts within the domain are believed.
    /// Default: none.
    pub well_known: Vec<String>,
    /// Feeds that aggregators sign. Keys in them are believed as the aggregator's is. Default: none.
    pub feeds: Vec<FeedSource>,
    /// Files of RDAP servers by prefix, IANA's `ipv4.json` and `ipv6.json` (RFC 9224): whom to ask for the holders of addresses
    /// that have no name. Default: none.
    pub rdap: Vec<PathBuf>,
    /// The whois server to ask where RDAP tells nothing, such as `whois.iana.org`. Default: none.
    pub whois: Option<String>,
    /// Read well-known lists by plain HTTP where there is no https, and feeds from `http://` addresses. Keys that came without
    /// https or signature are not believed. Default: no.
    pub plain_http: bool,
    /// Certificate authorities, PEM. Default: `/etc/ssl/certs/ca-certificates.crt`, if there is one.
    pub certificates: Option<PathBuf>,
    /// Time between two reads of the lists, seconds. Default: 600.
    pub refresh_s: u64,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            service: DiscoveryConfig::SERVICE.to_owned(),
            zones: Vec::new(),
            sites: Vec::new(),
            well_known: Vec::new(),
            feeds: Vec::new(),
            rdap: Vec::new(),
            whois: None,
            plain_http: false,
            certificates: None,
            refresh_s: 600,
        }
    }
}

/// A site that the operator knows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredSite {
    /// Host name of its entry point.
    pub host: String,
    /// Port of its entry point.
    pub port: u16,
    /// Its addresses; without any, those of the host name.
    #[serde(default)]
    pub addresses: Vec<std::net::IpAddr>,
    /// `eip155:<chain>:<0xaddress>` of the key that signs its offers.
    #[serde(default)]
    pub key: Option<String>,
    /// A file with a contract that was made with the site's owner and that both signed: it is taken up at the start, without
    /// any discovery. Needs `addresses`. Default: none.
    #[serde(default)]
    pub contract: Option<PathBuf>,
    /// It is spoken to over TLS, with a certificate for its host from an authority. Default: no.
    #[serde(default)]
    pub tls: bool,
}

/// A feed of an aggregator.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedSource {
    /// Where it is.
    pub url: String,
    /// The account of the key that signs it.
    pub key: String,
}

/// [`Discovery`], with its texts understood.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Zones to ask.
    pub zones: Vec<DnsName>,
    /// Configured sites.
    pub sites: Vec<ListedSite>,
    /// Domains with a well-known list.
    pub well_known: Vec<DnsName>,
    /// Feeds, and who signs them.
    pub feeds: Vec<(WebAddress, ChainAddress)>,
    /// The whois server.
    pub whois: Option<DnsName>,
}

impl Lists {
    pub(super) fn resolve(discovery: &Discovery) -> Result<Self, ConfigError> {
        let names = |field, texts: &[String]| {
            let parse = |text: &String| {
                text.parse()
                    .map_err(|error| value(field, &format!("{text:?}: {error}")))
            };
            texts.iter().map(parse).collect::<Result<Vec<DnsName>, _>>()
        };
        let site = |site: &ConfiguredSite| {
            let host = site.host.parse();
            let host = host.map_err(|error| {
                value("discovery.sites.host", &format!("{:?}: {error}", site.host))
            })?;
            let key = match &site.key {
                None => None,
                Some(text) => Some(read_account(text).ok_or_else(|| {
                    value("discovery.sites.key", "not eip155:<chain>:<0xaddress>")
                })?),
            };
            if site.port == 0 {
                return Err(value("discovery.sites.port", "1 to 65535"));
            }
            if site.contract.is_some() && site.addresses.is_empty() {
                let problem = "with a contract, the site's addresses have to be known";
                return Err(value("discovery.sites.addresses", problem));
            }
            Ok(ListedSite {
                id: IepId {
                    host,
                    port: site.port,
                },
                addresses: site.addresses.clone(),
                key,
                tls: site.tls,
            })
        };
        let feed = |feed: &FeedSource| {
            let address: WebAddress = feed
                .url
                .parse()
                .map_err(|error| value("discovery.feeds.url", &format!("{error}")))?;
            if feed.url.starts_with("http://") && !discovery.plain_http {
                return Err(value(
                    "discovery.feeds.url",
                    "not https; discovery.plain_http allows it",
                ));
            }
            let key = feed.key.parse();
            Ok((
                address,
                key.map_err(|error| value("discovery.feeds.key", &format!("{error}")))?,
            ))
        };
        let service: Option<DnsName> = discovery.service.parse().ok();
        if !service.is_some_and(|service| is_service(&service)) {
            return Err(value(
                "discovery.service",
                "not two labels that begin with an underscore, as in _edge._tcp",
            ));
        }
        if discovery.refresh_s == 0 {
            return Err(value("discovery.refresh_s", "at least 1"));
        }
        Ok(Self {
            zones: names("discovery.zones", &discovery.zones)?,
            sites: discovery.sites.iter().map(site).collect::<Result<_, _>>()?,
            well_known: names("discovery.well_known", &discovery.well_known)?,
            feeds: discovery.feeds.iter().map(feed).collect::<Result<_, _>>()?,
            whois: names("discovery.whois", discovery.whois.as_slice())?.pop(),
        })
    }

    /// Is anything read from the web?
    pub const fn needs_web(&self) -> bool {
        !self.well_known.is_empty() || !self.feeds.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Lists, ConfigError> {
        Lists::resolve(&toml::from_str(text).unwrap())
    }

    #[test]
    fn every_kind_of_list_is_understood() {
        let lists = resolve(
            "zones = [\"edges.example\"]\nwell_known = [\"isp.example\"]\nplain_http = true\n\
             sites = [{ host = \"a.example\", port = 80, addresses = [\"240.0.0.1\"], tls = true, key = \"eip155:1:0x00000000000000000000000000000000000000aa\" }]\n\
             feeds = [{ url = \"http://edges.example/feed\", key = \"0x00000000000000000000000000000000000000bb\" }]\n",
        )
        .unwrap();
        assert_eq!((lists.zones.len(), lists.well_known.len()), (1, 1));
        assert_eq!(lists.sites[0].key.unwrap().0.0, 1);
        assert!(lists.sites[0].tls);
        assert_eq!(lists.feeds[0].0.to_string(), "http://edges.example/feed");
        assert!(lists.needs_web() && !Lists::default().needs_web());
    }

    #[test]
    fn mistakes_name_their_field() {
        for (text, field) in [
            ("zones = [\"a b\"]", "discovery.zones"),
            ("well_known = [\"https://a\"]", "discovery.well_known"),
            (
                "sites = [{ host = \"a\", port = 0 }]",
                "discovery.sites.port",
            ),
            (
                "sites = [{ host = \"a\", port = 1, key = \"0x\" }]",
                "discovery.sites.key",
            ),
            (
                "feeds = [{ url = \"http://a/\", key = \"0x\" }]",
                "plain_http",
            ),
            (
                "feeds = [{ url = \"https://a/\", key = \"0x\" }]",
                "discovery.feeds.key",
            ),
            ("refresh_s = 0", "discovery.refresh_s"),
            ("service = \"edge.tcp\"", "discovery.service"),
            ("service = \"_tcp\"", "discovery.service"),
            ("whois = \"whois://iana\"", "discovery.whois"),
        ] {
            let error = resolve(text).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
