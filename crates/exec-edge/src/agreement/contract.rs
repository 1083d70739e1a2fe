//! Contracts that people make without a chain: the buyer signs what the provider did, and has its orchestrator take it up.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use edge_console::exit::Failure;
use edge_console::output;
use edge_ports::Signer as _;
use edge_types::Settlement;
use edge_wire::contract::ContractFile;
use edge_wire::{MAX_BODY_BYTES, decode, encode, signing};

use super::Admin;
use crate::contract::Key;

/// Options of `exec-edge agreement sign`.
#[derive(Debug, clap::Args)]
pub(crate) struct SignArgs {
    /// The contract, as `exec-edge provider offer` prints it.
    file: PathBuf,
    #[command(flatten)]
    key: Key,
}

/// Options of `exec-edge agreement import`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// The contract that both signed.
    file: PathBuf,
    /// Where the site is, unless the orchestrator's configuration says it.
    #[arg(long, value_name = "IP:PORT")]
    address: Option<SocketAddr>,
    #[command(flatten)]
    admin: Admin,
}

/// Prints the contract with the buyer's signature.
pub(super) fn sign(args: &SignArgs) -> Result<ExitCode, Failure> {
    let text = read(&args.file)?;
    let mut contract = understood(&args.file, &text)?;
    let key = args.key.read()?;
    let (offer, confirmation) = (&contract.offer.0, contract.confirmation.0);
    if !offer.settlement.is_local() {
        return Err(Failure::usage(anyhow!(
            "this offer is paid into an escrow, and needs no other contract"
        )));
    }
    signing::verify_offer(offer)
        .and_then(|()| signing::verify_confirmation(&confirmation, offer, key.address()))
        .context("the provider did not sign this for this key's account")
        .map_err(Failure::usage)?;
    let price = offer.price_per_second.times(offer.slot.seconds());
    let price = price.context("the price").map_err(Failure::usage)?;
    let way = match &offer.settlement {
        Settlement::Contact(contact) => format!("to be paid as agreed with {contact}"),
        Settlement::Allowance => "out of what was paid in advance".to_owned(),
        Settlement::Escrow { .. } => String::new(),
    };
    // What is signed is told beside, so that the contract itself can go into a file.
    output::error(&format!(
        "{} from {} to {} (Unix time), {price} in all, {way}; {}",
        offer.site,
        offer.slot.start.0,
        offer.slot.end.0,
        if args.key.dry_run {
            "not signed"
        } else {
            "signed"
        }
    ));
    if !args.key.dry_run {
        let digest = signing::acceptance_digest(offer, confirmation.until);
        contract.acceptance = Some(key.sign_digest(digest));
        output::line(&String::from_utf8_lossy(&encode(&contract)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Has a running orchestrator take the contract up.
pub(super) fn import(args: &ImportArgs) -> Result<ExitCode, Failure> {
    let text = read(&args.file)?;
    let contract = understood(&args.file, &text)?;
    let Some((offer, _)) = contract.signed() else {
        return Err(Failure::usage(anyhow!("the buyer has not signed"))
            .with_hint("the buyer signs by `exec-edge agreement sign`"));
    };
    let (shown, id) = (args.admin.socket.path.display(), offer.id);
    if args.admin.dry_run {
        output::line(&format!(
            "would have the orchestrator at {shown} take up {id} at {}",
            offer.site
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let path = match args.address {
        None => "/agreements/import".to_owned(),
        Some(address) => format!("/agreements/import?address={address}"),
    };
    let (status, answer) = args.admin.socket.send("POST", &path, &text)?;
    match status {
        200 => {
            output::line(&format!("agreement {id}"));
            Ok(ExitCode::SUCCESS)
        }
        400 => Err(Failure::usage(anyhow!("{answer}").context("not taken up"))),
        status => Err(Failure::runtime(anyhow!(
            "the orchestrator at {shown} answers {path} with status {status}"
        ))),
    }
}

fn understood(file: &Path, text: &[u8]) -> Result<ContractFile, Failure> {
    decode(text)
        .with_context(|| format!("{} is no contract", file.display()))
        .map_err(|error| {
            Failure::usage(error).with_hint("give the file that `exec-edge provider offer` printed")
        })
}

/// Reads a file, of which no more is read than a contract may be long.
fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    File::open(file)
        .and_then(|file| file.take(MAX_BODY_BYTES as u64 + 1).read_to_end(&mut text))
        .with_context(|| format!("reading {}", file.display()))
        .map_err(Failure::usage)?;
    Ok(text)
}
