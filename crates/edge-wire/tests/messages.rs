//! Messages against fixed texts, hostile bodies, and each other.

#![expect(clippy::unwrap_used, reason = "tests")]

use edge_types::{
    AgreementId, AgreementState, Amount, Asset, ChainAddress, Confirmation, Generation,
    HealthCheck, ImageDigest, ImageReference, Preferences, RejectReason, ResourceLimits,
    Settlement, Signature, Slot, UtcTime, WantedConditions, Workload, WorkloadState,
};
use edge_wire::contract::{AcceptanceMessage, ClosingMessage, ContractFile};
use edge_wire::message::{
    AgreementRequest, AgreementView, ClientRoundTrip, CloseRequest, ConfirmationMessage,
    Deployment, DeploymentView, Greeting, Hello, OfferMessage, Offers, ReceiptMessage, Reservation,
    ReservationRequest,
};
use edge_wire::problem::ProblemJson;
use edge_wire::{MAX_BODY_BYTES, Message, Problem, WireError, decode, encode};
use proptest::prelude::*;

const OFFER: &str = r#"{"id":"0x0101010101010101010101010101010101010101010101010101010101010101",
"provider":"0x0202020202020202020202020202020202020202","buyer":"0x0707070707070707070707070707070707070707","site":{"host":"edge.isp.example","port":80},
"slot":{"start":1800000000,"end":1800000060},"hardware":{"milli_cpu":500,"memory_bytes":67108864,"pids":32},
"price_per_second":{"asset":"native","units":"340282366920938463463374607431768211455"},
"sla":{"text_hash":"0x0303030303030303030303030303030303030303030303030303030303030303","availability_ppm":990000,
"receipt_interval_seconds":30,"notice_seconds":5},
"guarantee":{"stake":"1000","arbiter":"0x0808080808080808080808080808080808080808","answer_seconds":60},
"conditions":{"region":"FI","tee":"sev-snp","content":{"refuses":["adult","mining"],"text_hash":"0x0909090909090909090909090909090909090909090909090909090909090909","text_url":"https://isp.example/content"}},
"settlement":{"kind":"escrow","chain":1337,"contract":"0x0404040404040404040404040404040404040404"},
"expires":1799999999,"nonce":"0x0505050505050505050505050505050505050505050505050505050505050505",
"signature":"0x0606060606060606060606060606060606060606060606060606060606060606060606060606060606060606060606060606060606060606060606060606060606"}"#;

fn workload() -> Workload {
    Workload {
        generation: Generation(3),
        image: ImageReference {
            registry: "240.0.0.1:5000".parse().unwrap(),
            repository: "shop/edge".to_owned(),
            digest: ImageDigest([0xab; 32]),
        },
        command: vec!["/bin/edge".to_owned(), "serve".to_owned()],
        environment: vec![("PORT".to_owned(), "8080".to_owned())],
        service_port: 8080,
        egress: vec![(9000, "[3fff::1]:80".parse().unwrap())],
        limits: ResourceLimits {
            milli_cpu: 500,
            memory_bytes: 64 << 20,
            pids: 32,
        },
        health: HealthCheck {
            path: "/healthz".to_owned(),
            start_timeout: std::time::Duration::from_secs(10),
        },
    }
}

fn deployment() -> Deployment {
    Deployment::new(workload(), "http://240.0.0.1:80".to_owned())
}

fn round_trip<T: Message + PartialEq + std::fmt::Debug>(message: &T) {
    let text = encode(message);
    assert_eq!(
        &decode::<T>(&text).unwrap(),
        message,
        "{}",
        String::from_utf8_lossy(&text)
    );
}

#[test]
fn messages_survive_the_wire() {
    let offer: OfferMessage = decode(OFFER.as_bytes()).unwrap();
    assert_eq!(offer.0.price_per_second.units, u128::MAX);
    round_trip(&offer);
    round_trip(&Offers {
        offers: vec![offer.clone(), offer.clone()],
    });
    round_trip(&ReservationRequest {
        offer: offer.clone(),
    });
    for confirmation in [
        None,
        Some(Confirmation {
            until: UtcTime(1_799_999_999),
            signature: Signature([9; 65]),
        }),
    ] {
        round_trip(&Reservation {
            id: edge_types::ReservationId([7; 32]),
            expires: UtcTime(1_800_000_000),
            confirmation,
        });
    }
    let bare = OFFER.replace(
        "\"guarantee\":{\"stake\":\"1000\",\"arbiter\":\"0x0808080808080808080808080808080808080808\",\"answer_seconds\":60},\n",
        "",
    );
    let bare: OfferMessage = decode(bare.as_bytes()).unwrap();
    assert_eq!(bare.0.guarantee, edge_types::Guarantee::default());
    assert_eq!(offer.0.conditions.content.refuses.len(), 2);
    round_trip(&AgreementRequest {
        offer: offer.clone(),
        reservation: edge_types::ReservationId([7; 32]),
        acceptance: None,
    });
    let confirmation = ConfirmationMessage(Confirmation {
        until: UtcTime(1_800_000_000),
        signature: Signature([6; 65]),
    });
    let paid_ahead = OFFER.replace(
        r#""kind":"escrow","chain":1337,"contract":"0x0404040404040404040404040404040404040404""#,
        r#""kind":"allowance""#,
    );
    let paid_ahead: OfferMessage = decode(paid_ahead.as_bytes()).unwrap();
    assert_eq!(paid_ahead.0.settlement, Settlement::Allowance);
    round_trip(&AgreementRequest {
        offer: paid_ahead.clone(),
        reservation: edge_types::ReservationId([7; 32]),
        acceptance: Some(AcceptanceMessage {
            confirmation,
            signature: Signature([5; 65]),
        }),
    });
    let mut contract = ContractFile {
        exec_contract: 1,
        offer: paid_ahead,
        confirmation,
        acceptance: None,
    };
    round_trip(&contract);
    assert_eq!(contract.signed(), None);
    contract.acceptance = Some(Signature([5; 65]));
    round_trip(&contract);
    assert!(contract.signed().is_some());
    contract.exec_contract = 2;
    assert!(decode::<ContractFile>(&encode(&contract)).is_err());
    round_trip(&Hello(Preferences {
        application: "shop".to_owned(),
        buyer: ChainAddress([9; 20]),
        slot: offer.0.slot,
        hardware: offer.0.hardware,
        price_ceiling_per_second: Amount {
            asset: Asset::Token(ChainAddress([8; 20])),
            units: 5,
        },
        expected_requests_per_second: 10,
        conditions: WantedConditions {
            regions: ["FI", "SE"].map(|code| code.parse().unwrap()).into(),
            tee: ["tdx".parse().unwrap()].into(),
            content: ["gambling".parse().unwrap()].into(),
        },
    }));
    round_trip(&deployment());
    assert_eq!(
        deployment().into_parts(),
        (workload(), "http://240.0.0.1:80".to_owned())
    );
    let receipt = ReceiptMessage {
        agreement: AgreementId([1; 32]),
        due: Amount::wei(5),
        signature: Signature([6; 65]),
    };
    round_trip(&receipt);
    round_trip(&CloseRequest {
        reason: "moved".to_owned(),
        receipt: Some(receipt),
    });
    round_trip(&CloseRequest {
        reason: String::new(),
        receipt: None,
    });
}

#[test]
fn views_survive_the_wire() {
    let address = "240.0.0.9:80".parse().unwrap();
    for state in [
        WorkloadState::Absent,
        WorkloadState::Pulling,
        WorkloadState::Starting,
        WorkloadState::Running { address },
        WorkloadState::Draining { address },
        WorkloadState::Failed {
            reason: "no".to_owned(),
        },
        WorkloadState::Stopped,
    ] {
        round_trip(&DeploymentView {
            generation: Generation(1),
            state,
            round_trips: vec![ClientRoundTrip {
                clients: "240.1.2.0/24".parse().unwrap(),
                micros: 7_000,
            }],
        });
    }
    let view = AgreementView {
        id: AgreementId([1; 32]),
        state: AgreementState::Rejected,
        slot: Slot {
            start: UtcTime(1),
            end: UtcTime(2),
        },
        due: Amount::wei(0),
        problem: Some(ProblemJson::from(&Problem::Rejected(
            RejectReason::SlotTaken,
        ))),
        closing: Some(ClosingMessage {
            due: Amount::wei(7),
            signature: Signature([6; 65]),
        }),
    };
    round_trip(&view);
    assert_eq!(view.reject_reason(), Some(RejectReason::SlotTaken));
}

#[test]
fn requests_refuse_unknown_fields_and_answers_ignore_them() {
    let with_more = |text: &[u8]| {
        let mut text = String::from_utf8(text.to_vec()).unwrap();
        text.insert_str(1, "\"more\":1,");
        text
    };
    let request = with_more(&encode(&deployment()));
    assert!(matches!(
        decode::<Deployment>(request.as_bytes()),
        Err(WireError::Json(_))
    ));
    let answer = with_more(OFFER.as_bytes());
    assert!(decode::<OfferMessage>(answer.as_bytes()).is_ok());
}

#[test]
fn deployments_out_of_range_are_refused() {
    let refused = |field: &str, change: fn(&mut Deployment)| {
        let mut bad = deployment();
        change(&mut bad);
        match decode::<Deployment>(&encode(&bad)) {
            Err(WireError::Field { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{field}: {other:?}"),
        }
    };
    for (field, change) in [
        (
            "image.repository",
            (|d| d.image.repository = "../x".to_owned()) as fn(&mut Deployment),
        ),
        ("image.repository", |d| d.image.repository = String::new()),
        ("image_token", |d| d.image_token = Some("a b".to_owned())),
        ("command", |d| d.command = vec![String::new(); 65]),
        ("command", |d| d.command = vec!["a\0b".to_owned()]),
        ("environment", |d| d.environment[0].0 = "A=B".to_owned()),
        ("environment", |d| {
            d.environment = vec![("A".to_owned(), String::new()); 65];
        }),
        ("service_port", |d| d.service_port = 0),
        ("egress", |d| d.egress[0].0 = 0),
        ("limits", |d| d.limits.pids = 0),
        ("health.path", |d| d.health.path = "/a b".to_owned()),
        ("health.start_timeout_seconds", |d| {
            d.health.start_timeout = std::time::Duration::ZERO;
        }),
        ("origin", |d| d.origin = "http://a/b".to_owned()),
        ("origin", |d| d.origin = "https://a".to_owned()),
        ("origin", |d| d.origin = "http://a\r\nx: y".to_owned()),
    ] {
        refused(field, change);
    }
}

#[test]
fn malformed_words_are_refused() {
    for (from, to) in [
        ("\"340282366920938463463374607431768211455\"", "\"-1\""),
        ("\"340282366920938463463374607431768211455\"", "\"+1\""),
        ("\"340282366920938463463374607431768211455\"", "1"),
        (
            "\"340282366920938463463374607431768211455\"",
            "\"340282366920938463463374607431768211456\"",
        ),
        ("\"native\"", "\"gold\""),
        ("edge.isp.example", "edge isp"),
        ("1800000060", "1800000000"),
        ("1800000060", "18446744073709551615"),
        ("990000", "1000001"),
        ("\"escrow\"", "\"barter\""),
        ("\"FI\"", "\"FIN\""),
        ("\"sev-snp\"", "\"SEV SNP\""),
        ("[\"adult\",\"mining\"]", "[\"mining\",\"mining\"]"),
        ("[\"adult\",\"mining\"]", "[\"\"]"),
        ("https://isp.example/content", "ftp://isp.example"),
        ("https://isp.example/content", "https://a@isp.example"),
        ("\"milli_cpu\":500", "\"milli_cpu\":0"),
    ] {
        let text = OFFER.replace(from, to);
        assert_ne!(text, OFFER);
        assert!(
            decode::<OfferMessage>(text.as_bytes()).is_err(),
            "{to} was accepted"
        );
    }
    let many: Vec<_> = (0..33).map(|n| format!("\"k{n}\"")).collect();
    let many = OFFER.replace("[\"adult\",\"mining\"]", &format!("[{}]", many.join(",")));
    assert!(decode::<OfferMessage>(many.as_bytes()).is_err());
    let large = vec![b' '; MAX_BODY_BYTES + 1];
    assert!(matches!(
        decode::<Offers>(&large),
        Err(WireError::TooLarge { .. })
    ));
    let greeting = r#"{"protocol":"http","versions":[1],"software":"","provider":"0x0202020202020202020202020202020202020202","site":{"host":"a","port":1},"chain":0,"settlements":[],"runtimes":[]}"#;
    assert!(decode::<Greeting>(greeting.as_bytes()).is_err());
    assert!(decode::<Greeting>(greeting.replace("http", "exec").as_bytes()).is_ok());
    assert!(
        decode::<Greeting>(
            greeting
                .replace("http", "exec")
                .replace("[1]", "[2]")
                .as_bytes()
        )
        .is_err()
    );
}

proptest! {
    #[test]
    fn damaged_bodies_never_panic(position in 0..OFFER.len(), byte: u8, cut in 0..OFFER.len()) {
        let mut text = OFFER.as_bytes().to_vec();
        text[position] = byte;
        if let Ok(offer) = decode::<OfferMessage>(&text) {
            let _ = edge_wire::signing::verify_offer(&offer.0);
        }
        prop_assert!(decode::<OfferMessage>(&text[..cut]).is_err());
    }

    #[test]
    fn nested_bodies_do_not_exhaust_the_stack(depth in 1usize..30_000) {
        let text = "[".repeat(depth);
        prop_assert!(decode::<Offers>(text.as_bytes()).is_err());
    }
}
