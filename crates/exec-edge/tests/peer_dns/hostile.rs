//! A name server that does what no real one can be made to do, and what discovery has to make of it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use edge_lab::lab::Lab;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::place::Host;
use crate::zones::Case;

/// Between two octets of a TCP answer that never ends.
const DRIBBLE: Duration = Duration::from_millis(400);

/// Its zones.
pub(crate) fn cases() -> Vec<Case> {
    let case = |name, outcome: &[&str]| Case::new(name, "").gives(outcome.iter().copied());
    let unanswered = |name| case(name, &["@@ unanswered"]);
    vec![
        case("honest", &["site.@@:8080 candidate 240.99.5.1"]),
        case("rotate", &[]),
        case("foreign", &["@@ none"]),
        case("liar", &["@@ none"]),
        case("rebind", &["site.@@:8080 candidate 240.99.5.2"]),
        case("flood", &[]),
        case("names", &[]),
        unanswered("silent"),
        unanswered("wrongid"),
        unanswered("wrongname"),
        unanswered("endless"),
        unanswered("dribble"),
        unanswered("cut"),
        unanswered("garbage"),
    ]
}

/// What it does about one query.
enum Reaction {
    /// Sends this.
    Send(Vec<u8>),
    /// Nothing.
    Silence,
    /// Cuts the answer short; over TCP sends its length and then an octet at a time.
    Dribble,
    /// Cuts the answer short; over TCP hangs up.
    HangUp,
}

/// The server; it serves as long as the process lives.
#[derive(Debug, Default)]
pub(crate) struct Hostile {
    queries: AtomicU32,
    /// Name the loopback where a public address was named before.
    pub(crate) has_turned: AtomicBool,
}

impl Hostile {
    /// Serves in its party's namespace.
    pub(crate) fn start(lab: &Lab) -> Arc<Self> {
        let address = (Host::Hostile.address(), 53);
        let open = || {
            (
                UdpSocket::bind(address).unwrap(),
                TcpListener::bind(address).unwrap(),
            )
        };
        let (udp, tcp) = Host::Hostile.party(lab).run(open).unwrap();
        let server = Arc::new(Self::default());
        let own = Arc::clone(&server);
        std::thread::spawn(move || own.serve_udp(&udp));
        let own = Arc::clone(&server);
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let own = Arc::clone(&own);
                std::thread::spawn(move || own.serve_tcp(stream));
            }
        });
        server
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let mut octets = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut octets) {
            let Ok(query) = Message::from_vec(&octets[..length]) else {
                continue;
            };
            let cut = || {
                let mut answer = query.clone().into_response();
                answer.metadata.truncation = true;
                answer.to_vec().unwrap()
            };
            let answer = match self.react(&query) {
                Reaction::Send(answer) if answer.len() > 1232 => cut(),
                Reaction::Send(answer) => answer,
                Reaction::Silence => continue,
                Reaction::Dribble | Reaction::HangUp => cut(),
            };
            let _ = socket.send_to(&answer, from);
        }
    }

    fn serve_tcp(&self, mut stream: TcpStream) {
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut octets = vec![0; u16::from_be_bytes(length).into()];
            let Ok(()) = stream.read_exact(&mut octets) else {
                return;
            };
            let Ok(query) = Message::from_vec(&octets) else {
                return;
            };
            match self.react(&query) {
                Reaction::Send(answer) => {
                    let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                    let _ = stream.write_all(&[&length, answer.as_slice()].concat());
                }
                Reaction::Silence => std::thread::sleep(Duration::from_secs(60)),
                Reaction::HangUp => return,
                Reaction::Dribble => {
                    let mut all = [0xff, 0xff].into_iter().chain(std::iter::repeat(0));
                    while stream.write_all(&[all.next().unwrap()]).is_ok() {
                        std::thread::sleep(DRIBBLE);
                    }
                }
            }
        }
    }

    fn react(&self, query: &Message) -> Reaction {
        let number = self.queries.fetch_add(1, Relaxed);
        let Some(asked) = query.queries.first() else {
            return Reaction::Silence;
        };
        let kind = asked.query_type();
        let name = asked.name().to_ascii().to_lowercase();
        let name = name.trim_end_matches('.');
        if let Some(below) = name.strip_suffix("15.240.in-addr.arpa") {
            return reverse(query, below.trim_end_matches('.'), kind);
        }
        let Some(below) = name.strip_suffix("-hostile.example") else {
            return answer(query, ResponseCode::Refused, "", &[]);
        };
        let (prefix, case) = below.rsplit_once('.').unwrap_or(("", below));
        let apex = format!("{case}-hostile.example");
        let is_service = prefix == "_edge._tcp" && kind == RecordType::SRV;
        let say = |lines: &[(String, RecordType, String)]| {
            answer(query, ResponseCode::NoError, &apex, lines)
        };
        let site = || {
            vec![(
                name.to_owned(),
                RecordType::SRV,
                format!("10 10 8080 site.{apex}."),
            )]
        };
        match case {
            "rotate" if prefix.ends_with("_tcp") && kind == RecordType::SRV => {
                let lines: Vec<_> = (number * 3..number * 3 + 4)
                    .map(|n| (name.to_owned(), kind, format!("0 0 80 t{}.{apex}.", n % 8)))
                    .collect();
                say(&lines)
            }
            "silent" if is_service => Reaction::Silence,
            "dribble" if is_service => Reaction::Dribble,
            "cut" if is_service => Reaction::HangUp,
            "garbage" if is_service => {
                let mut octets = query.to_vec().unwrap();
                octets[2] |= 0x80;
                octets[6..8].fill(0xff);
                octets.extend([0xc0, 0x0c].repeat(40));
                Reaction::Send(octets)
            }
            "wrongid" if is_service => {
                let mut other = query.clone();
                other.metadata.id ^= 1;
                answer(&other, ResponseCode::NoError, &apex, &site())
            }
            "wrongname" if is_service => {
                let mut other = query.clone();
                let wrong = Name::from_ascii("_edge._tcp.honest-hostile.example.").unwrap();
                other.queries = vec![Query::query(wrong, kind)];
                answer(&other, ResponseCode::NoError, &apex, &site())
            }
            "foreign" if is_service => {
                let owner = "_edge._tcp.honest-hostile.example";
                say(&[(owner.to_owned(), kind, format!("0 0 80 site.{apex}."))])
            }
            "endless" if is_service || prefix.starts_with('e') => {
                let next = format!("e{number}.{apex}.");
                say(&[(name.to_owned(), RecordType::CNAME, next)])
            }
            "liar" if is_service => {
                answer(query, ResponseCode::NXDomain, "honest-hostile.example", &[])
            }
            "flood" if is_service => {
                let lines: Vec<_> = (0..1000)
                    .map(|n| (name.to_owned(), kind, format!("0 0 80 t{n}.{apex}.")))
                    .collect();
                say(&lines)
            }
            "flood" if prefix.starts_with('t') && kind == RecordType::A => {
                let lines: Vec<_> = (0..100)
                    .map(|n| (name.to_owned(), kind, format!("10.0.0.{n}")))
                    .collect();
                say(&lines)
            }
            "honest" | "rebind" if is_service => say(&site()),
            _ if prefix == "site" && kind == RecordType::A => {
                let address = match case {
                    "rebind" if self.has_turned.load(Relaxed) => "127.0.0.1",
                    "rebind" => "240.99.5.2",
                    _ => "240.99.5.1",
                };
                say(&[(name.to_owned(), kind, address.to_owned())])
            }
            _ if prefix.is_empty() && kind == RecordType::NS => {
                say(&[(name.to_owned(), kind, "ns-hostile.example.".to_owned())])
            }
            _ if ["", "_tcp", "site"].contains(&prefix) => say(&[]),
            _ => answer(query, ResponseCode::NXDomain, &apex, &[]),
        }
    }
}

/// The names of its routers.
fn reverse(query: &Message, below: &str, kind: RecordType) -> Reaction {
    let apex = "15.240.in-addr.arpa";
    if below.is_empty() && kind == RecordType::NS {
        // Who validates finds by it where the zone begins.
        let line = (apex.to_owned(), kind, "ns-hostile.example.".to_owned());
        return answer(query, ResponseCode::NoError, apex, &[line]);
    }
    let case = below
        .split_once('.')
        .and_then(|(router, case)| (router == "1").then(|| case.parse::<usize>().ok())?)
        .and_then(|case| cases().get(case).map(|case| case.apex(Host::Hostile)));
    let (Some(zone), RecordType::PTR) = (case, kind) else {
        return answer(query, ResponseCode::NoError, apex, &[]);
    };
    let names = if zone.starts_with("names") { 300 } else { 1 };
    let owner = format!("{below}.{apex}");
    let lines: Vec<_> = (0..names)
        .map(|n| {
            let host = if names > 1 {
                format!("r1.z{n}.{zone}.")
            } else {
                format!("r1.{zone}.")
            };
            (owner.clone(), kind, host)
        })
        .collect();
    answer(query, ResponseCode::NoError, apex, &lines)
}

/// An answer; without records a negative one in the name of the zone `apex`.
fn answer(
    query: &Message,
    code: ResponseCode,
    apex: &str,
    lines: &[(String, RecordType, String)],
) -> Reaction {
    let record = |owner: &str, kind, data: &str| {
        let owner = Name::from_ascii(format!("{owner}.")).unwrap();
        Record::from_rdata(owner, 60, RData::try_from_str(kind, data).unwrap())
    };
    let mut message = query.clone().into_response();
    message.metadata.authoritative = true;
    message.metadata.response_code = code;
    for (owner, kind, data) in lines {
        message.answers.push(record(owner, *kind, data));
    }
    if lines.is_empty() && !apex.is_empty() {
        let soa = "ns-hostile.example. hostmaster.example. 1 3600 600 86400 60";
        message.authorities.push(record(apex, RecordType::SOA, soa));
    }
    Reaction::Send(message.to_vec().unwrap())
}
