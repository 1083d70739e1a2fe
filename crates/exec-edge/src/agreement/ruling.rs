//! What an arbiter does: decides a dispute between two parties, whose journals it does not have.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use edge_ports::{Ledger as _, Signer as _};
use edge_types::{AgreementState, Amount, Offer, Settlement};
use edge_wire::message::OfferMessage;
use edge_wire::{MAX_BODY_BYTES, signing};
use serde_json::json;

use crate::contract::{Key, Node, failed};
use edge_console::exit::{Exit, Failure};
use edge_console::output;

/// Options of `exec-edge agreement rule`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The offer under dispute, as a party's `exec-edge agreement offer` prints it. The ledger keeps only its digest.
    #[arg(value_name = "FILE")]
    offer: PathBuf,
    /// What the provider gets of the deposit, smallest units; the rest goes back to the buyer.
    #[arg(long, value_name = "UNITS")]
    due: u128,
    /// How much of the provider's stake is burned, smallest units.
    #[arg(long, value_name = "UNITS", default_value_t = 0)]
    slash: u128,
    #[command(flatten)]
    node: Node,
    #[command(flatten)]
    key: Key,
}

/// Rules.
pub(super) fn rule(args: &Args) -> Result<ExitCode, Failure> {
    let offer = read(&args.offer)?;
    let Settlement::Escrow { chain, contract } = offer.settlement else {
        return Err(Failure::usage(anyhow!(
            "this offer is settled by people, not by a ledger"
        )));
    };
    let key = args.key.read()?;
    if offer.guarantee.arbiter != Some(key.address()) {
        let named = offer.guarantee.arbiter;
        let named = named.map_or_else(|| "nobody".to_owned(), |arbiter| arbiter.to_string());
        let error = anyhow!("the offer names {named} as arbiter, not {}", key.address());
        return Err(Failure::usage(error).with_hint("give the arbiter's key"));
    }
    let ledger = args.node.ledger_on(chain, contract, key)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let record = ledger.agreement(&offer).await.map_err(failed)?;
        let Some(record) = record else {
            output::error(&format!("the ledger has no agreement {}", offer.id));
            return Ok(Exit::Negative.into());
        };
        let claim = record
            .claim
            .filter(|_| record.state == AgreementState::Disputed);
        let Some(claim) = claim else {
            output::error(&format!("{} is not disputed: {:?}", offer.id, record.state));
            return Ok(Exit::Negative.into());
        };
        let units = |units| Amount {
            units,
            ..record.deposit
        };
        let (due, slash) = (units(args.due), units(args.slash));
        let range = claim.floor.units..=claim.amount.units;
        if !range.contains(&due.units) {
            let error = anyhow!(
                "{due} is not between what is acknowledged, {}, and what is claimed, {}",
                claim.floor,
                claim.amount
            );
            return Err(Failure::usage(error));
        }
        if slash.units > offer.guarantee.stake {
            let stake = units(offer.guarantee.stake);
            return Err(Failure::usage(anyhow!(
                "{slash} is more than the stake of {stake}"
            )));
        }
        if !args.key.dry_run {
            let ruled = ledger.rule(&offer, due, slash);
            ruled.await.map_err(failed)?;
        }
        let did = if args.key.dry_run {
            "would rule"
        } else {
            "ruled"
        };
        args.node.tell(
            &format!(
                "{did} {due} of {} for the provider, and {slash} of its stake burned, under {}",
                record.deposit, offer.id
            ),
            &json!({ "dry_run": args.key.dry_run, "due": args.due.to_string(), "slash": args.slash.to_string() }),
        );
        Ok(ExitCode::SUCCESS)
    })
}

/// An offer that its provider signed.
fn read(file: &Path) -> Result<Offer, Failure> {
    let shown = file.display();
    let mut text = Vec::new();
    let most = MAX_BODY_BYTES as u64 + 1;
    std::fs::File::open(file)
        .and_then(|file| file.take(most).read_to_end(&mut text))
        .with_context(|| format!("reading {shown}"))
        .map_err(Failure::usage)?;
    let OfferMessage(offer) = edge_wire::decode(&text)
        .with_context(|| format!("{shown} is not an offer"))
        .map_err(|error| {
            Failure::usage(error).with_hint("a party prints it: exec-edge agreement offer ID")
        })?;
    signing::verify_offer(&offer)
        .with_context(|| format!("{shown} is not as its provider signed it"))
        .map_err(Failure::usage)?;
    Ok(offer)
}
