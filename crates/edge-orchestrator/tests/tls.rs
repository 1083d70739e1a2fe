//! Who is greeted how, by real servers over real TLS; and what a journal keeps of that.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use edge_chain::LocalKey;
use edge_discovery::{IepCandidate, TlsPin};
use edge_http::client::ContactBudget;
use edge_http::entry_tls::{
    ContactRefusal, Identity as ServerIdentity, RootCertStore, TlsAcceptor, TlsPolicy, Transport,
};
use edge_negotiation::{GreenListPolicy, NegotiationRecord, NegotiationState, Pace};
use edge_orchestrator::journal::{AgreementStore, Recovered, Written, journal_file};
use edge_orchestrator::sites::{Inquirer, Inquiry, KnownSite};
use edge_ports::SystemClock;
use edge_types::{
    AddressPolicy, Amount, ChainAddress, ChainId, Guarantee, HardwareProfile, Hash32, IepId,
    IepOrigin, ListedSite, Offer, OfferId, Settlement, Signature, SlaTerms, Slot, UtcTime,
};
use rcgen::{CertificateParams, KeyPair};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const HOST: &str = "site.isp.example";

/// A key with a certificate that it signs itself.
struct Identity {
    acceptor: TlsAcceptor,
    pin: TlsPin,
}

fn identity() -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [certificate_file, key_file] =
        ["certificate.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&certificate_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
    let digest = Sha256::digest(spki);
    let digits: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    Identity {
        acceptor: ServerIdentity::read(certificate_file, key_file)
            .unwrap()
            .acceptor(),
        pin: format!("3 1 1 {digits}").parse().unwrap(),
    }
}

/// A server that counts octets of HTTP that reach it, below TLS if there is any, and answers all with 404.
async fn count(tls: Option<TlsAcceptor>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let octets = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&octets);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer =
                b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let mut text = [0; 4096];
            let read = match &tls {
                None => {
                    let read = stream.read(&mut text).await;
                    let _ = stream.write_all(answer).await;
                    read
                }
                Some(tls) => match tls.accept(stream).await {
                    Ok(mut stream) => {
                        let read = stream.read(&mut text).await;
                        let _ = stream.write_all(answer).await;
                        let _ = stream.shutdown().await;
                        read
                    }
                    Err(_) => continue,
                },
            };
            counter.fetch_add(read.unwrap_or(0), Ordering::SeqCst);
        }
    });
    (address, octets)
}

fn site(at: SocketAddr, pins: Vec<TlsPin>) -> KnownSite {
    let listed = ListedSite {
        id: IepId {
            host: HOST.parse().unwrap(),
            port: at.port(),
        },
        addresses: vec![at.ip()],
        key: None,
        tls: false,
    };
    let loopback = AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]);
    let candidate = IepCandidate::listed(
        &listed,
        &listed.addresses,
        IepOrigin::Configured,
        true,
        &loopback,
    );
    KnownSite::new(IepCandidate {
        announces_tls: !pins.is_empty(),
        pins,
        ..candidate.unwrap()
    })
}

async fn ask(site: &KnownSite, require_tls: bool) -> Inquiry {
    let needs = HardwareProfile {
        milli_cpu: 1,
        memory_bytes: 1,
        pids: 1,
    };
    let slot = Slot {
        start: UtcTime(0),
        end: UtcTime(0),
    };
    let escrow = (ChainId(1337), ChainAddress([9; 20]));
    let inquirer = Inquirer {
        application: "shop".to_owned(),
        signer: Arc::new(LocalKey::generate().unwrap()),
        needs,
        lease: Duration::from_secs(60),
        price_ceiling: Amount::wei(1),
        policy: GreenListPolicy::new(slot, needs, Amount::wei(1), Some(escrow)),
        pace: Pace::default(),
        contacts: ContactBudget::default(),
        tls: TlsPolicy::new(RootCertStore::empty(), !require_tls),
        clock: Arc::new(SystemClock::start()),
    };
    inquirer.ask(site).await
}

#[tokio::test]
async fn a_site_with_tls_keys_is_greeted_only_by_who_shows_one() {
    let (ours, other) = (identity(), identity());
    let (address, octets) = count(Some(ours.acceptor)).await;
    let wrong = ask(&site(address, vec![other.pin.clone()]), false).await;
    assert_eq!(
        octets.load(Ordering::SeqCst),
        0,
        "no HTTP under a wrong key"
    );
    assert_eq!(
        wrong.transport,
        Ok(Transport::Pins(vec![other.pin.clone()]))
    );
    let good = ask(&site(address, vec![other.pin, ours.pin]), false).await;
    assert!(octets.load(Ordering::SeqCst) > 0);
    assert!(good.negotiation.state().is_final(), "it is no entry point");
    // A server without TLS gets nothing that it could read.
    let (plain, octets) = count(None).await;
    ask(&site(plain, vec![identity().pin]), false).await;
    let hello = octets.load(Ordering::SeqCst);
    assert!(hello > 0, "the beginning of a handshake");
}

#[tokio::test]
async fn where_tls_is_required_no_plain_site_is_greeted_and_the_verdict_says_so() {
    let (address, octets) = count(None).await;
    let mut site = site(address, Vec::new());
    let refused = ask(&site, true).await;
    assert_eq!(refused.transport, Err(ContactRefusal::Plain));
    assert_eq!(octets.load(Ordering::SeqCst), 0);
    site.inquiry = Some(refused);
    let verdict = site.verdict(&edge_discovery::TrustPolicy::default(), 0);
    assert!(verdict.contains("plain HTTP is refused"), "{verdict}");
    let asked = ask(&site, false).await;
    assert_eq!(asked.transport, Ok(Transport::Plain));
    assert!(octets.load(Ordering::SeqCst) > 0);
}

fn written(transport: Transport) -> Written {
    let offer = Offer {
        id: OfferId([1; 32]),
        site: IepId {
            host: HOST.parse().unwrap(),
            port: 80,
        },
        provider: ChainAddress([2; 20]),
        buyer: None,
        slot: Slot {
            start: UtcTime(1000),
            end: UtcTime(2000),
        },
        hardware: HardwareProfile {
            milli_cpu: 1,
            memory_bytes: 1,
            pids: 1,
        },
        price_per_second: Amount::wei(1),
        sla: SlaTerms {
            text_hash: Hash32([0; 32]),
            availability_ppm: 0,
            receipt_interval_seconds: 1,
            notice_seconds: 1,
            round_trip_ms: 0,
        },
        conditions: edge_types::SiteConditions::default(),
        guarantee: Guarantee::default(),
        settlement: Settlement::Contact("people".to_owned()),
        expires: UtcTime(1500),
        nonce: Hash32([4; 32]),
        signature: Signature([5; 65]),
    };
    Written {
        record: NegotiationRecord {
            state: NegotiationState::Running,
            offer,
            reservation: None,
            confirmation: None,
            was_paid: true,
            was_deployed: true,
            receipt_sent: false,
            stops_at: None,
            rejection: None,
            failure: None,
            served: Duration::ZERO,
            good_at: None,
            intervals: Vec::new(),
        },
        entry_point: "192.0.2.1:80".parse().unwrap(),
        transport,
        serving_at: None,
        image_token: None,
        challenge: None,
        began: UtcTime(990),
        steps: Vec::new(),
    }
}

#[test]
fn how_an_entry_point_is_spoken_to_survives_a_restart() {
    let pins = ["3 1 1", "2 0 1"].map(|kind| format!("{kind} {}", "0a".repeat(32)));
    let pins = pins.map(|pin| pin.parse().unwrap()).to_vec();
    for transport in [
        Transport::Plain,
        Transport::Authorities,
        Transport::Pins(pins),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = AgreementStore::open(folder.path()).unwrap();
        store.write(&written(transport.clone())).unwrap();
        drop(store);
        let file = journal_file(folder.path());
        // Journals of before TLS have no such field, and are about plain HTTP.
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.contains("\"tls\""), transport != Transport::Plain);
        let recovered = Recovered::peek(&file).unwrap();
        assert_eq!(recovered.agreements, [written(transport)]);
    }
}
