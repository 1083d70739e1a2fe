//! `exec-edge provider offer`: a contract that people agreed on, signed by the provider and to be signed by the buyer.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use edge_console::exit::{EXIT_CODES, Failure};
use edge_console::output;
use edge_negotiation::escrow::MAX_HORIZON_SECONDS;
use edge_ports::Signer as _;
use edge_provider::SiteConfig;
use edge_provider::config::SiteSettlement;
use edge_types::{
    Amount, ChainAddress, Confirmation, Guarantee, HardwareProfile, Hash32, Offer, OfferId,
    Settlement, Signature, Slot, UtcTime,
};
use edge_wire::contract::ContractFile;
use edge_wire::message::{ConfirmationMessage, OfferMessage};
use edge_wire::{decode, encode, signing};

use crate::key::read_key;

/// How long the buyer has to sign unless it is told otherwise, seconds.
const TO_SIGN: u64 = 7 * 86_400;

/// Options of `exec-edge provider offer`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// The provider's configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Host name of the site; may be left out where there is only one.
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// The account of the buyer's key.
    #[arg(long, value_name = "0xADDRESS")]
    buyer: ChainAddress,
    /// First second of the service, Unix time; now unless given.
    #[arg(long, value_name = "SECONDS")]
    start: Option<u64>,
    /// Length of the service.
    #[arg(long, value_name = "SECONDS")]
    seconds: u64,
    /// Thousandths of a processor; all that the site has unless given.
    #[arg(long)]
    milli_cpu: Option<u32>,
    /// Memory; all that the site has unless given.
    #[arg(long)]
    memory_mib: Option<u32>,
    /// Processes and threads; all that the site has unless given.
    #[arg(long)]
    pids: Option<u32>,
    /// Price of one second, smallest units; the site's own unless given.
    #[arg(long, value_name = "UNITS")]
    price: Option<u128>,
    /// How long the contract can be taken up; a week unless given, and not beyond its end.
    #[arg(long, value_name = "SECONDS", default_value_t = TO_SIGN)]
    valid: u64,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let config = super::read_config(&args.config)?;
    let site = choose(&config.sites, args.site.as_deref())?;
    let key = read_key(&config.key_file)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = UtcTime(now.map_or(0, |since| since.as_secs()));
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)
        .map_err(|error| anyhow!("{error}"))
        .context("drawing a random number")?;
    let offer = offer(args, site, key.address(), now, Hash32(nonce))?;
    let offer = signing::sign_offer(offer, |digest| key.sign_digest(digest));
    let digest = signing::confirmation_digest(&offer, args.buyer, offer.expires);
    let contract = ContractFile {
        exec_contract: ContractFile::VERSION,
        confirmation: ConfirmationMessage(Confirmation {
            until: offer.expires,
            signature: key.sign_digest(digest),
        }),
        offer: OfferMessage(offer),
        acceptance: None,
    };
    let text = encode(&contract);
    // What nobody would take is not given out.
    decode::<ContractFile>(&text).map_err(Failure::usage)?;
    output::line(&String::from_utf8_lossy(&text));
    Ok(ExitCode::SUCCESS)
}

fn choose<'a>(sites: &'a [SiteConfig], named: Option<&str>) -> Result<&'a SiteConfig, Failure> {
    let hosts = || {
        let hosts = sites.iter().map(|site| site.id.host.to_string());
        format!("--site is one of {}", hosts.collect::<Vec<_>>().join(", "))
    };
    match (sites, named) {
        ([only], None) => Ok(only),
        (_, None) => Err(Failure::usage(anyhow!("there is more than one site")).with_hint(hosts())),
        (_, Some(name)) => sites
            .iter()
            .find(|site| site.id.host.to_string() == name)
            .ok_or_else(|| Failure::usage(anyhow!("no site {name}")).with_hint(hosts())),
    }
}

fn offer(
    args: &Args,
    site: &SiteConfig,
    provider: ChainAddress,
    now: UtcTime,
    nonce: Hash32,
) -> Result<Offer, Failure> {
    let start = args.start.map_or(now, UtcTime);
    let slot = Slot {
        start,
        end: start.plus_seconds(args.seconds),
    };
    if args.seconds == 0 || slot.end <= now || slot.end > now.plus_seconds(MAX_HORIZON_SECONDS) {
        return Err(Failure::usage(anyhow!(
            "the service is empty, over, or ends more than a year ahead"
        )));
    }
    let hardware = HardwareProfile {
        milli_cpu: args.milli_cpu.unwrap_or(site.capacity.milli_cpu),
        memory_bytes: args
            .memory_mib
            .map_or(site.capacity.memory_bytes, |mib| u64::from(mib) << 20),
        pids: args.pids.unwrap_or(site.capacity.pids),
    };
    if !site.capacity.covers(&hardware) {
        return Err(Failure::usage(anyhow!("the site has less hardware")));
    }
    let contact = match &site.settlement {
        SiteSettlement::Contact(contact) => contact.clone(),
        SiteSettlement::Escrow | SiteSettlement::Allowance => "as agreed by people".to_owned(),
    };
    Ok(Offer {
        id: OfferId([0; 32]),
        provider,
        buyer: Some(args.buyer),
        site: site.id.clone(),
        slot,
        hardware,
        price_per_second: Amount {
            units: args.price.unwrap_or(site.price_per_second.units),
            ..site.price_per_second
        },
        sla: site.sla,
        guarantee: Guarantee::default(),
        conditions: site.conditions.clone(),
        settlement: Settlement::Contact(contact),
        expires: now.plus_seconds(args.valid).min(UtcTime(slot.end.0 - 1)),
        nonce,
        signature: Signature([0; 65]),
    })
}
