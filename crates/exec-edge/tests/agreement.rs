//! `exec-edge agreement` and `exec-edge explain agreement` over a journal that the orchestrator's own part wrote.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use edge_negotiation::{NegotiationFailure, NegotiationRecord, NegotiationState};
use edge_orchestrator::journal::{AgreementStore, Written};
use edge_types::{
    Amount, ChainAddress, HardwareProfile, Hash32, Offer, OfferId, Settlement, Signature, SlaTerms,
    Slot, UtcTime,
};

fn offer(number: u8) -> Offer {
    Offer {
        id: OfferId([number; 32]),
        provider: ChainAddress([0xaa; 20]),
        buyer: None,
        site: edge_types::IepId {
            host: "edge.isp.example".parse().unwrap(),
            port: 80,
        },
        slot: Slot {
            start: UtcTime(1_000),
            end: UtcTime(1_060),
        },
        hardware: HardwareProfile {
            milli_cpu: 500,
            memory_bytes: 1024,
            pids: 8,
        },
        price_per_second: Amount::wei(7),
        sla: SlaTerms {
            text_hash: Hash32([3; 32]),
            availability_ppm: 950_000,
            receipt_interval_seconds: 10,
            notice_seconds: 5,
        },
        guarantee: edge_types::Guarantee {
            stake: 0,
            arbiter: None,
            answer_seconds: 120,
        },
        settlement: Settlement::Contact("call us".to_owned()),
        expires: UtcTime(1_010),
        nonce: Hash32([4; 32]),
        signature: Signature([5; 65]),
    }
}

fn written(number: u8, state: NegotiationState, steps: &[(u64, &str)]) -> Written {
    let steps = steps
        .iter()
        .map(|(at, what)| (UtcTime(*at), (*what).to_owned()));
    Written {
        record: NegotiationRecord {
            state,
            offer: offer(number),
            reservation: None,
            confirmation: None,
            was_paid: true,
            was_deployed: true,
            receipt_sent: false,
            rejection: None,
            failure: None,
            served: Duration::from_secs(30),
            good_at: None,
        },
        entry_point: "192.0.2.1:80".parse().unwrap(),
        serving_at: Some("192.0.2.1:20000".parse().unwrap()),
        image_token: Some("secret".to_owned()),
        began: UtcTime(990),
        steps: steps.collect(),
    }
}

/// Exit code, and standard output and error together.
fn exec_edge(arguments: &[&str], state: Option<&Path>) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exec-edge"));
    command.args(arguments);
    if let Some(state) = state {
        command.arg("--state").arg(state);
    }
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

#[test]
fn agreements_are_listed_shown_and_explained_from_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let state = Some(folder.path());
    let (code, told) = exec_edge(&["agreement", "list"], state);
    assert_eq!(code, 64, "{told}");
    assert!(
        told.contains("agreements.jsonl") && told.contains("state_directory"),
        "{told}"
    );

    let (mut store, _) = AgreementStore::open(folder.path()).unwrap();
    let failed = NegotiationState::Failed(NegotiationFailure::NotFunded);
    store
        .write(&written(
            0x11,
            NegotiationState::Running,
            &[(990, "selected"), (1_001, "running")],
        ))
        .unwrap();
    store
        .write(&written(
            0x12,
            failed,
            &[(995, "failed: the ledger shows no payment")],
        ))
        .unwrap();
    // The orchestrator runs on while one asks.
    let (code, told) = exec_edge(&["agreement", "list"], state);
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("running") && told.contains("no payment"),
        "{told}"
    );
    let (code, told) = exec_edge(&["agreement", "list", "--json"], state);
    let all: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, all.as_array().unwrap().len()), (0, 2));
    assert_eq!(all[0]["deposit"], "420");

    for words in [["agreement", "show"], ["explain", "agreement"]] {
        let (code, told) = exec_edge(&[words[0], words[1], "0x1111"], state);
        assert_eq!(code, 0, "{told}");
        for part in [
            "edge.isp.example:80",
            "1001",
            "running",
            "192.0.2.1:20000",
            "60 s",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("secret"), "{told}");
    }
    let (code, told) = exec_edge(&["agreement", "show", "1"], state);
    assert_eq!(code, 1, "two begin so: {told}");
}

#[test]
fn closing_and_stopping_ask_the_running_orchestrator() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let shown = socket.to_str().unwrap();
    let id = format!("0x{}", "11".repeat(32));
    let (code, told) = exec_edge(&["agreement", "stop", "--admin", shown, "--dry-run"], None);
    assert_eq!(code, 0, "{told}");
    let (code, told) = exec_edge(&["agreement", "stop", "--admin", shown], None);
    assert_eq!(code, 2, "nobody listens: {told}");

    let listener = UnixListener::bind(&socket).unwrap();
    let asked = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for status in ["200 OK", "404 Not Found"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 512];
            let read = stream.read(&mut head).unwrap();
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            asked.push(head.lines().next().unwrap().to_owned());
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\ntrue").unwrap();
        }
        asked
    });
    assert_eq!(
        exec_edge(&["agreement", "stop", "--admin", shown], None).0,
        0
    );
    let (code, told) = exec_edge(&["agreement", "close", &id, "--admin", shown], None);
    assert_eq!(code, 1, "{told}");
    assert_eq!(
        asked.join().unwrap(),
        [
            "POST /wind-down HTTP/1.1".to_owned(),
            format!("POST /agreements/{id}/close HTTP/1.1")
        ]
    );
}
