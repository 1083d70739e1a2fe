//! `exec-edge agreement`: what an orchestrator or a provider agreed to, by its journal, and what to do about it.

mod contract;
mod levels;
mod on_ledger;
mod ruling;
mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use edge_journal::{JournalError, Texts};
use edge_orchestrator::journal::{Recovered, journal_file};
use edge_provider::journal::Recovered as OfProvider;
use edge_types::AgreementId;
use edge_wire::message::OfferMessage;

use crate::admin::Socket;
use edge_console::exit::{EXIT_CODES, Exit, Failure};
use edge_console::output;
use text::Told;

/// Options of `exec-edge agreement`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the agreements of an orchestrator or a provider, running or not.
    List(Journal),
    /// Tell everything about one agreement.
    Show {
        /// Its id, or the beginning of it.
        id: String,
        #[command(flatten)]
        journal: Journal,
    },
    /// End an agreement of a running orchestrator before its time: its last receipt is sent and the money divided.
    Close {
        /// Its id.
        id: AgreementId,
        #[command(flatten)]
        admin: Admin,
    },
    /// Deny on the ledger what the provider claims, or take one's own claim to the arbiter.
    Dispute(on_ledger::Args),
    /// Divide the money as both parties sign: print this party's signature, or submit with that of the other.
    Settle(on_ledger::SettleArgs),
    /// Print the offer behind an agreement as JSON, as its provider signed it: what an arbiter has to be given.
    Offer {
        /// Its id, or the beginning of it.
        id: String,
        /// The state directory of the orchestrator or provider.
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
    },
    /// As the arbiter: decide a dispute on the ledger.
    Rule(ruling::Args),
    /// As the provider: take the hardware back before the end of the slot, after the agreed notice.
    Reclaim(on_ledger::ReclaimArgs),
    /// As the buyer: sign a contract that people made without a chain, and print it.
    Sign(contract::SignArgs),
    /// Have a running orchestrator take up a contract that both signed.
    Import(contract::ImportArgs),
    /// Stop all spending of a running orchestrator, also after a restart; open agreements run out.
    Stop {
        #[command(flatten)]
        admin: Admin,
    },
    /// Allow spending again.
    Resume {
        #[command(flatten)]
        admin: Admin,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Journal {
    /// The state directory of the orchestrator or provider.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Admin {
    #[command(flatten)]
    socket: Socket,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::List(journal) => {
            let all = read(&journal.state)?;
            if journal.json {
                let all: Vec<_> = all.iter().map(Told::json).collect();
                output::line(&serde_json::Value::from(all).to_string());
            } else if all.is_empty() {
                output::line("no agreements");
            } else {
                output::line(&text::table(&all));
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Show { id, journal } => show(id, journal),
        Command::Close { id, admin } => ask(admin, &format!("/agreements/{id}/close")),
        Command::Dispute(args) => on_ledger::dispute(args),
        Command::Settle(args) => on_ledger::settle(args),
        Command::Offer { id, state } => {
            let Some(told) = find(id, state)? else {
                return Ok(Exit::Negative.into());
            };
            let offer = edge_wire::encode(&OfferMessage(told.offer));
            output::line(&String::from_utf8_lossy(&offer));
            Ok(ExitCode::SUCCESS)
        }
        Command::Rule(args) => ruling::rule(args),
        Command::Reclaim(args) => on_ledger::reclaim(args),
        Command::Sign(args) => contract::sign(args),
        Command::Import(args) => contract::import(args),
        Command::Stop { admin } => ask(admin, "/wind-down"),
        Command::Resume { admin } => ask(admin, "/resume"),
    }
}

/// Tells everything about one agreement; also `exec-edge explain agreement`.
pub(crate) fn show(id: &str, journal: &Journal) -> Result<ExitCode, Failure> {
    let Some(told) = find(id, &journal.state)? else {
        return Ok(Exit::Negative.into());
    };
    if journal.json {
        output::line(&told.json().to_string());
    } else {
        output::line(&told.account());
    }
    Ok(ExitCode::SUCCESS)
}

/// The one agreement whose id begins so; says so if there is none, or more.
fn find(id: &str, state: &Path) -> Result<Option<Told>, Failure> {
    let digits = id.trim_start_matches("0x").to_ascii_lowercase();
    let mut found: Vec<Told> = read(state)?;
    found.retain(|told| told.id.trim_start_matches("0x").starts_with(&digits));
    let told = found.pop().filter(|_| found.is_empty());
    if told.is_none() {
        output::error(&format!(
            "{id}: not the beginning of exactly one agreement's id; `exec-edge agreement list` lists them"
        ));
    }
    Ok(told)
}

/// The agreements in a state directory, whosever it is.
fn read(state: &Path) -> Result<Vec<Told>, Failure> {
    let file = journal_file(state);
    let mut told: Vec<Told> = match Recovered::peek(&file) {
        Ok(recovered) => recovered.agreements.iter().map(Told::of_buyer).collect(),
        Err(JournalError::OtherKind { .. }) => {
            let recovered = OfProvider::peek(&file).map_err(Failure::usage)?;
            let running = recovered.deployments;
            let told = |agreement| Told::of_provider(agreement, &running);
            recovered.agreements.iter().map(told).collect()
        }
        Err(error) => {
            return Err(Failure::usage(error).with_hint(
                "--state is `state_directory` in the configuration of the orchestrator or provider",
            ));
        }
    };
    let texts = Texts::below(state);
    for told in &mut told {
        let offer = &told.offer;
        let named = [
            Some(offer.sla.text_hash),
            offer.conditions.content.text_hash,
        ];
        let named = named.into_iter().flatten().map(|hash| hash.to_string());
        let kept = named.filter(|hash| texts.has(hash));
        told.texts = kept.map(|hash| texts.file(&hash)).collect();
    }
    told.sort_by(|one, other| (one.start, &one.id).cmp(&(other.start, &other.id)));
    Ok(told)
}

fn ask(admin: &Admin, path: &str) -> Result<ExitCode, Failure> {
    let shown = admin.socket.path.display();
    if admin.dry_run {
        output::line(&format!(
            "would ask the orchestrator at {shown} for POST {path}"
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let (status, _) = admin.socket.ask("POST", path)?;
    match status {
        200 => {
            output::line("done");
            Ok(ExitCode::SUCCESS)
        }
        404 => {
            output::error("no open agreement of this id");
            Ok(Exit::Negative.into())
        }
        status => Err(Failure::runtime(anyhow::anyhow!(
            "the orchestrator at {shown} answers {path} with status {status}"
        ))),
    }
}
