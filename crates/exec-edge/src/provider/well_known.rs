//! `exec-edge provider well-known`: the list of a provider's sites.

use std::path::PathBuf;
use std::process::ExitCode;

use edge_ports::Signer as _;
use edge_types::{ChainAddress, ListedSite};
use edge_wire::listing::WellKnown;

use super::certificate::Certificate;
use super::dns_records;
use crate::key::read_key;
use edge_console::exit::{EXIT_CODES, Failure};
use edge_console::output;

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
    let mut sites = Vec::new();
    for site in &config.sites {
        let certificate = Certificate::of(site)?;
        if certificate
            .as_ref()
            .is_some_and(|shown| shown.is_self_issued)
        {
            output::error(&format!(
                "{}: no authority issued its certificate, so who reads this list cannot speak to it; a signed zone with its TLSA record can",
                site.id
            ));
        }
        sites.push(ListedSite {
            id: site.id.clone(),
            addresses: vec![dns_records::address(site)],
            key: Some((config.chain(), account)),
            tls: certificate.is_some(),
        });
    }
    let text = edge_wire::encode(&WellKnown::of(&sites));
    output::line(&String::from_utf8_lossy(&text));
    Ok(ExitCode::SUCCESS)
}
