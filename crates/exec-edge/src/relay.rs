//! `exec-edge relay`: makes providers without public address reachable.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use edge_http::relay::{Admission, Relay, RelayLimits};
use edge_ports::SystemClock;
use edge_types::ChainAddress;
use tokio::net::TcpListener;

use crate::logging;
use edge_console::exit::{EXIT_CODES, Failure};
use edge_console::output;

/// Options of `exec-edge relay`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Where providers connect to. The ports of their clients are opened at the same address.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// By what address and port providers know the relay, if not by that.
    #[arg(long, value_name = "ADDRESS:PORT")]
    known_as: Option<SocketAddr>,
    /// A provider's account, and the public ports that it may have; may be repeated.
    #[arg(long, value_name = "0xACCOUNT=PORT[-PORT],…", value_parser = admitted, required = true)]
    provider: Vec<(ChainAddress, BTreeSet<u16>)>,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    logging::start();
    if args.listen.ip().is_unspecified() {
        return Err(
            Failure::usage(anyhow!("--listen {}: not one address", args.listen))
                .with_hint("name the address at which clients shall reach the providers"),
        );
    }
    let mut admission = Admission::new();
    let mut given = BTreeSet::from([args.listen.port()]);
    for (account, ports) in &args.provider {
        if let Some(port) = ports.iter().find(|port| !given.insert(**port)) {
            return Err(Failure::usage(anyhow!("port {port} is given twice"))
                .with_hint("give each provider ports of its own, and not the relay's"));
        }
        admission.entry(*account).or_default().extend(ports);
    }
    let executor = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the async runtime")?;
    executor.block_on(async {
        let listener = TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("listening at {}", args.listen))
            .map_err(|error| {
                Failure::from(error).with_hint("choose a free address and port of this machine")
            })?;
        let known_as = args.known_as.unwrap_or(args.listen);
        let clock = Arc::new(SystemClock::start());
        let relay = Relay::new(
            known_as,
            args.listen.ip(),
            admission,
            RelayLimits::default(),
            clock,
        );
        output::line(&format!("relay ready at {known_as}"));
        tokio::select! {
            () = Arc::new(relay).serve(listener) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn admitted(text: &str) -> Result<(ChainAddress, BTreeSet<u16>), String> {
    let (account, ports) = text.split_once('=').ok_or("no =")?;
    let account = account
        .parse()
        .map_err(|_| "not an account of 40 hexadecimal digits")?;
    let port = |text: &str| match text.parse() {
        Ok(0) | Err(_) => Err(format!("{text:?} is no port")),
        Ok(port) => Ok(port),
    };
    let mut admitted = BTreeSet::new();
    for range in ports.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        admitted.extend(port(first)?..=port(last)?);
    }
    if admitted.is_empty() {
        return Err("no port".to_owned());
    }
    Ok((account, admitted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_admitted_with_ports_and_ranges() {
        let account = format!("0x{}", "aa".repeat(20));
        let (found, ports) = admitted(&format!("{account}=80,20000-20002")).unwrap();
        assert_eq!(found, ChainAddress([0xaa; 20]));
        assert_eq!(ports, [80, 20_000, 20_001, 20_002].into());
        for bad in [
            "",
            "0x=80",
            &account,
            &format!("{account}=0"),
            &format!("{account}=2-1"),
            &format!("{account}=x"),
        ] {
            assert!(admitted(bad).is_err(), "{bad}");
        }
    }
}
