//! `exec-edge explain`: why a zone or an address led to edge sites or did not, as the discovery itself tells it, and how
//! an agreement or a plan came to be what it is.
//!
//! Only DNS is asked, for agreements only the journal read, and for plans the orchestrator asked; no entry point is contacted.

mod json;
mod plan;
mod text;

pub(crate) use self::text::entry_point;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use edge_discovery::{Discovery, HopSighting};
use edge_ports::{Clock as _, SystemClock};
use edge_resolver::{Resolver, drive};
use edge_types::DnsName;

use crate::agreement;
use crate::dns::{DnsArgs, zone_name};
use edge_console::exit::{EXIT_CODES, Exit, Failure};
use edge_console::output;

/// Questions under way at a time.
const PARALLEL_QUESTIONS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Options of `exec-edge explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// Ask a zone for edge sites, and tell what became of every record.
    Zone {
        /// The zone, in Unicode or not.
        #[arg(value_parser = zone_name)]
        zone: DnsName,
        #[command(flatten)]
        options: Options,
    },
    /// Follow the names of a router's address to zones, and tell what became of each.
    Address {
        /// The address.
        address: IpAddr,
        #[command(flatten)]
        options: Options,
    },
    /// Tell the latest plan of a running orchestrator: why each site is used or not, and who serves whom.
    Plan(plan::Args),
    /// Tell how an agreement went, step by step, and why it is where it is.
    Agreement {
        /// Its id, or the beginning of it.
        id: String,
        #[command(flatten)]
        journal: agreement::Journal,
    },
}

#[derive(Debug, clap::Args)]
struct Options {
    #[command(flatten)]
    dns: DnsArgs,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let options = match &args.subject {
        Subject::Zone { options, .. } | Subject::Address { options, .. } => options,
        Subject::Agreement { id, journal } => return agreement::show(id, journal),
        Subject::Plan(args) => return plan::run(args),
    };
    let servers = options.dns.servers(&DnsArgs::resolv_conf())?;
    let resolver = options.dns.resolver(servers)?;
    let mut discovery = options.dns.discovery(false)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(ask(&mut discovery, &resolver, &args.subject));
    let trail = discovery.trail();
    if options.json {
        output::line(&json::object(&trail).to_string());
    } else {
        output::line(&text::tree(&trail));
    }
    if discovery.candidates().is_empty() {
        return Ok(Exit::Negative.into());
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(discovery: &mut Discovery, resolver: &Resolver, subject: &Subject) {
    let clock = SystemClock::start();
    let now = clock.monotonic();
    discovery.start_run(now);
    match subject {
        Subject::Zone { zone, .. } => discovery.observe_zone(zone.clone(), now),
        Subject::Address { address, .. } => {
            let sighting = HopSighting {
                address: *address,
                path: *address,
                ttl: 1,
            };
            discovery.observe_hop(sighting, now);
        }
        Subject::Agreement { .. } | Subject::Plan(_) => {}
    }
    drive(discovery, resolver, &clock, PARALLEL_QUESTIONS, |_| {}).await;
}
