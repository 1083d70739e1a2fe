//! Requests that no honest buyer makes, and servers that are no providers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use edge_chain::LocalKey;
use edge_http::client::{ClientError, ClientTimeouts, ContactBudget, IepClient};
use edge_ports::{Clock, Signer, SystemClock};
use edge_types::agreement::detail;
use edge_types::{
    Amount, ChainAddress, ChainId, Hash32, IepId, Offer, RejectReason, ReservationId, UtcTime,
};
use edge_wire::message::{OfferMessage, ReservationRequest};
use edge_wire::signing::{self, RequestToSign};
use edge_wire::{Problem, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{CHAIN, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfunded_and_foreign_agreements_are_refused() {
    let world = world("").await;
    let offer = world
        .client()
        .hello(&world.preferences(30))
        .await
        .unwrap()
        .remove(0);
    let buyer = world.buyer(&world.key);
    let reason = |error: ClientError| error.reject_reason().unwrap().clone();

    let unpaid = buyer
        .acknowledge(&offer, ReservationId([0; 32]))
        .await
        .unwrap_err();
    assert_eq!(reason(unpaid), RejectReason::NotFunded);

    let cheaper = Offer {
        price_per_second: Amount::wei(1),
        ..offer.clone()
    };
    let unknown = RejectReason::Unknown { what: "offer" };
    assert_eq!(reason(buyer.reserve(&cheaper).await.unwrap_err()), unknown);
    let resigned = signing::sign_offer(cheaper, |digest| world.key.sign_digest(digest));
    assert_eq!(reason(buyer.reserve(&resigned).await.unwrap_err()), unknown);

    let first = buyer.reserve(&offer).await.unwrap();
    assert_eq!(
        buyer.reserve(&offer).await.unwrap(),
        first,
        "asking again changes nothing"
    );
    let other = world.buyer(&LocalKey::generate().unwrap());
    assert_eq!(
        reason(other.reserve(&offer).await.unwrap_err()),
        RejectReason::NotAuthorised {
            detail: detail::BUYER
        }
    );
}

/// One request, written by hand; the status and the problem of the answer.
async fn raw(address: SocketAddr, head: &str, body: &[u8]) -> (u16, Option<Problem>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head =
        format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let _refused_early = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8(answer).unwrap();
    let status: u16 = text.split(' ').nth(1).unwrap().parse().unwrap();
    let body = text.split_once("\r\n\r\n").unwrap().1;
    let problem =
        (status >= 400).then(|| edge_wire::problem::read_problem(status, body.as_bytes()));
    (status, problem)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_replayed_and_foreign_requests_are_refused() {
    let world = world("").await;
    let offer = world
        .client()
        .hello(&world.preferences(30))
        .await
        .unwrap()
        .remove(0);
    let body = encode(&ReservationRequest {
        offer: OfferMessage(offer),
    });
    let path = "/exec/v1/reservations";
    let now = world.clock.utc();
    let good = RequestToSign {
        method: "POST",
        path,
        body: &body,
        nonce: Hash32([1; 32]),
        expires: now.plus_seconds(60),
        provider: world.provider,
        chain: CHAIN,
    };
    let head = |request: &RequestToSign<'_>| {
        let signature = world.key.sign_digest(signing::request_digest(request));
        format!(
            "POST {path} HTTP/1.1\r\n{}: {signature}\r\n{}: {}\r\n{}: {}",
            signing::SIGNATURE_HEADER,
            signing::NONCE_HEADER,
            request.nonce,
            signing::EXPIRES_HEADER,
            request.expires.0
        )
    };
    let unauthorised = |detail| {
        (
            401,
            Some(Problem::Rejected(RejectReason::NotAuthorised { detail })),
        )
    };

    assert_eq!(raw(world.address, &head(&good), &body).await, (200, None));
    assert_eq!(
        raw(world.address, &head(&good), &body).await,
        (409, Some(Problem::Replayed))
    );

    let bare = format!("POST {path} HTTP/1.1");
    assert_eq!(
        raw(world.address, &bare, &body).await,
        unauthorised(detail::SIGNATURE)
    );
    for expires in [UtcTime(now.0 - 1), now.plus_seconds(200)] {
        let request = RequestToSign {
            expires,
            nonce: Hash32([2; 32]),
            ..good
        };
        assert_eq!(
            raw(world.address, &head(&request), &body).await,
            unauthorised(detail::EXPIRY)
        );
    }
    let mut garbled = head(&RequestToSign {
        nonce: Hash32([3; 32]),
        ..good
    });
    let at = garbled.find("signature: 0x").unwrap() + 13 + 128;
    garbled.replace_range(at..at + 2, "00"); // v = 0
    assert_eq!(
        raw(world.address, &garbled, &body).await,
        unauthorised(detail::SIGNATURE)
    );

    // Signed for something else, a request comes from somebody else: here, from one to whom nothing was offered.
    for (number, forged) in (10..).zip([
        RequestToSign {
            chain: ChainId(1),
            ..good
        },
        RequestToSign {
            provider: ChainAddress([1; 20]),
            ..good
        },
        RequestToSign {
            path: "/exec/v1/agreements",
            ..good
        },
        RequestToSign {
            method: "PUT",
            ..good
        },
        RequestToSign {
            body: b"{}",
            ..good
        },
    ]) {
        let forged = RequestToSign {
            nonce: Hash32([number; 32]),
            ..forged
        };
        assert_eq!(
            raw(world.address, &head(&forged), &body).await,
            unauthorised(detail::BUYER)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_problems_not_accidents() {
    let world = world("").await;
    let at = world.address;
    let status = async |head: &str, body: &[u8]| raw(at, head, body).await.0;
    assert_eq!(status("GET /exec/v1 HTTP/1.1", b"").await, 200);
    assert_eq!(status("GET /exec/v1/healthz HTTP/1.1", b"").await, 200);
    assert_eq!(status("GET /exec/v2 HTTP/1.1", b"").await, 404);
    assert_eq!(
        status("GET /exec/v1/agreements/0x12 HTTP/1.1", b"").await,
        404
    );
    assert_eq!(status("DELETE /exec/v1/hello HTTP/1.1", b"").await, 404);
    assert_eq!(status("POST /exec/v1/hello HTTP/1.1", b"{").await, 400);
    assert_eq!(
        status("POST /exec/v1/hello HTTP/1.1", &vec![b' '; 70_000]).await,
        413
    );
    assert_eq!(
        status("PUT /exec/v1/agreements/x/deployment HTTP/1.1", b"{}").await,
        404
    );
}

/// Security rule 5, and what a client does with a server that is none of ours.
#[tokio::test]
async fn a_server_that_is_no_iep_gets_one_connection_and_64_kib() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(Mutex::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            *counted.lock().unwrap() += 1;
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
                .await;
            let _ = stream.write_all(&vec![b' '; 1 << 20]).await;
        }
    });
    let site = IepId {
        host: "edge.isp.example".parse().unwrap(),
        port: 80,
    };
    let client = IepClient::new(address, site, ClientTimeouts::default());
    let (budget, clock) = (ContactBudget::default(), SystemClock::start());
    let first = client.greet(&budget, clock.monotonic()).await.unwrap_err();
    assert!(matches!(first, ClientError::Exchange { .. }), "{first:?}");
    let second = client.greet(&budget, clock.monotonic()).await.unwrap_err();
    assert!(
        matches!(second, ClientError::ContactedBefore { .. }),
        "{second:?}"
    );
    assert_eq!(*connections.lock().unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_listed_to_anybody_unless_the_owner_says_no() {
    let offered = r#"service = [{ name = "pitch view", url = "http://edge.isp.example/view" }]"#;
    let open = world(offered).await;
    let listed = open.client().services().await.unwrap().services;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].name, "pitch view");

    let closed = world(&format!("{offered}\nlisting = false")).await;
    let refused = closed.client().services().await.unwrap_err();
    assert_eq!(
        refused.reject_reason(),
        Some(&RejectReason::Policy {
            detail: detail::NOT_LISTED
        })
    );
}
