//! A site as the configuration file has it, and what is understood of it.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use edge_types::{
    Amount, Asset, ContentCategory, ContentPolicy, Guarantee, HardwareProfile, IepId,
    SiteConditions, SlaTerms, TeeKind,
};
use edge_wire::Message as _;
use edge_wire::prose::Prose;
use edge_wire::services::{ServiceListing, Services};
use serde::Deserialize;

use super::{ConfigError, SLA_TEXT, SiteConfig, SiteSettlement, TlsFiles, decimal};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Site {
    host: String,
    port: u16,
    listen: SocketAddr,
    service_address: IpAddr,
    #[serde(default)]
    public_address: Option<IpAddr>,
    service_ports: (u16, u16),
    milli_cpu: u32,
    memory_mib: u32,
    pids: u32,
    #[serde(default)]
    price_per_second_wei: Option<String>,
    #[serde(default)]
    price_per_second: Option<String>,
    #[serde(default)]
    asset: Option<String>,
    #[serde(default)]
    contact: Option<String>,
    #[serde(default)]
    settlement: Option<Kind>,
    #[serde(default)]
    accept: Accept,
    #[serde(default)]
    tls: Option<TlsFiles>,
    #[serde(default = "defaults::listing")]
    listing: bool,
    #[serde(default)]
    service: Vec<Service>,
    #[serde(default = "defaults::availability_ppm")]
    availability_ppm: u32,
    #[serde(default = "defaults::receipt_interval_seconds")]
    receipt_interval_seconds: u32,
    #[serde(default = "defaults::notice_seconds")]
    notice_seconds: u32,
    #[serde(default)]
    round_trip_ms: u32,
    #[serde(default)]
    stake_wei: Option<String>,
    #[serde(default)]
    stake: Option<String>,
    #[serde(default)]
    arbiter: Option<String>,
    #[serde(default)]
    answer_seconds: Option<u32>,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    tee: Option<String>,
    #[serde(default)]
    refuses: Vec<String>,
    #[serde(default)]
    content_text: Option<PathBuf>,
    #[serde(default)]
    content_url: Option<String>,
    #[serde(default)]
    sla_text: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Accept {
    #[default]
    Confirm,
    Reject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Escrow,
    Allowance,
    Contact,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    name: String,
    #[serde(default)]
    description: String,
    url: String,
}

mod defaults {
    pub(super) const fn listing() -> bool {
        true
    }
    pub(super) const fn availability_ppm() -> u32 {
        950_000
    }
    pub(super) const fn receipt_interval_seconds() -> u32 {
        30
    }
    pub(super) const fn notice_seconds() -> u32 {
        10
    }
}

impl Site {
    /// The prose in a file.
    fn prose(&self, setting: &str, path: &PathBuf) -> Result<Prose, ConfigError> {
        let setting = format!("site {}: {setting}", self.host);
        let mut text = String::new();
        let most = Prose::MOST as u64 + 1;
        let read =
            std::fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text));
        if let Err(cause) = read {
            let path = path.clone();
            return Err(ConfigError::Text {
                setting,
                path,
                cause,
            });
        }
        let prose = Prose { text };
        match prose.validate() {
            Ok(()) => Ok(prose),
            Err(_) => Err(ConfigError::Setting {
                setting,
                problem: "a file of 1 to 30720 octets of plain text",
            }),
        }
    }

    fn conditions(&self, text: Option<&Prose>) -> Result<SiteConditions, ConfigError> {
        let refuse = |setting: &str, problem| ConfigError::Setting {
            setting: format!("site {}: {setting}", self.host),
            problem,
        };
        let region = self.region.as_deref().map(str::parse).transpose();
        let tee: Option<TeeKind> = self
            .tee
            .as_deref()
            .map(str::parse)
            .transpose()
            .ok()
            .flatten();
        if self.tee.is_some() && !tee.as_ref().is_some_and(TeeKind::is_known) {
            return Err(refuse("tee", "none of cca, nitro, sev-snp, sgx, tdx"));
        }
        let refuses: BTreeSet<ContentCategory> = self
            .refuses
            .iter()
            .filter_map(|kind| kind.parse().ok())
            .filter(ContentCategory::is_known)
            .collect();
        if refuses.len() != self.refuses.len() {
            return Err(refuse(
                "refuses",
                "has something twice, or that is not among what can be refused, which the template lists",
            ));
        }
        let is_url = |url: &String| {
            let rest = url.strip_prefix("http://").or(url.strip_prefix("https://"));
            rest.is_some_and(|rest| !rest.is_empty()) && url.len() <= 255
        };
        if !self.content_url.as_ref().is_none_or(is_url) {
            return Err(refuse(
                "content_url",
                "an http or https URL of at most 255 octets",
            ));
        }
        Ok(SiteConditions {
            region: region.map_err(|_| refuse("region", "a country is two letters, like FI"))?,
            tee,
            content: ContentPolicy {
                refuses,
                text_hash: text.map(Prose::hash),
                text_url: self.content_url.clone(),
            },
        })
    }

    /// How it is paid, if it says so or it can be known.
    const fn kind(&self) -> Kind {
        match (self.settlement, &self.contact) {
            (Some(kind), _) => kind,
            (None, Some(_)) => Kind::Contact,
            (None, None) => Kind::Escrow,
        }
    }

    fn settlement(
        &self,
        guarantee: &Guarantee,
        has_ledger: bool,
    ) -> Result<SiteSettlement, ConfigError> {
        let refuse = |setting: &str, problem| ConfigError::Setting {
            setting: format!("site {}: {setting}", self.host),
            problem,
        };
        let settlement = match (self.kind(), &self.contact) {
            (Kind::Contact, Some(text)) if text.len() <= 256 => {
                SiteSettlement::Contact(text.clone())
            }
            (Kind::Contact, Some(_)) => return Err(refuse("contact", "at most 256 octets")),
            (Kind::Contact, None) => return Err(refuse("contact", "missing")),
            (Kind::Escrow | Kind::Allowance, Some(_)) => {
                return Err(refuse("settlement", "with contact, it is \"contact\""));
            }
            (Kind::Escrow, None) if has_ledger => SiteSettlement::Escrow,
            (Kind::Escrow, None) => {
                return Err(refuse(
                    "settlement",
                    "\"escrow\" needs a [ledger]; without a chain, set \"allowance\" or a contact",
                ));
            }
            (Kind::Allowance, None) => SiteSettlement::Allowance,
        };
        let is_local = settlement != SiteSettlement::Escrow;
        if is_local && (guarantee.answer_seconds != 0 || guarantee.stake != 0) {
            return Err(refuse(
                "answer_seconds, stake",
                "0: there is no ledger to answer on or to stake in",
            ));
        }
        Ok(settlement)
    }

    pub(super) fn check(
        self,
        relay: Option<SocketAddr>,
        has_ledger: bool,
    ) -> Result<SiteConfig, ConfigError> {
        let refuse = |setting: &str, problem| ConfigError::Setting {
            setting: format!("site {}: {setting}", self.host),
            problem,
        };
        let host = self
            .host
            .parse()
            .map_err(|_| refuse("host", "not a host name"))?;
        let (first, last) = self.service_ports;
        if first == 0 || first > last {
            return Err(refuse("service_ports", "first and last port, from 1"));
        }
        let overlaps = self.listen.ip() == self.service_address
            && (first..=last).contains(&self.listen.port());
        if overlaps {
            return Err(refuse("service_ports", "contains the port of listen"));
        }
        if self.milli_cpu == 0 || self.memory_mib == 0 || self.pids == 0 {
            return Err(refuse("milli_cpu, memory_mib, pids", "at least 1 each"));
        }
        let asset = match self.asset.as_deref() {
            None | Some("native") => Asset::Native,
            Some(token) => {
                let token = token.parse();
                Asset::Token(token.map_err(|_| {
                    refuse(
                        "asset",
                        "neither \"native\" nor an address of 40 hexadecimal digits",
                    )
                })?)
            }
        };
        // In wei, or in the smallest units of whatever is paid in; never both.
        let money = |wei: (&str, &Option<String>), units: (&str, &Option<String>)| {
            let (setting, text) = match (wei.1, units.1) {
                (Some(_), Some(_)) => return Err(refuse(wei.0, "given in smallest units, too")),
                (Some(_), None) if asset != Asset::Native => {
                    let problem =
                        "the asset is a token; give it without _wei, in the smallest units of that";
                    return Err(refuse(wei.0, problem));
                }
                (Some(text), None) => (wei.0, text),
                (None, Some(text)) => (units.0, text),
                (None, None) => return Ok(None),
            };
            decimal(text)
                .map(Some)
                .ok_or_else(|| refuse(setting, "not a decimal string of smallest units, e.g. wei"))
        };
        let units = money(
            ("price_per_second_wei", &self.price_per_second_wei),
            ("price_per_second", &self.price_per_second),
        )?
        .ok_or_else(|| refuse("price_per_second", "is missing"))?;
        let stake = money(("stake_wei", &self.stake_wei), ("stake", &self.stake))?;
        // Who says no has to say it on the ledger; who says yes does it by signature, which costs nothing.
        let answer_seconds = self.answer_seconds.unwrap_or(match self.accept {
            Accept::Reject if self.kind() == Kind::Escrow => 120,
            Accept::Confirm | Accept::Reject => 0,
        });
        if answer_seconds > 600 {
            return Err(refuse("answer_seconds", "at most 600"));
        }
        let arbiter = self.arbiter.as_deref().map(str::parse).transpose();
        let guarantee = Guarantee {
            stake: stake.unwrap_or(0),
            arbiter: arbiter
                .map_err(|_| refuse("arbiter", "not an address of 40 hexadecimal digits"))?,
            answer_seconds,
        };
        if self.availability_ppm > 1_000_000 {
            return Err(refuse("availability_ppm", "at most a million"));
        }
        if self.round_trip_ms > 60_000 {
            return Err(refuse("round_trip_ms", "at most 60000"));
        }
        if self.receipt_interval_seconds == 0 {
            return Err(refuse("receipt_interval_seconds", "at least 1"));
        }
        let settlement = self.settlement(&guarantee, has_ledger)?;
        let sla_text = match &self.sla_text {
            Some(path) => self.prose("sla_text", path)?,
            None => Prose {
                text: SLA_TEXT.to_owned(),
            },
        };
        let content_text = self.content_text.as_ref();
        let content_text = content_text
            .map(|path| self.prose("content_text", path))
            .transpose()?;
        let conditions = self.conditions(content_text.as_ref())?;
        let services: Vec<_> = self
            .service
            .into_iter()
            .map(|service| ServiceListing {
                name: service.name,
                description: service.description,
                url: service.url,
            })
            .collect();
        if services.len() > Services::MOST
            || services.iter().any(|service| service.validate().is_err())
        {
            return Err(refuse(
                "[[site.service]]",
                "at most 64, each with a name of 1 to 64 octets, a description of at most 256, and an http or https url of at most 255",
            ));
        }
        Ok(SiteConfig {
            id: IepId {
                host,
                port: self.port,
            },
            listen: self.listen,
            service_address: self.service_address,
            public_address: self.public_address.or(relay.map(|relay| relay.ip())),
            service_ports: self.service_ports,
            capacity: HardwareProfile {
                milli_cpu: self.milli_cpu,
                memory_bytes: u64::from(self.memory_mib) << 20,
                pids: self.pids,
            },
            price_per_second: Amount { asset, units },
            sla: SlaTerms {
                text_hash: sla_text.hash(),
                availability_ppm: self.availability_ppm,
                receipt_interval_seconds: self.receipt_interval_seconds,
                notice_seconds: self.notice_seconds,
                round_trip_ms: self.round_trip_ms,
            },
            guarantee,
            conditions,
            texts: [Some(sla_text), content_text]
                .into_iter()
                .flatten()
                .collect(),
            settlement,
            accepts: self.accept == Accept::Confirm,
            tls: self.tls,
            listing: self.listing.then_some(services),
        })
    }
}
