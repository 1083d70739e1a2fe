//! Which sockets a prober works with, why, and why it cannot start.

use std::fmt;
use std::io;

use crate::config::Backend;

/// Why a prober cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Raw sockets need a privilege that this process does not have.
    #[error(
        "opening a raw {family} socket needs the capability CAP_NET_RAW: run as root, in a user namespace of its own, \
         or after `setcap cap_net_raw+ep` on the program, or use the unprivileged backend"
    )]
    NotPermitted {
        /// "IPv4" or "IPv6".
        family: &'static str,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// TCP probes cannot be sent without raw sockets, and those need a privilege that this process does not have or
    /// was told not to use.
    #[error(
        "TCP probes need raw sockets: run as root, in a user namespace of its own, or after `setcap cap_net_raw+ep` on \
         the program, or probe by UDP"
    )]
    TcpNeedsRaw,
    /// Without raw sockets ICMP probes need ping sockets, which the system keeps from this process.
    #[error(
        "ICMP probes without CAP_NET_RAW need ping sockets, and none of this process's groups is in their range \
         ({range}): probe by UDP, or let the administrator widen it, \
         as by `sysctl -w net.ipv4.ping_group_range='0 2147483647'`"
    )]
    PingNotPermitted {
        /// The first and last group that may open them, as `net.ipv4.ping_group_range` says; empty if that is unreadable.
        range: String,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The source port, or ICMP identifier, is taken by another socket of this host.
    #[error("source port {port} is taken")]
    PortTaken {
        /// The port that was asked for, or the last that was tried.
        port: u16,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// A socket could not be opened or set up.
    #[error("opening {what} socket for {family} failed")]
    Socket {
        /// "a raw", "a UDP" or "a ping".
        what: &'static str,
        /// "IPv4" or "IPv6".
        family: &'static str,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// A thread, a wake-up channel or a random key could not be had from the system.
    #[error("getting {what} from the system failed")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// The sockets that a prober works with; displays as a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendInUse {
    /// [`Backend::Raw`] or [`Backend::Unprivileged`].
    pub backend: Backend,
    /// Why these.
    pub reason: BackendReason,
}

/// Why a prober works with the sockets that it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendReason {
    /// The configuration names them.
    Chosen,
    /// The configuration leaves it open, and raw sockets are permitted.
    RawPermitted,
    /// The configuration leaves it open, and raw sockets are not permitted.
    RawNotPermitted,
}

impl fmt::Display for BackendInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.backend {
            Backend::Auto => "any sockets",
            Backend::Raw => "raw sockets",
            Backend::Unprivileged => "unprivileged sockets",
        })?;
        f.write_str(match self.reason {
            BackendReason::Chosen => ", as configured",
            BackendReason::RawPermitted => ", since they are permitted",
            BackendReason::RawNotPermitted => ", since raw ones are not permitted",
        })
    }
}
