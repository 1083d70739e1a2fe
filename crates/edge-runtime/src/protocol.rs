//! What the agent and its helper process tell each other: one JSON document a line.
//!
//! The agent writes one [`ContainerRequest`] to the helper's standard input and holds the pipe open; when it closes, for
//! whatever reason, the helper kills the container and ends. The helper writes [`HelperEvent`]s to standard output.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A container to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerRequest {
    /// Name of the container, `[0-9a-f]+`.
    pub(crate) id: String,
    /// The unpacked image; not written to.
    pub(crate) root: PathBuf,
    /// Program and arguments.
    pub(crate) arguments: Vec<String>,
    /// `NAME=value`.
    pub(crate) environment: Vec<String>,
    /// Where to start.
    pub(crate) working_directory: String,
    /// Group relative to the hierarchies.
    pub(crate) cgroup: String,
    /// Thousandths of a processor.
    pub(crate) milli_cpu: u32,
    /// Octets of memory.
    pub(crate) memory_bytes: u64,
    /// Limit memory and swap together, so that there is no swap.
    pub(crate) limit_swap: bool,
    /// Processes and threads.
    pub(crate) pids: u32,
    /// Octets of `/tmp`; they count as memory, too.
    pub(crate) temporary_bytes: u64,
    /// First of the 65,536 host user and group ids that those inside stand for; none: no user namespace.
    pub(crate) first_host_id: Option<u32>,
    /// Open files.
    pub(crate) open_files: u64,
}

/// What happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HelperEvent {
    /// The program runs, as this process outside.
    Started {
        /// Process id.
        pid: i32,
    },
    /// The container could not be made.
    Failed {
        /// Why.
        detail: String,
    },
    /// The program ended by itself.
    Exited {
        /// How.
        detail: String,
    },
}
