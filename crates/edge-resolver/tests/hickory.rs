//! The resolver against `hickory-server` in this process.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::Name;
use hickory_proto::serialize::txt::Parser;
use hickory_server::Server;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

#[tokio::test]
async fn hickory_server_answers_as_expected() {
    let mut catalog = Catalog::new();
    for (apex, text) in support::zones('-') {
        let origin = Name::from_ascii(format!("{apex}.")).unwrap();
        let (origin, records) = Parser::new(text, None, Some(origin)).parse().unwrap();
        let zone: InMemoryZoneHandler =
            InMemoryZoneHandler::new(origin.clone(), records, ZoneType::Primary, AxfrPolicy::Deny)
                .unwrap();
        catalog.upsert(origin.into(), vec![Arc::new(zone)]);
    }
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    let mut server = Server::new(catalog);
    server.register_socket(udp);
    server.register_listener(tcp, Duration::from_secs(5), 4096);

    support::check_server(address).await;
    server.shutdown_gracefully().await.unwrap();
}
