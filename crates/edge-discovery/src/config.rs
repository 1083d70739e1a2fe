//! What discovery is allowed to do.

use std::time::Duration;

use edge_types::{AddressPolicy, DnsName, DnsNameError};

/// Everything that discovery is told from outside.
#[derive(Clone, Debug)]
pub struct DiscoveryConfig {
    pub(crate) service: DnsName,
    pub(crate) controls: [DnsName; 3],
    pub(crate) policy: AddressPolicy,
    pub(crate) limits: Limits,
    pub(crate) asks_owners: bool,
}

/// Is it two labels that begin with an underscore, as the names of services do (RFC 2782)?
pub fn is_service(name: &DnsName) -> bool {
    name.labels().count() == 2 && name.labels().all(|label| label.starts_with('_'))
}

impl DiscoveryConfig {
    /// The service name of the paper's Listing 1.
    pub const SERVICE: &str = "_edge._tcp";

    /// Looks for `service` (usually [`DiscoveryConfig::SERVICE`]); contacts and reports only addresses that `policy`
    /// allows.
    ///
    /// `token` is a label that nobody has records for, 1 to 61 letters and digits drawn at random by the caller. It takes
    /// the place of the first label of `service`, alone and with a digit, in the questions that tell wildcards from real
    /// records.
    ///
    /// # Errors
    /// `service` or `token` is no part of a DNS name.
    pub fn new(
        service: &str,
        token: &str,
        policy: AddressPolicy,
        limits: Limits,
    ) -> Result<Self, DnsNameError> {
        let service: DnsName = service.parse()?;
        let protocol = service.parent();
        let control = |digit: &str| {
            let label = format!("_{token}{digit}");
            match &protocol {
                Some(protocol) => protocol.with_prefix(&label),
                None => label.parse(),
            }
        };
        let controls = [control("")?, control("2")?, control("3")?];
        Ok(Self {
            service,
            controls,
            policy,
            limits,
            asks_owners: false,
        })
    }

    /// Where no name of an address leads to a zone, its holder is asked for too: the caller has to fetch
    /// `Discovery::poll_owner` as well.
    #[must_use]
    pub fn asking_owners(self) -> Self {
        Self {
            asks_owners: true,
            ..self
        }
    }
}

/// Bounds on what strangers' answers can make us do. The defaults suit one orchestrator with some thousand routers in
/// its topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time from the start of a run, or from the last new address in it, after which no question is asked. Longer finds
    /// more behind slow servers.
    pub run_time: Duration,
    /// Questions per run, all zones together.
    pub questions_per_run: usize,
    /// Hop addresses known at a time; further ones are counted and ignored.
    pub addresses: usize,
    /// Paths remembered per hop address.
    pub sightings_per_address: usize,
    /// Names taken from the PTR records of one address.
    pub names_per_address: usize,
    /// Candidate zones per name, those nearest to the registrable domain.
    pub zones_per_name: usize,
    /// SRV records taken from one zone, in order of priority.
    pub targets_per_zone: usize,
    /// Addresses of each family kept of one name; a router may have one for each link.
    pub addresses_per_name: usize,
    /// Addresses of each family taken from one SRV target.
    pub addresses_per_target: usize,
    /// TXT records read at one name.
    pub texts_per_name: usize,
    /// Instances of the service taken from one zone.
    pub instances_per_zone: usize,
    /// TLSA records read at one name.
    pub pins_per_target: usize,
    /// Routers of one zone whose names are checked to lead back to them.
    pub routers_confirmed_per_zone: usize,
    /// Questions for holders of addresses per run.
    pub owners_per_run: usize,
    /// Shortest and longest time for which records are kept, whatever their TTL says.
    pub record_lifetime: (Duration, Duration),
    /// The same for "there is none"; without SOA record the shortest (RFC 2308 section 5 advises 1 to 3 hours at most).
    pub absence_lifetime: (Duration, Duration),
    /// A question without answer is not repeated before this time (RFC 2308 section 7: at most 5 minutes).
    pub retry_after: Duration,
    /// A hop address that was not seen for this long is forgotten, with all that only it led to.
    pub retention: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            run_time: Duration::from_secs(4),
            questions_per_run: 20_000,
            addresses: 20_000,
            sightings_per_address: 1024,
            names_per_address: 4,
            zones_per_name: 6,
            targets_per_zone: 64,
            addresses_per_name: 64,
            addresses_per_target: 4,
            texts_per_name: 8,
            instances_per_zone: 16,
            pins_per_target: 8,
            routers_confirmed_per_zone: 4,
            owners_per_run: 64,
            record_lifetime: (Duration::from_secs(30), Duration::from_hours(24)),
            absence_lifetime: (Duration::from_secs(30), Duration::from_hours(3)),
            retry_after: Duration::from_secs(15),
            retention: Duration::from_hours(1),
        }
    }
}
