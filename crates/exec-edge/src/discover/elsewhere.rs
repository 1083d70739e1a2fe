//! Where else than in zones of domains and routers `exec-edge discover` looks: lists of sites, and the holders of addresses.

use std::path::PathBuf;

use edge_http::fetch::WebAddress;
use edge_orchestrator::config::Lists;
use edge_types::{AddressPolicy, ChainAddress, DnsName};

use crate::dns::zone_name;
use crate::sources::Sources;
use edge_console::exit::Failure;

/// Options for looking elsewhere.
#[derive(Debug, clap::Args)]
pub(super) struct Elsewhere {
    /// Take the sites that https://DOMAIN/.well-known/exec-edge names; may be repeated.
    #[arg(long, value_name = "DOMAIN", value_parser = zone_name)]
    well_known: Vec<DnsName>,
    /// Take the sites of an aggregator's feed, of the lines that this account signed; may be repeated.
    #[arg(long, num_args = 2, value_names = ["URL", "ACCOUNT"])]
    feed: Vec<String>,
    /// Ask the registries in this list for the holders of routers whose names lead nowhere, and look in their domains (IANA's
    /// ipv4.json or ipv6.json, RFC 9224); may be repeated.
    #[arg(long, value_name = "FILE")]
    rdap: Vec<PathBuf>,
    /// The same by whois, beginning with this server.
    #[arg(long, value_name = "HOST", value_parser = zone_name)]
    whois: Option<DnsName>,
    /// Table of prefixes, their autonomous systems and their holders' domains: asked before any registry, and what one network
    /// announces together speaks for a site; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(super) origins: Vec<PathBuf>,
    /// Read lists and registries without TLS too.
    #[arg(long)]
    plain_http: bool,
}

impl Elsewhere {
    /// Is any list named?
    pub(super) const fn has_lists(&self) -> bool {
        !self.well_known.is_empty() || !self.feed.is_empty()
    }

    /// Is anybody to be asked for the holders of addresses?
    pub(super) const fn asks_owners(&self) -> bool {
        !self.rdap.is_empty() || self.whois.is_some() || !self.origins.is_empty()
    }

    /// What is named, understood.
    pub(super) fn sources(
        &self,
        certificates: Option<PathBuf>,
        policy: AddressPolicy,
    ) -> Result<Sources, Failure> {
        let feeds = self.feed.chunks_exact(2).map(|feed| {
            let usage = |problem: String| {
                let problem = anyhow::anyhow!("--feed {} {}: {problem}", feed[0], feed[1]);
                Failure::usage(problem)
            };
            let address: WebAddress = feed[0].parse().map_err(|error| usage(format!("{error}")))?;
            if feed[0].starts_with("http://") && !self.plain_http {
                return Err(usage("not https".to_owned()).with_hint("--plain-http allows it"));
            }
            let account: ChainAddress =
                feed[1].parse().map_err(|error| usage(format!("{error}")))?;
            Ok((address, account))
        });
        Ok(Sources {
            lists: Lists {
                well_known: self.well_known.clone(),
                feeds: feeds.collect::<Result<_, _>>()?,
                whois: self.whois.clone(),
                ..Lists::default()
            },
            rdap: self.rdap.clone(),
            plain_http: self.plain_http,
            certificates,
            policy,
            prefix: "--",
        })
    }
}
