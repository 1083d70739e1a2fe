//! Asking a running orchestrator over its admin socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use edge_console::exit::Failure;

/// Largest answer that is read, in octets: a plan for a hundred thousand client prefixes.
const LARGEST: u64 = 64 << 20;

/// Where the orchestrator listens.
#[derive(Debug, clap::Args)]
pub(crate) struct Socket {
    /// The admin socket of the orchestrator's configuration.
    #[arg(long = "admin", value_name = "SOCKET")]
    pub(crate) path: PathBuf,
}

impl Socket {
    /// One exchange; the status of the answer and its body.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Result<(u16, String), Failure> {
        self.send(method, path, &[])
    }

    /// The same, with a body.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<(u16, String), Failure> {
        exchange_with(&self.path, method, path, body)
            .with_context(|| format!("asking the orchestrator at {}", self.path.display()))
            .map_err(|error| {
                Failure::runtime(error).with_hint(
                    "--admin is `admin` in the configuration of the orchestrator, which has to run",
                )
            })
    }
}

/// One exchange with the socket; the status of the answer and its body.
pub(crate) fn exchange(socket: &Path, method: &str, path: &str) -> Result<(u16, String)> {
    exchange_with(socket, method, path, &[])
}

fn exchange_with(socket: &Path, method: &str, path: &str, body: &[u8]) -> Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // In one piece: whoever answers early may not want the rest.
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    stream.write_all(&request)?;
    let mut answer = String::new();
    stream.take(LARGEST).read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer without a body")?;
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|status| status.parse().ok());
    match status {
        Some(status) => Ok((status, body.to_owned())),
        None => bail!("not an answer of HTTP"),
    }
}
