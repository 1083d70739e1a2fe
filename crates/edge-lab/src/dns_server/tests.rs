use std::net::Ipv4Addr;

use hickory_server::proto::op::{Message, Query, ResponseCode};
use hickory_server::proto::rr::RecordType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

async fn start(zones: &Zones) -> SocketAddr {
    let server = DnsServer::bind(zones, &[(Ipv4Addr::LOCALHOST, 0).into()])
        .await
        .unwrap();
    let address = server.addresses()[0];
    tokio::spawn(server.run());
    address
}

fn two_continents() -> Zones {
    let text = include_str!("../../../../scenarios/two-continents.toml");
    let scenario = Scenario::parse("two-continents.toml", text).unwrap();
    Zones::build(&scenario, ChainId(0), &BTreeMap::new())
}

fn query(name: &str, record_type: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    message.to_vec().unwrap()
}

async fn over_udp(server: SocketAddr, name: &str, record_type: RecordType) -> Message {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket
        .send_to(&query(name, record_type), server)
        .await
        .unwrap();
    let mut buffer = [0; 4096];
    let wait = Duration::from_secs(5);
    let length = tokio::time::timeout(wait, socket.recv(&mut buffer))
        .await
        .expect("an answer in time")
        .unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn over_tcp(server: SocketAddr, name: &str, record_type: RecordType) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let query = query(name, record_type);
    stream
        .write_u16(u16::try_from(query.len()).unwrap())
        .await
        .unwrap();
    stream.write_all(&query).await.unwrap();
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn data(message: &Message) -> Vec<String> {
    let mut data: Vec<String> = message
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    data.sort();
    data
}

#[tokio::test]
async fn answers_what_the_zones_hold() {
    let server = start(&two_continents()).await;
    for (name, record_type, expected) in [
        (
            "1.9.1.240.in-addr.arpa.",
            RecordType::PTR,
            vec!["core1.fra.nordlink.example."],
        ),
        (
            "77.2.16.240.in-addr.arpa.",
            RecordType::PTR,
            vec!["customer.home.nordlink.example."],
        ),
        (
            "_EDGE._tcp.NordLink.example.",
            RecordType::SRV,
            vec![
                "10 10 80 edge1.nordlink.example.",
                "20 10 80 edge2.nordlink.example.",
            ],
        ),
        ("edge2.nordlink.example.", RecordType::A, vec!["240.32.2.1"]),
        (
            "edge2.nordlink.example.",
            RecordType::AAAA,
            vec!["3fff:32:2::1"],
        ),
        ("app.cloud.example.", RecordType::A, vec!["240.0.0.10"]),
    ] {
        let message = over_udp(server, name, record_type).await;
        assert_eq!(message.metadata.response_code, ResponseCode::NoError);
        assert!(message.metadata.authoritative);
        assert_eq!(data(&message), expected, "{name}");
        assert_eq!(
            data(&over_tcp(server, name, record_type).await),
            expected,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_no_carries_the_zones_soa() {
    let server = start(&two_continents()).await;
    for (name, record_type, code, zone) in [
        (
            "1.3.1.240.in-addr.arpa.",
            RecordType::PTR,
            ResponseCode::NXDomain,
            "in-addr.arpa.",
        ),
        (
            "_edge._tcp.seacable.example.",
            RecordType::SRV,
            ResponseCode::NXDomain,
            "seacable.example.",
        ),
        (
            "edge1.nordlink.example.",
            RecordType::TXT,
            ResponseCode::NoError,
            "nordlink.example.",
        ),
        ("nobody.test.", RecordType::A, ResponseCode::NXDomain, "."),
    ] {
        let message = over_udp(server, name, record_type).await;
        assert_eq!(message.metadata.response_code, code, "{name}");
        assert_eq!(data(&message), Vec::<String>::new());
        let soa: Vec<String> = message
            .authorities
            .iter()
            .filter(|record| record.record_type() == RecordType::SOA)
            .map(|record| record.name.to_string())
            .collect();
        assert_eq!(soa, [zone], "{name}");
    }
}

#[tokio::test]
async fn what_does_not_fit_into_a_datagram_comes_over_tcp() {
    let targets = 0..40u16;
    let records = targets.map(|i| ZoneRecord {
        name: "_edge._tcp.big.example".to_owned(),
        ttl: 60,
        data: RecordData::Srv {
            priority: i,
            weight: 0,
            port: 80,
            target: format!("edge{i}.big.example"),
        },
    });
    let zones = Zones {
        zones: vec![Zone {
            origin: "big.example".to_owned(),
            records: records.collect(),
        }],
    };
    let server = start(&zones).await;
    let name = "_edge._tcp.big.example.";
    assert!(
        over_udp(server, name, RecordType::SRV)
            .await
            .metadata
            .truncation
    );
    let whole = over_tcp(server, name, RecordType::SRV).await;
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 40);
}

#[tokio::test]
async fn records_outside_their_zone_are_refused() {
    let zones = Zones {
        zones: vec![Zone {
            origin: "a.example".to_owned(),
            records: vec![ZoneRecord {
                name: "b.example".to_owned(),
                ttl: 1,
                data: RecordData::Txt(vec!["x".to_owned()]),
            }],
        }],
    };
    let error = DnsServer::bind(&zones, &[]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "zone \"a.example\" does not take the record of \"b.example\""
    );
}
