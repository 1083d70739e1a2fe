//! Hidden: what runs inside a lab for a figure.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use edge_dispatch::{DispatchTable, HostClass, HostPolicy, RedirectPolicy, SiteTarget};
use edge_http::front_end::{FrontEnd, FrontEndConfig};
use edge_lab::scenario::Scenario;
use edge_ports::{Clock as _, SystemClock};
use edge_probe::Prober;
use edge_types::{Generation, IepId, IpNet};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::figure4b::{Manner, in_virtual_time};
use edge_console::exit::Failure;
use edge_console::output;

/// Which part.
#[derive(Debug, clap::Subcommand)]
pub enum Args {
    /// Trace targets by a manner, and say how long it took, as JSON.
    MeasurePaths {
        /// How many at once.
        #[arg(long)]
        at_once: usize,
        /// Share what targets have in common, and send several probes at once.
        #[arg(long)]
        shared: bool,
        /// The targets.
        targets: Vec<IpAddr>,
    },
    /// Calculate instead what `measure-paths` would measure in a scenario's lab.
    CalculatePaths {
        /// How many at once.
        #[arg(long)]
        at_once: usize,
        /// Share what targets have in common, and send several probes at once.
        #[arg(long)]
        shared: bool,
        /// The scenario's file.
        #[arg(long)]
        scenario: PathBuf,
        /// The targets.
        targets: Vec<IpAddr>,
    },
    /// Connect to an address; fails if nobody listens.
    Connect {
        /// The address.
        address: SocketAddr,
    },
    /// The front end of an application, with one realised site for all clients.
    FrontEnd {
        /// Where to listen.
        #[arg(long)]
        listen: SocketAddr,
        /// The application's own server.
        #[arg(long)]
        upstream: SocketAddr,
        /// Host whose clients are redirected.
        #[arg(long)]
        host: String,
        /// Host whose clients are not.
        #[arg(long)]
        control: String,
        /// Clients.
        #[arg(long)]
        clients: IpNet,
        /// The site.
        #[arg(long)]
        site: SocketAddr,
    },
}

/// What `measure-paths` prints.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) seconds: f64,
    pub(super) paths: usize,
    pub(super) probes: u64,
}

/// Runs it.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match args {
        Args::MeasurePaths {
            at_once,
            shared,
            targets,
        } => {
            let manner = Manner {
                at_once: *at_once,
                shared: *shared,
            };
            let measured = measure(manner, targets)?;
            output::line(&serde_json::to_string(&measured).context("telling what was measured")?);
        }
        Args::CalculatePaths {
            at_once,
            shared,
            scenario,
            targets,
        } => {
            let manner = Manner {
                at_once: *at_once,
                shared: *shared,
            };
            let scenario = Scenario::load(scenario).map_err(Failure::usage)?;
            let (seconds, probes) = in_virtual_time(&scenario, manner, targets, 1)?;
            let calculated = Measured {
                seconds,
                paths: targets.len(),
                probes,
            };
            output::line(
                &serde_json::to_string(&calculated).context("telling what was calculated")?,
            );
        }
        Args::Connect { address } => {
            std::net::TcpStream::connect(address)
                .with_context(|| format!("connecting to {address}"))?;
        }
        Args::FrontEnd {
            listen,
            upstream,
            host,
            control,
            clients,
            site,
        } => {
            let clock = SystemClock::start();
            let lease = 24 * 3600;
            let target = SiteTarget {
                site: IepId {
                    host: "edge.example".parse().context("naming the site")?,
                    port: site.port(),
                },
                address: *site,
                usable_until: clock.utc().plus_seconds(lease),
                bounce: None,
            };
            let table = DispatchTable::new(Generation(1), [(*clients, target)])
                .context("making the dispatch table")?;
            let hosts = [
                (host.as_str(), HostClass::Redirected),
                (control.as_str(), HostClass::HeldBack),
            ];
            let config = FrontEndConfig {
                hosts: HostPolicy::new(hosts).map_err(Failure::usage)?,
                redirects: RedirectPolicy {
                    max_age_secs: lease,
                    ..RedirectPolicy::default()
                },
                upstream: *upstream,
                max_connections: 1024,
                header_timeout: Duration::from_secs(10),
                upstream_timeout: Duration::from_secs(10),
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("starting the runtime")?;
            runtime.block_on(async {
                let (sightings, _nobody_listens) = tokio::sync::mpsc::channel(1);
                let table = Arc::new(ArcSwap::from_pointee(table));
                let front_end = FrontEnd::new(config, table, sightings, Arc::new(clock));
                let listener = TcpListener::bind(listen).await;
                let listener = listener.with_context(|| format!("listening at {listen}"))?;
                Arc::new(front_end).serve(listener).await.context("serving")
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(manner: Manner, targets: &[IpAddr]) -> Result<Measured, Failure> {
    let prober = Prober::start(manner.config()).context("starting the prober")?;
    let begun = Instant::now();
    let mut waiting = targets.iter().copied();
    let mut stream = prober.stream();
    let mut measured = Measured {
        seconds: 0.0,
        paths: 0,
        probes: 0,
    };
    loop {
        let room = manner.at_once.max(1).saturating_sub(stream.under_way());
        let next: Vec<IpAddr> = waiting.by_ref().take(room).collect();
        if !next.is_empty() {
            stream.begin(next);
        }
        if stream.under_way() == 0 {
            break;
        }
        match stream.next_within(Duration::from_secs(60)) {
            Some(Ok(_)) => {
                measured.paths += 1;
                measured.seconds = begun.elapsed().as_secs_f64();
            }
            Some(Err(error)) => return Err(Failure::runtime(error)),
            None => return Err(anyhow!("no path within a minute").into()),
        }
    }
    measured.probes = prober.counters().sent;
    Ok(measured)
}
