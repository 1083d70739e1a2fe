//! What the forwarder counts. One thread writes, any thread reads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::network::{LinkId, Network};

/// Whose traffic a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrafficClass {
    /// To or from a client that may be redirected: the last octet of its IPv4 address is below 128, or bit 7 of the
    /// last octet of its IPv6 address is clear.
    Exec,
    /// To or from a client of the cohort that is never redirected.
    Control,
    /// Between others: DNS, the chain, agreements, images, probes of sites.
    Infrastructure,
}

impl TrafficClass {
    /// All classes, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Exec, Self::Control, Self::Infrastructure];

    const fn index(self) -> usize {
        match self {
            Self::Exec => 0,
            Self::Control => 1,
            Self::Infrastructure => 2,
        }
    }
}

/// Why a packet was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// Not an IP packet.
    Malformed,
    /// Its source address does not belong to the party that sent it.
    Spoofed,
    /// To or from a multicast, broadcast or link-local address.
    NotRouted,
    /// Nobody in the lab has its destination.
    NoRoute,
    /// A lossy link lost it.
    LinkLoss,
    /// The queue of a link of limited bandwidth was full.
    LinkQueue,
    /// The lab carries as many packets as it can.
    LabQueue,
    /// The receiving party's kernel did not take it.
    Receiver,
    /// An answer to a probe from a host that gives none.
    HostSilent,
    /// An ICMP error that its router does not send: silent, or over its ration.
    RouterSilent,
    /// Its hop limit ran out; an error may have gone back.
    HopLimit,
}

impl DropReason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::Spoofed,
        Self::NotRouted,
        Self::NoRoute,
        Self::LinkLoss,
        Self::LinkQueue,
        Self::LabQueue,
        Self::Receiver,
        Self::HostSilent,
        Self::RouterSilent,
        Self::HopLimit,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Spoofed => "spoofed",
            Self::NotRouted => "not_routed",
            Self::NoRoute => "no_route",
            Self::LinkLoss => "link_loss",
            Self::LinkQueue => "link_queue",
            Self::LabQueue => "lab_queue",
            Self::Receiver => "receiver",
            Self::HostSilent => "host_silent",
            Self::RouterSilent => "router_silent",
            Self::HopLimit => "hop_limit",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// Packets and octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Packets.
    pub packets: u64,
    /// Octets, IP headers included.
    pub octets: u64,
}

/// A counter with one writer.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, more: u64) {
        // One writer: no read-modify-write cycle on the bus is needed.
        self.0
            .store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, Default)]
struct VolumeCounter {
    packets: Counter,
    octets: Counter,
}

impl VolumeCounter {
    fn add(&self, more: Volume) {
        self.packets.add(more.packets);
        self.octets.add(more.octets);
    }

    fn get(&self) -> Volume {
        Volume {
            packets: self.packets.get(),
            octets: self.octets.get(),
        }
    }
}

/// The forwarder's counters.
#[derive(Debug)]
pub struct Statistics {
    core_links: Vec<bool>,
    links: Vec<[VolumeCounter; 3]>,
    received: VolumeCounter,
    delivered: VolumeCounter,
    errors_sent: Counter,
    drops: [Counter; DropReason::ALL.len()],
    in_flight: Counter,
    in_flight_peak: Counter,
    lateness: Histogram,
}

/// The counters at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct StatisticsSnapshot {
    /// From the parties.
    pub received: Volume,
    /// To the parties, ICMP errors of routers included.
    pub delivered: Volume,
    /// ICMP messages that routers sent.
    pub router_messages: u64,
    /// Undelivered packets by reason, [`DropReason::ALL`]'s order.
    pub drops: Vec<(DropReason, u64)>,
    /// Packets under way.
    pub in_flight: u64,
    /// Most packets under way at once.
    pub in_flight_peak: u64,
    /// How much later than due packets were handed to their receivers.
    pub lateness: Lateness,
    /// Octets times links between routers, for each class, [`TrafficClass::ALL`]'s order.
    pub core_octet_links: [u64; 3],
}

/// How much later than due packets were handed to their receivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    /// Median.
    pub p50: Duration,
    /// 99th percentile.
    pub p99: Duration,
    /// Largest.
    pub max: Duration,
}

impl Statistics {
    pub(crate) fn new(network: &Network) -> Self {
        Self {
            core_links: network
                .links()
                .iter()
                .map(crate::network::DirectedLink::is_core)
                .collect(),
            links: network.links().iter().map(|_| Default::default()).collect(),
            received: VolumeCounter::default(),
            delivered: VolumeCounter::default(),
            errors_sent: Counter::default(),
            drops: Default::default(),
            in_flight: Counter::default(),
            in_flight_peak: Counter::default(),
            lateness: Histogram::default(),
        }
    }

    pub(super) fn receive(&self, volume: Volume) {
        self.received.add(volume);
    }

    pub(super) fn deliver(&self, volume: Volume, late_by: Duration) {
        self.delivered.add(volume);
        self.lateness.record(late_by);
    }

    pub(super) fn cross(&self, link: LinkId, class: TrafficClass, volume: Volume) {
        if let Some(counters) = self.links.get(link.0 as usize) {
            counters[class.index()].add(volume);
        }
    }

    pub(super) fn drop_for(&self, reason: DropReason) {
        self.drops[reason.index()].add(1);
    }

    pub(super) fn router_message(&self) {
        self.errors_sent.add(1);
    }

    pub(super) fn set_in_flight(&self, packets: usize) {
        let packets = packets as u64;
        self.in_flight.0.store(packets, Relaxed);
        if packets > self.in_flight_peak.get() {
            self.in_flight_peak.0.store(packets, Relaxed);
        }
    }

    /// What crossed one direction of a link.
    pub fn link(&self, link: LinkId, class: TrafficClass) -> Volume {
        self.links
            .get(link.0 as usize)
            .map_or_else(Volume::default, |counters| counters[class.index()].get())
    }

    /// Packets dropped for one reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason.index()].get()
    }

    /// Forgets the lateness recorded so far: setting up a lab keeps a machine busier than running it.
    pub fn restart_lateness(&self) {
        self.lateness.clear();
    }

    /// All counters now. Packets that move meanwhile may be in one and not yet in another.
    pub fn snapshot(&self) -> StatisticsSnapshot {
        let core_octet_links = TrafficClass::ALL.map(|class| {
            self.links
                .iter()
                .zip(&self.core_links)
                .filter(|(_, is_core)| **is_core)
                .map(|(counters, _)| counters[class.index()].octets.get())
                .sum()
        });
        StatisticsSnapshot {
            received: self.received.get(),
            delivered: self.delivered.get(),
            router_messages: self.errors_sent.get(),
            drops: DropReason::ALL
                .map(|reason| (reason, self.dropped(reason)))
                .to_vec(),
            in_flight: self.in_flight.get(),
            in_flight_peak: self.in_flight_peak.get(),
            lateness: self.lateness.summary(),
            core_octet_links,
        }
    }
}

/// Buckets for each power of two.
const STEPS: usize = 16;

/// Buckets up to 2^40 ns, 18 minutes.
const BUCKETS: usize = STEPS * 38;

/// A histogram of durations whose buckets grow with them: a quantile is at most 1/16 too large.
#[derive(Debug)]
struct Histogram {
    buckets: Vec<Counter>,
    max_ns: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Counter::default()).collect(),
            max_ns: Counter::default(),
        }
    }
}

impl Histogram {
    fn record(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(ns)].add(1);
        if ns > self.max_ns.get() {
            self.max_ns.0.store(ns, Relaxed);
        }
    }

    fn clear(&self) {
        for bucket in &self.buckets {
            bucket.0.store(0, Relaxed);
        }
        self.max_ns.0.store(0, Relaxed);
    }

    fn summary(&self) -> Lateness {
        let counts: Vec<u64> = self.buckets.iter().map(Counter::get).collect();
        let total: u64 = counts.iter().sum();
        let max = self.max_ns.get();
        let quantile = |per_mille: u64| {
            let rank = (total * per_mille).div_ceil(1000).max(1);
            let mut seen = 0;
            let bucket = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            Duration::from_nanos(bucket.map_or(0, |bucket| upper_bound(bucket).min(max)))
        };
        Lateness {
            p50: quantile(500),
            p99: quantile(990),
            max: Duration::from_nanos(max),
        }
    }
}

/// Below 16 ns one bucket for each value, above 16 for each power of two.
fn bucket_of(ns: u64) -> usize {
    let Ok(small) = usize::try_from(ns) else {
        return BUCKETS - 1;
    };
    if small < STEPS {
        return small;
    }
    let power = small.ilog2() as usize;
    let step = (small >> (power - 4)) & (STEPS - 1);
    ((power - 3) * STEPS + step).min(BUCKETS - 1)
}

/// The largest value of a bucket.
const fn upper_bound(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let (power, step) = (bucket / STEPS + 3, bucket % STEPS);
    (((STEPS + step + 1) as u64) << (power - 4)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_falls_into_them() {
        for ns in [0, 1, 15, 16, 17, 31, 32, 1000, 999_999, 1 << 33] {
            let bucket = bucket_of(ns);
            assert!(ns <= upper_bound(bucket), "{ns}");
            assert!(
                bucket == 0 || ns > upper_bound(bucket - 1),
                "{ns} belongs lower"
            );
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_near_the_values() {
        let histogram = Histogram::default();
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        let Lateness { p50, p99, max } = histogram.summary();
        assert!((500..=532).contains(&p50.as_micros()), "{p50:?}");
        assert!((990..=1000).contains(&p99.as_micros()), "{p99:?}");
        assert_eq!(max, Duration::from_millis(1));
        histogram.clear();
        assert_eq!(histogram.summary(), Lateness::default());
    }
}
