//! An authoritative name server in the test's process, for zones in the text form of RFC 1035.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::Name;
use hickory_proto::serialize::txt::Parser;
use hickory_server::Server;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

/// What every zone needs at its apex.
pub(crate) const APEX: &str = "@ 600 IN SOA ns.lab-dns.example. hostmaster.lab-dns.example. 1 3600 600 86400 60\n@ 600 IN NS ns.lab-dns.example.\n";

/// A server of its own thread; ends with the test's process.
pub(crate) struct ZoneServer {
    pub(crate) address: SocketAddr,
}

impl ZoneServer {
    /// Serves zones, given by apex and the text of their records without SOA and NS.
    pub(crate) fn start(zones: &[(&str, &str)]) -> Self {
        let zones: Vec<(String, String)> = zones
            .iter()
            .map(|(apex, text)| ((*apex).to_owned(), format!("{APEX}{text}")))
            .collect();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let executor = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            executor.block_on(async move {
                let mut catalog = Catalog::new();
                for (apex, text) in zones {
                    let origin = Name::from_ascii(format!("{apex}.")).unwrap();
                    let (origin, records) = Parser::new(text, None, Some(origin)).parse().unwrap();
                    let zone: InMemoryZoneHandler = InMemoryZoneHandler::new(
                        origin.clone(),
                        records,
                        ZoneType::Primary,
                        AxfrPolicy::Deny,
                    )
                    .unwrap();
                    catalog.upsert(origin.into(), vec![Arc::new(zone)]);
                }
                // Another socket may have one of the two ports.
                let (address, tcp, udp) = loop {
                    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    let address = tcp.local_addr().unwrap();
                    if let Ok(udp) = UdpSocket::bind(address).await {
                        break (address, tcp, udp);
                    }
                };
                let mut server = Server::new(catalog);
                server.register_socket(udp);
                server.register_listener(tcp, Duration::from_secs(5), 4096);
                tell.send(address).unwrap();
                server.block_until_done().await.unwrap();
            });
        });
        Self {
            address: told.recv().unwrap(),
        }
    }
}
