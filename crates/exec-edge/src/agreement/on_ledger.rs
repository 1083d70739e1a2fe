//! What a party does about an agreement on the ledger by hand. The running orchestrator or provider finds out by itself.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use edge_chain::{EthLedger, LocalKey};
use edge_ports::{Ledger as _, Signer as _};
use edge_types::{AgreementRecord, Amount, Offer, Settlement, Signature, UtcTime};
use edge_wire::signing;
use serde_json::json;

use super::find;
use crate::contract::{Key, Node, failed};
use edge_console::exit::{Exit, Failure};
use edge_console::output;

/// Beside the notice period, for the transaction to be included.
const INCLUSION_SECONDS: u64 = 60;

/// Which agreement, on which ledger, by whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its id, or the beginning of it.
    id: String,
    /// The state directory of the orchestrator or provider, which knows the terms.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    node: Node,
    #[command(flatten)]
    key: Key,
}

/// Options of `exec-edge agreement settle`.
#[derive(Debug, clap::Args)]
pub(crate) struct SettleArgs {
    #[command(flatten)]
    of: Args,
    /// What the provider gets of the deposit, smallest units; the rest goes back to the buyer.
    #[arg(long, value_name = "UNITS")]
    due: u128,
    /// The other party's signature of the same.
    #[arg(long, value_name = "HEX")]
    signature: Option<Signature>,
}

/// Options of `exec-edge agreement reclaim`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReclaimArgs {
    #[command(flatten)]
    of: Args,
    /// Seconds from now to the stop; at least the agreed notice, and a minute more unless given.
    #[arg(long, value_name = "SECONDS")]
    after: Option<u64>,
}

/// An agreement as the ledger has it.
struct Found {
    offer: Offer,
    ledger: EthLedger,
    key: LocalKey,
    record: AgreementRecord,
}

impl Found {
    fn is_provider(&self) -> bool {
        self.key.address() == self.offer.provider
    }
}

/// Takes a claim to the arbiter, or to time.
pub(super) fn dispute(args: &Args) -> Result<ExitCode, Failure> {
    run(args, async |found| {
        let id = found.offer.id;
        let Some(claim) = found.record.claim else {
            output::error(&format!("nothing is claimed under {id}"));
            return Ok(Exit::Negative.into());
        };
        if !args.key.dry_run {
            found.ledger.dispute(&found.offer).await.map_err(failed)?;
        }
        let text = format!(
            "{} the claim of {} under {id}, of which {} is acknowledged",
            did(args, "would dispute", "disputed"),
            claim.amount,
            claim.floor
        );
        args.node.tell(
            &text,
            &json!({ "dry_run": args.key.dry_run, "claimed": claim.amount.units.to_string(), "acknowledged": claim.floor.units.to_string() }),
        );
        Ok(ExitCode::SUCCESS)
    })
}

/// Signs a division, or submits one that both signed.
pub(super) fn settle(args: &SettleArgs) -> Result<ExitCode, Failure> {
    run(&args.of, async |found| {
        let offer = &found.offer;
        let due = Amount {
            units: args.due,
            ..found.record.deposit
        };
        if due.units > found.record.deposit.units {
            let deposit = found.record.deposit;
            return Err(Failure::usage(anyhow!(
                "{due} is more than the deposit of {deposit}"
            )));
        }
        let (chain, contract) = (found.ledger.chain(), found.ledger.contract());
        let digest = signing::closing_digest(offer.id.into(), due, chain, contract);
        let own = found.key.sign_digest(digest);
        let (other_party, name) = if found.is_provider() {
            (found.record.buyer, "buyer")
        } else {
            (offer.provider, "provider")
        };
        let Some(other) = args.signature else {
            let text = format!(
                "signature {own}\nthe {name} submits it by: exec-edge agreement settle {} --due {} --signature {own} …",
                offer.id, args.due
            );
            args.of.node.tell(
                &text,
                &json!({ "due": args.due.to_string(), "signature": own.to_string() }),
            );
            return Ok(ExitCode::SUCCESS);
        };
        if signing::recover(digest, &other).ok() != Some(other_party) {
            let error =
                anyhow!("the signature is not by the {name} ({other_party}), or of another sum");
            return Err(Failure::usage(error));
        }
        let [buyer, provider] = if found.is_provider() {
            [other, own]
        } else {
            [own, other]
        };
        if !args.of.key.dry_run {
            let settled = found.ledger.settle_mutually(offer, due, buyer, provider);
            settled.await.map_err(failed)?;
        }
        let did = did(&args.of, "would settle", "settled");
        args.of.node.tell(
            &format!("{did} {} with {due} for the provider", offer.id),
            &json!({ "dry_run": args.of.key.dry_run, "due": args.due.to_string() }),
        );
        Ok(ExitCode::SUCCESS)
    })
}

/// Gives notice.
pub(super) fn reclaim(args: &ReclaimArgs) -> Result<ExitCode, Failure> {
    run(&args.of, async |found| {
        let offer = &found.offer;
        if !found.is_provider() {
            return Err(
                Failure::usage(anyhow!("only the provider can take hardware back"))
                    .with_hint("to end it as the buyer: exec-edge agreement close"),
            );
        }
        let notice = u64::from(offer.sla.notice_seconds);
        let after = args.after.unwrap_or(notice + INCLUSION_SECONDS);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = UtcTime(now.map_or(0, |since| since.as_secs()));
        let stop = now.plus_seconds(after);
        if after < notice || stop >= offer.slot.end {
            let left = offer.slot.end.seconds_since(now);
            let error = anyhow!(
                "{after} s is not between the notice of {notice} s and the {left} s that are left of the slot"
            );
            return Err(Failure::usage(error));
        }
        if !args.of.key.dry_run {
            let told = found.ledger.give_notice(offer, stop);
            told.await.map_err(failed)?;
        }
        let did = did(&args.of, "would take", "takes");
        args.of.node.tell(
            &format!("{did} the hardware of {} back in {after} s", offer.id),
            &json!({ "dry_run": args.of.key.dry_run, "stop": stop.0 }),
        );
        Ok(ExitCode::SUCCESS)
    })
}

fn did<'a>(args: &Args, would: &'a str, did: &'a str) -> &'a str {
    if args.key.dry_run { would } else { did }
}

fn run(
    args: &Args,
    act: impl AsyncFnOnce(Found) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let Some(told) = find(&args.id, &args.state)? else {
        return Ok(Exit::Negative.into());
    };
    let offer = told.offer;
    let Settlement::Escrow { chain, contract } = offer.settlement else {
        return Err(Failure::usage(anyhow!(
            "this agreement is settled by people, not by a ledger"
        )));
    };
    let key = args.key.read()?;
    let ledger = args.node.ledger_on(chain, contract, key.clone())?;
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
        if ![record.buyer, record.provider].contains(&key.address()) {
            let error = anyhow!("{} is not a party of this agreement", key.address());
            return Err(
                Failure::usage(error).with_hint("give the key of the buyer or the provider")
            );
        }
        if record.state.is_final() {
            output::error(&format!("{} is over: {:?}", offer.id, record.state));
            return Ok(Exit::Negative.into());
        }
        act(Found {
            offer,
            ledger,
            key,
            record,
        })
        .await
    })
}
