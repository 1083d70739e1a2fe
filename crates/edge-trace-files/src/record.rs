//! One path as a file tells it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use edge_types::{MonotonicTime, PathObservation, UtcTime};

/// A path and what its file says about how it came to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRecord {
    /// The path. Its time is [`MonotonicTime::ZERO`]: see the crate's page. Where a file does not tell how many
    /// probes were sent, their number is 0.
    pub path: PathObservation,
    /// The rest.
    pub details: TraceDetails,
}

impl PathRecord {
    /// When the trace ended, or at least began, by the file.
    pub fn time(&self) -> Option<UtcTime> {
        self.details.ended.or(self.details.started)
    }

    /// The path on a clock that started at `base`; at zero if the file tells no time or an earlier one.
    #[must_use]
    pub fn since(mut self, base: UtcTime) -> PathObservation {
        let seconds = self.time().map_or(0, |time| time.seconds_since(base));
        self.path.observed_at = MonotonicTime(Duration::from_secs(seconds));
        self.path
    }
}

/// How a trace was made, as far as its file tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceDetails {
    /// When it began.
    pub started: Option<UtcTime>,
    /// When it ended.
    pub ended: Option<UtcTime>,
    /// Where the probes came from.
    pub source: Option<IpAddr>,
    /// What the probes were.
    pub method: Option<Method>,
    /// Their source port (UDP and TCP).
    pub source_port: Option<u16>,
    /// Their destination port, or the first if it changes (UDP and TCP).
    pub destination_port: Option<u16>,
}

/// What probes are, by scamper's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// ICMP echo requests, each with a checksum of its own.
    IcmpEcho,
    /// ICMP echo requests of one flow.
    IcmpEchoParis,
    /// UDP to a port of its own each.
    Udp,
    /// UDP of one flow.
    UdpParis,
    /// TCP SYN.
    Tcp,
    /// TCP ACK.
    TcpAck,
}

/// There is no method of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a way to probe")]
pub struct UnknownMethod;

impl Method {
    const ALL: [(Self, &'static str); 6] = [
        (Self::IcmpEcho, "icmp-echo"),
        (Self::IcmpEchoParis, "icmp-echo-paris"),
        (Self::Udp, "udp"),
        (Self::UdpParis, "udp-paris"),
        (Self::Tcp, "tcp"),
        (Self::TcpAck, "tcp-ack"),
    ];

    /// True if its probes have ports.
    pub const fn has_ports(self) -> bool {
        !matches!(self, Self::IcmpEcho | Self::IcmpEchoParis)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(method, _)| method == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(method, _)| *method).ok_or(UnknownMethod)
    }
}
