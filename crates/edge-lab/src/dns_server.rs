//! The lab's authoritative name server.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use edge_types::ChainId;
use hickory_server::Server;
use hickory_server::net::NetError;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::proto::ProtoError;
use hickory_server::proto::rr::rdata::{A, AAAA, NS, PTR, SOA, SRV, TXT};
use hickory_server::proto::rr::{LowerName, Name, RData, Record};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

use crate::scenario::Scenario;
use crate::zones::{RecordData, Zone, ZoneRecord, Zones};

/// Where name servers listen (RFC 1035 section 4.2).
pub const DNS_PORT: u16 = 53;

const SERIAL: u32 = 1;

/// Seconds that resolvers may keep negative answers.
const NEGATIVE_TTL: u32 = 60;

/// An idle TCP connection is closed after this.
const TCP_IDLE: Duration = Duration::from_secs(10);

/// Responses queued for one TCP connection.
const TCP_RESPONSES: usize = 32;

/// The name server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum DnsServerError {
    /// A record has a name that DNS cannot carry.
    #[error("zone {origin:?} has the malformed name {name:?}")]
    Name {
        /// In which zone.
        origin: String,
        /// Which name.
        name: String,
        /// Why.
        #[source]
        source: ProtoError,
    },
    /// A record that is not within its zone, or contradicts another.
    #[error("zone {origin:?} does not take the record of {name:?}")]
    Record {
        /// In which zone.
        origin: String,
        /// Whose record.
        name: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A socket failed while serving.
    #[error("serving failed")]
    Serve(#[source] NetError),
}

/// A name server that listens.
pub struct DnsServer {
    server: Server<Catalog>,
    addresses: Vec<SocketAddr>,
}

impl std::fmt::Debug for DnsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DnsServer")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl DnsServer {
    /// Listens for UDP and TCP on each of `addresses`; port 0 takes a free port, the same for both. Needs a tokio
    /// runtime with IO and time.
    pub async fn bind(zones: &Zones, addresses: &[SocketAddr]) -> Result<Self, DnsServerError> {
        let mut server = Server::new(catalog(zones)?);
        let mut bound = Vec::new();
        for address in addresses {
            let error = |source| DnsServerError::Bind {
                address: *address,
                source,
            };
            let listener = TcpListener::bind(address).await.map_err(error)?;
            let address = listener.local_addr().map_err(error)?;
            let socket = UdpSocket::bind(address).await.map_err(error)?;
            server.register_socket(socket);
            server.register_listener(listener, TCP_IDLE, TCP_RESPONSES);
            bound.push(address);
        }
        Ok(Self {
            server,
            addresses: bound,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until the future is dropped or a socket fails.
    pub async fn run(mut self) -> Result<(), DnsServerError> {
        self.server
            .block_until_done()
            .await
            .map_err(DnsServerError::Serve)
    }
}

/// Serves the zones of `scenario`, without keys, on port 53 of its name server's addresses.
pub async fn serve(scenario: &Scenario) -> Result<(), DnsServerError> {
    let zones = Zones::build(scenario, ChainId(0), &BTreeMap::new());
    let addresses = scenario.dns.addresses.iter();
    let addresses: Vec<SocketAddr> = addresses
        .map(|address| SocketAddr::new(*address, DNS_PORT))
        .collect();
    DnsServer::bind(&zones, &addresses).await?.run().await
}

fn catalog(zones: &Zones) -> Result<Catalog, DnsServerError> {
    let mut catalog = Catalog::new();
    for zone in &zones.zones {
        let origin = name(zone, &zone.origin)?;
        let handler = handler(zone, &origin)?;
        catalog.upsert(LowerName::new(&origin), vec![Arc::new(handler)]);
    }
    Ok(catalog)
}

fn handler(
    zone: &Zone,
    origin: &Name,
) -> Result<InMemoryZoneHandler<TokioRuntimeProvider>, DnsServerError> {
    let mut handler =
        InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny);
    let soa = SOA::new(
        name(zone, "ns.lab-dns.example")?,
        name(zone, "hostmaster.lab-dns.example")?,
        SERIAL,
        3600,
        600,
        86_400,
        NEGATIVE_TTL,
    );
    handler.upsert_mut(
        Record::from_rdata(origin.clone(), NEGATIVE_TTL, RData::SOA(soa)),
        SERIAL,
    );
    for record in &zone.records {
        let owner = name(zone, &record.name)?;
        let data = data(zone, record)?;
        let refused = || DnsServerError::Record {
            origin: zone.origin.clone(),
            name: record.name.clone(),
        };
        if !origin.zone_of(&owner) {
            return Err(refused());
        }
        handler.upsert_mut(Record::from_rdata(owner, record.ttl, data), SERIAL);
    }
    Ok(handler)
}

fn data(zone: &Zone, record: &ZoneRecord) -> Result<RData, DnsServerError> {
    Ok(match &record.data {
        RecordData::Address(IpAddr::V4(v4)) => RData::A(A(*v4)),
        RecordData::Address(IpAddr::V6(v6)) => RData::AAAA(AAAA(*v6)),
        RecordData::Ptr(target) => RData::PTR(PTR(name(zone, target)?)),
        RecordData::Ns(target) => RData::NS(NS(name(zone, target)?)),
        RecordData::Srv {
            priority,
            weight,
            port,
            target,
        } => RData::SRV(SRV::new(*priority, *weight, *port, name(zone, target)?)),
        RecordData::Txt(strings) => RData::TXT(TXT::new(strings.clone())),
    })
}

fn name(zone: &Zone, text: &str) -> Result<Name, DnsServerError> {
    let mut name = Name::from_ascii(text).map_err(|source| DnsServerError::Name {
        origin: zone.origin.clone(),
        name: text.to_owned(),
        source,
    })?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
mod tests;
