//! The parts of the lab that run as processes of their own: its name server and its clients.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use edge_lab::clients::{self, Population};
use edge_lab::dns_server::DnsServer;
use edge_lab::zones::Zones;

use edge_console::exit::Failure;
use edge_console::output;

/// Which part.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Serve zones.
    Dns {
        /// The zones, as JSON.
        #[arg(long)]
        zones: PathBuf,
        /// Where to listen; may be repeated.
        #[arg(long, required = true)]
        listen: Vec<SocketAddr>,
    },
    /// Be all clients.
    Clients {
        /// What they do, as JSON.
        #[arg(long)]
        population: PathBuf,
    },
}

/// Runs it.
pub(crate) fn run(args: Args) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    match args {
        Args::Dns { zones, listen } => runtime.block_on(async {
            let zones: Zones = read(&zones)?;
            let server = DnsServer::bind(&zones, &listen)
                .await
                .map_err(Failure::runtime)?;
            server.run().await.map_err(Failure::runtime)
        })?,
        Args::Clients { population } => runtime.block_on(async {
            let mut population: Population = read(&population)?;
            resolve(&mut population).await?;
            let told = |progress: clients::Progress| {
                output::line(&serde_json::to_string(&progress).unwrap_or_default());
            };
            clients::run(population, told)
                .await
                .map_err(Failure::runtime)
        })?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the lab's DNS, as any client would, for the host names whose addresses were not given.
async fn resolve(population: &mut Population) -> Result<(), Failure> {
    let asked: BTreeSet<String> = population
        .clients
        .iter()
        .map(|client| client.host.clone())
        .collect();
    for host in asked {
        if population.hosts.contains_key(&host) {
            continue;
        }
        let name = format!("{host}:{}", population.port);
        let found = tokio::net::lookup_host(name)
            .await
            .with_context(|| format!("resolving {host}"))?;
        population
            .hosts
            .insert(host, found.map(|address| address.ip()).collect());
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(file: &PathBuf) -> Result<T, Failure> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(serde_json::from_str(&text).with_context(|| format!("parsing {}", file.display()))?)
}
