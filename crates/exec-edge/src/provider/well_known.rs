//! `exec-edge provider well-known`: the list of a provider's sites.

use std::path::PathBuf;
use std::process::ExitCode;

use edge_ports::Signer as _;
use edge_types::{ChainAddress, ListedSite};
use edge_wire::listing::WellKnown;

use super::dns_records;
use crate::exit::{EXIT_CODES, Failure};
use crate::key::read_key;
use crate::output;

/// Options of `exec-edge provider well-known`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// The provider's configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Account to list, instead of reading the key file that the configuration names.
    #[arg(long, value_name = "0xADDRESS")]
    account: Option<ChainAddress>,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let config = super::read_config(&args.config)?;
    let account = match args.account {
        Some(account) => account,
        None => read_key(&config.key_file)
            .map_err(dns_records::with_account_hint)?
            .address(),
    };
    let sites: Vec<ListedSite> = config
        .sites
        .iter()
        .map(|site| ListedSite {
            id: site.id.clone(),
            addresses: vec![dns_records::address(site)],
            key: Some((config.ledger.chain, account)),
            tls: false,
        })
        .collect();
    let text = edge_wire::encode(&WellKnown::of(&sites));
    output::line(&String::from_utf8_lossy(&text));
    Ok(ExitCode::SUCCESS)
}
