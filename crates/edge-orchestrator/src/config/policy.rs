//! What an application provider accepts of sites, and how much of it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use edge_types::{ChainAddress, Hash32, IpNet};
use serde::Deserialize;

use super::{ConfigError, units, value};

/// What is acceptable.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Placement algorithm: `auto`, the best that can be done in about a second; the paper's `betweenness`; or others.
    pub algorithm: String,
    /// Most sites rented at once.
    pub max_sites: usize,
    /// Most sites rented at once as a share of those found, in percent, but at least one; the paper's Figure 5 uses half.
    pub max_share_percent: u8,
    /// Length of a lease in seconds.
    pub lease_s: u64,
    /// A site must beat the cloud by this much for a client to be sent there.
    pub min_saving_ms: u64,
    /// Highest price of a second, smallest units.
    #[serde(alias = "price_ceiling_wei_per_s")]
    pub price_ceiling_units_per_s: String,
    /// Plan with sites whose owners want to be contacted. One that a plan selects waits, to be seen in the status, for the
    /// contract that people make and `exec-edge agreement import` brings. Default: no.
    pub contact_offers: bool,
    /// How a provider's key must be bound to its zone: `dnssec`, or `dns` where the resolver and the way to it are trusted.
    pub key_binding: String,
    /// Least trust with which an entry point is greeted: `unverified`, `measured` (something that its owner cannot make up
    /// alone speaks for it) or `authenticated` (DNSSEC binds its key to its zone).
    pub contact: String,
    /// Least trust with which a site is rented for up to `budget.units_per_trial`. `key_binding` comes on top.
    pub trial: String,
    /// Least trust with which a site is rented for more. `key_binding` comes on top.
    pub money: String,
    /// Deal only with entry points that announce TLS, by signed TLSA records or `https`. Default: no; who announces it is never
    /// spoken to without.
    pub require_tls: bool,
    /// Tables of which autonomous system announces which addresses, with which origins of routers and entry points are
    /// compared: lines `prefix asn domain organisation` or `first,last,asn,"organisation"`.
    pub origins: Vec<PathBuf>,
    /// Countries where sites may be rented, as two letters; an address that no table knows is in none. Providers are told,
    /// and one that says it is elsewhere is not rented whatever the tables say. Default: all.
    pub countries: Option<Vec<String>>,
    /// Tables of which addresses are in which country: lines `first,last,CC` or `prefix CC`.
    pub country_tables: Vec<PathBuf>,
    /// The least that a provider has to stake on an agreement, in the smallest units of the asset that is paid in. The escrow
    /// has to show it before anything is paid. Default: 0.
    pub min_stake: String,
    /// Accounts that may rule on disputes. Offers that name another arbiter are not taken; those that name none always may be.
    pub arbiters: Vec<String>,
    /// keccak-256 hashes of the texts, of agreements and content policies, that somebody read and accepted. Default: none,
    /// which accepts any; those agreed to are kept in `state_directory`.
    pub sla_texts: Vec<String>,
    /// Trusted execution environments of which a site has to have one, of [`edge_types::TeeKind::KNOWN`]. That it has is
    /// its provider's signed word; nothing attests to it. Default: none is needed.
    pub require_tee: Vec<String>,
    /// Autonomous systems where sites may be rented, in the same way, by `origins`. Default: all.
    pub autonomous_systems: Option<Vec<u32>>,
    /// Prefixes outside global unicast that may be probed and contacted all the same.
    pub allowed_prefixes: Vec<IpNet>,
    /// Prefixes whose owners asked not to be probed.
    pub opted_out: Vec<IpNet>,
    /// Longest `max-age` of a redirect.
    pub max_redirect_s: u32,
    /// A site has to promise a round trip of at most this to its clients, in milliseconds. Default: 0, it need promise none.
    pub max_round_trip_ms: u32,
    /// One in so many redirected GETs goes by the entry point of its site and back, which tells how far the client is from the site.
    /// Such a client waits for two round trips to the site and one or two to the cloud more. Default: 100; 0 for none.
    pub bounce_one_in: u32,
    /// The same client is not bounced again for so many seconds. Below 300, by which clients close idle connections, a site can look
    /// nearer than it is to those who come back early. Default: 600.
    pub bounce_apart_s: u32,
    /// Prefix length by which client addresses are grouped, IPv4.
    pub group_v4: u8,
    /// Prefix length by which client addresses are grouped, IPv6.
    pub group_v6: u8,
    /// Prefix length by which router addresses are grouped into nodes of the tree, IPv4; the paper uses 24 and 16.
    pub group_routers_v4: u8,
    /// Prefix length by which router addresses are grouped into nodes of the tree, IPv6.
    pub group_routers_v6: u8,
    /// All routers whose names are in one registered domain are one node, and the clients behind them hang together on it, wherever
    /// they are; routers without a name go by the prefixes above. For those to whom it matters whose network clients are in, more than
    /// where: a domain's network may span continents. Default: no.
    pub group_routers_by_domain: bool,
    /// Requests from a prefix before it is traced.
    pub requests_before_trace: u64,
    /// Most client prefixes known at once.
    pub max_prefixes: usize,
}

/// What stands behind an agreement, as far as it is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backing {
    /// The least stake, smallest units.
    pub min_stake: u128,
    /// Who may rule on disputes.
    pub arbiters: BTreeSet<ChainAddress>,
    /// Accepted texts; `None` for any.
    pub texts: Option<BTreeSet<Hash32>>,
}

impl Policy {
    pub(super) fn backing(&self) -> Result<Backing, ConfigError> {
        let texts = each("policy.sla_texts", &self.sla_texts)?;
        Ok(Backing {
            min_stake: units("policy.min_stake", &self.min_stake)?,
            arbiters: each("policy.arbiters", &self.arbiters)?,
            texts: (!texts.is_empty()).then_some(texts),
        })
    }
}

fn each<T>(field: &'static str, texts: &[String]) -> Result<BTreeSet<T>, ConfigError>
where
    T: FromStr<Err: std::fmt::Display> + Ord,
{
    let parsed = texts.iter().map(|text| {
        text.parse()
            .map_err(|error| value(field, &format!("{text:?}: {error}")))
    });
    parsed.collect()
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            algorithm: "auto".to_owned(),
            max_sites: 16,
            max_share_percent: 50,
            lease_s: 3600,
            min_saving_ms: 5,
            price_ceiling_units_per_s: "1000000000000".to_owned(),
            contact_offers: false,
            key_binding: "dnssec".to_owned(),
            contact: "unverified".to_owned(),
            trial: "measured".to_owned(),
            money: "measured".to_owned(),
            require_tls: false,
            origins: Vec::new(),
            countries: None,
            country_tables: Vec::new(),
            min_stake: "0".to_owned(),
            arbiters: Vec::new(),
            sla_texts: Vec::new(),
            require_tee: Vec::new(),
            autonomous_systems: None,
            allowed_prefixes: Vec::new(),
            opted_out: Vec::new(),
            max_redirect_s: 300,
            max_round_trip_ms: 0,
            bounce_one_in: 100,
            bounce_apart_s: 600,
            group_v4: 24,
            group_v6: 48,
            group_routers_v4: 32,
            group_routers_v6: 128,
            group_routers_by_domain: false,
            requests_before_trace: 2,
            max_prefixes: 100_000,
        }
    }
}
