//! What a site is asked to run.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::time::Generation;

/// sha-256 digest of an OCI manifest or blob; written `sha256:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageDigest(pub [u8; 32]);

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text is not `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected sha256: and 64 hexadecimal digits")]
pub struct DigestError;

impl FromStr for ImageDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let hex = text
            .strip_prefix("sha256:")
            .filter(|hex| !hex.starts_with("0x"))
            .ok_or(DigestError)?;
        hex.parse::<crate::chain::Hash32>()
            .map(|hash| Self(hash.0))
            .map_err(|_| DigestError)
    }
}

/// Where an image can be pulled and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageReference {
    /// The registry's address; plain HTTP, the digest authenticates the content.
    pub registry: SocketAddr,
    /// Repository name, `[a-z0-9._/-]+`, at most 128 octets.
    pub repository: String,
    /// Digest of the manifest.
    pub digest: ImageDigest,
}

/// Limits that the runtime enforces on a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResourceLimits {
    /// Thousandths of a processor.
    pub milli_cpu: u32,
    /// Octets of memory.
    pub memory_bytes: u64,
    /// Largest number of processes and threads.
    pub pids: u32,
}

/// How to tell that the workload serves: an HTTP GET that must answer 200.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// Absolute path.
    pub path: String,
    /// Time to the first 200 after the start.
    pub start_timeout: Duration,
}

/// An edge service as it is handed to a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Only goes up for one agreement; a site refuses an older one.
    pub generation: Generation,
    /// What to run.
    pub image: ImageReference,
    /// Program and arguments; empty takes the image's own.
    pub command: Vec<String>,
    /// Environment, beside the image's own.
    pub environment: Vec<(String, String)>,
    /// TCP port on which the service listens inside.
    pub service_port: u16,
    /// What it may reach outside: inside it is `127.0.0.1:port`, outside the address. Everything else is cut off.
    pub egress: Vec<(u16, SocketAddr)>,
    /// What it may use.
    pub limits: ResourceLimits,
    /// How to tell that it serves.
    pub health: HealthCheck,
}

/// Where a workload stands at its site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkloadState {
    /// Nothing was asked for.
    Absent,
    /// The image is being pulled.
    Pulling,
    /// The container is being started, or does not answer its health check yet.
    Starting,
    /// It serves at this client-facing address.
    Running {
        /// Where clients reach it.
        address: SocketAddr,
    },
    /// It answers every client with "go back to the cloud".
    Draining {
        /// Where clients reach it.
        address: SocketAddr,
    },
    /// It ended or could not be started; why, in words.
    Failed {
        /// What went wrong, at most 512 octets.
        reason: String,
    },
    /// It was stopped as asked.
    Stopped,
}
