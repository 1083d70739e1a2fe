//! Offers for `exec-edge place`, and where they are on the tree.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use edge_placement::{Site, micros};
use edge_topology::{AggregateTree, NodeId, Place};
use edge_trace_files::PathRecord;
use edge_types::{IpNet, PrefixGrouping, UtcTime};
use serde::Deserialize;

use edge_console::exit::Failure;

/// Largest file of offers.
const LARGEST: u64 = 8 << 20;

/// Largest capacity that is told apart, in requests per second.
const LARGEST_CAPACITY: f64 = 1e9;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    offer: Vec<Offer>,
}

/// One offer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Offer {
    /// What it is called in the answer.
    site: String,
    /// Where it is.
    at: At,
    /// What it costs, in the unit of the budget.
    #[serde(deserialize_with = "whole")]
    price: u128,
    /// Most requests per second that it can serve.
    #[serde(default)]
    capacity_rps: Option<f64>,
}

/// Where a site is.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum At {
    Address(IpAddr),
    Prefix(IpNet),
}

/// An offer with its place on the tree.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) name: String,
    pub(super) at: String,
    pub(super) site: Site,
    /// Round trip from the vantage point in milliseconds.
    pub(super) rtt_ms: f64,
}

/// An offer that cannot be chosen.
#[derive(Clone, Debug)]
pub(super) struct Unplaced {
    pub(super) name: String,
    pub(super) at: String,
    pub(super) why: &'static str,
}

/// A whole number, or a decimal string for those that TOML cannot write.
fn whole<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Small(u64),
        Text(String),
    }
    match Number::deserialize(deserializer) {
        Ok(Number::Small(number)) => Ok(number.into()),
        Ok(Number::Text(text)) => text.parse().map_err(serde::de::Error::custom),
        Err(_) => Err(serde::de::Error::custom("a price is a whole number from 0")),
    }
}

impl Offer {
    /// The address of the site, if it is given.
    pub(super) const fn address(&self) -> Option<IpAddr> {
        match self.at {
            At::Address(address) => Some(address),
            At::Prefix(_) => None,
        }
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

/// Reads a file of offers.
pub(super) fn read(file: &Path) -> Result<Vec<Offer>, Failure> {
    let shown = file.display();
    let mut text = String::new();
    let opened = std::fs::File::open(file);
    opened
        .and_then(|opened| opened.take(LARGEST + 1).read_to_string(&mut text))
        .with_context(|| format!("reading {shown}"))
        .map_err(Failure::usage)?;
    if text.len() as u64 > LARGEST {
        return Err(Failure::usage(anyhow!(
            "{shown}: larger than {} MiB",
            LARGEST >> 20
        )));
    }
    let document: Document =
        toml::from_str(&text).map_err(|error| Failure::malformed(file, &text, &error))?;
    for offer in &document.offer {
        let is_sound = |rps: f64| rps.is_finite() && (0.0..=LARGEST_CAPACITY).contains(&rps);
        if !offer.capacity_rps.is_none_or(is_sound) {
            return Err(Failure::usage(anyhow!(
                "{shown}: capacity_rps of {} is not from 0 to {LARGEST_CAPACITY}",
                offer.site
            )));
        }
    }
    for (number, offer) in document.offer.iter().enumerate() {
        let before = document.offer[..number].iter();
        let other = before
            .filter(|other| other.site == offer.site)
            .find(|other| other.at.to_string() != offer.at.to_string());
        if let Some(other) = other {
            return Err(Failure::usage(anyhow!(
                "{shown}: {} is at {} and at {}; a site is at one place",
                offer.site,
                other.at,
                offer.at
            )));
        }
    }
    Ok(document.offer)
}

/// Where the offers are: at the end of the path that was traced to them, or at the node that their address or prefix belongs to.
pub(super) fn locate(
    offers: Vec<Offer>,
    tree: &AggregateTree,
    grouping: PrefixGrouping,
    paths: &[PathRecord],
) -> (Vec<Located>, Vec<Unplaced>) {
    let (mut located, mut unplaced) = (Vec::new(), Vec::new());
    for offer in only_best(offers, &mut unplaced) {
        match place(&offer, tree, grouping, paths) {
            Ok((node, access)) => {
                let rtt = tree
                    .nodes()
                    .get(node)
                    .map_or(0, |node| micros(node.rtt.rtt));
                located.push(Located {
                    name: offer.site,
                    at: offer.at.to_string(),
                    site: Site {
                        node,
                        access,
                        price: offer.price,
                        capacity: offer.capacity_rps.map(thousandths),
                        ..Site::default()
                    },
                    rtt_ms: (rtt + access) as f64 / 1e3,
                });
            }
            Err(why) => unplaced.push(Unplaced {
                name: offer.site,
                at: offer.at.to_string(),
                why,
            }),
        }
    }
    (located, unplaced)
}

/// The best offer of each site, in the order of the file: the cheapest, then the one that serves most, then the first.
fn only_best(offers: Vec<Offer>, others: &mut Vec<Unplaced>) -> Vec<Offer> {
    let mut best: Vec<Offer> = Vec::new();
    for offer in offers {
        let known = best.iter_mut().find(|known| known.site == offer.site);
        let Some(known) = known else {
            best.push(offer);
            continue;
        };
        let most = |offer: &Offer| offer.capacity_rps.unwrap_or(f64::INFINITY);
        let is_better =
            offer.price < known.price || (offer.price == known.price && most(&offer) > most(known));
        let worse = if is_better {
            std::mem::replace(known, offer)
        } else {
            offer
        };
        others.push(Unplaced {
            name: worse.site,
            at: worse.at.to_string(),
            why: "another offer of the site is better",
        });
    }
    best
}

/// The node and the microseconds beyond it.
fn place(
    offer: &Offer,
    tree: &AggregateTree,
    grouping: PrefixGrouping,
    paths: &[PathRecord],
) -> Result<(usize, u64), &'static str> {
    let prefix = match offer.at {
        At::Address(address) => {
            let latest = paths.iter().rfind(|record| record.path.target == address);
            if let Some(record) = latest {
                let attachment = tree.attach(&record.clone().since(UtcTime(0)));
                return if attachment.reached {
                    Ok((attachment.node.0, micros(attachment.beyond)))
                } else {
                    Err("it did not answer when it was traced")
                };
            }
            grouping.group(address)
        }
        At::Prefix(prefix) => prefix,
    };
    let group = tree.find(&NodeId::Group(Place::Prefix(prefix)));
    let node = group.or_else(|| tree.find(&NodeId::Client(prefix)));
    node.map(|node| (node.0, 0))
        .ok_or("no path of the topology passes it")
}

/// A site at every group of routers.
pub(super) fn everywhere(tree: &AggregateTree, price: u128) -> Vec<Located> {
    let nodes = tree.nodes().iter().enumerate();
    nodes
        .filter(|(_, node)| matches!(node.id, NodeId::Group(_)))
        .map(|(index, node)| Located {
            name: node.id.to_string(),
            at: node.id.to_string(),
            site: Site {
                node: index,
                price,
                ..Site::default()
            },
            rtt_ms: node.rtt.rtt.as_ms(),
        })
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked when it was read"
)]
fn thousandths(rps: f64) -> u64 {
    (rps * 1e3).round() as u64
}
