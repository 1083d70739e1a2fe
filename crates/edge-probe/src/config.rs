//! What can be chosen about probing.

use std::sync::Arc;
use std::time::Duration;

use edge_types::{AddressPolicy, IpNet};

use crate::origins::OriginAs;

/// Whether targets whose paths run together share what they learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Every hop of every target is probed with the target's own flow.
    Off,
    /// What lies before a router is asked through few targets, and the others that pass the same router at the same
    /// distance take over the answer (a stop set with single flight). The first takes it over as it is, the next asks too, and
    /// one more each time that the number of those who took it over has grown fourfold, up to `confirmations`, as far as the
    /// router's reply budget allows. Where two
    /// disagree (flow-hashed parallel routers), flows ask for themselves until the stopping rule of multipath detection
    /// says that all of the routers are known; the rest are taken to pass one of them. So a shared hop always exists, but
    /// in such a place it may be another than the target's own flow passes.
    Verified {
        /// Most flows that ask the same question while they agree; at least 1.
        confirmations: u8,
    },
}

/// What probes are made of.
///
/// Whatever the method, all probes to one target look the same to a router that balances load per flow, and each
/// carries a keyed tag that its reply has to repeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProbeMethod {
    /// UDP to a port where nobody should listen. A target that answers says "port unreachable", which also tells its
    /// distance. The tag is the UDP checksum (16 bits) and, where it is quoted, the payload (64 bits).
    #[default]
    Udp,
    /// ICMP echo requests. The tag is the sequence number (16 bits) and the payload (64 bits), two bytes of which keep
    /// the checksum constant.
    Icmp,
    /// TCP SYN without data, so without [`ProberConfig::identification`]. The tag is the sequence number (32 bits). A
    /// target that listens answers SYN and ACK; this host's kernel, which knows of no connection, resets it, unless a
    /// local firewall keeps it from doing so.
    TcpSyn,
}

/// Which sockets to send from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Raw sockets if they may be opened, else sockets that need no privilege.
    #[default]
    Auto,
    /// Raw sockets, which need the capability `CAP_NET_RAW`.
    Raw,
    /// UDP or ping sockets whose error queue tells who answered. All targets share one source port, a random one
    /// unless [`ProberConfig::source_port`] is set.
    ///
    /// A UDP probe's tag is in its payload. Where a router quotes no payload, but only 8 bytes, its reply proves no more
    /// than that somebody knew the target and the source port, which is weaker than a tag: whoever guesses the port, one
    /// of 32,768, can invent such a router. Such a reply counts only if a single probe to its target is out, so those
    /// targets are probed one hop at a time. ICMP probes always show 16 bits of their tag, but need a system that
    /// permits ping sockets.
    Unprivileged,
}

/// So many probes per time, as a token bucket of that size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Probes.
    pub probes: u32,
    /// The time in which an empty bucket fills again.
    pub per: Duration,
}

/// All that can be chosen about a [`crate::Prober`]. [`ProberConfig::default`] is polite towards the public Internet.
#[derive(Clone, Debug)]
pub struct ProberConfig {
    /// What probes are made of. Default UDP.
    pub method: ProbeMethod,
    /// Which sockets to send from. Default: raw ones if permitted.
    pub backend: Backend,
    /// Do targets share hops? Default: verified by 2 flows.
    pub sharing: Sharing,
    /// Hard cap on probes per second over all targets. Default 500.
    pub packets_per_second: u32,
    /// Probes outstanding at once for a target that is traced alone and about whose path nothing is known, 1 to 16.
    /// Default 16: most paths in one round trip. For others it is 4 at most and shrinks to 1 while many targets are
    /// traced with sharing, so that they do not ask the same routers in step.
    pub window: u8,
    /// Largest TTL tried, 1 to 63. Default 32.
    pub max_ttl: u8,
    /// Silent hops in a row after which a path is taken to end. Default 5.
    pub gap_limit: u8,
    /// Probes for one silent hop between answering ones, 1 to 7. Default 3. A hop whose neighbours indicate a
    /// rate limiter gets up to 7.
    pub attempts: u8,
    /// Round trips measured of each interface, 1 to 16. Default 1. With more, a path is given out when its interfaces have
    /// been sampled that often, at least 200 ms apart.
    pub samples: u8,
    /// Wait before asking again where a rate limiter may be the cause of the silence. Default 1.1 s: Linux routers
    /// answer once per second when their burst of 6 is used up.
    pub limited_retry: Duration,
    /// Wait for a reply while no round trip is known. Default 1 s. Afterwards twice the slowest reply on the path,
    /// between 100 ms and 1.5 s. Replies that come later still count.
    pub initial_timeout: Duration,
    /// Longest time for one target, its waits for its turn aside. Default 5 s. What others know about its path by then is still taken over.
    pub time_limit: Duration,
    /// How long what one trace found may be taken over by others. Default 60 s.
    pub share_for: Duration,
    /// Source port of all probes, or ICMP identifier. Default `None`: from 32768 up, chosen per target with a secret
    /// or, without privileges, at random for all.
    pub source_port: Option<u16>,
    /// Destination port of all probes; ICMP has none. Default 33434, which is of little use for TCP.
    pub destination_port: u16,
    /// Text in every UDP or ICMP probe that tells its receiver who sends it and whom to ask. At most 64 bytes are sent.
    pub identification: String,
    /// Addresses that may be probed. Default: global unicast.
    pub policy: AddressPolicy,
    /// Prefixes whose owners asked not to be probed. Default: none.
    pub opted_out: Vec<IpNet>,
    /// Most probes for one target. Default 64. Every trace reserves as many from the budgets below and returns what
    /// it did not use.
    pub probes_per_target: u32,
    /// Budget of each /24 or /48. Default 640 per minute.
    pub prefix_budget: Budget,
    /// Budget of each /16 or /32. Default 16,384 per minute.
    pub covering_budget: Budget,
    /// Budget of all that one autonomous system announces, for targets whose origin `origins` knows. Default 65,536 per
    /// minute.
    pub origin_budget: Budget,
    /// Who announces what. Default `None`: there are no budgets by origin.
    pub origins: Option<Arc<dyn OriginAs>>,
    /// Budget of everything together. Default 262,144 per minute:
    /// the packet rate binds first, this binds the traces started at once.
    pub global_budget: Budget,
    /// Keep what happened during each trace for [`crate::Prober::take_trail`]? Default: no.
    pub explain: bool,
    /// Targets that are traced or wait; more are refused as over the global budget. From half as many on newcomers are
    /// left out by chance, the likelier the more wait (random early detection: Floyd and Jacobson, 1993). Default 4096.
    pub max_targets: usize,
}

impl Default for ProberConfig {
    fn default() -> Self {
        let per_minute = |probes| Budget {
            probes,
            per: Duration::from_mins(1),
        };
        Self {
            method: ProbeMethod::Udp,
            backend: Backend::Auto,
            sharing: Sharing::Verified { confirmations: 2 },
            packets_per_second: 500,
            window: 16,
            max_ttl: 32,
            gap_limit: 5,
            attempts: 3,
            samples: 1,
            limited_retry: Duration::from_millis(1100),
            initial_timeout: Duration::from_secs(1),
            time_limit: Duration::from_secs(5),
            share_for: Duration::from_mins(1),
            source_port: None,
            destination_port: 33434,
            identification: "exec-edge path probe".to_owned(),
            policy: AddressPolicy::default(),
            opted_out: Vec::new(),
            probes_per_target: 64,
            prefix_budget: per_minute(640),
            covering_budget: per_minute(16_384),
            origin_budget: per_minute(65_536),
            origins: None,
            global_budget: per_minute(262_144),
            explain: false,
            max_targets: 4096,
        }
    }
}

impl ProberConfig {
    /// The same with every number inside its range.
    pub(crate) fn clamped(mut self) -> Self {
        self.packets_per_second = self.packets_per_second.clamp(1, 1_000_000);
        self.window = self.window.clamp(1, 16);
        self.max_ttl = self.max_ttl.clamp(1, 63);
        self.gap_limit = self.gap_limit.max(1);
        self.attempts = self.attempts.clamp(1, MAX_ATTEMPTS);
        self.samples = self.samples.clamp(1, 16);
        if self.method == ProbeMethod::Icmp {
            self.destination_port = 0;
        }
        self
    }
}

/// Attempts that fit the 3 bits that the IPv4 identification has for them, counted from 1.
pub(crate) const MAX_ATTEMPTS: u8 = 7;
