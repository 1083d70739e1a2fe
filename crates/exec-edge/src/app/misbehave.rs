//! Workloads that a site must survive.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use anyhow::Context;

use super::server::Role;

/// What a bad workload tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Misdeed {
    /// Uses every processor it gets.
    Busy,
    /// Starts processes without end.
    Fork,
    /// Uses memory without end.
    Memory,
    /// Writes to its root and calls strangers, and answers how that went.
    Reach,
    /// Ends at once.
    Quit,
    /// Does nothing for ever; what `fork` starts.
    Sleep,
}

/// How long it behaves, so that it passes its health check.
const GRACE: Duration = Duration::from_millis(500);

/// Begins the misdeed; what to serve meanwhile, if anything.
pub(crate) fn begin(how: Misdeed) -> anyhow::Result<Option<Role>> {
    let deed: fn() = match how {
        Misdeed::Quit => return Ok(None),
        Misdeed::Sleep => loop {
            thread::sleep(Duration::from_hours(1));
        },
        Misdeed::Reach => return Ok(Some(Role::Report(reach().into()))),
        Misdeed::Busy => || loop {
            std::hint::spin_loop();
        },
        Misdeed::Fork => fork,
        Misdeed::Memory => memory,
    };
    thread::Builder::new()
        .spawn(move || {
            thread::sleep(GRACE);
            deed();
        })
        .context("starting the misdeed")?;
    Ok(Some(Role::edge_from_environment()?))
}

fn fork() {
    let mut children: Vec<Child> = Vec::new();
    loop {
        match Command::new("/proc/self/exe")
            .args(["app", "misbehave", "sleep"])
            .spawn()
        {
            Ok(child) => children.push(child),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn memory() {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(vec![1; 1024 * 1024]);
    }
}

fn reach() -> String {
    let stranger = SocketAddr::from(([192, 0, 2, 1], 80));
    format!(
        "write={:?} temporary={:?} connect={:?}",
        std::fs::write("/stolen", b"x").map_err(|error| error.kind()),
        std::fs::write("/tmp/mine", b"x").map_err(|error| error.kind()),
        TcpStream::connect_timeout(&stranger, Duration::from_secs(2))
            .map(drop)
            .map_err(|error| error.kind()),
    )
}
