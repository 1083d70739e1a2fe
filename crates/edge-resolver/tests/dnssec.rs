//! What is proven, what is proven to be unsigned, and what is a lie. Zones are signed by BIND's tools and served by BIND.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edge_discovery::{Absence, Answer, NoAnswer, Question, RecordKind, Security};
use edge_ports::NameLookup;
use edge_resolver::{Mode, Resolver, ResolverConfig, TrustAnchor};
use edge_types::AddressPolicy;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tempfile::TempDir;
use tokio::net::UdpSocket;

/// A key that signs nothing here.
const ANCHOR: &str = ". 3600 IN DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==";

fn anchor() -> TrustAnchor {
    ANCHOR.parse().unwrap()
}

async fn ask(resolver: &Resolver, owner: &str, kind: RecordKind) -> Answer {
    let question = Question::new(owner.parse().unwrap(), kind);
    resolver.lookup(&question).await
}

/// A recursive server that answers every question but one type with an unsigned address.
async fn unsigned_server(silent_about: Option<RecordType>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let kind = query.queries[0].query_type();
            if Some(kind) == silent_about {
                continue;
            }
            let name = query.queries[0].name().clone();
            let mut answer = query.into_response();
            // Claims to have been proven, which nobody should believe who proves himself.
            answer.metadata.authentic_data = true;
            if kind == RecordType::A {
                let address = RData::A(A::new(240, 0, 0, 1));
                answer.add_answer(Record::from_rdata(name, 60, address));
            } else {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            socket
                .send_to(&answer.to_vec().unwrap(), from)
                .await
                .unwrap();
        }
    });
    address
}

#[tokio::test]
async fn an_unsigned_answer_where_the_root_is_signed_is_bogus() {
    let server = unsigned_server(None).await;
    let resolver = Resolver::new(ResolverConfig {
        trust_anchor: Some(anchor()),
        mode: Mode::Recursive {
            trusts_authentic_data: true,
        },
        ..ResolverConfig::new(vec![server])
    })
    .unwrap();
    let answer = ask(&resolver, "host.isp.example", RecordKind::A).await;
    assert!(
        matches!(answer, Answer::Unanswered(NoAnswer::Bogus { .. })),
        "{answer:?}"
    );
    let absent = ask(&resolver, "host.isp.example", RecordKind::Txt).await;
    assert!(
        matches!(absent, Answer::Unanswered(NoAnswer::Bogus { .. })),
        "{absent:?}"
    );
}

#[tokio::test]
async fn silence_about_keys_is_not_a_lie() {
    for silent_about in [RecordType::NS, RecordType::A] {
        let server = unsigned_server(Some(silent_about)).await;
        let resolver = Resolver::new(ResolverConfig {
            first_timeout: Duration::from_millis(50),
            trust_anchor: Some(anchor()),
            ..ResolverConfig::new(vec![server])
        })
        .unwrap();
        let answer = ask(&resolver, "host.isp.example", RecordKind::A).await;
        assert!(
            matches!(answer, Answer::Unanswered(NoAnswer::TimedOut { .. })),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_trusted_resolver_says_why_it_does_not_answer() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let mut octets = {
                let mut answer = query.into_response();
                answer.metadata.response_code = ResponseCode::ServFail;
                answer.edns = None;
                answer.to_vec().unwrap()
            };
            // OPT with an extended error: info code 7, "signature expired" (RFC 8914).
            octets.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 6, 0, 15, 0, 2, 0, 7]);
            octets[11] = 1;
            socket.send_to(&octets, from).await.unwrap();
        }
    });
    for trusts_authentic_data in [false, true] {
        let resolver = Resolver::new(ResolverConfig {
            mode: Mode::Recursive {
                trusts_authentic_data,
            },
            ..ResolverConfig::new(vec![server])
        })
        .unwrap();
        let answer = ask(&resolver, "host.isp.example", RecordKind::A).await;
        let is_bogus = matches!(answer, Answer::Unanswered(NoAnswer::Bogus { .. }));
        let has_failed = matches!(
            answer,
            Answer::Unanswered(NoAnswer::Failed { response_code: 2 })
        );
        assert!(
            if trusts_authentic_data {
                is_bogus
            } else {
                has_failed
            },
            "{answer:?}"
        );
    }
}

#[test]
fn a_text_without_keys_is_no_anchor() {
    assert!(
        ". 3600 IN DNSKEY 257 3 13 ???"
            .parse::<TrustAnchor>()
            .is_err()
    );
    assert!(ANCHOR.parse::<TrustAnchor>().is_ok());
}

fn run(directory: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap_or_else(|error| {
            panic!("{program} does not start ({error}); it is in the Debian package bind9-utils")
        });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// Signs a zone in `directory`; leaves `NAME.signed` and `dsset-NAME.`.
fn sign(directory: &Path, apex: &str, text: &str, options: &[&str]) {
    let file = format!("{}.zone", apex.trim_end_matches('.'));
    let soa = format!(
        "$TTL 600\n{apex} IN SOA ns.{} admin. 1 3600 600 86400 120\n",
        suffix(apex)
    );
    let soa = format!("{soa}{apex} IN NS ns.{}\n", suffix(apex));
    std::fs::write(directory.join(&file), soa + text).unwrap();
    let keygen = ["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", apex];
    run(directory, "dnssec-keygen", &keygen);
    let mut arguments = vec!["-S", "-P", "-z", "-o", apex, "-f"];
    let signed = format!("{}.signed", apex.trim_end_matches('.'));
    arguments.push(&signed);
    arguments.extend(options);
    arguments.push(&file);
    run(directory, "dnssec-signzone", &arguments);
}

fn suffix(apex: &str) -> &str {
    if apex == "." { "" } else { apex }
}

struct Named {
    process: Child,
    address: SocketAddr,
    anchor: TrustAnchor,
    _directory: TempDir,
}

impl Drop for Named {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// Serves, under a signed root and a signed `example`: a signed zone, an unsigned one, and three with DS records whose
/// records were changed, whose signatures expired, and whose signatures are gone.
fn serve() -> Named {
    let directory = TempDir::new().unwrap();
    let home = directory.path();
    let leaf = |apex: &str| {
        format!("ns.{apex} A 127.0.0.1\nhost.{apex} A 240.0.0.1\n*.wild.{apex} A 240.0.0.2\n")
    };
    sign(
        home,
        "secure.example.",
        &leaf("secure.example."),
        &["-3", "-"],
    );
    sign(home, "changed.example.", &leaf("changed.example."), &[]);
    let long_ago = ["-s", "20200101000000", "-e", "20200201000000"];
    sign(
        home,
        "expired.example.",
        &leaf("expired.example."),
        &long_ago,
    );
    sign(home, "stripped.example.", &leaf("stripped.example."), &[]);
    let signed = home.join("changed.example.signed");
    let text = std::fs::read_to_string(&signed).unwrap();
    std::fs::write(&signed, text.replace("240.0.0.1", "240.6.6.6")).unwrap();
    std::fs::copy(
        home.join("stripped.example.zone"),
        home.join("stripped.example.signed"),
    )
    .unwrap();
    let plain = "$TTL 600\n@ IN SOA ns admin. 1 3600 600 86400 120\n@ NS ns\nns A 127.0.0.1\nhost A 240.0.0.1\n";
    std::fs::write(home.join("plain.example.signed"), plain).unwrap();

    let mut top = "ns.example. A 127.0.0.1\n".to_owned();
    for child in ["secure", "changed", "expired", "stripped", "plain"] {
        let apex = format!("{child}.example.");
        let _infallible = write!(top, "{apex} NS ns.{apex}\nns.{apex} A 127.0.0.1\n");
        if let Ok(ds) = std::fs::read_to_string(home.join(format!("dsset-{apex}"))) {
            top.push_str(&ds);
        }
    }
    // An unsigned zone at a server of its own, which a test makes.
    top.push_str("shy.example. NS ns.shy.example.\nns.shy.example. A 127.0.0.2\n");
    sign(home, "example.", &top, &[]);
    let ds = std::fs::read_to_string(home.join("dsset-example.")).unwrap();
    let root = format!("ns. A 127.0.0.1\nexample. NS ns.example.\nns.example. A 127.0.0.1\n{ds}");
    sign(home, ".", &root, &[]);
    let key = std::fs::read_dir(home)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("K.+") && name.ends_with(".key")
        })
        .unwrap();
    let anchor = std::fs::read_to_string(key).unwrap();

    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut config = format!(
        "options {{ directory \"{}\"; listen-on port {} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
         recursion no; pid-file none; lock-file none; session-keyfile none; dnssec-validation no;\n\
         notify no; empty-zones-enable no; }};\ncontrols {{ }};\n",
        home.display(),
        address.port()
    );
    for apex in [
        ".",
        "example",
        "secure.example",
        "changed.example",
        "expired.example",
        "stripped.example",
        "plain.example",
    ] {
        let file = format!("{}.signed", apex.trim_end_matches('.'));
        let _infallible = writeln!(
            config,
            "zone \"{apex}\" {{ type primary; file \"{file}\"; }};"
        );
    }
    std::fs::write(home.join("named.conf"), config).unwrap();
    let log = std::fs::File::create(home.join("log")).unwrap();
    let process = Command::new("/usr/sbin/named")
        .args(["-g", "-n", "1", "-c"])
        .arg(home.join("named.conf"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    Named {
        process,
        address,
        anchor: anchor.parse().unwrap(),
        _directory: directory,
    }
}

#[tokio::test]
async fn peer_bind9_signed_zones_are_told_apart() {
    let named = serve();
    let policy = AddressPolicy::new(vec!["127.0.0.1/32".parse().unwrap()]);
    let direct = Mode::Direct {
        policy,
        port: named.address.port(),
    };
    let recursive = Mode::Recursive {
        trusts_authentic_data: false,
    };
    for mode in [direct, recursive] {
        let resolver = Resolver::new(ResolverConfig {
            first_timeout: Duration::from_secs(2),
            trust_anchor: Some(named.anchor.clone()),
            mode: mode.clone(),
            ..ResolverConfig::new(vec![named.address])
        })
        .unwrap();
        let started = Instant::now();
        while matches!(
            ask(&resolver, "host.secure.example", RecordKind::A).await,
            Answer::Unanswered(NoAnswer::Unreachable | NoAnswer::Failed { .. })
        ) {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "named does not serve"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for (owner, want) in [
            ("host.secure.example", Some(Security::Secure)),
            ("any.wild.secure.example", Some(Security::Secure)),
            ("host.plain.example", Some(Security::Insecure)),
            ("host.changed.example", None),
            ("host.expired.example", None),
            ("host.stripped.example", None),
        ] {
            let answer = ask(&resolver, owner, RecordKind::A).await;
            match (&answer, want) {
                (Answer::Records { security, .. }, Some(want)) => {
                    assert_eq!(*security, want, "{owner} {mode:?}");
                }
                (Answer::Unanswered(NoAnswer::Bogus { reason }), None) => {
                    assert!(reason.contains(owner), "{reason}");
                }
                _ => panic!("{owner} {mode:?}: {answer:?}"),
            }
        }
        for (owner, kind, want, want_absence) in [
            (
                "none.secure.example",
                RecordKind::A,
                Security::Secure,
                Absence::NxDomain,
            ),
            (
                "host.secure.example",
                RecordKind::Txt,
                Security::Secure,
                Absence::NoData,
            ),
            (
                "none.example",
                RecordKind::Srv,
                Security::Secure,
                Absence::NxDomain,
            ),
            (
                "none.plain.example",
                RecordKind::Srv,
                Security::Insecure,
                Absence::NxDomain,
            ),
        ] {
            match ask(&resolver, owner, kind).await {
                Answer::Absent {
                    absence, security, ..
                } => {
                    assert_eq!(
                        (security, absence),
                        (want, want_absence),
                        "{owner} {mode:?}"
                    );
                }
                other => panic!("{owner} {mode:?}: {other:?}"),
            }
        }
        let stripped = ask(&resolver, "none.stripped.example", RecordKind::A).await;
        assert!(
            matches!(stripped, Answer::Unanswered(NoAnswer::Bogus { .. })),
            "{stripped:?}"
        );
    }
}

/// Serves the unsigned zone `shy.example`: to questions for name servers it says nothing, not even at the apex, or does not
/// answer at all.
fn serve_shy(socket: UdpSocket, code: Option<ResponseCode>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let question = query.queries[0].clone();
            let mut answer = query.into_response();
            answer.metadata.authoritative = true;
            match (question.query_type(), code) {
                (RecordType::A, _) => {
                    let address = RData::A(A::new(240, 0, 0, 1));
                    answer.add_answer(Record::from_rdata(question.name().clone(), 60, address));
                }
                (RecordType::NS, None) => continue,
                (RecordType::NS, Some(code)) => answer.metadata.response_code = code,
                _ => {}
            }
            if answer.answers.is_empty() {
                let name = |text: &str| Name::from_ascii(text).unwrap();
                let soa = SOA::new(name("ns.shy.example."), name("a."), 1, 1, 1, 1, 60);
                let apex = name("shy.example.");
                answer.add_authority(Record::from_rdata(apex, 60, RData::SOA(soa)));
            }
            let octets = answer.to_vec().unwrap();
            socket.send_to(&octets, from).await.unwrap();
        }
    })
}

#[tokio::test]
async fn peer_bind9_an_unsigned_zone_that_does_not_tell_its_servers_is_insecure() {
    let named = serve();
    let policy = AddressPolicy::new(vec!["127.0.0.0/30".parse().unwrap()]);
    for code in [
        Some(ResponseCode::NoError),
        Some(ResponseCode::Refused),
        None,
    ] {
        let port = named.address.port();
        let socket = UdpSocket::bind(("127.0.0.2", port)).await.unwrap();
        let serving = serve_shy(socket, code);
        let resolver = Resolver::new(ResolverConfig {
            first_timeout: Duration::from_millis(300),
            trust_anchor: Some(named.anchor.clone()),
            mode: Mode::Direct {
                policy: policy.clone(),
                port,
            },
            ..ResolverConfig::new(vec![named.address])
        })
        .unwrap();
        let started = Instant::now();
        let answer = loop {
            let answer = ask(&resolver, "host.shy.example", RecordKind::A).await;
            let is_starting = matches!(
                answer,
                Answer::Unanswered(
                    NoAnswer::Unreachable | NoAnswer::Failed { .. } | NoAnswer::TimedOut { .. }
                )
            );
            if !is_starting || started.elapsed() > Duration::from_secs(20) {
                break answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let is_insecure = |security: &Security| *security == Security::Insecure;
        assert!(
            matches!(&answer, Answer::Records { security, .. } if is_insecure(security)),
            "{code:?}: {answer:?}"
        );
        let absent = ask(&resolver, "host.shy.example", RecordKind::Txt).await;
        assert!(
            matches!(&absent, Answer::Absent { security, .. } if is_insecure(security)),
            "{code:?}: {absent:?}"
        );
        serving.abort();
        let _gone = serving.await;
    }
}
