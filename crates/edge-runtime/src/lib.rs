//! Workloads in containers, started by a helper process of the same binary.
//!
//! [`OciRuntime`] implements [`edge_ports::SiteRuntime`]. Each container is made with crate `libcontainer` by a
//! single-threaded helper process (the running program again, in [`run_helper`]), because making one means changing
//! namespaces and cloning, which a process with threads must not do.
//!
//! A container has: the unpacked image read-only as root, a size-limited tmpfs as `/tmp`, no capabilities, no new
//! privileges, a system call allow-list, user, pid, mount, IPC, UTS, network and control group namespaces of its own, and
//! limits on processor, memory and processes. Its network has a loopback interface and nothing else: the agent carries
//! TCP connections from the client-facing address inside, and from chosen ports inside to chosen addresses outside.

mod cgroup;
mod clients;
mod container;
mod drain;
mod forward;
mod health;
mod helper;
mod netns;
mod protocol;
mod runtime;
mod seccomp;
mod spec;

pub use cgroup::ContainerUsage;
pub use forward::ForwardLimits;
pub use helper::run_helper;
pub use runtime::{OciRuntime, RuntimeConfig, sweep_leftovers};
