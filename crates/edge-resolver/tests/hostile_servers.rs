//! The resolver against servers that are dead, slow, forged or wrong. All on loopback ports of this test.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use edge_discovery::{Absence, Answer, NoAnswer, Question, RecordData, RecordKind, Security};
use edge_ports::NameLookup;
use edge_resolver::{Mode, Resolver, ResolverConfig};
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS};
use hickory_proto::rr::{Name, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

const SHORT: Duration = Duration::from_millis(30);
const AMPLE: Duration = Duration::from_secs(10);

fn question() -> Question {
    Question::new("host.isp.example".parse().unwrap(), RecordKind::A)
}

fn config(servers: Vec<SocketAddr>, first_timeout: Duration) -> ResolverConfig {
    ResolverConfig {
        first_timeout,
        ..ResolverConfig::new(servers)
    }
}

async fn ask(config: ResolverConfig) -> Answer {
    Resolver::new(config).unwrap().lookup(&question()).await
}

/// An answer to a query: an address for the name asked for.
fn answer_to(query: &Message) -> Message {
    let name = query.queries[0].name().clone();
    let mut answer = query.clone().into_response();
    answer.add_answer(Record::from_rdata(name, 60, RData::A(A::new(240, 0, 0, 1))));
    answer
}

fn the_address() -> Answer {
    Answer::Records {
        records: vec![RecordData::Address("240.0.0.1".parse().unwrap())],
        ttl_seconds: 60,
        security: Security::Indeterminate,
    }
}

/// Serves UDP by a function from query and its number to the messages sent back. Not at the address that connections
/// come from, so that none of theirs holds the port when TCP is served there too.
async fn serve_udp(
    mut respond: impl FnMut(&Message, usize) -> Vec<Message> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        let mut number = 0;
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            for message in respond(&query, number) {
                socket
                    .send_to(&message.to_vec().unwrap(), from)
                    .await
                    .unwrap();
            }
            number += 1;
        }
    });
    address
}

/// Serves TCP at the address by a function from query to the octets sent back, length included.
async fn serve_tcp(address: SocketAddr, respond: impl Fn(&Message) -> Vec<u8> + Send + 'static) {
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut octets = vec![0; length.into()];
            stream.read_exact(&mut octets).await.unwrap();
            let query = Message::from_vec(&octets).unwrap();
            stream.write_all(&respond(&query)).await.unwrap();
        }
    });
}

fn framed(message: &Message) -> Vec<u8> {
    let octets = message.to_vec().unwrap();
    let mut framed = u16::try_from(octets.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(octets);
    framed
}

#[tokio::test]
async fn a_dead_server_times_out_after_all_attempts() {
    let server = serve_udp(|_, _| vec![]).await;
    match ask(config(vec![server], SHORT)).await {
        Answer::Unanswered(NoAnswer::TimedOut { after }) => {
            assert!(after >= 7 * SHORT, "30, 60 and 120 ms, not {after:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_closed_port_is_unreachable_at_once() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let closed = socket.local_addr().unwrap();
    drop(socket);
    let answer = tokio::time::timeout(AMPLE / 2, ask(config(vec![closed], AMPLE))).await;
    assert_eq!(answer, Ok(Answer::Unanswered(NoAnswer::Unreachable)));
}

#[tokio::test]
async fn a_lost_packet_is_sent_again_from_another_port() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut buffer = [0; 2048];
        let (length, first) = socket.recv_from(&mut buffer).await.unwrap();
        let first_id = Message::from_vec(&buffer[..length]).unwrap().metadata.id;
        let (length, second) = socket.recv_from(&mut buffer).await.unwrap();
        let query = Message::from_vec(&buffer[..length]).unwrap();
        let octets = answer_to(&query).to_vec().unwrap();
        socket.send_to(&octets, second).await.unwrap();
        ((first.port(), first_id), (second.port(), query.metadata.id))
    });
    assert_eq!(
        ask(config(vec![server], Duration::from_millis(200))).await,
        the_address()
    );
    let (first, second) = serving.await.unwrap();
    assert_ne!(first.0, second.0);
    assert_ne!(first, second);
}

#[tokio::test]
async fn the_next_server_is_asked_and_kept() {
    let asked_dead = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked_dead);
    let dead = serve_udp(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        vec![]
    })
    .await;
    let live = serve_udp(|query, _| vec![answer_to(query)]).await;
    let resolver = Resolver::new(config(vec![dead, live], Duration::from_millis(200))).unwrap();
    for _ in 0..5 {
        assert_eq!(resolver.lookup(&question()).await, the_address());
    }
    assert_eq!(asked_dead.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_refusal_is_neither_none_nor_silence() {
    let server = serve_udp(|query, _| {
        let mut answer = query.clone().into_response();
        answer.metadata.response_code = ResponseCode::ServFail;
        vec![answer]
    })
    .await;
    assert_eq!(
        ask(config(vec![server], AMPLE)).await,
        Answer::Unanswered(NoAnswer::Failed { response_code: 2 })
    );
}

#[tokio::test]
async fn forged_datagrams_do_not_count() {
    let server = serve_udp(|query, _| {
        let mut other_id = answer_to(query);
        other_id.metadata.id ^= 1;
        other_id.answers[0].data = RData::A(A::new(240, 6, 6, 6));
        let mut a_query = answer_to(query);
        a_query.metadata.message_type = MessageType::Query;
        a_query.answers[0].data = RData::A(A::new(240, 6, 6, 6));
        vec![other_id, a_query, answer_to(query)]
    })
    .await;
    assert_eq!(ask(config(vec![server], AMPLE)).await, the_address());
}

/// Answers over UDP with a forged address, in `forge`'s way, and over TCP with the true one.
async fn check_tcp_decides(forge: fn(&mut Message)) {
    let server = serve_udp(move |query, _| {
        let mut forged = answer_to(query);
        forged.answers[0].data = RData::A(A::new(240, 6, 6, 6));
        forge(&mut forged);
        vec![forged]
    })
    .await;
    serve_tcp(server, |query| framed(&answer_to(query))).await;
    assert_eq!(ask(config(vec![server], AMPLE)).await, the_address());
}

#[tokio::test]
async fn tcp_decides_what_udp_leaves_in_doubt() {
    // truncated
    check_tcp_decides(|forged| forged.metadata.truncation = true).await;
    // another name
    check_tcp_decides(|forged| {
        forged.queries[0].set_name(Name::from_ascii("other.isp.example.").unwrap());
    })
    .await;
    // the name in another case than asked
    check_tcp_decides(|forged| {
        let name = forged.queries[0].name().to_lowercase();
        let shouted = Name::from_ascii(name.to_ascii().to_uppercase()).unwrap();
        let differs = if forged.queries[0].name().eq_case(&name) {
            shouted
        } else {
            name
        };
        forged.queries[0].set_name(differs);
    })
    .await;
    // no question at all
    check_tcp_decides(|forged| forged.queries.clear()).await;
}

#[tokio::test]
async fn a_broken_tcp_answer_is_malformed() {
    for garbage in [vec![0, 3, 1, 2, 3], vec![0, 200, 1, 2, 3]] {
        let server = serve_udp(|query, _| {
            let mut answer = answer_to(query);
            answer.metadata.truncation = true;
            vec![answer]
        })
        .await;
        serve_tcp(server, move |_| garbage.clone()).await;
        let answer = ask(config(vec![server], AMPLE)).await;
        assert!(
            matches!(answer, Answer::Unanswered(NoAnswer::Malformed { .. })),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn the_ad_bit_counts_only_if_believed() {
    let server = serve_udp(|query, _| {
        let mut answer = answer_to(query);
        answer.metadata.authentic_data = true;
        vec![answer]
    })
    .await;
    for (trusts_authentic_data, want) in
        [(false, Security::Indeterminate), (true, Security::Secure)]
    {
        let answer = ask(ResolverConfig {
            mode: Mode::Recursive {
                trusts_authentic_data,
            },
            ..config(vec![server], AMPLE)
        })
        .await;
        let Answer::Records { security, .. } = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(security, want);
    }
}

#[tokio::test]
async fn aliases_are_asked_for_and_bounded() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = serve_udp(move |query, _| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let mut answer = query.clone().into_response();
        answer.add_answer(Record::from_rdata(
            query.queries[0].name().clone(),
            60,
            RData::CNAME(CNAME(
                Name::from_ascii(format!("alias{number}.isp.example.")).unwrap(),
            )),
        ));
        vec![answer]
    })
    .await;
    let answer = ask(config(vec![server], AMPLE)).await;
    assert!(
        matches!(answer, Answer::Unanswered(NoAnswer::Malformed { .. })),
        "{answer:?}"
    );
    assert_eq!(asked.load(Ordering::Relaxed), 9);
}

#[tokio::test]
async fn a_referral_is_no_answer_and_emptiness_without_soa_is() {
    let server = serve_udp(|query, number| {
        let mut answer = query.clone().into_response();
        if number == 0 {
            let name = Name::from_ascii("ns.isp.example.").unwrap();
            let zone = Name::from_ascii("isp.example.").unwrap();
            answer.add_authority(Record::from_rdata(zone, 60, RData::NS(NS(name))));
        }
        vec![answer]
    })
    .await;
    let resolver = Resolver::new(config(vec![server], AMPLE)).unwrap();
    let answer = resolver.lookup(&question()).await;
    assert!(
        matches!(answer, Answer::Unanswered(NoAnswer::Malformed { .. })),
        "{answer:?}"
    );
    assert_eq!(
        resolver.lookup(&question()).await,
        Answer::Absent {
            absence: Absence::NoData,
            soa: None,
            security: Security::Indeterminate
        }
    );
}

#[tokio::test]
async fn questions_under_way_are_bounded() {
    const AT_A_TIME: usize = 4;
    // Answers only once `AT_A_TIME` queries wait, and notes the ports seen before that.
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    let resolver = Arc::new(
        Resolver::new(ResolverConfig {
            max_in_flight_per_server: AT_A_TIME,
            ..config(vec![server], AMPLE)
        })
        .unwrap(),
    );
    let lookups: Vec<_> = (0..5 * AT_A_TIME)
        .map(|_| {
            let resolver = Arc::clone(&resolver);
            tokio::spawn(async move { resolver.lookup(&question()).await })
        })
        .collect();
    let mut buffer = [0; 2048];
    for round in 0..5 {
        let mut waiting = Vec::new();
        while waiting.len() < AT_A_TIME {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            waiting.push((Message::from_vec(&buffer[..length]).unwrap(), from));
        }
        let extra = tokio::time::timeout(SHORT, socket.recv_from(&mut buffer)).await;
        assert!(extra.is_err(), "more than {AT_A_TIME} at a time");
        let ports: BTreeSet<u16> = waiting.iter().map(|(_, from)| from.port()).collect();
        // 16 are open before one is used again.
        if round < 4 {
            assert_eq!(ports.len(), AT_A_TIME, "a port each");
        }
        for (query, from) in waiting {
            let octets = answer_to(&query).to_vec().unwrap();
            socket.send_to(&octets, from).await.unwrap();
        }
    }
    for lookup in lookups {
        assert_eq!(lookup.await.unwrap(), the_address());
    }
}
