//! Hidden: the demo's application, an edge service and its cloud back end.
//!
//! The origin answers everything; the edge service answers objects itself and asks its back end for what is dynamic.

mod misbehave;
mod objects;
mod server;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use edge_image::{ImageOptions, build_from_self};

use edge_console::exit::Failure;
use edge_console::output;

/// Port on which the edge service listens in its container.
pub(crate) const EDGE_PORT: u16 = 8080;
/// Port inside the container that is carried to the cloud back end.
pub(crate) const BACKEND_PORT: u16 = 9000;

pub(crate) use server::CHALLENGE_PATH;

/// Options of `exec-edge app`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// The edge service. `BACKEND` names the back end's address, `SITE` this site.
    Edge {
        /// Where to listen.
        #[arg(long, default_value_t = loopback())]
        listen: SocketAddr,
    },
    /// The cloud back end.
    Origin {
        /// Where to listen.
        #[arg(long, default_value_t = loopback())]
        listen: SocketAddr,
    },
    /// The edge service, which also tries what it must not do; for tests of the runtime.
    Misbehave {
        /// What it tries.
        #[arg(value_enum)]
        how: misbehave::Misdeed,
    },
    /// Write an OCI image of this program, with the edge service as its entry point.
    Image {
        /// The layout's directory.
        directory: PathBuf,
        /// gzip level.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=9))]
        compression: u32,
    },
}

fn loopback() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), EDGE_PORT)
}

/// What the image of the edge service runs.
pub(crate) fn image_options() -> ImageOptions {
    ImageOptions {
        arguments: vec!["app".to_owned(), "edge".to_owned()],
        ..ImageOptions::default()
    }
}

/// Runs it.
pub(crate) fn run(args: Args) -> Result<ExitCode, Failure> {
    match args {
        Args::Edge { listen } => serve(listen, server::Role::edge_from_environment()?)?,
        Args::Origin { listen } => serve(listen, server::Role::Origin)?,
        Args::Misbehave { how } => {
            if let Some(role) = misbehave::begin(how)? {
                serve(loopback(), role)?;
            }
        }
        Args::Image {
            directory,
            compression,
        } => {
            let begin = Instant::now();
            let options = ImageOptions {
                compression,
                ..image_options()
            };
            let image = build_from_self(&directory, &options)
                .with_context(|| format!("making an image in {}", directory.display()))?;
            output::line(&format!(
                "{} transfer={} unpacked={} ms={}",
                image.digest,
                image.transfer_bytes,
                image.unpacked_bytes,
                begin.elapsed().as_millis()
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Serves on one thread, to need little memory.
fn serve(listen: SocketAddr, role: server::Role) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("starting the application")?;
    runtime
        .block_on(server::serve(listen, role))
        .with_context(|| format!("serving at {listen}"))?;
    Ok(())
}
